//! Series over a grid: what metric expressions evaluate to.

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::ast::Grouping;

use super::column::Column;

/// A label set and its points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What tells it from the other series.
    pub labels: Labels,
    /// Its points, one place per step.
    pub column: Column,
}

/// Series over the steps of one grid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    /// The series; their order says something only if `is_ordered`.
    pub series: Vec<Series>,
    /// `sort` and `sort_desc` made the order.
    pub is_ordered: bool,
}

impl Matrix {
    /// Series in no particular order; those without a point are left out.
    pub fn new(series: impl IntoIterator<Item = Series>) -> Self {
        Self { series: series.into_iter().filter(|s| !s.column.is_absent()).collect(), is_ordered: false }
    }

    /// One series with the same value at each step.
    pub fn constant(value: f64, steps: usize) -> Self {
        Self::new([Series { labels: Labels::default(), column: Column::filled(steps, value) }])
    }

    /// Joins series with equal labels, as happens when series that never share a step lose the label that told them
    /// apart. Where two have a point at one step, the earlier series keeps it.
    pub fn joined(series: Vec<Series>) -> Self {
        let mut places: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
        let mut out: Vec<Series> = Vec::with_capacity(series.len());
        for series in series {
            match places.get(&series.labels) {
                Some(&place) => {
                    let column = &mut out[place].column;
                    for (step, value) in series.column.points() {
                        if !column.has(step) {
                            column.set(step, value);
                        }
                    }
                }
                None => {
                    places.insert(series.labels.clone(), out.len());
                    out.push(series);
                }
            }
        }
        Self::new(out)
    }

    /// Sorts by labels, unless the query asked for another order.
    pub fn sort_by_labels(&mut self) {
        if !self.is_ordered {
            self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
    }
}

/// The labels of the group that a series with `labels` belongs to. `None` is one group for all.
///
/// A label of `by` that the series lacks is left out; one with an empty value is kept (contract logql.md, 4.1).
pub fn group_labels(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    let Some(grouping) = grouping else { return Labels::default() };
    if grouping.without {
        if grouping.labels.is_empty() {
            return labels.clone();
        }
        return without(labels, &grouping.labels);
    }
    only(labels, &grouping.labels)
}

/// The labels that `names` lists.
pub fn only(labels: &Labels, names: &[String]) -> Labels {
    Labels::from_pairs(labels.iter().filter(|(name, _)| names.iter().any(|n| n == name)))
}

/// The labels that `names` does not list.
pub fn without(labels: &Labels, names: &[String]) -> Labels {
    Labels::from_pairs(labels.iter().filter(|(name, _)| !names.iter().any(|n| n == name)))
}

#[cfg(test)]
pub(super) mod testing {
    //! Matrices as text: one series a line, `_` for a step without a point.

    use super::*;

    /// `{a="x"} 1 2 _`
    pub fn matrix(lines: &[(&str, &[f64])]) -> Matrix {
        let series = lines.iter().map(|(labels, values)| {
            let mut column = Column::absent(values.len());
            for (step, &value) in values.iter().enumerate() {
                if value != GAP {
                    column.set(step, value);
                }
            }
            Series { labels: parse_labels(labels), column }
        });
        Matrix::new(series)
    }

    /// Stands for a step without a point.
    pub const GAP: f64 = -987_654.5;

    /// `a=x,b=y`
    pub fn parse_labels(text: &str) -> Labels {
        Labels::from_pairs(text.split(',').filter(|p| !p.is_empty()).map(|p| p.split_once('=').expect("a=b")))
    }

    /// The matrix as text, sorted by labels unless ordered.
    pub fn show(matrix: &Matrix) -> String {
        let mut matrix = matrix.clone();
        matrix.sort_by_labels();
        let lines: Vec<String> = matrix
            .series
            .iter()
            .map(|series| {
                let labels: Vec<String> = series.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
                let values: Vec<String> = (0..series.column.steps())
                    .map(|step| series.column.get(step).map_or("_".into(), |v| v.to_string()))
                    .collect();
                format!("{{{}}} {}", labels.join(","), values.join(" "))
            })
            .collect();
        lines.join("; ")
    }
}
