//! Wiring: watches fill the picture of the cluster and the queue; workers take from it, one pass an object.

mod finalize;
mod memory;
mod pass;
mod scrape;
mod stack;
mod sweep;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use logstack_crds::{LogScrape, LogStack};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::apply::Applier;
use crate::build::Settings;
use crate::error::Refusal;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::world::{Key, World};

pub use memory::Memories;
pub use watch::{Synced, start_watches};

/// Passes that run at once.
const WORKERS: usize = 4;
/// Longest pass.
const PASS_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a reason every object is looked at so often: it heals a missed event.
pub const RESYNC: Duration = Duration::from_secs(600);

/// What is reconciled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A LogStack.
    Stack(Key),
    /// A LogScrape.
    Scrape(Key),
}

impl Item {
    fn controller(&self) -> &'static str {
        match self {
            Self::Stack(_) => "logstack",
            Self::Scrape(_) => "logscrape",
        }
    }

    fn key(&self) -> &Key {
        match self {
            Self::Stack(key) | Self::Scrape(key) => key,
        }
    }
}

/// Why a pass must be made again.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PassError {
    /// Why.
    pub refusal: Refusal,
    /// In words.
    pub message: String,
}

/// What every pass uses.
#[allow(missing_debug_implementations)] // clients have none
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The engines.
    pub http: reqwest::Client,
    /// What the operator was told.
    pub settings: Settings,
    /// Whether pods are counted.
    pub counts_targets: bool,
    /// How long something must be wrong before a hard reason is given.
    pub patience: Duration,
    /// The picture of the cluster.
    pub world: Arc<World>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Writes.
    pub applier: Applier,
    /// Events.
    pub events: Events,
    /// What is to be done.
    pub queue: Arc<Queue<Item>>,
    /// What is remembered between passes.
    pub memories: Memories,
}

impl Context {
    /// Tells about a LogStack.
    pub fn tell(&self, stack: &LogStack, is_warning: bool, reason: &str, note: &str) {
        self.events.publish(stack.object_ref(&()), is_warning, reason, note);
    }

    /// Tells about a LogScrape.
    pub fn tell_scrape(&self, scrape: &LogScrape, is_warning: bool, reason: &str, note: &str) {
        self.events.publish(scrape.object_ref(&()), is_warning, reason, note);
    }

    /// Tells about an object that could not be decoded.
    pub fn tell_reference(&self, about: ObjectReference, reason: &str, note: &str) {
        self.events.publish(about, true, reason, note);
    }
}

/// Works on the queue until `stop`, then lets running passes end.
pub async fn work(context: Arc<Context>, stop: CancellationToken) {
    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(worker(context.clone(), stop.clone()))).collect();
    let sweeper = tokio::spawn(sweep::run(context.clone(), stop.clone()));
    for task in workers {
        // A worker that panicked has been logged; the others go on.
        let _ = task.await;
    }
    sweeper.abort();
}

async fn worker(context: Arc<Context>, stop: CancellationToken) {
    loop {
        let item = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            item = context.queue.next() => item,
        };
        // In a task of its own: a panic is a bug in one pass and must not end the operator's other work.
        let (context, inner) = (context.clone(), item.clone());
        let pass_context = context.clone();
        let outcome = tokio::spawn(async move { pass(&pass_context, &inner).await }).await;
        let depth = match outcome {
            Ok(()) => context.queue.depth(),
            Err(error) => {
                tracing::error!(controller = item.controller(), key = %item.key(), %error, "pass panicked");
                let labels = [("controller", item.controller()), ("reason", "Bug")];
                context.metrics.count("logstack_operator_reconcile_errors_total", &labels);
                context.queue.failed(item.clone());
                context.queue.depth()
            }
        };
        let labels = [("controller", item.controller())];
        context.metrics.set("logstack_operator_queue_depth", &labels, depth.0 as f64);
        context.metrics.set("logstack_operator_objects_in_backoff", &labels, depth.1 as f64);
    }
}

#[tracing::instrument(skip_all, fields(controller = item.controller(), key = %item.key()))]
async fn pass(context: &Arc<Context>, item: &Item) {
    let start = Instant::now();
    let work = async {
        match item {
            Item::Stack(key) => stack::reconcile(context, key).await,
            Item::Scrape(key) => scrape::reconcile(context, key).await,
        }
    };
    let outcome = tokio::time::timeout(PASS_TIMEOUT, work).await.unwrap_or_else(|_| {
        let message = format!("not done in {} s", PASS_TIMEOUT.as_secs());
        Err(PassError { refusal: Refusal::Timeout, message })
    });
    context.metrics.observe(item.controller(), start.elapsed());
    let result = match outcome {
        Ok(again) => {
            debug!(took = ?start.elapsed(), "pass done");
            context.queue.done(item.clone(), again);
            "ok"
        }
        Err(error) => {
            let labels = [("controller", item.controller()), ("reason", error.refusal.reason())];
            context.metrics.count("logstack_operator_reconcile_errors_total", &labels);
            if error.refusal.is_retryable() {
                let wait = context.queue.failed(item.clone());
                warn!(error = %error, again_in = ?wait, "pass failed");
            } else {
                info!(error = %error, "waits for a change");
                context.queue.done(item.clone(), Some(RESYNC));
            }
            "error"
        }
    };
    let labels = [("controller", item.controller()), ("result", result)];
    context.metrics.count("logstack_operator_reconciles_total", &labels);
}
