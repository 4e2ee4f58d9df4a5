//! A YAML document with its sources: the file, and arguments laid over it.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::compose::{Mistake, compose};
use super::decode::{Decoded, Noted, Rules, decode};
use super::node::{Key, Kind, Mark, Node, Scalar};
use super::path::{Segment, parse_path};
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
    Node { at, kind: Kind::Scalar(Scalar { text: text.to_owned(), plain: true }) }
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
