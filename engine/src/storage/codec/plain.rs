//! Lines as they are: lengths, and the text in sections of about a megabyte.
//!
//! ```text
//! LineLengths := plane{w}          w = encoding: 1, 2 or 4 bytes a length, low byte of all rows first
//! LineBytes   := text of the lines, one behind the other; a line may go on in the next section
//! ```

use bytes::Bytes;

use super::error::{Error, Result, damaged};
use super::lines::encode::Output;
use super::meta::BlockMeta;
use super::section::{BlockSource, SectionKind, read_section};

/// Text of one section: large enough that more would compress hardly better (8.0 % of raw at 4 MiB, 8.3 % at 1 MiB).
const TEXT_BYTES: usize = 1 << 20;

/// Appends the sections of lines `bytes[ends[i - 1]..ends[i]]`.
pub(crate) fn encode(ends: &[u32], bytes: &[u8], output: &mut Output<'_>) {
    let mut lengths = Vec::with_capacity(ends.len());
    let mut start = 0;
    for &end in ends {
        lengths.push(end - start);
        start = end;
    }
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let width = if longest < 1 << 8 {
        1
    } else if longest < 1 << 16 {
        2
    } else {
        4
    };
    let mut planes = Vec::with_capacity(lengths.len() * width);
    for plane in 0..width {
        planes.extend(lengths.iter().map(|len| (len >> (plane * 8)) as u8));
    }
    output.put(SectionKind::LineLengths, width as u8, &planes);
    for text in bytes.chunks(TEXT_BYTES) {
        output.put(SectionKind::LineBytes, 0, text);
    }
}

/// The lines of a block that was encoded plain.
#[derive(Debug)]
pub(crate) struct PlainLines {
    pub(crate) ends: Vec<u32>,
    pub(crate) bytes: Bytes,
}

impl PlainLines {
    /// Reads the lengths alone, as running ends.
    pub(crate) fn read_ends(meta: &BlockMeta, source: &dyn BlockSource) -> Result<Vec<u32>> {
        let section = meta.sections(SectionKind::LineLengths).next().ok_or(damaged("line lengths are missing"))?;
        if !matches!(section.encoding, 1 | 2 | 4) {
            return Err(Error::Unknown { what: "line length encoding", id: section.encoding });
        }
        let planes = read_section(source, section)?;
        let rows = meta.rows as usize;
        if planes.len() != rows * usize::from(section.encoding) {
            return Err(damaged("line lengths are missing"));
        }
        let mut ends = vec![0_u32; rows];
        for (plane, bytes) in planes.chunks_exact(rows).enumerate() {
            for (len, &byte) in ends.iter_mut().zip(bytes) {
                *len |= u32::from(byte) << (plane * 8);
            }
        }
        let mut end = 0_u32;
        for len in &mut ends {
            end = end.checked_add(*len).ok_or(damaged("lines are too long"))?;
            *len = end;
        }
        if u64::from(end) != meta.line_bytes {
            return Err(damaged("line lengths disagree with the block record"));
        }
        Ok(ends)
    }

    /// Reads everything.
    pub(crate) fn read(meta: &BlockMeta, source: &dyn BlockSource) -> Result<Self> {
        let ends = Self::read_ends(meta, source)?;
        let mut texts = meta.sections(SectionKind::LineBytes);
        let total = ends.last().map_or(0, |&end| end as usize);
        let bytes = match (texts.next(), texts.next()) {
            (None, _) => Bytes::new(),
            (Some(only), None) => read_section(source, only)?,
            _ => {
                let mut all = Vec::with_capacity(total);
                for section in meta.sections(SectionKind::LineBytes) {
                    all.extend_from_slice(&read_section(source, section)?);
                }
                Bytes::from(all)
            }
        };
        if bytes.len() != total {
            return Err(damaged("text of lines is missing"));
        }
        Ok(Self { ends, bytes })
    }

    pub(crate) fn line(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }
}
