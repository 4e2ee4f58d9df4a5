//! Regular expressions in label filters that the reference server takes for plain texts.
//!
//! It rewrites some expressions into tests on text, and loses the anchors on the way: `user=~"a.*|b.*"` accepts every
//! value that *contains* a or b, `msg=~"warn|warning"` every value that contains one of them. The contract (2.2) would
//! rather not; recorded answers show it (golden `structured_metadata`), and they decide.
//!
//! The rewriting depends on how Go's parser factors alternatives: neighbours that start with the same text become that
//! text and the alternatives of their rests. So this follows Go's steps on a tree of its own. Selectors, `drop` and
//! `keep` are not affected.

use regex_syntax::ast::{self as syntax, parse::ParserBuilder};

/// A test on the whole value, or on any part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Always,
    NotEmpty,
    Equal { text: String, ignore_case: bool },
    Contains { text: String, ignore_case: bool },
}

impl Test {
    pub(crate) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Always => true,
            Self::NotEmpty => !value.is_empty(),
            Self::Equal { text, ignore_case: false } => value == text,
            Self::Contains { text, ignore_case: false } => value.contains(text.as_str()),
            Self::Equal { text, .. } if value.is_ascii() && text.is_ascii() => value.eq_ignore_ascii_case(text),
            Self::Contains { text, .. } if value.is_ascii() && text.is_ascii() => {
                let mut windows = value.as_bytes().windows(text.len().max(1));
                text.is_empty() || windows.any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
            }
            Self::Equal { text, .. } => value.to_lowercase() == *text,
            Self::Contains { text, .. } => value.to_lowercase().contains(text.as_str()),
        }
    }
}

/// The tests of which any must hold, if the expression (in Rust's syntax) is one that the reference server rewrites.
pub(crate) fn simplify(pattern: &str) -> Option<Vec<Test>> {
    let tree = ParserBuilder::new().build().parse(pattern).ok()?;
    let mut flags = Flags::default();
    let mut tests = Vec::new();
    simplify_tree(tree_of(&tree, &mut flags), &mut tests).then_some(tests)
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    dot_newline: bool,
}

/// What matters of an expression.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Empty,
    Literal {
        text: String,
        ignore_case: bool,
    },
    /// `.*`
    AnyText,
    /// `.+`
    SomeText,
    Concat(Vec<Tree>),
    Alternate(Vec<Tree>),
    /// A character class of single letters that Go makes of `a|b`, and everything else.
    Other,
}

fn tree_of(node: &syntax::Ast, flags: &mut Flags) -> Tree {
    match node {
        syntax::Ast::Empty(_) => Tree::Empty,
        syntax::Ast::Flags(set) => {
            set_flags(&set.flags, flags);
            Tree::Empty
        }
        syntax::Ast::Literal(literal) => {
            Tree::Literal { text: literal.c.to_string(), ignore_case: flags.ignore_case && has_case(literal.c) }
        }
        syntax::Ast::Repetition(repetition) => {
            let is_dot = matches!(*repetition.ast, syntax::Ast::Dot(_)) && !flags.dot_newline;
            match repetition.op.kind {
                syntax::RepetitionKind::ZeroOrMore if is_dot => Tree::AnyText,
                syntax::RepetitionKind::OneOrMore if is_dot => Tree::SomeText,
                _ => Tree::Other,
            }
        }
        syntax::Ast::Group(group) => {
            let mut inner = *flags;
            if let syntax::GroupKind::NonCapturing(set) = &group.kind {
                set_flags(set, &mut inner);
            }
            tree_of(&group.ast, &mut inner)
        }
        syntax::Ast::Concat(concat) => concat_of(concat.asts.iter().map(|node| {
            let is_capture =
                matches!(node, syntax::Ast::Group(group) if !matches!(group.kind, syntax::GroupKind::NonCapturing(_)));
            (tree_of(node, flags), is_capture)
        })),
        syntax::Ast::Alternation(alternation) => {
            alternate_of(alternation.asts.iter().map(|node| tree_of(node, flags)).collect())
        }
        _ => Tree::Other,
    }
}

fn set_flags(set: &syntax::Flags, flags: &mut Flags) {
    if let Some(value) = set.flag_state(syntax::Flag::CaseInsensitive) {
        flags.ignore_case = value;
    }
    if let Some(value) = set.flag_state(syntax::Flag::DotMatchesNewLine) {
        flags.dot_newline = value;
    }
}

fn has_case(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

/// Neighbouring literals become one, unless a capturing group keeps them apart.
fn concat_of(parts: impl Iterator<Item = (Tree, bool)>) -> Tree {
    let mut merged: Vec<(Tree, bool)> = Vec::new();
    for (part, is_capture) in parts {
        match (merged.last_mut(), part) {
            (_, Tree::Empty) => {}
            (
                Some((Tree::Literal { text, ignore_case }, false)),
                Tree::Literal { text: more, ignore_case: more_ignores },
            ) if !is_capture && (*ignore_case == more_ignores || !has_case_text(&more)) => text.push_str(&more),
            (_, Tree::Concat(inner)) if !is_capture => merged.extend(inner.into_iter().map(|part| (part, false))),
            (_, part) => merged.push((part, is_capture)),
        }
    }
    let mut parts: Vec<Tree> = merged.into_iter().map(|(part, _)| part).collect();
    match parts.len() {
        0 => Tree::Empty,
        1 => parts.remove(0),
        _ => Tree::Concat(parts),
    }
}

fn has_case_text(text: &str) -> bool {
    text.chars().any(has_case)
}

/// Factors common beginnings out of neighbours, then makes classes of neighbouring single characters, as Go does.
fn alternate_of(branches: Vec<Tree>) -> Tree {
    let mut factored: Vec<Tree> = Vec::new();
    let mut idx = 0;
    while idx < branches.len() {
        let Some((first, ignore_case)) = leading_text(&branches[idx]) else {
            factored.push(branches[idx].clone());
            idx += 1;
            continue;
        };
        let mut prefix = first.to_owned();
        let mut end = idx + 1;
        while end < branches.len()
            && let Some((text, ignores)) = leading_text(&branches[end])
            && ignores == ignore_case
            && let common = common_prefix(&prefix, text)
            && !common.is_empty()
        {
            prefix.truncate(common.len());
            end += 1;
        }
        if end == idx + 1 {
            factored.push(branches[idx].clone());
        } else {
            let rests = branches[idx..end].iter().map(|branch| without_prefix(branch, prefix.len())).collect();
            factored.push(Tree::Concat(vec![Tree::Literal { text: prefix, ignore_case }, alternate_of(rests)]));
        }
        idx = end;
    }
    let is_char = |tree: &Tree| matches!(tree, Tree::Literal { text, .. } if text.chars().count() == 1);
    let mut classed: Vec<Tree> = Vec::new();
    let mut idx = 0;
    while idx < factored.len() {
        let run = factored[idx..].iter().take_while(|tree| is_char(tree)).count();
        if run > 1 {
            classed.push(Tree::Other);
            idx += run;
            continue;
        }
        let is_repeated_empty = factored[idx] == Tree::Empty && classed.last() == Some(&Tree::Empty);
        if !is_repeated_empty {
            classed.push(factored[idx].clone());
        }
        idx += 1;
    }
    if classed.len() == 1 { classed.remove(0) } else { Tree::Alternate(classed) }
}

fn leading_text(tree: &Tree) -> Option<(&str, bool)> {
    match tree {
        Tree::Literal { text, ignore_case } => Some((text, *ignore_case)),
        Tree::Concat(parts) => leading_text(parts.first()?),
        _ => None,
    }
}

fn common_prefix<'a>(left: &'a str, right: &str) -> &'a str {
    let len = left.chars().zip(right.chars()).take_while(|(l, r)| l == r).map(|(l, _)| l.len_utf8()).sum();
    &left[..len]
}

fn without_prefix(tree: &Tree, len: usize) -> Tree {
    match tree {
        Tree::Literal { text, .. } if text.len() == len => Tree::Empty,
        Tree::Literal { text, ignore_case } => {
            Tree::Literal { text: text[len..].to_owned(), ignore_case: *ignore_case }
        }
        Tree::Concat(parts) => {
            let first = without_prefix(&parts[0], len);
            let rest = parts[1..].iter().cloned();
            concat_of(std::iter::once(first).chain(rest).map(|part| (part, true)))
        }
        other => other.clone(),
    }
}

fn contains(text: String, ignore_case: bool) -> Test {
    Test::Contains { text: if ignore_case { text.to_lowercase() } else { text }, ignore_case }
}

/// False: not rewritten.
fn simplify_tree(tree: Tree, tests: &mut Vec<Test>) -> bool {
    match tree {
        Tree::Empty | Tree::AnyText => tests.push(Test::Always),
        Tree::SomeText => tests.push(Test::NotEmpty),
        Tree::Literal { text, ignore_case } => {
            tests.push(Test::Equal { text: if ignore_case { text.to_lowercase() } else { text }, ignore_case });
        }
        Tree::Alternate(branches) => return branches.into_iter().all(|branch| simplify_tree(branch, tests)),
        Tree::Concat(parts) => return simplify_concat(&parts, None, tests),
        Tree::Other => return false,
    }
    true
}

/// One literal with `.*` around it, or a literal and the alternatives of what follows; at most three parts.
/// `base` is the text in front, of an alternative that was factored.
fn simplify_concat(parts: &[Tree], base: Option<(&str, bool)>, tests: &mut Vec<Test>) -> bool {
    let parts: Vec<&Tree> = parts.iter().filter(|part| **part != Tree::Empty).collect();
    if parts.len() > 3 {
        return false;
    }
    let mut text = base.map(|(text, ignore_case)| (text.to_owned(), ignore_case));
    let mut literals = 0;
    let before = tests.len();
    for part in parts {
        match part {
            Tree::Literal { text: more, ignore_case } if literals == 0 => {
                literals += 1;
                let (text, ignores) = text.get_or_insert_with(|| (String::new(), *ignore_case));
                text.push_str(more);
                *ignores = *ignore_case;
            }
            Tree::Alternate(branches) => {
                let Some((text, ignore_case)) = &text else { return false };
                if !branches.iter().all(|branch| simplify_branch(branch, text, *ignore_case, tests)) {
                    return false;
                }
            }
            Tree::AnyText => {}
            _ => return false,
        }
    }
    if tests.len() == before {
        let Some((text, ignore_case)) = text else { return false };
        tests.push(contains(text, ignore_case));
    }
    true
}

fn simplify_branch(branch: &Tree, base: &str, ignore_case: bool, tests: &mut Vec<Test>) -> bool {
    match branch {
        Tree::Empty | Tree::AnyText => tests.push(contains(base.to_owned(), ignore_case)),
        Tree::Literal { text, ignore_case: ignores } => {
            if *ignores && !ignore_case {
                return false;
            }
            tests.push(contains(format!("{base}{text}"), ignore_case));
        }
        Tree::Concat(parts) => return simplify_concat(parts, Some((base, ignore_case)), tests),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_as_the_reference_server() {
        /// `=x` equal, `~x` contains, `*` always, `+` not empty, a trailing `i` behind `/` for either case.
        #[track_caller]
        fn check(pattern: &str, want: Option<&str>) {
            let mark = |ignore_case: &bool| if *ignore_case { "/i" } else { "" };
            let text = |test: &Test| match test {
                Test::Always => "*".to_owned(),
                Test::NotEmpty => "+".to_owned(),
                Test::Equal { text, ignore_case } => format!("={text}{}", mark(ignore_case)),
                Test::Contains { text, ignore_case } => format!("~{text}{}", mark(ignore_case)),
            };
            let got = simplify(pattern).map(|tests| tests.iter().map(text).collect::<Vec<_>>().join(" "));
            assert_eq!(got.as_deref(), want, "{pattern:?}");
        }
        check("err", Some("=err"));
        check("(err)", Some("=err"));
        check("e[r]+", None);
        check("error|warn", Some("=error =warn"));
        check("war(n|m)", None);
        check("(?i)ERR", Some("=err/i"));
        check("err.*", Some("~err"));
        check(".*err.*", Some("~err"));
        check(".*err", Some("~err"));
        check("error|err", Some("~error ~err"));
        check("warn|warning", Some("~warn ~warning"));
        check("warn|warm", None);
        check("", Some("*"));
        check(".*", Some("*"));
        check(".+", Some("+"));
        check("(?s).*", None);
        check("a.*|b.*", Some("~a ~b"));
        check("GET|POST|PUT", Some("=GET ~POST ~PUT"));
        check("2..|4..", None);
        check("a|b", None);
        check("foo.*bar", None);
        check("(?i)err.*", Some("~err/i"));
        check("module_service.*", Some("~module_service"));
        check("foo(bar|xuz)", Some("~foobar ~fooxuz"));
        check("foo(bar|buzz)", None);
        check("err|error|errors", Some("~err ~error ~errors"));
        check("10\\.0\\..*", Some("~10.0."));
    }
}
