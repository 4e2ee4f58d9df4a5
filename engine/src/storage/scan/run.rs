//! One piece, opened: the rows that the request asks for, by time.

use std::sync::Arc;

pub(super) use super::super::codec::Wanted;
use super::super::codec::{BlockReader, RowSet};
use super::super::error::Result;
use super::super::memtable::Chunk;
use super::super::part::{Part, PartBlock};
use super::super::snapshot::ScanRequest;
use super::{BlockPiece, Piece};
use crate::model::{Rows, TimeRange};

/// See the module. Rows are addressed by position: their place among the selected ones, sorted by time.
pub struct Run {
    source: Source,
    /// Of the selected rows, ascending.
    timestamps: Vec<i64>,
    /// The row in the source, for each position.
    rows: Vec<u32>,
    /// Positions not yet taken.
    left: std::ops::Range<usize>,
}

enum Source {
    Mem(Arc<Chunk>),
    Block(Arc<Part>, Box<BlockReader<PartBlock>>),
}

impl Run {
    /// Opens `piece` and selects its rows.
    pub fn open(piece: &Piece, request: &ScanRequest) -> Result<Self> {
        match piece {
            Piece::Mem(piece) => {
                let (chunk, len) = piece.open();
                Ok(Self::of_chunk(chunk, len, request))
            }
            Piece::Block(piece) => Self::of_block(piece, request),
        }
    }

    fn of_chunk(chunk: Arc<Chunk>, len: usize, request: &ScanRequest) -> Self {
        let timestamps = &chunk.timestamps()[..len];
        let is_selected = |&row: &u32| {
            request.range.contains(timestamps[row as usize])
                && request.filters.iter().all(|filter| filter.matches(chunk.line(row as usize)))
        };
        let mut rows: Vec<u32> = (0..len as u32).filter(is_selected).collect();
        if !chunk.is_sorted() {
            // Stable: arrival order within a timestamp.
            rows.sort_by_key(|&row| timestamps[row as usize]);
        }
        let timestamps: Vec<i64> = rows.iter().map(|&row| timestamps[row as usize]).collect();
        Self { left: 0..rows.len(), timestamps, rows, source: Source::Mem(chunk) }
    }

    fn of_block(piece: &BlockPiece, request: &ScanRequest) -> Result<Self> {
        let part = &piece.part;
        let mut reader = part.block(piece.idx, &piece.caches)?;
        let len = reader.rows();
        let mut set = if request.range.covers(&part.blocks()[piece.idx].time) {
            RowSet::full(len)
        } else {
            let timestamps = reader.timestamps().map_err(|err| part.codec_error(err))?;
            let start = timestamps.partition_point(|&timestamp| timestamp < request.range.first_ns);
            let end = timestamps.partition_point(|&timestamp| timestamp <= request.range.last_ns);
            RowSet::range(len, start..end.max(start))
        };
        if let Some(search) = &piece.search {
            reader.select(search, &mut set).map_err(|err| part.codec_error(err))?;
        }
        let rows: Vec<u32> = set.iter().map(|row| row as u32).collect();
        let timestamps = if rows.is_empty() {
            Vec::new()
        } else {
            let all = reader.timestamps().map_err(|err| part.codec_error(err))?;
            rows.iter().map(|&row| all[row as usize]).collect()
        };
        let source = Source::Block(part.clone(), Box::new(reader));
        Ok(Self { left: 0..rows.len(), timestamps, rows, source })
    }

    /// Everything was taken.
    pub fn is_exhausted(&self) -> bool {
        self.left.is_empty()
    }

    /// The first timestamp not yet taken.
    pub fn first(&self) -> Option<i64> {
        self.timestamps[self.left.clone()].first().copied()
    }

    /// The last timestamp not yet taken.
    pub fn last(&self) -> Option<i64> {
        self.timestamps[self.left.clone()].last().copied()
    }

    /// Blocks are written without duplicates; what is in a memtable is as it came.
    pub fn may_have_duplicates(&self) -> bool {
        match self.source {
            Source::Mem(_) => true,
            Source::Block(..) => false,
        }
    }

    /// Takes the rows in `window`, which reaches to the end of what is left on one side.
    pub fn take(&mut self, window: TimeRange, mut taken: impl FnMut(i64, u32)) {
        let left = &self.timestamps[self.left.clone()];
        let start = self.left.start + left.partition_point(|&timestamp| timestamp < window.first_ns);
        let end = self.left.start + left.partition_point(|&timestamp| timestamp <= window.last_ns);
        for position in start..end {
            taken(self.timestamps[position], position as u32);
        }
        debug_assert!(start == self.left.start || end == self.left.end, "a window leaves one side");
        self.left = if start == self.left.start { end..self.left.end } else { self.left.start..start };
    }

    /// Appends the rows at `positions`, which ascend, to `out`.
    pub fn render(&mut self, positions: &[u32], wanted: Wanted, out: &mut Rows) -> Result<()> {
        match &mut self.source {
            Source::Mem(chunk) => {
                let mut previous = (0, 0);
                for &position in positions {
                    let row = self.rows[position as usize] as usize;
                    let mut metadata_id = 0;
                    if wanted.metadata {
                        let id = chunk.metadata_id(row);
                        if id != previous.0 {
                            previous = (id, out.metadata.intern(chunk.metadata_set(id).clone()));
                        }
                        metadata_id = previous.1;
                    }
                    let line: &[u8] = if wanted.lines { chunk.line(row) } else { b"" };
                    out.push(self.timestamps[position as usize], line, metadata_id);
                }
                Ok(())
            }
            Source::Block(part, reader) => {
                let mut set = RowSet::empty(reader.rows());
                for &position in positions {
                    set.insert(self.rows[position as usize] as usize);
                }
                reader.render(&set, wanted, out).map_err(|err| part.codec_error(err))
            }
        }
    }
}
