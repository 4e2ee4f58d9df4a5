//! A section: a piece of a block that is read, checked and unpacked as a whole.
//!
//! ```text
//! block   := section*                              one behind the other, in the order of the meta record
//! section := stored bytes, packed as its `packing` says; the xxh3-64 of the stored bytes is in the meta record
//! ```

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::Decompressor;

use super::error::{Error, Result, damaged};
use crate::storage::wire::{Reader, put_varint};

/// Largest section, packed or not: bounds what a damaged length can make us allocate. A block of 16 MiB of lines stays
/// below it in every column; only one giant line could come near, and `PAYLOAD` limits refuse it long before.
pub(crate) const SECTION_BYTES_MAX: usize = 256 << 20;

/// What a section holds. The value is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SectionKind {
    /// Timestamps.
    Timestamps = 1,
    /// Plain lines: lengths.
    LineLengths = 2,
    /// Plain lines: text.
    LineBytes = 3,
    /// Metadata sets.
    MetadataSets = 4,
    /// Metadata ids of the rows of a block of plain lines.
    MetadataIds = 5,
    /// Template of each row.
    Order = 6,
    /// Templates and columns of the block.
    Directory = 7,
    /// Numbers of columns.
    Numbers = 8,
    /// Strings that columns use.
    Lists = 9,
    /// Lengths of strings.
    Lengths = 10,
    /// Text of strings.
    Text = 11,
    /// Lengths of packed strings.
    PackedLengths = 12,
    /// Packed strings.
    Packed = 13,
}

impl SectionKind {
    /// All kinds, for reports.
    pub const ALL: [Self; 13] = [
        Self::Timestamps,
        Self::LineLengths,
        Self::LineBytes,
        Self::MetadataSets,
        Self::MetadataIds,
        Self::Order,
        Self::Directory,
        Self::Numbers,
        Self::Lists,
        Self::Lengths,
        Self::Text,
        Self::PackedLengths,
        Self::Packed,
    ];

    fn from_id(id: u8) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == id).ok_or(Error::Unknown { what: "section kind", id })
    }
}

/// How the bytes of a section are packed. The value is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// As they are.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Packing {
    fn from_id(id: u8) -> Result<Self> {
        match id {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Zstd),
            _ => Err(Error::Unknown { what: "packing", id }),
        }
    }
}

/// Where a section is and how to check and unpack it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// How it is packed.
    pub packing: Packing,
    /// Layout of the unpacked bytes; what the ids mean is up to the kind.
    pub encoding: u8,
    /// First byte, from the start of the block.
    pub offset: u32,
    /// Bytes on disk.
    pub stored_bytes: u32,
    /// Bytes once unpacked.
    pub raw_bytes: u32,
    /// xxh3-64 of the stored bytes.
    pub checksum: u64,
}

impl Section {
    /// The offset is not written: sections lie one behind the other.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.kind as u8, self.packing as u8 | self.encoding << 4]);
        put_varint(out, u64::from(self.stored_bytes));
        if self.packing != Packing::Stored {
            put_varint(out, u64::from(self.raw_bytes));
        }
        out.extend(self.checksum.to_le_bytes());
    }

    pub(crate) fn read(reader: &mut Reader<'_>, offset: u32) -> Result<Self> {
        let kind = SectionKind::from_id(reader.u8()?)?;
        let packed = reader.u8()?;
        let packing = Packing::from_id(packed & 15)?;
        let stored_bytes = reader.size(SECTION_BYTES_MAX)? as u32;
        let raw_bytes = match packing {
            Packing::Stored => stored_bytes,
            Packing::Zstd => reader.size(SECTION_BYTES_MAX)? as u32,
        };
        let checksum = reader.u64_le()?;
        offset.checked_add(stored_bytes).ok_or(damaged("sections are too long"))?;
        Ok(Self { kind, packing, encoding: packed >> 4, offset, stored_bytes, raw_bytes, checksum })
    }
}

/// Reads ranges of one block. Implemented by whoever knows the part file: a `pread`, an object store, a buffer.
pub trait BlockSource {
    /// Exactly `len` bytes from `offset` (from the start of the block).
    ///
    /// # Errors
    /// When they cannot be had; an early end of the file is an error too.
    fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes>;

    /// The unpacked section that starts at `offset`, if a cache has it.
    fn cached(&self, offset: u64) -> Option<Bytes> {
        let _ = offset;
        None
    }

    /// The timestamps in the section that starts at `offset`, if a cache has them.
    fn cached_timestamps(&self, offset: u64) -> Option<Arc<Vec<i64>>> {
        let _ = offset;
        None
    }

    /// Offers the timestamps in the section that starts at `offset` to a cache.
    fn cache_timestamps(&self, offset: u64, timestamps: &Arc<Vec<i64>>) {
        let _ = (offset, timestamps);
    }

    /// Offers an unpacked section to a cache.
    fn cache(&self, offset: u64, section: &Bytes) {
        let _ = (offset, section);
    }
}

/// A block in memory.
impl BlockSource for Bytes {
    fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let start = usize::try_from(offset).ok();
        match start.and_then(|start| Some(start..start.checked_add(len)?)) {
            Some(range) if range.end <= self.len() => Ok(self.slice(range)),
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

thread_local! {
    // Making one costs more than unpacking a small section.
    static UNPACKER: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("zstd has memory for a context"));
}

/// The bytes of one section as they are on disk, checked.
pub(crate) fn read_stored(source: &dyn BlockSource, section: &Section) -> Result<Bytes> {
    let (offset, len) = (u64::from(section.offset), section.stored_bytes as usize);
    let stored = source.read(offset, len).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("section ends behind the block"),
        _ => Error::Read { offset, len, source },
    })?;
    if xxh3_64(&stored) != section.checksum {
        return Err(damaged("section does not match its checksum"));
    }
    Ok(stored)
}

/// Unpacks one section.
pub(crate) fn read_section(source: &dyn BlockSource, section: &Section) -> Result<Bytes> {
    let offset = u64::from(section.offset);
    if section.stored_bytes == 0 && section.raw_bytes == 0 {
        // It has the offset of the section behind it, and caches know sections by their offset.
        return Ok(Bytes::new());
    }
    if let Some(bytes) = source.cached(offset) {
        return Ok(bytes);
    }
    let stored = read_stored(source, section)?;
    let raw = match section.packing {
        Packing::Stored => stored,
        Packing::Zstd => {
            let unpack =
                |zstd: &RefCell<Decompressor<'_>>| zstd.borrow_mut().decompress(&stored, section.raw_bytes as usize);
            Bytes::from(UNPACKER.with(unpack).map_err(|_| damaged("section does not decompress"))?)
        }
    };
    if raw.len() != section.raw_bytes as usize {
        return Err(damaged("section has another length than its record says"));
    }
    source.cache(offset, &raw);
    Ok(raw)
}

/// Reads a section only to see whether it matches its record.
///
/// # Errors
/// When it does not, or cannot be read.
pub fn check_section(source: &dyn BlockSource, section: &Section) -> Result<()> {
    read_section(source, section).map(drop)
}

/// Packs sections behind one another.
pub(crate) struct SectionWriter {
    zstd: zstd::bulk::Compressor<'static>,
    /// Shorter sections are stored as they are.
    least_bytes: usize,
    scratch: Vec<u8>,
}

impl SectionWriter {
    /// # Panics
    /// When zstd has no memory for a context.
    pub(crate) fn new(level: i32, least_bytes: usize) -> Self {
        let zstd = zstd::bulk::Compressor::new(level).expect("zstd has this level");
        Self { zstd, least_bytes, scratch: Vec::new() }
    }

    /// Appends `raw`, compressed where that saves something, and returns its record. `block_start` is where the block
    /// begins in `out`.
    pub(crate) fn put(
        &mut self,
        kind: SectionKind,
        encoding: u8,
        raw: &[u8],
        block_start: usize,
        out: &mut Vec<u8>,
    ) -> Section {
        debug_assert!(encoding < 16 && raw.len() <= SECTION_BYTES_MAX);
        self.scratch.clear();
        let packed = raw.len() >= self.least_bytes && {
            self.scratch.reserve(zstd::zstd_safe::compress_bound(raw.len()));
            self.zstd.compress_to_buffer(raw, &mut self.scratch).is_ok()
        };
        // Hex and already packed numbers do not shrink: stored, they are read without a copy through zstd. A gain
        // below 1/32 is not worth the time either.
        let (packing, bytes) = if packed && self.scratch.len() + raw.len() / 32 < raw.len() {
            (Packing::Zstd, &self.scratch[..])
        } else {
            (Packing::Stored, raw)
        };
        let offset = (out.len() - block_start) as u32;
        out.extend_from_slice(bytes);
        Section {
            kind,
            packing,
            encoding,
            offset,
            stored_bytes: bytes.len() as u32,
            raw_bytes: raw.len() as u32,
            checksum: xxh3_64(bytes),
        }
    }
}
