//! The instants at which a metric query is evaluated.

/// `len` instants, `step_ns` apart, from `start_ns` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// First instant, ns since the epoch.
    pub start_ns: i64,
    /// Distance of instants, ns; at least 1.
    pub step_ns: i64,
    /// Number of instants; at least 1.
    pub len: usize,
}

impl Grid {
    /// One instant.
    pub fn instant(time_ns: i64) -> Self {
        Self { start_ns: time_ns, step_ns: 1, len: 1 }
    }

    /// The multiples of `step_ns` from `start_ns`, rounded down, to `end_ns`, rounded up.
    ///
    /// Source: contract logql.md, 11.3. `step_ns > 0` and `start_ns <= end_ns`; the caller bounds the number of steps.
    pub fn aligned(start_ns: i64, end_ns: i64, step_ns: i64) -> Self {
        debug_assert!(step_ns > 0 && start_ns <= end_ns);
        let first = start_ns.div_euclid(step_ns);
        let last = end_ns.div_euclid(step_ns) + i64::from(end_ns.rem_euclid(step_ns) != 0);
        Self { start_ns: first.saturating_mul(step_ns), step_ns, len: (last - first + 1) as usize }
    }

    /// The instant of `step`.
    pub fn at(&self, step: usize) -> i64 {
        self.start_ns.saturating_add(self.step_ns.saturating_mul(step as i64))
    }

    /// The last instant.
    pub fn end_ns(&self) -> i64 {
        self.at(self.len - 1)
    }

    /// The grid an `offset` sees: the same steps, `offset_ns` earlier.
    pub fn shifted(&self, offset_ns: i64) -> Self {
        Self { start_ns: self.start_ns.saturating_sub(offset_ns), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn aligns_to_multiples_of_the_step() {
        #[track_caller]
        fn check(start: i64, end: i64, step: i64, want: &[i64]) {
            let grid = Grid::aligned(start, end, step);
            assert_eq!((0..grid.len).map(|i| grid.at(i)).collect::<Vec<_>>(), want);
        }
        check(61 * S, 62 * S, 60 * S, &[60 * S, 120 * S]);
        check(351 * S, 411 * S, 30 * S, &[330 * S, 360 * S, 390 * S, 420 * S]);
        check(60 * S, 60 * S, 60 * S, &[60 * S]);
        check(-61, -1, 60, &[-120, -60, 0]);
        assert_eq!(Grid::instant(7).shifted(3).at(0), 4);
    }
}
