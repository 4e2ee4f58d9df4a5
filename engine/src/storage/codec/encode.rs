//! From rows to the bytes of a block.

use super::copy::{Original, Renumbering, copy_block};
use super::dict::TemplateDict;
use super::error::{Error, Result};
use super::filter::{BlockFilter, FilterBuilder};
use super::lines::encode::{LinesEncoder, Output};
use super::meta::{BLOCK_LINE_BYTES_MAX, BLOCK_ROWS_MAX, BlockMeta};
use super::section::{SectionKind, SectionWriter};
use super::{metadata, plain, timestamps};
use crate::model::Rows;

/// How much work goes into a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Lines as they are: for rows that a background task encodes again within minutes.
    Quick,
    /// Templates and typed columns.
    Fresh,
    /// The same with larger blocks and stronger compression, for parts that stay.
    Settled,
}

impl Level {
    /// Sections below this are not worth a call of the compressor: of streams with a line now and then, blocks are made of
    /// such sections, and Quick ones are read once.
    fn least_packed_bytes(self) -> usize {
        match self {
            Self::Quick => 1024,
            Self::Fresh | Self::Settled => 48,
        }
    }

    fn pco(self) -> usize {
        match self {
            Self::Quick => 4,
            Self::Fresh | Self::Settled => 8,
        }
    }
}

/// What an encoded block leaves besides its bytes.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// For the part's block directory.
    pub meta: BlockMeta,
    /// For the part's filter index.
    pub filter: BlockFilter,
}

/// Encodes blocks, one after the other; keeps its buffers between them.
pub struct BlockEncoder {
    level: Level,
    writer: SectionWriter,
    lines: LinesEncoder,
    filter: FilterBuilder,
    raw: Vec<u8>,
    metadata_ids: Vec<u32>,
}

impl BlockEncoder {
    /// An encoder with empty buffers, that compresses with zstd level `zstd`.
    ///
    /// # Panics
    /// When zstd has no such level.
    pub fn new(level: Level, zstd: i32) -> Self {
        Self {
            level,
            writer: SectionWriter::new(zstd, level.least_packed_bytes()),
            lines: LinesEncoder::default(),
            filter: FilterBuilder::default(),
            raw: Vec::new(),
            metadata_ids: Vec::new(),
        }
    }

    /// Appends the block of `rows` to `out`: rows of one stream, ascending in time, at least one, at most
    /// [`BLOCK_ROWS_MAX`] with at most [`BLOCK_LINE_BYTES_MAX`] of lines unless there is a single row. New templates
    /// are added to `templates`, the dictionary of the part that the block will be in.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when rows or bytes are out of these bounds; `out` is then unchanged.
    pub fn encode(&mut self, rows: &Rows, templates: &mut TemplateDict, out: &mut Vec<u8>) -> Result<Encoded> {
        let too_large = rows.len() > BLOCK_ROWS_MAX || (rows.len() > 1 && rows.bytes.len() > BLOCK_LINE_BYTES_MAX);
        if rows.is_empty() || too_large {
            return Err(Error::TooLarge { rows: rows.len(), line_bytes: rows.bytes.len() });
        }
        debug_assert!(rows.timestamps.is_sorted(), "rows of a block ascend in time");
        let start = out.len();
        let mut sections = Vec::new();
        let mut output = Output { writer: &mut self.writer, block_start: start, out, sections: &mut sections };

        self.raw.clear();
        let encoding = timestamps::encode(&rows.timestamps, self.level.pco(), &mut self.raw);
        output.put(SectionKind::Timestamps, encoding, &self.raw);

        self.metadata_ids.clone_from(&rows.metadata_ids);
        self.raw.clear();
        let set_count = metadata::encode_sets(&rows.metadata, &mut self.metadata_ids, &mut self.raw);
        if set_count > 0 {
            output.put(SectionKind::MetadataSets, 0, &self.raw);
        }

        let mut filter = BlockFilter::default();
        let mut template_set = Box::default();
        if self.level == Level::Quick {
            plain::encode(&rows.ends, &rows.bytes, &mut output);
            if set_count > 0 {
                self.raw.clear();
                let encoding = metadata::encode_ids(&self.metadata_ids, set_count + 1, &mut self.raw);
                output.put(SectionKind::MetadataIds, encoding, &self.raw);
            }
        } else {
            let ids = (set_count > 0).then_some(&self.metadata_ids[..]);
            let used = self.lines.encode(rows, ids, templates, &mut output);
            template_set = used.to_bytes();
            let (text, packed) = self.lines.vocabularies();
            filter = self.filter.build(text, packed, &rows.bytes);
        }

        let meta = BlockMeta {
            rows: rows.len() as u32,
            first_ns: rows.timestamps[0],
            last_ns: rows.timestamps[rows.len() - 1],
            line_bytes: rows.bytes.len() as u64,
            sections,
            templates: template_set,
        };
        Ok(Encoded { meta, filter })
    }

    /// Appends a copy of a block of another part to `out`, as [`Self::encode`] would; `None` if its templates do not fit
    /// `templates` any more. `renumbering` is kept from block to block of that part.
    ///
    /// # Errors
    /// When the block is damaged; `out` is then unchanged.
    pub fn copy(
        &mut self,
        original: &Original<'_>,
        renumbering: &mut Renumbering,
        templates: &mut TemplateDict,
        out: &mut Vec<u8>,
    ) -> Result<Option<BlockMeta>> {
        copy_block(original, renumbering, templates, &mut self.writer, out)
    }
}
