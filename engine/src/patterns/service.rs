//! The thread that mines, and the way to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use logstack_logql::Labels;
use logstack_logql::matcher::CompiledMatcher;
use parking_lot::Mutex;
use tracing::error;

use super::collect::{Collector, Pattern, PatternQuery};
use super::day_file::DayFolder;
use super::miner::{Miner, matches};
use crate::model::{Batch, TenantId};
use crate::storage::Observer;
use crate::storage::disk::RealDisk;

/// Batches that may wait; beyond, lines are skipped.
const QUEUE_BYTES_MAX: usize = 24 << 20;
/// Share of one processor that mining may take, in the long run.
const SHARE: f64 = 0.1;
/// Time that may be saved up for a burst.
const SAVED_MAX: Duration = Duration::from_secs(3);
/// Largest distance of the lines that are looked at.
const STRIDE_MAX: usize = 64;
/// Lines after which others get at the miner.
const TURN_LINES: usize = 2000;
/// What a crash may cost.
const WRITE_PERIOD: Duration = Duration::from_secs(60);
/// Files that are kept: a quarter of a year.
const DAYS_KEPT: usize = 92;
/// How long a question waits for lines that were pushed before it.
const PATIENCE: Duration = Duration::from_secs(1);

enum Message {
    Batch(Arc<Batch>),
    /// Everything before this was counted.
    Barrier(Sender<()>),
    Stop,
}

/// Counters for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatternStats {
    /// Lines that were looked at.
    pub lines: u64,
    /// Lines that were not even counted, because the queue was full.
    pub skipped_lines: u64,
    /// Templates in memory.
    pub templates: usize,
}

struct Shared {
    miner: Mutex<Miner>,
    folder: DayFolder,
    queued_bytes: AtomicUsize,
    lines: AtomicU64,
    skipped_lines: AtomicU64,
}

/// Patterns of everything that is stored.
pub struct Patterns {
    shared: Arc<Shared>,
    sender: Mutex<Sender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Patterns {
    /// Starts the thread. Files are in `data_dir/patterns`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(data_dir: &Path) -> std::io::Result<Arc<Self>> {
        let folder = DayFolder::new(Arc::new(RealDisk), data_dir);
        let shared = Arc::new(Shared {
            miner: Mutex::new(Miner::new(folder.clone())),
            folder,
            queued_bytes: AtomicUsize::new(0),
            lines: AtomicU64::new(0),
            skipped_lines: AtomicU64::new(0),
        });
        let (sender, receiver) = channel();
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("patterns".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok(Arc::new(Self { shared, sender: Mutex::new(sender), thread: Mutex::new(Some(thread)) }))
    }

    /// The patterns of the streams of `tenants` that match. Blocking: reads the files of older days.
    pub fn query(&self, tenants: &[TenantId], matchers: &[CompiledMatcher], query: PatternQuery) -> Vec<Pattern> {
        if query.days().is_empty() {
            return Vec::new();
        }
        let (done, counted) = channel();
        if self.sender.lock().send(Message::Barrier(done)).is_ok() {
            // Past the time the answer lacks the newest lines.
            let _ = counted.recv_timeout(PATIENCE);
        }
        let mut collector = Collector::new(query);
        let mut open = hashbrown::HashSet::new();
        {
            let miner = self.shared.miner.lock();
            for tenant in tenants {
                open = miner.collect(tenant, matchers, &mut collector);
            }
        }
        let closed = self.shared.folder.days().into_iter();
        for day in closed.filter(|day| query.days().contains(day) && !open.contains(day)) {
            for stream in self.shared.folder.read(day).streams {
                let is_asked = tenants.iter().any(|tenant| tenant.as_str() == stream.tenant)
                    && matches(matchers, &Labels::from_pairs(stream.labels));
                if is_asked {
                    for pattern in stream.patterns {
                        collector.add(&pattern.template, &pattern.level, day, pattern.counts.into_iter());
                    }
                }
            }
        }
        collector.finish()
    }

    /// Figures for metrics.
    pub fn stats(&self) -> PatternStats {
        PatternStats {
            lines: self.shared.lines.load(Ordering::Relaxed),
            skipped_lines: self.shared.skipped_lines.load(Ordering::Relaxed),
            templates: self.shared.miner.lock().templates(),
        }
    }

    /// Counts what waits, writes the open days, and ends. Blocking.
    pub fn stop(&self) {
        let _ = self.sender.lock().send(Message::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            error!("the pattern thread panicked");
        }
    }
}

impl Drop for Patterns {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Observer for Patterns {
    fn appended(&self, batch: &Arc<Batch>) {
        let bytes = batch_bytes(batch);
        let before = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One batch may be larger than the queue.
        let fits = before == 0 || before + bytes <= QUEUE_BYTES_MAX;
        if !fits || self.sender.lock().send(Message::Batch(batch.clone())).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.skipped_lines.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
        }
    }
}

fn batch_bytes(batch: &Batch) -> usize {
    batch.rows.bytes.len() + batch.rows.len() * 24
}

impl Shared {
    fn run(&self, receiver: &Receiver<Message>) {
        let mut pace = Pace::new();
        let mut write_at = Instant::now() + WRITE_PERIOD;
        loop {
            match receiver.recv_timeout(write_at.saturating_duration_since(Instant::now())) {
                Ok(Message::Batch(batch)) => {
                    self.add(&batch, &mut pace);
                    self.queued_bytes.fetch_sub(batch_bytes(&batch), Ordering::Relaxed);
                }
                // Whoever asked may have gone.
                Ok(Message::Barrier(done)) => drop(done.send(())),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.write(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= write_at {
                self.write();
                write_at = Instant::now() + WRITE_PERIOD;
            }
        }
    }

    fn add(&self, batch: &Batch, pace: &mut Pace) {
        let stride = pace.stride(batch.rows.len());
        let started = Instant::now();
        let mut looked_at = 0;
        for stream in &batch.streams {
            let mut start = stream.rows.start;
            while start < stream.rows.end {
                let end = stream.rows.end.min(start + TURN_LINES * stride);
                self.miner.lock().add(batch, &stream.stream, start..end, stride);
                looked_at += (end - start).div_ceil(stride);
                start = end;
            }
        }
        self.lines.fetch_add(looked_at as u64, Ordering::Relaxed);
        pace.took(started.elapsed(), looked_at);
    }

    fn write(&self) {
        let changes = self.miner.lock().take_changes();
        if changes.is_empty() {
            return;
        }
        for (day, file) in changes {
            if !self.folder.write(day, &file) {
                self.miner.lock().not_written(day);
            }
        }
        self.folder.keep_newest(DAYS_KEPT);
    }
}

/// Keeps the thread within its share of time.
struct Pace {
    saved: Duration,
    counted: Instant,
    /// Of a line, as measured.
    cost: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { saved: SAVED_MAX, counted: Instant::now(), cost: Duration::from_micros(2) }
    }

    /// The distance of the lines of a batch that may be looked at.
    fn stride(&mut self, lines: usize) -> usize {
        let now = Instant::now();
        self.saved = (self.saved + (now - self.counted).mul_f64(SHARE)).min(SAVED_MAX);
        self.counted = now;
        let affordable = self.saved.as_nanos() / self.cost.as_nanos().max(1);
        let stride = (lines as u128).div_ceil(affordable.max(1));
        usize::try_from(stride).unwrap_or(STRIDE_MAX).clamp(1, STRIDE_MAX)
    }

    fn took(&mut self, time: Duration, lines: usize) {
        self.saved = self.saved.saturating_sub(time);
        if lines >= 100 {
            let per_line = time / u32::try_from(lines).unwrap_or(u32::MAX);
            self.cost = (self.cost * 3 + per_line) / 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_thins_out_what_it_cannot_afford() {
        let mut pace = Pace::new();
        assert_eq!(pace.stride(1000), 1);
        pace.cost = Duration::from_micros(10);
        assert_eq!(pace.stride(1_000_000), 4, "three seconds are saved");
        pace.took(SAVED_MAX, 1);
        assert_eq!(pace.stride(1_000_000), STRIDE_MAX);
    }
}
