//! From what was planned to rows: pieces of one stream, merged by time, filtered, without duplicates.
//!
//! ```text
//! ScanUnit: pieces that overlap in time -> Run: one piece, opened, filtered, sorted by time
//!                                       -> windows between starts and ends of pieces -> merged -> chunks of rows
//! ```
//!
//! A piece is opened when the scan reaches it, so that a scan that stops early opens little, and dropped when it is
//! behind.

mod count;
mod run;

use std::sync::Arc;

use self::run::{Run, Wanted};
use super::codec::PartSearch;
use super::deletes::{Deletion, StreamDeletions};
use super::error::Result;
use super::memtable::MemPiece;
use super::part::{Caches, Part};
use super::snapshot::ScanRequest;
use crate::model::{Rows, Stream, TimeRange};

/// Rows of a chunk, at most.
pub const CHUNK_ROWS_MAX: usize = 4096;
/// Bytes of lines in a chunk, about; long lines make short chunks.
const CHUNK_LINE_BYTES: usize = 4 << 20;

/// Which end of time comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    #[default]
    Backward,
}

/// A run of rows of one stream that is opened as one: some rows of a chunk of a memtable, or a block.
#[derive(Clone)]
pub(super) enum Piece {
    Mem(MemPiece),
    Block(BlockPiece),
}

/// A block of a part.
#[derive(Clone)]
pub(super) struct BlockPiece {
    pub part: Arc<Part>,
    pub idx: usize,
    pub caches: Arc<Caches>,
    /// The line filters; `None` if there are none.
    pub search: Option<Arc<PartSearch>>,
}

impl Piece {
    pub(super) fn time(&self) -> TimeRange {
        match self {
            Self::Mem(piece) => piece.time,
            Self::Block(piece) => piece.part.blocks()[piece.idx].time,
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Self::Mem(piece) => piece.rows() as u64,
            Self::Block(piece) => u64::from(piece.part.blocks()[piece.idx].rows),
        }
    }

    fn line_bytes(&self) -> u64 {
        match self {
            Self::Mem(piece) => piece.line_bytes as u64,
            Self::Block(piece) => piece.part.blocks()[piece.idx].line_bytes,
        }
    }
}

/// Rows of one stream that are scanned together. Units of one stream never share a timestamp.
#[derive(Clone)]
pub struct ScanUnit {
    /// Whose rows these are.
    pub stream: Arc<Stream>,
    /// First and last timestamp, before filters.
    pub time: TimeRange,
    /// Upper bound of rows.
    pub rows: u64,
    /// Upper bound of bytes of lines.
    pub bytes: u64,
    /// Earlier rows have expired.
    keep_from_ns: i64,
    /// Some rows may be deleted.
    deletions: Vec<Arc<Deletion>>,
    /// In arrival order.
    pieces: Vec<Piece>,
}

/// Exact figures of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitCounts {
    /// Rows without duplicates.
    pub rows: u64,
    /// Bytes of their lines.
    pub line_bytes: u64,
}

impl ScanUnit {
    /// Groups the pieces of a stream, given in arrival order, into units.
    pub(super) fn group(stream: &Arc<Stream>, keep_from_ns: i64, pieces: Vec<Piece>, units: &mut Vec<Self>) {
        let mut by_time: Vec<(usize, Piece)> = pieces.into_iter().enumerate().collect();
        by_time.sort_by_key(|(order, piece)| (piece.time().first_ns, *order));
        let mut group: Vec<(usize, Piece)> = Vec::new();
        let mut last_ns = i64::MIN;
        for (order, piece) in by_time {
            if !group.is_empty() && piece.time().first_ns > last_ns {
                units.push(Self::of(stream, keep_from_ns, std::mem::take(&mut group)));
            }
            last_ns = if group.is_empty() { piece.time().last_ns } else { last_ns.max(piece.time().last_ns) };
            group.push((order, piece));
        }
        if !group.is_empty() {
            units.push(Self::of(stream, keep_from_ns, group));
        }
    }

    /// One unit of pieces that are given in arrival order, whether they overlap or not.
    pub(super) fn whole(stream: &Arc<Stream>, pieces: Vec<Piece>) -> Self {
        Self::of(stream, i64::MIN, pieces.into_iter().enumerate().collect())
    }

    fn of(stream: &Arc<Stream>, keep_from_ns: i64, mut group: Vec<(usize, Piece)>) -> Self {
        group.sort_by_key(|(order, _)| *order);
        let pieces: Vec<Piece> = group.into_iter().map(|(_, piece)| piece).collect();
        let time = TimeRange {
            first_ns: pieces.iter().map(|piece| piece.time().first_ns).min().unwrap_or(i64::MAX),
            last_ns: pieces.iter().map(|piece| piece.time().last_ns).max().unwrap_or(i64::MIN),
        };
        let rows = pieces.iter().map(Piece::rows).sum();
        let bytes = pieces.iter().map(Piece::line_bytes).sum();
        Self { stream: stream.clone(), time, rows, bytes, keep_from_ns, deletions: Vec::new(), pieces }
    }

    /// Leaves out what `deletions` delete.
    pub(super) fn hide(&mut self, deletions: &[Arc<Deletion>]) {
        let touching = deletions.iter().filter(|deletion| deletion.touches(&self.stream, self.time));
        self.deletions = touching.cloned().collect();
    }

    /// The exact figures, if they are known without opening anything: `range` covers the unit, there is no line filter
    /// and no row can be a duplicate or deleted. `range` is that of the caller's window, no wider than the request's.
    pub fn counts(&self, range: TimeRange) -> Option<UnitCounts> {
        self.whole_block().filter(|_| range.covers(&self.time))?;
        Some(UnitCounts { rows: self.rows, line_bytes: self.bytes })
    }

    /// The block that the unit is, if it is one of which each row is wanted, once.
    pub(super) fn whole_block(&self) -> Option<&BlockPiece> {
        match &self.pieces[..] {
            [Piece::Block(block)]
                if block.search.is_none() && self.keep_from_ns <= self.time.first_ns && self.deletions.is_empty() =>
            {
                Some(block)
            }
            // Rows of a memtable may be duplicates, and so may rows of pieces that overlap.
            _ => None,
        }
    }

    /// Starts reading. Nothing is read yet.
    ///
    /// # Errors
    /// None today.
    pub fn open(&self, request: &ScanRequest, direction: Direction) -> Result<Scan> {
        let mut request = request.clone();
        request.range.first_ns = request.range.first_ns.max(self.keep_from_ns);
        let is_wanted = |(_, piece): &(usize, Piece)| piece.time().overlaps(&request.range);
        let mut waiting: Vec<(usize, Piece)> = self.pieces.iter().cloned().enumerate().filter(is_wanted).collect();
        // The next one to open is the last.
        match direction {
            Direction::Forward => waiting.sort_by_key(|(_, piece)| std::cmp::Reverse(piece.time().first_ns)),
            Direction::Backward => waiting.sort_by_key(|(_, piece)| piece.time().last_ns),
        }
        let line_bytes = usize::try_from(self.bytes / self.rows.max(1)).unwrap_or(usize::MAX).max(1);
        let chunk_rows_max = (CHUNK_LINE_BYTES / line_bytes).clamp(16, CHUNK_ROWS_MAX);
        let chunk_rows = match request.first_chunk_rows {
            0 => chunk_rows_max,
            rows => rows.clamp(16, chunk_rows_max),
        };
        Ok(Scan {
            request,
            deletions: StreamDeletions::new(&self.stream, &self.deletions),
            direction,
            chunk_rows,
            chunk_rows_max,
            waiting,
            open: Vec::new(),
            window: Vec::new(),
            span: (0, 0..0),
            scratch: Vec::new(),
            left_out: LeftOut::default(),
        })
    }
}

/// A row in a window: its timestamp, the place of its run among the open ones, the position in the run.
type Pick = (i64, usize, u32);

/// The rows of a unit, chunk by chunk.
pub struct Scan {
    request: ScanRequest,
    deletions: Option<StreamDeletions>,
    direction: Direction,
    /// Of the next chunk, at most; grows to the other.
    chunk_rows: usize,
    chunk_rows_max: usize,
    /// Pieces not yet opened, with their place in arrival order; the next one is the last.
    waiting: Vec<(usize, Piece)>,
    /// Opened pieces that have rows left or in the window, by place in arrival order.
    open: Vec<(usize, Run)>,
    /// Rows ready to be handed out, ascending by time; equal timestamps in arrival order.
    window: Vec<Pick>,
    /// The same, if they all come from one run and are all different: its place, and positions.
    span: (usize, std::ops::Range<usize>),
    /// Rows of each open run, on their way into a chunk.
    scratch: Vec<Rows>,
    left_out: LeftOut,
}

/// Rows that a scan has met and not handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Equal to an earlier one.
    pub duplicates: u64,
    /// Bytes of their lines.
    pub duplicate_line_bytes: u64,
    /// Deleted on request.
    pub deleted: u64,
}

impl Scan {
    /// Replaces `rows` by the next chunk; false when there is none. Chunks come in the asked direction; rows in a chunk
    /// ascend in time; rows with equal timestamps are in arrival order, also across chunks. Blocking: reads files and
    /// decompresses, on the caller's thread.
    ///
    /// # Errors
    /// When a piece cannot be read or is damaged.
    pub fn next(&mut self, rows: &mut Rows) -> Result<bool> {
        let wanted = Wanted { lines: self.request.need_lines, metadata: self.request.need_metadata };
        let Some(mut deletions) = self.deletions.take() else { return self.next_stored(wanted, rows) };
        let mut stored = Rows::default();
        rows.clear();
        let mut result = Ok(true);
        while rows.is_empty() && matches!(result, Ok(true)) {
            result = self.next_stored(Wanted::ALL, &mut stored);
            deletions.copy_rest(&stored, wanted.lines, wanted.metadata, rows);
            self.left_out.deleted += (stored.len() - rows.len()) as u64;
        }
        self.deletions = Some(deletions);
        result
    }

    /// What was not handed out so far.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The next chunk, with what is deleted.
    fn next_stored(&mut self, wanted: Wanted, rows: &mut Rows) -> Result<bool> {
        rows.clear();
        while self.window.is_empty() && self.span.1.is_empty() {
            if !self.fill_window()? {
                return Ok(false);
            }
        }
        let chunk_rows = self.chunk_rows;
        self.chunk_rows = (chunk_rows * 2).min(self.chunk_rows_max);
        let (idx, span) = &mut self.span;
        if span.start < span.end {
            let len = chunk_rows.min(span.len());
            let chunk = match self.direction {
                Direction::Forward => span.start..span.start + len,
                Direction::Backward => span.end - len..span.end,
            };
            match self.direction {
                Direction::Forward => span.start = chunk.end,
                Direction::Backward => span.end = chunk.start,
            }
            self.open[*idx].1.render(chunk, wanted, rows)?;
            return Ok(true);
        }
        let chunk: Vec<Pick> = match self.direction {
            Direction::Forward => self.window.drain(..chunk_rows.min(self.window.len())).collect(),
            Direction::Backward => self.window.split_off(self.window.len().saturating_sub(chunk_rows)),
        };
        self.render(&chunk, wanted, rows)?;
        Ok(true)
    }

    /// Opens what comes next, and takes rows that no unopened piece can precede. False when nothing is left.
    fn fill_window(&mut self) -> Result<bool> {
        self.open.retain(|(_, run)| !run.is_exhausted());
        loop {
            let bound = self.waiting.last().map(|(_, piece)| piece.time());
            let next = match self.direction {
                Direction::Forward => self.open.iter().filter_map(|(_, run)| run.first()).min(),
                Direction::Backward => self.open.iter().filter_map(|(_, run)| run.last()).max(),
            };
            let must_open = match (self.direction, next, bound) {
                (_, None, None) => return Ok(false),
                (_, None, Some(_)) => true,
                (_, Some(_), None) => false,
                (Direction::Forward, Some(next), Some(bound)) => next >= bound.first_ns,
                (Direction::Backward, Some(next), Some(bound)) => next <= bound.last_ns,
            };
            if must_open {
                let (order, piece) = self.waiting.pop().expect("bounded by it");
                let run = Run::open(&piece, &self.request)?;
                if !run.is_exhausted() {
                    let at = self.open.partition_point(|(other, _)| *other < order);
                    self.open.insert(at, (order, run));
                }
                continue;
            }
            let window = self.window_before(bound);
            let mut taken = Vec::new();
            for (idx, (_, run)) in self.open.iter_mut().enumerate() {
                let span = run.take(window);
                if !span.is_empty() {
                    taken.push((idx, span));
                }
            }
            if let [(idx, span)] = &taken[..]
                && self.open[*idx].1.is_unique(span.clone())
            {
                self.span = (*idx, span.clone());
                return Ok(true);
            }
            for (idx, span) in &taken {
                let timestamps = &self.open[*idx].1.timestamps()[span.clone()];
                let picks = timestamps.iter().zip(span.clone());
                self.window.extend(picks.map(|(&timestamp, position)| (timestamp, *idx, position as u32)));
            }
            if taken.len() > 1 {
                // The stable sort finds the sorted runs, and merges them.
                self.window.sort();
            }
            self.drop_duplicates()?;
            return Ok(true);
        }
    }

    /// The times that are ready: up to the next piece, which is at `bound`, and to where the first of the open ones ends.
    /// Most pieces share little time, and what one has for itself is handed out as it is.
    fn window_before(&self, bound: Option<TimeRange>) -> TimeRange {
        let open = self.open.iter().map(|(_, run)| run);
        match self.direction {
            Direction::Forward => {
                let ends = open.filter_map(Run::last).chain(bound.map(|time| time.first_ns - 1));
                TimeRange { first_ns: i64::MIN, last_ns: ends.min().unwrap_or(i64::MAX) }
            }
            Direction::Backward => {
                let ends = open.filter_map(Run::first).chain(bound.map(|time| time.last_ns + 1));
                TimeRange { first_ns: ends.max().unwrap_or(i64::MIN), last_ns: i64::MAX }
            }
        }
    }

    /// Of equal rows the first to arrive stays.
    fn drop_duplicates(&mut self) -> Result<()> {
        // Rows are compared where a timestamp has several, unless they are of one block: those are unique.
        let is_suspect = |group: &[Pick]| {
            group.len() > 1 && (group[0].1 != group[group.len() - 1].1 || self.open[group[0].1].1.may_have_duplicates())
        };
        let suspects: Vec<Pick> =
            self.window.chunk_by(|a, b| a.0 == b.0).filter(|group| is_suspect(group)).flatten().copied().collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::default();
        let mut duplicates = Vec::new();
        // Bounded: as many rows at a time as a chunk has, but all of a timestamp.
        let mut start = 0;
        while start < suspects.len() {
            let mut end = (start + self.chunk_rows_max).min(suspects.len());
            end += suspects[end..].iter().take_while(|pick| pick.0 == suspects[end - 1].0).count();
            rows.clear();
            self.render(&suspects[start..end], Wanted { lines: true, metadata: true }, &mut rows)?;
            let mut timestamp = None;
            let mut seen = hashbrown::HashSet::new();
            for row in 0..rows.len() {
                if timestamp.replace(rows.timestamps[row]) != Some(rows.timestamps[row]) {
                    seen.clear();
                }
                // Sets are interned in `rows`: equal ids are equal sets.
                if !seen.insert((rows.line(row), rows.metadata_ids[row])) {
                    duplicates.push(suspects[start + row]);
                    self.left_out.duplicate_line_bytes += rows.line(row).len() as u64;
                }
            }
            start = end;
        }
        if !duplicates.is_empty() {
            self.left_out.duplicates += duplicates.len() as u64;
            let mut duplicates = duplicates.into_iter().peekable();
            self.window.retain(|pick| duplicates.next_if_eq(pick).is_none());
        }
        Ok(())
    }

    /// Appends the rows of `chunk`, in its order.
    fn render(&mut self, chunk: &[Pick], wanted: Wanted, rows: &mut Rows) -> Result<()> {
        let Some(first) = chunk.first() else { return Ok(()) };
        if !wanted.lines && !wanted.metadata {
            rows.push_times(chunk.iter().map(|pick| pick.0));
            return Ok(());
        }
        let mut positions = Vec::with_capacity(chunk.len());
        if chunk.iter().all(|pick| pick.1 == first.1) {
            positions.extend(chunk.iter().map(|pick| pick.2));
            return self.open[first.1].1.render(positions.iter().map(|&at| at as usize), wanted, rows);
        }
        // Each run renders its rows at once; then they are put in order.
        self.scratch.resize_with(self.open.len(), Rows::default);
        let mut places = vec![(0usize, Vec::new()); self.open.len()];
        for (idx, (_, run)) in self.open.iter_mut().enumerate() {
            positions.clear();
            positions.extend(chunk.iter().filter(|pick| pick.1 == idx).map(|pick| pick.2));
            let scratch = &mut self.scratch[idx];
            scratch.clear();
            if !positions.is_empty() {
                run.render(positions.iter().map(|&at| at as usize), wanted, scratch)?;
                let ids = scratch.metadata.iter().map(|set| rows.metadata.intern(set.clone())).collect();
                places[idx] = (0, ids);
            }
        }
        for &(timestamp, idx, _) in chunk {
            let (next, ids) = &mut places[idx];
            let source = &self.scratch[idx];
            rows.push(timestamp, source.line(*next), ids[source.metadata_ids[*next] as usize]);
            *next += 1;
        }
        Ok(())
    }
}
