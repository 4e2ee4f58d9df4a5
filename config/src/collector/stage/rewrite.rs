//! Stages that change an entry's line, time or extracted values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::GoDuration;

/// `replace`: only capture groups are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaceStage {
    /// Go syntax.
    pub expression: String,
    /// Extracted key to look at and write back to; absent: the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Template; `.Value` is the captured text.
    #[serde(default)]
    pub replace: String,
}

/// `multiline`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MultilineStage {
    /// Regular expression of a block's first line.
    pub firstline: String,
    /// A block ends after so long without a line.
    #[serde(default = "three_seconds")]
    pub max_wait_time: GoDuration,
    /// A block ends with so many lines.
    #[serde(default = "lines_128")]
    pub max_lines: u64,
}

fn three_seconds() -> GoDuration {
    GoDuration::secs(3)
}

fn lines_128() -> u64 {
    128
}

/// `template`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateStage {
    /// Extracted key that is written; may be new.
    pub source: String,
    /// Go template; `.Value` is the old value, `.Entry` the line.
    pub template: String,
}

/// `timestamp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimestampStage {
    /// Extracted key that holds the time.
    pub source: String,
    /// Name of a format, or a Go layout.
    pub format: String,
    /// Tried in order when `format` does not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_formats: Vec<String>,
    /// IANA zone for layouts without one; has no effect on named formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What happens when nothing fits.
    #[serde(default)]
    pub action_on_failure: FailureAction,
}

/// `timestamp.action_on_failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// The last good time of this label set, one nanosecond on.
    #[default]
    Fudge,
    /// The time stays.
    Skip,
}

/// `output`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputStage {
    /// Extracted key that becomes the line.
    pub source: String,
}

/// `pack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PackStage {
    /// Labels that move into the line.
    pub labels: Vec<String>,
    /// The entry's time becomes now.
    pub ingest_timestamp: bool,
}

impl Default for PackStage {
    fn default() -> Self {
        Self { labels: Vec::new(), ingest_timestamp: true }
    }
}

/// `decolorize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DecolorizeStage {}

/// `luhn`. Alloy's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LuhnStage {
    /// Stands where a number stood.
    pub replacement: String,
    /// Extracted key to look at; absent: the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Shortest run of digits.
    pub min_length: usize,
}

impl Default for LuhnStage {
    fn default() -> Self {
        Self { replacement: "**REDACTED**".to_owned(), source: None, min_length: 13 }
    }
}
