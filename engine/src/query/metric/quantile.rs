//! `quantile_over_time` and the quantile itself.
//!
//! The samples of a series are ranked once; the window then is a set of ranks in a Fenwick tree, from which the k-th
//! smallest is read in O(log n). A step costs what enters and leaves its window.

use super::column::Column;
use super::windows::Windows;

/// The values of a series that no summary replaces, in time order once sorted.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    points: Vec<(i64, f64)>,
}

impl Samples {
    /// Adds a sample.
    pub fn push(&mut self, ts_ns: i64, value: f64) {
        self.points.push((ts_ns, value));
    }

    /// Takes in another part of the series.
    pub fn absorb(&mut self, other: Self) {
        self.points.extend(other.points);
    }

    /// The samples in time order; equal times in the order they came.
    pub fn sorted(mut self) -> Vec<(i64, f64)> {
        if !self.points.is_sorted_by_key(|point| point.0) {
            self.points.sort_by_key(|point| point.0);
        }
        self.points
    }
}

/// The `q`-quantile of each step's window, by linear interpolation at rank `q * (n - 1)`.
///
/// NaN sorts first. `q` below 0 gives -Inf, above 1 +Inf.
///
/// Source: contract logql.md, 8.
pub fn quantile_over_time(samples: Samples, q: f64, windows: &Windows, steps: usize) -> Column {
    let points = samples.sorted();
    let mut column = Column::absent(steps);
    // rank[i]: place of sample i among all samples of the series.
    let mut by_value: Vec<u32> = (0..points.len() as u32).collect();
    by_value.sort_by(|&a, &b| nan_first(points[a as usize].1, points[b as usize].1));
    let mut rank = vec![0u32; points.len()];
    for (place, &idx) in by_value.iter().enumerate() {
        rank[idx as usize] = place as u32;
    }
    let panes: Vec<Option<u32>> = points.iter().map(|&(ts, _)| windows.pane(ts)).collect();

    let mut tree = RankTree::new(points.len());
    let (mut low, mut high) = (0, 0);
    for (step, &(first, end)) in windows.spans().iter().enumerate() {
        // Samples between windows belong to no pane: they neither enter nor leave.
        while high < points.len() && panes[high].is_none_or(|pane| pane < end) {
            if panes[high].is_some() {
                tree.add(rank[high], 1);
            }
            high += 1;
        }
        while low < high && panes[low].is_none_or(|pane| pane < first) {
            if panes[low].is_some() {
                tree.add(rank[low], -1);
            }
            low += 1;
        }
        if tree.count > 0 {
            let at = |place: usize| points[by_value[tree.nth(place)] as usize].1;
            column.set(step, interpolate(q, tree.count, at));
        }
    }
    column
}

/// The `q`-quantile of `count` values, of which `at(i)` is the i-th smallest.
fn interpolate(q: f64, count: usize, at: impl Fn(usize) -> f64) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (count - 1) as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let (lower, upper) = (lower as usize, (lower as usize + 1).min(count - 1));
    at(lower) * (1.0 - weight) + at(upper) * weight
}

fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// A set of ranks. Source: Fenwick 1994, "A New Data Structure for Cumulative Frequency Tables".
struct RankTree {
    sums: Vec<i32>,
    count: usize,
}

impl RankTree {
    fn new(len: usize) -> Self {
        Self { sums: vec![0; len + 1], count: 0 }
    }

    fn add(&mut self, rank: u32, delta: i32) {
        self.count = self.count.wrapping_add_signed(delta as isize);
        let mut idx = rank as usize + 1;
        while idx < self.sums.len() {
            self.sums[idx] += delta;
            idx += idx & idx.wrapping_neg();
        }
    }

    /// The `n`-th smallest rank in the set, from 0; `n < count`.
    fn nth(&self, n: usize) -> usize {
        let mut left = n as i32;
        let mut idx = 0;
        let mut bit = self.sums.len().next_power_of_two();
        while bit > 0 {
            let next = idx + bit;
            if next < self.sums.len() && self.sums[next] <= left {
                left -= self.sums[next];
                idx = next;
            }
            bit /= 2;
        }
        idx
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::grid::Grid;
    use super::*;

    fn naive(q: f64, mut values: Vec<f64>) -> f64 {
        values.sort_by(|a, b| nan_first(*a, *b));
        interpolate(q, values.len(), |i| values[i])
    }

    #[test]
    fn interpolates() {
        assert_eq!(naive(0.5, vec![200.0, 500.0, 200.0, 404.0]), 302.0);
        assert_eq!(naive(1.5, vec![1.0]), f64::INFINITY);
        assert_eq!(naive(0.0, vec![3.0, 1.0]), 1.0);
        assert!(naive(0.0, vec![3.0, f64::NAN]).is_nan());
    }

    proptest! {
        #[test]
        fn equals_a_sort_per_window(
            points in prop::collection::vec((0i64..200, -5i32..5), 0..40),
            start in 0i64..150, step in 1i64..40, len in 1usize..15, range in 0i64..80, q in 0.0f64..1.0,
        ) {
            let grid = Grid { start_ns: start, step_ns: step, len };
            let mut samples = Samples::default();
            for &(ts, value) in &points {
                samples.push(ts, f64::from(value));
            }
            let column = quantile_over_time(samples, q, &Windows::new(&grid, range), len);
            for i in 0..len {
                let t = grid.at(i);
                let window: Vec<f64> =
                    points.iter().filter(|p| t - range < p.0 && p.0 <= t).map(|p| f64::from(p.1)).collect();
                let want = (!window.is_empty()).then(|| naive(q, window));
                prop_assert_eq!(column.get(i), want);
            }
        }
    }
}
