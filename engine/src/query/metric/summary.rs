//! The summaries behind the functions over time: what must be kept of the samples of a window to know its answer.
//!
//! Source: contract logql.md, 8. Minimum and maximum ignore NaN unless there is nothing else; the others let it through.

use super::sliding::Summary;

/// `count_over_time`, `rate`, `bytes_over_time`, `bytes_rate`, `sum_over_time`.
#[derive(Debug, Clone, Copy)]
pub struct Sum(pub f64);

impl Summary for Sum {
    fn of(_: i64, value: f64) -> Self {
        Self(value)
    }
    fn add(&mut self, _: i64, value: f64) {
        self.0 += value;
    }
    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }
}

/// `min_over_time`
#[derive(Debug, Clone, Copy)]
pub struct Min(pub f64);

impl Summary for Min {
    fn of(_: i64, value: f64) -> Self {
        Self(value)
    }
    fn add(&mut self, _: i64, value: f64) {
        // `f64::min` prefers a number to NaN.
        self.0 = self.0.min(value);
    }
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.min(other.0);
    }
}

/// `max_over_time`
#[derive(Debug, Clone, Copy)]
pub struct Max(pub f64);

impl Summary for Max {
    fn of(_: i64, value: f64) -> Self {
        Self(value)
    }
    fn add(&mut self, _: i64, value: f64) {
        self.0 = self.0.max(value);
    }
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.max(other.0);
    }
}

/// Count, mean and sum of squared distances from it: `avg_over_time`, `stddev_over_time`, `stdvar_over_time`, and the
/// aggregations over series of the same names.
///
/// Source: Welford 1962 for one sample, Chan, Golub, LeVeque 1979 for two sets.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
    sum: f64,
}

impl Moments {
    /// Arithmetic mean. From the sum, so that infinities give what a reader expects.
    pub fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// Population variance.
    pub fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

impl Summary for Moments {
    fn of(_: i64, value: f64) -> Self {
        // An infinite value has no finite distance from the mean, not even its own.
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        Self { count: 1.0, mean: value, squares, sum: value }
    }
    fn add(&mut self, _: i64, value: f64) {
        self.count += 1.0;
        self.sum += value;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * self.count * other.count / count;
        self.mean += delta * other.count / count;
        self.count = count;
        self.sum += other.sum;
    }
}

/// `first_over_time`: of equal times the one that came first.
#[derive(Debug, Clone, Copy)]
pub struct First {
    ts_ns: i64,
    /// The value at that time.
    pub value: f64,
}

impl Summary for First {
    fn of(ts_ns: i64, value: f64) -> Self {
        Self { ts_ns, value }
    }
    fn add(&mut self, ts_ns: i64, value: f64) {
        if ts_ns < self.ts_ns {
            *self = Self { ts_ns, value };
        }
    }
    fn merge(&mut self, other: &Self) {
        self.add(other.ts_ns, other.value);
    }
}

/// `last_over_time`: of equal times the one that came last.
#[derive(Debug, Clone, Copy)]
pub struct Last {
    ts_ns: i64,
    /// The value at that time.
    pub value: f64,
}

impl Summary for Last {
    fn of(ts_ns: i64, value: f64) -> Self {
        Self { ts_ns, value }
    }
    fn add(&mut self, ts_ns: i64, value: f64) {
        if ts_ns >= self.ts_ns {
            *self = Self { ts_ns, value };
        }
    }
    fn merge(&mut self, other: &Self) {
        self.add(other.ts_ns, other.value);
    }
}

/// `rate_counter`: a run of samples in time order of a value that only grows, except when it starts anew.
#[derive(Debug, Clone, Copy)]
pub struct Counter {
    first_ns: i64,
    first: f64,
    last_ns: i64,
    last: f64,
    /// What the counter had reached at each fall, added up.
    lost: f64,
    is_single: bool,
}

impl Counter {
    /// Growth per second over a window of `range_ns`, extrapolated from its first and last sample to its ends.
    ///
    /// A window with one sample answers 0. The extrapolation mixes milliseconds into nanoseconds, as the recorded
    /// answers do: it is a millionth of what it is meant to be.
    ///
    /// Source: contract logql.md, 8; golden answers of `rate_counter`.
    pub fn rate(&self, range_ns: i64) -> f64 {
        if self.is_single {
            return 0.0;
        }
        let growth = self.last - self.first + self.lost;
        let sampled_ns = (self.last_ns - self.first_ns) as f64;
        let mut reach = (range_ns / 1_000_000) as f64;
        if growth > 0.0 && self.first >= 0.0 {
            reach = reach.min(sampled_ns * (self.first / growth));
        }
        growth * ((sampled_ns + reach) / sampled_ns) / (range_ns as f64 / 1e9)
    }
}

impl Summary for Counter {
    fn of(ts_ns: i64, value: f64) -> Self {
        Self { first_ns: ts_ns, first: value, last_ns: ts_ns, last: value, lost: 0.0, is_single: true }
    }
    fn add(&mut self, ts_ns: i64, value: f64) {
        self.merge(&Self::of(ts_ns, value));
    }
    fn merge(&mut self, later: &Self) {
        if later.first < self.last {
            self.lost += self.last;
        }
        self.lost += later.lost;
        self.last_ns = later.last_ns;
        self.last = later.last;
        self.is_single = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<S: Summary>(values: &[f64]) -> S {
        let mut summary = S::of(0, values[0]);
        for (idx, &value) in values.iter().enumerate().skip(1) {
            summary.add(idx as i64 * 10_000_000_000, value);
        }
        summary
    }

    #[test]
    fn extremes_ignore_nan() {
        assert_eq!(of::<Min>(&[f64::NAN, 2.0, 1.0]).0, 1.0);
        assert_eq!(of::<Max>(&[1.0, f64::NAN, 2.0]).0, 2.0);
        assert!(of::<Max>(&[f64::NAN, f64::NAN]).0.is_nan());
    }

    #[test]
    fn moments_merge() {
        let values = [200.0, 500.0, 200.0, 404.0];
        let whole: Moments = of(&values);
        assert_eq!((whole.mean(), whole.variance()), (326.0, 17028.0));
        let mut left: Moments = of(&values[..1]);
        left.merge(&of::<Moments>(&values[1..]));
        assert!((left.variance() - 17028.0).abs() < 1e-9);
        assert_eq!(of::<Moments>(&[5.0]).variance(), 0.0);
        assert!(of::<Moments>(&[1.0, f64::INFINITY]).variance().is_nan());
        assert_eq!(of::<Moments>(&[1.0, f64::INFINITY]).mean(), f64::INFINITY);
    }

    #[test]
    fn counters_start_anew() {
        let minute = 60_000_000_000;
        assert_eq!(of::<Counter>(&[4.0]).rate(minute), 0.0);
        let steady = of::<Counter>(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).rate(minute);
        assert!((steady - 0.0833334333).abs() < 1e-9, "{steady}");
        // 5 to 9, a fresh start, 1 to 3: 4 + 3.
        let counter: Counter = of(&[5.0, 9.0, 1.0, 3.0]);
        assert_eq!(counter.last - counter.first + counter.lost, 7.0);
        let mut left: Counter = of(&[5.0, 9.0]);
        left.merge(&of::<Counter>(&[1.0, 3.0]));
        assert_eq!(left.lost, counter.lost);
    }
}
