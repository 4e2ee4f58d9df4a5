//! What one tenant has at one moment, for one query.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use logstack_logql::line_filter::CompiledLineFilter;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::pipeline::FieldTest;
use roaring::RoaringBitmap;

use super::codec::{LineSearch, PartSearch, RowSet};
use super::deletes::Deletion;
use super::error::Result;
use super::memtable::MemTenant;
use super::part::{Caches, Part, PartStream, PartTenant};
use super::retention::Retention;
use super::scan::{BlockPiece, Piece, ScanUnit};
use super::streams::{StreamNo, TenantStreams};
use super::view::View;
use crate::model::{MetadataSet, Stream, TenantId, TimeRange};

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
    /// Rows with a metadata set that does not pass are not returned; their lines are not even rebuilt.
    pub metadata_filter: Option<MetadataFilter>,
    /// Rows that it drops for certain may be left out before their lines are rebuilt.
    pub field_test: Option<Arc<FieldTest>>,
    /// Rows of the first chunk, at most, for callers that may stop after it; each further chunk may have twice as many.
    /// 0: no such caller.
    pub first_chunk_rows: usize,
}

/// Says whether rows with a metadata set are wanted. Asked about once a set and block.
#[derive(Clone)]
pub struct MetadataFilter(Arc<dyn Fn(&MetadataSet) -> bool + Send + Sync>);

impl MetadataFilter {
    /// Rows with the sets for which `passes` is true.
    pub fn new(passes: impl Fn(&MetadataSet) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(passes))
    }

    /// True when rows with `set` are wanted.
    pub fn passes(&self, set: &MetadataSet) -> bool {
        (self.0)(set)
    }
}

impl fmt::Debug for MetadataFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetadataFilter")
    }
}

impl Default for ScanRequest {
    /// Everything of everything.
    fn default() -> Self {
        let (matchers, filters) = Default::default();
        Self {
            matchers,
            range: TimeRange::ALL,
            filters,
            need_lines: true,
            need_metadata: true,
            metadata_filter: None,
            field_test: None,
            first_chunk_rows: 0,
        }
    }
}

/// An immutable view on a tenant's data. Flushes and merges go on; their inputs stay readable as long as this lives.
#[derive(Clone)]
pub struct Snapshot {
    tenant: TenantId,
    streams: Option<Arc<TenantStreams>>,
    memtables: Vec<Arc<MemTenant>>,
    /// By day, then by age.
    parts: Vec<Arc<Part>>,
    caches: Arc<Caches>,
    hidden: Hidden,
}

/// What is stored and not to be seen.
#[derive(Clone)]
pub(super) struct Hidden {
    pub retention: Arc<Retention>,
    pub deletions: Vec<Arc<Deletion>>,
    pub now_ns: i64,
}

/// The pieces of each selected stream, in arrival order.
type Pieces = BTreeMap<StreamNo, (Arc<Stream>, Vec<Piece>)>;

impl Snapshot {
    pub(super) fn new(
        view: &View,
        streams: Option<Arc<TenantStreams>>,
        tenant: &TenantId,
        caches: &Arc<Caches>,
        hidden: Hidden,
    ) -> Self {
        let memtables = view.memtables.iter().filter_map(|memtable| memtable.tenant(tenant)).collect();
        let parts = view.parts.iter().filter(|part| part.tenant(tenant).is_some()).cloned().collect();
        Self { tenant: tenant.clone(), streams, memtables, parts, caches: caches.clone(), hidden }
    }

    /// The streams on which all `matchers` hold and that have a row in `range`, by labels.
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
    /// stream with equal timestamps lie in one unit. Blocking if there are filters: reads a few kilobytes a part.
    ///
    /// # Errors
    /// When what a part says about its blocks cannot be read.
    pub fn plan(&self, request: &ScanRequest) -> Result<Vec<ScanUnit>> {
        let Some(tenant) = &self.streams else { return Ok(Vec::new()) };
        if request.range.first_ns > request.range.last_ns {
            return Ok(Vec::new());
        }
        let selected = tenant.read(|index| index.select(&request.matchers));
        let search = (!request.filters.is_empty()).then(|| LineSearch::new(request.filters.iter().cloned()));
        let mut found = Pieces::new();
        for (part, own) in self.parts_in(request.range) {
            self.plan_part(part, own, &selected, request.range, search.as_ref(), &mut found)?;
        }
        let mut pieces = Vec::new();
        for memtable in &self.memtables {
            for source in memtable.streams() {
                if !selected.contains(source.number) {
                    continue;
                }
                source.pieces(self.kept(&source.stream, request.range), &mut pieces);
                if !pieces.is_empty() {
                    let entry = found.entry(source.number).or_insert_with(|| (source.stream.clone(), Vec::new()));
                    entry.1.extend(pieces.drain(..).map(Piece::Mem));
                }
            }
        }
        let mut units = Vec::new();
        for (stream, pieces) in found.into_values() {
            let keep_from_ns = self.kept(&stream, request.range).first_ns;
            let first_new = units.len();
            ScanUnit::group(&stream, keep_from_ns, pieces, &mut units);
            units[first_new..].iter_mut().for_each(|unit| unit.hide(&self.hidden.deletions));
        }
        Ok(units)
    }

    fn plan_part(
        &self,
        part: &Arc<Part>,
        own: &PartTenant,
        selected: &RoaringBitmap,
        range: TimeRange,
        search: Option<&LineSearch>,
        found: &mut Pieces,
    ) -> Result<()> {
        if selected.is_disjoint(&own.streams) {
            return Ok(());
        }
        let mut prepared = None;
        let mut candidates = None;
        if let Some(search) = search {
            let detail = part.detail(&self.caches)?;
            let prepared = prepared.insert(Arc::new(PartSearch::new(search, &detail.dict)));
            let candidates = candidates.insert(RowSet::empty(part.blocks().len()));
            part.each_stream(own, selected, |stream| {
                candidates.insert_range(part.blocks_in(stream, self.kept(&stream.stream, range)));
            });
            let source = part.filter_rows(&self.caches);
            let pruned = detail.filter.prune(prepared, &detail.metas, &source, candidates);
            // Filters only save work: what they would have excluded is read, until a merge has written them anew.
            pruned
                .map_err(|err| part.codec_error(err))
                .or_else(|err| if err.is_damage() { Ok(()) } else { Err(err) })?;
        }
        part.each_stream(own, selected, |stream| {
            for idx in part.blocks_in(stream, self.kept(&stream.stream, range)) {
                if candidates.as_ref().is_some_and(|candidates| !candidates.contains(idx)) {
                    continue;
                }
                let entry = found.entry(stream.number).or_insert_with(|| (stream.stream.clone(), Vec::new()));
                let (part, caches, search) = (part.clone(), self.caches.clone(), prepared.clone());
                entry.1.push(Piece::Block(BlockPiece { part, idx, caches, search }));
            }
        });
        Ok(())
    }

    /// What of `range` the stream's retention leaves.
    fn kept(&self, stream: &Stream, range: TimeRange) -> TimeRange {
        if range.first_ns >= self.hidden.retention.latest_cutoff_ns(self.hidden.now_ns) {
            return range;
        }
        let cutoff_ns = self.hidden.retention.cutoff_ns(&stream.tenant, &stream.labels, self.hidden.now_ns);
        TimeRange { first_ns: range.first_ns.max(cutoff_ns), ..range }
    }

    /// Parts of the tenant that reach into `range`.
    fn parts_in(&self, range: TimeRange) -> impl Iterator<Item = (&Arc<Part>, &PartTenant)> {
        self.parts
            .iter()
            .filter_map(|part| Some((part, part.tenant(&self.tenant)?)))
            .filter(move |(_, own)| own.time.overlaps(&range) && range.first_ns <= range.last_ns)
    }

    /// Streams on which `matchers` hold and that have a row in `range`.
    fn present(&self, matchers: &[CompiledMatcher], range: TimeRange) -> Result<RoaringBitmap> {
        let Some(tenant) = &self.streams else { return Ok(RoaringBitmap::new()) };
        let selected = tenant.read(|index| index.select(matchers));
        let mut present = RoaringBitmap::new();
        let latest_cutoff_ns = self.hidden.retention.latest_cutoff_ns(self.hidden.now_ns);
        for (_, own) in self.parts_in(range) {
            if range.covers(&own.time) && latest_cutoff_ns <= own.time.first_ns {
                present |= &selected & &own.streams;
            }
        }
        for memtable in &self.memtables {
            for source in memtable.streams() {
                let number = source.number;
                if selected.contains(number)
                    && !present.contains(number)
                    && source.has_rows_in(self.kept(&source.stream, range))
                {
                    present.insert(number);
                }
            }
        }
        let mut missing = selected - &present;
        let mut unclear: Vec<(Arc<Part>, StreamNo, usize, TimeRange)> = Vec::new();
        for (part, own) in self.parts_in(range) {
            let mut clear = Vec::new();
            part.each_stream(own, &missing, |stream| match has_rows(part, stream, self.kept(&stream.stream, range)) {
                HasRows::Yes => clear.push(stream.number),
                HasRows::No => {}
                HasRows::Inside(idx, kept) => unclear.push((part.clone(), stream.number, idx, kept)),
            });
            for number in clear {
                present.insert(number);
                missing.remove(number);
            }
        }
        // Only the timestamps of a block tell whether one lies in a gap of all the others.
        for (part, number, idx, range) in unclear {
            if missing.contains(number) {
                let mut reader = part.block(idx, &self.caches)?;
                let timestamps = reader.timestamps().map_err(|err| part.codec_error(err))?;
                let start = timestamps.partition_point(|&timestamp| timestamp < range.first_ns);
                if timestamps.get(start).is_some_and(|&timestamp| timestamp <= range.last_ns) {
                    present.insert(number);
                    missing.remove(number);
                }
            }
        }
        Ok(present)
    }
}

enum HasRows {
    Yes,
    No,
    /// The range lies within this block, between its first and last row.
    Inside(usize, TimeRange),
}

fn has_rows(part: &Part, stream: &PartStream, range: TimeRange) -> HasRows {
    let mut inside = HasRows::No;
    for idx in part.blocks_in(stream, range) {
        let time = part.blocks()[idx].time;
        if range.contains(time.first_ns) || range.contains(time.last_ns) {
            return HasRows::Yes;
        }
        inside = HasRows::Inside(idx, range);
    }
    inside
}
