//! A token bucket: `rate` per second on average, `burst` at once.

const NS_PER_S: f64 = 1e9;

/// Starts full. The caller brings the time, and the rate each time, so that a reload needs no rebuilding.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    tokens: f64,
    updated_ns: i64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(burst: f64, now_ns: i64) -> Self {
        Self { tokens: burst, updated_ns: now_ns }
    }

    /// Takes `amount`, or nothing. What is larger than `burst` never passes.
    pub fn take(&mut self, amount: u64, rate: f64, burst: f64, now_ns: i64) -> bool {
        // A clock that steps back adds nothing and takes nothing.
        let elapsed_s = now_ns.saturating_sub(self.updated_ns).max(0) as f64 / NS_PER_S;
        let tokens = (self.tokens + elapsed_s * rate).min(burst);
        let passes = amount as f64 <= tokens;
        if passes {
            self.tokens = tokens - amount as f64;
            self.updated_ns = self.updated_ns.max(now_ns);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_rate_and_burst() {
        let mut bucket = TokenBucket::new(100.0, 0);
        let mut at = |ms: i64, amount| bucket.take(amount, 10.0, 100.0, ms * 1_000_000);
        assert!(!at(0, 101));
        assert!(at(0, 100));
        assert!(!at(0, 1));
        assert!(!at(90, 1));
        assert!(at(100, 1));
        assert!(!at(50, 1));
        assert!(at(60_000, 100));
        assert!(!at(60_000, 1));
    }
}
