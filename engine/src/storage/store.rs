//! The store: opens a data directory, takes appends, hands out snapshots.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use logstack_logql::Labels;
use parking_lot::{Condvar, Mutex};
use tracing::{error, info};

use super::append::Writer;
use super::codec::Level;
use super::deletes::{DeleteRequest, Deletes, Deletion, apply_deletes};
use super::disk::{Disk, RealDisk};
use super::error::{Error, Result};
use super::flush::{self, Sealed};
use super::manifest::Manifest;
use super::memtable::Memtable;
use super::options::StorageOptions;
use super::part::Caches;
use super::quarantine::Quarantine;
use super::recover::recover;
use super::retention::{Retention, apply_retention};
use super::shared::{Layout, Shared};
use super::snapshot::{Hidden, Snapshot};
use super::streams::Registry;
use super::view::View;
use super::wal::segment::SegmentWriter;
use super::wal::writer::Queue;
use super::wal::{record, replay};
use super::{background, merge};
use crate::clock::{Clock, SystemClock};
use crate::model::{Batch, Stream, TenantId, TimeRange};

/// What a store stands on. Tests bring their own.
#[derive(Clone)]
pub struct Environment {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for Environment {
    /// This machine.
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), clock: Arc::new(SystemClock) }
    }
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Streams known, of all tenants.
    pub streams: u64,
    /// Memory of all memtables.
    pub memtable_bytes: u64,
    /// Rows in all memtables.
    pub memtable_rows: u64,
    /// Live parts.
    pub parts: u64,
    /// Bytes of their files.
    pub part_bytes: u64,
    /// Rows in them.
    pub part_rows: u64,
    /// Bytes of their lines, before compression.
    pub part_line_bytes: u64,
    /// Blocks in them.
    pub part_blocks: u64,
    /// Memory of the caches for queries.
    pub cache_bytes: u64,
    /// What the start found in the log.
    pub replayed: replay::Replayed,
    /// Parts that were missing or damaged at start.
    pub lost_parts: u64,
    /// Files put into quarantine by this process.
    pub quarantined_files: u64,
    /// Memtables written to parts by this process.
    pub flushes: u64,
    /// Merges done by this process.
    pub merges: u64,
    /// Rows read by them.
    pub merged_rows: u64,
    /// Of these, rows in blocks that were copied as they were.
    pub copied_rows: u64,
    /// Flushes and merges that failed and were tried again.
    pub failures: u64,
    /// Rows lost in damaged blocks.
    pub lost_rows: u64,
    /// Rows removed by retention by time.
    pub expired_rows: u64,
    /// Rows removed because there was no room.
    pub evicted_rows: u64,
    /// Rows removed because a delete request says so.
    pub deleted_rows: u64,
    /// Rows removed because an equal one is stored.
    pub duplicate_rows: u64,
}

/// Why a delete request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The query is not a log query.
    #[error("{0}")]
    Query(String),
    /// It cannot be stored.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Hears of every append.
pub trait Observer: Send + Sync {
    /// The rows of `batch` are durable and visible. Called in the order of the log, on the thread that writes it: what
    /// takes time belongs elsewhere.
    fn appended(&self, batch: &Arc<Batch>);
}

/// The log store of one data directory. Dropping it stops it; [`Store::close`] also flushes.
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
    replayed: replay::Replayed,
    lost_parts: u64,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    flush: Option<JoinHandle<()>>,
    merge: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens or creates the store in `dir`, and recovers what a crash left. Blocking; may take seconds after a crash.
    ///
    /// # Errors
    /// When the directory cannot be read or written, is in use, or was written by a newer version. Damage is no error:
    /// it is quarantined and counted.
    pub fn open(dir: &Path, options: StorageOptions) -> Result<Arc<Self>> {
        Self::open_in(Environment::default(), dir, options)
    }

    /// As [`Self::open`], with any disk and clock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(environment: Environment, dir: &Path, options: StorageOptions) -> Result<Arc<Self>> {
        let started = Instant::now();
        let Environment { disk, clock } = environment;
        let layout = Layout::of(dir);
        for folder in [dir, &layout.wal, &layout.days] {
            disk.create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let lock = disk.lock(&layout.lock).map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { path: layout.lock.clone() },
            _ => Error::io("lock", &layout.lock)(err),
        })?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let quarantine = Quarantine::new(disk.clone(), &layout.quarantine);
        let deletes = Deletes::open(disk.clone(), &layout.deletes, &quarantine)?;
        let registry = Registry::default();
        let recovered = recover(&*disk, &layout, &quarantine, &registry)?;
        let lost_parts = recovered.lost_parts;
        let manifest = Manifest::create(disk.clone(), &layout.manifest, recovered.state)?;
        let view = View { memtables: vec![Arc::default()], parts: Vec::new() }.with_parts(&[], recovered.parts);
        let cache_bytes_max = options.cache_bytes_max;
        let shared = Arc::new(Shared {
            disk,
            clock,
            options,
            layout,
            registry,
            view: ArcSwap::from_pointee(view),
            view_change: Mutex::default(),
            manifest: Mutex::new(manifest),
            retention: ArcSwap::default(),
            deletes,
            observers: ArcSwap::default(),
            caches: Caches::new(cache_bytes_max),
            queue: Queue::default(),
            flushes: flush::Flushes::default(),
            quarantine,
            counters: Default::default(),
            merge_wanted: Mutex::new(true),
            merge_wake: Condvar::new(),
            retention_wanted: true.into(),
            is_closing: false.into(),
            _lock: lock,
        });
        let (replayed, generation) = replay_log(&shared)?;
        let segment = SegmentWriter::create(&*shared.disk, &shared.layout.wal, replayed.next_segment)?;
        let view = shared.view.load();
        info!(
            dir = %dir.display(),
            parts = view.parts.len(),
            records = replayed.records,
            rows_in_memory = view.memtables.iter().map(|memtable| memtable.rows()).sum::<usize>(),
            elapsed_ms = started.elapsed().as_millis() as u64,
            "storage open"
        );
        drop(view);
        let writer = Writer::new(shared.clone(), segment, generation);
        let store = Self { shared, threads: Mutex::default(), replayed, lost_parts };
        {
            let mut threads = store.threads.lock();
            threads.writer = Some(spawn("wal-writer", dir, move || writer.run())?);
            let shared = store.shared.clone();
            threads.flush = Some(spawn("flush", dir, move || flush::run(&shared))?);
            if store.shared.options.background_merges {
                let shared = store.shared.clone();
                threads.merge = Some(spawn("merge", dir, move || background::run(&shared))?);
            }
        }
        Ok(Arc::new(store))
    }

    /// The stream with these labels: the same `Arc` as long as it has rows.
    pub fn stream(&self, tenant: &TenantId, labels: &Labels) -> Arc<Stream> {
        self.shared.registry.resolve(tenant, labels)
    }

    /// Stores `batch`. When this returns, its rows are durable (see [`super::SyncMode`]) and visible to new snapshots.
    ///
    /// # Errors
    /// When the log cannot be written; then nothing is acknowledged, and a retry is safe: equal rows are stored once.
    pub async fn append(&self, batch: Batch) -> Result<()> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        let mut payload = Vec::new();
        record::encode(&batch, &mut payload).map_err(|bytes| Error::TooLarge { bytes })?;
        self.shared.queue.append(payload, Arc::new(batch)).await
    }

    /// From now on `observer` hears of every append, whatever this start has recovered excepted.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.shared.observers.rcu(|known| known.iter().cloned().chain([observer.clone()]).collect::<Vec<_>>());
    }

    /// What `tenant` has now.
    pub fn snapshot(&self, tenant: &TenantId) -> Snapshot {
        let shared = &self.shared;
        let now_ns = shared.clock.now_ns();
        let view = shared.view.load();
        let streams = shared.registry.find_tenant(tenant);
        let hidden = Hidden { retention: shared.retention.load_full(), deletions: shared.deletes.pending(), now_ns };
        Snapshot::new(&view, streams, tenant, &shared.caches, hidden)
    }

    /// Sets what is kept. Queries honour it from the next snapshot on; files follow in the background.
    pub fn set_retention(&self, retention: Retention) {
        self.shared.retention.store(Arc::new(retention));
        self.shared.want_retention();
    }

    /// Deletes what `query` returns, a selector with or without a pipeline, in `range`. The entries are hidden from the
    /// next snapshot on; files follow after [`Retention::delete_after`], until when the request can be taken back.
    /// Blocking.
    ///
    /// # Errors
    /// What is wrong with the query; or the request cannot be stored.
    pub fn delete(&self, tenant: &TenantId, query: &str, range: TimeRange) -> Result<DeleteRequest, DeleteError> {
        let created_ns = self.shared.clock.now_ns();
        let mut nonce = xxhash_rust::xxh3::xxh3_64(format!("{tenant}\0{query}\0{range:?}\0{created_ns}").as_bytes());
        let known = self.delete_requests(tenant);
        while known.iter().any(|other| other.id == format!("{:08x}", nonce as u32)) {
            nonce = nonce.wrapping_add(1);
        }
        let request = DeleteRequest {
            id: format!("{:08x}", nonce as u32),
            tenant: tenant.as_str().to_owned(),
            query: query.to_owned(),
            first_ns: range.first_ns,
            last_ns: range.last_ns,
            created_ns,
            is_processed: false,
        };
        let deletion = Deletion::compile(request.clone()).map_err(DeleteError::Query)?;
        self.shared.deletes.add(deletion)?;
        self.shared.want_retention();
        Ok(request)
    }

    /// What was asked to be deleted, oldest first, processed requests included.
    pub fn delete_requests(&self, tenant: &TenantId) -> Vec<DeleteRequest> {
        self.shared.deletes.list(tenant)
    }

    /// Takes a request back; false if there is none with this id. Entries that are removed stay so. Blocking.
    ///
    /// # Errors
    /// When the change cannot be stored.
    pub fn cancel_delete(&self, tenant: &TenantId, id: &str) -> Result<bool> {
        self.shared.deletes.remove(tenant, id)
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
        let shared = &self.shared;
        let view = shared.view.load();
        let counters = &shared.counters;
        StoreStats {
            streams: shared.registry.tenants().iter().map(|tenant| tenant.read(|index| index.len())).sum(),
            memtable_bytes: view.memtables.iter().map(|memtable| memtable.bytes() as u64).sum(),
            memtable_rows: view.memtables.iter().map(|memtable| memtable.rows() as u64).sum(),
            parts: view.parts.len() as u64,
            part_bytes: view.parts.iter().map(|part| part.file_bytes()).sum(),
            part_rows: view.parts.iter().map(|part| part.footer.rows).sum(),
            part_line_bytes: view.parts.iter().map(|part| part.footer.line_bytes).sum(),
            part_blocks: view.parts.iter().map(|part| part.blocks().len() as u64).sum(),
            cache_bytes: shared.caches.bytes(),
            replayed: self.replayed,
            lost_parts: self.lost_parts,
            quarantined_files: shared.quarantine.file_count(),
            flushes: counters.flushes.load(Ordering::Relaxed),
            merges: counters.merges.load(Ordering::Relaxed),
            merged_rows: counters.merged_rows.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            lost_rows: counters.lost_rows.load(Ordering::Relaxed),
            expired_rows: counters.expired_rows.load(Ordering::Relaxed),
            evicted_rows: counters.evicted_rows.load(Ordering::Relaxed),
            deleted_rows: counters.deleted_rows.load(Ordering::Relaxed),
            duplicate_rows: counters.duplicate_rows.load(Ordering::Relaxed),
            copied_rows: counters.copied_rows.load(Ordering::Relaxed),
        }
    }

    /// Writes what is in memory to parts. Blocking.
    ///
    /// # Errors
    /// When a part cannot be written; the rows stay in memory and in the log.
    pub fn flush(&self) -> Result<()> {
        let generation = self.shared.queue.cut()?.blocking_recv().unwrap_or(Err(Error::Closed))?;
        self.shared.flushes.wait_for(generation)
    }

    /// Does all merges that are due now, on this thread. Blocking. For tests and benches; the merge thread does it
    /// anyway.
    ///
    /// # Errors
    /// When a merge cannot be done now.
    pub fn merge(&self) -> Result<()> {
        while merge::merge_once(&self.shared)? {}
        Ok(())
    }

    /// Removes what has expired and what there is no room for, on this thread. Blocking. As with [`Self::merge`], the
    /// merge thread does it anyway.
    ///
    /// # Errors
    /// When a change cannot be made now.
    pub fn apply_retention(&self) -> Result<()> {
        apply_retention(&self.shared)?;
        apply_deletes(&self.shared)
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
        let mut threads = self.threads.lock();
        // In this order: the writer feeds the flush thread.
        self.shared.queue.close();
        join(threads.writer.take());
        self.shared.flushes.close();
        join(threads.flush.take());
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.shared.want_merge();
        join(threads.merge.take());
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Brings the log back into memory. What is more than a memtable goes to parts on the way, so that memory stays bounded
/// however long the log is. Returns the number of the memtable that fills next, too.
fn replay_log(shared: &Shared) -> Result<(replay::Replayed, u64)> {
    let state = shared.manifest.lock().state().clone();
    let generation = std::cell::Cell::new(state.next_generation);
    let memtable = std::cell::RefCell::new(shared.view.load().memtables[0].clone());
    let apply = |payload: &[u8]| {
        let batch = record::decode(payload, |tenant, labels| shared.registry.resolve(&tenant, &labels))?;
        memtable.borrow().insert(&batch, &shared.registry);
        Ok(())
    };
    let segment_done = |number| {
        if memtable.borrow().bytes() < shared.options.memtable_bytes_cut {
            return Ok(());
        }
        let fresh = Arc::new(Memtable::default());
        shared.change_view(|view| {
            let mut next = view.clone();
            next.memtables.push(fresh.clone());
            next
        });
        let (memtable, generation_now) = (memtable.replace(fresh), generation.get());
        let (wal_first, level) = (number + 1, Level::Quick);
        let sealed = Sealed { memtable, generation: generation_now, wal_first, level };
        generation.set(sealed.generation + 1);
        flush::flush(shared, &sealed, &mut None)
    };
    let (disk, dir) = (&*shared.disk, &shared.layout.wal);
    let replayed = replay::replay(disk, dir, state.wal_first, &shared.quarantine, apply, segment_done)?;
    Ok((replayed, generation.get()))
}

fn spawn(name: &str, dir: &Path, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(Error::io("start a thread for", dir))
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        error!("a storage thread panicked");
    }
}
