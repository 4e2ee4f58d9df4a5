//! Blocks that move to another part as they are: a merge encodes again only what gains from it.
//!
//! A block names texts outside itself in one place: its Directory says which templates of the part's dictionary it uses.
//! So the directory is written anew with the numbers of the other dictionary, and the other sections are copied.

use bytes::Bytes;

use super::dict::TemplateDict;
use super::error::{Result, damaged};
use super::meta::BlockMeta;
use super::section::{Section, SectionKind, SectionWriter, read_section, read_stored};
use crate::storage::wire::{Reader, put_varint, put_zigzag};

/// The numbers that templates of one dictionary have in another, found as blocks need them.
#[derive(Debug, Default)]
pub struct Renumbering {
    /// By number; `None`: not asked for yet.
    numbers: Vec<Option<u32>>,
}

impl Renumbering {
    /// `None` when the other dictionary is full.
    fn get(&mut self, number: u32, from: &TemplateDict, to: &mut TemplateDict) -> Result<Option<u32>> {
        let at = number as usize;
        if let Some(Some(known)) = self.numbers.get(at) {
            return Ok(Some(*known));
        }
        let template = from.get(at).ok_or(damaged("template is missing"))?;
        let found = to.adopt(&template);
        if found.is_some() {
            self.numbers.resize(self.numbers.len().max(at + 1), None);
            self.numbers[at] = found;
        }
        Ok(found)
    }
}

/// A block to be copied.
pub struct Original<'a> {
    /// Its record.
    pub meta: &'a BlockMeta,
    /// The dictionary of its part.
    pub dict: &'a TemplateDict,
    /// All of its bytes.
    pub bytes: Bytes,
}

/// Appends a copy of `original` to `out`, and returns its record; `None` if the templates do not fit `templates`. Every
/// section is checked: damage does not spread.
///
/// # Errors
/// When the block is damaged. `out` is unchanged unless a record is returned.
pub(super) fn copy_block(
    original: &Original<'_>,
    renumbering: &mut Renumbering,
    templates: &mut TemplateDict,
    writer: &mut SectionWriter,
    out: &mut Vec<u8>,
) -> Result<Option<BlockMeta>> {
    let Original { meta, dict, bytes } = original;
    let mut set = meta.templates()?;
    for number in &mut set.numbers {
        let Some(new) = renumbering.get(*number, dict, templates)? else { return Ok(None) };
        *number = new;
    }
    set.numbers.sort_unstable();
    let start = out.len();
    let mut sections = Vec::with_capacity(meta.sections.len());
    let mut copy = || -> Result<()> {
        for section in &meta.sections {
            if section.kind == SectionKind::Directory {
                let old = read_section(bytes, section)?;
                let new = renumber(&old, |number| renumbering.get(number, dict, templates))?;
                sections.push(writer.put(section.kind, section.encoding, &new, start, out));
                continue;
            }
            let stored = read_stored(bytes, section)?;
            let offset = u32::try_from(out.len() - start).map_err(|_| damaged("sections are too long"))?;
            out.extend_from_slice(&stored);
            sections.push(Section { offset, ..section.clone() });
        }
        Ok(())
    };
    match copy() {
        Ok(()) => Ok(Some(BlockMeta { sections, templates: set.to_bytes(), ..(*meta).clone() })),
        Err(err) => {
            out.truncate(start);
            Err(err)
        }
    }
}

/// The directory with other numbers; see `lines::encode` for what it is made of.
fn renumber(directory: &[u8], mut number: impl FnMut(u32) -> Result<Option<u32>>) -> Result<Vec<u8>> {
    let mut reader = Reader::new(directory);
    let mut new = Vec::with_capacity(directory.len() + 64);
    let count = reader.varint()?;
    put_varint(&mut new, count);
    put_varint(&mut new, reader.varint()?);
    new.push(reader.u8()?);
    let (mut last, mut last_new) = (0_i64, 0_i64);
    for _ in 0..count {
        last = last.checked_add(reader.zigzag()?).ok_or(damaged("template number is too large"))?;
        let old = u32::try_from(last).map_err(|_| damaged("template number is too large"))?;
        // The record of the block names them too, and all of those were found.
        let found = number(old)?.ok_or(damaged("block record and directory disagree"))?;
        put_zigzag(&mut new, i64::from(found) - last_new);
        last_new = i64::from(found);
        put_varint(&mut new, reader.varint()?);
    }
    new.extend_from_slice(reader.rest());
    Ok(new)
}
