//! What is wrong with a query whose syntax is right.

use std::collections::HashSet;

use super::ParseError;
use crate::ast::{Expr, LogExpr, Matcher, MetricExpr, RangeAggregation, RangeOp, VectorOp};
use crate::line_filter::pattern::{Part, consecutive_captures, split};
use crate::matcher::CompiledMatcher;
use logstack_go::re2;

pub(super) const NOT_SELECTIVE: &str = "queries require at least one regexp or equality matcher that does not have \
    an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// Every selector must leave something out.
pub(super) fn selectivity(expr: &Expr) -> Result<(), ParseError> {
    match expr {
        Expr::Log(log) => log_selectivity(log),
        Expr::Metric(metric) => metric_selectivity(metric),
        Expr::Variants(variants) => {
            log_selectivity(&variants.log)?;
            variants.variants.iter().try_for_each(metric_selectivity)
        }
    }
}

fn metric_selectivity(expr: &MetricExpr) -> Result<(), ParseError> {
    match expr {
        MetricExpr::Range(range) => log_selectivity(&range.log),
        MetricExpr::Vector(aggregation) => aggregated_selectivity(&aggregation.inner),
        MetricExpr::LabelReplace(replace) => aggregated_selectivity(&replace.inner),
        MetricExpr::Binary(binary) => {
            metric_selectivity(&binary.left)?;
            metric_selectivity(&binary.right)
        }
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => Ok(()),
    }
}

/// `sum(5)` has no selector at all, which Loki reports as one that leaves nothing out.
fn aggregated_selectivity(inner: &MetricExpr) -> Result<(), ParseError> {
    match inner {
        MetricExpr::Literal(_) => Err(ParseError::not_selective()),
        _ => metric_selectivity(inner),
    }
}

fn log_selectivity(log: &LogExpr) -> Result<(), ParseError> {
    selector_selectivity(&log.selector)
}

/// At least one matcher must refuse streams without its label.
pub(super) fn selector_selectivity(selector: &[Matcher]) -> Result<(), ParseError> {
    for matcher in selector {
        let matcher = CompiledMatcher::new(matcher).map_err(|err| ParseError::Meaning(err.to_string()))?;
        if !matcher.accepts_empty() {
            return Ok(());
        }
    }
    Err(ParseError::not_selective())
}

/// The parameter, grouping and unwrap of a range aggregation.
pub(super) fn range_aggregation(aggregation: &RangeAggregation) -> Result<(), String> {
    use RangeOp::{
        AbsentOverTime, AvgOverTime, BytesOverTime, BytesRate, CountOverTime, FirstOverTime, LastOverTime, MaxOverTime,
        MinOverTime, QuantileOverTime, Rate, StddevOverTime, StdvarOverTime,
    };
    let op = aggregation.op;
    match aggregation.param {
        None if op == QuantileOverTime => return Err(format!("parameter required for operation {}", op.name())),
        Some(param) if op != QuantileOverTime => {
            return Err(format!("parameter {param} not supported for operation {}", op.name()));
        }
        _ => {}
    }
    let may_group = matches!(
        op,
        AvgOverTime
            | MinOverTime
            | MaxOverTime
            | FirstOverTime
            | LastOverTime
            | StddevOverTime
            | StdvarOverTime
            | QuantileOverTime
    );
    if aggregation.grouping.is_some() && !may_group {
        return Err(format!("grouping not allowed for {} aggregation", op.name()));
    }
    let counts_lines = matches!(op, CountOverTime | BytesOverTime | BytesRate);
    let takes_either = matches!(op, Rate | AbsentOverTime);
    match &aggregation.unwrap {
        Some(_) if counts_lines => Err(format!("invalid aggregation {} with unwrap", op.name())),
        None if !counts_lines && !takes_either => Err(format!("invalid aggregation {} without unwrap", op.name())),
        _ => Ok(()),
    }
}

/// The parameter and grouping of a vector aggregation. `param` is as written.
pub(super) fn vector_param(op: VectorOp, param: Option<&str>, grouped: bool) -> Result<Option<u64>, String> {
    let name = op.name();
    let takes_param = matches!(op, VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk);
    let count = match param {
        None if takes_param => return Err(format!("parameter required for operation {name}")),
        Some(param) if !takes_param => return Err(format!("unsupported parameter for operation {name}({param},")),
        None => None,
        Some(param) => match param.parse::<i64>() {
            Err(_) => return Err(format!("invalid parameter {name}({param},")),
            Ok(count) if count <= 0 => {
                return Err(format!("invalid parameter (must be greater than 0) {name}({param}"));
            }
            Ok(count) => Some(count.unsigned_abs()),
        },
    };
    if grouped && matches!(op, VectorOp::Sort | VectorOp::SortDesc) {
        // The blank at the end is Loki's.
        return Err("sort and sort_desc doesn't allow grouping by ".to_owned());
    }
    if grouped && op == VectorOp::ApproxTopk {
        return Err(format!("grouping not allowed for {name} aggregation"));
    }
    Ok(count)
}

/// The regular expression of a selector, a label filter, `drop` or `keep`.
pub(super) fn regex(pattern: &str) -> Result<(), ParseError> {
    re2::translate(pattern).map(|_| ()).map_err(|err| ParseError::Meaning(err.to_string()))
}

/// The argument of `| regexp`.
pub(super) fn regexp_stage(pattern: &str) -> Result<(), ParseError> {
    let fail = |reason: String| Err(ParseError::Meaning(format!("invalid regexp parser: {reason}")));
    let translated = match re2::translate_with(pattern, re2::Flags::default()) {
        Ok(translated) => translated,
        Err(err) => return fail(err.to_string()),
    };
    let mut names = HashSet::new();
    for name in translated.names.iter().flatten() {
        if !names.insert(name) {
            return fail(format!("duplicate extracted label name '{name}'"));
        }
    }
    if names.is_empty() {
        return fail("at least one named capture must be supplied".to_owned());
    }
    Ok(())
}

/// The argument of `| pattern`.
pub(super) fn pattern_stage(pattern: &str) -> Result<(), ParseError> {
    let fail = |reason: String| Err(ParseError::Meaning(format!("invalid pattern parser: {reason}")));
    if pattern.is_empty() {
        let nothing = "syntax error: unexpected $end, expecting IDENTIFIER or LITERAL";
        return fail(format!("parse error at line 1, col 1: {nothing}"));
    }
    let parts = split(pattern);
    let names = parts.iter().filter_map(|part| match part {
        Part::Capture("_") | Part::Literal(_) => None,
        Part::Capture(name) => Some(*name),
    });
    if names.clone().next().is_none() {
        return fail("at least one capture is required".to_owned());
    }
    if let Some(captures) = consecutive_captures(&parts) {
        return fail(format!("found consecutive capture '{captures}': invalid expression"));
    }
    let mut known = HashSet::new();
    for name in names {
        if !known.insert(name) {
            return fail(format!("duplicate capture name ({name}): invalid expression"));
        }
    }
    Ok(())
}
