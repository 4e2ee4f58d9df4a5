//! `metrics`: what entries add to `/metrics`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::finding::did_you_mean;
use crate::units::GoDuration;

/// `metrics`: name -> metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MetricsStage(pub BTreeMap<String, MetricStage>);

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricStage {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// Its help text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Before its name.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Extracted key with the value; absent: the metric's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A series without entries goes after this; at least 1s.
    #[serde(default = "five_minutes")]
    pub max_idle_duration: GoDuration,
    /// What an entry does.
    #[serde(default)]
    pub config: MetricActionStage,
}

fn default_prefix() -> String {
    "promtail_custom_".to_owned()
}

fn five_minutes() -> GoDuration {
    GoDuration::minutes(5)
}

/// `type`, read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

impl<'de> Deserialize<'de> for MetricKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.to_ascii_lowercase().as_str() {
            "counter" => Ok(Self::Counter),
            "gauge" => Ok(Self::Gauge),
            "histogram" => Ok(Self::Histogram),
            _ => {
                let near = did_you_mean(&text, ["counter", "gauge", "histogram"]);
                Err(de::Error::custom(format!("{text:?} is not one of counter, gauge, histogram{near}")))
            }
        }
    }
}

/// `config` of a metric. Which keys have a meaning depends on its type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetricActionStage {
    /// Counter: `inc`, `add`. Gauge: `set`, `inc`, `dec`, `add`, `sub`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// Only entries with exactly this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Every entry, whether `source` exists or not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub match_all: bool,
    /// Add the line's length.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub count_entry_bytes: bool,
    /// Upper bounds of a histogram.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<f64>,
}
