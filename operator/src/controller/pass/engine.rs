//! Questions to engines: whether an external one answers, and how full the volume of ours is.

use std::sync::Arc;
use std::time::Duration;

use logstack_crds::quantity::bytes;
use tokio::time::Instant;

use super::Pass;
use crate::build;
use crate::controller::{Context, Item};
use crate::object::{Kind, ObjectId};
use crate::status::Pressure;
use crate::storage::quantity_bytes;
use crate::world::Key;

/// The engine is asked how full its disk is so often.
const POLL_EVERY: Duration = Duration::from_secs(300);
/// One question.
const POLL_TIMEOUT: Duration = Duration::from_secs(3);
/// Rates are made of so much time at most.
const RATE_WINDOW: Duration = Duration::from_secs(86_400);
/// And of so much at least.
const RATE_WINDOW_MIN: Duration = Duration::from_secs(3600);

impl Pass<'_> {
    pub(super) async fn ask_external(&self, url: &str) -> Result<(), String> {
        let url = format!("{}/ready", url.trim_end_matches('/'));
        match self.context.http.get(&url).timeout(POLL_TIMEOUT).send().await {
            // A gateway in front of Loki may not show /ready: it answers all the same.
            Ok(answer) if !answer.status().is_server_error() => Ok(()),
            Ok(answer) => Err(format!("answers with {}", answer.status())),
            Err(error) if error.is_timeout() => Err("does not answer in time".to_owned()),
            Err(_) => Err("cannot be reached".to_owned()),
        }
    }

    /// Has the engine asked how full its volume is, now and then, and does not wait for the answer.
    pub(super) fn poll_engine(&self) {
        let is_due = self.context.memories.with(self.key, |memory| {
            let is_due = memory.polled.is_none_or(|at| at.elapsed() >= POLL_EVERY);
            if is_due {
                memory.polled = Some(Instant::now());
            }
            is_due
        });
        if is_due {
            let question = Question {
                url: format!("{}/metrics", build::engine_url(&self.stack.spec, &self.names)),
                claim: ObjectId::new(Kind::PersistentVolumeClaim, &self.key.namespace, &self.names.claim()),
                has_size_retention: bytes(&self.stack.spec.engine.storage.size).is_some(),
            };
            tokio::spawn(question.ask(self.context.clone(), self.key.clone()));
        }
    }
}

/// What an engine is asked.
struct Question {
    url: String,
    claim: ObjectId,
    has_size_retention: bool,
}

impl Question {
    /// Asks, remembers the answer, and wakes the stack if it is another one than before.
    async fn ask(self, context: Arc<Context>, key: Key) {
        let page = match context.http.get(&self.url).timeout(POLL_TIMEOUT).send().await {
            Ok(answer) if answer.status().is_success() => answer.text().await.unwrap_or_default(),
            _ => String::new(),
        };
        if context.world.stack(&key).is_none() {
            return;
        }
        let value = |name: &str| -> Option<f64> {
            page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        };
        let claim = context.world.object(&self.claim);
        let capacity =
            claim.as_deref().and_then(|claim| claim.pointer("/status/capacity/storage")).and_then(quantity_bytes);
        let version = page.lines().find_map(build_version).map(str::to_owned);
        let has_changed = context.memories.with(&key, |memory| {
            let before = (memory.pressure, memory.version.clone());
            memory.version = version.or_else(|| memory.version.take());
            memory.pressure = match (value("logstack_storage_part_bytes"), capacity) {
                (Some(used), Some(capacity)) if capacity > 0 => {
                    memory.used.retain(|(at, _)| at.elapsed() < RATE_WINDOW);
                    memory.used.push((Instant::now(), used as u64));
                    pressure(&memory.used, capacity, self.has_size_retention)
                }
                _ => Pressure::Unknown,
            };
            before != (memory.pressure, memory.version.clone())
        });
        if has_changed {
            context.queue.add(Item::Stack(key), Duration::ZERO);
        }
    }
}

/// The engine's own version in its build info; `version` there is the one of Loki that it speaks.
fn build_version(line: &str) -> Option<&str> {
    let labels = line.strip_prefix("loki_build_info{")?;
    let (_, version) = labels.split_once("revision=\"")?;
    version.split_once('"').map(|(version, _)| version)
}

/// How full, in steps of five percent, and how soon it is full at the rate of the samples.
fn pressure(used: &[(Instant, u64)], capacity: u64, has_size_retention: bool) -> Pressure {
    let (Some((first_at, first)), Some((last_at, last))) = (used.first(), used.last()) else {
        return Pressure::Unknown;
    };
    let percent = ((*last as f64 / capacity as f64 * 20.0).round() * 5.0).min(100.0) as u8;
    if percent > 90 && !has_size_retention {
        return Pressure::NearlyFull(percent);
    }
    let span = last_at.duration_since(*first_at);
    if span < RATE_WINDOW_MIN || last <= first || has_size_retention && percent > 85 {
        return Pressure::Enough(percent);
    }
    let per_day = (last - first) as f64 / span.as_secs_f64() * 86_400.0;
    let days = capacity.saturating_sub(*last) as f64 / per_day;
    match days {
        days if days < 1.0 => Pressure::Day(percent),
        days if days < 7.0 => Pressure::Week(percent),
        _ => Pressure::Enough(percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn tells_how_soon_a_volume_is_full() {
        #[track_caller]
        fn check(used: &[(u64, u64)], has_size_retention: bool, want: Pressure) {
            let start = Instant::now();
            let at = |hours: &u64| start + Duration::from_secs(hours * 3600);
            let used: Vec<_> = used.iter().map(|(hours, gib)| (at(hours), gib * GIB)).collect();
            assert_eq!(pressure(&used, 100 * GIB, has_size_retention), want, "{used:?}");
        }
        check(&[], false, Pressure::Unknown);
        check(&[(0, 12)], false, Pressure::Enough(10));
        check(&[(0, 12), (24, 13)], false, Pressure::Enough(15));
        check(&[(0, 10), (24, 30)], false, Pressure::Week(30));
        check(&[(0, 10), (12, 50)], false, Pressure::Day(50));
        check(&[(0, 96)], false, Pressure::NearlyFull(95));
        // What deletes the oldest at a size is full on purpose.
        check(&[(0, 60), (12, 96)], true, Pressure::Enough(95));
    }

    #[test]
    fn reads_the_version() {
        assert_eq!(build_version("loki_build_info{version=\"3.5.0\",revision=\"0.1.0\"} 1"), Some("0.1.0"));
        assert_eq!(build_version("loki_ready 1"), None);
    }
}
