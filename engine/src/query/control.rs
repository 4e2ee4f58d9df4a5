//! What bounds a running query: its client, its time, its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Error;

/// Memory that all queries share.
#[derive(Debug)]
pub struct SharedMemory {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

impl SharedMemory {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicU64::new(0) })
    }

    /// Bytes that running queries hold.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

/// One query's leash, shared by its workers. Workers look at it once per chunk of rows.
#[derive(Debug)]
pub struct Control {
    is_cancelled: AtomicBool,
    /// A worker failed: the others may stop, their results are not wanted.
    is_stopped: AtomicBool,
    deadline: Option<Instant>,
    time_limit: Duration,
    memory_limit_bytes: u64,
    memory_bytes: AtomicU64,
    shared: Arc<SharedMemory>,
}

impl Control {
    /// `time_limit` zero: none. `memory_limit_bytes` zero: only the shared limit counts.
    pub fn new(time_limit: Duration, memory_limit_bytes: u64, shared: Arc<SharedMemory>) -> Arc<Self> {
        let deadline = (!time_limit.is_zero()).then(|| Instant::now().checked_add(time_limit)).flatten();
        Arc::new(Self {
            is_cancelled: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            deadline,
            time_limit,
            memory_limit_bytes,
            memory_bytes: AtomicU64::new(0),
            shared,
        })
    }

    /// No limits: for tests and for work that is small by nature.
    pub fn unbounded() -> Arc<Self> {
        Self::new(Duration::ZERO, 0, SharedMemory::new(u64::MAX))
    }

    /// Ends the query at its next check.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// A guard that cancels when it is dropped: held by the request, it goes when the client does.
    pub fn cancel_on_drop(self: &Arc<Self>) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Tells the other workers that their results are no longer wanted.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Error::Cancelled`], [`Error::TimedOut`].
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled.load(Ordering::Relaxed) || self.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::TimedOut(self.time_limit));
        }
        Ok(())
    }

    /// Books memory. It is given back when the query ends.
    ///
    /// # Errors
    /// [`Error::TooMuchMemory`] when the query, or all queries together, hold too much.
    pub fn charge(&self, bytes: u64) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        let own = self.memory_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.shared.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.memory_limit_bytes > 0 && own > self.memory_limit_bytes {
            return Err(Error::TooMuchMemory { key: "memory_budget", limit_bytes: self.memory_limit_bytes });
        }
        if all > self.shared.limit_bytes {
            return Err(Error::TooMuchMemory { key: "total_memory_budget", limit_bytes: self.shared.limit_bytes });
        }
        Ok(())
    }

    /// Gives memory back before the query ends.
    pub fn release(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.used_bytes.fetch_sub(*self.memory_bytes.get_mut(), Ordering::Relaxed);
    }
}

/// See [`Control::cancel_on_drop`].
#[derive(Debug)]
pub struct CancelOnDrop(Arc<Control>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_and_given_back() {
        let shared = SharedMemory::new(100);
        let first = Control::new(Duration::ZERO, 60, shared.clone());
        let second = Control::new(Duration::ZERO, 0, shared.clone());
        first.charge(60).unwrap();
        assert!(first.charge(1).unwrap_err().to_string().contains("60 bytes"));
        second.charge(30).unwrap();
        assert!(second.charge(20).unwrap_err().to_string().contains("total_memory_budget"));
        drop(first);
        second.release(20);
        second.charge(20).unwrap();
        drop(second);
        assert_eq!(shared.used_bytes(), 0);
    }

    #[test]
    fn a_gone_client_and_a_late_hour_end_a_query() {
        let control = Control::unbounded();
        control.check().unwrap();
        drop(control.cancel_on_drop());
        assert!(matches!(control.check(), Err(Error::Cancelled)));
        let control = Control::new(Duration::from_nanos(1), 0, SharedMemory::new(0));
        std::thread::yield_now();
        assert!(matches!(control.check(), Err(Error::TimedOut(_))));
    }
}
