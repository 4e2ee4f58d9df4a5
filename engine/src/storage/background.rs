//! The merge thread: merges as long as there are any, and applies retention now and then.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use super::deletes::apply_deletes;
use super::error::Error;
use super::merge::merge_once;
use super::retention::{apply_retention, enforce_size};
use super::shared::Shared;

/// Merges become due with time, too.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Retention by time is judged in days: it can wait.
const RETENTION_EVERY: Duration = Duration::from_secs(300);

/// Works until the store closes.
pub fn run(shared: &Shared) {
    let mut next_retention = Instant::now();
    while wait(shared) {
        let result = if Instant::now() >= next_retention {
            next_retention = Instant::now() + RETENTION_EVERY;
            apply_retention(shared).and_then(|()| apply_deletes(shared))
        } else {
            enforce_size(shared, &shared.retention.load().size)
        };
        let merged = result.and_then(|()| {
            while !shared.is_closing() && merge_once(shared)? {}
            Ok(())
        });
        match merged {
            Ok(()) | Err(Error::Closed) => {}
            Err(err) => {
                shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                warn!(error = %err, "background work failed, it is tried again");
            }
        }
    }
}

/// Waits until there may be something to do; false when the store closes.
fn wait(shared: &Shared) -> bool {
    let mut wanted = shared.merge_wanted.lock();
    let deadline = Instant::now() + LOOK_EVERY;
    while !*wanted && !shared.is_closing() {
        if shared.merge_wake.wait_until(&mut wanted, deadline).timed_out() {
            break;
        }
    }
    *wanted = false;
    !shared.is_closing()
}
