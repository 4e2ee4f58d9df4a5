//! From the bytes of a block to the rows that a query wants.

use std::sync::Arc;

use logstack_logql::pipeline::FieldTest;

use super::dict::TemplateDict;
use super::error::{Result, damaged};
use super::lines::decode::{Loader, TemplateLines};
use super::meta::BlockMeta;
use super::plain::PlainLines;
use super::rowset::RowSet;
use super::search::PartSearch;
use super::search::block::BlockSearch;
use super::search::fields;
use super::section::{BlockSource, SectionKind, read_section};
use super::{metadata, timestamps};
use crate::model::{MetadataSet, Rows};

/// Which columns [`BlockReader::render`] fills; timestamps always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Lines; without them they come out empty.
    pub lines: bool,
    /// Structured metadata; without it every row has the empty set.
    pub metadata: bool,
}

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self { lines: true, metadata: true };
}

/// What a reader has of its block. Owned by the reader, so that a scan can keep readers along with the part.
pub trait Block {
    /// Where the columns are.
    fn meta(&self) -> &BlockMeta;
    /// The templates of the block's part.
    fn dict(&self) -> &TemplateDict;
    /// The block's bytes.
    fn source(&self) -> &dyn BlockSource;
}

/// A block whose part is borrowed.
#[derive(Clone, Copy)]
pub struct BorrowedBlock<'a> {
    /// Where the columns are.
    pub meta: &'a BlockMeta,
    /// The templates of the block's part.
    pub dict: &'a TemplateDict,
    /// The block's bytes.
    pub source: &'a dyn BlockSource,
}

impl Block for BorrowedBlock<'_> {
    fn meta(&self) -> &BlockMeta {
        self.meta
    }

    fn dict(&self) -> &TemplateDict {
        self.dict
    }

    fn source(&self) -> &dyn BlockSource {
        self.source
    }
}

/// One row of so many is few: a chunk of a large block that is read from end to end is more.
const FEW_ROWS: usize = 64;

/// Reads one block. Fetches and unpacks a column when it is first asked for, and keeps it until dropped.
pub struct BlockReader<B> {
    block: B,
    timestamps: Option<Arc<Vec<i64>>>,
    lines: Option<Lines>,
    metadata: Option<Metadata>,
}

enum Lines {
    Plain(PlainLines),
    Templates(Box<TemplateLines>),
}

struct Metadata {
    sets: Vec<MetadataSet>,
    /// Of all rows; empty until they are worth it.
    ids: Vec<u32>,
}

impl<'a> BlockReader<BorrowedBlock<'a>> {
    /// A reader of the block that `meta` describes, in the part with the templates of `dict`; reads nothing yet.
    pub fn new(meta: &'a BlockMeta, dict: &'a TemplateDict, source: &'a dyn BlockSource) -> Self {
        Self::of(BorrowedBlock { meta, dict, source })
    }
}

impl<B: Block> BlockReader<B> {
    /// A reader of `block`; reads nothing yet.
    pub fn of(block: B) -> Self {
        Self { block, timestamps: None, lines: None, metadata: None }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.block.meta().rows as usize
    }

    /// Timestamps of all rows, ascending.
    ///
    /// # Errors
    /// When reading fails or what is read is damaged; so do all methods below.
    pub fn timestamps(&mut self) -> Result<&[i64]> {
        if self.timestamps.is_none() {
            self.timestamps = Some(decode_timestamps(self.loader())?);
        }
        Ok(self.timestamps.as_deref().map_or(&[], Vec::as_slice))
    }

    /// As [`Self::timestamps`], to be kept.
    pub fn shared_timestamps(&mut self) -> Result<Arc<Vec<i64>>> {
        self.timestamps()?;
        Ok(self.timestamps.clone().unwrap_or_default())
    }

    fn loader(&self) -> Loader<'_> {
        Loader { meta: self.block.meta(), source: self.block.source() }
    }

    /// Removes from `rows` those whose lines do not pass the filters.
    pub fn select(&mut self, search: &PartSearch, rows: &mut RowSet) -> Result<()> {
        if search.matches_all() || rows.is_empty() {
            return Ok(());
        }
        if search.passes_nothing() {
            rows.clear();
            return Ok(());
        }
        self.lines()?;
        let Self { block, timestamps, lines, .. } = self;
        let mut open = None;
        if let Some(Lines::Templates(lines)) = lines {
            let loader = Loader { meta: block.meta(), source: block.source() };
            let mut get_timestamps = || match timestamps {
                Some(timestamps) => Ok(timestamps.clone()),
                None => Ok(timestamps.insert(decode_timestamps(loader)?).clone()),
            };
            let mut scope = BlockSearch { loader, dict: block.dict(), timestamps: &mut get_timestamps };
            let left = search.narrow(lines, &mut scope, rows)?;
            if left.is_empty() {
                return Ok(());
            }
            open = Some(left);
        }
        let candidates = rows.clone();
        self.for_each_line(&candidates, &mut |row, line| {
            let passes = match &open {
                Some(open) => search.passes(open, line),
                None => search.matches(line),
            };
            if !passes {
                rows.remove(row);
            }
        })
    }

    /// Removes from `rows` those whose lines `test` drops for certain, as far as that can be told without their lines.
    pub fn select_fields(&mut self, test: &FieldTest, rows: &mut RowSet) -> Result<()> {
        if rows.is_empty() || self.is_plain() || self.has_metadata(&[test.label()])? {
            return Ok(());
        }
        self.lines()?;
        let Self { block, lines, .. } = self;
        let Some(Lines::Templates(lines)) = lines else { return Ok(()) };
        let loader = Loader { meta: block.meta(), source: block.source() };
        fields::narrow(test, lines, block.dict(), &loader, rows)
    }

    /// Removes from `rows` those for whose metadata set `keep` is false; asked once a set.
    pub fn select_metadata(&mut self, keep: &mut dyn FnMut(&MetadataSet) -> bool, rows: &mut RowSet) -> Result<()> {
        let kept: Vec<bool> = self.metadata()?.sets.iter().map(keep).collect();
        let ids = self.metadata_ids(rows)?;
        if ids.is_empty() {
            if !kept[0] {
                rows.clear();
            }
            return Ok(());
        }
        let mut ids = ids.iter();
        rows.retain(|_| ids.next().is_some_and(|&id| kept[id as usize]));
        Ok(())
    }

    /// True when some row's metadata has one of these names.
    pub fn has_metadata(&mut self, names: &[&str]) -> Result<bool> {
        let Some(section) = self.block.meta().sections(SectionKind::MetadataSets).next() else { return Ok(false) };
        let sets = metadata::decode_sets(&read_section(self.block.source(), section)?)?;
        Ok(sets.iter().any(|set| set.iter().any(|(name, _)| names.contains(&name.as_ref()))))
    }

    /// Replaces `out` by the lengths of the lines of `rows`, in order, without rendering them.
    pub fn line_lengths(&mut self, rows: &RowSet, out: &mut Vec<u32>) -> Result<()> {
        out.clear();
        if self.lines.is_none() && self.is_plain() {
            let ends = PlainLines::read_ends(self.block.meta(), self.block.source())?;
            out.extend(rows.iter().map(|row| ends[row] - if row == 0 { 0 } else { ends[row - 1] }));
            return Ok(());
        }
        self.for_each_line(rows, &mut |_, line| out.push(line.len() as u32))
    }

    /// Appends `rows` to `out`, ascending. Metadata sets are interned in `out`.
    pub fn render(&mut self, rows: &RowSet, wanted: Wanted, out: &mut Rows) -> Result<()> {
        self.timestamps()?;
        let ids = if wanted.metadata { self.metadata_ids(rows)? } else { Vec::new() };
        if wanted.lines {
            let (bytes, ends) = (&mut out.bytes, &mut out.ends);
            self.for_each_line(rows, &mut |_, line| {
                bytes.extend_from_slice(line);
                ends.push(bytes.len() as u32);
            })?;
        } else {
            out.ends.resize(out.ends.len() + rows.count(), out.bytes.len() as u32);
        }
        let timestamps = self.timestamps.as_deref().map_or(&[][..], Vec::as_slice);
        out.timestamps.extend(rows.iter().map(|row| timestamps[row]));
        let Some(metadata) = self.metadata.as_ref().filter(|_| !ids.is_empty()) else {
            out.metadata_ids.resize(out.timestamps.len(), 0);
            return Ok(());
        };
        // Ids of this block to ids of `out`; 0 is the empty set in both.
        let mut interned = vec![0; metadata.sets.len()];
        for id in ids {
            let id = id as usize;
            if id != 0 && interned[id] == 0 {
                interned[id] = out.metadata.intern(metadata.sets[id].clone());
            }
            out.metadata_ids.push(interned[id]);
        }
        Ok(())
    }

    fn is_plain(&self) -> bool {
        self.block.meta().is_plain()
    }

    /// Calls `each` with the rows of `rows`, ascending, and their lines.
    fn for_each_line(&mut self, rows: &RowSet, each: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        self.lines()?;
        if matches!(self.lines, Some(Lines::Templates(_))) {
            self.timestamps()?;
        }
        let loader = Loader { meta: self.block.meta(), source: self.block.source() };
        match &mut self.lines {
            Some(Lines::Plain(lines)) => {
                for row in rows.iter() {
                    each(row, lines.line(row));
                }
                Ok(())
            }
            Some(Lines::Templates(lines)) => {
                let timestamps = self.timestamps.as_deref().map_or(&[][..], Vec::as_slice);
                lines.render(rows, timestamps, self.block.dict(), &loader, each)
            }
            None => Err(damaged("lines are missing")),
        }
    }

    fn lines(&mut self) -> Result<&mut Lines> {
        if self.lines.is_none() {
            self.lines = Some(if self.is_plain() {
                Lines::Plain(PlainLines::read(self.block.meta(), self.block.source())?)
            } else {
                Lines::Templates(Box::new(TemplateLines::read(self.block.dict(), &self.loader())?))
            });
        }
        self.lines.as_mut().ok_or(damaged("lines are missing"))
    }

    fn metadata(&mut self) -> Result<&Metadata> {
        if self.metadata.is_none() {
            let sets = match self.block.meta().sections(SectionKind::MetadataSets).next() {
                Some(section) => metadata::decode_sets(&read_section(self.block.source(), section)?)?,
                None => vec![MetadataSet::new()],
            };
            let section = self.block.meta().sections(SectionKind::MetadataIds).next();
            let ids = match section {
                Some(section) => {
                    let bytes = read_section(self.block.source(), section)?;
                    metadata::decode_ids(section.encoding, &bytes, self.rows(), sets.len())?
                }
                None => Vec::new(),
            };
            if ids.iter().any(|&id| id as usize >= sets.len()) {
                return Err(damaged("metadata id has no set"));
            }
            self.metadata = Some(Metadata { sets, ids });
        }
        self.metadata.as_ref().ok_or(damaged("metadata is missing"))
    }

    /// Metadata ids of `rows`, ascending by row; empty: all are 0.
    fn metadata_ids(&mut self, rows: &RowSet) -> Result<Vec<u32>> {
        let metadata = self.metadata()?;
        let (sets, has_ids) = (metadata.sets.len(), !metadata.ids.is_empty());
        if !has_ids && sets > 1 && !self.is_plain() {
            self.lines()?;
            let Self { block, lines, metadata, .. } = self;
            let (Some(Lines::Templates(lines)), Some(metadata)) = (lines, metadata) else { return Ok(Vec::new()) };
            let loader = Loader { meta: block.meta(), source: block.source() };
            if !lines.has_metadata() {
                return Ok(Vec::new());
            }
            // Whoever reads many reads the block from end to end.
            if rows.count() <= rows.len() / FEW_ROWS {
                return lines.metadata_ids(rows, sets, &loader);
            }
            metadata.ids = lines.metadata_ids(&RowSet::full(rows.len()), sets, &loader)?;
        }
        let ids = &self.metadata()?.ids;
        Ok(if ids.is_empty() { Vec::new() } else { rows.iter().map(|row| ids[row]).collect() })
    }
}

fn decode_timestamps(loader: Loader<'_>) -> Result<Arc<Vec<i64>>> {
    let meta = loader.meta;
    let section = meta.sections(SectionKind::Timestamps).next().ok_or(damaged("timestamps are missing"))?;
    if let Some(timestamps) = loader.source.cached_timestamps(u64::from(section.offset)) {
        return Ok(timestamps);
    }
    let bytes = read_section(loader.source, section)?;
    let mut out = Vec::new();
    timestamps::decode(section.encoding, &bytes, meta.first_ns, meta.rows as usize, &mut out)?;
    if out.last() != Some(&meta.last_ns) || !out.is_sorted() {
        return Err(damaged("timestamps disagree with the block record"));
    }
    let timestamps = Arc::new(out);
    loader.source.cache_timestamps(u64::from(section.offset), &timestamps);
    Ok(timestamps)
}
