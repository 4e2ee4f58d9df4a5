//! A YAML document with its sources: the file, and arguments laid over it.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::compose::{Mistake, compose};
use super::decode::{Decoded, Noted, Rules, decode};
use super::node::{Key, Kind, Mark, Node};
use crate::finding::{Finding, Place, Severity};

/// One document, with what was wrong with its YAML.
#[derive(Debug, Clone)]
pub struct Document {
    /// Names that marks refer to: the file, then one per `--set`.
    sources: Vec<Arc<str>>,
    root: Node,
    mistakes: Vec<Finding>,
}

impl Document {
    /// Reads every document of `text`; at least one, which is empty when the text is. Empty documents between `---`
    /// lines are left out. Mistakes stay with the last document that was read.
    pub fn parse_all(text: &str, file: &str) -> Vec<Self> {
        let sources: Vec<Arc<str>> = vec![file.into()];
        let (nodes, mistakes) = compose(text, 0);
        let is_null = |node: &Node| node.text().is_some_and(|text| matches!(text, "" | "~" | "null"));
        let mut documents: Vec<Self> = nodes
            .into_iter()
            .filter(|node| !is_null(node))
            .map(|root| Self { sources: sources.clone(), root, mistakes: Vec::new() })
            .collect();
        if documents.is_empty() {
            let root = Node::empty(Mark { source: 0, line: 0, column: 0 });
            documents.push(Self { sources, root, mistakes: Vec::new() });
        }
        if let Some(last) = documents.last_mut() {
            last.mistakes = mistakes.into_iter().map(|mistake| last.finding(mistake)).collect();
        }
        documents
    }

    /// Reads a text that must be one document.
    pub fn parse(text: &str, file: &str) -> Self {
        let mut documents = Self::parse_all(text, file);
        let second = documents.get(1).map(|second| second.root.at);
        let mistakes = documents.last().map(|last| last.mistakes.clone()).unwrap_or_default();
        let mut first = documents.swap_remove(0);
        first.mistakes = mistakes;
        if let Some(at) = second {
            let text = "begins a second document (hint: this file holds one; remove the line ---)".to_owned();
            first.mistakes.push(first.finding(Mistake { at, path: String::new(), text }));
        }
        first
    }

    /// A document around a tree that was never text.
    pub fn from_node(root: Node, file: &str) -> Self {
        Self { sources: vec![file.into()], root, mistakes: Vec::new() }
    }

    /// The tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Lays `path=value` over the document, as `--set` does; `value` is YAML. Missing blocks are made.
    pub fn set(&mut self, assignment: &str) {
        let source = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        self.sources.push(format!("--set {assignment}").into());
        let fail = |this: &mut Self, text: &str| {
            let mistake = Mistake { at: Mark { source, line: 0, column: 0 }, path: String::new(), text: text.into() };
            let finding = this.finding(mistake);
            this.mistakes.push(finding);
        };
        let Some((path, value)) = assignment.split_once('=') else {
            return fail(self, "has no value (hint: write key=value)");
        };
        let Some(segments) = parse_path(path.trim()).filter(|segments| !segments.is_empty()) else {
            return fail(self, "does not begin with a key (hint: write a.b.c=value or list[0].key=value)");
        };
        let (mut values, mistakes) = compose(value, source);
        if let Some(mistake) = mistakes.into_iter().next() {
            return fail(self, &mistake.text);
        }
        let at = Mark { source, line: 0, column: 0 };
        let mut node = if values.is_empty() { scalar("", at) } else { values.swap_remove(0) };
        forget_lines(&mut node);
        if let Err(text) = put(&mut self.root, &segments, node, at) {
            fail(self, &text);
        }
    }

    /// Removes the value at `path`; false when there is none.
    pub fn unset(&mut self, path: &str) -> bool {
        let segments = parse_path(path).unwrap_or_default();
        let Some((last, parents)) = segments.split_last() else { return false };
        let mut node = &mut self.root;
        for segment in parents {
            let next = match (&mut node.kind, segment) {
                (Kind::Mapping(entries), Segment::Key(key)) => {
                    entries.iter_mut().find(|(k, _)| k.text == *key).map(|(_, value)| value)
                }
                (Kind::Sequence(items), Segment::Item(idx)) => items.get_mut(*idx),
                _ => None,
            };
            let Some(child) = next else { return false };
            node = child;
        }
        match (&mut node.kind, last) {
            (Kind::Mapping(entries), Segment::Key(key)) => {
                let before = entries.len();
                entries.retain(|(k, _)| k.text != *key);
                entries.len() < before
            }
            (Kind::Sequence(items), Segment::Item(idx)) if *idx < items.len() => {
                items.remove(*idx);
                true
            }
            _ => false,
        }
    }

    /// True when the document has a value at `path`.
    pub fn has(&self, path: &str) -> bool {
        let mut node = &self.root;
        for segment in parse_path(path).unwrap_or_default() {
            let next = match (&node.kind, &segment) {
                (Kind::Mapping(_), Segment::Key(key)) => node.get(key),
                (Kind::Sequence(items), Segment::Item(idx)) => items.get(*idx),
                _ => None,
            };
            let Some(child) = next else { return false };
            node = child;
        }
        true
    }

    /// Decodes the document and adds what was wrong with its YAML. Also: the paths that had to be left out.
    pub(crate) fn decode<T: DeserializeOwned>(&self, rules: &Rules) -> (Option<T>, HashSet<String>, Vec<Finding>) {
        let (value, removed, noted) = self.decode_node(&self.root, "", rules);
        let mut findings = self.mistakes.clone();
        findings.extend(noted);
        (value, removed, findings)
    }

    /// Decodes another tree made from parts of this document; findings are about `path` and what is below.
    pub(crate) fn decode_node<T: DeserializeOwned>(
        &self,
        node: &Node,
        path: &str,
        rules: &Rules,
    ) -> (Option<T>, HashSet<String>, Vec<Finding>) {
        let Decoded { value, removed, noted } = decode(node, rules);
        let below = |rest: String| {
            let dot = if path.is_empty() || rest.is_empty() || rest.starts_with('[') { "" } else { "." };
            format!("{path}{dot}{rest}")
        };
        let findings = noted
            .into_iter()
            .map(|Noted { severity, at, path, text }| Finding::new(severity, self.place(at), below(path), &text));
        let findings = findings.collect();
        (value, removed.into_iter().map(below).collect(), findings)
    }

    /// What was wrong with the YAML itself.
    pub fn mistakes(&self) -> &[Finding] {
        &self.mistakes
    }

    /// The place of `path`, or of its nearest parent that the document has.
    pub fn place_of(&self, path: &str) -> Place {
        let mut node = &self.root;
        let mut at = node.at;
        for segment in parse_path(path).unwrap_or_default() {
            let next = match (&node.kind, &segment) {
                (Kind::Mapping(entries), Segment::Key(key)) => {
                    entries.iter().find(|(k, _)| k.text == *key).map(|(k, value)| (k.at, value))
                }
                (Kind::Sequence(items), Segment::Item(idx)) => items.get(*idx).map(|item| (item.at, item)),
                _ => None,
            };
            let Some((mark, child)) = next else { break };
            (at, node) = (mark, child);
        }
        self.place(at)
    }

    fn place(&self, at: Mark) -> Place {
        let file = self.sources.get(usize::from(at.source)).unwrap_or(&self.sources[0]);
        Place { file: file.clone(), line: at.line, column: at.column }
    }

    fn finding(&self, mistake: Mistake) -> Finding {
        Finding::new(Severity::Error, self.place(mistake.at), mistake.path, &mistake.text)
    }
}

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

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Item(usize),
}

/// `a.b[0]["x.y"]` -> its steps; `None` when it is no path.
fn parse_path(path: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            // Written by `{:?}`: a quote inside is escaped.
            let end = quoted.match_indices("\"]").map(|(at, _)| at).find(|&at| !quoted[..at].ends_with('\\'))?;
            segments.push(Segment::Key(quoted[..end].replace("\\\"", "\"").replace("\\\\", "\\")));
            rest = &quoted[end + 2..];
        } else if let Some(item) = rest.strip_prefix('[') {
            let (digits, after) = item.split_once(']')?;
            segments.push(Segment::Item(digits.parse().ok()?));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            segments.push(Segment::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            if rest.is_empty() {
                return None;
            }
        }
    }
    Some(segments)
}

/// The path without its last step; empty for a step of the root.
fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).map_or("", |at| &path[..at])
}

/// Adds a key to a path, quoted where it must be.
pub(super) fn push_key(path: &mut String, key: &str) {
    if key.is_empty() || key.contains(['.', '[', ']', '"', ' ']) {
        path.push_str(&format!("[{key:?}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

fn put(node: &mut Node, segments: &[Segment], value: Node, at: Mark) -> Result<(), String> {
    let Some((segment, rest)) = segments.split_first() else {
        *node = value;
        return Ok(());
    };
    match segment {
        Segment::Key(key) => {
            if !matches!(node.kind, Kind::Mapping(_)) {
                *node = Node::empty(at);
            }
            let Kind::Mapping(entries) = &mut node.kind else { return Ok(()) };
            let idx = entries.iter().position(|(k, _)| k.text == *key).unwrap_or_else(|| {
                entries.push((Key { text: key.clone(), at }, Node::empty(at)));
                entries.len() - 1
            });
            entries[idx].0.at = at;
            put(&mut entries[idx].1, rest, value, at)
        }
        Segment::Item(idx) => {
            let Kind::Sequence(items) = &mut node.kind else {
                return Err(format!("asks for item {idx} of something that is not a list"));
            };
            let count = items.len();
            let item = items.get_mut(*idx).ok_or_else(|| format!("asks for item {idx} of a list of {count}"))?;
            put(item, rest, value, at)
        }
    }
}

fn scalar(text: &str, at: Mark) -> Node {
    Node { at, kind: Kind::Scalar(super::node::Scalar { text: text.to_owned(), plain: true }) }
}

/// An argument has no lines worth naming.
fn forget_lines(node: &mut Node) {
    node.at.line = 0;
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => items.iter_mut().for_each(forget_lines),
        Kind::Mapping(entries) => entries.iter_mut().for_each(|(key, value)| {
            key.at.line = 0;
            forget_lines(value);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_paths() {
        #[track_caller]
        fn check(path: &str, want: Option<&[&str]>) {
            let got = parse_path(path).map(|segments| segments.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>());
            assert_eq!(got, want.map(|want| want.iter().map(|&s| s.to_owned()).collect()), "{path}");
        }
        check("a.b", Some(&["Key(\"a\")", "Key(\"b\")"]));
        check("a[0].b", Some(&["Key(\"a\")", "Item(0)", "Key(\"b\")"]));
        check("a[\"x.y\"].b", Some(&["Key(\"a\")", "Key(\"x.y\")", "Key(\"b\")"]));
        check("", Some(&[]));
        check(".a", None);
        check("a..b", None);
        check("a.", None);
        check("a[x]", None);
    }

    #[test]
    fn removes_values() {
        #[track_caller]
        fn check(path: &str, want: bool, left: &[&str]) {
            let mut document = Document::parse("a:\n  b: [{c: 1}, 2]\nd: 1\n", "f");
            assert_eq!(document.unset(path), want, "{path}");
            for path in left {
                assert!(document.has(path), "{path}");
            }
            assert!(!want || path.ends_with(']') || !document.has(path), "{path}");
        }
        check("a.b[0].c", true, &["a.b[0]", "a.b[1]", "d"]);
        check("a.b[0]", true, &["a.b[0]"]);
        check("a", true, &["d"]);
        check("a.x", false, &["a.b[0].c"]);
        check("a.b[9]", false, &["a.b[1]"]);
        check("", false, &["a"]);
    }

    #[test]
    fn finds_the_nearest_place() {
        let document = Document::parse("a:\n  b:\n    - c: 1\n", "f");
        #[track_caller]
        fn check(document: &Document, path: &str, line: u32) {
            assert_eq!(document.place_of(path).line, line, "{path}");
        }
        check(&document, "a.b[0].c", 3);
        check(&document, "a.b[0].nothing", 3);
        check(&document, "a.b", 2);
        check(&document, "a.x.y", 1);
    }
}
