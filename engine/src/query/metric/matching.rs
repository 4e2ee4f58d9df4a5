//! Binary operations of two vectors: which series pair up, and what comes of a pair.
//!
//! Labels do not change from step to step, so series are matched once, by signature: the labels that `on` lists or
//! `ignoring` leaves. Whether two series meet is then a question per step: several series may share a signature as long
//! as no two of them have a point at the same step.
//!
//! Source: contract logql.md, 10.

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::ast::{BinaryExpr, BinaryOp, GroupSide, VectorMatching};

use super::binary::compute;
use super::column::Column;
use super::series::{Matrix, Series, only, without};
use crate::query::Error;

const DUPLICATE_RIGHT: Error = Error::Matching(
    "found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels must be unique \
     on one side",
);
const DUPLICATE_LEFT: Error = Error::Matching(
    "found duplicate series on the left hand-side;many-to-many matching not allowed: matching labels must be unique \
     on one side",
);
const IMPLICIT_MANY: Error =
    Error::Matching("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)");
const AMBIGUOUS_GROUP: Error =
    Error::Matching("multiple matches for labels: grouping labels must ensure unique matches");

/// Evaluates `left OP right`, series by series.
///
/// # Errors
/// When two series of a side that must be unique meet at a step.
pub fn match_vectors(expr: &BinaryExpr, left: Matrix, right: Matrix, steps: usize) -> Result<Matrix, Error> {
    let matching = expr.matching.as_ref();
    match expr.op {
        BinaryOp::And => Ok(filter(matching, left, &right, steps, true)),
        BinaryOp::Unless => Ok(filter(matching, left, &right, steps, false)),
        BinaryOp::Or => {
            let unmatched = filter(matching, right, &left, steps, false);
            let mut series = left.series;
            series.extend(unmatched.series);
            Ok(Matrix::joined(series))
        }
        _ => pair(expr, &left, &right, steps),
    }
}

/// The labels by which series of the two sides are compared.
fn signature(labels: &Labels, matching: Option<&VectorMatching>) -> Labels {
    match matching {
        None => labels.clone(),
        Some(matching) if matching.on => only(labels, &matching.labels),
        Some(matching) => without(labels, &matching.labels),
    }
}

/// Keeps the points of `kept` that have a partner at their step (`and`), or have none (`unless`).
fn filter(
    matching: Option<&VectorMatching>,
    mut kept: Matrix,
    partners: &Matrix,
    steps: usize,
    keep_matched: bool,
) -> Matrix {
    let mut presence: HashMap<Labels, Vec<u64>> = HashMap::new();
    for series in &partners.series {
        let bits = presence.entry(signature(&series.labels, matching)).or_insert_with(|| vec![0; steps.div_ceil(64)]);
        for (all, own) in bits.iter_mut().zip(series.column.presence()) {
            *all |= own;
        }
    }
    let nowhere = vec![0; steps.div_ceil(64)];
    for series in &mut kept.series {
        let bits = presence.get(&signature(&series.labels, matching)).unwrap_or(&nowhere);
        series.column.retain_where(bits, keep_matched);
    }
    Matrix::new(kept.series)
}

/// Arithmetic and comparisons.
fn pair(expr: &BinaryExpr, left: &Matrix, right: &Matrix, steps: usize) -> Result<Matrix, Error> {
    let matching = expr.matching.as_ref();
    let group = matching.and_then(|matching| matching.group.as_ref());
    // The many side is on the left, unless `group_right` turns the sides round.
    let swapped = matches!(group, Some(GroupSide::Right { .. }));
    let (many, one) = if swapped { (right, left) } else { (left, right) };

    let mut one_by_signature: HashMap<Labels, Vec<&Series>> = HashMap::new();
    for series in &one.series {
        one_by_signature.entry(signature(&series.labels, matching)).or_default().push(series);
    }
    for same in one_by_signature.values() {
        if meet(same) {
            return Err(if swapped { DUPLICATE_LEFT } else { DUPLICATE_RIGHT });
        }
    }

    let mut results: Vec<Series> = Vec::new();
    let mut places: HashMap<Labels, usize> = HashMap::new();
    // Steps at which a signature (one to one) or a result (many to one) already had a match.
    let mut taken: HashMap<(Labels, Labels), Column> = HashMap::new();
    for series in &many.series {
        let key = signature(&series.labels, matching);
        let Some(partners) = one_by_signature.get(&key) else { continue };
        for partner in partners {
            let labels = result_labels(series, partner, matching);
            let owner = if group.is_some() { labels.clone() } else { Labels::default() };
            let taken = taken.entry((key.clone(), owner)).or_insert_with(|| Column::absent(steps));
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                results.push(Series { labels: labels.clone(), column: Column::absent(steps) });
                results.len() - 1
            });
            let column = &mut results[place].column;
            for (step, value) in series.column.points() {
                let Some(other) = partner.column.get(step) else { continue };
                if taken.has(step) {
                    return Err(if group.is_some() { AMBIGUOUS_GROUP } else { IMPLICIT_MANY });
                }
                taken.set(step, 1.0);
                let (l, r) = if swapped { (other, value) } else { (value, other) };
                if let Some(point) = compute(expr.op, l, r).point(l, expr.return_bool) {
                    column.set(step, point);
                }
            }
        }
    }
    Ok(Matrix::new(results))
}

/// True when two of the series have a point at one step.
fn meet(series: &[&Series]) -> bool {
    let Some((first, others)) = series.split_first() else { return false };
    let mut all = first.column.presence().to_vec();
    others.iter().any(|other| {
        let shared = all.iter().zip(other.column.presence()).any(|(all, own)| all & own != 0);
        for (all, own) in all.iter_mut().zip(other.column.presence()) {
            *all |= own;
        }
        shared
    })
}

/// The labels of a match: those compared, or with `group_left` and `group_right` all of the many side and the listed
/// ones of the one side.
fn result_labels(many: &Series, one: &Series, matching: Option<&VectorMatching>) -> Labels {
    let Some(matching) = matching else { return many.labels.clone() };
    let Some(GroupSide::Left { include } | GroupSide::Right { include }) = &matching.group else {
        return signature(&many.labels, Some(matching));
    };
    if include.is_empty() {
        return many.labels.clone();
    }
    let taken_over = include.iter().filter_map(|name| Some((name.as_str(), one.labels.get(name)?)));
    let own = many.labels.iter().filter(|(name, _)| !include.iter().any(|n| n == name));
    Labels::from_pairs(own.chain(taken_over.filter(|(_, value)| !value.is_empty())))
}

#[cfg(test)]
mod tests {
    use logstack_logql::ast::{CompareOp, MetricExpr};

    use super::super::series::testing::{GAP, matrix, show};
    use super::*;

    type Lines = &'static [(&'static str, &'static [f64])];

    fn on(labels: &[&str], group: Option<GroupSide>) -> Option<VectorMatching> {
        Some(VectorMatching { on: true, labels: labels.iter().map(|&l| l.to_owned()).collect(), group })
    }

    fn ignoring(labels: &[&str], group: Option<GroupSide>) -> Option<VectorMatching> {
        on(labels, group).map(|matching| VectorMatching { on: false, ..matching })
    }

    #[track_caller]
    fn check(op: BinaryOp, matching: Option<VectorMatching>, left: Lines, right: Lines, want: Result<&str, &str>) {
        let steps = left.iter().chain(right).next().map_or(0, |line| line.1.len());
        let side = || MetricExpr::Literal(0.0);
        let expr = BinaryExpr { op, left: side(), right: side(), return_bool: false, matching };
        let got = match_vectors(&expr, matrix(left), matrix(right), steps);
        assert_eq!(got.map(|m| show(&m)).map_err(|e| e.to_string()), want.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn pairs_on_all_labels() {
        let left: Lines = &[("app=api", &[4.0]), ("app=db", &[3.0]), ("app=web", &[2.0])];
        let right: Lines = &[("app=api", &[4.0]), ("app=web", &[3.0])];
        check(BinaryOp::Sub, None, left, right, Ok("{app=api} 0; {app=web} -1"));
        check(BinaryOp::Compare(CompareOp::Less), None, left, right, Ok("{app=web} 2"));
        check(BinaryOp::And, None, left, right, Ok("{app=api} 4; {app=web} 2"));
        check(BinaryOp::Unless, None, left, right, Ok("{app=db} 3"));
        check(BinaryOp::Or, None, right, left, Ok("{app=api} 4; {app=db} 3; {app=web} 3"));
    }

    #[test]
    fn pairs_on_listed_labels() {
        let many: Lines = &[("app=api,env=prod", &[4.0]), ("app=db,env=dev", &[3.0]), ("app=web,env=prod", &[3.0])];
        let one: Lines = &[("env=dev,zone=a", &[3.0]), ("env=prod", &[7.0])];
        let left =
            |include: &[&str]| Some(GroupSide::Left { include: include.iter().map(|&l| l.to_owned()).collect() });
        check(
            BinaryOp::Add,
            on(&["env"], left(&[])),
            many,
            one,
            Ok("{app=api,env=prod} 11; {app=db,env=dev} 6; {app=web,env=prod} 10"),
        );
        check(BinaryOp::Add, on(&["env"], left(&["zone", "app"])), &many[1..2], one, Ok("{env=dev,zone=a} 6"));
        check(BinaryOp::Add, on(&["env"], left(&["app"])), many, one, Err(AMBIGUOUS_GROUP.to_string().leak()));
        check(BinaryOp::Add, on(&["env"], None), many, one, Err(IMPLICIT_MANY.to_string().leak()));
        check(BinaryOp::Add, on(&["env"], None), one, many, Err(DUPLICATE_RIGHT.to_string().leak()));
        check(
            BinaryOp::Sub,
            ignoring(&["app", "zone"], Some(GroupSide::Right { include: vec![] })),
            one,
            many,
            Ok("{app=api,env=prod} 3; {app=db,env=dev} 0; {app=web,env=prod} 4"),
        );
        check(
            BinaryOp::Sub,
            ignoring(&["app", "zone"], Some(GroupSide::Right { include: vec![] })),
            many,
            one,
            Err(DUPLICATE_LEFT.to_string().leak()),
        );
        check(BinaryOp::Add, on(&["env"], None), &many[..2], one, Ok("{env=dev} 6; {env=prod} 11"));
    }

    #[test]
    fn series_may_take_turns() {
        let left: Lines = &[("a=1,p=x", &[1.0, GAP]), ("a=1,p=y", &[GAP, 2.0])];
        let right: Lines = &[("a=1,q=x", &[GAP, 20.0]), ("a=1,q=y", &[10.0, GAP])];
        check(BinaryOp::Add, on(&["a"], None), left, right, Ok("{a=1} 11 22"));
        check(BinaryOp::And, on(&["a"], None), left, &[("a=1", &[GAP, 1.0])], Ok("{a=1,p=y} _ 2"));
    }
}
