//! Syntax tree to steps.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::names::Names;
use super::needs::Needs;
use super::{Error, Pipeline, Wanted};
use crate::ast::{self, LabelFormatSource, LabelSelection, Stage};
use crate::line_filter::CompiledLineFilter;
use crate::stage::Step;
use crate::stage::drop_keep::{Drop, Keep};
use crate::stage::label_filter::LabelFilter;
use crate::stage::unwrap::Unwrap;

pub(super) fn compile(stages: &[Stage], unwrap: Option<&ast::Unwrap>, wanted: &Wanted) -> Result<Pipeline, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut names = Names::default();
    let needs = needs(stages, unwrap, wanted, &mut names);
    let mut steps = Vec::new();
    let mut pushed_down = Vec::new();
    for stage in stages {
        let fail = |reason: &dyn std::fmt::Display| Error { stage: stage_text(stage), reason: reason.to_string() };
        let step = match stage {
            Stage::LineFilter(filter) => {
                let filter = Arc::new(CompiledLineFilter::new(filter).map_err(|error| fail(&error))?);
                if steps.is_empty() {
                    pushed_down.push(filter);
                    continue;
                }
                Step::LineFilter(filter)
            }
            Stage::LabelFilter(filter) => {
                Step::LabelFilter(LabelFilter::new(filter, &mut names).map_err(|error| fail(&error))?)
            }
            Stage::Decolorize => Step::Decolorize,
            Stage::Drop(items) => Step::Drop(Drop::new(items, &mut names).map_err(|error| fail(&error))?),
            Stage::Keep(items) => Step::Keep(Keep::new(items, &mut names).map_err(|error| fail(&error))?),
            _ => return Err(fail(&"this stage is not built in yet")),
        };
        steps.push(step);
    }
    let unwrap = unwrap
        .map(|unwrap| Unwrap::new(unwrap, &mut names))
        .transpose()
        .map_err(|error| Error { stage: "| unwrap".to_owned(), reason: error.to_string() })?;
    let wanted_names = match wanted {
        Wanted::Only(labels) => labels.iter().map(|label| names.intern(label)).collect(),
        Wanted::All | Wanted::None => Vec::new(),
    };
    let needs_line = steps.iter().any(reads_line);
    let uses_labels = *wanted != Wanted::None || unwrap.is_some() || steps.iter().any(uses_labels);
    Ok(Pipeline {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        steps,
        unwrap,
        pushed_down,
        prefix: metadata_prefix(stages),
        names,
        needs: Arc::new(needs),
        wanted: wanted_names,
        needs_line,
        uses_labels,
    })
}

/// Does the step look at the line?
fn reads_line(step: &Step) -> bool {
    matches!(step, Step::LineFilter(_) | Step::Decolorize)
}

/// Does the step look at labels, or change them?
fn uses_labels(step: &Step) -> bool {
    !matches!(step, Step::LineFilter(_) | Step::Decolorize)
}

/// The stage as error messages show it.
fn stage_text(stage: &Stage) -> String {
    stage.to_string()
}

/// Label filters that stand before anything that reads the line or changes labels.
fn metadata_prefix(stages: &[Stage]) -> Vec<ast::LabelFilter> {
    let mut prefix = Vec::new();
    for stage in stages {
        match stage {
            Stage::LineFilter(_) => {}
            Stage::LabelFilter(filter) => prefix.push(filter.clone()),
            _ => break,
        }
    }
    prefix
}

/// Every label that the consumer, a filter, a format or a template looks at.
fn needs(stages: &[Stage], unwrap: Option<&ast::Unwrap>, wanted: &Wanted, names: &mut Names) -> Needs {
    let mut needs = Needs::default();
    match wanted {
        Wanted::All => needs = Needs::all(),
        Wanted::Only(labels) => labels.iter().for_each(|label| needs.add(names.intern(label))),
        Wanted::None => {}
    }
    for stage in stages {
        match stage {
            Stage::LabelFilter(filter) => add_filter(filter, &mut needs, names),
            Stage::LabelFormat(formats) => {
                for format in formats {
                    if let LabelFormatSource::Rename(from) = &format.source {
                        needs.add(names.intern(from));
                    }
                }
            }
            Stage::Drop(items) | Stage::Keep(items) => {
                for item in items {
                    if let LabelSelection::Matching(matcher) = item {
                        needs.add(names.intern(&matcher.name));
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(unwrap) = unwrap {
        needs.add(names.intern(&unwrap.label));
        unwrap.filters.iter().for_each(|filter| add_filter(filter, &mut needs, names));
    }
    needs
}

fn add_filter(filter: &ast::LabelFilter, needs: &mut Needs, names: &mut Names) {
    let name = match filter {
        ast::LabelFilter::And(left, right) | ast::LabelFilter::Or(left, right) => {
            add_filter(left, needs, names);
            return add_filter(right, needs, names);
        }
        ast::LabelFilter::Text(matcher) => &matcher.name,
        ast::LabelFilter::Number { name, .. }
        | ast::LabelFilter::Duration { name, .. }
        | ast::LabelFilter::Bytes { name, .. }
        | ast::LabelFilter::Ip { name, .. } => name,
    };
    needs.add(names.intern(name));
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
