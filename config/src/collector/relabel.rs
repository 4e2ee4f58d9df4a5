//! `relabel_configs`: one rule.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::finding::did_you_mean;

/// A relabelling rule. `regex:` (null) is the empty pattern, not the default one.
///
/// Source: collector contract, section 2.4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelabelConfig {
    /// Their values, joined, are what the rule looks at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<String>,
    /// Joins them.
    #[serde(skip_serializing_if = "is_default_separator")]
    pub separator: String,
    /// Go syntax, anchored at both ends, dot matches newline.
    #[serde(skip_serializing_if = "is_default_regex")]
    pub regex: String,
    /// For `hashmod`.
    #[serde(skip_serializing_if = "is_zero")]
    pub modulus: u64,
    /// The label that is written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_label: String,
    /// What is written, with `$1` for groups.
    #[serde(skip_serializing_if = "is_default_replacement")]
    pub replacement: String,
    /// What the rule does.
    pub action: RelabelAction,
}

impl RelabelConfig {
    /// Default of `separator`.
    pub const SEPARATOR: &'static str = ";";
    /// Default of `regex`.
    pub const REGEX: &'static str = "(.*)";
    /// Default of `replacement`.
    pub const REPLACEMENT: &'static str = "$1";
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: Self::SEPARATOR.to_owned(),
            regex: Self::REGEX.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: Self::REPLACEMENT.to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

fn is_default_separator(text: &str) -> bool {
    text == RelabelConfig::SEPARATOR
}

fn is_default_regex(text: &str) -> bool {
    text == RelabelConfig::REGEX
}

fn is_default_replacement(text: &str) -> bool {
    text == RelabelConfig::REPLACEMENT
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// `action`, read in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Write `replacement` to `target_label` where `regex` matches.
    #[default]
    Replace,
    /// Drop targets that do not match.
    Keep,
    /// Drop targets that match.
    Drop,
    /// Drop targets whose value differs from `target_label`'s.
    KeepEqual,
    /// Drop targets whose value equals `target_label`'s.
    DropEqual,
    /// Write a hash of the value, modulo `modulus`.
    HashMod,
    /// Copy labels whose name matches to new names.
    LabelMap,
    /// Remove labels whose name matches.
    LabelDrop,
    /// Remove labels whose name does not match.
    LabelKeep,
    /// Write the value in lower case.
    Lowercase,
    /// Write the value in upper case.
    Uppercase,
}

impl RelabelAction {
    /// Every action with its name.
    pub const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];
}

impl<'de> Deserialize<'de> for RelabelAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
        found.map(|(_, action)| *action).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name);
            let near = did_you_mean(&text, names);
            de::Error::custom(format!("{text:?} is not one of {}{near}", names.join(", ")))
        })
    }
}
