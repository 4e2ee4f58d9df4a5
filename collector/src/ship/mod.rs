//! Ships entries: collects them into batches by client and tenant, and hands full batches to the senders.
//!
//! Everything is bounded, and nothing blocks: when a tenant's batches do not leave, or all batches together are larger
//! than the memory limit, [`Shipper::add`] says that there is no more room, and whoever reads stops reading that source.
//! So one slow tenant does not hold up the others, and the log files themselves are the buffer.

pub mod backoff;
pub mod batch;
pub mod client;
pub(crate) mod encode;
pub mod http;
pub mod metrics;
pub mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use logstack_logql::Labels;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::buffer::Buffer;
use crate::buffer::spool::Spool;
use crate::pipeline::Outgoing;
use crate::receipt::Receipt;
use batch::Batch;
use client::{ClientSettings, SenderTask, Sending};
use metrics::{ClientMetrics, Reason};

/// Batches of a tenant that wait behind the one that is being sent; with more, its sources wait.
const READY_BATCHES_MAX: usize = 2;

/// An entry as the pipeline leaves it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Overrides the client's tenant.
    pub tenant: Option<&'a str>,
    /// Stream labels.
    pub labels: &'a Labels,
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// The line.
    pub line: &'a [u8],
    /// Structured metadata.
    pub metadata: &'a [(String, String)],
}

/// Limits of what is sent (`limits_config`); 0: none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Longest line in bytes.
    pub line_bytes_max: usize,
    /// Longer lines are cut; else dropped.
    pub truncate: bool,
    /// Most streams of a batch.
    pub streams_max: usize,
}

/// Bytes on their way, over all shippers of the process.
#[derive(Debug)]
pub struct Budget {
    used_bytes: AtomicUsize,
    limit_bytes: usize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { used_bytes: AtomicUsize::new(0), limit_bytes })
    }

    /// Bytes on their way.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        self.used_bytes() < self.limit_bytes
    }
}

/// A batch with the bytes that it took from the budget, which come back when it is gone, however it goes.
#[derive(Debug)]
pub struct Accounted {
    batch: Option<Batch>,
    bytes: usize,
    budget: Arc<Budget>,
    queued: Arc<AtomicUsize>,
}

impl Accounted {
    /// The batch.
    pub fn batch(&self) -> &Batch {
        self.batch.as_ref().expect("there until it is settled")
    }

    /// The engine has the entries, or refused them for good.
    pub fn settle(mut self) {
        if let Some(batch) = self.batch.take() {
            batch.settle();
        }
    }
}

impl Drop for Accounted {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all shippers of a process share.
#[derive(Clone)]
pub struct Clients {
    clients: Vec<(Arc<ClientSettings>, Arc<ClientMetrics>)>,
    limits: Limits,
    budget: Arc<Budget>,
    runtime: Handle,
    shutdown: CancellationToken,
}

impl Clients {
    /// `shutdown` makes senders give up batches that do not get through.
    pub fn new(
        settings: Vec<ClientSettings>,
        limits: Limits,
        budget: Arc<Budget>,
        runtime: Handle,
        shutdown: CancellationToken,
    ) -> Self {
        let with_metrics = |settings: ClientSettings| {
            let metrics = ClientMetrics::new(settings.host());
            (Arc::new(settings), Arc::new(metrics))
        };
        Self { clients: settings.into_iter().map(with_metrics).collect(), limits, budget, runtime, shutdown }
    }

    /// A way to all clients, for one reader.
    pub fn shipper(&self) -> Shipper {
        let client = |(settings, metrics): &(Arc<ClientSettings>, Arc<ClientMetrics>)| Client {
            settings: settings.clone(),
            metrics: metrics.clone(),
            tenants: HashMap::new(),
        };
        Shipper {
            clients: self.clients.iter().map(client).collect(),
            shared: self.clone(),
            printer: None,
            spool: None,
            retired: CancellationToken::new(),
        }
    }

    /// A way that ends in `printer`: entries as text, a line each.
    pub fn printer(&self, printer: mpsc::Sender<String>) -> Shipper {
        let retired = CancellationToken::new();
        Shipper { clients: Vec::new(), shared: self.clone(), printer: Some(printer), spool: None, retired }
    }

    /// A way that ends in the disk buffer. `makes_room`: the source cannot wait, the oldest entries go instead.
    pub fn spool(&self, buffer: Arc<Buffer>, makes_room: bool) -> Shipper {
        let (spool, retired) = (Some(Spool::new(buffer, makes_room)), CancellationToken::new());
        Shipper { clients: Vec::new(), shared: self.clone(), printer: None, spool, retired }
    }

    /// Name and counters of each client.
    pub fn metrics(&self) -> Vec<(String, Arc<ClientMetrics>)> {
        self.clients.iter().map(|(settings, metrics)| (settings.name.clone(), metrics.clone())).collect()
    }

    /// Bytes on their way.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

/// The way from one reader to all clients.
pub struct Shipper {
    clients: Vec<Client>,
    shared: Clients,
    /// Of a dry run.
    printer: Option<mpsc::Sender<String>>,
    /// Of a source whose entries go to the disk buffer.
    spool: Option<Spool>,
    retired: CancellationToken,
}

struct Client {
    settings: Arc<ClientSettings>,
    metrics: Arc<ClientMetrics>,
    tenants: HashMap<Option<Box<str>>, Tenant>,
}

struct Tenant {
    open: Batch,
    open_bytes: usize,
    queued: Arc<AtomicUsize>,
    sender: mpsc::UnboundedSender<Accounted>,
    task: SenderTask,
}

impl Shipper {
    /// Adds an entry for every client. False: the entry was taken, and no more of its source should come until
    /// [`Self::has_room`].
    pub fn add(&mut self, outgoing: &mut Outgoing<'_>) -> bool {
        if let Some(spool) = &mut self.spool {
            spool.add(outgoing);
            return spool.has_room();
        }
        let entry = &outgoing.entry;
        if let Some(printer) = &self.printer {
            // Blocks the reader's thread while the terminal is slow; nobody reads any more at the end.
            let _ = printer.blocking_send(show(entry));
        }
        let mut has_room = self.shared.budget.has_room();
        for client in &mut self.clients {
            let mut line = entry.line;
            let limits = self.shared.limits;
            if limits.line_bytes_max > 0 && line.len() > limits.line_bytes_max {
                let over = (line.len() - limits.line_bytes_max) as u64;
                if !limits.truncate {
                    client.metrics.drop_entries(entry.tenant, Reason::LineTooLong, 1, line.len() as u64);
                    continue;
                }
                client.metrics.mutate_entry(entry.tenant, Reason::LineTooLong, over);
                line = cut(line, limits.line_bytes_max);
            }
            let batch_bytes = client.settings.batch_bytes;
            let is_best_effort = client.settings.best_effort;
            let metrics = client.metrics.clone();
            let tenant = client.tenant(entry.tenant, &self.shared, &self.retired);
            let bytes = batch::content_bytes(line, entry.metadata);
            if tenant.open.entries > 0 && tenant.open.content_bytes + bytes > batch_bytes {
                tenant.close(&self.shared.budget, is_best_effort, &metrics, entry.tenant);
            }
            if limits.streams_max > 0
                && tenant.open.stream_count() >= limits.streams_max
                && tenant.open.is_new_stream(entry.labels)
            {
                metrics.drop_entries(entry.tenant, Reason::StreamLimited, 1, bytes as u64);
                continue;
            }
            if tenant.open.entries == 0 {
                tenant.open.opened = Instant::now();
            }
            let taken = tenant.open.add(entry.labels, entry.timestamp_ns, line, entry.metadata);
            tenant.open_bytes += taken;
            self.shared.budget.take(taken);
            if is_best_effort {
                continue;
            }
            if let Some(current) = outgoing.current {
                tenant.open.owe(current);
            }
            outgoing.held.iter().for_each(|held| tenant.open.owe_held(held.share()));
            has_room &= tenant.has_room();
        }
        outgoing.held.drain(..).for_each(Receipt::settle);
        has_room
    }

    /// True when a source whose entries go to `tenant` may be read.
    pub fn has_room(&self, tenant: Option<&str>) -> bool {
        if let Some(spool) = &self.spool {
            return spool.has_room();
        }
        let key = tenant.map(Box::from);
        let clients = self.clients.iter().filter(|client| !client.settings.best_effort);
        self.shared.budget.has_room() && clients.filter_map(|client| client.tenants.get(&key)).all(Tenant::has_room)
    }

    /// The disk buffer, where entries go there.
    pub fn buffer(&self) -> Option<&Arc<Buffer>> {
        self.spool.as_ref().map(Spool::buffer)
    }

    /// True when nobody may read: too much is on its way.
    pub fn is_over_budget(&self) -> bool {
        match &self.spool {
            Some(spool) => !spool.has_room(),
            None => !self.shared.budget.has_room(),
        }
    }

    /// True when what is not sent by now is given up.
    pub fn is_stopping(&self) -> bool {
        self.shared.shutdown.is_cancelled()
    }

    /// Closes the batches that are as old as `batchwait`, or all of them.
    pub fn flush(&mut self, all: bool) {
        if let Some(spool) = &mut self.spool {
            return spool.write(all);
        }
        let now = Instant::now();
        // With the budget used up nobody reads: what is open has to leave, so that there is room again.
        let all = all || !self.shared.budget.has_room();
        for client in &mut self.clients {
            let (wait, is_best_effort) = (client.settings.batch_wait, client.settings.best_effort);
            for (id, tenant) in &mut client.tenants {
                if tenant.open.entries > 0 && (all || now.duration_since(tenant.open.opened) >= wait) {
                    tenant.close(&self.shared.budget, is_best_effort, &client.metrics, id.as_deref());
                }
            }
        }
    }

    /// Goes on where `old` stops: what it has not sent leaves first, by the same client and tenant, so that streams keep
    /// their order. What was meant for a client that is not there any more is forgotten.
    pub fn follow(&mut self, mut old: Self) {
        old.flush(true);
        old.retired.cancel();
        for (idx, client) in old.clients.into_iter().enumerate() {
            let places = self.clients.iter().map(|new| new.settings.name == client.settings.name);
            let place = places.clone().position(|is_same| is_same).unwrap_or(idx);
            for (id, Tenant { task, .. }) in client.tenants {
                match self.clients.get_mut(place) {
                    Some(new) if !new.tenants.contains_key(&id) => {
                        let tenant = new.start(id.as_deref(), &self.shared, &self.retired, Some(task));
                        new.tenants.insert(id, tenant);
                    }
                    _ => drop(self.shared.runtime.spawn(async move {
                        task.await.unwrap_or_default().into_iter().for_each(Accounted::settle);
                    })),
                }
            }
        }
    }

    /// Hands over what is left and gives the senders' tasks to wait for.
    pub fn finish(mut self) -> Vec<SenderTask> {
        if let Some(spool) = self.spool {
            spool.finish();
            return Vec::new();
        }
        self.flush(true);
        let tenants = self.clients.into_iter().flat_map(|client| client.tenants.into_values());
        tenants.map(|tenant| tenant.task).collect()
    }
}

impl Client {
    fn tenant(&mut self, id: Option<&str>, shared: &Clients, retired: &CancellationToken) -> &mut Tenant {
        let key: Option<Box<str>> = id.map(Box::from);
        if !self.tenants.contains_key(&key) {
            let tenant = self.start(id, shared, retired, None);
            self.tenants.insert(key.clone(), tenant);
        }
        self.tenants.get_mut(&key).expect("inserted above")
    }

    fn start(
        &self,
        id: Option<&str>,
        shared: &Clients,
        retired: &CancellationToken,
        before: Option<SenderTask>,
    ) -> Tenant {
        let (sender, receiver) = mpsc::unbounded_channel();
        let sending = Sending {
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            tenant: id.map(str::to_owned),
            shutdown: shared.shutdown.clone(),
            retired: retired.clone(),
            before,
        };
        let task = shared.runtime.spawn(sending.run(receiver));
        Tenant { open: Batch::new(Instant::now()), open_bytes: 0, queued: Arc::default(), sender, task }
    }
}

impl Tenant {
    fn has_room(&self) -> bool {
        self.queued.load(Ordering::Relaxed) <= READY_BATCHES_MAX
    }

    fn close(&mut self, budget: &Arc<Budget>, is_best_effort: bool, metrics: &ClientMetrics, id: Option<&str>) {
        let batch = std::mem::replace(&mut self.open, Batch::new(Instant::now()));
        let bytes = std::mem::take(&mut self.open_bytes);
        self.queued.fetch_add(1, Ordering::Relaxed);
        let (entries, content) = (batch.entries as u64, batch.content_bytes as u64);
        let accounted = Accounted { batch: Some(batch), bytes, budget: budget.clone(), queued: self.queued.clone() };
        if is_best_effort && self.queued.load(Ordering::Relaxed) > READY_BATCHES_MAX + 1 {
            // Nobody waits for this client: what it cannot take is lost to it.
            metrics.drop_entries(id, Reason::IngesterError, entries, content);
            debug!(entries, "batch dropped: a best effort client is behind");
            return;
        }
        // The sender ends early only at shutdown; what it leaves unsettled is read again after the next start.
        let _ = self.sender.send(accounted);
    }
}

/// An entry as a dry run prints it: time, labels and line with tabs between them.
pub fn show(entry: &Entry<'_>) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(entry.timestamp_ns)).unwrap_or_default();
    format!("{time}\t{}\t{}\n", entry.labels, String::from_utf8_lossy(entry.line))
}

/// The first bytes of a line, not cut within a character.
fn cut(line: &[u8], limit: usize) -> &[u8] {
    let mut end = limit;
    while end > 0 && line[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &line[..end]
}
