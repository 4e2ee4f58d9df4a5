//! What storage is told: plain data with defaults.

use std::time::Duration;

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
    /// How long an append waits for memory before it fails as busy.
    pub append_wait_max: Duration,
    /// Bytes of decompressed frames kept for queries.
    pub cache_bytes_max: u64,
    /// When parts are merged.
    pub merge: MergeLimits,
    /// Merge and apply retention in the background. Off in tests that want to choose the moment.
    pub background_merges: bool,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            sync: SyncMode::default(),
            segment_bytes_max: 64 << 20,
            memtable_bytes_cut: 40 << 20,
            memtable_bytes_max: 96 << 20,
            memtable_age_max: Duration::from_secs(120),
            append_wait_max: Duration::from_secs(5),
            cache_bytes_max: 64 << 20,
            merge: MergeLimits::default(),
            background_merges: true,
        }
    }
}
