//! Memory that pushes hold together is bounded: who would exceed it waits a moment, then is told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Why memory was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This request alone is more than all requests together may hold.
    #[error(
        "request body too large: it needs {needed_bytes} bytes of memory, all pushes together may hold {limit_bytes}"
    )]
    TooLarge {
        /// What it needs.
        needed_bytes: usize,
        /// What there is.
        limit_bytes: usize,
    },
    /// Other requests hold the memory.
    #[error("too many pushes at once: {limit_bytes} bytes are in flight, try again")]
    Busy {
        /// What there is.
        limit_bytes: usize,
    },
}

/// The memory of all pushes in flight.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    released: Notify,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0), released: Notify::new() })
    }

    /// Bytes granted at this moment.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// A share of `bytes`; waits for others to finish, but not longer than `patience`.
    ///
    /// Only a request that holds nothing waits here, so requests never wait for one another in a circle.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn reserve(self: &Arc<Self>, bytes: usize, patience: Duration) -> Result<Share, Refusal> {
        let mut share = self.share();
        let attempt = async {
            loop {
                // Registered before the attempt, so that a release between the two is not missed.
                let released = self.released.notified();
                match share.grow(bytes) {
                    Err(Refusal::Busy { .. }) => released.await,
                    done => return done,
                }
            }
        };
        let outcome = tokio::time::timeout(patience, attempt).await;
        outcome.unwrap_or(Err(Refusal::Busy { limit_bytes: self.limit_bytes }))?;
        share.unused = bytes;
        Ok(share)
    }

    /// An empty share.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0, unused: 0 }
    }
}

/// Part of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    /// Of `bytes`: reserved, and not yet asked for by [`Share::grow`].
    unused: usize,
}

impl Share {
    /// Takes `bytes` more, first of what was reserved; at once or not at all.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Some(bytes) = bytes.checked_sub(self.unused).filter(|&bytes| bytes > 0) else {
            self.unused -= bytes;
            return Ok(());
        };
        let limit_bytes = self.budget.limit_bytes;
        let needed_bytes = self.bytes.saturating_add(bytes);
        if needed_bytes > limit_bytes {
            return Err(Refusal::TooLarge { needed_bytes, limit_bytes });
        }
        let fits = |used: usize| used.checked_add(bytes).filter(|&used| used <= limit_bytes);
        match self.budget.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.bytes = needed_bytes;
                self.unused = 0;
                Ok(())
            }
            Err(_) => Err(Refusal::Busy { limit_bytes }),
        }
    }

    /// Makes room for one more element of `items`, doubling as `Vec` does, within the share.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grow_vec<T>(&mut self, items: &mut Vec<T>) -> Result<(), Refusal> {
        if items.len() == items.capacity() {
            let more = items.capacity().max(16);
            self.grow(more.saturating_mul(size_of::<T>()))?;
            items.reserve_exact(more);
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_and_takes_back() {
        let budget = Budget::new(100);
        let mut first = budget.share();
        first.grow(60).unwrap();
        let mut second = budget.share();
        assert_eq!(second.grow(41), Err(Refusal::Busy { limit_bytes: 100 }));
        assert_eq!(first.grow(41), Err(Refusal::TooLarge { needed_bytes: 101, limit_bytes: 100 }));
        second.grow(40).unwrap();
        drop(first);
        assert_eq!(budget.used_bytes(), 40);
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn uses_up_what_was_reserved() {
        let budget = Budget::new(100);
        let mut share = budget.reserve(50, Duration::ZERO).await.unwrap();
        let mut used_after = |bytes| share.grow(bytes).map(|()| budget.used_bytes());
        assert_eq!(used_after(30), Ok(50));
        assert_eq!(used_after(20), Ok(50));
        assert_eq!(used_after(10), Ok(60));
        assert!(used_after(41).is_err());
    }

    #[tokio::test]
    async fn waits_for_others() {
        let budget = Budget::new(100);
        let first = budget.reserve(80, Duration::ZERO).await.unwrap();
        assert!(budget.reserve(30, Duration::from_millis(1)).await.is_err());
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(30, Duration::from_secs(60)).await.map(|share| share.bytes) }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(30));
    }
}
