//! Metric expressions, from the leaves up.

use logstack_go::re2;
use logstack_logql::ast::{MetricExpr, VectorAggregation, VectorOp};

use super::aggregate::aggregate;
use super::binary::{Value, binary};
use super::grid::Grid;
use super::label_replace::label_replace;
use super::range::{self, SeriesBy, is_additive};
use super::series::Matrix;
use crate::query::Error;
use crate::query::evaluation::Evaluation;

/// Evaluates `expr` at each step of `grid`.
///
/// # Errors
/// What leaves, matching and limits say.
pub fn evaluate(evaluation: &Evaluation, expr: &MetricExpr, grid: &Grid) -> Result<Value, Error> {
    let mut value = eval(evaluation, expr, grid)?;
    if let Value::Matrix(matrix) = &mut value {
        limit_series(evaluation, matrix)?;
        matrix.sort_by_labels();
    }
    Ok(value)
}

fn eval(evaluation: &Evaluation, expr: &MetricExpr, grid: &Grid) -> Result<Value, Error> {
    evaluation.control.check()?;
    Ok(match expr {
        MetricExpr::Literal(number) => Value::Scalar(*number),
        MetricExpr::VectorLiteral(number) => Value::Matrix(Matrix::constant(*number, grid.len)),
        MetricExpr::Range(range) => {
            let mut matrix = range::evaluate(evaluation, range, SeriesBy::of(range), grid)?;
            limit_series(evaluation, &mut matrix)?;
            Value::Matrix(matrix)
        }
        MetricExpr::Vector(aggregation) => Value::Matrix(eval_aggregation(evaluation, aggregation, grid)?),
        MetricExpr::Binary(expr) => {
            let left = eval(evaluation, &expr.left, grid)?;
            let right = eval(evaluation, &expr.right, grid)?;
            binary(expr, left, right, grid.len)?
        }
        MetricExpr::LabelReplace(call) => {
            let regex = re2::compile_anchored(&call.regex)
                .map_err(|error| Error::Refused(format!("parse error : invalid regex in label_replace: {error}")))?;
            let inner = eval_matrix(evaluation, &call.inner, grid)?;
            Value::Matrix(label_replace(call, &regex, inner))
        }
    })
}

fn eval_matrix(evaluation: &Evaluation, expr: &MetricExpr, grid: &Grid) -> Result<Matrix, Error> {
    Ok(match eval(evaluation, expr, grid)? {
        Value::Matrix(matrix) => matrix,
        Value::Scalar(number) => Matrix::constant(number, grid.len),
    })
}

fn eval_aggregation(evaluation: &Evaluation, aggregation: &VectorAggregation, grid: &Grid) -> Result<Matrix, Error> {
    if aggregation.op == VectorOp::ApproxTopk {
        // Recorded answer of a server with default settings.
        return Err(Error::Internal("approx_topk is not enabled. See -limits.shard_aggregations".to_owned()));
    }
    let MetricExpr::Range(range) = &*aggregation.inner else {
        let inner = eval_matrix(evaluation, &aggregation.inner, grid)?;
        return Ok(aggregate(aggregation, inner, grid.len));
    };
    let folds = !matches!(
        aggregation.op,
        VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk | VectorOp::Sort | VectorOp::SortDesc
    );
    let mut matrix = if aggregation.op == VectorOp::Sum && is_additive(range) {
        range::evaluate(evaluation, range, SeriesBy::of_sum(range, aggregation.grouping.as_ref()), grid)?
    } else {
        let mut inner = range::evaluate(evaluation, range, SeriesBy::of(range), grid)?;
        if !folds {
            limit_series(evaluation, &mut inner)?;
        }
        aggregate(aggregation, inner, grid.len)
    };
    limit_series(evaluation, &mut matrix)?;
    Ok(matrix)
}

/// The series limit counts what an answer shows, and what the reference server would send from one of its parts to
/// another: range aggregations, unless an aggregation folds them right away, and the outcome of that.
///
/// Source: contract logql.md, 11.3; golden answers of category `limits`.
fn limit_series(evaluation: &Evaluation, matrix: &mut Matrix) -> Result<(), Error> {
    let limit = evaluation.limits.max_query_series;
    if limit == 0 || matrix.series.len() <= limit {
        return Ok(());
    }
    if !evaluation.partial_series {
        return Err(Error::TooManySeries(limit));
    }
    matrix.sort_by_labels();
    matrix.series.truncate(limit);
    evaluation
        .warn(format!("maximum number of series ({limit}) reached for a single query; returning partial results"));
    Ok(())
}
