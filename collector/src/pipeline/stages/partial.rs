//! Joins the pieces that container runtimes cut long lines into.
//!
//! Pieces are joined by source and output stream, byte by byte, without a separator: a rune may be cut in two. The entry
//! has the time of its last piece. The last piece of a container's output may never get its end: it is emitted when it
//! has waited long enough, or its writer is known to be gone.
//!
//! Source: contract of the collector, section 4.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Flow;
use crate::pipeline::entry::{Entry, SourceId};
use crate::pipeline::{Context, Flush, Next};

/// A piece without an end is emitted after this.
const IDLE: Duration = Duration::from_secs(30);
/// No joined line is longer: what comes after is cut off.
const LINE_BYTES_MAX: usize = 8 << 20;
/// All pieces together, a quarter of the default memory limit; beyond it the oldest are emitted.
const TOTAL_BYTES_MAX: usize = 8 << 20;

/// The output stream of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
}

/// Pieces that wait for their end.
#[derive(Debug)]
pub struct Joiner {
    pending: HashMap<(SourceId, Output), Pending>,
    bytes: usize,
    pending_max: usize,
    /// Joined lines are cut to this.
    line_bytes_max: usize,
}

#[derive(Debug)]
struct Pending {
    entry: Entry,
    last: Instant,
}

impl Joiner {
    /// `cut_bytes` 0: only the hard limit counts.
    pub fn new(pending_max: usize, cut_bytes: usize) -> Self {
        let line_bytes_max = if cut_bytes == 0 { LINE_BYTES_MAX } else { cut_bytes.min(LINE_BYTES_MAX) };
        Self { pending: HashMap::new(), bytes: 0, pending_max: pending_max.max(1), line_bytes_max }
    }

    /// Keeps a piece.
    pub fn keep(&mut self, output: Output, entry: &mut Entry, cx: &mut Context<'_>, next: &mut Next<'_>) -> Flow {
        let key = (cx.source, output);
        if let Some(pending) = self.pending.get_mut(&key) {
            self.bytes += append(&mut pending.entry.line, &entry.line, self.line_bytes_max);
            pending.entry.timestamp_ns = entry.timestamp_ns;
            pending.last = cx.now;
            return Flow::Gone;
        }
        while self.pending.len() >= self.pending_max || self.bytes >= TOTAL_BYTES_MAX {
            let oldest = self.pending.iter().min_by_key(|(_, pending)| pending.last).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.emit(oldest, cx, next);
        }
        entry.receipts.hold(cx);
        cut(&mut entry.line, self.line_bytes_max);
        self.bytes += entry.line.len();
        self.pending.insert(key, Pending { entry: entry.take(), last: cx.now });
        Flow::Gone
    }

    /// Completes a line: what was kept of it comes before what `entry` has.
    pub fn complete(&mut self, output: Output, entry: &mut Entry, cx: &Context<'_>) {
        if self.pending.is_empty() {
            return;
        }
        let Some(mut pending) = self.pending.remove(&(cx.source, output)) else { return };
        self.bytes -= pending.entry.line.len();
        append(&mut pending.entry.line, &entry.line, self.line_bytes_max);
        std::mem::swap(&mut entry.line, &mut pending.entry.line);
        entry.receipts.held.append(&mut pending.entry.receipts.held);
    }

    /// The source cannot be read: what would complete its lines may be there already.
    pub fn keep_waiting(&mut self, source: SourceId, now: Instant) {
        for output in [Output::Stdout, Output::Stderr] {
            if let Some(pending) = self.pending.get_mut(&(source, output)) {
                pending.last = now;
            }
        }
    }

    /// Emits what waited long enough, or belongs to a source that has ended.
    pub fn flush(&mut self, what: Flush, cx: &mut Context<'_>, next: &mut Next<'_>) {
        let is_due = |key: &(SourceId, Output), pending: &Pending| match what {
            Flush::All => true,
            Flush::Source(source) => key.0 == source,
            Flush::Expired => cx.now.duration_since(pending.last) >= IDLE,
        };
        let mut due: Vec<_> =
            self.pending.iter().filter(|(key, pending)| is_due(key, pending)).map(|(k, _)| *k).collect();
        due.sort_unstable();
        for key in due {
            self.emit(key, cx, next);
        }
    }

    fn emit(&mut self, key: (SourceId, Output), cx: &mut Context<'_>, next: &mut Next<'_>) {
        let Some(mut pending) = self.pending.remove(&key) else { return };
        self.bytes -= pending.entry.line.len();
        next(&mut pending.entry, cx);
    }
}

/// Appends as much of `more` as fits; returns its length.
fn append(line: &mut Vec<u8>, more: &[u8], limit: usize) -> usize {
    let before = line.len();
    line.extend_from_slice(more);
    cut(line, limit);
    line.len().saturating_sub(before)
}

/// Cuts at the limit, not within a character.
fn cut(line: &mut Vec<u8>, limit: usize) {
    if line.len() <= limit {
        return;
    }
    let mut end = limit;
    while end > 0 && line[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    line.truncate(end);
}
