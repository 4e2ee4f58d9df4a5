//! The windows of a range aggregation, cut into panes.
//!
//! ```text
//! steps        t0        t1        t2          a window is (t - range, t]
//! windows  |---------|
//!               |---------|
//! edges    |    |    |    |    |                every t - range and every t
//! panes    (  0 ](  1 ](  2 ](  3 ]             a window is a run of panes
//! ```
//!
//! A sample falls into one pane, once. What a step needs is then combined from panes ([`super::sliding`]), so the cost
//! per sample depends neither on the step nor on the range.

use super::grid::Grid;
use crate::model::TimeRange;

/// The windows of one range aggregation over a grid. Offsets are already taken out of the grid.
#[derive(Debug, Clone)]
pub struct Windows {
    /// Ascending, no value twice. Pane `p` is `(edges[p], edges[p + 1]]`.
    edges: Vec<i64>,
    /// Per step: first pane and one past the last one. Both ends never fall from step to step.
    spans: Vec<(u32, u32)>,
    /// Per pane: whether some window holds it; false between windows when the range is shorter than the step.
    live: Vec<bool>,
}

impl Windows {
    /// Cuts the windows `(t - range_ns, t]` for each `t` of `grid`.
    pub fn new(grid: &Grid, range_ns: i64) -> Self {
        let mut edges = Vec::with_capacity(grid.len * 2);
        // Both sequences ascend: merge them.
        let (mut opens, mut closes) = (0, 0);
        while closes < grid.len {
            let close = grid.at(closes);
            let edge = match (opens < grid.len).then(|| grid.at(opens).saturating_sub(range_ns)) {
                Some(open) if open <= close => {
                    opens += 1;
                    open
                }
                _ => {
                    closes += 1;
                    close
                }
            };
            if edges.last() != Some(&edge) {
                edges.push(edge);
            }
        }
        let index = |edge: i64| edges.binary_search(&edge).expect("every window end is an edge") as u32;
        let spans: Vec<(u32, u32)> =
            (0..grid.len).map(|i| (index(grid.at(i).saturating_sub(range_ns)), index(grid.at(i)))).collect();
        let mut live = vec![false; edges.len() - 1];
        let mut done = 0;
        for &(first, end) in &spans {
            for pane in first.max(done)..end {
                live[pane as usize] = true;
            }
            done = done.max(end);
        }
        Self { edges, spans, live }
    }

    /// Panes of each step's window, `first..end`.
    pub fn spans(&self) -> &[(u32, u32)] {
        &self.spans
    }

    /// The pane of an instant, if a window holds it, and the last instant of which the same is true.
    pub fn locate(&self, ts_ns: i64) -> (Option<u32>, i64) {
        let above = self.edges.partition_point(|&edge| edge < ts_ns);
        let end_ns = self.edges.get(above).copied().unwrap_or(i64::MAX);
        let pane = above.checked_sub(1).filter(|&pane| self.live.get(pane) == Some(&true));
        (pane.map(|pane| pane as u32), end_ns)
    }

    /// The pane of an instant, if a window holds it.
    pub fn pane(&self, ts_ns: i64) -> Option<u32> {
        self.locate(ts_ns).0
    }

    /// The last instant of `pane`.
    pub fn pane_end_ns(&self, pane: u32) -> i64 {
        self.edges[pane as usize + 1]
    }

    /// The pane that holds all of `range`, if one does.
    pub fn covering_pane(&self, range: &TimeRange) -> Option<u32> {
        let pane = self.pane(range.first_ns)?;
        (range.last_ns <= self.pane_end_ns(pane)).then_some(pane)
    }

    /// From the first to the last instant that any window holds; `None` when all windows are empty (`[0s]`).
    pub fn range(&self) -> Option<TimeRange> {
        let (first, last) = (*self.edges.first()?, *self.edges.last()?);
        (first < last).then(|| TimeRange { first_ns: first.saturating_add(1), last_ns: last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(start: i64, step: i64, len: usize, range: i64) -> Windows {
        Windows::new(&Grid { start_ns: start, step_ns: step, len }, range)
    }

    #[test]
    fn cuts_overlapping_windows() {
        let w = windows(100, 10, 3, 15);
        assert_eq!(w.edges, [85, 95, 100, 105, 110, 120]);
        assert_eq!(w.spans, [(0, 2), (1, 4), (3, 5)]);
        assert!(w.live.iter().all(|&l| l));
        assert_eq!(w.range(), Some(TimeRange { first_ns: 86, last_ns: 120 }));
    }

    #[test]
    fn windows_are_open_at_the_start_and_closed_at_the_end() {
        let w = windows(100, 10, 2, 10);
        assert_eq!((w.pane(90), w.pane(91), w.pane(100), w.pane(101), w.pane(110), w.pane(111)), {
            (None, Some(0), Some(0), Some(1), Some(1), None)
        });
    }

    #[test]
    fn panes_between_windows_are_dead() {
        let w = windows(100, 10, 2, 4);
        assert_eq!(w.edges, [96, 100, 106, 110]);
        assert_eq!((w.pane(98), w.pane(103), w.pane(107)), (Some(0), None, Some(2)));
        assert_eq!(w.covering_pane(&TimeRange { first_ns: 97, last_ns: 100 }), Some(0));
        assert_eq!(w.covering_pane(&TimeRange { first_ns: 97, last_ns: 101 }), None);
    }

    #[test]
    fn a_range_of_zero_holds_nothing() {
        let w = windows(100, 10, 1, 0);
        assert_eq!((w.pane(100), w.range()), (None, None));
        let w = windows(100, 10, 3, 0);
        assert_eq!((w.pane(100), w.pane(105), w.pane(110)), (None, None, None));
    }
}
