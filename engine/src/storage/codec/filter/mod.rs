//! What a part knows about the strings of its blocks, so that a query skips blocks unopened.
//!
//! A block's filter is a row of bits, one per hash of a piece of a string ([`grams`]), only for the strings of its
//! variables: what is in templates is known from the dictionary. The index of a part turns filters around: blocks whose
//! filters have the same length lie side by side, so that a query reads the few bytes of one piece for all blocks.
//!
//! ```text
//! header := version:u8 block_count class_count class* (flags:u8)* (checksum:u32le)*
//!           flags 1: the block has packed strings; checksums: of each 4 KiB of rows, the low half of its xxh3-64
//! class  := length block*                              length in bits; blocks as differences, as many as `count`
//!           (length count difference{count})
//! rows   := matrix{class_count}                        one behind the other, each from a new byte on
//! matrix := bit{length * count}                        bit of piece p and block b: p * count + b, low bits first
//! ```

mod grams;

use bytes::Bytes;
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use self::grams::{DIGITS_MIN, GRAM_BITS};
use super::error::{Error, Result, damaged};
use super::lines::vocabulary::Vocabulary;
use super::meta::BlockMeta;
use super::rowset::RowSet;
use super::search::PartSearch;
use super::section::BlockSource;
use crate::storage::wire::{Reader, put_varint};

const VERSION: u8 = 3;
/// Bits per distinct piece: at two, three bits of five stay clear, and a needle of eight bytes passes a block that does
/// not have it once in 30,000 times, if its pieces are not there by themselves.
const BITS_PER_GRAM: f64 = 2.0;
/// Lengths grow in steps of a quarter power of two, so that few classes cover all blocks.
const LENGTH_MIN: u32 = 64;
/// Pieces of a needle that are looked up at most.
const LOOKUPS_MAX: usize = 24;
/// Rows up to this size are read at once instead of piece by piece.
const ROWS_AT_ONCE_BYTES: usize = 64 << 10;
/// A checksum covers so many bytes of rows: a bit that flipped would hide lines, so nothing is believed unchecked.
const CHECKED_BYTES: usize = 4 << 10;

/// What one block contributes to the index of its part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockFilter {
    /// Bits, a multiple of 8.
    length: u32,
    bits: Vec<u8>,
    has_packed: bool,
}

/// Collects the pieces of a block's strings; keeps its memory between blocks.
pub(crate) struct FilterBuilder {
    /// A bit for each piece there can be; clear between blocks.
    seen: Vec<u64>,
    /// The pieces that are set in `seen`.
    grams: Vec<u32>,
    digits: Vec<u8>,
}

impl Default for FilterBuilder {
    fn default() -> Self {
        Self { seen: vec![0; 1 << (GRAM_BITS - 6)], grams: Vec::new(), digits: Vec::new() }
    }
}

impl FilterBuilder {
    /// The filter of the block with these strings, which are places in `bytes`.
    pub(crate) fn build(&mut self, text: &Vocabulary, packed: &Vocabulary, bytes: &[u8]) -> BlockFilter {
        let Self { seen, grams, digits } = self;
        grams.clear();
        let mut add = |gram: u32| {
            let word = &mut seen[gram as usize / 64];
            let bit = 1 << (gram % 64);
            if *word & bit == 0 {
                *word |= bit;
                grams.push(gram);
            }
        };
        for string in text.strings(bytes) {
            grams::of_text(string, &mut add);
            // Hex strings of odd length are text, but a search treats all hex strings alike.
            if string.len() >= DIGITS_MIN && grams::digits_of(string, digits).is_some() {
                grams::of_digits(digits, &mut add);
            }
        }
        for string in packed.strings(bytes) {
            if grams::digits_of(string, digits).is_some() {
                grams::of_digits(digits, &mut add);
            }
        }
        let length = length_for(grams.len() as u32);
        let mut bits = vec![0; length as usize / 8];
        for &gram in grams.iter() {
            // Most blocks have few pieces: wiping them one by one is cheaper than all of `seen`.
            seen[gram as usize / 64] = 0;
            let bit = scale(gram, length);
            bits[bit / 8] |= 1 << (bit % 8);
        }
        BlockFilter { length, bits, has_packed: packed.len() > 0 }
    }
}

/// The bit of a piece in a filter of `length` bits.
fn scale(gram: u32, length: u32) -> usize {
    ((u64::from(gram) * u64::from(length)) >> GRAM_BITS) as usize
}

/// The length of a filter for so many pieces.
fn length_for(count: u32) -> u32 {
    let wanted = f64::from(count) * BITS_PER_GRAM;
    let mut length = LENGTH_MIN;
    while f64::from(length) < wanted && length < 1 << GRAM_BITS {
        // 64, 80, 96, 112, 128, 160, ...
        length += (1 << length.ilog2()) / 4;
    }
    length
}

/// Collects the filters of a part's blocks, in block order.
#[derive(Debug, Default)]
pub struct FilterIndexBuilder {
    filters: Vec<BlockFilter>,
}

impl FilterIndexBuilder {
    /// Adds the filter of the next block.
    pub fn push(&mut self, filter: BlockFilter) {
        self.filters.push(filter);
    }

    /// Ends the index: `header` is to be kept in memory while the part is open; the rows, which are read in ranges, go to
    /// `put` one class after the other.
    ///
    /// # Errors
    /// Those of `put`.
    pub fn finish<E>(
        mut self,
        header: &mut Vec<u8>,
        mut put: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut classes: Vec<(u32, Vec<usize>)> = Vec::new();
        for (block, filter) in self.filters.iter().enumerate() {
            match classes.binary_search_by_key(&filter.length, |class| class.0) {
                Ok(at) => classes[at].1.push(block),
                Err(at) => classes.insert(at, (filter.length, vec![block])),
            }
        }
        header.push(VERSION);
        put_varint(header, self.filters.len() as u64);
        put_varint(header, classes.len() as u64);
        let mut checksums = Checksums::default();
        for (length, blocks) in &classes {
            put_varint(header, u64::from(*length));
            put_varint(header, blocks.len() as u64);
            let mut last = 0;
            for &block in blocks {
                put_varint(header, (block - last) as u64);
                last = block;
            }
            let mut matrix = vec![0; (*length as usize * blocks.len()).div_ceil(8)];
            for (column, &block) in blocks.iter().enumerate() {
                // A part has tens of megabytes of them: each is given back as soon as it is turned.
                let bits = std::mem::take(&mut self.filters[block].bits);
                for (at, &byte) in bits.iter().enumerate() {
                    let mut rest = byte;
                    while rest != 0 {
                        let bit = (at * 8 + rest.trailing_zeros() as usize) * blocks.len() + column;
                        rest &= rest - 1;
                        matrix[bit / 8] |= 1 << (bit % 8);
                    }
                }
            }
            checksums.update(&matrix);
            put(&matrix)?;
        }
        header.extend(self.filters.iter().map(|filter| u8::from(filter.has_packed)));
        checksums.finish(header);
        Ok(())
    }
}

/// Checksums of the rows while they are made.
#[derive(Default)]
struct Checksums {
    /// Of the bytes that no checksum covers yet.
    rest: Vec<u8>,
    all: Vec<u8>,
}

impl Checksums {
    fn update(&mut self, mut bytes: &[u8]) {
        while self.rest.len() + bytes.len() >= CHECKED_BYTES {
            let (head, tail) = bytes.split_at(CHECKED_BYTES - self.rest.len());
            self.rest.extend_from_slice(head);
            self.all.extend_from_slice(&checksum_of(&self.rest).to_le_bytes());
            self.rest.clear();
            bytes = tail;
        }
        self.rest.extend_from_slice(bytes);
    }

    fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.all);
        if !self.rest.is_empty() {
            out.extend_from_slice(&checksum_of(&self.rest).to_le_bytes());
        }
    }
}

fn checksum_of(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

/// The index of a part, its header in memory.
#[derive(Debug, Clone)]
pub struct FilterIndex {
    classes: Vec<Class>,
    rows_bytes: usize,
    has_packed: Vec<bool>,
    /// Of each [`CHECKED_BYTES`] of rows.
    checksums: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Class {
    length: u32,
    blocks: Vec<u32>,
    /// First byte of its matrix.
    start: usize,
}

impl FilterIndex {
    /// Reads the header that [`FilterIndexBuilder::finish`] wrote.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Unknown`].
    pub fn read(header: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(header);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::Unknown { what: "filter index version", id: version });
        }
        let block_count = reader.size(header.len())?;
        let class_count = reader.size(header.len())?;
        let mut classes = Vec::with_capacity(class_count);
        let mut is_known = vec![false; block_count];
        let mut rows_bytes = 0;
        for _ in 0..class_count {
            let length = reader.size(1 << GRAM_BITS)? as u32;
            let count = reader.size(block_count)?;
            if !length.is_multiple_of(8) {
                return Err(damaged("filter has an impossible length"));
            }
            let mut blocks = Vec::with_capacity(count);
            let mut block = 0;
            for _ in 0..count {
                block += reader.size(block_count)?;
                // Each block is in one class: in none, it would be taken for one without strings.
                if block >= block_count || std::mem::replace(&mut is_known[block], true) {
                    return Err(damaged("filter index has a block too many"));
                }
                blocks.push(block as u32);
            }
            classes.push(Class { length, blocks, start: rows_bytes });
            rows_bytes += (length as usize * count).div_ceil(8);
        }
        if is_known.contains(&false) {
            return Err(damaged("filter index has a block too few"));
        }
        let flags = reader.take(block_count)?;
        let checksums = reader.take(rows_bytes.div_ceil(CHECKED_BYTES) * 4)?.chunks_exact(4);
        Ok(Self {
            classes,
            rows_bytes,
            has_packed: flags.iter().map(|flag| flag & 1 != 0).collect(),
            checksums: checksums.map(|sum| u32::from_le_bytes(sum.try_into().expect("4 bytes"))).collect(),
        })
    }

    /// The filters as they were pushed. Reads all rows through `source`, class by class.
    ///
    /// # Errors
    /// When reading fails or what is read is damaged.
    pub fn filters(&self, source: &dyn BlockSource) -> Result<Vec<BlockFilter>> {
        let mut filters: Vec<BlockFilter> =
            self.has_packed.iter().map(|&has_packed| BlockFilter { has_packed, ..BlockFilter::default() }).collect();
        for class in &self.classes {
            let (length, count) = (class.length as usize, class.blocks.len());
            let matrix = self.read_rows(source, class.start, (length * count).div_ceil(8))?;
            for (column, &block) in class.blocks.iter().enumerate() {
                let mut bits = vec![0; length / 8];
                for at in 0..length {
                    let bit = at * count + column;
                    bits[at / 8] |= (matrix[bit / 8] >> (bit % 8) & 1) << (at % 8);
                }
                let filter = &mut filters[block as usize];
                (filter.length, filter.bits) = (class.length, bits);
            }
        }
        Ok(filters)
    }

    /// A range of the rows, checked.
    fn read_rows(&self, source: &dyn BlockSource, start: usize, len: usize) -> Result<Bytes> {
        if start + len > self.rows_bytes {
            return Err(damaged("filter rows are missing"));
        }
        let first = start / CHECKED_BYTES;
        let from = first * CHECKED_BYTES;
        let to = (start + len).next_multiple_of(CHECKED_BYTES).min(self.rows_bytes);
        let (offset, wanted) = (from as u64, to - from);
        let bytes = source.read(offset, wanted).map_err(|source| Error::Read { offset, len: wanted, source })?;
        let sums = bytes.chunks(CHECKED_BYTES).map(checksum_of);
        if bytes.len() != wanted
            || !sums.eq(self.checksums[first..].iter().take(wanted.div_ceil(CHECKED_BYTES)).copied())
        {
            return Err(damaged("filter rows do not match their checksum"));
        }
        Ok(bytes.slice(start - from..start - from + len))
    }

    /// Removes from `blocks` (numbered as pushed) those that hold no row that `search` looks for. Reads ranges of
    /// `rows` through `source`, a few kilobytes. `metas` are the blocks' records.
    ///
    /// # Errors
    /// When reading fails or what is read is damaged.
    pub fn prune(
        &self,
        search: &PartSearch,
        metas: &[BlockMeta],
        source: &dyn BlockSource,
        blocks: &mut RowSet,
    ) -> Result<()> {
        if self.has_packed.len() != metas.len() || blocks.len() != metas.len() {
            return Err(damaged("filter index is of another part"));
        }
        if search.excludes_nothing() || blocks.is_empty() {
            return Ok(());
        }
        let mut lookup = Lookup { index: self, source, all_rows: None, known: HashMap::new() };
        if self.rows_bytes <= ROWS_AT_ONCE_BYTES {
            lookup.all_rows = Some(lookup.read(0, self.rows_bytes)?);
        }
        for block in blocks.clone().iter() {
            if !search.may_match(&metas[block], block, &mut lookup)? {
                blocks.remove(block);
            }
        }
        Ok(())
    }
}

/// Answers of the index during one query, remembered.
pub(crate) struct Lookup<'a> {
    index: &'a FilterIndex,
    source: &'a dyn BlockSource,
    all_rows: Option<Bytes>,
    known: HashMap<(Vec<u8>, bool), RowSet>,
}

impl Lookup<'_> {
    fn read(&self, start: usize, len: usize) -> Result<Bytes> {
        if let Some(rows) = &self.all_rows {
            return Ok(rows.slice(start..start + len));
        }
        self.index.read_rows(self.source, start, len)
    }

    /// Whether a text of the block's vocabulary can contain `text`.
    pub(crate) fn text_may_contain(&mut self, block: usize, text: &[u8]) -> Result<bool> {
        if text.len() < 3 {
            return Ok(true);
        }
        self.ask(block, text, false)
    }

    /// Whether a hex string or uuid of the block can contain `text`.
    pub(crate) fn digits_may_contain(&mut self, block: usize, text: &[u8]) -> Result<bool> {
        let digits = text.iter().filter(|byte| **byte != b'-').count();
        if digits < DIGITS_MIN {
            return Ok(true);
        }
        self.ask(block, text, true)
    }

    /// Whether the block has packed strings.
    pub(crate) fn has_packed(&self, block: usize) -> bool {
        self.index.has_packed[block]
    }

    fn ask(&mut self, block: usize, text: &[u8], as_digits: bool) -> Result<bool> {
        let key = (text.to_ascii_lowercase(), as_digits);
        if let Some(answer) = self.known.get(&key) {
            return Ok(answer.contains(block));
        }
        let mut pieces = Vec::new();
        if as_digits {
            let mut digits = Vec::new();
            if grams::digits_of(text, &mut digits).is_some() {
                grams::of_digits(&digits, |gram| pieces.push(gram));
            }
        } else {
            grams::of_text(text, |gram| pieces.push(gram));
        }
        pieces.sort_unstable();
        pieces.dedup();
        // Hashes are in no order of the text, so every so many of them are as good as any.
        let step = pieces.len().div_ceil(LOOKUPS_MAX).max(1);
        let mut answer = RowSet::empty(self.index.has_packed.len());
        for class in &self.index.classes {
            let count = class.blocks.len();
            let mut left = RowSet::full(count);
            for &gram in pieces.iter().step_by(step) {
                let first_bit = scale(gram, class.length) * count;
                let (start, end) = (first_bit / 8, (first_bit + count).div_ceil(8));
                let bytes = self.read(class.start + start, end - start)?;
                left.retain(|column| {
                    let bit = first_bit % 8 + column;
                    bytes[bit / 8] >> (bit % 8) & 1 == 1
                });
                if left.is_empty() {
                    break;
                }
            }
            for column in left.iter() {
                answer.insert(class.blocks[column] as usize);
            }
        }
        let contains = answer.contains(block);
        self.known.insert(key, answer);
        Ok(contains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_few_and_long_enough() {
        let mut lengths: Vec<u32> = (0..100_000).map(length_for).collect();
        for (count, &length) in lengths.iter().enumerate() {
            assert!(f64::from(length) >= count as f64 * BITS_PER_GRAM && length % 8 == 0);
            assert!(f64::from(length) <= (count as f64 * BITS_PER_GRAM * 1.26).max(64.0));
        }
        lengths.dedup();
        assert!(lengths.len() < 50);
    }
}
