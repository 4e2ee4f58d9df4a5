//! What storage is told: plain data with defaults.

use std::time::Duration;

use super::codec::{BLOCK_LINE_BYTES_MAX, BLOCK_ROWS_MAX, Level};
use super::merge::MergeLimits;

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// After an fsync, shared by all appends that wait at that moment. Nothing acknowledged is lost, ever.
    #[default]
    Always,
    /// After the write; an fsync follows within the interval. A power cut loses at most that much, a crash of the
    /// process nothing.
    Interval(Duration),
}

/// How the rows of a part are cut into blocks, and how hard these are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockOptions {
    /// Bytes of lines at which a block of a Fresh part is closed. Quick parts have a quarter of it, because they are
    /// read to be written again; Settled ones have four times as much: measured on lines of a Synapse deployment 17.5:1
    /// at 4 MiB, 20.7:1 at 16 MiB.
    pub line_bytes: usize,
    /// Rows at which a block is closed.
    pub rows: usize,
    /// Zstandard level of Fresh parts.
    pub zstd_fresh: i32,
    /// Zstandard level of Settled parts.
    pub zstd_settled: i32,
}

impl BlockOptions {
    /// Bytes of lines at which a block is closed.
    pub fn line_bytes(&self, level: Level) -> usize {
        let bytes = match level {
            Level::Quick => self.line_bytes / 4,
            Level::Fresh => self.line_bytes,
            Level::Settled => self.line_bytes.saturating_mul(4),
        };
        // Half of what a block can hold: rows with equal timestamps may double it.
        bytes.clamp(1, BLOCK_LINE_BYTES_MAX / 2)
    }

    /// Zstandard level of a part.
    pub fn zstd(&self, level: Level) -> i32 {
        match level {
            Level::Quick => 1,
            Level::Fresh => self.zstd_fresh,
            Level::Settled => self.zstd_settled,
        }
    }
}

impl Default for BlockOptions {
    fn default() -> Self {
        Self { line_bytes: 4 << 20, rows: BLOCK_ROWS_MAX / 4 * 3, zstd_fresh: 3, zstd_settled: 9 }
    }
}

/// How storage behaves. The defaults suit a node with two cores and half a gigabyte for the engine.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// When an append is acknowledged.
    pub sync: SyncMode,
    /// A WAL segment is closed at this size.
    pub segment_bytes_max: u64,
    /// A memtable is cut to parts at this size.
    pub memtable_bytes_cut: usize,
    /// All memtables together; past it appends wait, and then fail as busy. Twice the cut, so that one can be written
    /// while the next one fills.
    pub memtable_bytes_max: usize,
    /// A memtable is cut to parts at this age, however small.
    pub memtable_age_max: Duration,
    /// A memtable that filled faster than this becomes a Quick part, which a merge encodes again later; slower ones are
    /// encoded for good at once. 4 MB/s are 350 GB a day, and a fiftieth of what the encoder can do.
    pub quick_bytes_per_s: u64,
    /// How long an append waits for memory before it fails as busy.
    pub append_wait_max: Duration,
    /// Bytes of decompressed frames kept for queries.
    pub cache_bytes_max: u64,
    /// How blocks are cut and compressed.
    pub blocks: BlockOptions,
    /// When parts are merged.
    pub merge: MergeLimits,
    /// Parts are merged at all.
    pub is_merging: bool,
    /// How often retention by time and delete requests are carried out. Queries honour both at once.
    pub retention_every: Duration,
    /// Merge and apply retention in the background. Off in tests that want to choose the moment.
    pub background_merges: bool,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            sync: SyncMode::default(),
            segment_bytes_max: 64 << 20,
            memtable_bytes_cut: 16 << 20,
            memtable_bytes_max: 32 << 20,
            memtable_age_max: Duration::from_secs(120),
            quick_bytes_per_s: 4_000_000,
            append_wait_max: Duration::from_secs(5),
            cache_bytes_max: 64 << 20,
            blocks: BlockOptions::default(),
            merge: MergeLimits::default(),
            is_merging: true,
            retention_every: Duration::from_secs(300),
            background_merges: true,
        }
    }
}
