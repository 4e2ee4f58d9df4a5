//! `pipeline_stages`: one typed body per stage.
//!
//! A stage is written as a mapping with one key, its name. Inside a body unknown keys only warn and the case of keys
//! does not count, as in Promtail: the structs of bodies therefore end in `Stage`, which is how the decoder knows them.

mod check;
mod filter;
mod label;
mod metrics;
mod parse;
mod rewrite;

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use check::check_stages;
pub use filter::{DropStage, LimitStage, MatchAction, MatchStage, SamplingStage, SourceList};
pub use label::{
    LabelAllowStage, LabelDropStage, LabelsStage, StaticLabelsStage, StructuredMetadataStage, TenantStage,
};
pub use metrics::{MetricActionStage, MetricKind, MetricStage, MetricsStage};
pub use parse::{
    ContainerStage, CriStage, DockerStage, EventLogMessageStage, GeoIpStage, JsonStage, LogfmtStage, RegexStage,
};
pub use rewrite::{
    DecolorizeStage, FailureAction, LuhnStage, MultilineStage, OutputStage, PackStage, ReplaceStage, TemplateStage,
    TimestampStage,
};

use crate::finding::did_you_mean;

macro_rules! stages {
    ($($(#[$meta:meta])* $variant:ident($body:ty) = $name:literal $(| $alias:literal)*,)*) => {
        /// One stage of a pipeline.
        ///
        /// Source: collector contract, section 5.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Stage {
            $($(#[$meta])* $variant($body),)*
        }

        impl Stage {
            /// The names of all stages.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The stage's name in the file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }
        }

        impl Serialize for Stage {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $(Self::$variant(body) => map.serialize_entry($name, body)?,)*
                }
                map.end()
            }
        }

        fn decode_body<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<Stage, A::Error> {
            match name {
                $($name $(| $alias)* => map.next_value().map(Stage::$variant),)*
                _ => {
                    let near = did_you_mean(name, Stage::NAMES.iter().copied());
                    Err(de::Error::custom(format!("{name:?} is not a stage{near}")))
                }
            }
        }

        impl JsonSchema for Stage {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                "Stage".into()
            }

            /// A property per stage rather than `oneOf`: a Kubernetes schema must be structural.
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let mut properties = serde_json::Map::new();
                $(properties.insert($name.to_owned(), body_schema::<$body>(generator));)*
                json_schema!({
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "properties": properties,
                })
            }
        }
    };
}

stages! {
    /// Container log lines of either format.
    Container(ContainerStage) = "container",
    /// Docker's JSON lines.
    Docker(DockerStage) = "docker",
    /// The format of containerd and CRI-O.
    Cri(CriStage) = "cri",
    /// Named groups of a regular expression.
    Regex(RegexStage) = "regex",
    /// JMESPath expressions.
    Json(JsonStage) = "json",
    /// `key=value` pairs.
    Logfmt(LogfmtStage) = "logfmt",
    /// Windows event messages.
    EventLogMessage(EventLogMessageStage) = "eventlogmessage",
    /// Places of IP addresses.
    GeoIp(GeoIpStage) = "geoip",
    /// Replaces the groups of a regular expression.
    Replace(ReplaceStage) = "replace",
    /// Joins lines to blocks.
    Multiline(MultilineStage) = "multiline",
    /// Writes an extracted value by a template.
    Template(TemplateStage) = "template",
    /// Extracted values become labels.
    Labels(LabelsStage) = "labels",
    /// Constant labels.
    StaticLabels(StaticLabelsStage) = "static_labels",
    /// Removes labels.
    LabelDrop(LabelDropStage) = "labeldrop",
    /// Removes all other labels.
    LabelAllow(LabelAllowStage) = "labelallow",
    /// Extracted values or labels become structured metadata.
    StructuredMetadata(StructuredMetadataStage) = "structured_metadata" | "non_indexed_labels",
    /// Sets the entry's time.
    Timestamp(TimestampStage) = "timestamp",
    /// Sets the line.
    Output(OutputStage) = "output",
    /// Sets the tenant.
    Tenant(TenantStage) = "tenant",
    /// Stages for matching entries only.
    Match(MatchStage) = "match",
    /// Drops entries.
    Drop(DropStage) = "drop",
    /// Limits the rate.
    Limit(LimitStage) = "limit",
    /// Keeps a fraction.
    Sampling(SamplingStage) = "sampling",
    /// Counts for `/metrics`.
    Metrics(MetricsStage) = "metrics",
    /// Puts labels into the line.
    Pack(PackStage) = "pack",
    /// Removes colours.
    Decolorize(DecolorizeStage) = "decolorize",
    /// Hides card numbers.
    Luhn(LuhnStage) = "luhn",
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Stage;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stage (hint: write a mapping with one key, as in - json: {...})")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stage, A::Error> {
                let Some(name) = map.next_key::<String>()? else {
                    return Err(de::Error::custom("has no stage in it (hint: write one key, as in - json: {...})"));
                };
                let stage = decode_body(&name, &mut map)?;
                match map.next_key::<String>()? {
                    None => Ok(stage),
                    Some(second) => Err(de::Error::custom(format!(
                        "{second:?} is a second key of the stage {name:?} (hint: indent it below {name}, or begin it with -)"
                    ))),
                }
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

/// The schema of a body; `null` never stands in a custom resource.
fn body_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> serde_json::Value {
    generator.subschema_for::<T>().to_value()
}

/// Names with what they are made from: `level: severity`. Empty or null: the name itself. Also a list of names.
///
/// The list form exists because `kubectl` drops null from free-form objects before it sends them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameMap(pub BTreeMap<String, String>);

impl NameMap {
    /// Pairs of a name and its source.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, source)| (name.as_str(), if source.is_empty() { name } else { source }.as_str()))
    }

    /// True when nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for NameMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, source)| (name.into(), source.into())).collect())
    }
}

impl Serialize for NameMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NameMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = NameMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names, or a list of them")
            }

            fn visit_unit<E: de::Error>(self) -> Result<NameMap, E> {
                Ok(NameMap::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NameMap, A::Error> {
                let mut names = BTreeMap::new();
                while let Some((name, source)) = map.next_entry::<String, Option<String>>()? {
                    names.insert(name, source.unwrap_or_default());
                }
                Ok(NameMap(names))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NameMap, A::Error> {
                let mut names = BTreeMap::new();
                while let Some(name) = seq.next_element::<String>()? {
                    names.insert(name, String::new());
                }
                Ok(NameMap(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl JsonSchema for NameMap {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NameMap".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Two shapes, so no `type`.
        json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// A schema for stages inside a stage: Kubernetes schemas cannot recurse.
fn nested_stages(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}
