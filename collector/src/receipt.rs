//! Receipts: how a file learns that the engine has its lines.
//!
//! A reader takes a *chunk* of a file at a time. Every entry made of it holds a share of the chunk's receipt; when the
//! last share is settled (acknowledged, or refused for good, or dropped by a stage), the chunk is done. The file's
//! position is the end of the last chunk before which all chunks are done: what a restart may skip.
//!
//! One allocation a chunk, none a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How far a file is acknowledged. Shared by its reader, its chunks and the positions file.
#[derive(Debug)]
pub struct Progress {
    /// Bytes from the start of the file that need not be read again.
    acknowledged: AtomicU64,
    pending: Mutex<VecDeque<Arc<Chunk>>>,
}

/// A read part of a file that is on its way.
#[derive(Debug)]
struct Chunk {
    end_offset: u64,
    open_shares: AtomicUsize,
    done: AtomicBool,
}

/// Shares of a chunk, handed along with its entries. Dropping it does not settle it: an entry that is lost on the way
/// must hold the position back.
#[derive(Debug)]
pub struct Receipt {
    progress: Arc<Progress>,
    chunk: Arc<Chunk>,
    shares: usize,
}

impl Progress {
    /// A file that is read from `offset` on.
    pub fn new(offset: u64) -> Arc<Self> {
        Arc::new(Self { acknowledged: AtomicU64::new(offset), pending: Mutex::new(VecDeque::new()) })
    }

    /// Bytes from the start of the file that need not be read again.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// True when nothing read is on its way any more.
    pub fn is_settled(&self) -> bool {
        self.pending.lock().is_empty()
    }

    /// Opens a chunk that ends at `end_offset`. The returned receipt holds one share, the reader's own, which keeps the
    /// chunk open while its entries are still being made.
    pub fn chunk(self: &Arc<Self>, end_offset: u64) -> Receipt {
        let chunk = Arc::new(Chunk { end_offset, open_shares: AtomicUsize::new(1), done: AtomicBool::new(false) });
        self.pending.lock().push_back(chunk.clone());
        Receipt { progress: self.clone(), chunk, shares: 1 }
    }

    fn advance(&self) {
        let mut pending = self.pending.lock();
        while pending.front().is_some_and(|chunk| chunk.done.load(Ordering::Acquire)) {
            let chunk = pending.pop_front().expect("front was just there");
            self.acknowledged.store(chunk.end_offset, Ordering::Release);
        }
    }
}

impl Receipt {
    /// One more share, for one more entry.
    pub fn share(&self) -> Self {
        self.chunk.open_shares.fetch_add(1, Ordering::Relaxed);
        Self { progress: self.progress.clone(), chunk: self.chunk.clone(), shares: 1 }
    }

    /// Takes over `other` if both are of one chunk, so that a batch holds one receipt a chunk and not one a line.
    pub fn absorb(&mut self, other: Self) -> Option<Self> {
        if !Arc::ptr_eq(&self.chunk, &other.chunk) {
            return Some(other);
        }
        self.shares += other.shares;
        None
    }

    /// The entries behind this receipt need not be sent again.
    pub fn settle(self) {
        if self.chunk.open_shares.fetch_sub(self.shares, Ordering::AcqRel) == self.shares {
            self.chunk.done.store(true, Ordering::Release);
            self.progress.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_waits_for_the_oldest_open_chunk() {
        let progress = Progress::new(10);
        let (first, second) = (progress.chunk(20), progress.chunk(30));
        let entry = first.share();
        second.settle();
        assert_eq!(progress.acknowledged(), 10, "the first chunk is still open");
        first.settle();
        assert_eq!(progress.acknowledged(), 10, "one entry of the first chunk is on its way");
        entry.settle();
        assert_eq!(progress.acknowledged(), 30);
        assert!(progress.is_settled());
    }

    #[test]
    fn receipts_of_one_chunk_are_kept_as_one() {
        let progress = Progress::new(0);
        let (mut first, other) = (progress.chunk(1), progress.chunk(2));
        let share = first.share();
        assert!(first.absorb(share).is_none());
        let other = first.absorb(other).expect("of another chunk");
        first.settle();
        assert_eq!(progress.acknowledged(), 1);
        other.settle();
        assert_eq!(progress.acknowledged(), 2);
    }

    #[test]
    fn a_lost_entry_holds_the_position() {
        let progress = Progress::new(0);
        let chunk = progress.chunk(5);
        drop(chunk.share());
        chunk.settle();
        assert_eq!(progress.acknowledged(), 0);
    }
}
