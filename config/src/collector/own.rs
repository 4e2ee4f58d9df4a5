//! `collector`: what Promtail has no key for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{ByteSize, GoDuration};

/// Our own keys.
///
/// Source: collector contract, section 3.10.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectorSettings {
    /// Bytes in flight: read buffers, pipelines, batches, retries.
    pub memory_limit: ByteSize,
    /// Longest raw line, CRI header not counted.
    pub max_line_bytes: ByteSize,
    /// How long a file waits for its pod's metadata before directory names must do.
    pub metadata_timeout: GoDuration,
    /// Who knows the pods.
    pub metadata_source: MetadataSource,
    /// Where files begin that exist at the very first start.
    pub read_from: ReadFrom,
    /// Bytes of deleted or rotated files that may be kept from being freed.
    pub max_pinned_bytes: PinnedBytes,
    /// Start without the jobs that a node agent cannot do.
    pub skip_unsupported_jobs: bool,
    /// Warnings fail `--check`.
    pub strict: bool,
    /// Where entries wait on disk.
    pub disk_buffer: DiskBuffer,
    /// A file belongs to the first job that selects it. False, as in Promtail: every job reads it.
    pub exclusive_files: bool,
    /// Files with further jobs ([`JobsFile`](super::JobsFile)); globs. Watched: a change reloads them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scrape_config_files: Vec<String>,
    /// A limit for each container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_container_rate: Option<ContainerRate>,
    /// Metrics with a `path` label.
    pub metrics_per_file: MetricsPerFile,
    /// The kubelet's `podLogsDir`.
    pub pod_logs_root: PathBuf,
    /// Folder of own state; absent: that of the positions file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
}

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            memory_limit: ByteSize::mib(32),
            max_line_bytes: ByteSize::kib(256),
            metadata_timeout: GoDuration::secs(30),
            metadata_source: MetadataSource::Api,
            read_from: ReadFrom::Beginning,
            max_pinned_bytes: PinnedBytes::default(),
            skip_unsupported_jobs: false,
            strict: false,
            disk_buffer: DiskBuffer::default(),
            exclusive_files: false,
            scrape_config_files: Vec::new(),
            per_container_rate: None,
            metrics_per_file: MetricsPerFile::Auto,
            pod_logs_root: PathBuf::from("/var/log/pods"),
            data_dir: None,
        }
    }
}

/// Who knows the pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataSource {
    /// The Kubernetes API server.
    #[default]
    Api,
    /// The node's kubelet, for clusters that forbid pod watches.
    Kubelet,
}

/// Where files begin that exist at the very first start: `beginning`, `end`, `since(1h)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first line, as Promtail does.
    #[default]
    Beginning,
    /// The end.
    End,
    /// The beginning of files that changed so recently, the end of others.
    Since(GoDuration),
}

impl FromStr for ReadFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let since = || text.strip_prefix("since(")?.strip_suffix(')');
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ => match since() {
                Some(duration) => duration.trim().parse().map(Self::Since).map_err(|error| format!("{error}")),
                None => Err(format!("{text:?} is not one of beginning, end, since(1h)")),
            },
        }
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("beginning"),
            Self::End => f.write_str("end"),
            Self::Since(duration) => write!(f, "since({duration})"),
        }
    }
}

impl Serialize for ReadFrom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReadFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `max_pinned_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PinnedBytes {
    /// Of one container.
    pub container: ByteSize,
    /// Of all together.
    pub node: ByteSize,
}

impl Default for PinnedBytes {
    fn default() -> Self {
        Self { container: ByteSize::mib(256), node: ByteSize::gib(2) }
    }
}

/// `disk_buffer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskBuffer {
    /// Its folder; absent: no buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// The oldest entries go above this.
    pub max_bytes: ByteSize,
    /// The oldest entries go after this.
    pub max_age: GoDuration,
    /// Whose entries.
    pub sources: BufferSources,
}

impl Default for DiskBuffer {
    fn default() -> Self {
        Self {
            dir: None,
            max_bytes: ByteSize::gib(1),
            max_age: GoDuration::hours(24),
            sources: BufferSources::Volatile,
        }
    }
}

/// Whose entries the disk buffer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferSources {
    /// What cannot be read again: syslog, push, GELF.
    #[default]
    Volatile,
    /// Everything.
    All,
}

/// `per_container_rate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRate {
    /// Lines per second; 0 = no limit.
    pub lines: u64,
    /// Bytes per second; 0 = no limit.
    pub bytes: ByteSize,
    /// What happens above it.
    pub action: RateAction,
}

/// What happens above a container's rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateAction {
    /// Its file waits.
    #[default]
    Backpressure,
    /// A part is kept.
    Sample,
    /// The rest is dropped.
    Drop,
}

/// `metrics_per_file`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsPerFile {
    /// On up to 1000 files.
    #[default]
    Auto,
    /// Always.
    #[serde(alias = "true", alias = "on")]
    Always,
    /// Never.
    #[serde(alias = "false", alias = "off")]
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_to_begin() {
        #[track_caller]
        fn check(text: &str, want: Result<ReadFrom, &str>) {
            assert_eq!(text.parse::<ReadFrom>(), want.map_err(str::to_owned), "{text}");
        }
        check("beginning", Ok(ReadFrom::Beginning));
        check("end", Ok(ReadFrom::End));
        check("since(1h)", Ok(ReadFrom::Since(GoDuration::hours(1))));
        check("start", Err("\"start\" is not one of beginning, end, since(1h)"));
        check("since(1)", Err("\"1\" has no unit (hint: write 1s or 1ms)"));
        assert_eq!(ReadFrom::Since(GoDuration::hours(1)).to_string(), "since(1h0m0s)");
    }
}
