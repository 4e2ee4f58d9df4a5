//! The one thread that writes the log and fills the memtable.
//!
//! Appends queue up while it syncs; then it writes and syncs all of them at once, inserts them in the order of the log,
//! and answers. So the log, the memtable and a replay have the same order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::model::Batch;
use crate::storage::error::{Error, Result};

/// Bytes of batches that may wait for the writer; more appends wait in front of the queue.
const QUEUE_BYTES_MAX: usize = 48 << 20;
/// Bytes of records that are written and synced together, about.
const GROUP_BYTES: usize = 16 << 20;
/// Permits are of this many bytes, so that their number fits.
const PERMIT_BYTES: usize = 1 << 10;

/// One append on its way.
pub struct Append {
    /// What goes to the log.
    pub payload: Vec<u8>,
    /// What goes to the memtable.
    pub batch: Arc<Batch>,
    done: oneshot::Sender<Result<()>>,
    _permit: OwnedSemaphorePermit,
}

impl Append {
    /// Answers the caller, if it still waits.
    pub fn answer(self, result: Result<()>) {
        let _ = self.done.send(result);
    }
}

/// What the writer is asked to do.
#[derive(Default)]
struct Inbox {
    appends: VecDeque<Append>,
    /// Somebody waits for everything so far to be cut.
    cuts: Vec<oneshot::Sender<Result<u64>>>,
    is_closed: bool,
}

/// The way to the writer: async on one end, a thread on the other.
pub struct Queue {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    room: Arc<Semaphore>,
}

/// What the writer does next.
pub struct Work {
    /// To be written together; may be empty.
    pub appends: Vec<Append>,
    /// To be answered with the number of the cut memtable, once it is cut.
    pub cuts: Vec<oneshot::Sender<Result<u64>>>,
    /// Nothing comes any more.
    pub is_closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX / PERMIT_BYTES));
        Self { inbox: Mutex::default(), arrived: Condvar::new(), room }
    }
}

impl Queue {
    /// Hands an append over and waits for its fate. Dropping the future does not take the append back.
    pub async fn append(&self, payload: Vec<u8>, batch: Arc<Batch>) -> Result<()> {
        let bytes = payload.len() + batch.rows.bytes.len() + batch.rows.len() * 16;
        // A batch that is larger than the queue has it for itself.
        let permits = (bytes / PERMIT_BYTES + 1).min(QUEUE_BYTES_MAX / PERMIT_BYTES) as u32;
        let permit = self.room.clone().acquire_many_owned(permits).await.map_err(|_| Error::Closed)?;
        let (done, answer) = oneshot::channel();
        {
            let mut inbox = self.inbox.lock();
            if inbox.is_closed {
                return Err(Error::Closed);
            }
            inbox.appends.push_back(Append { payload, batch, done, _permit: permit });
        }
        self.arrived.notify_one();
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Asks for the memtable to be cut; the answer is its number.
    pub fn cut(&self) -> Result<oneshot::Receiver<Result<u64>>> {
        let (done, answer) = oneshot::channel();
        let mut inbox = self.inbox.lock();
        if inbox.is_closed {
            return Err(Error::Closed);
        }
        inbox.cuts.push(done);
        drop(inbox);
        self.arrived.notify_one();
        Ok(answer)
    }

    /// Refuses what comes from now on; what is queued is still done.
    pub fn close(&self) {
        self.inbox.lock().is_closed = true;
        self.room.close();
        self.arrived.notify_one();
    }

    /// Waits for work, at most until `deadline`. Called by the writer only.
    pub fn take(&self, deadline: Instant) -> Work {
        let mut inbox = self.inbox.lock();
        while inbox.appends.is_empty() && inbox.cuts.is_empty() && !inbox.is_closed {
            if self.arrived.wait_until(&mut inbox, deadline).timed_out() {
                break;
            }
        }
        let mut bytes = 0;
        let mut appends = Vec::new();
        while let Some(next) = inbox.appends.front() {
            bytes += next.payload.len();
            if bytes > GROUP_BYTES && !appends.is_empty() {
                break;
            }
            appends.extend(inbox.appends.pop_front());
        }
        // A cut covers what was queued before it was asked for.
        let everything = inbox.appends.is_empty();
        let cuts = if everything { std::mem::take(&mut inbox.cuts) } else { Vec::new() };
        Work { appends, cuts, is_closed: inbox.is_closed && everything }
    }
}

/// A deadline that never comes, in the terms of a condition variable.
pub fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}
