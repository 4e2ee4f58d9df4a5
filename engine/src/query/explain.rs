//! Why an answer is empty, as far as a look at the data tells.
//!
//! Nothing here runs when there is an answer. A few of the newest lines are looked at, so a reason is what holds for
//! them; each text says what to do about it.
//!
//! Loki says nothing in these cases, so clients that would not show warnings get only the one that no reader expects:
//! `unwrap bytes` reads a label of that name.

use logstack_go::quote::Quoted;
use logstack_go::units::{PrometheusDuration, Rfc3339Nano};
use logstack_logql::ast::{Expr, LogExpr, MatchOp, Matcher, Stage, Unwrap, UnwrapConversion};
use logstack_logql::pipeline::{Entry, Pipeline, Wanted};

use super::Error;
use super::admission::range_aggregations;
use super::evaluation::Evaluation;
use super::request::Direction;
use crate::model::{Rows, TimeRange};
use crate::storage::ScanRequest;

/// Lines that are looked at.
const LINES_MAX: usize = 100;

/// The time range of a query, and the present.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// First instant.
    pub start_ns: i64,
    /// Last instant.
    pub end_ns: i64,
    /// Unix time.
    pub now_ns: i64,
    /// All reasons are wanted, not only the surprising ones.
    pub all_reasons: bool,
}

/// Adds warnings to `evaluation` that say why there is no answer to `expr`. What cannot be found out is left out.
pub fn empty_answer(evaluation: &Evaluation, expr: &Expr, asked: Asked) {
    match expr {
        Expr::Log(log) => {
            let range = TimeRange { first_ns: asked.start_ns, last_ns: asked.end_ns.saturating_sub(1) };
            let _ = explain(evaluation, log, None, range, asked);
        }
        Expr::Metric(metric) => {
            for aggregation in range_aggregations(metric) {
                let range = TimeRange {
                    first_ns: asked
                        .start_ns
                        .saturating_sub(aggregation.offset_ns)
                        .saturating_sub(aggregation.range_ns)
                        .saturating_add(1),
                    last_ns: asked.end_ns.saturating_sub(aggregation.offset_ns),
                };
                let _ = explain(evaluation, &aggregation.log, aggregation.unwrap.as_ref(), range, asked);
            }
        }
        Expr::Variants(_) => {}
    }
}

fn explain(
    evaluation: &Evaluation,
    log: &LogExpr,
    unwrap: Option<&Unwrap>,
    range: TimeRange,
    asked: Asked,
) -> Result<(), Error> {
    if asked.all_reasons {
        if let Some(reason) = before_retention(evaluation, range, asked.now_ns) {
            evaluation.warn(reason);
            return Ok(());
        }
        if evaluation.sources.streams(&log.selector, range)?.is_empty() {
            evaluation.warn(no_stream(evaluation, log, range)?);
            return Ok(());
        }
    }
    if let Some(unwrap) = unwrap
        && (asked.all_reasons || looks_like_a_conversion(unwrap))
        && let Some(lines) = lines_without_label(evaluation, log, unwrap, range)?
    {
        evaluation.warn(no_label(unwrap, lines));
        return Ok(());
    }
    if asked.all_reasons
        && let Some(reason) = failing_parser(evaluation, log, range)?
    {
        evaluation.warn(reason);
    }
    Ok(())
}

fn before_retention(evaluation: &Evaluation, range: TimeRange, now_ns: i64) -> Option<String> {
    let kept_ns = evaluation.limits.retention_period.as_nanos();
    let earliest = now_ns.saturating_sub(kept_ns);
    (kept_ns > 0 && range.last_ns < earliest).then(|| {
        format!(
            "the range ends {}, but entries are kept for {} only (limit `retention_period`): nothing older than {} is left",
            Rfc3339Nano(range.last_ns),
            PrometheusDuration(kept_ns),
            Rfc3339Nano(earliest)
        )
    })
}

fn no_stream(evaluation: &Evaluation, log: &LogExpr, range: TimeRange) -> Result<String, Error> {
    let selector = show(&log.selector);
    let ever = evaluation.sources.streams(&log.selector, TimeRange::ALL)?.len();
    if ever > 0 {
        return Ok(format!(
            "{selector} matches {ever} stream(s), but none has an entry between {} and {}",
            Rfc3339Nano(range.first_ns),
            Rfc3339Nano(range.last_ns)
        ));
    }
    for matcher in &log.selector {
        if !matches!(matcher.op, MatchOp::Equal | MatchOp::Regex) || matcher.value.is_empty() {
            continue;
        }
        let values = evaluation.sources.label_values(&matcher.name, &[], TimeRange::ALL)?;
        if values.is_empty() {
            return Ok(format!(
                "no stream matches {selector}: no stream has the label `{0}` (if it is structured metadata or in the \
                 line, filter behind the selector: `| {0}=…`)",
                matcher.name
            ));
        }
    }
    Ok(format!("no stream matches {selector}"))
}

fn looks_like_a_conversion(unwrap: &Unwrap) -> bool {
    unwrap.conversion == UnwrapConversion::Number
        && matches!(unwrap.label.as_str(), "bytes" | "duration" | "duration_seconds")
}

fn no_label(unwrap: &Unwrap, lines: usize) -> String {
    let label = &unwrap.label;
    let advice = match label.as_str() {
        _ if !looks_like_a_conversion(unwrap) => {
            "add a parser (`| json`, `| logfmt`) in front of it, or check the name".to_owned()
        }
        "bytes" => {
            "`unwrap bytes` reads a label named `bytes`; for the size of the lines use `bytes_rate({…}[5m])` or \
                    `bytes_over_time({…}[5m])`, for a label that holds a size `unwrap bytes(label)`"
                .to_owned()
        }
        _ => {
            format!("`unwrap {label}` reads a label named `{label}`; to convert a label write `unwrap {label}(label)`")
        }
    };
    format!("`unwrap` found no label `{label}` on any of the {lines} line(s) looked at: {advice}")
}

/// How many lines were looked at, if none of them has the label after the pipeline.
fn lines_without_label(
    evaluation: &Evaluation,
    log: &LogExpr,
    unwrap: &Unwrap,
    range: TimeRange,
) -> Result<Option<usize>, Error> {
    let mut has_label = false;
    let lines = look(evaluation, log, range, |get| has_label |= get(&unwrap.label).is_some_and(|v| !v.is_empty()))?;
    Ok((lines > 0 && !has_label).then_some(lines))
}

/// The parser that fails on all lines.
fn failing_parser(evaluation: &Evaluation, log: &LogExpr, range: TimeRange) -> Result<Option<String>, Error> {
    let mut errors = 0;
    let mut kind = String::new();
    let lines = look(evaluation, log, range, |get| {
        if let Some(error) = get("__error__").filter(|error| error.ends_with("ParserErr")) {
            errors += 1;
            kind = error;
        }
    })?;
    Ok((lines > 0 && errors == lines).then(|| {
        let parser = if kind == "JSONParserErr" { "json" } else { "logfmt" };
        format!("`| {parser}` failed on each of the {lines} line(s) looked at ({kind}): they have another format")
    }))
}

/// Runs the newest lines of a selector through its pipeline without filters, and hands `see` their labels. Answers how
/// many lines there were.
fn look(
    evaluation: &Evaluation,
    log: &LogExpr,
    range: TimeRange,
    mut see: impl FnMut(&dyn Fn(&str) -> Option<String>),
) -> Result<usize, Error> {
    let is_filter = |stage: &Stage| matches!(stage, Stage::LineFilter(_) | Stage::LabelFilter(_));
    let stages: Vec<Stage> = log.stages.iter().filter(|stage| !is_filter(stage)).cloned().collect();
    let pipeline = Pipeline::compile(&stages, None, &Wanted::All)?;
    let request = ScanRequest { range, need_lines: true, need_metadata: true, ..ScanRequest::default() };
    let mut units = evaluation.sources.plan(&log.selector, &request)?;
    units.sort_by_key(|planned| std::cmp::Reverse(planned.unit.time.last_ns));
    let mut scratch = pipeline.scratch();
    let mut rows = Rows::default();
    let mut lines = 0;
    for planned in units.iter().take(LINES_MAX) {
        evaluation.control.check()?;
        let mut scan = planned.unit.open(&request, Direction::Backward)?;
        if !scan.next(&mut rows)? {
            continue;
        }
        // A few lines of each of several streams say more than many of one.
        for row in (0..rows.len()).rev().take(LINES_MAX / 10) {
            let entry = Entry {
                timestamp_ns: rows.timestamps[row],
                line: rows.line(row),
                metadata: rows.metadata.get(rows.metadata_ids[row]),
            };
            let Some(output) = pipeline.run(&planned.stream, &entry, &mut scratch) else { continue };
            see(&|name| output.get(name).map(str::to_owned));
            lines += 1;
        }
        if lines >= LINES_MAX {
            break;
        }
    }
    Ok(lines)
}

fn show(selector: &[Matcher]) -> String {
    let op = |op| match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let matchers: Vec<String> = selector
        .iter()
        .map(|matcher| format!("{}{}{}", matcher.name, op(matcher.op), Quoted(&matcher.value)))
        .collect();
    format!("{{{}}}", matchers.join(", "))
}
