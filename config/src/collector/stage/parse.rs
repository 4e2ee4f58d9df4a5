//! Stages that take a line apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NameMap;
use crate::units::ByteSize;

/// `container`: `cri` or `docker`, told apart per file. Ours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerStage {}

/// `docker`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DockerStage {}

/// `cri`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CriStage {
    /// Streams that may have a pending partial line.
    pub max_partial_lines: u32,
    /// Longest joined line; 0 = no limit. Works only with `max_partial_line_size_truncate`.
    pub max_partial_line_size: ByteSize,
    /// Cut longer joined lines.
    pub max_partial_line_size_truncate: bool,
}

impl Default for CriStage {
    fn default() -> Self {
        Self { max_partial_lines: 100, max_partial_line_size: ByteSize::ZERO, max_partial_line_size_truncate: false }
    }
}

/// `regex`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegexStage {
    /// Go syntax, unanchored; named groups become extracted values.
    pub expression: String,
    /// Extracted key to look at; absent: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// `json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JsonStage {
    /// Extracted name -> JMESPath; empty: the name itself.
    pub expressions: NameMap,
    /// Extracted key to look at; absent: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Drop entries that are no JSON object.
    #[serde(default)]
    pub drop_malformed: bool,
}

/// `logfmt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogfmtStage {
    /// Extracted name -> logfmt key; empty: the same.
    pub mapping: NameMap,
    /// Extracted key to look at; absent: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// `eventlogmessage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventLogMessageStage {
    /// Extracted key that holds the message.
    pub source: String,
    /// Replace an extracted value of the same name; else the new one gets the suffix `_extracted`.
    pub overwrite_existing: bool,
    /// Leave out names that are no label names; else their characters become `_`.
    pub drop_invalid_labels: bool,
}

impl Default for EventLogMessageStage {
    fn default() -> Self {
        Self { source: "message".to_owned(), overwrite_existing: false, drop_invalid_labels: false }
    }
}

/// `geoip`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GeoIpStage {
    /// MaxMind file.
    pub db: String,
    /// Extracted key that holds the address.
    #[serde(default)]
    pub source: String,
    /// `city` or `asn`.
    pub db_type: String,
}
