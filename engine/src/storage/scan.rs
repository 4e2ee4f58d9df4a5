//! From what was planned to rows: pieces of one stream, merged by time, filtered, without duplicates.
//!
//! ```text
//! ScanUnit: pieces that overlap in time -> Run: one piece, opened, filtered, sorted by time
//!                                       -> windows between the starts of pieces -> merged -> chunks of rows
//! ```
//!
//! A piece is opened when the scan reaches it, so that a scan that stops early opens little, and dropped when it is
//! behind.

mod run;

use std::sync::Arc;

use self::run::Run;
use super::error::Result;
use super::memtable::MemPiece;
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
}

impl Piece {
    pub(super) fn time(&self) -> TimeRange {
        match self {
            Self::Mem(piece) => piece.time,
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Self::Mem(piece) => piece.rows() as u64,
        }
    }

    fn line_bytes(&self) -> u64 {
        match self {
            Self::Mem(piece) => piece.line_bytes as u64,
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
    pub(super) fn group(stream: &Arc<Stream>, pieces: Vec<Piece>, units: &mut Vec<Self>) {
        let mut by_time: Vec<(usize, Piece)> = pieces.into_iter().enumerate().collect();
        by_time.sort_by_key(|(order, piece)| (piece.time().first_ns, *order));
        let mut group: Vec<(usize, Piece)> = Vec::new();
        let mut last_ns = i64::MIN;
        for (order, piece) in by_time {
            if !group.is_empty() && piece.time().first_ns > last_ns {
                units.push(Self::of(stream, std::mem::take(&mut group)));
            }
            last_ns = if group.is_empty() { piece.time().last_ns } else { last_ns.max(piece.time().last_ns) };
            group.push((order, piece));
        }
        if !group.is_empty() {
            units.push(Self::of(stream, group));
        }
    }

    fn of(stream: &Arc<Stream>, mut group: Vec<(usize, Piece)>) -> Self {
        group.sort_by_key(|(order, _)| *order);
        let pieces: Vec<Piece> = group.into_iter().map(|(_, piece)| piece).collect();
        let time = TimeRange {
            first_ns: pieces.iter().map(|piece| piece.time().first_ns).min().unwrap_or(i64::MAX),
            last_ns: pieces.iter().map(|piece| piece.time().last_ns).max().unwrap_or(i64::MIN),
        };
        let rows = pieces.iter().map(Piece::rows).sum();
        let bytes = pieces.iter().map(Piece::line_bytes).sum();
        Self { stream: stream.clone(), time, rows, bytes, pieces }
    }

    /// The exact figures, if they are known without opening anything: `range` covers the unit, and no row can be a
    /// duplicate. Only for requests without filters.
    pub fn counts(&self, range: TimeRange) -> Option<UnitCounts> {
        match &self.pieces[..] {
            // Rows of a memtable may be duplicates.
            [Piece::Mem(_)] | [] | [_, _, ..] => {
                let _ = range;
                None
            }
        }
    }

    /// Starts reading. Blocking: reads files and decompresses, on the caller's thread.
    ///
    /// # Errors
    /// When a piece cannot be read or is damaged.
    pub fn open(&self, request: &ScanRequest, direction: Direction) -> Result<Scan> {
        let is_wanted = |(_, piece): &(usize, Piece)| piece.time().overlaps(&request.range);
        let mut waiting: Vec<(usize, Piece)> = self.pieces.iter().cloned().enumerate().filter(is_wanted).collect();
        // The next one to open is the last.
        match direction {
            Direction::Forward => waiting.sort_by_key(|(_, piece)| std::cmp::Reverse(piece.time().first_ns)),
            Direction::Backward => waiting.sort_by_key(|(_, piece)| piece.time().last_ns),
        }
        let line_bytes = usize::try_from(self.bytes / self.rows.max(1)).unwrap_or(usize::MAX).max(1);
        Ok(Scan {
            request: request.clone(),
            direction,
            chunk_rows: (CHUNK_LINE_BYTES / line_bytes).clamp(16, CHUNK_ROWS_MAX),
            waiting,
            open: Vec::new(),
            window: Vec::new(),
            scratch: Rows::default(),
        })
    }
}

/// A row in a window: its timestamp, the run, the position in the run.
type Pick = (i64, usize, u32);

/// The rows of a unit, chunk by chunk.
pub struct Scan {
    request: ScanRequest,
    direction: Direction,
    chunk_rows: usize,
    /// Pieces not yet opened, with their place in arrival order; the next one is the last.
    waiting: Vec<(usize, Piece)>,
    /// Opened pieces that have rows left or in the window, by place in arrival order.
    open: Vec<(usize, Run)>,
    /// Rows ready to be handed out, ascending by time; equal timestamps in arrival order.
    window: Vec<Pick>,
    scratch: Rows,
}

impl Scan {
    /// Replaces `rows` by the next chunk; false when there is none. Chunks come in the asked direction; rows in a chunk
    /// ascend in time; rows with equal timestamps are in arrival order, also across chunks.
    ///
    /// # Errors
    /// When a piece cannot be read or is damaged.
    pub fn next(&mut self, rows: &mut Rows) -> Result<bool> {
        rows.clear();
        while self.window.is_empty() {
            if !self.fill_window()? {
                return Ok(false);
            }
        }
        let chunk: Vec<Pick> = match self.direction {
            Direction::Forward => self.window.drain(..self.chunk_rows.min(self.window.len())).collect(),
            Direction::Backward => self.window.split_off(self.window.len().saturating_sub(self.chunk_rows)),
        };
        self.render(&chunk, rows)?;
        Ok(true)
    }

    /// Opens what comes next, and takes all rows that no unopened piece can precede. False when nothing is left.
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
            let window = match (self.direction, bound) {
                (_, None) => TimeRange::ALL,
                (Direction::Forward, Some(bound)) => TimeRange { first_ns: i64::MIN, last_ns: bound.first_ns - 1 },
                (Direction::Backward, Some(bound)) => TimeRange { first_ns: bound.last_ns + 1, last_ns: i64::MAX },
            };
            let mut sources = 0;
            for (idx, (_, run)) in self.open.iter_mut().enumerate() {
                let before = self.window.len();
                run.take(window, |timestamp, position| self.window.push((timestamp, idx, position)));
                sources += usize::from(self.window.len() > before);
            }
            if sources > 1 {
                self.window.sort_unstable();
            }
            if sources > 1 || self.open.iter().any(|(_, run)| run.may_have_duplicates()) {
                self.drop_duplicates()?;
            }
            return Ok(true);
        }
    }

    /// Of equal rows the first to arrive stays.
    fn drop_duplicates(&mut self) -> Result<()> {
        if !self.window.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Ok(());
        }
        let window = std::mem::take(&mut self.window);
        let mut kept = Vec::with_capacity(window.len());
        let mut seen = hashbrown::HashSet::new();
        for group in window.chunk_by(|a, b| a.0 == b.0) {
            if let [single] = group {
                kept.push(*single);
                continue;
            }
            seen.clear();
            for &(timestamp, idx, position) in group {
                self.scratch.clear();
                let run = &self.open[idx].1;
                run.render(&[position], true, true, &mut self.scratch)?;
                let row = &self.scratch;
                let key = (row.line(0).to_vec(), row.metadata.get(row.metadata_ids[0]).clone());
                if seen.insert(key) {
                    kept.push((timestamp, idx, position));
                }
            }
        }
        self.window = kept;
        Ok(())
    }

    fn render(&self, chunk: &[Pick], rows: &mut Rows) -> Result<()> {
        let mut positions = Vec::new();
        // Neighbours from one run are rendered together.
        for same in chunk.chunk_by(|a, b| a.1 == b.1) {
            positions.clear();
            positions.extend(same.iter().map(|pick| pick.2));
            let run = &self.open[same[0].1].1;
            run.render(&positions, self.request.need_lines, self.request.need_metadata, rows)?;
        }
        Ok(())
    }
}
