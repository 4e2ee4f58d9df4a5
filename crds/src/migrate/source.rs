//! The values file while it is being read: places in it, and a ledger of what became of each key.
//!
//! Nothing is dropped silently, by construction: [`Ledger::account`] walks the whole file at the end, and what no
//! translation has claimed is named there.

use std::collections::BTreeSet;
use std::fmt;

use logstack_config::Place;
use logstack_config::yaml::{Document, Kind, Mark, Node, Scalar};
use serde_json::Value;

use super::known;

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stands in the output, at this place.
    Carried(String),
    /// It has nothing to say here, for this reason.
    NotNeeded(String),
    /// It said something that the output does not: the reason, and what to do.
    Left(String),
}

/// A key of the source and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where it stands.
    pub place: Place,
    /// Its path: `loki.persistence.size`.
    pub path: String,
    /// What became of it.
    pub fate: Fate,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        f.write_str(&place.file)?;
        if place.line > 0 {
            write!(f, ":{}", place.line)?;
        }
        let path = if self.path.is_empty() { "(the file)" } else { &self.path };
        match &self.fate {
            Fate::Carried(to) => write!(f, ": {path} -> {to}"),
            Fate::NotNeeded(reason) | Fate::Left(reason) => write!(f, ": {path}: {reason}"),
        }
    }
}

/// A value of the source with its path.
#[derive(Clone)]
pub(super) struct At<'a> {
    document: &'a Document,
    /// The value.
    pub node: &'a Node,
    /// Its path.
    pub path: String,
}

impl<'a> At<'a> {
    /// The whole document.
    pub(super) fn root(document: &'a Document) -> Self {
        Self { document, node: document.root(), path: String::new() }
    }

    /// The value of a key, when it says something: null is absent.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let node = self.node.get(key)?;
        let at = Self { document: self.document, node, path: join(&self.path, key) };
        (!is_null(node)).then_some(at)
    }

    /// The value below several keys.
    pub(super) fn find(&self, keys: &str) -> Option<Self> {
        keys.split('.').try_fold(self.clone(), |at, key| at.get(key))
    }

    /// The entries of a mapping, those that say nothing left out.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Kind::Mapping(entries) = &self.node.kind else { return Vec::new() };
        let keys = entries.iter().map(|(key, _)| key.text.as_str());
        keys.filter_map(|key| Some((key, self.get(key)?))).collect()
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let Kind::Sequence(items) = &self.node.kind else { return Vec::new() };
        let item = |(idx, node)| Self { document: self.document, node, path: format!("{}[{idx}]", self.path) };
        items.iter().enumerate().map(item).collect()
    }

    /// The items of a list that this value was turned into: they stand where it does.
    pub(super) fn items_of<'b>(&'b self, made: &'b Node) -> Vec<At<'b>> {
        let Kind::Sequence(items) = &made.kind else { return Vec::new() };
        let item = |(idx, node)| At { document: self.document, node, path: format!("{}[{idx}]", self.path) };
        items.iter().enumerate().map(item).collect()
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.node.text()
    }

    /// A boolean; text that Go would read as one counts.
    pub(super) fn bool(&self) -> Option<bool> {
        match self.value() {
            Value::Bool(value) => Some(value),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn int(&self) -> Option<i64> {
        match self.value() {
            Value::Number(number) => number.as_i64().or_else(|| {
                let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
                Some(float as i64)
            }),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The value without positions.
    pub(super) fn value(&self) -> Value {
        serde_json::to_value(self.node.to_value()).unwrap_or(Value::Null)
    }

    /// True for `{}`, `[]`, `""` and null: nothing is lost with them.
    pub(super) fn is_empty(&self) -> bool {
        is_empty(self.node)
    }

    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        self.document.place_of(&self.path)
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(scalar) if scalar.is_null())
}

fn is_empty(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.is_null() || scalar.text.is_empty(),
        Kind::Sequence(items) => items.is_empty(),
        Kind::Mapping(entries) => entries.iter().all(|(_, value)| is_empty(value)),
    }
}

/// A path and a key below it, as `Document::place_of` reads it.
pub(super) fn join(path: &str, key: &str) -> String {
    let quoted = key.is_empty() || key.contains(['.', '[', ']', '"', ' ']);
    match (path.is_empty(), quoted) {
        (_, true) => format!("{path}[{key:?}]"),
        (true, false) => key.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}

/// What became of the keys, and which have been looked at.
#[derive(Default)]
pub(super) struct Ledger {
    notes: Vec<Note>,
    claimed: BTreeSet<String>,
}

impl Ledger {
    /// The value stands in the output.
    pub(super) fn carried(&mut self, at: &At<'_>, to: impl Into<String>) {
        self.note(at, Fate::Carried(to.into()));
    }

    /// The value has nothing to say here.
    pub(super) fn not_needed(&mut self, at: &At<'_>, reason: impl Into<String>) {
        self.note(at, Fate::NotNeeded(reason.into()));
    }

    /// The value says something that the output does not.
    pub(super) fn left(&mut self, at: &At<'_>, reason: impl Into<String>) {
        self.note(at, Fate::Left(reason.into()));
    }

    /// Something in the output that no key of its own says. Claims nothing.
    pub(super) fn remark(&mut self, at: &At<'_>, to: impl Into<String>) {
        let place = at.place();
        self.notes.push(Note { place, path: at.path.clone(), fate: Fate::Carried(to.into()) });
    }

    fn note(&mut self, at: &At<'_>, fate: Fate) {
        self.claimed.insert(at.path.clone());
        self.notes.push(Note { place: at.place(), path: at.path.clone(), fate });
    }

    /// Names everything of `root` that nothing claimed.
    pub(super) fn account(&mut self, root: &At<'_>) {
        if self.claimed.contains(&root.path) || root.is_empty() {
            return;
        }
        let is_inside = |claimed: &str| {
            claimed.strip_prefix(&*root.path).is_some_and(|rest| root.path.is_empty() || rest.starts_with(['.', '[']))
        };
        let has_claimed = self.claimed.iter().any(|claimed| is_inside(claimed));
        match known::fate(&root.path) {
            Some(Fate::Left(_)) if !has_claimed && is_off(root) => self.not_needed(root, "is switched off"),
            Some(fate) if !has_claimed => self.note(root, fate),
            _ => {
                let children: Vec<At<'_>> = match &root.node.kind {
                    Kind::Mapping(_) => root.entries().into_iter().map(|(_, at)| at).collect(),
                    // A list is one thing, unless a part of it was claimed.
                    Kind::Sequence(_) if has_claimed => root.items(),
                    _ => Vec::new(),
                };
                if children.is_empty() {
                    self.note(root, Fate::Left("is not known to this command".to_owned()));
                }
                for child in children {
                    self.account(&child);
                }
            }
        }
    }

    /// All notes, in the order of the file.
    pub(super) fn into_notes(mut self) -> Vec<Note> {
        self.notes.sort_by_key(|note| (note.place.line, note.place.column));
        self.notes
    }
}

/// True for `{enabled: false, …}`.
fn is_off(at: &At<'_>) -> bool {
    at.get("enabled").and_then(|at| at.bool()) == Some(false)
}

/// Keys of charts whose text is YAML of its own.
const EMBEDDED: [&str; 18] = [
    "loki.config",
    "loki.structuredConfig",
    "config",
    "promtail.config.file",
    "config.file",
    "promtail.config.scrapeConfigs",
    "config.scrapeConfigs",
    "promtail.config.snippets.scrapeConfigs",
    "config.snippets.scrapeConfigs",
    "promtail.config.snippets.extraScrapeConfigs",
    "config.snippets.extraScrapeConfigs",
    "promtail.config.snippets.extraLimitsConfig",
    "config.snippets.extraLimitsConfig",
    "promtail.config.snippets.extraServerConfigs",
    "config.snippets.extraServerConfigs",
    "promtail.config.snippets.extraClientConfigs",
    "config.snippets.extraClientConfigs",
    "loki.datasource.jsonData",
];

/// Replaces YAML in texts by what it means, so that its keys are keys like all others, with their lines.
///
/// A text that holds a Helm template, or that is no YAML, stays a text: whoever reads it says so.
pub(super) fn expand(document: &Document, file: &str) -> Document {
    let mut root = document.root().clone();
    for path in EMBEDDED {
        let keys: Vec<&str> = path.split('.').collect();
        if let Some(node) = find_mut(&mut root, &keys)
            && let Kind::Scalar(Scalar { text, plain: false }) = &node.kind
            && !text.contains("{{")
        {
            let inner = Document::parse(text, file);
            if inner.mistakes().is_empty() && !matches!(inner.root().kind, Kind::Scalar(_)) {
                let lines = node.at.line.saturating_sub(1);
                let mut inner = inner.root().clone();
                move_down(&mut inner, lines, node.at);
                *node = inner;
            }
        }
    }
    Document::from_node(root, file)
}

fn find_mut<'a>(node: &'a mut Node, keys: &[&str]) -> Option<&'a mut Node> {
    let Some((key, rest)) = keys.split_first() else { return Some(node) };
    let Kind::Mapping(entries) = &mut node.kind else { return None };
    let (_, child) = entries.iter_mut().find(|(k, _)| k.text == *key)?;
    find_mut(child, rest)
}

/// Lines of a text inside a file, as lines of the file. `at` is the text's own place.
fn move_down(node: &mut Node, lines: u32, at: Mark) {
    let shift = |mark: &mut Mark| {
        mark.line += lines;
        mark.source = at.source;
    };
    shift(&mut node.at);
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => items.iter_mut().for_each(|item| move_down(item, lines, at)),
        Kind::Mapping(entries) => entries.iter_mut().for_each(|(key, value)| {
            shift(&mut key.at);
            move_down(value, lines, at);
        }),
    }
}
