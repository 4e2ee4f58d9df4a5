//! What may be evaluated before the stages run: line filters on the stored line, label filters on stream and
//! metadata labels.

use std::borrow::Cow;

use crate::ast::Stage;

/// Where each line filter is evaluated: `Some(i)` in front of stage i, `None` on the stored line.
///
/// As the reference server does it, a filter moves in front of every stage since the last label filter, `line_format`
/// or `unpack`. That is invisible, and saves the work of those stages, except behind `decolorize`, whose filter then
/// sees the coloured line; the contract would rather not, but recorded answers show it (golden `decolorize`:
/// `| decolorize |= "ERROR something"` is empty), and they decide.
///
/// A label filter does not change the line, so a filter that has only such in front moves on to the stored line.
pub(super) fn filter_position(stages: &[Stage], filter_idx: usize) -> Option<usize> {
    let before = &stages[..filter_idx];
    let is_barrier = |stage: &Stage| matches!(stage, Stage::LabelFilter(_) | Stage::LineFormat(_) | Stage::Unpack);
    let position = before.iter().rposition(is_barrier).map_or(0, |barrier| barrier + 1);
    let changes_line = |stage: &Stage| matches!(stage, Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize);
    before[..position].iter().any(changes_line).then_some(position)
}

/// Indexes of the line filters on the stored line, and of all other stages in the order in which they run.
pub(super) fn ordered(stages: &[Stage]) -> (Vec<usize>, Vec<usize>) {
    let mut stored = Vec::new();
    let mut moved: Vec<(usize, usize)> = Vec::new();
    for (idx, stage) in stages.iter().enumerate() {
        if matches!(stage, Stage::LineFilter(_)) {
            match filter_position(stages, idx) {
                Some(position) => moved.push((position, idx)),
                None => stored.push(idx),
            }
        }
    }
    let mut ordered = Vec::new();
    for idx in 0..=stages.len() {
        ordered.extend(moved.iter().filter(|(position, _)| *position == idx).map(|(_, filter)| *filter));
        if stages.get(idx).is_some_and(|stage| !matches!(stage, Stage::LineFilter(_))) {
            ordered.push(idx);
        }
    }
    (stored, ordered)
}

/// Without the `line_format` stages whose line nobody reads: no parser and no line filter follows.
pub(super) fn without_unread_line_formats(stages: &[Stage]) -> Cow<'_, [Stage]> {
    let reads_line = |stage: &Stage| {
        matches!(
            stage,
            Stage::LineFilter(_)
                | Stage::Json { .. }
                | Stage::Logfmt { .. }
                | Stage::Regexp(_)
                | Stage::Pattern(_)
                | Stage::Unpack
        )
    };
    let last_reader = stages.iter().rposition(reads_line);
    let is_unread =
        |idx: usize| matches!(stages[idx], Stage::LineFormat(_)) && last_reader.is_none_or(|reader| reader < idx);
    if !(0..stages.len()).any(is_unread) {
        return Cow::Borrowed(stages);
    }
    Cow::Owned((0..stages.len()).filter(|&idx| !is_unread(idx)).map(|idx| stages[idx].clone()).collect())
}
