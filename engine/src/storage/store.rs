//! The store: opens a data directory, takes appends, hands out snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use logstack_logql::Labels;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::disk::{Disk, RealDisk};
use super::error::{Error, Result};
use super::options::{StorageOptions, SyncMode};
use super::quarantine::Quarantine;
use super::snapshot::Snapshot;
use super::streams::Registry;
use super::view::View;
use super::wal::segment::SegmentWriter;
use super::wal::writer::{Append, Queue, far_future};
use super::wal::{record, replay};
use crate::model::{Batch, Stream, TenantId};

/// Figures for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Streams known, of all tenants.
    pub streams: u64,
    /// Memory of all memtables.
    pub memtable_bytes: usize,
    /// Rows in all memtables.
    pub memtable_rows: usize,
    /// What the start found in the log.
    pub replayed: replay::Replayed,
    /// Files put into quarantine by this process.
    pub quarantined_files: u64,
}

/// The log store of one data directory. Dropping it stops it; [`Store::close`] also flushes.
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    replayed: replay::Replayed,
}

/// What the threads of a store share.
struct Shared {
    disk: Arc<dyn Disk>,
    options: StorageOptions,
    wal_dir: PathBuf,
    registry: Registry,
    view: ArcSwap<View>,
    queue: Queue,
    quarantine: Quarantine,
}

impl Store {
    /// Opens or creates the store in `dir`, and recovers what a crash left. Blocking; may take seconds after a crash.
    ///
    /// # Errors
    /// When the directory cannot be read or written, or was written by a newer version. Damage is no error: it is
    /// quarantined and counted.
    pub fn open(dir: &Path, options: StorageOptions) -> Result<Arc<Self>> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    /// As [`Self::open`], on any disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: StorageOptions) -> Result<Arc<Self>> {
        let started = Instant::now();
        let wal_dir = dir.join("wal");
        disk.create_dir_all(&wal_dir).map_err(Error::io("create", &wal_dir))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let quarantine = Quarantine::new(disk.clone(), &dir.join("quarantine"));
        let registry = Registry::default();
        let view = View { memtables: vec![Arc::default()] };
        let replayed = {
            let memtable = &view.memtables[0];
            let apply = |payload: &[u8]| {
                let batch = record::decode(payload, |tenant, labels| registry.resolve(&tenant, &labels))?;
                memtable.insert(&batch, &registry);
                Ok(())
            };
            replay::replay(&*disk, &wal_dir, 1, &quarantine, apply, |_| Ok(()))?
        };
        let segment = SegmentWriter::create(&*disk, &wal_dir, replayed.next_segment)?;
        info!(
            dir = %dir.display(),
            records = replayed.records,
            rows = view.memtables[0].rows(),
            elapsed_ms = started.elapsed().as_millis() as u64,
            "storage open"
        );
        let shared = Arc::new(Shared {
            disk,
            options,
            wal_dir,
            registry,
            view: ArcSwap::from_pointee(view),
            queue: Queue::default(),
            quarantine,
        });
        let writer = Writer { shared: shared.clone(), segment, buf: Vec::new(), unsynced_since: None };
        let writer = std::thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(Error::io("start a thread for", dir))?;
        Ok(Arc::new(Self { shared, threads: Mutex::new(vec![writer]), replayed }))
    }

    /// The stream with these labels: the same `Arc` as long as it has rows.
    pub fn stream(&self, tenant: &TenantId, labels: &Labels) -> Arc<Stream> {
        self.shared.registry.resolve(tenant, labels)
    }

    /// Stores `batch`. When this returns, its rows are durable (see [`SyncMode`]) and visible to new snapshots.
    ///
    /// # Errors
    /// When the log cannot be written; then nothing is acknowledged, and a retry is safe: equal rows are stored once.
    pub async fn append(&self, batch: Batch) -> Result<()> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        let mut payload = Vec::new();
        record::encode(&batch, &mut payload).map_err(|bytes| Error::TooLarge { bytes })?;
        self.shared.queue.append(payload, batch).await
    }

    /// What `tenant` has now.
    pub fn snapshot(&self, tenant: &TenantId) -> Snapshot {
        let view = self.shared.view.load();
        Snapshot::new(&view, self.shared.registry.find_tenant(tenant), tenant)
    }

    /// Tenants that ever had a row, sorted.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.shared.registry.tenants().iter().map(|streams| streams.tenant.clone()).collect()
    }

    /// Streams of `tenant` with rows in memory, which is what limits on active streams count.
    pub fn active_streams(&self, tenant: &TenantId) -> usize {
        let view = self.shared.view.load();
        view.memtables.iter().filter_map(|m| m.tenant(tenant)).map(|tenant| tenant.stream_count()).max().unwrap_or(0)
    }

    /// Figures for metrics.
    pub fn stats(&self) -> StoreStats {
        let view = self.shared.view.load();
        StoreStats {
            streams: self.shared.registry.tenants().iter().map(|tenant| tenant.read(|index| index.len())).sum(),
            memtable_bytes: view.memtables.iter().map(|memtable| memtable.bytes()).sum(),
            memtable_rows: view.memtables.iter().map(|memtable| memtable.rows()).sum(),
            replayed: self.replayed,
            quarantined_files: self.shared.quarantine.file_count(),
        }
    }

    /// Writes what is in memory to parts. Blocking.
    ///
    /// # Errors
    /// When a part cannot be written; the rows stay in memory and in the log.
    pub fn flush(&self) -> Result<()> {
        let answer = self.shared.queue.cut()?;
        answer.blocking_recv().unwrap_or(Err(Error::Closed)).map(drop)
    }

    /// Stops: appends that wait are finished, later ones are refused, memory goes to parts. Blocking. Snapshots stay
    /// readable.
    ///
    /// # Errors
    /// As [`Self::flush`]; nothing is lost, the log has it.
    pub fn close(&self) -> Result<()> {
        let flushed = match self.flush() {
            Err(Error::Closed) => Ok(()),
            other => other,
        };
        self.stop();
        flushed
    }

    fn stop(&self) {
        self.shared.queue.close();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                error!("a storage thread panicked");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The state of the writer thread.
struct Writer {
    shared: Arc<Shared>,
    segment: SegmentWriter,
    buf: Vec<u8>,
    /// Since when written records wait for their sync (`SyncMode::Interval`).
    unsynced_since: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let work = self.shared.queue.take(self.deadline());
            if !work.appends.is_empty() {
                self.append(work.appends);
            }
            self.sync_if_due(work.is_closed);
            for cut in work.cuts {
                let _ = cut.send(Ok(0));
            }
            if work.is_closed {
                return;
            }
        }
    }

    fn deadline(&self) -> Instant {
        match (self.shared.options.sync, self.unsynced_since) {
            (SyncMode::Interval(interval), Some(since)) => since + interval,
            _ => far_future(),
        }
    }

    fn append(&mut self, appends: Vec<Append>) {
        if self.segment.len() >= self.shared.options.segment_bytes_max
            && let Err(err) = self.next_segment()
        {
            // The full segment still works: go on with it.
            warn!(error = %err, "could not start a log segment");
        }
        let sync = self.shared.options.sync == SyncMode::Always;
        let payloads = appends.iter().map(|append| &*append.payload);
        match self.segment.append(payloads, sync, &mut self.buf) {
            Ok(()) => {
                if !sync {
                    self.unsynced_since.get_or_insert_with(Instant::now);
                }
                let view = self.shared.view.load();
                let memtable = view.memtables.last().expect("a view has a memtable for appends");
                for append in appends {
                    memtable.insert(&append.batch, &self.shared.registry);
                    append.answer(Ok(()));
                }
            }
            Err(err) => {
                warn!(error = %err, appends = appends.len(), "log not written, appends refused");
                for append in appends {
                    append.answer(Err(err.clone()));
                }
            }
        }
    }

    fn next_segment(&mut self) -> Result<()> {
        let next = SegmentWriter::create(&*self.shared.disk, &self.shared.wal_dir, self.segment.number() + 1)?;
        if self.unsynced_since.take().is_some() {
            self.segment.sync()?;
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
