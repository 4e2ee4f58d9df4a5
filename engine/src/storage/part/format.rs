//! Footer, frames and tables of a part file, as bytes.

use std::path::Path;

use logstack_logql::Labels;
use xxhash_rust::xxh3::xxh3_64;

use super::Day;
use crate::model::{TenantId, TimeRange};
use crate::storage::codec::Level;
use crate::storage::disk::ReadFile;
use crate::storage::error::{Error, Result};
use crate::storage::wire::{Malformed, Reader, put_bytes, put_varint, put_zigzag};

/// The first bytes of a part.
pub const MAGIC_START: &[u8; 8] = b"LSPART\0\x01";
const MAGIC_END: &[u8; 8] = b"LSPEND\0\x01";
const VERSION: u32 = 1;
/// Length, checksum and magic behind the footer's body.
const TAIL_BYTES: usize = 4 + 8 + 8;
/// Bounds what a damaged length makes us allocate.
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// Read in one go at the end of a file: footers have a few hundred bytes.
const FOOTER_BYTES_MAX: usize = 4 << 10;
const ZSTD_LEVEL: i32 = 6;

/// Identifies a part among all that this data directory ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub u64);

/// What a part says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The day of all rows.
    pub day: Day,
    /// How its blocks are encoded.
    pub level: Level,
    /// Numbers of the first and the last memtable that it holds rows of. Of two parts of a day the one with lower
    /// numbers holds the rows that arrived earlier.
    pub generations: (u64, u64),
    /// Rows.
    pub rows: u64,
    /// Bytes of their lines.
    pub line_bytes: u64,
    /// First and last timestamp.
    pub time: TimeRange,
    /// When it was written, ns since the epoch.
    pub created_ns: i64,
    /// Where the frames are.
    pub frames: Frames,
}

/// The frames of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// Tenants and labels.
    pub streams: Frame,
    /// What a plan needs to know of each block.
    pub directory: Frame,
    /// What a reader needs to know of each block.
    pub metas: Frame,
    /// Texts that blocks share.
    pub dict: Frame,
    /// What leads to the filter rows.
    pub filter: Frame,
    /// Read in ranges, not as a whole.
    pub filter_rows: Frame,
}

impl Frames {
    fn all(&self) -> [&Frame; 6] {
        [&self.streams, &self.directory, &self.metas, &self.dict, &self.filter, &self.filter_rows]
    }

    fn all_mut(&mut self) -> [&mut Frame; 6] {
        let Self { streams, directory, metas, dict, filter, filter_rows } = self;
        [streams, directory, metas, dict, filter, filter_rows]
    }
}

/// A range of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frame {
    /// Where it starts.
    pub offset: u64,
    /// Bytes in the file.
    pub stored_bytes: u64,
    /// Bytes unpacked.
    pub raw_bytes: u64,
    /// xxh3-64 of the stored bytes.
    pub checksum: u64,
}

impl Frame {
    /// Packs `raw`, to be written at `offset` of a part of `level`.
    pub fn pack(raw: &[u8], offset: u64, level: Level) -> (Self, Vec<u8>) {
        // Labels of 50,000 streams are 10 MB: not worth much in a part that lives for seconds.
        let zstd = if level == Level::Quick { 1 } else { ZSTD_LEVEL };
        let stored = zstd::bulk::compress(raw, zstd).expect("zstd compresses what fits in memory");
        let (stored_bytes, raw_bytes) = (stored.len() as u64, raw.len() as u64);
        (Self { offset, stored_bytes, raw_bytes, checksum: xxh3_64(&stored) }, stored)
    }

    /// A frame that is written as it is, at `offset`.
    pub fn plain(raw: &[u8], offset: u64) -> Self {
        let bytes = raw.len() as u64;
        Self { offset, stored_bytes: bytes, raw_bytes: bytes, checksum: xxh3_64(raw) }
    }

    /// Where it ends, if that is inside the file.
    pub fn end(&self, file: &dyn ReadFile) -> Option<u64> {
        self.offset.checked_add(self.stored_bytes).filter(|&end| end <= file.len())
    }

    /// Reads and unpacks the frame.
    pub fn read(&self, file: &dyn ReadFile, path: &Path) -> Result<Vec<u8>> {
        if self.stored_bytes > FRAME_BYTES_MAX || self.raw_bytes > FRAME_BYTES_MAX || self.end(file).is_none() {
            return Err(Error::damaged(path, "a frame lies outside the file"));
        }
        let mut stored = vec![0; self.stored_bytes as usize];
        file.read_exact_at(&mut stored, self.offset).map_err(Error::io("read", path))?;
        if xxh3_64(&stored) != self.checksum {
            return Err(Error::damaged(path, "a frame does not match its checksum"));
        }
        let raw = zstd::bulk::decompress(&stored, self.raw_bytes as usize)
            .map_err(|_| Error::damaged(path, "a frame does not decompress"))?;
        if raw.len() as u64 != self.raw_bytes {
            return Err(Error::damaged(path, "a frame has another length than the footer says"));
        }
        Ok(raw)
    }
}

impl Footer {
    /// The end of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        put_varint(&mut body, u64::from(VERSION));
        put_zigzag(&mut body, i64::from(self.day.0));
        body.push(level_id(self.level));
        put_varint(&mut body, self.generations.0);
        put_varint(&mut body, self.generations.1 - self.generations.0);
        put_varint(&mut body, self.rows);
        put_varint(&mut body, self.line_bytes);
        put_zigzag(&mut body, self.time.first_ns);
        put_zigzag(&mut body, self.time.last_ns);
        put_zigzag(&mut body, self.created_ns);
        let frames = self.frames.all();
        put_varint(&mut body, frames.len() as u64);
        for frame in frames {
            put_varint(&mut body, frame.offset);
            put_varint(&mut body, frame.stored_bytes);
            put_varint(&mut body, frame.raw_bytes);
            body.extend_from_slice(&frame.checksum.to_le_bytes());
        }
        let (len, checksum) = (body.len() as u32, xxh3_64(&body));
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(&checksum.to_le_bytes());
        body.extend_from_slice(MAGIC_END);
        body
    }

    /// Reads the end of the file.
    pub fn read(file: &dyn ReadFile, path: &Path) -> Result<Self> {
        let guess = file.len().min(FOOTER_BYTES_MAX as u64) as usize;
        if guess < TAIL_BYTES {
            return Err(Error::damaged(path, "the file is too short for a part"));
        }
        let mut end = vec![0; guess];
        file.read_exact_at(&mut end, file.len() - guess as u64).map_err(Error::io("read", path))?;
        let tail = end.split_off(guess - TAIL_BYTES);
        if tail[12..] != *MAGIC_END {
            return Err(Error::damaged(path, "the end of the part is missing"));
        }
        let len = u32::from_le_bytes(tail[..4].try_into().expect("4 bytes")) as usize;
        let checksum = u64::from_le_bytes(tail[4..12].try_into().expect("8 bytes"));
        let Some(start) = end.len().checked_sub(len) else {
            return Err(Error::damaged(path, "the footer is impossibly large"));
        };
        let body = &end[start..];
        if xxh3_64(body) != checksum {
            return Err(Error::damaged(path, "the footer does not match its checksum"));
        }
        let mut reader = Reader::new(body);
        let version = reader.varint_u32().map_err(malformed(path))?;
        if version > VERSION {
            return Err(Error::Unknown { path: path.to_owned(), found: version, known: VERSION });
        }
        Self::parse(reader).map_err(malformed(path))
    }

    fn parse(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let day = i32::try_from(reader.zigzag()?).map_err(|_| Malformed("the day is impossible"))?;
        let level = level_of(reader.u8()?)?;
        let first = reader.varint()?;
        let last = first.checked_add(reader.varint()?).ok_or(Malformed("generations are impossible"))?;
        let (rows, line_bytes) = (reader.varint()?, reader.varint()?);
        let time = TimeRange { first_ns: reader.zigzag()?, last_ns: reader.zigzag()? };
        let created_ns = reader.zigzag()?;
        let mut frames = Frames::default();
        if reader.count()? != frames.all().len() {
            return Err(Malformed("the footer has another number of frames"));
        }
        for frame in frames.all_mut() {
            *frame = Frame {
                offset: reader.varint()?,
                stored_bytes: reader.varint()?,
                raw_bytes: reader.varint()?,
                checksum: reader.u64_le()?,
            };
        }
        reader.finish()?;
        Ok(Self { day: Day(day), level, generations: (first, last), rows, line_bytes, time, created_ns, frames })
    }
}

/// Levels as stored.
pub fn level_id(level: Level) -> u8 {
    match level {
        Level::Quick => 0,
        Level::Fresh => 1,
        Level::Settled => 2,
    }
}

/// Inverse of [`level_id`].
pub fn level_of(id: u8) -> Result<Level, Malformed> {
    match id {
        0 => Ok(Level::Quick),
        1 => Ok(Level::Fresh),
        2 => Ok(Level::Settled),
        _ => Err(Malformed("the level is unknown")),
    }
}

/// What does not parse behind a right checksum is damage all the same.
pub fn malformed(path: &Path) -> impl Fn(Malformed) -> Error {
    move |err| Error::damaged(path, err.0)
}

/// A stream as the streams table names it.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub labels: Labels,
    /// Number of its blocks, which follow those of the stream before.
    pub blocks: u32,
}

/// Appends one entry of the streams table.
pub fn put_stream(out: &mut Vec<u8>, entry: &StreamEntry) {
    put_bytes(out, entry.tenant.as_str().as_bytes());
    put_varint(out, entry.labels.len() as u64);
    for (name, value) in entry.labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_varint(out, u64::from(entry.blocks));
}

/// Reads a streams table.
pub fn read_streams(bytes: &[u8]) -> Result<Vec<StreamEntry>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut streams = Vec::new();
    while !reader.rest().is_empty() {
        let tenant = TenantId::new(reader.str()?);
        let pairs = reader.count()?;
        let pairs: Vec<(&str, &str)> =
            (0..pairs).map(|_| Ok((reader.str()?, reader.str()?))).collect::<Result<_, Malformed>>()?;
        streams.push(StreamEntry { tenant, labels: Labels::from_pairs(pairs), blocks: reader.varint_u32()? });
    }
    Ok(streams)
}
