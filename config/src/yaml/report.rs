//! What a typed value's own checks find, put back into the document that it was read from.

use std::collections::HashSet;

use super::document::Document;
use super::path::{Segment, parent, parse_path, push_key};
use crate::finding::{Finding, Severity};

/// Collects what a typed value's own checks find, with the places of the document it came from.
#[derive(Debug)]
pub struct Report<'a> {
    document: &'a Document,
    /// List items that the value lacks: its indices do not count them, the document's do.
    removed: HashSet<String>,
    findings: Vec<Finding>,
}

impl<'a> Report<'a> {
    /// An empty report about `document`.
    pub fn new(document: &'a Document) -> Self {
        Self::without(document, HashSet::new())
    }

    pub(crate) fn without(document: &'a Document, removed: HashSet<String>) -> Self {
        Self { document, removed, findings: Vec::new() }
    }

    /// Adds an error. `text` may end in ` (hint: …)`.
    pub fn error(&mut self, path: impl Into<String>, text: impl AsRef<str>) {
        self.add(Severity::Error, path.into(), text.as_ref());
    }

    /// Adds a warning.
    pub fn warning(&mut self, path: impl Into<String>, text: impl AsRef<str>) {
        self.add(Severity::Warning, path.into(), text.as_ref());
    }

    fn add(&mut self, severity: Severity, path: String, text: &str) {
        let path = if self.removed.is_empty() { path } else { self.original(&path) };
        // "needs the key role" says nothing new where `role` was there and wrong.
        let lost_a_key = || self.removed.iter().any(|removed| parent(removed) == path);
        if text.starts_with("needs ") && lost_a_key() {
            return;
        }
        self.findings.push(Finding::new(severity, self.document.place_of(&path), path, text));
    }

    /// The document's path of the value's `path`.
    fn original(&self, path: &str) -> String {
        let mut out = String::new();
        for segment in parse_path(path).unwrap_or_default() {
            match segment {
                Segment::Key(key) => push_key(&mut out, &key),
                Segment::Item(nth) => {
                    let present = |idx: &usize| !self.removed.contains(&format!("{out}[{idx}]"));
                    let idx = (0..).filter(present).nth(nth).unwrap_or(nth);
                    out.push_str(&format!("[{idx}]"));
                }
            }
        }
        out
    }

    /// What was found.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}
