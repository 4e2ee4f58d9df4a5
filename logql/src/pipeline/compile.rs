//! Syntax tree to steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::names::Names;
use super::needs::Needs;
use super::{Error, FieldTest, Pipeline, Wanted, hints, order};
use crate::ast::{self, LabelFormatSource, LabelSelection, Stage};
use crate::line_filter::CompiledLineFilter;
use crate::stage::Step;
use crate::stage::drop_keep::{Drop, Keep};
use crate::stage::early::EarlyFilters;
use crate::stage::json::path::Paths;
use crate::stage::label_filter::LabelFilter;
use crate::stage::label_format::LabelFormat;
use crate::stage::line_format::{LineFormat, add_needs};
use crate::stage::logfmt::Logfmt;
use crate::stage::pattern::Pattern;
use crate::stage::regexp::Regexp;
use crate::stage::unwrap::Unwrap;

pub(super) fn compile(stages: &[Stage], unwrap: Option<&ast::Unwrap>, wanted: &Wanted) -> Result<Pipeline, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // In query order, so that the first mistake is the one that is reported.
    let mut builder = Builder { names: Names::default(), regexps: 0 };
    let mut built: Vec<Option<Step>> =
        stages.iter().map(|stage| builder.step(stage).map(Some)).collect::<Result<_, _>>()?;
    let mut names = builder.names;
    let needs = needs(stages, &built, unwrap, wanted, &mut names);

    let (stored, ordered) = order::ordered(stages);
    let pushed_down = stored.into_iter().filter_map(|idx| match built[idx].take() {
        Some(Step::LineFilter(filter)) => Some(Arc::from(filter)),
        _ => None,
    });
    let pushed_down = pushed_down.collect();
    // Where nobody looks at what parsers find they do not run, and their errors go unnoticed, as in the reference
    // server (contract 4.3, b). Only `unpack` also changes the line.
    let is_idle = |step: &Step| {
        needs.is_empty()
            && matches!(step, Step::Json | Step::JsonPaths(_) | Step::Logfmt(_) | Step::Regexp(_) | Step::Pattern(_))
    };
    let steps = ordered.into_iter().filter_map(|idx| built[idx].take()).filter(|step| !is_idle(step));
    let steps: Vec<Step> = steps.collect();
    let unwrap = unwrap.map(|unwrap| Unwrap::new(unwrap, &mut names)).transpose().map_err(|error| Error {
        stage: unwrap.map_or_else(String::new, ast::Unwrap::to_string),
        reason: error.to_string(),
    })?;
    let early = early_filters(stages, wanted, &mut names);
    let wanted_names = match wanted {
        Wanted::Only(labels) => labels.iter().map(|label| names.intern(label)).collect(),
        Wanted::All | Wanted::None => Vec::new(),
    };
    let prefix_len = steps.iter().take_while(|step| matches!(step, Step::LabelFilter(_))).count();
    let needs_line = steps.iter().any(Step::reads_line);
    let uses_labels = *wanted != Wanted::None || unwrap.is_some() || steps.iter().any(Step::uses_labels);
    Ok(Pipeline {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        steps,
        unwrap,
        pushed_down,
        prefix_len,
        hints: hints::of_stages(stages),
        field_test: FieldTest::of_stages(stages).map(Arc::new),
        names,
        needs: Arc::new(needs),
        early: Arc::new(early),
        wanted: wanted_names,
        needs_line,
        uses_labels,
    })
}

fn fail(stage: &Stage, reason: &dyn std::fmt::Display) -> Error {
    Error { stage: stage.to_string(), reason: reason.to_string() }
}

/// Makes steps of stages.
struct Builder {
    names: Names,
    /// How many `regexp` stages there are so far.
    regexps: usize,
}

impl Builder {
    fn step(&mut self, stage: &Stage) -> Result<Step, Error> {
        let names = &mut self.names;
        Ok(match stage {
            Stage::LineFilter(filter) => {
                Step::LineFilter(Box::new(CompiledLineFilter::new(filter).map_err(|error| fail(stage, &error))?))
            }
            Stage::Json { extractions } if extractions.is_empty() => Step::Json,
            Stage::Json { extractions } => {
                Step::JsonPaths(Paths::new(extractions, names).map_err(|error| fail(stage, &error))?)
            }
            Stage::Logfmt { strict, keep_empty, extractions } => {
                let logfmt = Logfmt::new(*strict, *keep_empty, extractions, names);
                Step::Logfmt(logfmt.map_err(|error| fail(stage, &error))?)
            }
            Stage::Regexp(pattern) => {
                self.regexps += 1;
                let regexp = Regexp::new(pattern, self.regexps - 1, names);
                Step::Regexp(regexp.map_err(|error| fail(stage, &error))?)
            }
            Stage::Pattern(pattern) => {
                Step::Pattern(Pattern::new(pattern, names).map_err(|error| fail(stage, &error))?)
            }
            Stage::Unpack => Step::Unpack,
            Stage::Decolorize => Step::Decolorize,
            Stage::LabelFilter(filter) => {
                Step::LabelFilter(LabelFilter::new(filter, names).map_err(|error| fail(stage, &error))?)
            }
            Stage::Drop(items) => Step::Drop(Drop::new(items, names).map_err(|error| fail(stage, &error))?),
            Stage::Keep(items) => Step::Keep(Keep::new(items, names).map_err(|error| fail(stage, &error))?),
            Stage::LineFormat(template) => Step::LineFormat(
                LineFormat::new(template).map_err(|error| fail(stage, &format!("invalid line template: {error}")))?,
            ),
            Stage::LabelFormat(formats) => {
                Step::LabelFormat(LabelFormat::new(formats, names).map_err(|error| fail(stage, &error))?)
            }
        })
    }
}

/// The filters that parsers apply at once; see [`crate::stage::early`].
fn early_filters(stages: &[Stage], wanted: &Wanted, names: &mut Names) -> EarlyFilters {
    let mut early = EarlyFilters::default();
    for (idx, stage) in stages.iter().enumerate() {
        let Stage::LabelFilter(filter) = stage else { continue };
        let may_apply = *wanted == Wanted::All || is_early_sound(filter, stages, idx);
        if may_apply && let Ok(filter) = LabelFilter::new(filter, names) {
            early.add(filter);
        }
    }
    early
}

/// Does applying the filter at `idx` in any parser of the pipeline give the same answer? It does when nothing but
/// full parsers, which never overwrite each other's labels, comes before it, so that no label changes once it is set.
fn is_early_sound(filter: &ast::LabelFilter, stages: &[Stage], idx: usize) -> bool {
    // Only tests on text: the others may set an error, and when matters.
    let is_text = matches!(filter, ast::LabelFilter::Text(_));
    let changes_labels = |stage: &Stage| match stage {
        Stage::Json { extractions } | Stage::Logfmt { extractions, .. } => !extractions.is_empty(),
        Stage::LabelFormat(_) | Stage::Drop(_) | Stage::Keep(_) => true,
        _ => false,
    };
    let is_parser = |stage: &Stage| {
        matches!(
            stage,
            Stage::Json { .. } | Stage::Logfmt { .. } | Stage::Regexp(_) | Stage::Pattern(_) | Stage::Unpack
        )
    };
    is_text && !stages[..idx].iter().any(changes_labels) && !stages[idx..].iter().any(is_parser)
}

/// Every label that the consumer, a filter, a format or a template looks at.
fn needs(
    stages: &[Stage],
    built: &[Option<Step>],
    unwrap: Option<&ast::Unwrap>,
    wanted: &Wanted,
    names: &mut Names,
) -> Needs {
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
    for step in built.iter().flatten() {
        match step {
            Step::LineFormat(stage) => add_needs(stage.template(), &mut needs, names),
            Step::LabelFormat(stage) => stage.templates().for_each(|template| add_needs(template, &mut needs, names)),
            _ => {}
        }
    }
    if let Some(unwrap) = unwrap {
        needs.add(names.intern(&unwrap.label));
        unwrap.filters.iter().for_each(|filter| add_filter(filter, &mut needs, names));
    }
    // Without a grouping the error fails the query whoever names it.
    needs.error &= *wanted != Wanted::All;
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
