//! A tree -> a typed value, by serde, with every mistake located.
//!
//! serde's visitors end at their first error. So the tree is decoded again after each one, without the node that
//! caused it, until it succeeds: the defaults of the structs stand in for what was removed. Unknown keys need no second
//! run: a struct's deserializer is told the struct's fields, so it reports a stranger, skips it and goes on.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, Unexpected};

use super::deserializer::NodeDe;
use super::node::{Mark, Node};
use crate::finding::{Severity, did_you_mean};

/// More runs than this means more mistakes than anyone reads at once.
const RUNS_MAX: usize = 200;

/// What null means for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// The zero value of its type, as in Go; for a block its defaults.
    Zero,
    /// As if the key were absent, as in a Kubernetes object.
    Absent,
}

/// What is known about keys beyond the fields of the structs.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What null means.
    pub nulls: Nulls,
    /// Known keys without a meaning here: a warning.
    pub ignored: &'static [Ignored],
    /// Known keys that would do harm if they were ignored: an error with a reason better than "unknown".
    pub refused: &'static [Ignored],
    /// Structs (by serde's name) in which unknown keys only warn and the case of keys does not count.
    pub is_lenient: fn(&str) -> bool,
}

/// Keys of one struct that the reference knows and we do not have.
#[derive(Debug, Clone, Copy)]
pub struct Ignored {
    /// Serde's name of the struct.
    pub block: &'static str,
    /// Why they have no meaning: `one node has no ring`.
    pub reason: &'static str,
    /// The keys.
    pub keys: &'static [&'static str],
}

/// Something noticed while decoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Noted {
    pub severity: Severity,
    pub at: Mark,
    pub path: String,
    pub text: String,
}

impl std::hash::Hash for Mark {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.source, self.line, self.column).hash(state);
    }
}

/// What came of a tree.
pub(crate) struct Decoded<T> {
    /// There unless the root itself is of no use; trustworthy only without errors.
    pub value: Option<T>,
    /// Paths that were left out of it, each with an error of its own.
    pub removed: HashSet<String>,
    /// Errors and warnings.
    pub noted: Vec<Noted>,
}

/// Decodes `root`.
pub(crate) fn decode<T: DeserializeOwned>(root: &Node, rules: &Rules) -> Decoded<T> {
    let cx = Cx { rules, removed: RefCell::default(), noted: RefCell::default() };
    let mut errors: Vec<Noted> = Vec::new();
    let mut value = None;
    for _ in 0..RUNS_MAX {
        match T::deserialize(NodeDe { node: root, path: &Path::Root, cx: &cx }) {
            Ok(decoded) => {
                value = Some(decoded);
                break;
            }
            Err(error) => {
                let (path, at) = error.at.clone().unwrap_or((String::new(), root.at));
                if !error.is_echo(&path, &cx.removed.borrow()) {
                    errors.push(Noted { severity: Severity::Error, at, path: path.clone(), text: error.text });
                }
                if path.is_empty() || !cx.removed.borrow_mut().insert(path) {
                    break;
                }
            }
        }
    }
    errors.extend(cx.noted.into_inner());
    Decoded { value, removed: cx.removed.into_inner(), noted: errors }
}

pub(super) struct Cx<'a> {
    pub rules: &'a Rules,
    /// Paths of nodes that caused an error.
    removed: RefCell<HashSet<String>>,
    /// Unknown and ignored keys; each once, over all runs.
    noted: RefCell<Vec<Noted>>,
}

impl Cx<'_> {
    pub(super) fn note(&self, severity: Severity, at: Mark, path: String, text: String) {
        let noted = Noted { severity, at, path, text };
        let mut all = self.noted.borrow_mut();
        if !all.contains(&noted) {
            all.push(noted);
        }
    }

    /// Notes a key without a meaning, once however often it stands in a list.
    pub(super) fn note_ignored(&self, at: Mark, path: String, key: &str, reason: &str) {
        let text = format!("is accepted and ignored: {reason}");
        let mut all = self.noted.borrow_mut();
        let is_same = |noted: &Noted| noted.text == text && last_key(&noted.path) == key;
        if !all.iter().any(is_same) {
            all.push(Noted { severity: Severity::Warning, at, path, text });
        }
    }

    pub(super) fn is_removed(&self, path: &Path<'_>) -> bool {
        let removed = self.removed.borrow();
        !removed.is_empty() && removed.contains(&path.to_string())
    }
}

fn last_key(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Where the deserializer is. Lives on the stack; becomes text only when something is reported.
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(parent, key) => {
                parent.fmt(f)?;
                let plain = !key.is_empty() && !key.contains(['.', '[', ']', '"', ' ']);
                match (plain, parent) {
                    (true, Path::Root) => f.write_str(key),
                    (true, _) => write!(f, ".{key}"),
                    (false, _) => write!(f, "[{key:?}]"),
                }
            }
            Path::Item(parent, idx) => write!(f, "{parent}[{idx}]"),
        }
    }
}

/// serde's error, with the place once it is known.
#[derive(Debug)]
pub(super) struct DecodeError {
    text: String,
    /// Set by the innermost deserializer that the error passes.
    pub at: Option<(String, Mark)>,
    missing: Option<&'static str>,
}

impl DecodeError {
    pub(super) fn new(text: String) -> Self {
        Self { text, at: None, missing: None }
    }

    pub(super) fn located(mut self, path: &Path<'_>, at: Mark) -> Self {
        self.at.get_or_insert_with(|| (path.to_string(), at));
        self
    }

    /// True when the error only says that something is missing which an earlier run removed.
    fn is_echo(&self, path: &str, removed: &HashSet<String>) -> bool {
        let below = |other: &String| {
            let rest = other.strip_prefix(path);
            rest.filter(|rest| path.is_empty() || rest.starts_with(['.', '['])).map(str::to_owned)
        };
        match self.missing {
            Some(field) => removed.iter().filter_map(below).any(|rest| rest.trim_start_matches('.') == field),
            None => removed.iter().any(|other| below(other).is_some()),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(format!("{} is not {wanted}", show(found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        // serde names the integer type; a user knows numbers.
        let wanted = match wanted.to_string().as_str() {
            "u8" => "between 0 and 255".to_owned(),
            "u16" => "between 0 and 65535".to_owned(),
            "u32" => "between 0 and 4294967295".to_owned(),
            "u64" | "usize" => "0 or more".to_owned(),
            "i32" => "between -2147483648 and 2147483647".to_owned(),
            other => other.to_owned(),
        };
        Self::new(format!("{} is not {wanted}", show(found)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let names: Vec<&str> = expected.iter().copied().filter(|name| !name.is_empty()).collect();
        let near = did_you_mean(variant, names.iter().copied());
        Self::new(format!("{variant:?} is not one of {}{near}", names.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { text: format!("needs the key {field}"), at: None, missing: Some(field) }
    }
}

fn show(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        other => other.to_string(),
    }
}
