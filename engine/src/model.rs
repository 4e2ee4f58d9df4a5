//! What ingest hands to storage and storage hands to query: tenants, streams, and rows in columns.

use std::fmt;
use std::sync::Arc;

use logstack_logql::Labels;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_128;

/// The value of `X-Scope-OrgID`, checked by `http`; `fake` when `auth_enabled` is false. First part of every key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Wraps an id that was already checked (see `http::tenancy`).
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies a stream of any tenant: the xxh3-128 of tenant and canonical label text. Stable for ever: it is on disk
/// and decides the shard of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u128);

impl StreamId {
    /// Hashes `tenant`, a zero byte (no tenant id holds one), and the canonical text of `labels`.
    pub fn of(tenant: &TenantId, labels: &Labels) -> Self {
        let text = format!("{tenant}\0{labels}");
        Self(xxh3_128(text.as_bytes()))
    }
}

/// A stream: one label set of one tenant.
#[derive(Debug)]
pub struct Stream {
    /// Hash of the two fields below.
    pub id: StreamId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Index labels, `service_name` included.
    pub labels: Labels,
}

/// Nanoseconds since the epoch, both ends included.
///
/// HTTP's exclusive ends and LogQL's half-open windows are turned into this once, by the query planner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeRange {
    /// First instant in the range.
    pub first_ns: i64,
    /// Last instant in the range; smaller than `first_ns` when the range is empty.
    pub last_ns: i64,
}

impl TimeRange {
    /// Everything.
    pub const ALL: Self = Self { first_ns: i64::MIN, last_ns: i64::MAX };

    /// True when the instant lies in the range.
    pub fn contains(&self, ts_ns: i64) -> bool {
        self.first_ns <= ts_ns && ts_ns <= self.last_ns
    }

    /// True when the ranges share an instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first_ns <= other.last_ns && other.first_ns <= self.last_ns
    }

    /// True when all of `other` lies in this range.
    pub fn covers(&self, other: &Self) -> bool {
        self.first_ns <= other.first_ns && other.last_ns <= self.last_ns
    }
}

/// One structured metadata set: pairs sorted by name, names unique and normalised.
pub type MetadataSet = SmallVec<[(Arc<str>, Arc<str>); 2]>;

/// Interned structured metadata sets. Set 0 is the empty one. Most entries of a stream share a handful of sets
/// (`detected_level` alone), so rows carry a 32-bit id.
#[derive(Debug, Clone)]
pub struct MetadataSets {
    sets: Vec<MetadataSet>,
    ids: hashbrown::HashMap<MetadataSet, u32>,
}

impl Default for MetadataSets {
    fn default() -> Self {
        let mut sets = Self { sets: Vec::new(), ids: hashbrown::HashMap::new() };
        sets.intern(MetadataSet::new());
        sets
    }
}

impl MetadataSets {
    /// The id of `set`, added if new. `set` is sorted by name, without a name twice.
    pub fn intern(&mut self, set: MetadataSet) -> u32 {
        debug_assert!(set.windows(2).all(|w| w[0].0 < w[1].0), "metadata sets are sorted");
        if let Some(&id) = self.ids.get(&set) {
            return id;
        }
        let id = u32::try_from(self.sets.len()).expect("fewer than 2^32 metadata sets in memory");
        self.ids.insert(set.clone(), id);
        self.sets.push(set);
        id
    }

    /// The set behind `id`.
    pub fn get(&self, id: u32) -> &MetadataSet {
        &self.sets[id as usize]
    }

    /// All sets, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &MetadataSet> {
        self.sets.iter()
    }

    /// Number of sets, the empty one included.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Never: set 0 is always there.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Entries in columns; the unit in which rows move through the engine. Row `i` is `timestamps[i]`, `line(i)`,
/// `metadata.get(metadata_ids[i])`. Whether rows are sorted, and whose they are, is for the owner to say.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    /// ns since the epoch.
    pub timestamps: Vec<i64>,
    /// Line `i` is `bytes[ends[i - 1]..ends[i]]`.
    pub ends: Vec<u32>,
    /// The lines, one behind the other. Any bytes.
    pub bytes: Vec<u8>,
    /// Ids into `metadata`.
    pub metadata_ids: Vec<u32>,
    /// Shared by all rows here.
    pub metadata: MetadataSets,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// The bytes of line `row`.
    pub fn line(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Appends a row. `metadata_id` is of this `Rows`' own `metadata`.
    pub fn push(&mut self, timestamp: i64, line: &[u8], metadata_id: u32) {
        self.timestamps.push(timestamp);
        self.bytes.extend_from_slice(line);
        self.ends.push(u32::try_from(self.bytes.len()).expect("rows hold less than 4 GiB of lines"));
        self.metadata_ids.push(metadata_id);
    }

    /// Appends rows with these timestamps, empty lines and no metadata.
    pub fn push_times(&mut self, timestamps: impl Iterator<Item = i64>) {
        self.timestamps.extend(timestamps);
        self.ends.resize(self.timestamps.len(), self.bytes.len() as u32);
        self.metadata_ids.resize(self.timestamps.len(), 0);
    }

    /// Forgets the rows, keeps the capacity.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.ends.clear();
        self.bytes.clear();
        self.metadata_ids.clear();
        self.metadata = MetadataSets::default();
    }
}

/// The accepted entries of one push. Rows of one stream are adjacent, in arrival order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The streams, each with its range of rows; ranges are adjacent and cover all rows.
    pub streams: Vec<BatchStream>,
    /// All rows.
    pub rows: Rows,
}

/// One stream of a [`Batch`].
#[derive(Debug)]
pub struct BatchStream {
    /// Resolved by ingest; the same `Arc` as long as the stream is known.
    pub stream: Arc<Stream>,
    /// Its rows in the batch.
    pub rows: std::ops::Range<usize>,
}
