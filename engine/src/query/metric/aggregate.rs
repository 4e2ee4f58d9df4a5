//! Aggregations over the series of a vector: `sum by (a) (…)` and its kin.
//!
//! A series belongs to one group at all steps, so groups are found once per series, and then columns are folded.
//!
//! Source: contract logql.md, 9.

use std::cmp::Ordering;

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::ast::{VectorAggregation, VectorOp};

use super::column::Column;
use super::series::{Matrix, Series, group_labels};
use super::sliding::Summary;
use super::summary::{Max, Min, Moments, Sum};

/// What `aggregation` makes of `inner`, over a grid of `steps` steps. Empty input gives empty output, never 0.
pub fn aggregate(aggregation: &VectorAggregation, inner: Matrix, steps: usize) -> Matrix {
    match aggregation.op {
        VectorOp::Sum => fold::<Sum>(aggregation, inner, steps, |s| s.0),
        VectorOp::Min => fold::<Min>(aggregation, inner, steps, |s| s.0),
        VectorOp::Max => fold::<Max>(aggregation, inner, steps, |s| s.0),
        VectorOp::Avg => fold::<Moments>(aggregation, inner, steps, Moments::mean),
        VectorOp::Stdvar => fold::<Moments>(aggregation, inner, steps, Moments::variance),
        VectorOp::Stddev => fold::<Moments>(aggregation, inner, steps, |s| s.variance().sqrt()),
        VectorOp::Count => {
            let mut ones = inner;
            for series in &mut ones.series {
                series.column.map(|_| Some(1.0));
            }
            fold::<Sum>(aggregation, ones, steps, |s| s.0)
        }
        VectorOp::Topk | VectorOp::ApproxTopk => select(aggregation, inner, steps, |a, b| b.total_cmp(&a)),
        VectorOp::Bottomk => select(aggregation, inner, steps, |a, b| a.total_cmp(&b)),
        VectorOp::Sort => sort(inner, |a, b| a.total_cmp(&b)),
        VectorOp::SortDesc => sort(inner, |a, b| b.total_cmp(&a)),
    }
}

/// Series by group, groups in the order of their first series.
fn groups(aggregation: &VectorAggregation, series: &[Series]) -> Vec<(Labels, Vec<usize>)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<usize>)> = Vec::new();
    for (idx, series) in series.iter().enumerate() {
        let labels = group_labels(&series.labels, aggregation.grouping.as_ref());
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(idx);
    }
    groups
}

/// One series per group, whose points are summaries of the group's.
fn fold<S: Summary>(aggregation: &VectorAggregation, inner: Matrix, steps: usize, value: impl Fn(&S) -> f64) -> Matrix {
    let groups = groups(aggregation, &inner.series);
    Matrix::new(groups.into_iter().map(|(labels, members)| {
        let mut summaries: Vec<Option<S>> = vec![None; steps];
        for idx in members {
            for (step, value) in inner.series[idx].column.points() {
                match &mut summaries[step] {
                    Some(summary) => summary.add(0, value),
                    empty => *empty = Some(S::of(0, value)),
                }
            }
        }
        let mut column = Column::absent(steps);
        for (step, summary) in summaries.iter().enumerate() {
            if let Some(summary) = summary {
                column.set(step, value(summary));
            }
        }
        Series { labels, column }
    }))
}

/// Keeps, per group and step, the first k points in the order of `better`; NaN comes last. The labels stay.
fn select(
    aggregation: &VectorAggregation,
    mut inner: Matrix,
    steps: usize,
    better: impl Fn(f64, f64) -> Ordering,
) -> Matrix {
    let k = usize::try_from(aggregation.param.unwrap_or(1)).unwrap_or(usize::MAX);
    let mut points: Vec<(f64, usize)> = Vec::new();
    for (_, members) in groups(aggregation, &inner.series) {
        for step in 0..steps {
            points.clear();
            points.extend(members.iter().filter_map(|&idx| Some((inner.series[idx].column.get(step)?, idx))));
            if points.len() > k {
                points.select_nth_unstable_by(k - 1, |a, b| nan_last(a.0, b.0, &better).then(a.1.cmp(&b.1)));
                for &(_, idx) in &points[k..] {
                    inner.series[idx].column.clear(step);
                }
            }
        }
    }
    Matrix::new(inner.series)
}

/// Puts the series in the order of their value at the last step; only an instant query shows it.
fn sort(mut inner: Matrix, before: impl Fn(f64, f64) -> Ordering) -> Matrix {
    let value = |series: &Series| series.column.points().last().map_or(f64::NAN, |(_, value)| value);
    inner.series.sort_by(|a, b| nan_last(value(a), value(b), &before).then_with(|| a.labels.cmp(&b.labels)));
    inner.is_ordered = true;
    inner
}

fn nan_last(a: f64, b: f64, order: &impl Fn(f64, f64) -> Ordering) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => order(a, b),
        (a, b) => a.cmp(&b),
    }
}

#[cfg(test)]
mod tests {
    use logstack_logql::ast::{Grouping, MetricExpr};

    use super::super::series::testing::{GAP, matrix, show};
    use super::*;

    const NAN: f64 = f64::NAN;

    #[track_caller]
    fn check(
        op: VectorOp,
        param: Option<u64>,
        grouping: Option<(bool, &[&str])>,
        lines: &[(&str, &[f64])],
        want: &str,
    ) {
        let steps = lines.first().map_or(0, |line| line.1.len());
        let aggregation = VectorAggregation {
            op,
            param,
            grouping: grouping
                .map(|(without, labels)| Grouping { without, labels: labels.iter().map(|&l| l.to_owned()).collect() }),
            inner: Box::new(MetricExpr::Literal(0.0)),
        };
        assert_eq!(show(&aggregate(&aggregation, matrix(lines), steps)), want, "{op:?} {param:?} {grouping:?}");
    }

    #[test]
    fn folds_by_group() {
        use VectorOp::*;
        let lines: &[(&str, &[f64])] =
            &[("app=api,env=prod", &[4.0, GAP]), ("app=db,env=dev", &[3.0, GAP]), ("app=web,env=prod", &[3.0, 7.0])];
        check(Sum, None, None, lines, "{} 10 7");
        check(Sum, None, Some((false, &[])), lines, "{} 10 7");
        check(Sum, None, Some((false, &["env"])), lines, "{env=dev} 3 _; {env=prod} 7 7");
        check(Sum, None, Some((false, &["nope"])), lines, "{} 10 7");
        check(Min, None, Some((true, &["app"])), lines, "{env=dev} 3 _; {env=prod} 3 7");
        check(Max, None, Some((true, &[])), &lines[..1], "{app=api,env=prod} 4 _");
        check(Count, None, None, lines, "{} 3 1");
        check(Avg, None, Some((false, &["env"])), lines, "{env=dev} 3 _; {env=prod} 3.5 7");
        check(Stdvar, None, Some((false, &["env"])), lines, "{env=dev} 0 _; {env=prod} 0.25 0");
        check(Stddev, None, Some((false, &["env"])), lines, "{env=dev} 0 _; {env=prod} 0.5 0");
        check(Sum, None, None, &[], "");
    }

    #[test]
    fn selects_per_group_and_step() {
        use VectorOp::*;
        let lines: &[(&str, &[f64])] =
            &[("a=1,g=x", &[1.0, 9.0]), ("a=2,g=x", &[2.0, NAN]), ("a=3,g=y", &[3.0, GAP]), ("a=4,g=x", &[NAN, 4.0])];
        check(Topk, Some(1), None, lines, "{a=1,g=x} _ 9; {a=3,g=y} 3 _");
        check(Bottomk, Some(1), Some((false, &["g"])), lines, "{a=1,g=x} 1 _; {a=3,g=y} 3 _; {a=4,g=x} _ 4");
        check(ApproxTopk, Some(9), None, &lines[2..3], "{a=3,g=y} 3 _");
    }

    #[test]
    fn sorts_instant_vectors() {
        use VectorOp::*;
        let lines: &[(&str, &[f64])] = &[("a=1", &[2.0]), ("a=2", &[NAN]), ("a=3", &[3.0]), ("a=4", &[2.0])];
        check(Sort, None, None, lines, "{a=1} 2; {a=4} 2; {a=3} 3; {a=2} NaN");
        check(SortDesc, None, None, lines, "{a=3} 3; {a=1} 2; {a=4} 2; {a=2} NaN");
    }
}
