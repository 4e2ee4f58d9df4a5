//! The work behind queries' backs: merges as long as there are any, and retention now and then.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use super::codec::Level;
use super::deletes::apply_deletes;
use super::error::{Error, Result};
use super::merge::merge_once;
use super::retention::{apply_retention, enforce_size};
use super::shared::Shared;

/// Merges become due with time, too.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(500);

/// Niceness of merges: they get a tenth of a processor that pushes or queries want, and all of an idle one.
const NICENESS: i32 = 10;

/// Works until the store closes.
pub fn run(shared: &Shared) {
    let mut next_retention = Instant::now();
    loop {
        // A burst that ends wakes nobody.
        let has_quick = shared.view.load().parts.iter().any(|part| part.footer.level == Level::Quick);
        let quick_idle = Duration::from_nanos(shared.options.merge.quick_idle_ns.max(0).unsigned_abs());
        let look_every = if has_quick { quick_idle.clamp(LOOK_EVERY_MIN, LOOK_EVERY) } else { LOOK_EVERY };
        if !wait(shared, look_every.min(shared.options.retention_every)) {
            return;
        }
        loop {
            let is_wanted = shared.retention_wanted.swap(false, Ordering::Relaxed);
            let is_retention_due = is_wanted || Instant::now() >= next_retention;
            if is_retention_due {
                next_retention = Instant::now() + shared.options.retention_every;
            }
            match at_its_priority(shared, is_retention_due) {
                Ok(true) => continue,
                Ok(false) | Err(Error::Closed) => {}
                Err(err) => {
                    shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                    warn!(error = %err, "background work failed, it is tried again");
                }
            }
            break;
        }
    }
}

/// Does the work on a thread of its own: a thread may give up priority, and then never gets it back. True when there is
/// more to do, with another priority.
fn at_its_priority(shared: &Shared, is_retention_due: bool) -> Result<bool> {
    let is_behind = is_behind(shared);
    let work = || {
        if !is_behind && let Err(err) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
            warn!(error = %err, "merges run with the priority of everything else");
        }
        if is_retention_due {
            apply_retention(shared).and_then(|()| apply_deletes(shared))?;
        } else {
            enforce_size(shared, &shared.retention.load().size)?;
        }
        while shared.options.is_merging && !shared.is_closing() {
            if self::is_behind(shared) != is_behind {
                return Ok(true);
            }
            if !merge_once(shared)? {
                break;
            }
        }
        Ok(false)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("merge".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(Error::io("start a thread for merges in", &shared.layout.days))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// So much waits for its first merge that queries and the disk suffer more from it than from a merge in their way.
fn is_behind(shared: &Shared) -> bool {
    let limits = &shared.options.merge;
    let view = shared.view.load();
    let quick = view.parts.iter().filter(|part| part.footer.level == Level::Quick);
    let (parts, line_bytes) = quick.fold((0, 0), |sum, part| (sum.0 + 1, sum.1 + part.footer.line_bytes));
    parts > limits.quick_parts * 8 || line_bytes > limits.quick_line_bytes * 8
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
