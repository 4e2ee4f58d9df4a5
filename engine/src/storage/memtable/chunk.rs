//! A run of rows of one stream in arrival order, in columns.

use hashbrown::HashTable;

use super::EMPTY;
use crate::model::{MetadataSet, Rows, TimeRange};

/// See the module.
#[derive(Default)]
pub struct Chunk {
    timestamps: Vec<i64>,
    /// Line `i` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Empty as long as no row has metadata.
    metadata_ids: Vec<u32>,
    metadata: Sets,
    time: Option<TimeRange>,
    /// Timestamps never fall.
    is_unsorted: bool,
}

impl Chunk {
    /// A chunk with so many bytes of lines takes no more rows. Small enough to copy a growing one for a query, large
    /// enough that a memtable has few.
    pub const LINE_BYTES_FULL: usize = 120 << 10;
    /// The same for rows.
    pub const ROWS_FULL: usize = 4096;
    /// A chunk with more bytes of lines will probably be full: it gets the room for that at once, and little more. That is
    /// not counted, as little as what doubling would get it.
    const LINE_BYTES_LARGE: usize = Self::LINE_BYTES_FULL / 2;
    /// Lines are a few hundred bytes long, and the last one may go past the mark.
    const LINE_BYTES_ROOM: usize = Self::LINE_BYTES_FULL + (8 << 10);

    /// Takes no more rows.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= Self::LINE_BYTES_FULL || self.timestamps.len() >= Self::ROWS_FULL
    }

    /// Takes rows until full, at least one. Returns how many, and the memory they need.
    pub fn append(&mut self, rows: &Rows, range: std::ops::Range<usize>) -> (usize, usize) {
        let line_start = |row: usize| if row == 0 { 0 } else { rows.ends[row - 1] as usize };
        let first = range.start;
        // As many rows as fit: whole columns are copied at once.
        let room_rows = Self::ROWS_FULL.saturating_sub(self.len()).max(1);
        let room_bytes = Self::LINE_BYTES_FULL.saturating_sub(self.bytes.len());
        let bytes_limit = line_start(first).saturating_add(room_bytes);
        let limit = range.end.min(first + room_rows);
        let last = first + rows.ends[first..limit].partition_point(|&end| (end as usize) < bytes_limit) + 1;
        let last = last.clamp(first + 1, limit);

        let shift = line_start(first);
        let base = self.bytes.len();
        let needed = base + line_start(last) - shift;
        if needed > Self::LINE_BYTES_LARGE && needed > self.bytes.capacity() {
            self.bytes.reserve_exact(needed.max(Self::LINE_BYTES_ROOM) - base);
        }
        self.bytes.extend_from_slice(&rows.bytes[shift..line_start(last)]);
        self.ends.extend(rows.ends[first..last].iter().map(|&end| (end as usize - shift + base) as u32));
        let mut added = self.bytes.len() - base + (last - first) * 12;

        let ids = &rows.metadata_ids[first..last];
        if !self.metadata_ids.is_empty() || ids.iter().any(|&id| id != 0) {
            self.metadata_ids.resize(self.timestamps.len(), 0);
            let mut previous = (0, 0);
            for &id in ids {
                if id != previous.0 {
                    let (own, bytes) = if id == 0 { (0, 0) } else { self.metadata.intern(rows.metadata.get(id)) };
                    added += bytes;
                    previous = (id, own);
                }
                self.metadata_ids.push(previous.1);
            }
            added += ids.len() * 4;
        }

        let mut time = self.time.unwrap_or(EMPTY);
        for &timestamp in &rows.timestamps[first..last] {
            self.is_unsorted |= timestamp < time.last_ns;
            time.first_ns = time.first_ns.min(timestamp);
            time.last_ns = time.last_ns.max(timestamp);
        }
        self.time = Some(time);
        self.timestamps.extend_from_slice(&rows.timestamps[first..last]);
        (last - first, added)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// ns since the epoch, in arrival order.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// True when timestamps never fall.
    pub fn is_sorted(&self) -> bool {
        !self.is_unsorted
    }

    /// The bytes of line `row`.
    pub fn line(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Bytes of all lines.
    pub fn line_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The metadata of `row`.
    pub fn metadata(&self, row: usize) -> &MetadataSet {
        self.metadata.get(self.metadata_id(row))
    }

    /// The id of the metadata of `row`, within this chunk; 0 is the empty set.
    pub fn metadata_id(&self, row: usize) -> u32 {
        self.metadata_ids.get(row).copied().unwrap_or(0)
    }

    /// The set with this id.
    pub fn metadata_set(&self, id: u32) -> &MetadataSet {
        self.metadata.get(id)
    }

    /// First and last timestamp.
    pub fn time(&self) -> TimeRange {
        self.time.unwrap_or(EMPTY)
    }

    /// True when a row lies in `range`.
    pub fn has_rows_in(&self, range: TimeRange) -> bool {
        let time = self.time();
        if self.is_empty() || !time.overlaps(&range) || range.first_ns > range.last_ns {
            return false;
        }
        range.contains(time.first_ns)
            || range.contains(time.last_ns)
            || self.timestamps.iter().any(|&timestamp| range.contains(timestamp))
    }

    /// A copy of the first `rows` rows.
    pub fn prefix(&self, rows: usize) -> Self {
        let bytes = if rows == 0 { 0 } else { self.ends[rows - 1] as usize };
        Self {
            timestamps: self.timestamps[..rows].to_vec(),
            ends: self.ends[..rows].to_vec(),
            bytes: self.bytes[..bytes].to_vec(),
            metadata_ids: self.metadata_ids.get(..rows).unwrap_or(&self.metadata_ids).to_vec(),
            metadata: Sets { sets: self.metadata.sets.clone(), ids: HashTable::new() },
            time: self.time,
            is_unsorted: self.is_unsorted,
        }
    }
}

/// Metadata sets of one chunk; id 0 is the empty set and is not stored. Costs nothing as long as there is none.
#[derive(Default)]
struct Sets {
    sets: Vec<MetadataSet>,
    /// Ids by hash.
    ids: HashTable<u32>,
}

static NO_METADATA: MetadataSet = MetadataSet::new_const();

impl Sets {
    fn get(&self, id: u32) -> &MetadataSet {
        match id {
            0 => &NO_METADATA,
            id => &self.sets[id as usize - 1],
        }
    }

    /// The id of `set`, and the memory it newly needs.
    fn intern(&mut self, set: &MetadataSet) -> (u32, usize) {
        let hash = hash(set);
        let sets = &self.sets;
        if let Some(&id) = self.ids.find(hash, |&id| &sets[id as usize - 1] == set) {
            return (id, 0);
        }
        self.sets.push(set.clone());
        let id = self.sets.len() as u32;
        let sets = &self.sets;
        self.ids.insert_unique(hash, id, |&id| self::hash(&sets[id as usize - 1]));
        let text: usize = set.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        (id, text + size_of::<MetadataSet>() + 8)
    }
}

fn hash(set: &MetadataSet) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for (name, value) in set {
        for text in [name, value] {
            hasher.update(&(text.len() as u32).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::batch_specs;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_all_rows_in_order(spec in batch_specs(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
            let batch = spec.build();
            let rows = &batch.rows;
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
            cuts.push(0);
            cuts.push(rows.len());
            cuts.sort_unstable();
            let mut chunk = Chunk::default();
            for pair in cuts.windows(2).filter(|pair| pair[0] < pair[1]) {
                prop_assert_eq!(chunk.append(rows, pair[0]..pair[1]).0, pair[1] - pair[0]);
            }
            prop_assert_eq!(chunk.len(), rows.len());
            for row in 0..rows.len() {
                prop_assert_eq!(chunk.timestamps()[row], rows.timestamps[row]);
                prop_assert_eq!(chunk.line(row), rows.line(row));
                prop_assert_eq!(chunk.metadata(row), rows.metadata.get(rows.metadata_ids[row]));
            }
            prop_assert_eq!(chunk.is_sorted(), rows.timestamps.is_sorted());
            let half = chunk.prefix(rows.len() / 2);
            for row in 0..rows.len() / 2 {
                prop_assert_eq!(half.line(row), rows.line(row));
                prop_assert_eq!(half.metadata(row), chunk.metadata(row));
            }
        }
    }
}
