//! The way of entries that do not come from files: relabelled one by one, run through the job's stages and shipped, on
//! a thread of the job. Its queue is short: when the clients have no room, whoever fills it waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::warn;

use crate::discovery::relabel::{LabelMap, Rule, public_labels, relabel};
use crate::pipeline::{Context, Counters, Flush, Outgoing, Pipeline, SourceId, SourceLabels};
use crate::receipt::Receipt;
use crate::ship::Shipper;
use crate::ship::client::SenderTask;

/// Entries that may wait for the thread.
const QUEUE_MAX: usize = 4096;
/// Pause when there is nothing to do, the first time and at most: datagrams that come meanwhile fit into the queue.
const IDLE_PAUSE: Duration = Duration::from_millis(1);
const IDLE_PAUSE_MAX: Duration = Duration::from_millis(20);
/// How often the thread looks at what waited long enough.
const TICK: Duration = Duration::from_millis(100);
/// Pause while the clients have no room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(10);
/// Label sets that are remembered before the memory starts over.
const LABEL_SETS_MAX: usize = 10_000;

/// An entry as a source hands it over.
#[derive(Debug)]
pub struct Incoming {
    /// Everything the source knows, `__*` included: what the job's rules look at.
    pub labels: Arc<LabelMap>,
    /// The line.
    pub line: Vec<u8>,
    /// ns since the epoch; `None`: now.
    pub timestamp_ns: Option<i64>,
    /// Structured metadata.
    pub metadata: Vec<(String, String)>,
    /// Settled when the server has the entry, or nobody will send it. `None`: it cannot be read again.
    pub receipt: Option<Receipt>,
    /// Place among the entries of its source, for receipts.
    pub place: u64,
}

/// Where a source hands its entries over; cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake(mpsc::Sender<Incoming>);

impl Intake {
    /// Waits while there is no room; false when the job has stopped.
    pub async fn put(&self, incoming: Incoming) -> bool {
        self.0.send(incoming).await.is_ok()
    }

    /// Does not wait; false when there is no room.
    pub fn try_put(&self, incoming: Incoming) -> bool {
        self.0.try_send(incoming).is_ok()
    }
}

/// What a job does with entries.
pub struct Worker {
    /// The job's stages.
    pub pipeline: Pipeline,
    /// The job's rules.
    pub rules: Arc<Vec<Rule>>,
    /// Where entries go.
    pub shipper: Shipper,
    /// For entries that rules drop.
    pub counters: Counters,
}

impl Worker {
    /// Starts the thread. It ends when all [`Intake`]s are gone, and gives the senders to wait for.
    pub fn start(self, name: &str) -> std::io::Result<(Intake, std::thread::JoinHandle<Vec<SenderTask>>)> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name(format!("job-{name}")).spawn(move || self.run(receiver))?;
        Ok((Intake(sender), thread))
    }

    fn run(mut self, mut queue: mpsc::Receiver<Incoming>) -> Vec<SenderTask> {
        let mut sets: HashMap<Arc<LabelMap>, Option<SourceLabels>> = HashMap::new();
        let mut next_id = 0;
        let mut last_tick = Instant::now();
        let mut pause = IDLE_PAUSE;
        loop {
            match queue.try_recv() {
                Ok(incoming) => {
                    pause = IDLE_PAUSE;
                    if sets.len() >= LABEL_SETS_MAX && !sets.contains_key(&incoming.labels) {
                        sets.clear();
                    }
                    let rules = &self.rules;
                    let source = sets.entry(incoming.labels.clone()).or_insert_with(|| {
                        next_id += 1;
                        resolve(rules, &incoming.labels, next_id)
                    });
                    match source {
                        Some(source) => take(&mut self.pipeline, &mut self.shipper, source, incoming),
                        None => {
                            self.counters.dropped("relabelling").count();
                            incoming.receipt.into_iter().for_each(Receipt::settle);
                        }
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(IDLE_PAUSE_MAX);
                }
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
            if last_tick.elapsed() >= TICK {
                last_tick = Instant::now();
                flush(&mut self.pipeline, &mut self.shipper, Flush::Expired);
                self.shipper.flush(false);
            }
        }
        flush(&mut self.pipeline, &mut self.shipper, Flush::All);
        self.shipper.finish()
    }
}

/// The labels to send; `None`: a rule drops the entry, or leaves it without a label, and servers refuse such entries.
fn resolve(rules: &[Rule], labels: &LabelMap, id: u64) -> Option<SourceLabels> {
    let mut labels = labels.clone();
    labels.retain(|_, value| !value.is_empty());
    if !relabel(rules, &mut labels) {
        return None;
    }
    let labels = public_labels(&labels);
    (!labels.is_empty()).then_some(SourceLabels { labels, id })
}

fn take(pipeline: &mut Pipeline, shipper: &mut Shipper, source: &SourceLabels, incoming: Incoming) {
    let Incoming { line, timestamp_ns, metadata, receipt, place, .. } = incoming;
    let now = Instant::now();
    let mut cx = Context { line_start: place, ..context(now, receipt.as_ref()) };
    let timestamp_ns = timestamp_ns.unwrap_or(cx.now_ns);
    let mut blocked: Option<Option<Box<str>>> = None;
    pipeline.run_with(source, (&line, timestamp_ns), &metadata, &mut cx, &mut |mut outgoing: Outgoing<'_>| {
        if !shipper.add(&mut outgoing) {
            blocked = Some(outgoing.entry.tenant.map(Box::from));
        }
    });
    let wait = cx.wait;
    receipt.into_iter().for_each(Receipt::settle);
    if wait > Duration::ZERO {
        shipper.flush(false);
        std::thread::sleep(wait);
    }
    if let Some(tenant) = blocked {
        while !shipper.has_room(tenant.as_deref()) {
            if shipper.is_stopping() {
                return;
            }
            shipper.flush(false);
            std::thread::sleep(NO_ROOM_PAUSE);
        }
    }
}

fn flush(pipeline: &mut Pipeline, shipper: &mut Shipper, what: Flush) {
    pipeline.flush(what, &mut context(Instant::now(), None), &mut |mut outgoing| {
        shipper.add(&mut outgoing);
    });
}

fn context(now: Instant, receipt: Option<&Receipt>) -> Context<'_> {
    Context {
        now,
        now_ns: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
        source: SourceId(0),
        receipt,
        line_start: 0,
        wait: Duration::ZERO,
    }
}

/// Says once in a while that entries are lost because nobody takes them.
#[derive(Debug, Default)]
pub struct Losses {
    since_told: u64,
    told: Option<Instant>,
}

impl Losses {
    /// One more; `what` is told at most every ten seconds.
    pub fn count(&mut self, job: &str, what: &str) {
        self.since_told += 1;
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(10)) {
            self.told = Some(Instant::now());
            warn!(job, entries = std::mem::take(&mut self.since_told), "{what}");
        }
    }
}
