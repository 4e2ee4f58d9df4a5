//! The collector's configuration, in Promtail's shape.
//!
//! Whatever Promtail 3.6 starts with, we start with; where we think it is a mistake, with a warning. Our own keys live
//! under the one top-level key `collector` ([`CollectorSettings`]).

mod check;
mod client;
mod http;
#[cfg(test)]
mod keys;
mod known;
mod kubernetes;
mod own;
mod relabel;
mod scrape;
mod server;
mod sources;
pub mod stage;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use check::{check_relabelings, is_label_name};
pub use client::{BackoffConfig, ClientConfig};
pub use http::{Authorization, BasicAuth, ClientTls, HttpClient, HttpHeader, OAuth2};
pub use kubernetes::{AttachMetadata, KubernetesSd, Namespaces, Role, Selector};
pub use own::{
    BufferSources, CollectorSettings, ContainerRate, DiskBuffer, MetadataSource, MetricsPerFile, PinnedBytes,
    RateAction, ReadFrom,
};
pub use relabel::{RelabelAction, RelabelConfig};
pub use scrape::{Decompression, FileSd, Opaque, ScrapeConfig, Source, StaticConfig};
pub use server::CollectorServer;
pub use sources::{
    DockerFilter, DockerSd, GelfConfig, JournalConfig, PushApiConfig, SyslogConfig, SyslogFormat, SyslogProtocol,
    SyslogTls,
};
pub use stage::{Stage, check_stages};

use crate::units::{ByteSize, GoDuration};

/// What `logstack collector` is told.
///
/// Source: collector contract, section 1; Promtail 3.6, "Configure Promtail".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectorConfig {
    /// Own HTTP server: metrics, readiness, pages.
    pub server: CollectorServer,
    /// The one client of old files; comes before [`clients`](Self::clients).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientConfig>,
    /// Where entries go: each to all of them.
    pub clients: Vec<ClientConfig>,
    /// The file that remembers how far each log was shipped.
    pub positions: PositionsConfig,
    /// What is read.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// How often files are looked for.
    pub target_config: TargetConfig,
    /// Rates, line sizes, streams.
    pub limits_config: CollectorLimits,
    /// How often files are looked at.
    pub global: GlobalConfig,
    /// Promtail's experimental write-ahead log: here the disk buffer.
    pub wal: WalConfig,
    /// Our own keys.
    pub collector: CollectorSettings,
}

impl CollectorConfig {
    /// All clients, the legacy one first.
    pub fn all_clients(&self) -> impl Iterator<Item = &ClientConfig> {
        self.client.iter().chain(&self.clients)
    }
}

/// A file of `collector.scrape_config_files`: what the operator writes for each LogScrape.
///
/// Jobs of all files come after those of the main file, by falling priority, then by file name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobsFile {
    /// Higher comes first.
    pub priority: i32,
    /// The jobs.
    pub scrape_configs: Vec<ScrapeConfig>,
}

/// `positions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PositionsConfig {
    /// Promtail's file, read at start and kept up to date; our exact state lies beside it.
    pub filename: PathBuf,
    /// How often it is written.
    pub sync_period: GoDuration,
    /// Start afresh when it is no YAML. We never refuse to start because of it.
    pub ignore_invalid_yaml: bool,
}

impl Default for PositionsConfig {
    fn default() -> Self {
        Self {
            filename: PathBuf::from("/var/log/positions.yaml"),
            sync_period: GoDuration::secs(10),
            ignore_invalid_yaml: false,
        }
    }
}

/// `target_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetConfig {
    /// How often globs are evaluated again, whatever inotify says.
    pub sync_period: GoDuration,
    /// Read standard input, not files.
    pub stdin: bool,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { sync_period: GoDuration::secs(10), stdin: false }
    }
}

/// The collector's `limits_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectorLimits {
    /// Limit lines per second, for the whole process, after the pipelines.
    pub readline_rate_enabled: bool,
    /// Lines per second.
    pub readline_rate: f64,
    /// Lines at once.
    pub readline_burst: u64,
    /// Drop what is too much; else wait.
    pub readline_rate_drop: bool,
    /// Most streams of a batch; 0 = no limit.
    pub max_streams: u64,
    /// Longest line after the pipeline; 0 = no limit.
    pub max_line_size: ByteSize,
    /// Cut longer lines; else drop them.
    pub max_line_size_truncate: bool,
}

impl Default for CollectorLimits {
    fn default() -> Self {
        Self {
            readline_rate_enabled: false,
            readline_rate: 10_000.0,
            readline_burst: 10_000,
            readline_rate_drop: true,
            max_streams: 0,
            max_line_size: ByteSize::ZERO,
            max_line_size_truncate: false,
        }
    }
}

/// `global`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GlobalConfig {
    /// Polling of files.
    pub file_watch_config: FileWatch,
}

/// `global.file_watch_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileWatch {
    /// Shortest interval, while a file grows.
    pub min_poll_frequency: GoDuration,
    /// Longest interval, after doubling while it is idle.
    pub max_poll_frequency: GoDuration,
}

impl Default for FileWatch {
    fn default() -> Self {
        Self { min_poll_frequency: GoDuration::millis(250), max_poll_frequency: GoDuration::millis(250) }
    }
}

/// `wal`. Its camelCase keys are real.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WalConfig {
    /// Use the disk buffer for all sources.
    pub enabled: bool,
    /// Its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Oldest data kept.
    #[serde(rename = "cleanSegmentsOlderThan")]
    pub clean_segments_older_than: GoDuration,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { enabled: false, dir: None, clean_segments_older_than: GoDuration::hours(1) }
    }
}
