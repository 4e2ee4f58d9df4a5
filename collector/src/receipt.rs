//! Receipts: how a file learns that the engine has its lines.
//!
//! A reader takes a *chunk* of a file at a time. Every entry made of it holds a share of the chunk's receipt; when the
//! last share is settled (acknowledged, or refused for good, or dropped by a stage), the chunk is done. A stage that
//! keeps a line back (a partial line, a multiline block) *holds* the place where the line begins, so that a restart reads
//! that line again but not the whole chunk. The file's position is the end of the last chunk before which all chunks
//! are done, or the first held place if that comes earlier: what a restart may skip.
//!
//! One allocation a chunk, none a line.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How far a file is acknowledged. Shared by its reader, its chunks and the positions file.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// End of the last chunk before which all are done.
    frontier: u64,
    pending: VecDeque<Arc<Chunk>>,
    /// Places at which held lines begin, with the number of holds.
    holds: BTreeMap<u64, u32>,
}

/// A read part of a file that is on its way.
#[derive(Debug)]
struct Chunk {
    progress: Arc<Progress>,
    end_offset: AtomicU64,
    open_shares: AtomicUsize,
    done: AtomicBool,
}

/// Shares of a chunk, or a held place, handed along with entries. Dropping it does not settle it: an entry that is lost
/// on the way must hold the position back.
#[derive(Debug)]
pub struct Receipt(Kind);

#[derive(Debug)]
enum Kind {
    Shares { chunk: Arc<Chunk>, shares: usize },
    Hold { hold: Arc<Hold> },
}

/// Settled with its last receipt: an entry goes to several clients.
#[derive(Debug)]
struct Hold {
    progress: Arc<Progress>,
    start_offset: u64,
    open_shares: AtomicUsize,
}

impl Progress {
    /// A file that is read from `offset` on.
    pub fn new(offset: u64) -> Arc<Self> {
        let state = State { frontier: offset, pending: VecDeque::new(), holds: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Bytes from the start of the file that need not be read again.
    pub fn acknowledged(&self) -> u64 {
        let state = self.state.lock();
        match state.holds.first_key_value() {
            Some((&start, _)) => start.min(state.frontier),
            None => state.frontier,
        }
    }

    /// True when nothing read is on its way any more.
    pub fn is_settled(&self) -> bool {
        let state = self.state.lock();
        state.pending.is_empty() && state.holds.is_empty()
    }

    /// Opens a chunk that ends at `end_offset`. The returned receipt holds one share, the reader's own, which keeps the
    /// chunk open while its entries are still being made.
    pub fn chunk(self: &Arc<Self>, end_offset: u64) -> Receipt {
        let chunk = Arc::new(Chunk {
            progress: self.clone(),
            end_offset: AtomicU64::new(end_offset),
            open_shares: AtomicUsize::new(1),
            done: AtomicBool::new(false),
        });
        self.state.lock().pending.push_back(chunk.clone());
        Receipt(Kind::Shares { chunk, shares: 1 })
    }

    fn advance(&self) {
        let mut state = self.state.lock();
        while state.pending.front().is_some_and(|chunk| chunk.done.load(Ordering::Acquire)) {
            let chunk = state.pending.pop_front().expect("front was just there");
            state.frontier = chunk.end_offset.load(Ordering::Acquire);
        }
    }

    fn release(&self, start_offset: u64) {
        let mut state = self.state.lock();
        if let Some(count) = state.holds.get_mut(&start_offset) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(&start_offset);
            }
        }
    }
}

impl Receipt {
    /// One more share, for one more entry.
    pub fn share(&self) -> Self {
        Self(match &self.0 {
            Kind::Shares { chunk, .. } => {
                chunk.open_shares.fetch_add(1, Ordering::Relaxed);
                Kind::Shares { chunk: chunk.clone(), shares: 1 }
            }
            Kind::Hold { hold } => {
                hold.open_shares.fetch_add(1, Ordering::Relaxed);
                Kind::Hold { hold: hold.clone() }
            }
        })
    }

    /// A receipt for the line of this chunk that begins at `start_offset` and may be kept for long.
    pub fn hold(&self, start_offset: u64) -> Self {
        let progress = match &self.0 {
            Kind::Shares { chunk, .. } => &chunk.progress,
            Kind::Hold { hold } => &hold.progress,
        };
        *progress.state.lock().holds.entry(start_offset).or_default() += 1;
        Self(Kind::Hold {
            hold: Arc::new(Hold { progress: progress.clone(), start_offset, open_shares: AtomicUsize::new(1) }),
        })
    }

    /// The chunk ends sooner than it was said: the reader takes no more of it. Only for the reader, before it settles
    /// its own share.
    pub fn end_at(&self, end_offset: u64) {
        if let Kind::Shares { chunk, .. } = &self.0 {
            chunk.end_offset.store(end_offset, Ordering::Release);
        }
    }

    /// Takes one more share if `other` is of the same chunk, so that a batch holds one receipt a chunk and not one a
    /// line; false when it is of another.
    pub fn extend(&mut self, other: &Self) -> bool {
        match (&mut self.0, &other.0) {
            (Kind::Shares { chunk, shares }, Kind::Shares { chunk: others, .. }) if Arc::ptr_eq(chunk, others) => {
                chunk.open_shares.fetch_add(1, Ordering::Relaxed);
                *shares += 1;
                true
            }
            _ => false,
        }
    }

    /// The entries behind this receipt need not be sent again.
    pub fn settle(self) {
        match self.0 {
            Kind::Shares { chunk, shares } => {
                if chunk.open_shares.fetch_sub(shares, Ordering::AcqRel) == shares {
                    chunk.done.store(true, Ordering::Release);
                    chunk.progress.advance();
                }
            }
            Kind::Hold { hold } => {
                if hold.open_shares.fetch_sub(1, Ordering::AcqRel) == 1 {
                    hold.progress.release(hold.start_offset);
                }
            }
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
        let (first, other) = (progress.chunk(1), progress.chunk(2));
        let mut batch = first.share();
        assert!(batch.extend(&first));
        assert!(!batch.extend(&other));
        first.settle();
        batch.settle();
        assert_eq!(progress.acknowledged(), 1);
        other.settle();
        assert_eq!(progress.acknowledged(), 2);
    }

    #[test]
    fn a_held_line_holds_the_position_at_its_start() {
        let progress = Progress::new(0);
        let chunk = progress.chunk(100);
        let held = chunk.hold(40);
        let second_client = held.share();
        chunk.settle();
        assert_eq!(progress.acknowledged(), 40);
        held.settle();
        assert_eq!(progress.acknowledged(), 40, "the other client has not acknowledged");
        assert!(!progress.is_settled());
        second_client.settle();
        assert_eq!((progress.acknowledged(), progress.is_settled()), (100, true));
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
