//! Figures of a unit without reading all of its rows.

use super::{Direction, Piece, ScanUnit, UnitCounts};
use crate::model::{Rows, TimeRange};
use crate::storage::error::{Error, Result};
use crate::storage::snapshot::ScanRequest;

impl ScanUnit {
    /// As [`Self::counts`], and also where blocks overlap: of the times that blocks share only the timestamps are read,
    /// and the rows of those that are in several, for there may be equal ones. `None` where rows must be read. Blocking;
    /// `check` is asked once a chunk whether to go on.
    ///
    /// # Errors
    /// When a block cannot be read, or that of `check`.
    pub fn count<E: From<Error>>(
        &self,
        request: &ScanRequest,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<UnitCounts>, E> {
        if let Some(counts) = self.counts(request.range) {
            return Ok(Some(counts));
        }
        let is_countable = request.filters.is_empty()
            && request.range.covers(&self.time)
            && self.keep_from_ns <= self.time.first_ns
            && self.deletions.is_empty()
            && self.pieces.iter().all(|piece| matches!(piece, Piece::Block(_)));
        if !is_countable {
            return Ok(None);
        }
        let mut counts = UnitCounts { rows: self.rows, line_bytes: self.bytes };
        for range in overlaps(self.pieces.iter().map(Piece::time).collect()) {
            let times = ScanRequest { range, need_lines: false, need_metadata: false, ..Default::default() };
            let mut scan = self.open(&times, Direction::Forward)?;
            let mut rows = Rows::default();
            while scan.next(&mut rows)? {
                check()?;
            }
            counts.rows -= scan.left_out().duplicates;
            counts.line_bytes -= scan.left_out().duplicate_line_bytes;
        }
        Ok(Some(counts))
    }

    /// True when no row has structured metadata of one of these names. Reads the metadata sets of blocks, not their
    /// rows. Blocking.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn lacks_metadata(&self, names: &[&str]) -> Result<bool> {
        for piece in &self.pieces {
            let Piece::Block(piece) = piece else { return Ok(false) };
            let mut reader = piece.part.block(piece.idx, &piece.caches)?;
            let has_one = reader.has_metadata(names).map_err(|err| piece.part.codec_error(err))?;
            if has_one {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The times at which two or more of `ranges` are, apart from each other, ascending.
fn overlaps(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_by_key(|range| range.first_ns);
    let mut shared: Vec<TimeRange> = Vec::new();
    let mut last_ns = None;
    for range in ranges {
        if let Some(before_ns) = last_ns.filter(|&before_ns| before_ns >= range.first_ns) {
            let end_ns = range.last_ns.min(before_ns);
            match shared.last_mut().filter(|other| other.last_ns >= range.first_ns) {
                Some(other) => other.last_ns = other.last_ns.max(end_ns),
                None => shared.push(TimeRange { first_ns: range.first_ns, last_ns: end_ns }),
            }
        }
        last_ns = last_ns.max(Some(range.last_ns));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_ranges_share() {
        #[track_caller]
        fn check(ranges: &[(i64, i64)], want: &[(i64, i64)]) {
            let ranges = ranges.iter().map(|&(first_ns, last_ns)| TimeRange { first_ns, last_ns }).collect();
            let shared: Vec<_> = overlaps(ranges).iter().map(|range| (range.first_ns, range.last_ns)).collect();
            assert_eq!(shared, want);
        }
        check(&[], &[]);
        check(&[(1, 5), (6, 9)], &[]);
        check(&[(1, 5), (5, 9)], &[(5, 5)]);
        check(&[(4, 9), (1, 5)], &[(4, 5)]);
        check(&[(1, 9), (2, 3), (5, 6)], &[(2, 3), (5, 6)]);
        check(&[(1, 9), (2, 5), (4, 7)], &[(2, 7)]);
        check(&[(1, 4), (1, 4), (1, 4)], &[(1, 4)]);
        check(&[(1, 9), (2, 20), (15, 30)], &[(2, 9), (15, 20)]);
    }
}
