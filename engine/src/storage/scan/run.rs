//! One piece, opened: the rows that the request asks for, by time.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

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
    timestamps: Arc<Vec<i64>>,
    /// The row in the source, for each position; `None` if that is the position.
    rows: Option<Vec<u32>>,
    /// Positions not yet taken.
    left: Range<usize>,
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
        let mut passed = HashMap::new();
        let mut has_wanted_metadata = |row: usize| match &request.metadata_filter {
            Some(filter) => {
                let id = chunk.metadata_id(row);
                *passed.entry(id).or_insert_with(|| filter.passes(chunk.metadata_set(id)))
            }
            None => true,
        };
        let is_selected = |&row: &u32| {
            request.range.contains(timestamps[row as usize])
                && has_wanted_metadata(row as usize)
                && request.filters.iter().all(|filter| filter.matches(chunk.line(row as usize)))
        };
        let is_everything =
            request.filters.is_empty() && request.metadata_filter.is_none() && request.range.covers(&chunk.time());
        if is_everything && chunk.is_sorted() {
            let timestamps = Arc::new(timestamps.to_vec());
            return Self { left: 0..len, timestamps, rows: None, source: Source::Mem(chunk) };
        }
        let mut rows: Vec<u32> = (0..len as u32).filter(is_selected).collect();
        if !chunk.is_sorted() {
            // Stable: arrival order within a timestamp.
            rows.sort_by_key(|&row| timestamps[row as usize]);
        }
        let timestamps = Arc::new(rows.iter().map(|&row| timestamps[row as usize]).collect::<Vec<i64>>());
        Self { left: 0..rows.len(), timestamps, rows: Some(rows), source: Source::Mem(chunk) }
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
        if let Some(filter) = &request.metadata_filter {
            let selected = reader.select_metadata(&mut |metadata| filter.passes(metadata), &mut set);
            selected.map_err(|err| part.codec_error(err))?;
        }
        if let Some(search) = &piece.search {
            reader.select(search, &mut set).map_err(|err| part.codec_error(err))?;
        }
        if let Some(test) = &request.field_test {
            reader.select_fields(test, &mut set).map_err(|err| part.codec_error(err))?;
        }
        let count = set.count();
        let (timestamps, rows) = if count == 0 {
            (Arc::default(), None)
        } else {
            let all = reader.shared_timestamps().map_err(|err| part.codec_error(err))?;
            if count == len {
                (all, None)
            } else {
                let timestamps = Arc::new(set.iter().map(|row| all[row]).collect());
                (timestamps, Some(set.iter().map(|row| row as u32).collect()))
            }
        };
        let source = Source::Block(part.clone(), Box::new(reader));
        Ok(Self { left: 0..count, timestamps, rows, source })
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

    /// Of the selected rows, ascending.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Blocks are written without duplicates; what is in a memtable is as it came.
    pub fn may_have_duplicates(&self) -> bool {
        match self.source {
            Source::Mem(_) => true,
            Source::Block(..) => false,
        }
    }

    /// It is certain that no two rows at these positions are equal.
    pub fn is_unique(&self, span: Range<usize>) -> bool {
        !self.may_have_duplicates() || self.timestamps[span].windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Takes the rows in `window`, which reaches to the end of what is left on one side. Returns their positions.
    pub fn take(&mut self, window: TimeRange) -> Range<usize> {
        let left = &self.timestamps[self.left.clone()];
        let start = self.left.start + left.partition_point(|&timestamp| timestamp < window.first_ns);
        let end = self.left.start + left.partition_point(|&timestamp| timestamp <= window.last_ns);
        debug_assert!(start == self.left.start || end == self.left.end, "a window leaves one side");
        self.left = if start == self.left.start { end..self.left.end } else { self.left.start..start };
        start..end
    }

    /// Appends the rows at `positions`, which ascend, to `out`.
    pub fn render(&mut self, positions: impl Iterator<Item = usize>, wanted: Wanted, out: &mut Rows) -> Result<()> {
        if !wanted.lines && !wanted.metadata {
            // Counting needs times only: they are here already.
            out.push_times(positions.map(|position| self.timestamps[position]));
            return Ok(());
        }
        let rows = self.rows.as_deref();
        let row_at = |position: usize| rows.map_or(position, |rows| rows[position] as usize);
        match &mut self.source {
            Source::Mem(chunk) => {
                let mut previous = (0, 0);
                for position in positions {
                    let row = row_at(position);
                    let mut metadata_id = 0;
                    if wanted.metadata {
                        let id = chunk.metadata_id(row);
                        if id != previous.0 {
                            previous = (id, out.metadata.intern(chunk.metadata_set(id).clone()));
                        }
                        metadata_id = previous.1;
                    }
                    let line: &[u8] = if wanted.lines { chunk.line(row) } else { b"" };
                    out.push(self.timestamps[position], line, metadata_id);
                }
                Ok(())
            }
            Source::Block(part, reader) => {
                let mut set = RowSet::empty(reader.rows());
                positions.for_each(|position| set.insert(row_at(position)));
                reader.render(&set, wanted, out).map_err(|err| part.codec_error(err))
            }
        }
    }
}
