//! Panes of one series, and what their windows add up to.
//!
//! A series holds only the panes in which it has samples, in order. [`Sparse::slide`] visits each pane twice (once when
//! it enters the windows, once when it leaves), whatever the number of steps that share it: the two-stack queue of
//! Tangwongsan, Hirzel, Schneider, "In-Order Sliding-Window Aggregation in Worst-Case Constant Time", section 2. It
//! needs no subtraction, so sums with NaN or infinities in them come out as if added up window by window.

use super::windows::Windows;

/// What the samples of a pane, or of several, come to.
pub trait Summary: Clone {
    /// The summary of one sample.
    fn of(ts_ns: i64, value: f64) -> Self;
    /// Adds a sample.
    fn add(&mut self, ts_ns: i64, value: f64);
    /// Adds the samples of a later pane, or of the same pane when parts of a series meet.
    fn merge(&mut self, other: &Self);
}

/// Summaries by pane, of the panes that have samples.
#[derive(Debug, Clone)]
pub struct Sparse<S> {
    panes: Vec<u32>,
    summaries: Vec<S>,
}

impl<S> Default for Sparse<S> {
    fn default() -> Self {
        Self { panes: Vec::new(), summaries: Vec::new() }
    }
}

impl<S: Summary> Sparse<S> {
    /// Adds a sample to `pane`. Cheap when panes come in order, or near it. True when the pane is new to the series.
    pub fn add(&mut self, pane: u32, ts_ns: i64, value: f64) -> bool {
        match self.place(pane) {
            Ok(idx) => {
                self.summaries[idx].add(ts_ns, value);
                false
            }
            Err(idx) => {
                self.panes.insert(idx, pane);
                self.summaries.insert(idx, S::of(ts_ns, value));
                true
            }
        }
    }

    /// Takes in the panes of another part of the same series.
    pub fn absorb(&mut self, other: Self) {
        if self.panes.last() < other.panes.first() {
            self.panes.extend(other.panes);
            self.summaries.extend(other.summaries);
            return;
        }
        for (pane, summary) in other.panes.into_iter().zip(other.summaries) {
            match self.place(pane) {
                Ok(idx) => self.summaries[idx].merge(&summary),
                Err(idx) => {
                    self.panes.insert(idx, pane);
                    self.summaries.insert(idx, summary);
                }
            }
        }
    }

    /// Where `pane` is, or belongs.
    fn place(&self, pane: u32) -> Result<usize, usize> {
        match self.panes.last() {
            Some(&last) if last == pane => Ok(self.panes.len() - 1),
            Some(&last) if last > pane => self.panes.binary_search(&pane),
            _ => Err(self.panes.len()),
        }
    }

    /// Calls `emit` with each step whose window has samples, and their summary.
    pub fn slide(&self, windows: &Windows, mut emit: impl FnMut(usize, &S)) {
        // The window is panes[low..high]. `front` holds summaries of panes[low..middle], each up to the middle, the
        // one of the whole at the top; `back` is the summary of panes[middle..high].
        let (mut low, mut middle, mut high) = (0, 0, 0);
        let mut front: Vec<S> = Vec::new();
        let mut back: Option<S> = None;
        for (step, &(first, end)) in windows.spans().iter().enumerate() {
            while high < self.panes.len() && self.panes[high] < end {
                match &mut back {
                    Some(back) => back.merge(&self.summaries[high]),
                    None => back = Some(self.summaries[high].clone()),
                }
                high += 1;
            }
            while low < high && self.panes[low] < first {
                if low == middle {
                    front.clear();
                    // Panes that leave at once need no summary.
                    let stay = self.panes[low..high].partition_point(|&pane| pane < first) + low;
                    for idx in (stay..high).rev() {
                        let mut summary = self.summaries[idx].clone();
                        if let Some(later) = front.last() {
                            summary.merge(later);
                        }
                        front.push(summary);
                    }
                    back = None;
                    (low, middle) = (stay, high);
                } else {
                    front.pop();
                    low += 1;
                }
            }
            match (front.last(), &back) {
                (Some(front), Some(back)) => {
                    let mut whole = front.clone();
                    whole.merge(back);
                    emit(step, &whole);
                }
                (Some(only), None) | (None, Some(only)) => emit(step, only),
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::grid::Grid;
    use super::*;

    /// Keeps the values themselves, so that a test sees exactly what a window held, and in which order.
    #[derive(Clone, Debug, PartialEq)]
    struct Seen(Vec<f64>);

    impl Summary for Seen {
        fn of(_: i64, value: f64) -> Self {
            Self(vec![value])
        }
        fn add(&mut self, _: i64, value: f64) {
            self.0.push(value);
        }
        fn merge(&mut self, other: &Self) {
            self.0.extend(&other.0);
        }
    }

    proptest! {
        #[test]
        fn each_window_sees_its_samples(
            mut times in prop::collection::vec(0i64..200, 0..40),
            start in 0i64..150, step in 1i64..40, len in 1usize..20, range in 0i64..80,
        ) {
            times.sort_unstable();
            let grid = Grid { start_ns: start, step_ns: step, len };
            let windows = Windows::new(&grid, range);
            let mut series = Sparse::<Seen>::default();
            for &ts in &times {
                if let Some(pane) = windows.pane(ts) {
                    series.add(pane, ts, ts as f64);
                }
            }
            let mut got = vec![Vec::new(); len];
            series.slide(&windows, |step, seen| got[step] = seen.0.clone());
            for (step, got) in got.iter().enumerate() {
                let t = grid.at(step);
                let want: Vec<f64> = times.iter().filter(|&&ts| t - range < ts && ts <= t).map(|&ts| ts as f64).collect();
                prop_assert_eq!(got, &want);
            }
        }
    }

    #[test]
    fn parts_of_a_series_meet() {
        let mut left = Sparse::<Seen>::default();
        left.add(5, 0, 5.0);
        left.add(2, 0, 2.0);
        let mut right = Sparse::default();
        right.add(2, 0, 2.5);
        right.add(3, 0, 3.0);
        left.absorb(right);
        assert_eq!(left.panes, [2, 3, 5]);
        assert_eq!(left.summaries[0].0, [2.0, 2.5]);
    }
}
