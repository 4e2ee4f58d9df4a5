//! Text that a line must contain for a label that is cut out of it to pass: `| json | level="ERROR"` passes no line
//! without `ERROR`, so lines are dropped by a substring search instead of by a parser.

use memchr::memmem::Finder;

use super::{Entry, StreamContext};
use crate::ast::{self, MatchOp, Stage};
use crate::line_filter::{Literals, Needle};

/// Text that must occur in the line because a label that is cut out of the line must have it.
#[derive(Debug, Clone)]
pub struct FieldHint {
    /// The label that is compared. The hint says nothing about entries whose stream or metadata has this label.
    pub label: String,
    /// What the line then contains.
    pub literals: Literals,
    /// The needles of `literals`.
    finders: Vec<Vec<Finder<'static>>>,
}

impl FieldHint {
    fn new(label: &str, literals: Literals) -> Self {
        let finders = literals.alternatives.iter();
        let finders = finders.map(|all| all.iter().map(|needle| Finder::new(&needle.bytes).into_owned()).collect());
        Self { label: label.to_owned(), finders: finders.collect(), literals }
    }

    /// True when no run of the stages can pass the entry.
    pub(super) fn excludes(&self, stream: &StreamContext, entry: &Entry<'_>) -> bool {
        let contains = |finder: &Finder<'_>| finder.find(entry.line).is_some();
        !self.finders.iter().any(|all| all.iter().all(contains))
            && stream.labels().get(&self.label).is_none()
            && !entry.metadata.iter().any(|(name, _)| **name == *self.label)
    }
}

/// The hints of the label filters behind parsers.
pub(super) fn of_stages(stages: &[Stage]) -> Vec<FieldHint> {
    let mut hints = Vec::new();
    let (mut is_parsed, mut may_escape) = (false, false);
    for stage in stages {
        match stage {
            Stage::Json { .. } | Stage::Logfmt { .. } => (is_parsed, may_escape) = (true, true),
            Stage::Regexp(_) | Stage::Pattern(_) => is_parsed = true,
            Stage::LabelFilter(filter) if is_parsed => add(filter, may_escape, &mut hints),
            Stage::LineFilter(_) | Stage::LabelFilter(_) | Stage::Drop(_) | Stage::Keep(_) => {}
            // From here on a value may be anything.
            Stage::Unpack | Stage::Decolorize | Stage::LineFormat(_) | Stage::LabelFormat(_) => break,
        }
    }
    hints
}

fn add(filter: &ast::LabelFilter, may_escape: bool, hints: &mut Vec<FieldHint>) {
    match filter {
        ast::LabelFilter::And(left, right) => {
            add(left, may_escape, hints);
            add(right, may_escape, hints);
        }
        ast::LabelFilter::Text(matcher) if matcher.op == MatchOp::Equal && !is_error_label(&matcher.name) => {
            // Parsers put a blank or U+FFFD where a line has something else that is not UTF-8.
            let pieces = matcher.value.split([' ', char::REPLACEMENT_CHARACTER]).filter(|piece| !piece.is_empty());
            let Some(mut literals) = Literals::all_of(pieces.map(|piece| Needle::exact(piece.as_bytes())).collect())
            else {
                return;
            };
            if may_escape {
                // Any character may be written as `\u0045`, some also shorter.
                let has_short = |c: char| matches!(c, '"' | '\\' | '/' | '\'') || c.is_control();
                let escape: &[u8] = if matcher.value.contains(has_short) { b"\\" } else { b"\\u" };
                literals.alternatives.push(vec![Needle::exact(escape)]);
            }
            hints.push(FieldHint::new(&matcher.name, literals));
        }
        _ => {}
    }
}

fn is_error_label(name: &str) -> bool {
    name == "__error__" || name == "__error_details__"
}
