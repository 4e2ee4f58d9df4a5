//! Which images a stack runs. When the operator's default changes, stacks roll one after the other.

use std::time::Duration;

use logstack_crds::LogStack;
use tokio::time::Instant;
use tracing::info;

use super::Pass;
use crate::build::Images;
use crate::names;
use crate::status::get;
use crate::world::Key;

/// A stack that rolls holds up the upgrade of the next so long at most.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(600);

impl Pass<'_> {
    /// The images in force. When the operator's default changes, stacks roll one after the other.
    pub(super) fn images(&mut self) -> Images {
        let default = self.context.settings.image.as_str();
        let wanted = Images::of(&self.stack, default);
        let Some(now) = self.stack.status.as_ref().and_then(|status| status.image.clone()) else { return wanted };
        let now = Images { engine: now.engine, collector: now.collector };
        let asks_for_none = |stack: &LogStack| {
            stack.spec.image.is_none() && (stack.spec.engine.image.is_none() || stack.spec.collector.image.is_none())
        };
        if now == wanted || now.engine.is_empty() || !asks_for_none(&self.stack) {
            return wanted;
        }
        if is_held(&self.stack) {
            return now;
        }
        let is_old = |stack: &LogStack| {
            let image = stack.status.as_ref().and_then(|status| status.image.as_ref());
            image.is_some_and(|image| Images::of(stack, default).engine != image.engine)
        };
        for other in self.context.world.stacks() {
            let key = Key::of(&other.metadata);
            // One that we do not write never comes to the new image: nobody waits for it.
            let is_ours = self.context.settings.is_responsible_for(&other.metadata);
            if key == *self.key || !asks_for_none(&other) || !is_ours || is_held(&other) {
                continue;
            }
            let is_before = is_old(&other) && key < *self.key;
            let rolls = !is_old(&other)
                && self.context.memories.with(&key, |memory| {
                    memory.upgraded.is_some_and(|at| at.elapsed() < UPGRADE_PATIENCE) && !is_ready(&other)
                });
            if is_before || rolls {
                self.again_soon = true;
                return now;
            }
        }
        self.context.memories.with(self.key, |memory| memory.upgraded = Some(Instant::now()));
        info!(stack = %self.key, image = wanted.engine, "default image changes");
        wanted
    }
}

/// It keeps its image: the user asked for it, or nothing of it is written, or it goes.
fn is_held(stack: &LogStack) -> bool {
    let annotations = stack.metadata.annotations.as_ref();
    let is_set = |key: &str| annotations.and_then(|all| all.get(key)).is_some_and(|value| value == "true");
    is_set(names::HOLD_UPGRADE) || is_set(names::PAUSED) || stack.metadata.deletion_timestamp.is_some()
}

fn is_ready(stack: &LogStack) -> bool {
    let status = stack.status.as_ref();
    let ready = status.and_then(|status| get(&status.conditions, "Ready"));
    ready.is_some_and(|ready| ready.status == "True" && ready.observed_generation == stack.metadata.generation)
}
