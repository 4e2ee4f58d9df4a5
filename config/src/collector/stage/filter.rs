//! Stages that decide which entries go on.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Stage, nested_stages};
use crate::units::{ByteSize, GoDuration};

/// `match`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatchStage {
    /// A stream selector and line filters.
    pub selector: String,
    /// What matching entries go through; others pass on unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "nested_stages")]
    pub stages: Vec<Stage>,
    /// What becomes of matching entries.
    #[serde(default)]
    pub action: MatchAction,
    /// Has no effect.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pipeline_name: String,
    /// Reason in the counter of dropped lines; empty: `match_stage`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub drop_counter_reason: String,
}

/// `match.action`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchAction {
    /// They go through `stages`.
    #[default]
    Keep,
    /// They are dropped.
    Drop,
}

/// `drop`: all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DropStage {
    /// Extracted keys to look at; absent: the line. Alone: drop when all exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceList>,
    /// Joins several sources; absent: `;`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Exact text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Older than this, by the entry's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<GoDuration>,
    /// Longer than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longer_than: Option<ByteSize>,
    /// Reason in the counter of dropped lines; empty: `drop_stage`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub drop_counter_reason: String,
}

/// One name or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceList(pub Vec<String>);

impl Serialize for SourceList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SourceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = SourceList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<SourceList, E> {
                Ok(SourceList(vec![name.to_owned()]))
            }

            fn visit_u64<E: de::Error>(self, name: u64) -> Result<SourceList, E> {
                self.visit_str(&name.to_string())
            }

            fn visit_i64<E: de::Error>(self, name: i64) -> Result<SourceList, E> {
                self.visit_str(&name.to_string())
            }

            fn visit_bool<E: de::Error>(self, name: bool) -> Result<SourceList, E> {
                self.visit_str(&name.to_string())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SourceList, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(SourceList(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl JsonSchema for SourceList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SourceList".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// `limit`: a token bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitStage {
    /// Lines per second.
    pub rate: f64,
    /// Lines at once.
    pub burst: u64,
    /// Drop what is too much; else this container's file waits.
    #[serde(default)]
    pub drop: bool,
    /// A bucket for each value of this label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_label_name: String,
    /// Buckets that are kept.
    #[serde(default = "ten_thousand")]
    pub max_distinct_labels: u64,
}

/// Default of `max_distinct_labels`, and its minimum in Promtail.
fn ten_thousand() -> u64 {
    10_000
}

/// `sampling`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SamplingStage {
    /// Fraction that is kept, 0 to 1. Absent: nothing is kept.
    pub rate: f64,
    /// Reason in the counter of dropped lines; empty: `sampling_stage`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub drop_counter_reason: String,
}
