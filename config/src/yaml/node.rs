//! The tree: mappings in the order of the file, scalars as written.

use serde_yaml::Value;

use super::scalar::Resolved;

/// A position: which source, and where in it. Line and column count from 1; 0 is "not known".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Index into the document's list of sources.
    pub source: u16,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: Mark,
    /// What it is.
    pub kind: Kind,
}

/// The three kinds of YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text, number, boolean or null; [`Scalar::resolve`] tells which.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys are unique.
    Mapping(Vec<(Key, Node)>),
}

/// A scalar as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text, quotes and escapes removed.
    pub text: String,
    /// Without quotes and not a block: may be a number, a boolean or null.
    pub plain: bool,
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it begins.
    pub at: Mark,
}

impl Node {
    /// An empty mapping: what an empty document means.
    pub fn empty(at: Mark) -> Self {
        Self { at, kind: Kind::Mapping(Vec::new()) }
    }

    /// The value of `key`, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Kind::Mapping(entries) = &self.kind else { return None };
        entries.iter().find(|(k, _)| k.text == key).map(|(_, value)| value)
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        let Kind::Scalar(scalar) = &self.kind else { return None };
        Some(&scalar.text)
    }

    /// The tree as a plain value, without positions: scalars get the type that they mean.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => Value::Null,
                Resolved::Bool(value) => value.into(),
                Resolved::Int(value) => value.into(),
                Resolved::UInt(value) => value.into(),
                Resolved::Float(value) => value.into(),
                Resolved::Text(text) => text.into(),
            },
            Kind::Sequence(items) => Value::Sequence(items.iter().map(Self::to_value).collect()),
            Kind::Mapping(entries) => {
                Value::Mapping(entries.iter().map(|(key, value)| (key.text.clone().into(), value.to_value())).collect())
            }
        }
    }

    /// Lays `over` on top: mappings key by key, everything else replaced.
    pub fn overlay(&mut self, over: Node) {
        match (&mut self.kind, over.kind) {
            (Kind::Mapping(base), Kind::Mapping(entries)) => {
                for (key, value) in entries {
                    match base.iter_mut().find(|(k, _)| k.text == key.text) {
                        Some((at, old)) => {
                            at.at = key.at;
                            old.overlay(value);
                        }
                        None => base.push((key, value)),
                    }
                }
            }
            (kind, over_kind) => {
                *kind = over_kind;
                self.at = over.at;
            }
        }
    }

    /// A tree from a plain value (one that was never text): no positions.
    pub fn from_value(value: &Value) -> Self {
        Self::from_value_at(value, Mark::default())
    }

    /// The same, every node at `at`.
    pub fn from_value_at(value: &Value, at: Mark) -> Self {
        let plain = |text: String| Kind::Scalar(Scalar { text, plain: true });
        let kind = match value {
            Value::Null => plain("null".to_owned()),
            Value::Bool(b) => plain(b.to_string()),
            Value::Number(n) => plain(n.to_string()),
            Value::String(text) => Kind::Scalar(Scalar { text: text.clone(), plain: false }),
            Value::Sequence(items) => Kind::Sequence(items.iter().map(|item| Self::from_value_at(item, at)).collect()),
            Value::Mapping(map) => Kind::Mapping(
                map.iter()
                    .map(|(key, value)| (Key { text: key_text(key), at }, Self::from_value_at(value, at)))
                    .collect(),
            ),
            Value::Tagged(tagged) => return Self::from_value_at(&tagged.value, at),
        };
        Self { at, kind }
    }
}

fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        _ => String::new(),
    }
}
