//! The process: client, servers, leader election, controllers, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use tokio_util::sync::CancellationToken;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tracing::{info, warn};

use crate::apply::Applier;
use crate::build::Settings;
use crate::controller::{Context, Memories, Synced, start_watches, work};
use crate::events::Events;
use crate::lease::Election;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::requests::LookAtRequests;
use crate::retry::RetryRefused;
use crate::serve;
use crate::watchdog::{self, Watches};
use crate::world::World;

/// Name of the Lease.
const LEASE: &str = "logstack-operator";
/// How often the first sync is looked for.
const SYNC_POLL: Duration = Duration::from_millis(100);
/// A request that waits longer for a connection is a failed one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for their turn to be sent; as many as in kube's own buffer.
const REQUESTS_WAITING_MAX: usize = 1024;

/// What an operator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Images, namespaces, names.
    pub settings: Settings,
    /// The operator's own namespace; the Lease is there.
    pub namespace: String,
    /// Name of the pod or machine.
    pub instance: String,
    /// Whether a Lease decides who writes; false: there is no other operator.
    pub has_leader_election: bool,
    /// Whether pods are watched to count targets.
    pub counts_targets: bool,
    /// How long a pod must fail before its status says so.
    pub patience: Duration,
    /// How long a watch may show nothing before the process ends: [`watchdog::SILENCE`].
    pub silence: Duration,
    /// Where `/metrics` is; port 0: any.
    pub metrics_listen: SocketAddr,
    /// Where `/healthz` and `/readyz` are; port 0: any.
    pub health_listen: SocketAddr,
}

/// Why an operator ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no configuration for a client, or it is wrong.
    #[error("cannot reach a cluster: {0}")]
    Client(String),
    /// An address is in use.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process leads.
    #[error("the lease was lost; another operator leads")]
    LeaseLost,
    /// It would not see changes any more.
    #[error("the watch of {0} has shown nothing for too long, although the API server answers")]
    DeafWatch(String),
}

/// An operator that runs.
#[allow(missing_debug_implementations)] // clients have none
pub struct Operator {
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Where `/metrics` is.
    pub metrics_address: SocketAddr,
    /// Where `/healthz` and `/readyz` are.
    pub health_address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Operator {
    /// Starts an operator on the cluster of `config`.
    ///
    /// # Errors
    /// No client, or an address in use.
    pub async fn start(mut config: kube::Config, options: Options) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::default());
        // Audit logs tell one process from another by it.
        if let Ok(agent) = format!("logstack-operator/{} ({})", env!("CARGO_PKG_VERSION"), options.instance).parse() {
            config.headers.push((http::header::USER_AGENT, agent));
        }
        // Its retries wait up to 1000 s, unseen, and repeat writes that may have been done: ours do neither.
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let client = ClientBuilder::try_from(config).map_err(|error| Error::Client(error.to_string()))?;
        let watches = Arc::new(Watches::new(metrics.clone()));
        let looks = LookAtRequests { metrics: metrics.clone(), watches: watches.clone() };
        // What is made again is looked at each time. A retry needs a service that can be cloned: hence the buffer.
        let client = client.with_layer(&looks).with_layer(&BufferLayer::new(REQUESTS_WAITING_MAX));
        let client: Client = client.with_layer(&RetryLayer::new(RetryRefused::default())).build();
        let metrics_listener = serve::listen(options.metrics_listen).await?;
        let health_listener = serve::listen(options.health_listen).await?;
        let address = |listener: &tokio::net::TcpListener, fallback| listener.local_addr().unwrap_or(fallback);
        let metrics_address = address(&metrics_listener, options.metrics_listen);
        let health_address = address(&health_listener, options.health_listen);
        let stop = CancellationToken::new();
        let is_ready = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve::metrics(metrics_listener, metrics.clone(), stop.clone()));
        tokio::spawn(serve::health(health_listener, is_ready.clone(), stop.clone()));
        let (silence, watched) = (options.silence, client.clone());
        let work = run(client, options, metrics.clone(), is_ready, stop.clone());
        let ending = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                outcome = work => outcome,
                path = watchdog::deaf_watch(&watched, &watches, silence) => {
                    ending.cancel();
                    Err(Error::DeafWatch(path))
                }
            }
        });
        Ok(Self { metrics, metrics_address, health_address, stop, task })
    }

    /// Waits until it ends by itself, which it does when it loses its lease.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.task).await.unwrap_or(Ok(()))
    }

    /// Stops: running passes end, the lease is given back.
    ///
    /// # Errors
    /// Why it had ended before.
    pub async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        self.task.await.unwrap_or(Ok(()))
    }

    /// Ends at once, as a crash would: nothing is given back.
    pub fn kill(self) {
        self.task.abort();
        self.stop.cancel();
    }
}

async fn run(
    client: Client,
    options: Options,
    metrics: Arc<Metrics>,
    is_ready: Arc<AtomicBool>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let world = Arc::new(World::default());
    let holder = format!("{}_{}", options.instance, nonce());
    let http = reqwest::Client::builder().build().map_err(|error| Error::Client(error.to_string()))?;
    let context = Arc::new(Context {
        client: client.clone(),
        http,
        counts_targets: options.counts_targets,
        patience: options.patience,
        applier: Applier::new(client.clone(), world.clone(), metrics.clone()),
        world,
        metrics: metrics.clone(),
        events: Events::new(client.clone(), &options.instance),
        queue: Arc::new(Queue::default()),
        memories: Memories::default(),
        settings: options.settings.clone(),
    });
    // A standby watches, too: it takes over with a full picture.
    let synced = Synced::default();
    let watching = stop.child_token();
    start_watches(&context, &synced, &watching);
    while !synced.is_done() {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(SYNC_POLL) => {}
        }
    }
    is_ready.store(true, Ordering::Release);
    info!(stacks = context.world.stack_keys().len(), scrapes = context.world.scrape_keys().len(), "everything seen");
    if !options.has_leader_election {
        metrics.set_leader(true);
        work(context, stop.clone()).await;
        return Ok(());
    }
    let lease = match &options.settings.controller_id {
        Some(id) => format!("{LEASE}-{id}"),
        None => LEASE.to_owned(),
    };
    let mut election = Election::new(client, &options.namespace, &lease, &holder);
    if !election.acquire(&stop).await {
        return Ok(());
    }
    metrics.set_leader(true);
    let working = stop.child_token();
    let workers = tokio::spawn(work(context, working.clone()));
    let is_held = election.keep(&stop).await;
    metrics.set_leader(false);
    if !is_held {
        // Another may write already: nothing more is written here.
        working.cancel();
        workers.abort();
        watching.cancel();
        return Err(Error::LeaseLost);
    }
    working.cancel();
    if let Err(error) = workers.await {
        warn!(%error, "workers ended");
    }
    election.release().await;
    info!("stopped");
    Ok(())
}

/// Tells two processes of one pod name apart.
fn nonce() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    crate::hash::of_text(&format!("{} {}", now.as_nanos(), std::process::id()))
}
