//! Ships entries: collects them into batches by client and tenant, and hands full batches to the senders.
//!
//! Everything is bounded. A sender takes one batch at a time and may hold one more ready; when it cannot get rid of them
//! [`Shipper::add`] blocks, the reader stops reading, and the log files themselves are the buffer.

pub mod backoff;
pub mod batch;
pub mod client;
mod encode;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use logstack_logql::Labels;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::receipt::Receipt;
use batch::Batch;
use client::{ClientMetrics, ClientSettings};

/// Batches ready behind the one that is being sent.
const READY_BATCHES: usize = 1;

/// The way from one reader to all clients.
pub struct Shipper {
    clients: Vec<Client>,
    runtime: Handle,
    http: reqwest::Client,
    shutdown: CancellationToken,
}

struct Client {
    settings: Arc<ClientSettings>,
    metrics: Arc<ClientMetrics>,
    tenants: HashMap<Option<String>, Tenant>,
}

struct Tenant {
    open: Batch,
    sender: mpsc::Sender<Batch>,
    task: JoinHandle<()>,
}

/// An entry as the pipeline leaves it.
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

impl Shipper {
    /// `shutdown` makes senders give up batches that do not get through.
    pub fn new(
        clients: Vec<ClientSettings>,
        runtime: Handle,
        http: reqwest::Client,
        shutdown: CancellationToken,
    ) -> Self {
        let clients = clients
            .into_iter()
            .map(|settings| Client { settings: Arc::new(settings), metrics: Arc::default(), tenants: HashMap::new() })
            .collect();
        Self { clients, runtime, http, shutdown }
    }

    /// Name and counters of each client.
    pub fn metrics(&self) -> Vec<(String, Arc<ClientMetrics>)> {
        self.clients.iter().map(|client| (client.settings.name.clone(), client.metrics.clone())).collect()
    }

    /// Adds an entry for every client. Blocks while a client's batches wait; not to be called on an async thread.
    pub fn add(&mut self, entry: &Entry<'_>, receipt: &Receipt) {
        for client in &mut self.clients {
            let limit = client.settings.batch_bytes;
            let tenant = client.tenant(entry.tenant, &self.runtime, &self.http, &self.shutdown);
            let bytes = batch::content_bytes(entry.line, entry.metadata);
            if tenant.open.entries > 0 && tenant.open.content_bytes + bytes > limit {
                tenant.close(Instant::now());
            }
            if tenant.open.entries == 0 {
                tenant.open.opened = Instant::now();
            }
            tenant.open.add(entry.labels, entry.timestamp_ns, entry.line, entry.metadata, receipt.share());
        }
    }

    /// Closes the batches that are as old as `batchwait`, or all of them.
    pub fn flush(&mut self, all: bool) {
        let now = Instant::now();
        for client in &mut self.clients {
            let wait = client.settings.batch_wait;
            for tenant in client.tenants.values_mut() {
                if tenant.open.entries > 0 && (all || now.duration_since(tenant.open.opened) >= wait) {
                    tenant.close(now);
                }
            }
        }
    }

    /// Hands over what is left and gives the senders' tasks to wait for.
    pub fn finish(mut self) -> Vec<JoinHandle<()>> {
        self.flush(true);
        let tenants = self.clients.into_iter().flat_map(|client| client.tenants.into_values());
        tenants.map(|tenant| tenant.task).collect()
    }
}

impl Client {
    fn tenant(
        &mut self,
        id: Option<&str>,
        runtime: &Handle,
        http: &reqwest::Client,
        shutdown: &CancellationToken,
    ) -> &mut Tenant {
        self.tenants.entry(id.map(str::to_owned)).or_insert_with_key(|id| {
            let (sender, receiver) = mpsc::channel(READY_BATCHES);
            let sending = client::send_all(
                self.settings.clone(),
                id.clone(),
                http.clone(),
                self.metrics.clone(),
                receiver,
                shutdown.clone(),
            );
            Tenant { open: Batch::new(Instant::now()), sender, task: runtime.spawn(sending) }
        })
    }
}

impl Tenant {
    fn close(&mut self, now: Instant) {
        let batch = std::mem::replace(&mut self.open, Batch::new(now));
        // The sender ends early only at shutdown; what it leaves unsettled is read again after the next start.
        let _ = self.sender.blocking_send(batch);
    }
}
