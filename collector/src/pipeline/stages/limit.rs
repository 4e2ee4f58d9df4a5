//! `limit`: a token bucket. What is too much is dropped, or its source waits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use logstack_config::collector::stage::LimitStage;

use super::{Flow, dropped};
use crate::pipeline::Context;
use crate::pipeline::counters::{Counters, DropCounter};
use crate::pipeline::entry::Entry;

/// A token bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Tokens per second.
    rate: f64,
    burst: f64,
    tokens: f64,
    last: Option<Instant>,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: f64, burst: u64) -> Self {
        Self { rate, burst: burst as f64, tokens: burst as f64, last: None }
    }

    fn refill(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let gained = now.saturating_duration_since(last).as_secs_f64() * self.rate;
            self.tokens = (self.tokens + gained).min(self.burst);
        }
        self.last = Some(now);
    }

    /// Takes a token if there is one.
    pub fn try_take(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// True when so many tokens are there. A full bucket has enough for anything smaller than itself.
    pub fn has(&mut self, tokens: f64, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= tokens
    }

    /// Takes a token in advance; the caller has to pause so long.
    pub fn take(&mut self, now: Instant) -> Duration {
        self.take_many(1.0, now)
    }

    /// As [`Self::take`], many at once.
    pub fn take_many(&mut self, tokens: f64, now: Instant) -> Duration {
        self.refill(now);
        self.tokens -= tokens;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.rate).unwrap_or(Duration::MAX).min(Duration::from_secs(60))
    }
}

/// The stage.
#[derive(Debug)]
pub struct Limit {
    bucket: Bucket,
    drops: bool,
    by_label: Option<ByLabel>,
    counter: DropCounter,
    counters: Counters,
}

/// Buckets by label value, in two generations: the older one is forgotten when the younger is full.
#[derive(Debug)]
struct ByLabel {
    name: String,
    values_max: usize,
    young: HashMap<String, Bucket>,
    old: HashMap<String, Bucket>,
}

impl ByLabel {
    fn bucket(&mut self, value: &str, fresh: &Bucket) -> &mut Bucket {
        if !self.young.contains_key(value) {
            if self.young.len() >= self.values_max {
                self.old = std::mem::take(&mut self.young);
            }
            let bucket = self.old.remove(value).unwrap_or_else(|| fresh.clone());
            self.young.insert(value.to_owned(), bucket);
        }
        self.young.get_mut(value).expect("inserted above")
    }
}

impl Limit {
    /// Of rate and burst.
    pub fn new(config: &LimitStage, counters: &Counters) -> Self {
        let by_label = (!config.by_label_name.is_empty()).then(|| ByLabel {
            name: config.by_label_name.clone(),
            values_max: usize::try_from(config.max_distinct_labels).unwrap_or(usize::MAX).max(10_000),
            young: HashMap::new(),
            old: HashMap::new(),
        });
        Self {
            bucket: Bucket::new(config.rate, config.burst),
            drops: config.drop,
            by_label,
            counter: counters.dropped("ratelimit_drop_stage"),
            counters: counters.clone(),
        }
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry, cx: &mut Context<'_>) -> Flow {
        if let Some(by_label) = &mut self.by_label {
            let value = entry.labels.get(&by_label.name);
            if value.is_empty() || by_label.bucket(value, &self.bucket).try_take(cx.now) {
                return Flow::Next;
            }
            self.counters.dropped_by_label(&by_label.name, value);
            return dropped(entry, &self.counter);
        }
        if self.drops {
            return if self.bucket.try_take(cx.now) { Flow::Next } else { dropped(entry, &self.counter) };
        }
        // The entry goes on; its source waits. One thread reads all, so it must not sleep here.
        cx.wait = cx.wait.max(self.bucket.take(cx.now));
        Flow::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::Scene;

    #[test]
    fn drops_or_waits() {
        let mut scene = Scene::new("- limit: {rate: 1, burst: 2, drop: true}");
        (0..4).for_each(|i| scene.run(&i.to_string()));
        scene.pass(1);
        scene.run("later");
        assert_eq!(scene.out, ["{} 0 0", "{} 0 1", "{} 0 later"]);
        assert_eq!(scene.counters.dropped("ratelimit_drop_stage").get(), 2);
        let mut scene = Scene::new("- limit: {rate: 2, burst: 1}");
        scene.run("a");
        assert_eq!(scene.wait, Duration::ZERO);
        scene.run("b");
        assert_eq!((scene.wait, scene.out.len()), (Duration::from_millis(500), 2));
    }

    #[test]
    fn has_a_bucket_for_each_label_value() {
        let mut scene = Scene::new(
            "- regex: {expression: '(?P<u>\\w)'}\n- labels: {u: }\n- limit: {rate: 1, burst: 1, drop: true, by_label_name: u}",
        );
        ["a", "b", "a", "?", "?"].iter().for_each(|line| scene.run(line));
        assert_eq!(scene.out, [r#"{u="a"} 0 a"#, r#"{u="b"} 0 b"#, "{} 0 ?", "{} 0 ?"]);
        let want = r#"logentry_dropped_lines_by_label_total{label_name="u",label_value="a"} 1"#;
        assert!(scene.metrics().contains(want), "{}", scene.metrics());
    }
}
