//! Reads a vocabulary: the distinct strings of a block (layout in [`super::vocabulary`]).

use bytes::Bytes;
use memchr::memmem::Finder;

use super::super::error::{Result, damaged};
use super::super::meta::BlockMeta;
use super::super::search::needle::Pattern;
use super::super::section::{BlockSource, SectionKind, read_section};
use crate::storage::wire::Reader;

/// The strings of one of the two vocabularies.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    /// Where string `i` ends in the text of all frames.
    ends: Vec<u32>,
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    start: usize,
    bytes: Bytes,
}

impl Strings {
    /// Reads all strings of the sections of these kinds.
    pub(crate) fn read(
        meta: &BlockMeta,
        source: &dyn BlockSource,
        lengths: SectionKind,
        text: SectionKind,
    ) -> Result<Self> {
        let Some(section) = meta.sections(lengths).next() else { return Ok(Self::default()) };
        let raw = read_section(source, section)?;
        let mut reader = Reader::new(&raw);
        let width = usize::from(reader.u8()?);
        let planes = reader.rest();
        if width > 4 || width == 0 || !planes.len().is_multiple_of(width) {
            return Err(damaged("string lengths are missing"));
        }
        let count = planes.len() / width;
        let mut ends = vec![0_u32; count];
        for (plane, bytes) in planes.chunks_exact(count.max(1)).enumerate() {
            for (len, &byte) in ends.iter_mut().zip(bytes) {
                *len |= u32::from(byte) << (plane * 8);
            }
        }
        let mut end = 0_u32;
        for len in &mut ends {
            end = end.checked_add(*len).ok_or(damaged("strings are too long"))?;
            *len = end;
        }
        let mut frames: Vec<Frame> = Vec::new();
        let mut start = 0;
        for section in meta.sections(text) {
            let bytes = read_section(source, section)?;
            let next = start + bytes.len();
            frames.push(Frame { start, bytes });
            start = next;
        }
        if start != end as usize {
            return Err(damaged("text of strings is missing"));
        }
        if text == SectionKind::Packed && frames.len() > 1 {
            // Packed strings may go on in the next section.
            let mut all = Vec::with_capacity(start);
            for frame in &frames {
                all.extend_from_slice(&frame.bytes);
            }
            frames = vec![Frame { start: 0, bytes: Bytes::from(all) }];
        }
        let strings = Self { ends, frames };
        if !strings.frames_end_with_strings() {
            return Err(damaged("a string goes on in the next section"));
        }
        Ok(strings)
    }

    fn frames_end_with_strings(&self) -> bool {
        self.frames.iter().skip(1).all(|frame| self.ends.binary_search(&(frame.start as u32)).is_ok())
    }

    /// The strings in which one of these bytes occurs, ascending.
    pub(crate) fn with_byte(&self, one: u8, other: u8) -> Vec<u32> {
        let mut found = Vec::new();
        for frame in &self.frames {
            for at in memchr::memchr2_iter(one, other, &frame.bytes) {
                let number = self.ends.partition_point(|&end| end as usize <= frame.start + at) as u32;
                if found.last() != Some(&number) {
                    found.push(number);
                }
            }
        }
        found
    }

    /// Number of strings.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// String `number`, which is below `len()`.
    #[inline]
    pub(crate) fn get(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] as usize };
        let end = self.ends[number] as usize;
        if start == end {
            return &[];
        }
        let frame = match &self.frames[..] {
            [only] => only,
            frames => &frames[frames.partition_point(|frame| frame.start <= start) - 1],
        };
        &frame.bytes[start - frame.start..end - frame.start]
    }

    /// The strings that contain the needle, ascending.
    pub(crate) fn containing(&self, pattern: &Pattern) -> Vec<u32> {
        let mut found = Vec::new();
        self.find_each(&pattern.finder, pattern.ignore_case, |number| found.push(number as u32));
        found
    }

    /// Calls `each` with every string that `finder` finds its needle in, ascending: searches whole frames, not strings.
    /// With `fold` the frames are searched in lower case.
    pub(crate) fn find_each(&self, finder: &Finder<'_>, fold: bool, mut each: impl FnMut(usize)) {
        let needle_len = finder.needle().len();
        for frame in &self.frames {
            let folded = fold.then(|| frame.bytes.to_ascii_lowercase());
            let bytes = folded.as_deref().unwrap_or(&frame.bytes);
            let mut at = 0;
            while let Some(offset) = finder.find(&bytes[at..]) {
                let start = frame.start + at + offset;
                // The string in which the hit begins; it counts if it ends there too.
                let number = self.ends.partition_point(|&end| end as usize <= start);
                let Some(&end) = self.ends.get(number) else { break };
                if start + needle_len <= end as usize {
                    each(number);
                    at = end as usize - frame.start;
                } else {
                    at += offset + 1;
                }
            }
        }
    }
}
