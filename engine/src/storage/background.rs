//! The merge thread: merges as long as there are any, and applies retention now and then.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use super::codec::Level;
use super::deletes::apply_deletes;
use super::error::Error;
use super::merge::merge_once;
use super::retention::{apply_retention, enforce_size};
use super::shared::Shared;

/// Merges become due with time, too.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(500);

/// Niceness of the merge thread: it gets a tenth of a processor that pushes or queries want, and all of an idle one.
const NICENESS: i32 = 10;

/// Works until the store closes.
pub fn run(shared: &Shared) {
    if let Err(err) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        warn!(error = %err, "merges run with the priority of everything else");
    }
    let mut next_retention = Instant::now();
    loop {
        // A burst that ends wakes nobody.
        let has_quick = shared.view.load().parts.iter().any(|part| part.footer.level == Level::Quick);
        let quick_idle = Duration::from_nanos(shared.options.merge.quick_idle_ns.max(0).unsigned_abs());
        let look_every = if has_quick { quick_idle.clamp(LOOK_EVERY_MIN, LOOK_EVERY) } else { LOOK_EVERY };
        if !wait(shared, look_every.min(shared.options.retention_every)) {
            return;
        }
        let is_wanted = shared.retention_wanted.swap(false, Ordering::Relaxed);
        let result = if is_wanted || Instant::now() >= next_retention {
            next_retention = Instant::now() + shared.options.retention_every;
            apply_retention(shared).and_then(|()| apply_deletes(shared))
        } else {
            enforce_size(shared, &shared.retention.load().size)
        };
        let merged = result.and_then(|()| {
            while shared.options.is_merging && !shared.is_closing() && merge_once(shared)? {}
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
fn wait(shared: &Shared, look_every: Duration) -> bool {
    let mut wanted = shared.merge_wanted.lock();
    let deadline = Instant::now() + look_every;
    while !*wanted && !shared.is_closing() {
        if shared.merge_wake.wait_until(&mut wanted, deadline).timed_out() {
            break;
        }
    }
    *wanted = false;
    !shared.is_closing()
}
