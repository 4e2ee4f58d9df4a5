//! `sampling`: keeps a fraction of the entries.

use logstack_config::collector::stage::SamplingStage;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Flow, dropped};
use crate::pipeline::counters::{Counters, DropCounter};
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Sampling {
    /// Entries whose draw is below this are kept; `None`: all.
    below: Option<u64>,
    draws: u64,
    seed: u64,
    counter: DropCounter,
}

impl Sampling {
    /// Of the fraction that is kept.
    pub fn new(config: &SamplingStage, counters: &Counters) -> Self {
        let reason = match config.drop_counter_reason.as_str() {
            "" => "sampling_stage",
            reason => reason,
        };
        let below = (config.rate < 1.0).then_some((config.rate * u64::MAX as f64) as u64);
        Self { below, draws: 0, seed: u64::from(std::process::id()), counter: counters.dropped(reason) }
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry) -> Flow {
        let Some(below) = self.below else { return Flow::Next };
        self.draws += 1;
        // A hash of a counter is random enough to sample, and needs no generator.
        if xxh3_64_with_seed(&self.draws.to_le_bytes(), self.seed) < below {
            Flow::Next
        } else {
            dropped(entry, &self.counter)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::Scene;

    #[test]
    fn keeps_the_fraction() {
        let kept = |rate: &str| {
            let mut scene = Scene::new(&format!("- sampling: {rate}"));
            (0..10_000).for_each(|_| scene.run("l"));
            scene.out.len()
        };
        assert_eq!(kept("{rate: 1}"), 10_000);
        assert_eq!(kept("{rate: 0}"), 0);
        assert_eq!(kept("{}"), 0, "an omitted rate drops everything, as in Promtail");
        assert!((2_200..2_800).contains(&kept("{rate: 0.25}")));
        let mut scene = Scene::new("- sampling: {rate: 0, drop_counter_reason: mine}");
        scene.run("l");
        assert_eq!(scene.counters.dropped("mine").get(), 1);
    }
}
