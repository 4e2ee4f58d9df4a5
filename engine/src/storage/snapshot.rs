//! What one tenant has at one moment, for one query.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pending::CompiledLineFilter;
use logstack_logql::matcher::CompiledMatcher;
use roaring::RoaringBitmap;

use super::error::Result;
use super::memtable::MemTenant;
use super::scan::{Piece, ScanUnit};
use super::streams::{StreamNo, TenantStreams};
use super::view::View;
use crate::model::{Stream, TenantId, TimeRange};

/// What to read.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// All hold on the labels of the stream.
    pub matchers: Vec<CompiledMatcher>,
    /// Rows outside are not returned.
    pub range: TimeRange,
    /// All match the line; rows on which one does not are not returned.
    pub filters: Vec<Arc<CompiledLineFilter>>,
    /// Lines are wanted; without, all lines in the answer are empty.
    pub need_lines: bool,
    /// Structured metadata is wanted; without, all rows have the empty set.
    pub need_metadata: bool,
}

impl Default for ScanRequest {
    /// Everything of everything.
    fn default() -> Self {
        let (matchers, filters) = Default::default();
        Self { matchers, range: TimeRange::ALL, filters, need_lines: true, need_metadata: true }
    }
}

/// An immutable view on a tenant's data. Flushes and merges go on; their inputs stay readable as long as this lives.
#[derive(Clone)]
pub struct Snapshot {
    streams: Option<Arc<TenantStreams>>,
    memtables: Vec<Arc<MemTenant>>,
}

impl Snapshot {
    pub(super) fn new(view: &View, streams: Option<Arc<TenantStreams>>, tenant: &TenantId) -> Self {
        let memtables = view.memtables.iter().filter_map(|memtable| memtable.tenant(tenant)).collect();
        Self { streams, memtables }
    }

    /// The streams on which all `matchers` hold and that have a row in `range`, by label text.
    ///
    /// # Errors
    /// When a block must be opened to tell, and cannot be read.
    pub fn streams(&self, matchers: &[CompiledMatcher], range: TimeRange) -> Result<Vec<Arc<Stream>>> {
        let Some(tenant) = &self.streams else { return Ok(Vec::new()) };
        let present = self.present(matchers, range)?;
        let mut found: Vec<_> =
            tenant.read(|index| present.iter().filter_map(|number| index.stream(number).cloned()).collect());
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// Names of the labels of [`Self::streams`], sorted.
    ///
    /// # Errors
    /// As [`Self::streams`].
    pub fn label_names(&self, matchers: &[CompiledMatcher], range: TimeRange) -> Result<Vec<String>> {
        let Some(tenant) = &self.streams else { return Ok(Vec::new()) };
        let present = self.present(matchers, range)?;
        Ok(tenant.read(|index| index.names(&present)))
    }

    /// Values of label `name` on [`Self::streams`], sorted.
    ///
    /// # Errors
    /// As [`Self::streams`].
    pub fn label_values(&self, name: &str, matchers: &[CompiledMatcher], range: TimeRange) -> Result<Vec<String>> {
        let Some(tenant) = &self.streams else { return Ok(Vec::new()) };
        let present = self.present(matchers, range)?;
        Ok(tenant.read(|index| index.values(name, &present)))
    }

    /// What has to be opened to answer `request`, by stream and time. Units of one stream do not overlap: rows of one
    /// stream with equal timestamps lie in one unit.
    ///
    /// # Errors
    /// None today; a filter that is read from disk may fail.
    pub fn plan(&self, request: &ScanRequest) -> Result<Vec<ScanUnit>> {
        let Some(tenant) = &self.streams else { return Ok(Vec::new()) };
        if request.range.first_ns > request.range.last_ns {
            return Ok(Vec::new());
        }
        let selected = tenant.read(|index| index.select(&request.matchers));
        let mut by_stream: BTreeMap<StreamNo, (Arc<Stream>, Vec<Piece>)> = BTreeMap::new();
        let mut pieces = Vec::new();
        for memtable in &self.memtables {
            for source in memtable.streams() {
                if !selected.contains(source.number) {
                    continue;
                }
                source.pieces(request.range, &mut pieces);
                if !pieces.is_empty() {
                    let entry = by_stream.entry(source.number).or_insert_with(|| (source.stream.clone(), Vec::new()));
                    entry.1.extend(pieces.drain(..).map(Piece::Mem));
                }
            }
        }
        let mut units = Vec::new();
        for (stream, pieces) in by_stream.into_values() {
            ScanUnit::group(&stream, pieces, &mut units);
        }
        Ok(units)
    }

    /// Streams on which `matchers` hold and that have a row in `range`.
    fn present(&self, matchers: &[CompiledMatcher], range: TimeRange) -> Result<RoaringBitmap> {
        let Some(tenant) = &self.streams else { return Ok(RoaringBitmap::new()) };
        let selected = tenant.read(|index| index.select(matchers));
        let mut present = RoaringBitmap::new();
        for memtable in &self.memtables {
            for source in memtable.streams() {
                let number = source.number;
                if selected.contains(number) && !present.contains(number) && source.has_rows_in(range) {
                    present.insert(number);
                }
            }
        }
        Ok(present)
    }
}
