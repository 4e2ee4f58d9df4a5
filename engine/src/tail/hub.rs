//! The thread that gives lines to tails, the way to it, and who may tail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hashbrown::HashMap;
use logstack_logql::ast::LogExpr;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::pipeline::{Pipeline, Wanted};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tracing::error;

use super::dispatch::{Dispatcher, MissedStream, Tailer};
use super::outbox::{Outbox, SharedBytes};
use crate::model::{Batch, Stream, StreamId, TenantId};
use crate::query::Error;
use crate::storage::Observer;

/// Batches that may wait for the thread; beyond, tails are told what they miss.
const QUEUE_BYTES_MAX: usize = 48 << 20;

/// How soon tails hear of what they missed when nothing more comes.
const IDLE_PERIOD: Duration = Duration::from_secs(1);

enum Message {
    Batch(Arc<Batch>),
    /// What did not fit into the queue at this place.
    Missed(Vec<MissedStream>),
    Join(TenantId, Tailer, oneshot::Sender<()>),
    Leave(TenantId, u64),
    Stop,
}

/// A log query, ready to be tailed.
pub struct TailQuery {
    matchers: Vec<CompiledMatcher>,
    pipeline: Arc<Pipeline>,
}

impl TailQuery {
    /// Compiles a query.
    ///
    /// # Errors
    /// A matcher or a stage that cannot be built.
    pub fn compile(expr: &LogExpr) -> Result<Self, Error> {
        let compile =
            |matcher| CompiledMatcher::new(matcher).map_err(|error| Error::refused(format!("parse error : {error}")));
        let matchers = expr.selector.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { matchers, pipeline: Arc::new(Pipeline::compile(&expr.stages, None, &Wanted::All)?) })
    }
}

/// Lines that did not fit into the queue, until something fits again.
#[derive(Default)]
struct Overflow(HashMap<StreamId, MissedStream>);

impl Overflow {
    fn add(&mut self, batch: &Batch) {
        for own in &batch.streams {
            let missed = self.0.entry(own.stream.id).or_insert_with(|| MissedStream {
                stream: Arc::<Stream>::clone(&own.stream),
                lines: 0,
                timestamp_ns: batch.rows.timestamps[own.rows.start],
            });
            missed.lines += own.rows.len() as u64;
        }
    }
}

struct Shared {
    /// Tails by tenant; those without are not in it.
    active: RwLock<HashMap<TenantId, usize>>,
    queued_bytes: AtomicUsize,
    overflow: Mutex<Overflow>,
    watched_streams: AtomicUsize,
}

/// All tails of the process.
pub struct Tails {
    shared: Arc<Shared>,
    sender: Mutex<Sender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    next_id: AtomicU64,
    outboxes: Arc<SharedBytes>,
    /// Bytes of the lines that were sent.
    pub sent_bytes: AtomicU64,
    /// Lines that did not reach their tails.
    pub dropped_lines: AtomicU64,
}

/// A running tail; ends when dropped.
pub struct Tail {
    tails: Arc<Tails>,
    tenant: TenantId,
    id: u64,
    /// What waits to be sent.
    pub outbox: Arc<Outbox>,
}

impl Tails {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start() -> std::io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            active: RwLock::default(),
            queued_bytes: AtomicUsize::new(0),
            overflow: Mutex::default(),
            watched_streams: AtomicUsize::new(0),
        });
        let (sender, receiver) = channel();
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("tails".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok(Arc::new(Self {
            shared,
            sender: Mutex::new(sender),
            thread: Mutex::new(Some(thread)),
            next_id: AtomicU64::new(1),
            outboxes: Arc::default(),
            sent_bytes: AtomicU64::new(0),
            dropped_lines: AtomicU64::new(0),
        }))
    }

    /// Starts a tail: what is stored after this returns reaches its outbox. `limit`: tails that the tenant may have;
    /// 0 is no limit.
    ///
    /// # Errors
    /// The number of tails that there would be, when it is above `limit`.
    pub async fn join(
        self: &Arc<Self>,
        tenant: &TenantId,
        query: &TailQuery,
        categorize: bool,
        limit: usize,
    ) -> Result<Tail, usize> {
        {
            let mut active = self.shared.active.write();
            let count = active.entry(tenant.clone()).or_default();
            if limit > 0 && *count >= limit {
                return Err(*count + 1);
            }
            *count += 1;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::new(self.outboxes.clone()));
        let tail = Tail { tails: self.clone(), tenant: tenant.clone(), id, outbox: outbox.clone() };
        let tailer =
            Tailer { id, matchers: query.matchers.clone(), pipeline: query.pipeline.clone(), categorize, outbox };
        let (done, joined) = oneshot::channel();
        self.send(Message::Join(tenant.clone(), tailer, done));
        // Without an answer the thread has ended, and so does everything.
        let _ = joined.await;
        Ok(tail)
    }

    fn send(&self, message: Message) {
        let _ = self.sender.lock().send(message);
    }

    /// Running tails.
    pub fn active(&self) -> usize {
        self.shared.active.read().values().sum()
    }

    /// Streams that some tail watches.
    pub fn watched_streams(&self) -> usize {
        self.shared.watched_streams.load(Ordering::Relaxed)
    }

    /// Ends the thread. Blocking.
    pub fn stop(&self) {
        self.send(Message::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            error!("the tail thread panicked");
        }
    }
}

impl Drop for Tails {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut active = self.tails.shared.active.write();
        if let Some(count) = active.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                active.remove(&self.tenant);
            }
        }
        drop(active);
        self.tails.send(Message::Leave(self.tenant.clone(), self.id));
    }
}

fn batch_bytes(batch: &Batch) -> usize {
    batch.rows.bytes.len() + batch.rows.len() * 24
}

impl Observer for Tails {
    fn appended(&self, batch: &Arc<Batch>) {
        // A batch is of one tenant.
        let Some(first) = batch.streams.first() else { return };
        if !self.shared.active.read().contains_key(&first.stream.tenant) {
            return;
        }
        let bytes = batch_bytes(batch);
        let before = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut overflow = self.shared.overflow.lock();
        // One batch may be larger than the queue.
        if before > 0 && before + bytes > QUEUE_BYTES_MAX {
            overflow.add(batch);
            drop(overflow);
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        let missed: Vec<MissedStream> = overflow.0.drain().map(|(_, missed)| missed).collect();
        drop(overflow);
        if !missed.is_empty() {
            self.send(Message::Missed(missed));
        }
        self.send(Message::Batch(batch.clone()));
    }
}

impl Shared {
    fn run(&self, receiver: &Receiver<Message>) {
        let mut dispatcher = Dispatcher::default();
        loop {
            match receiver.recv_timeout(IDLE_PERIOD) {
                Ok(Message::Batch(batch)) => {
                    dispatcher.batch(&batch);
                    let bytes = batch_bytes(&batch);
                    if self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed) == bytes {
                        self.queue_is_empty(&mut dispatcher);
                    }
                }
                Ok(Message::Missed(missed)) => dispatcher.missed(&missed),
                Ok(Message::Join(tenant, tailer, done)) => {
                    dispatcher.join(&tenant, tailer);
                    let _ = done.send(());
                }
                Ok(Message::Leave(tenant, id)) => dispatcher.leave(&tenant, id),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.queue_is_empty(&mut dispatcher),
            }
        }
    }

    /// Nothing may come for long: what was missed is told now.
    fn queue_is_empty(&self, dispatcher: &mut Dispatcher) {
        let missed: Vec<MissedStream> = self.overflow.lock().0.drain().map(|(_, missed)| missed).collect();
        dispatcher.missed(&missed);
        self.watched_streams.store(dispatcher.watched_streams(), Ordering::Relaxed);
    }
}
