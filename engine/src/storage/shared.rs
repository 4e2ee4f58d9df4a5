//! What the threads of a store share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use tracing::warn;

use super::deletes::Deletes;
use super::disk::Disk;
use super::error::{Error, Result};
use super::flush::Flushes;
use super::manifest::{Edit, Manifest};
use super::options::StorageOptions;
use super::part::{Caches, Part, PartId};
use super::quarantine::Quarantine;
use super::retention::Retention;
use super::store::Observer;
use super::streams::Registry;
use super::view::View;
use super::wal::writer::Queue;
use super::wal::{SegmentNo, parse_segment_name, segment_path};
use crate::clock::Clock;

/// Where things are in a data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The log.
    pub wal: PathBuf,
    /// Parts, a folder per day.
    pub days: PathBuf,
    /// What did not check out.
    pub quarantine: PathBuf,
    /// Which parts are live.
    pub manifest: PathBuf,
    /// What is to be deleted.
    pub deletes: PathBuf,
    /// Held by the process that uses the directory.
    pub lock: PathBuf,
}

impl Layout {
    /// The layout of a data directory.
    pub fn of(dir: &Path) -> Self {
        Self {
            wal: dir.join("wal"),
            days: dir.join("days"),
            quarantine: dir.join("quarantine"),
            manifest: dir.join("manifest"),
            deletes: dir.join("deletes"),
            lock: dir.join("lock"),
        }
    }
}

/// Counters for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Memtables written.
    pub flushes: AtomicU64,
    /// Merges done.
    pub merges: AtomicU64,
    /// Rows that merges read.
    pub merged_rows: AtomicU64,
    /// Flushes or merges that failed and are tried again.
    pub failures: AtomicU64,
    /// Rows in blocks that could not be read any more.
    pub lost_rows: AtomicU64,
    /// Rows dropped by retention by time.
    pub expired_rows: AtomicU64,
    /// Rows dropped because there was no room.
    pub evicted_rows: AtomicU64,
    /// Rows dropped because a delete request says so.
    pub deleted_rows: AtomicU64,
    /// Rows dropped because an equal one is stored.
    pub duplicate_rows: AtomicU64,
    /// Rows of blocks that merges copied as they were.
    pub copied_rows: AtomicU64,
}

/// See the module.
pub struct Shared {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How to behave.
    pub options: StorageOptions,
    /// Where things are.
    pub layout: Layout,
    /// All streams.
    pub registry: Registry,
    /// What there is to read.
    pub view: ArcSwap<View>,
    /// Serialises changes of the view. Taken after `manifest` where both are.
    pub view_change: Mutex<()>,
    /// Which parts are live.
    pub manifest: Mutex<Manifest>,
    /// What is kept.
    pub retention: ArcSwap<Retention>,
    /// What is to be deleted.
    pub deletes: Deletes,
    /// Who hears of appends.
    pub observers: ArcSwap<Vec<Arc<dyn Observer>>>,
    /// What queries share.
    pub caches: Arc<Caches>,
    /// Appends on their way.
    pub queue: Queue,
    /// Memtables on their way.
    pub flushes: Flushes,
    /// What did not check out.
    pub quarantine: Quarantine,
    /// For metrics.
    pub counters: Counters,
    /// Wakes the merge thread: true when there may be something to do.
    pub merge_wanted: Mutex<bool>,
    /// With `merge_wanted`.
    pub merge_wake: Condvar,
    /// What is kept has changed: retention does not wait for its next turn.
    pub retention_wanted: AtomicBool,
    /// Background work should end where it can.
    pub is_closing: AtomicBool,
    /// Held as long as the directory is in use.
    pub _lock: Box<dyn Send + Sync>,
}

impl Shared {
    /// Replaces the view. Changes come one after the other; readers never wait.
    pub fn change_view(&self, change: impl FnOnce(&View) -> View) {
        let _guard = self.view_change.lock();
        let next = change(&self.view.load());
        self.view.store(Arc::new(next));
    }

    /// Opens parts that were just written.
    pub fn open_parts(&self, written: &[super::part::Written]) -> Result<Vec<Arc<Part>>> {
        written.iter().map(|part| Part::open(&*self.disk, &part.path, part.id, &self.registry)).collect()
    }

    /// Makes `edit` durable and then visible through `change`, atomically for readers.
    pub fn commit(&self, edit: &Edit, change: impl FnOnce(&View) -> View) -> Result<()> {
        let mut manifest = self.manifest.lock();
        manifest.commit(edit)?;
        self.change_view(change);
        Ok(())
    }

    /// An id for a new part.
    pub fn take_part_id(&self) -> PartId {
        self.manifest.lock().take_part_id()
    }

    /// Removes the files of parts that are no longer live. Snapshots that still use them have them open. Best effort:
    /// what stays is removed by the next start.
    pub fn remove_parts(&self, parts: &[Arc<Part>]) {
        for part in parts {
            if let Err(err) = self.disk.remove(&part.path) {
                warn!(path = %part.path.display(), error = %err, "a merged part could not be removed");
            }
        }
    }

    /// Removes segments before `first`. Best effort, as above.
    pub fn remove_segments(&self, first: SegmentNo) {
        let entries = self.disk.list(&self.layout.wal).unwrap_or_default();
        for number in entries.iter().filter_map(|entry| parse_segment_name(&entry.name)).filter(|n| *n < first) {
            let path = segment_path(&self.layout.wal, number);
            if let Err(err) = self.disk.remove(&path) {
                warn!(path = %path.display(), error = %err, "a log segment could not be removed");
            }
        }
    }

    /// Wakes the merge thread.
    pub fn want_merge(&self) {
        *self.merge_wanted.lock() = true;
        self.merge_wake.notify_all();
    }

    /// Wakes the merge thread, to apply retention and delete requests before anything else.
    pub fn want_retention(&self) {
        self.retention_wanted.store(true, Ordering::Relaxed);
        self.want_merge();
    }

    /// Background work should end.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// An error if background work should end.
    pub fn check_open(&self) -> Result<()> {
        if self.is_closing() { Err(Error::Closed) } else { Ok(()) }
    }
}
