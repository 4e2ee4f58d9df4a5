//! `logstack`: what Loki has no key for. Storage sizes and sync, the memory of queries, who may connect.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, GoDuration};

/// Our own keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogstackConfig {
    /// Disk and memory of the store.
    pub storage: StorageConfig,
    /// Processors and memory of queries.
    pub query: QueryConfig,
    /// Who may connect.
    pub auth: AuthConfig,
}

/// `logstack.storage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageConfig {
    /// Folder of all data; wins over `common.path_prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Entries in memory before they become a part. Twice as much may be held while a part is written.
    pub memtable_size: ByteSize,
    /// Oldest entry in memory before they become a part, however few they are.
    pub memtable_max_age: GoDuration,
    /// The write-ahead log.
    pub wal: WalConfig,
    /// Uncompressed bytes of lines in a block; blocks of days that are over have four times as much. At most 16MB.
    pub block_size: ByteSize,
    /// Most rows of a block, at most 131072.
    pub block_rows: u32,
    /// Zstandard level of parts of a day that still receives entries, 1 to 19.
    pub compression_level: i32,
    /// Zstandard level of parts of days that are over, 1 to 19.
    pub merge_compression_level: i32,
    /// Background merges.
    pub merge: MergeConfig,
    /// Decoded metadata and blocks kept in memory.
    pub cache_size: ByteSize,
    /// Share of the volume that data may fill before the oldest goes, 0 to 1; 0: never.
    pub max_disk_share: f64,
    /// Bytes of data before the oldest goes; 0: only `max_disk_share` counts.
    pub max_disk_size: ByteSize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: None,
            memtable_size: ByteSize::mib(16),
            memtable_max_age: GoDuration::minutes(15),
            wal: WalConfig::default(),
            block_size: ByteSize::mib(4),
            block_rows: 98_304,
            compression_level: 3,
            merge_compression_level: 9,
            merge: MergeConfig::default(),
            cache_size: ByteSize::mib(64),
            max_disk_share: 0.9,
            max_disk_size: ByteSize::ZERO,
        }
    }
}

/// `logstack.storage.wal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WalConfig {
    /// When an acknowledged entry is on disk.
    pub sync: WalSync,
    /// With `sync: interval`: how much a power cut may take.
    pub sync_interval: GoDuration,
    /// A segment is closed at this size.
    pub segment_size: ByteSize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { sync: WalSync::Always, sync_interval: GoDuration::secs(1), segment_size: ByteSize::mib(64) }
    }
}

/// `logstack.storage.wal.sync`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WalSync {
    /// Group commit: fsync before the acknowledgement. Survives a power cut.
    #[default]
    Always,
    /// Fsync every `sync_interval`. Survives `kill -9`; a power cut takes at most the interval.
    Interval,
    /// Left to the operating system. Survives `kill -9`.
    Never,
}

/// `logstack.storage.merge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MergeConfig {
    /// Merges that run at once: 1, or 0 for none.
    pub concurrency: usize,
    /// Neighbouring parts of a day that trigger a merge, at least 2.
    pub min_parts: usize,
    /// Parts are not merged to more than this.
    pub max_part_size: ByteSize,
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self { concurrency: 1, min_parts: 12, max_part_size: ByteSize::gib(1) }
    }
}

/// `logstack.query`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueryConfig {
    /// Threads that scan blocks; 0: one per processor.
    pub workers: usize,
    /// Queries that run at once; the rest wait. 0: `querier.max_concurrent`.
    pub concurrency: usize,
    /// Memory that one query may hold.
    pub memory_budget: ByteSize,
    /// Memory that all queries together may hold.
    pub total_memory_budget: ByteSize,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self { workers: 0, concurrency: 0, memory_budget: ByteSize::mib(256), total_memory_budget: ByteSize::mib(512) }
    }
}

/// `logstack.auth`: checked before the tenant header is read. `/ready` and `/metrics` stay open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuthConfig {
    /// How clients prove who they are.
    #[serde(rename = "type")]
    pub kind: AuthKind,
    /// `basic`: lines `user:password`. `bearer`: a token a line. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

/// `logstack.auth.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// Anyone; a proxy may check.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic,
    /// A bearer token.
    Bearer,
}
