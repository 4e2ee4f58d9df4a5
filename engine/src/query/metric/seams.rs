//! The point that Loki loses where it cuts a query, so that answers are the same here.
//!
//! With a step of at least `split_queries_by_interval` Loki evaluates each pair of neighbouring instants on its own and
//! joins the answers in the order of the first point of their first series, the later of two equals first. A series
//! keeps only points behind its last one. Only the first instant lies in a single pair, so only there a point is lost:
//! when the series that sorts first begins at the second instant.
//!
//! Source: Loki 3.7, `pkg/querier/queryrange/splitters.go` (`ForInterval` with both ends), `split_by_interval.go`
//! (`BACKWARD` turns the order round), `queryrangebase/query_range.go` (`matrixMerge`, `minTime`).

use super::grid::Grid;
use super::series::Matrix;

/// Go sorts up to this many pairs by insertion, so that equals keep their order; longer lists it turns round first,
/// which puts the earlier of two equals in front and loses nothing.
const INSERTION_SORTED_MAX: usize = 12;

/// Removes the points that Loki loses when it cuts a query at `interval_ns` (0: nowhere). Sorts by labels.
pub fn cut(matrix: &mut Matrix, grid: &Grid, interval_ns: i64) {
    let pairs = grid.len - 1;
    if interval_ns == 0 || grid.step_ns < interval_ns || !(2..=INSERTION_SORTED_MAX).contains(&pairs) {
        return;
    }
    matrix.sort_by_labels();
    // Whether the first series that an answer shows has a point at its first instant.
    let begins_at_once = |first: usize| {
        let shown = matrix.series.iter().find(|series| series.column.has(first) || series.column.has(first + 1));
        shown.map(|series| series.column.has(first))
    };
    if begins_at_once(0) == Some(false) && begins_at_once(1) == Some(true) {
        for column in matrix.series.iter_mut().map(|series| &mut series.column) {
            if column.has(1) || column.has(2) {
                column.clear(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::testing::{GAP as G, matrix};
    use super::*;

    #[test]
    fn loses_what_loki_loses() {
        /// Steps of 1 h, cut every `interval_h`.
        #[track_caller]
        fn check(interval_h: i64, before: &[(&str, &[f64])], after: &[(&str, &[f64])]) {
            const H: i64 = 3_600_000_000_000;
            let grid = Grid { start_ns: 0, step_ns: H, len: before[0].1.len() };
            let mut got = matrix(before);
            cut(&mut got, &grid, interval_h * H);
            assert_eq!(got, matrix(after));
        }
        // As recorded: `error` begins at the second instant, so `info` loses its first.
        let late: &[(&str, &[f64])] = &[("l=error", &[G, 5.0, 6.0, G, G]), ("l=info", &[1.0, 2.0, 3.0, G, G])];
        check(1, late, &[("l=error", &[G, 5.0, 6.0, G, G]), ("l=info", &[G, 2.0, 3.0, G, G])]);
        // Not cut, or cut into more than a step.
        check(0, late, late);
        check(2, late, late);
        // One pair; a first series that begins at once; one that begins later still.
        let pair: &[(&str, &[f64])] = &[("l=a", &[G, 5.0]), ("l=b", &[1.0, 2.0])];
        check(1, pair, pair);
        let whole: &[(&str, &[f64])] = &[("l=a", &[1.0, G, 1.0, 1.0]), ("l=b", &[1.0, 2.0, G, 4.0])];
        check(1, whole, whole);
        let later: &[(&str, &[f64])] = &[("l=a", &[G, G, 1.0, 1.0]), ("l=b", &[1.0, G, 3.0, 4.0])];
        check(1, later, later);
        // Nothing follows in the next pair, so nothing stands before the point.
        let lone: &[(&str, &[f64])] = &[("l=a", &[G, 1.0, 1.0]), ("l=b", &[1.0, G, G])];
        check(1, lone, lone);
        // More pairs than Go sorts by insertion.
        let mut many = vec![1.0; 14];
        many[0] = G;
        check(1, &[("l=a", &many), ("l=b", &[1.0; 14])], &[("l=a", &many), ("l=b", &[1.0; 14])]);
    }
}
