//! Acknowledged entries that are not in parts yet. One writer, many readers.
//!
//! ```text
//! memtable -> tenant -> stream -> chunks: full ones are shared and never change, the last one grows
//! ```
//!
//! Rows are only ever added, so a view is a number of rows: it stays true while the stream grows, and after the
//! memtable was cut.

mod chunk;

pub use chunk::Chunk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::part::DAY_NS;
use super::streams::{Registry, StreamNo, TenantStreams};
use crate::model::{Batch, Rows, Stream, StreamId, TenantId, TimeRange};

/// What a stream in a memtable costs besides its rows: map entries, headers, spare capacity.
const STREAM_BYTES: usize = 512;

/// See the module.
pub struct Memtable {
    tenants: RwLock<BTreeMap<TenantId, Arc<MemTenant>>>,
    bytes: AtomicUsize,
    rows: AtomicUsize,
    created: Instant,
}

/// One tenant's streams in a memtable.
pub struct MemTenant {
    known: Arc<TenantStreams>,
    streams: RwLock<HashMap<StreamId, Arc<MemStream>>>,
}

/// One stream in a memtable.
pub struct MemStream {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Its number in the tenant's index.
    pub number: StreamNo,
    data: RwLock<Data>,
}

struct Data {
    full: Vec<Arc<Chunk>>,
    tail: Chunk,
    /// Of all chunks.
    time: TimeRange,
}

/// Some rows of a memtable: the first `rows` of one chunk of one stream.
#[derive(Clone)]
pub struct MemPiece {
    source: Arc<MemStream>,
    chunk: usize,
    rows: usize,
    /// First and last timestamp among them.
    pub time: TimeRange,
    /// Bytes of their lines.
    pub line_bytes: usize,
}

impl Default for Memtable {
    fn default() -> Self {
        let (tenants, bytes, rows) = Default::default();
        Self { tenants, bytes, rows, created: Instant::now() }
    }
}

impl Memtable {
    /// Memory in use, about.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rows, duplicates included.
    pub fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// When it was started.
    pub fn created(&self) -> Instant {
        self.created
    }

    /// Adds the rows of `batch`. Streams that are new are registered. Called by one thread at a time.
    pub fn insert(&self, batch: &Batch, registry: &Registry) {
        let mut bytes = 0;
        let mut tenant: Option<Arc<MemTenant>> = None;
        for part in &batch.streams {
            let tenant = match &tenant {
                Some(last) if last.known.tenant == part.stream.tenant => last,
                _ => tenant.insert(self.tenant_or_new(&part.stream.tenant, registry)),
            };
            bytes += tenant.insert(&part.stream, &batch.rows, part.rows.clone(), registry);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(batch.rows.len(), Ordering::Relaxed);
    }

    /// The tenant's streams in here.
    pub fn tenant(&self, tenant: &TenantId) -> Option<Arc<MemTenant>> {
        self.tenants.read().get(tenant).cloned()
    }

    /// All tenants in here, sorted.
    pub fn tenants(&self) -> Vec<Arc<MemTenant>> {
        self.tenants.read().values().cloned().collect()
    }

    fn tenant_or_new(&self, tenant: &TenantId, registry: &Registry) -> Arc<MemTenant> {
        if let Some(known) = self.tenant(tenant) {
            return known;
        }
        let new = || Arc::new(MemTenant { known: registry.tenant(tenant), streams: RwLock::default() });
        self.tenants.write().entry(tenant.clone()).or_insert_with(new).clone()
    }
}

impl MemTenant {
    fn insert(&self, stream: &Arc<Stream>, rows: &Rows, range: std::ops::Range<usize>, registry: &Registry) -> usize {
        let known = self.streams.read().get(&stream.id).cloned();
        if let Some(known) = known {
            return known.append(rows, range);
        }
        let _pin = registry.pin();
        let (number, stream) = self.known.register(stream);
        let data = Data { full: Vec::new(), tail: Chunk::default(), time: EMPTY };
        let new = Arc::new(MemStream { number, data: RwLock::new(data), stream });
        // Rows first, then the name: nobody finds a stream without rows.
        let bytes = new.append(rows, range) + STREAM_BYTES;
        self.streams.write().insert(new.stream.id, new);
        bytes
    }

    /// The stream in here.
    pub fn stream(&self, id: StreamId) -> Option<Arc<MemStream>> {
        self.streams.read().get(&id).cloned()
    }

    /// All streams in here, in no order.
    pub fn streams(&self) -> Vec<Arc<MemStream>> {
        self.streams.read().values().cloned().collect()
    }

    /// Number of streams in here.
    pub fn stream_count(&self) -> usize {
        self.streams.read().len()
    }
}

/// A range that any timestamp widens.
const EMPTY: TimeRange = TimeRange { first_ns: i64::MAX, last_ns: i64::MIN };

impl MemStream {
    fn append(&self, rows: &Rows, range: std::ops::Range<usize>) -> usize {
        let mut data = self.data.write();
        let mut bytes = 0;
        let mut at = range.start;
        while at < range.end {
            if data.tail.is_full() {
                let full = std::mem::take(&mut data.tail);
                data.full.push(Arc::new(full));
            }
            let (taken, added) = data.tail.append(rows, at..range.end);
            at += taken;
            bytes += added;
            let time = data.tail.time();
            data.time.first_ns = data.time.first_ns.min(time.first_ns);
            data.time.last_ns = data.time.last_ns.max(time.last_ns);
        }
        bytes
    }

    /// First and last timestamp.
    pub fn time(&self) -> TimeRange {
        self.data.read().time
    }

    /// The chunks that reach into `range`, in arrival order.
    pub fn pieces(self: &Arc<Self>, range: TimeRange, out: &mut Vec<MemPiece>) {
        let data = self.data.read();
        if !data.time.overlaps(&range) {
            return;
        }
        let chunks = data.full.iter().map(|chunk| &**chunk).chain([&data.tail]);
        for (idx, chunk) in chunks.enumerate() {
            let time = chunk.time();
            if !chunk.is_empty() && time.overlaps(&range) {
                let (rows, line_bytes) = (chunk.len(), chunk.line_bytes());
                out.push(MemPiece { source: self.clone(), chunk: idx, rows, time, line_bytes });
            }
        }
    }

    /// Calls `found` with ranges that together hold all rows, and each of which is mostly rows: the time of a chunk, or,
    /// where that spans days, the timestamps one by one.
    pub fn each_timestamp_run(&self, mut found: impl FnMut(TimeRange)) {
        let data = self.data.read();
        for chunk in data.full.iter().map(|chunk| &**chunk).chain([&data.tail]).filter(|chunk| !chunk.is_empty()) {
            let time = chunk.time();
            if time.last_ns.saturating_sub(time.first_ns) < DAY_NS {
                found(time);
            } else {
                chunk.timestamps().iter().for_each(|&ns| found(TimeRange { first_ns: ns, last_ns: ns }));
            }
        }
    }

    /// True when a row lies in `range`.
    pub fn has_rows_in(&self, range: TimeRange) -> bool {
        let data = self.data.read();
        data.time.overlaps(&range)
            && data.full.iter().map(|chunk| &**chunk).chain([&data.tail]).any(|chunk| chunk.has_rows_in(range))
    }
}

impl MemPiece {
    /// Upper bound of the rows that are not duplicates.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows. Copies only what is still growing.
    pub fn open(&self) -> (Arc<Chunk>, usize) {
        let data = self.source.data.read();
        let chunk = match data.full.get(self.chunk) {
            Some(full) => full.clone(),
            None => Arc::new(data.tail.prefix(self.rows)),
        };
        (chunk, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{batch, stream};

    fn rows_of(pieces: &[MemPiece]) -> Vec<(i64, String)> {
        let mut rows = Vec::new();
        for piece in pieces {
            let (chunk, len) = piece.open();
            rows.extend((0..len).map(|i| (chunk.timestamps()[i], String::from_utf8_lossy(chunk.line(i)).into_owned())));
        }
        rows
    }

    #[test]
    fn a_view_does_not_grow() {
        let registry = Registry::default();
        let memtable = Memtable::default();
        let api = stream(r#"app="api""#);
        memtable.insert(&batch(&api, &[(5, "five"), (3, "three")]), &registry);
        let tenant = memtable.tenant(&api.tenant).unwrap();
        let source = tenant.stream(api.id).unwrap();
        let mut before = Vec::new();
        source.pieces(TimeRange::ALL, &mut before);
        let long = "x".repeat(Chunk::LINE_BYTES_FULL);
        memtable.insert(&batch(&api, &[(4, &long), (7, "seven")]), &registry);
        let want = [(5, "five".to_owned()), (3, "three".to_owned())];
        assert_eq!(rows_of(&before), want);
        assert_eq!(source.time(), TimeRange { first_ns: 3, last_ns: 7 });
        let mut after = Vec::new();
        source.pieces(TimeRange { first_ns: 6, last_ns: 8 }, &mut after);
        assert_eq!(rows_of(&after), [(7, "seven".to_owned())], "the full chunk ends before");
        assert_eq!(memtable.rows(), 4);
        assert!(memtable.bytes() > long.len());
    }

    #[test]
    fn knows_exactly_what_is_in_a_range() {
        let registry = Registry::default();
        let memtable = Memtable::default();
        let api = stream(r#"app="api""#);
        memtable.insert(&batch(&api, &[(10, "a"), (30, "b")]), &registry);
        let source = memtable.tenant(&api.tenant).unwrap().stream(api.id).unwrap();
        #[track_caller]
        fn check(source: &MemStream, first_ns: i64, last_ns: i64, want: bool) {
            assert_eq!(source.has_rows_in(TimeRange { first_ns, last_ns }), want, "{first_ns}..={last_ns}");
        }
        check(&source, 0, 9, false);
        check(&source, 0, 10, true);
        check(&source, 11, 29, false);
        check(&source, 30, 30, true);
        check(&source, 31, 40, false);
        check(&source, 20, 15, false);
    }
}
