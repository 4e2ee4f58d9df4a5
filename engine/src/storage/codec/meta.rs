//! What is known of a block without reading it: rows, times, bytes, and where its sections are.
//!
//! ```text
//! meta := version:u8 rows first_ns:zigzag span_ns line_bytes section_count section* template_bytes templates
//!         integers are LEB128; templates: the numbers of the block's templates, ascending, as differences, and behind
//!         them a 0 if the block has lines without a template
//! section := kind:u8 (packing | encoding << 4):u8 stored_bytes raw_bytes? checksum:u64le  raw_bytes unless stored
//! ```

use super::error::{Error, Result, damaged};
use super::section::{Section, SectionKind};
use crate::storage::wire::{Reader, put_bytes, put_varint, put_zigzag};

/// Most rows of a block.
pub const BLOCK_ROWS_MAX: usize = 128 << 10;
/// Most bytes of lines in a block of several rows; a single longer line has a block of its own.
pub const BLOCK_LINE_BYTES_MAX: usize = 64 << 20;
/// More sections than a block of largest size has.
const SECTIONS_MAX: usize = 4096;
const VERSION: u8 = 1;

/// The directory entry of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMeta {
    /// Number of rows, at least one.
    pub rows: u32,
    /// Timestamp of the first row.
    pub first_ns: i64,
    /// Timestamp of the last row.
    pub last_ns: i64,
    /// Sum of the lengths of the lines.
    pub line_bytes: u64,
    /// Where the columns are.
    pub sections: Vec<Section>,
    /// Which templates occur, as on disk: a block has hundreds, and a store many blocks.
    pub(crate) templates: Box<[u8]>,
}

/// The templates of a block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TemplateSet {
    /// Ascending.
    pub(crate) numbers: Vec<u32>,
    /// Some lines have no template, or none is known because the block is plain.
    pub(crate) has_plain_lines: bool,
}

impl TemplateSet {
    pub(crate) fn to_bytes(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(self.numbers.len() + 1);
        let mut next = 0;
        for &number in &self.numbers {
            // One more than the gap, so that 0 is free.
            put_varint(&mut out, u64::from(number - next) + 1);
            next = number + 1;
        }
        if self.has_plain_lines {
            out.push(0);
        }
        out.into()
    }
}

impl BlockMeta {
    /// Which templates occur.
    pub(crate) fn templates(&self) -> Result<TemplateSet> {
        let mut set = TemplateSet::default();
        let mut reader = Reader::new(&self.templates);
        let mut next = 0_u32;
        while !reader.rest().is_empty() {
            match reader.varint_u32()? {
                0 => set.has_plain_lines = true,
                gap => {
                    let number = next.checked_add(gap - 1).ok_or(damaged("template number is too large"))?;
                    set.numbers.push(number);
                    next = number.checked_add(1).ok_or(damaged("template number is too large"))?;
                }
            }
        }
        Ok(set)
    }

    /// Length of the block: what its sections take.
    pub fn stored_bytes(&self) -> u64 {
        self.sections.iter().map(|s| u64::from(s.stored_bytes)).sum()
    }

    /// Lines are kept as they are, without templates.
    pub(crate) fn is_plain(&self) -> bool {
        self.sections(SectionKind::LineLengths).next().is_some()
    }

    /// Sections of a kind, in order.
    pub(crate) fn sections(&self, kind: SectionKind) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(move |s| s.kind == kind)
    }

    /// Appends the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(out, u64::from(self.rows));
        put_zigzag(out, self.first_ns);
        put_varint(out, self.last_ns.wrapping_sub(self.first_ns) as u64);
        put_varint(out, self.line_bytes);
        put_varint(out, self.sections.len() as u64);
        for section in &self.sections {
            section.write(out);
        }
        put_bytes(out, &self.templates);
    }

    /// Reads a record from the front of `bytes` and moves `bytes` behind it.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Unknown`].
    pub fn read(bytes: &mut &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::Unknown { what: "block version", id: version });
        }
        let rows = reader.size(BLOCK_ROWS_MAX)? as u32;
        let first_ns = reader.zigzag()?;
        let last_ns = first_ns.wrapping_add(reader.varint()? as i64);
        if rows == 0 || last_ns < first_ns {
            return Err(damaged("block record is impossible"));
        }
        let line_bytes = reader.varint()?;
        let count = reader.size(SECTIONS_MAX)?;
        let mut sections = Vec::with_capacity(count);
        let mut offset = 0;
        for _ in 0..count {
            let section = Section::read(&mut reader, offset)?;
            offset += section.stored_bytes;
            sections.push(section);
        }
        let templates = reader.bytes()?.into();
        *bytes = reader.rest();
        Ok(Self { rows, first_ns, last_ns, line_bytes, sections, templates })
    }
}
