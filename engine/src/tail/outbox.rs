//! What waits to be sent to one tail. Bounded: what does not fit is dropped, and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use logstack_logql::Labels;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::query::LineLabels;

/// Entries that wait for one reader. Loki keeps a thousand; more carry a reader over a burst.
const ENTRIES_MAX: usize = 16_384;
/// Their bytes.
const BYTES_MAX: usize = 4 << 20;
/// The bytes of all tails together.
const ALL_BYTES_MAX: usize = 64 << 20;
/// Memory of an entry beside its line.
const ENTRY_BYTES: usize = 96;
/// Dropped entries that are named; beyond, they are only counted.
pub const NAMED_MAX: usize = 1000;

/// An entry on its way to a reader.
#[derive(Debug, Clone)]
pub struct TailEntry {
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// As the pipeline left it.
    pub line: Box<[u8]>,
    /// As the reader sees them.
    pub labels: Arc<LineLabels>,
}

/// Memory of all outboxes.
#[derive(Debug, Default)]
pub struct SharedBytes(AtomicUsize);

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    /// There is something to take.
    pub filled: Notify,
    all: Arc<SharedBytes>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<(Instant, TailEntry)>,
    bytes: usize,
    dropped: Vec<(i64, Labels)>,
    dropped_count: u64,
}

/// What was taken from an outbox.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of their timestamps, those of one in the order of arrival.
    pub entries: Vec<TailEntry>,
    /// Timestamps and labels of entries that were dropped, at most [`NAMED_MAX`].
    pub dropped: Vec<(i64, Labels)>,
    /// How many were dropped.
    pub dropped_count: u64,
    /// When the next entry may be taken.
    pub next: Option<Instant>,
}

impl Outbox {
    /// An empty one, that counts with `all`.
    pub fn new(all: Arc<SharedBytes>) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), all }
    }

    /// Adds entries, or counts them as dropped.
    pub fn put(&self, entries: impl Iterator<Item = TailEntry>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let mut is_filled = false;
        for entry in entries {
            is_filled = true;
            let bytes = entry.line.len() + ENTRY_BYTES;
            let fits = state.entries.len() < ENTRIES_MAX
                && (state.entries.is_empty() || state.bytes + bytes <= BYTES_MAX)
                && self.all.0.load(Ordering::Relaxed) + bytes <= ALL_BYTES_MAX;
            if fits {
                state.bytes += bytes;
                self.all.0.fetch_add(bytes, Ordering::Relaxed);
                state.entries.push_back((now, entry));
            } else {
                state.drop_entry(entry.timestamp_ns, &entry.labels.shown, 1);
            }
        }
        drop(state);
        if is_filled {
            self.filled.notify_one();
        }
    }

    /// Counts `count` entries as dropped, the first of which has these properties.
    pub fn missed(&self, timestamp_ns: i64, labels: &Labels, count: u64) {
        self.state.lock().drop_entry(timestamp_ns, labels, count);
        self.filled.notify_one();
    }

    /// Takes what has waited for `delay`, at most `limit` entries.
    pub fn take(&self, delay: Duration, limit: usize) -> Taken {
        let now = Instant::now();
        let mut state = self.state.lock();
        let is_due = |at: &Instant| *at + delay <= now;
        let due = state.entries.iter().take(limit).take_while(|(at, _)| is_due(at)).count();
        let mut entries: Vec<TailEntry> = state.entries.drain(..due).map(|(_, entry)| entry).collect();
        let bytes: usize = entries.iter().map(|entry| entry.line.len() + ENTRY_BYTES).sum();
        state.bytes -= bytes;
        self.all.0.fetch_sub(bytes, Ordering::Relaxed);
        let next = state.entries.front().map(|(at, _)| *at + delay);
        let (dropped, dropped_count) = (std::mem::take(&mut state.dropped), std::mem::take(&mut state.dropped_count));
        drop(state);
        entries.sort_by_key(|entry| entry.timestamp_ns);
        Taken { entries, dropped, dropped_count, next }
    }

    /// True when it is time to take, whatever else there is to wait for.
    pub fn is_half_full(&self) -> bool {
        let state = self.state.lock();
        state.entries.len() * 2 >= ENTRIES_MAX || state.bytes * 2 >= BYTES_MAX
    }
}

impl State {
    fn drop_entry(&mut self, timestamp_ns: i64, labels: &Labels, count: u64) {
        self.dropped_count += count;
        if self.dropped.len() < NAMED_MAX {
            self.dropped.push((timestamp_ns, labels.clone()));
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.state.lock().bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(timestamp_ns: i64) -> TailEntry {
        let labels = LineLabels { shown: Labels::from_pairs([("a", "b")]), extra: Arc::default(), hash: 0 };
        TailEntry { timestamp_ns, line: b"x".as_slice().into(), labels: Arc::new(labels) }
    }

    #[test]
    fn entries_come_in_the_order_of_time() {
        let outbox = Outbox::new(Arc::default());
        outbox.put([3, 1, 2].into_iter().map(entry));
        assert!(outbox.take(Duration::from_secs(60), 10).entries.is_empty());
        let taken = outbox.take(Duration::ZERO, 10);
        assert_eq!(taken.entries.iter().map(|entry| entry.timestamp_ns).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((taken.dropped_count, taken.next), (0, None));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let all = Arc::<SharedBytes>::default();
        let outbox = Outbox::new(all.clone());
        outbox.put((0..20_000).map(entry));
        outbox.missed(7, &Labels::default(), 5);
        let mut taken = outbox.take(Duration::ZERO, 10_000);
        assert!(taken.next.is_some() && taken.entries.len() == 10_000);
        assert_eq!((taken.dropped.len(), taken.dropped_count), (NAMED_MAX, 20_000 - ENTRIES_MAX as u64 + 5));
        taken = outbox.take(Duration::ZERO, usize::MAX);
        assert_eq!((taken.entries.len(), taken.dropped_count), (ENTRIES_MAX - 10_000, 0));
        outbox.put([entry(1)].into_iter());
        drop(outbox);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
