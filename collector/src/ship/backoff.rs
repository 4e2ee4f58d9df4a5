//! Delays between attempts: drawn from `[min * 2^n, min * 2^(n+1))`, never longer than the maximum.

use std::time::Duration;

/// Limits of the delays.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// First delay is drawn from `[min, 2 * min)`.
    pub min: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay after `attempt` failed attempts (0 for the first); `share` in `0.0..1.0` is the draw.
    pub fn delay(&self, attempt: u32, share: f64) -> Duration {
        let low = self.min.saturating_mul(1u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX)).min(self.max);
        (low + low.mul_f64(share)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(300) };
        #[track_caller]
        fn check(backoff: &Backoff, attempt: u32, share: f64, want_ms: u64) {
            assert_eq!(backoff.delay(attempt, share).as_millis() as u64, want_ms);
        }
        check(&backoff, 0, 0.0, 500);
        check(&backoff, 0, 0.5, 750);
        check(&backoff, 3, 0.0, 4_000);
        check(&backoff, 20, 0.9, 300_000);
        check(&backoff, u32::MAX, 0.0, 300_000);
    }
}
