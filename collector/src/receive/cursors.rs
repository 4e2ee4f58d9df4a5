//! Cursors of sources that are no files and can be read again: how far the server has their entries. Kept with the
//! positions of files.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::receipt::{Progress, Receipt};

/// All cursors by their key.
#[derive(Debug)]
pub struct Cursors {
    known: Mutex<BTreeMap<String, Tracked>>,
    /// True when what was remembered is known.
    loaded: watch::Sender<bool>,
}

#[derive(Debug)]
struct Tracked {
    /// Of the last entry that the server has.
    acknowledged: Option<String>,
    progress: Arc<Progress>,
    read: u64,
    /// Cursors of entries on their way, by their place.
    pending: VecDeque<(u64, String)>,
}

impl Default for Tracked {
    fn default() -> Self {
        Self { acknowledged: None, progress: Progress::new(0), read: 0, pending: VecDeque::new() }
    }
}

impl Tracked {
    fn settle(&mut self) {
        let acknowledged = self.progress.acknowledged();
        while self.pending.front().is_some_and(|(place, _)| *place <= acknowledged) {
            self.acknowledged = self.pending.pop_front().map(|(_, cursor)| cursor);
        }
    }
}

impl Default for Cursors {
    fn default() -> Self {
        Self { known: Mutex::default(), loaded: watch::Sender::new(false) }
    }
}

impl Cursors {
    /// What was remembered; from here on it can be asked for.
    pub fn load(&self, remembered: impl IntoIterator<Item = (String, String)>) {
        let mut known = self.known.lock();
        for (key, cursor) in remembered {
            known.entry(key).or_default().acknowledged.get_or_insert(cursor);
        }
        drop(known);
        self.loaded.send_replace(true);
    }

    /// Where the source of `key` goes on. Waits until positions are read.
    pub async fn begin(&self, key: &str) -> Option<String> {
        // The sender lives as long as `self`.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
        let mut known = self.known.lock();
        let tracked = known.entry(key.to_owned()).or_default();
        tracked.settle();
        // What was on its way when the source stopped is read again.
        *tracked = Tracked { acknowledged: tracked.acknowledged.clone(), ..Tracked::default() };
        tracked.acknowledged.clone()
    }

    /// An entry was read: its receipt and its place.
    pub fn read(&self, key: &str, cursor: String) -> (Receipt, u64) {
        let mut known = self.known.lock();
        let tracked = known.entry(key.to_owned()).or_default();
        tracked.settle();
        let start = tracked.read;
        tracked.read += 1;
        tracked.pending.push_back((tracked.read, cursor));
        (tracked.progress.chunk(tracked.read), start)
    }

    /// Key and cursor of the last acknowledged entry of each source.
    pub fn acknowledged(&self) -> BTreeMap<String, String> {
        let mut known = self.known.lock();
        known.values_mut().for_each(Tracked::settle);
        known.iter().filter_map(|(key, tracked)| Some((key.clone(), tracked.acknowledged.clone()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moves_when_all_before_is_acknowledged() {
        let cursors = Cursors::default();
        cursors.load([("cursor-a".to_owned(), "c0".to_owned())]);
        assert_eq!(cursors.begin("cursor-a").await.as_deref(), Some("c0"));
        assert_eq!(cursors.begin("cursor-b").await, None);
        let (first, _) = cursors.read("cursor-a", "c1".to_owned());
        let (second, place) = cursors.read("cursor-a", "c2".to_owned());
        assert_eq!(place, 1);
        let current = || cursors.acknowledged()["cursor-a"].clone();
        second.settle();
        assert_eq!(current(), "c0");
        first.settle();
        assert_eq!(current(), "c2");
        let (third, _) = cursors.read("cursor-a", "c3".to_owned());
        drop(third);
        assert_eq!(cursors.begin("cursor-a").await.as_deref(), Some("c2"), "what was not acknowledged is read again");
    }
}
