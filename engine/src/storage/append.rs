//! The writer thread: the log, the memtable that fills, and where both are cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, warn};

use super::codec::Level;
use super::error::{Error, Result};
use super::flush::Sealed;
use super::memtable::Memtable;
use super::options::SyncMode;
use super::shared::Shared;
use super::wal::segment::SegmentWriter;
use super::wal::writer::{Append, far_future};

/// How long a failed cut waits before it is tried again.
const CUT_RETRY: Duration = Duration::from_secs(1);

/// The state of the writer thread.
pub struct Writer {
    shared: Arc<Shared>,
    segment: SegmentWriter,
    /// The number of the memtable that fills.
    generation: u64,
    memtable: Arc<Memtable>,
    buf: Vec<u8>,
    /// Since when written records wait for their sync (`SyncMode::Interval`).
    unsynced_since: Option<Instant>,
    /// Not before this, after a cut that failed.
    next_cut: Instant,
}

impl Writer {
    /// A writer that appends to `segment` and to the newest memtable of the view, which has number `generation`.
    pub fn new(shared: Arc<Shared>, segment: SegmentWriter, generation: u64) -> Self {
        let memtable = shared.view.load().memtables.last().cloned().unwrap_or_default();
        let (buf, unsynced_since, next_cut) = (Vec::new(), None, Instant::now());
        Self { shared, segment, generation, memtable, buf, unsynced_since, next_cut }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        loop {
            let work = self.shared.queue.take(self.deadline());
            if !work.appends.is_empty() {
                self.append(work.appends);
            }
            self.sync_if_due(work.is_closed);
            if !work.cuts.is_empty() {
                self.answer_cuts(work.cuts);
            } else if self.is_cut_due() {
                self.cut_or_warn();
            }
            if work.is_closed {
                return;
            }
        }
    }

    fn deadline(&self) -> Instant {
        let sync = match (self.shared.options.sync, self.unsynced_since) {
            (SyncMode::Interval(interval), Some(since)) => since + interval,
            _ => far_future(),
        };
        let cut = match self.memtable.rows() {
            0 => far_future(),
            _ => self.next_cut.max(self.memtable.created() + self.shared.options.memtable_age_max),
        };
        sync.min(cut)
    }

    fn append(&mut self, appends: Vec<Append>) {
        if let Err(err) = self.wait_for_memory() {
            return refuse(appends, &err);
        }
        if self.segment.len() >= self.shared.options.segment_bytes_max
            && let Err(err) = self.start_segment()
        {
            // The full segment still works: go on with it.
            warn!(error = %err, "could not start a log segment");
        }
        let sync = self.shared.options.sync == SyncMode::Always;
        let payloads = appends.iter().map(|append| &*append.payload);
        if let Err(err) = self.segment.append(payloads, sync, &mut self.buf) {
            warn!(error = %err, appends = appends.len(), "log not written, appends refused");
            return refuse(appends, &err);
        }
        if !sync {
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        if self.memtable.rows() == 0 {
            self.memtable = self.renewed_memtable();
        }
        let observers = self.shared.observers.load();
        for append in appends {
            self.memtable.insert(&append.batch, &self.shared.registry);
            observers.iter().for_each(|observer| observer.appended(&append.batch));
            append.answer(Ok(()));
        }
        drop(observers);
        // A group can be large: its buffer is not kept for ever.
        self.buf.shrink_to(4 << 20);
    }

    /// The age of a memtable counts from its first row: an empty one is replaced when that comes.
    fn renewed_memtable(&self) -> Arc<Memtable> {
        let fresh = Arc::new(Memtable::default());
        self.shared.change_view(|view| {
            let mut next = view.without_memtable(&self.memtable);
            next.memtables.push(fresh.clone());
            next
        });
        fresh
    }

    /// Waits while memtables take all the memory they may.
    fn wait_for_memory(&mut self) -> Result<()> {
        let bytes_max = self.shared.options.memtable_bytes_max;
        let deadline = Instant::now() + self.shared.options.append_wait_max;
        loop {
            let waiting_bytes = self.shared.view.load().memtables.iter().map(|memtable| memtable.bytes()).sum();
            if waiting_bytes < bytes_max {
                return Ok(());
            }
            if self.is_cut_due() {
                self.cut_or_warn();
            }
            if self.shared.flushes.waiting() == 0 || !self.shared.flushes.wait_for_progress(deadline) {
                return Err(Error::Busy { waiting_bytes });
            }
        }
    }

    fn is_cut_due(&self) -> bool {
        let options = &self.shared.options;
        let is_due = self.memtable.bytes() >= options.memtable_bytes_cut
            || (self.memtable.rows() > 0 && self.memtable.created().elapsed() >= options.memtable_age_max);
        is_due && Instant::now() >= self.next_cut
    }

    fn cut_or_warn(&mut self) {
        if let Err(err) = self.cut() {
            warn!(error = %err, "could not cut the memtable, it goes on filling");
            self.next_cut = Instant::now() + CUT_RETRY;
        }
    }

    /// Answers with the number of the memtable that holds everything up to here.
    fn answer_cuts(&mut self, cuts: Vec<oneshot::Sender<Result<u64>>>) {
        let result = self.cut().map(|()| self.generation - 1);
        for cut in cuts {
            let _ = cut.send(result.clone());
        }
    }

    /// Starts a new segment and a new memtable; the old one goes to the flush thread.
    fn cut(&mut self) -> Result<()> {
        if self.memtable.rows() == 0 {
            return Ok(());
        }
        self.start_segment()?;
        let fresh = Arc::new(Memtable::default());
        self.shared.change_view(|view| {
            let mut next = view.clone();
            next.memtables.push(fresh.clone());
            next
        });
        let memtable = std::mem::replace(&mut self.memtable, fresh);
        let level = self.level_for(&memtable);
        let sealed = Sealed { memtable, generation: self.generation, wal_first: self.segment.number(), level };
        self.generation += 1;
        self.shared.flushes.push(sealed);
        Ok(())
    }

    /// In a burst memory must be free again soon: what costs time is left to a merge.
    fn level_for(&self, memtable: &Memtable) -> Level {
        let bytes_per_s = memtable.bytes() as f64 / memtable.created().elapsed().as_secs_f64().max(1e-3);
        let is_burst = bytes_per_s > self.shared.options.quick_bytes_per_s as f64;
        if is_burst || self.shared.flushes.waiting() > 0 { Level::Quick } else { Level::Fresh }
    }

    fn start_segment(&mut self) -> Result<()> {
        let next = SegmentWriter::create(&*self.shared.disk, &self.shared.layout.wal, self.segment.number() + 1)?;
        if self.unsynced_since.is_some() {
            self.segment.sync()?;
            self.unsynced_since = None;
        }
        self.segment = next;
        Ok(())
    }

    fn sync_if_due(&mut self, now: bool) {
        let SyncMode::Interval(interval) = self.shared.options.sync else { return };
        let Some(since) = self.unsynced_since else { return };
        if now || since.elapsed() >= interval {
            self.unsynced_since = None;
            if let Err(err) = self.segment.sync() {
                error!(error = %err, "log not synced: a power cut would lose what was written since the last sync");
            }
        }
    }
}

fn refuse(appends: Vec<Append>, err: &Error) {
    for append in appends {
        append.answer(Err(err.clone()));
    }
}
