//! Events of the YAML parser -> trees. Anchors, aliases and merge keys are gone afterwards; duplicate keys are found.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::node::{Key, Kind, Mark, Node, Scalar};
use super::path::push_key;

/// Most nodes of a file after aliases are expanded: enough for thousands of jobs, and nine nested lists of nine
/// aliases ("billion laughs") stop here.
const NODES_MAX: usize = 1_000_000;

/// Deepest nesting. Decoding and dropping a tree recurse.
const DEPTH_MAX: usize = 100;

/// A mistake of composition: where, and what.
pub(super) struct Mistake {
    pub at: Mark,
    pub path: String,
    pub text: String,
}

/// Composes all documents of `text`. Mistakes that leave a tree (duplicate keys) are collected; a syntax error ends
/// the text and is the last mistake.
pub(super) fn compose(text: &str, source: u16) -> (Vec<Node>, Vec<Mistake>) {
    let mut options = Options::default();
    options.emit_comments = false;
    options.block_nesting_limit = DEPTH_MAX;
    options.flow_nesting_limit = DEPTH_MAX;
    let mut composer = Composer { source, ..Composer::default() };
    for next in Parser::new_from_str_with_options(text, options) {
        let outcome = match next {
            Ok((event, span)) => composer.event(event, span),
            Err(error) => {
                let at = Mark { source, line: error.marker().line() as u32, column: error.marker().col() as u32 + 1 };
                Err(Mistake { at, path: String::new(), text: format!("is not YAML: {}", error.info()) })
            }
        };
        if let Err(fatal) = outcome {
            composer.mistakes.push(fatal);
            break;
        }
    }
    (composer.documents, composer.mistakes)
}

#[derive(Default)]
struct Composer {
    source: u16,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    documents: Vec<Node>,
    mistakes: Vec<Mistake>,
}

/// A collection whose end has not come.
struct Open {
    at: Mark,
    anchor: usize,
    content: Content,
    /// Nodes inside, and the deepest nesting below.
    nodes: usize,
    depth: usize,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, key: Option<PendingKey>, merges: Vec<Node> },
}

/// A key whose value has not come.
struct PendingKey {
    key: Key,
    is_merge: bool,
}

/// A node that aliases may name, with its cost.
#[derive(Clone)]
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

/// The key whose value is mixed into the mapping; quoted, it is an ordinary key.
const MERGE_KEY: &str = "<<";

impl Composer {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Mistake> {
        let at = Mark { source: self.source, line: span.start.line() as u32, column: span.start.col() as u32 + 1 };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.as_ref().is_some_and(|tag| tag.core_suffix() == Some("str"));
                let plain = style == ScalarStyle::Plain && !is_text;
                let node = Node { at, kind: Kind::Scalar(Scalar { text: text.into_owned(), plain }) };
                self.count(1, at)?;
                self.place(Anchored { node, nodes: 1, depth: 0 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(at, anchor, Content::Sequence(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(at, anchor, Content::Mapping { entries: Vec::new(), key: None, merges: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some(nodes) = self.anchors.get(&id).map(|target| target.nodes) else {
                    return Err(mistake(at, "names an anchor that contains it"));
                };
                // Counted before it is copied.
                self.count(nodes, at)?;
                let mut target = self.anchors[&id].clone();
                // Mistakes inside are the anchor's; the value as a whole is here.
                target.node.at = at;
                self.place(target, 0)
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, at: Mark) -> Result<(), Mistake> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(mistake(at, "aliases expand to more than a million values"));
        }
        Ok(())
    }

    fn open(&mut self, at: Mark, anchor: usize, content: Content) -> Result<(), Mistake> {
        self.count(1, at)?;
        self.stack.push(Open { at, anchor, content, nodes: 1, depth: 0 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Mistake> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let kind = match open.content {
            Content::Sequence(items) => Kind::Sequence(items),
            Content::Mapping { mut entries, merges, .. } => {
                merge(&mut entries, merges, &mut self.mistakes);
                Kind::Mapping(entries)
            }
        };
        let node = Node { at: open.at, kind };
        self.place(Anchored { node, nodes: open.nodes, depth: open.depth + 1 }, open.anchor)
    }

    /// Puts a finished node where it belongs: a key, a value, an item, a document.
    fn place(&mut self, done: Anchored, anchor: usize) -> Result<(), Mistake> {
        let at = done.node.at;
        if self.stack.len() + done.depth > DEPTH_MAX {
            return Err(mistake(at, "is nested too deeply"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, done.clone());
        }
        let Anchored { node, nodes, depth } = done;
        let Some(open) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.nodes += nodes;
        open.depth = open.depth.max(depth);
        match &mut open.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, key, merges } => match key.take() {
                None => {
                    let Kind::Scalar(Scalar { text, plain }) = node.kind else {
                        return Err(mistake(at, "a key must be text, not a list or a mapping"));
                    };
                    let is_merge = plain && text == MERGE_KEY;
                    *key = Some(PendingKey { key: Key { text, at }, is_merge });
                }
                Some(PendingKey { is_merge: true, .. }) => merges.push(node),
                Some(PendingKey { key, .. }) => match entries.iter().find(|(known, _)| known.text == key.text) {
                    Some((known, _)) => {
                        let text =
                            format!("is given twice, first on line {} (hint: keep one of the two)", known.at.line);
                        let mut path = parent_path(&self.stack);
                        push_key(&mut path, &key.text);
                        self.mistakes.push(Mistake { at: key.at, path, text });
                    }
                    None => entries.push((key, node)),
                },
            },
        }
        Ok(())
    }
}

/// The path of the innermost open collection.
fn parent_path(stack: &[Open]) -> String {
    let mut path = String::new();
    for open in &stack[..stack.len().saturating_sub(1)] {
        match &open.content {
            Content::Sequence(items) => path.push_str(&format!("[{}]", items.len())),
            Content::Mapping { key: Some(pending), .. } => push_key(&mut path, &pending.key.text),
            Content::Mapping { .. } => {}
        }
    }
    path
}

fn mistake(at: Mark, text: &str) -> Mistake {
    Mistake { at, path: String::new(), text: text.to_owned() }
}

/// Adds what `<<` brings: the mapping's own keys win, then the earlier of several merges.
fn merge(entries: &mut Vec<(Key, Node)>, merges: Vec<Node>, mistakes: &mut Vec<Mistake>) {
    for merged in merges {
        let at = merged.at;
        match merged.kind {
            Kind::Mapping(from) => {
                for (key, value) in from {
                    if !entries.iter().any(|(known, _)| known.text == key.text) {
                        entries.push((key, value));
                    }
                }
            }
            Kind::Sequence(items) => merge(entries, items, mistakes),
            Kind::Scalar(_) => mistakes.push(Mistake {
                at,
                path: MERGE_KEY.to_owned(),
                text: "merges something that is not a mapping".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first document as compact text, and the mistakes.
    fn show(text: &str) -> (String, Vec<String>) {
        let (documents, mistakes) = compose(text, 0);
        let shown = documents.first().map(show_node).unwrap_or_default();
        (shown, mistakes.iter().map(|m| format!("{}:{}: {}", m.at.line, m.path, m.text)).collect())
    }

    fn show_node(node: &Node) -> String {
        match &node.kind {
            Kind::Scalar(scalar) => scalar.text.clone(),
            Kind::Sequence(items) => format!("[{}]", items.iter().map(show_node).collect::<Vec<_>>().join(",")),
            Kind::Mapping(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{}:{}", k.text, show_node(v))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    #[test]
    fn composes_anchors_and_merge_keys() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(show(text), (want.to_owned(), vec![]), "{text}");
        }
        check("a: &x {b: 1}\nc: *x", "{a:{b:1},c:{b:1}}");
        check("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", "{a:{b:1,c:2},d:{c:3,b:1}}");
        check("a: &x {b: 1}\ne: &y {b: 2, f: 5}\nd: {<<: [*x, *y]}", "{a:{b:1},e:{b:2,f:5},d:{b:1,f:5}}");
        check("{\"<<\": 1}", "{<<:1}");
        check("a: |\n  x\n  y\n", "{a:x\ny\n}");
    }

    #[test]
    fn finds_mistakes() {
        #[track_caller]
        fn check(text: &str, want: &[&str]) {
            assert_eq!(show(text).1, want, "{text}");
        }
        check("a: 1\nb: 2\na: 3", &["3:a: is given twice, first on line 1 (hint: keep one of the two)"]);
        check("x: [{a: 1, a: 2}]", &["1:x[0].a: is given twice, first on line 1 (hint: keep one of the two)"]);
        check("<<: 1", &["1:<<: merges something that is not a mapping"]);
        check("? [a]\n: 1", &["1:: a key must be text, not a list or a mapping"]);
    }

    #[test]
    fn stops_at_syntax_errors_and_bombs() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &('b'..='h')
                .map(|c| {
                    let before = (c as u8 - 1) as char;
                    format!("{c}: &{c} [{}]\n", vec![format!("*{before}"); 10].join(","))
                })
                .collect::<String>();
        assert!(show(&bomb).1[0].contains("more than a million"), "{:?}", show(&bomb).1);
        assert!(show(&"[".repeat(5000)).1[0].contains("is not YAML"), "{:?}", show(&"[".repeat(5000)).1);
        assert!(show("a: [1\nb: 2").1[0].contains("is not YAML"));
        assert!(show("a: &a [*a]").1[0].contains("contains it"), "{:?}", show("a: &a [*a]"));
    }
}
