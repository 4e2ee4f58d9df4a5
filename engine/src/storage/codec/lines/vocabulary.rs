//! The distinct strings of a block, numbered in order of first appearance.
//!
//! Columns hold numbers, so a string is stored, searched and filtered once however many columns and rows have it.
//!
//! ```text
//! Lengths       := width:u8 plane{width}      lengths of all strings, byte planes
//! Text          := the strings, one behind the other; a string does not go on in the next section
//! PackedLengths := width:u8 plane{width}      of strings of hex digits: in bytes of two digits
//! Packed        := the digits, first digit high; a uuid without its dashes
//! ```

use hashbrown::HashTable;

use super::super::section::SectionKind;
use super::encode::Output;
use super::token::hash_bytes;

/// Text of one section.
const FRAME_BYTES: usize = 256 << 10;

/// Strings while a block is encoded. Strings are places in the lines of the block.
#[derive(Default)]
pub(crate) struct Vocabulary {
    entries: Vec<Entry>,
    numbers: HashTable<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    start: u32,
    len: u32,
}

impl Vocabulary {
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.numbers.clear();
    }

    /// Number of strings.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of `bytes[start..start + len]`, the next one if it is new.
    #[inline]
    pub(crate) fn intern(&mut self, bytes: &[u8], start: usize, len: usize) -> u32 {
        let text = &bytes[start..start + len];
        let hash = hash_bytes(text);
        let entries = &mut self.entries;
        let found = self.numbers.entry(
            hash,
            |&number| {
                let entry = entries[number as usize];
                entry.hash == hash
                    && entry.len as usize == len
                    && bytes[entry.start as usize..(entry.start + entry.len) as usize] == *text
            },
            |&number| entries[number as usize].hash,
        );
        let new = entries.len() as u32;
        let number = *found.or_insert(new).get();
        if number == new {
            entries.push(Entry { hash, start: start as u32, len: len as u32 });
        }
        number
    }

    /// The strings, by number.
    pub(crate) fn strings<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.entries.iter().map(|entry| &bytes[entry.start as usize..(entry.start + entry.len) as usize])
    }

    /// Appends the sections of a vocabulary of text.
    pub(crate) fn write_text(&self, bytes: &[u8], output: &mut Output<'_>) {
        if self.entries.is_empty() {
            return;
        }
        let lengths = planes_of(self.entries.iter().map(|entry| entry.len));
        output.put(SectionKind::Lengths, 0, &lengths);
        let mut frame = Vec::with_capacity(FRAME_BYTES + 4096);
        for text in self.strings(bytes) {
            if !frame.is_empty() && frame.len() + text.len() > FRAME_BYTES {
                output.put(SectionKind::Text, 0, &frame);
                frame.clear();
            }
            frame.extend_from_slice(text);
        }
        output.put(SectionKind::Text, 0, &frame);
    }

    /// Appends the sections of a vocabulary of hex strings of even length, and uuids.
    pub(crate) fn write_packed(&self, bytes: &[u8], output: &mut Output<'_>) {
        if self.entries.is_empty() {
            return;
        }
        let mut packed = Vec::new();
        let mut lengths = Vec::with_capacity(self.entries.len());
        for text in self.strings(bytes) {
            let before = packed.len();
            pack(text, &mut packed);
            lengths.push((packed.len() - before) as u32);
        }
        let lengths = planes_of(lengths.into_iter());
        output.put(SectionKind::PackedLengths, 0, &lengths);
        for frame in packed.chunks(FRAME_BYTES) {
            output.put(SectionKind::Packed, 0, frame);
        }
    }
}

/// A width byte and that many byte planes of `values`.
fn planes_of(values: impl ExactSizeIterator<Item = u32> + Clone) -> Vec<u8> {
    let largest = values.clone().max().unwrap_or(0);
    let width = (32 - largest.leading_zeros() as usize).div_ceil(8).max(1);
    let mut out = Vec::with_capacity(1 + width * values.len());
    out.push(width as u8);
    for plane in 0..width {
        out.extend(values.clone().map(|value| (value >> (plane * 8)) as u8));
    }
    out
}

/// Appends lower-case hex digits two a byte; dashes are left out.
fn pack(text: &[u8], out: &mut Vec<u8>) {
    let mut high = None;
    for &byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => continue,
        };
        match high.take() {
            None => high = Some(digit << 4),
            Some(high) => out.push(high | digit),
        }
    }
}

/// Appends the digits of packed bytes, with a uuid's dashes if asked.
pub(crate) fn unpack(packed: &[u8], dashes: bool, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in packed.iter().enumerate() {
        if dashes && matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}
