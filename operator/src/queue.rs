//! What is to be reconciled, and when: one entry an object, however often something happened to it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Things that happen together become one pass.
pub const DEBOUNCE: Duration = Duration::from_secs(1);
/// First wait after a failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// A set of things to do, each due at a time. At most one pass of a thing runs at once.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    due: BTreeSet<(Instant, T)>,
    at: HashMap<T, Instant>,
    running: HashSet<T>,
    failures: HashMap<T, u32>,
    seed: u64,
}

impl<T: Clone + Ord + Hash> Default for Queue<T> {
    fn default() -> Self {
        let state = State {
            due: BTreeSet::new(),
            at: HashMap::new(),
            running: HashSet::new(),
            failures: HashMap::new(),
            seed: u64::from(std::process::id()) | 1,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<T: Clone + Ord + Hash> Queue<T> {
    /// Asks for a pass in `after`, or when it is due already, the sooner of both.
    pub fn add(&self, item: T, after: Duration) {
        self.schedule(&mut self.state.lock(), item, after);
        self.changed.notify_one();
    }

    fn schedule(&self, state: &mut State<T>, item: T, after: Duration) {
        let at = Instant::now() + after;
        match state.at.get(&item) {
            Some(known) if *known <= at => return,
            Some(known) => drop(state.due.remove(&(*known, item.clone()))),
            None => {}
        }
        state.at.insert(item.clone(), at);
        state.due.insert((at, item));
    }

    /// The next thing that is due. It counts as running until [`done`](Self::done).
    pub async fn next(&self) -> T {
        loop {
            let wake = self.changed.notified();
            let due = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let mut next = None;
                let mut sleep_until = None;
                for (at, item) in &state.due {
                    if state.running.contains(item) {
                        continue; // when it is done it comes again
                    }
                    if *at <= now {
                        next = Some((*at, item.clone()));
                    } else {
                        sleep_until = Some(*at);
                    }
                    break;
                }
                if let Some((at, item)) = next {
                    state.due.remove(&(at, item.clone()));
                    state.at.remove(&item);
                    state.running.insert(item.clone());
                    // Another worker may take what is due too.
                    self.changed.notify_one();
                    return item;
                }
                sleep_until
            };
            match due {
                Some(at) => drop(tokio::time::timeout_at(at, wake).await),
                None => wake.await,
            }
        }
    }

    /// Ends a pass that went well; `again`: when the next is due if nothing happens.
    pub fn done(&self, item: T, again: Option<Duration>) {
        let mut state = self.state.lock();
        state.running.remove(&item);
        state.failures.remove(&item);
        if let Some(after) = again {
            self.schedule(&mut state, item, after);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends a pass that failed for a reason that time may mend. Returns the wait.
    pub fn failed(&self, item: T) -> Duration {
        let mut state = self.state.lock();
        state.running.remove(&item);
        let failures = state.failures.entry(item.clone()).or_default();
        *failures += 1;
        let doublings = (*failures - 1).min(16);
        let wait = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        // A fifth more or less, so that many objects do not come back at once.
        state.seed ^= state.seed << 13;
        state.seed ^= state.seed >> 7;
        state.seed ^= state.seed << 17;
        let wait = wait.mul_f64(0.8 + 0.4 * (state.seed % 1000) as f64 / 1000.0);
        self.schedule(&mut state, item, wait);
        drop(state);
        self.changed.notify_one();
        wait
    }

    /// Forgets failures: the object changed, or is gone.
    pub fn reset(&self, item: &T) {
        self.state.lock().failures.remove(item);
    }

    /// Things that wait or run, and those among them that failed last.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        let now = Instant::now();
        let due = state.due.iter().take_while(|(at, _)| *at <= now).count();
        (due + state.running.len(), state.failures.len())
    }

    /// True when nothing runs.
    pub fn is_idle(&self) -> bool {
        self.state.lock().running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn many_events_are_one_pass() {
        let queue = Queue::default();
        for _ in 0..10 {
            queue.add("a", SOON);
        }
        queue.add("b", Duration::ZERO);
        let start = Instant::now();
        assert_eq!(queue.next().await, "b");
        assert_eq!((queue.next().await, start.elapsed() >= SOON), ("a", true));
        queue.done("a", None);
        queue.done("b", None);
        assert_eq!(queue.depth(), (0, 0));
    }

    #[tokio::test]
    async fn what_happens_in_a_pass_is_another_pass() {
        let queue = Queue::default();
        queue.add("a", Duration::ZERO);
        assert_eq!(queue.next().await, "a");
        queue.add("a", Duration::ZERO);
        let early = tokio::time::timeout(SOON, queue.next()).await;
        assert!(early.is_err(), "one pass of an object at once");
        queue.done("a", None);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test]
    async fn failures_wait_longer_each_time() {
        let queue = Queue::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            queue.add("a", Duration::ZERO);
            let item = queue.next().await;
            waits.push(queue.failed(item));
            queue.add("a", Duration::ZERO);
        }
        assert!(waits[0] < Duration::from_millis(1300) && waits[3] > waits[0] && waits[11] <= BACKOFF_MAX.mul_f64(1.2));
        queue.reset(&"a");
        assert_eq!(queue.depth().1, 0);
    }
}
