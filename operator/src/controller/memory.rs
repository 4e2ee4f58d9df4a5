//! What is remembered of a stack between passes. All of it can be lost: it decides when something is said, not what.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::status::{Flips, Pressure};
use crate::world::Key;

/// A rollout that does not move for so long is told.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(900);
/// A correction of the same fields is told so often.
const TELL_DRIFT_EVERY: Duration = Duration::from_secs(3600);

/// Of one stack.
#[derive(Debug, Default)]
pub struct Memory {
    since: HashMap<String, Instant>,
    progress: Option<(String, Instant)>,
    told: HashMap<String, Instant>,
    /// When its conditions flipped.
    pub flips: Flips,
    /// Template of the pods of a set that is being made anew: its other changes follow in the next pass.
    pub recreating: Option<Value>,
    /// When the engine was last asked.
    pub polled: Option<Instant>,
    /// What it said: bytes used at times of the last day.
    pub used: Vec<(Instant, u64)>,
    /// What is made of it.
    pub pressure: Pressure,
    /// The engine's version.
    pub version: Option<String>,
    /// Kinds that are not watched were looked for once.
    pub has_looked_for_extras: bool,
    /// When the default image of this stack was changed.
    pub upgraded: Option<Instant>,
}

impl Memory {
    /// True when `what` has been so for `patience`. `None`: it is not so.
    pub fn persists(&mut self, what: &str, is_so: bool, patience: Duration) -> bool {
        if !is_so {
            self.since.remove(what);
            return false;
        }
        self.since.entry(what.to_owned()).or_insert_with(Instant::now).elapsed() >= patience
    }

    /// True when nothing has changed in `signature` for too long while something was under way.
    pub fn is_overdue(&mut self, is_rolling: bool, signature: String) -> bool {
        if !is_rolling {
            self.progress = None;
            return false;
        }
        match &self.progress {
            Some((known, since)) if *known == signature => since.elapsed() >= PROGRESS_DEADLINE,
            _ => {
                self.progress = Some((signature, Instant::now()));
                false
            }
        }
    }

    /// True once an hour for each `what`.
    pub fn may_tell(&mut self, what: String) -> bool {
        self.told.retain(|_, at| at.elapsed() < TELL_DRIFT_EVERY);
        match self.told.entry(what) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Instant::now());
                true
            }
        }
    }
}

/// Of all stacks.
#[derive(Debug, Default)]
pub struct Memories {
    stacks: Mutex<HashMap<Key, Memory>>,
}

impl Memories {
    /// Looks into the memory of a stack. Not across an await.
    pub fn with<T>(&self, key: &Key, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(self.stacks.lock().entry(key.clone()).or_default())
    }

    /// The stack is gone.
    pub fn forget(&self, key: &Key) {
        self.stacks.lock().remove(key);
    }
}
