//! `per_container_rate`: what one container may write before it is slowed down, thinned out or cut off, so that a noisy
//! one does not starve the others.

use std::time::{Duration, Instant};

use logstack_config::collector::{ContainerRate as Config, RateAction};

use crate::pipeline::Bucket;

/// Above the rate one line of so many is kept (`action: sample`).
const SAMPLED: u64 = 10;

/// The limit of one log.
#[derive(Debug, Clone)]
pub struct ContainerRate {
    lines: Option<Bucket>,
    bytes: Option<Bucket>,
    action: RateAction,
    above: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It passes.
    Now,
    /// It passes, and the next one only after a pause.
    AfterPause(Duration),
    /// It is dropped.
    Never,
}

impl ContainerRate {
    /// A second's worth may come at once.
    pub fn new(config: &Config) -> Self {
        let bucket = |rate: u64| (rate > 0).then(|| Bucket::new(rate as f64, rate));
        Self { lines: bucket(config.lines), bytes: bucket(config.bytes.0), action: config.action, above: 0 }
    }

    /// Decides over a line of `len` bytes.
    pub fn take(&mut self, len: usize, now: Instant) -> Admission {
        if self.action == RateAction::Backpressure {
            let of_lines = self.lines.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(now));
            let of_bytes = self.bytes.as_mut().map_or(Duration::ZERO, |bucket| bucket.take_many(len as f64, now));
            return match of_lines.max(of_bytes) {
                Duration::ZERO => Admission::Now,
                pause => Admission::AfterPause(pause),
            };
        }
        let has_line = self.lines.as_mut().is_none_or(|bucket| bucket.has(1.0, now));
        let has_bytes = self.bytes.as_mut().is_none_or(|bucket| bucket.has(len as f64, now));
        if !has_line || !has_bytes {
            self.above += 1;
            let is_sample = self.action == RateAction::Sample && self.above % SAMPLED == 1;
            return if is_sample { Admission::Now } else { Admission::Never };
        }
        for (bucket, tokens) in self
            .lines
            .iter_mut()
            .map(|bucket| (bucket, 1.0))
            .chain(self.bytes.iter_mut().map(|bucket| (bucket, len as f64)))
        {
            bucket.take_many(tokens, now);
        }
        Admission::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstack_config::ByteSize;

    #[test]
    fn limits_lines_and_bytes() {
        let start = Instant::now();
        let check = |lines: u64, bytes: u64, action: RateAction, lens: &[usize], want: &str| {
            let mut rate = ContainerRate::new(&Config { lines, bytes: ByteSize(bytes), action });
            let show = |admission| match admission {
                Admission::Now => "+".to_owned(),
                Admission::AfterPause(pause) => format!("{}ms", pause.as_millis()),
                Admission::Never => "-".to_owned(),
            };
            let got: Vec<String> = lens.iter().map(|len| show(rate.take(*len, start))).collect();
            assert_eq!(got.join(" "), want);
        };
        check(2, 0, RateAction::Drop, &[9; 4], "+ + - -");
        check(0, 10, RateAction::Drop, &[5, 5, 1], "+ + -");
        check(10, 10, RateAction::Drop, &[11, 1], "- +");
        check(2, 0, RateAction::Backpressure, &[9; 4], "+ + 500ms 1000ms");
        check(0, 10, RateAction::Backpressure, &[20], "1000ms");
        check(1, 0, RateAction::Sample, &[1; 13], "+ + - - - - - - - - - + -");
    }
}
