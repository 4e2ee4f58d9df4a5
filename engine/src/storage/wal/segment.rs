//! A WAL segment: an append-only file of checksummed records.
//!
//! ```text
//! segment := "LSWAL\0\0\x01" number:u64le record*
//! record  := "WREC" len:u32le xxh3:u64le payload:[u8; len]
//! ```
//!
//! The xxh3-64 covers segment number, offset of the record, len and payload, so that a record copied or left over from
//! elsewhere never checks out.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::{SegmentNo, segment_path};
use crate::storage::disk::{Disk, WriteFile};
use crate::storage::error::{Error, Result};

const MAGIC: &[u8; 8] = b"LSWAL\0\0\x01";
const RECORD_MAGIC: &[u8; 4] = b"WREC";
/// Bytes in front of the first record.
pub const HEADER_BYTES: usize = 16;
/// Bytes in front of a payload.
pub const RECORD_HEADER_BYTES: usize = 16;

/// Appends records and takes them back when they cannot be made durable.
pub struct SegmentWriter {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    number: SegmentNo,
    /// Everything before this is whole; the next record goes here.
    good_bytes: u64,
    /// Bytes behind `good_bytes` may hold a failed write that could not be cut off.
    is_dirty: bool,
}

impl SegmentWriter {
    /// Creates the segment and makes its name durable.
    pub fn create(disk: &dyn Disk, dir: &Path, number: SegmentNo) -> Result<Self> {
        let path = segment_path(dir, number);
        let mut file = disk.create(&path).map_err(Error::io("create", &path))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&number.to_le_bytes());
        file.append(&header).map_err(Error::io("append to", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        Ok(Self { file, path, number, good_bytes: HEADER_BYTES as u64, is_dirty: false })
    }

    /// The segment's number.
    pub fn number(&self) -> SegmentNo {
        self.number
    }

    /// Bytes of whole records, the header included.
    pub fn len(&self) -> u64 {
        self.good_bytes
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.good_bytes == HEADER_BYTES as u64
    }

    /// Writes one record per payload, all in one write, and syncs if asked. After an error none of them counts as
    /// written: the file is cut back to where it was, now or before the next append.
    pub fn append<'a>(
        &mut self,
        payloads: impl Iterator<Item = &'a [u8]>,
        sync: bool,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        self.repair()?;
        buf.clear();
        for payload in payloads {
            let offset = self.good_bytes + buf.len() as u64;
            let len = u32::try_from(payload.len()).map_err(|_| Error::TooLarge { bytes: payload.len() })?;
            buf.extend_from_slice(RECORD_MAGIC);
            buf.extend_from_slice(&len.to_le_bytes());
            buf.extend_from_slice(&checksum(self.number, offset, payload).to_le_bytes());
            buf.extend_from_slice(payload);
        }
        self.is_dirty = true;
        let written = self.file.append(buf).map_err(Error::io("append to", &self.path));
        let written = match written {
            Ok(()) if sync => self.file.sync().map_err(Error::io("sync", &self.path)),
            other => other,
        };
        if let Err(err) = written {
            // If this fails too, `repair` tries again before anything else is written.
            let _ = self.repair();
            return Err(err);
        }
        self.is_dirty = false;
        self.good_bytes += buf.len() as u64;
        Ok(())
    }

    /// Makes what `append` wrote without `sync` durable.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(Error::io("sync", &self.path))
    }

    fn repair(&mut self) -> Result<()> {
        if self.is_dirty {
            self.file.truncate(self.good_bytes).map_err(Error::io("truncate", &self.path))?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

fn checksum(number: SegmentNo, offset: u64, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&(payload.len() as u32).to_le_bytes());
    hasher.update(payload);
    hasher.digest()
}

/// What a walk over a segment's bytes finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A record that checks out.
    Record {
        /// Where its header starts.
        offset: usize,
        /// Its payload.
        payload: &'a [u8],
    },
    /// Bytes that belong to no whole record, with whole records behind them.
    Damage {
        /// Where it starts.
        offset: usize,
        /// How long it is.
        len: usize,
    },
    /// Bytes that belong to no whole record, up to the end of the file.
    Tail {
        /// Where it starts.
        offset: usize,
    },
}

/// Walks the records of a segment. A file without a right header is one `Tail` from 0.
pub fn walk(number: SegmentNo, bytes: &[u8]) -> impl Iterator<Item = Found<'_>> {
    let mut at = if header_matches(number, bytes) { Some(HEADER_BYTES) } else { None };
    let mut bad_header = at.is_none() && !bytes.is_empty();
    std::iter::from_fn(move || {
        if std::mem::take(&mut bad_header) {
            return Some(Found::Tail { offset: 0 });
        }
        let offset = at?;
        if offset == bytes.len() {
            return None;
        }
        if let Some(payload) = record_at(number, bytes, offset) {
            at = Some(offset + RECORD_HEADER_BYTES + payload.len());
            return Some(Found::Record { offset, payload });
        }
        // The length cannot be trusted: look for the next record that checks out.
        let next = memchr::memmem::find_iter(&bytes[offset + 1..], RECORD_MAGIC)
            .map(|found| offset + 1 + found)
            .find(|&candidate| record_at(number, bytes, candidate).is_some());
        at = next;
        Some(match next {
            Some(next) => Found::Damage { offset, len: next - offset },
            None => Found::Tail { offset },
        })
    })
}

fn header_matches(number: SegmentNo, bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES && bytes[..8] == *MAGIC && bytes[8..HEADER_BYTES] == number.to_le_bytes()
}

fn record_at(number: SegmentNo, bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let header = bytes.get(offset..offset + RECORD_HEADER_BYTES)?;
    if header[..4] != *RECORD_MAGIC {
        return None;
    }
    let len = u32::from_le_bytes(header[4..8].try_into().expect("4 bytes")) as usize;
    let payload = bytes[offset + RECORD_HEADER_BYTES..].get(..len)?;
    let want = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
    (checksum(number, offset as u64, payload) == want).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::simulated::{Fault, SimulatedDisk};

    fn dir() -> &'static Path {
        Path::new("/wal")
    }

    fn append(writer: &mut SegmentWriter, payload: &[u8]) -> Result<()> {
        writer.append([payload].into_iter(), true, &mut Vec::new())
    }

    fn segment(payloads: &[&[u8]]) -> (SimulatedDisk, SegmentWriter) {
        let disk = SimulatedDisk::new();
        let mut writer = SegmentWriter::create(&disk, dir(), 7).unwrap();
        writer.append(payloads.iter().copied(), true, &mut Vec::new()).unwrap();
        (disk, writer)
    }

    fn read(disk: &SimulatedDisk) -> Vec<u8> {
        disk.read(&segment_path(dir(), 7)).unwrap()
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let text = |found: Found<'_>| match found {
            Found::Record { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            Found::Damage { .. } => "(damage)".to_owned(),
            Found::Tail { .. } => "(tail)".to_owned(),
        };
        walk(7, bytes).map(text).collect()
    }

    #[test]
    fn walks_whole_torn_and_damaged_segments() {
        let (disk, _) = segment(&[b"one", b"two", b"three"]);
        let whole = read(&disk);
        let first = HEADER_BYTES + RECORD_HEADER_BYTES;
        #[track_caller]
        fn check(bytes: &[u8], want: &[&str]) {
            assert_eq!(texts(bytes), want);
        }
        check(&whole, &["one", "two", "three"]);
        check(&whole[..HEADER_BYTES], &[]);
        check(&[], &[]);
        check(&whole[..5], &["(tail)"]);
        check(&whole[..whole.len() - 1], &["one", "two", "(tail)"]);
        check(&whole[..first + 3 + 2], &["one", "(tail)"]);
        let mut flipped = whole.clone();
        flipped[first] ^= 1;
        check(&flipped, &["(damage)", "two", "three"]);
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        check(&flipped, &["(damage)", "two", "(tail)"]);
        // A record of another segment, or at another place, is not ours.
        assert_eq!(walk(8, &whole).collect::<Vec<_>>(), [Found::Tail { offset: 0 }]);
        let mut doubled = whole.clone();
        doubled.extend_from_slice(&whole[HEADER_BYTES..]);
        check(&doubled, &["one", "two", "three", "(tail)"]);
    }

    #[test]
    fn failed_writes_leave_no_trace() {
        for failing in 0..2 {
            let (disk, mut writer) = segment(&[b"one"]);
            disk.fail_at(disk.operations() + failing, Fault::Once);
            append(&mut writer, b"lost").unwrap_err();
            append(&mut writer, b"two").unwrap();
            assert_eq!(texts(&read(&disk)), ["one", "two"], "operation {failing} fails");
        }
    }

    #[test]
    fn goes_on_when_a_full_disk_has_room_again() {
        let (disk, mut writer) = segment(&[b"one"]);
        disk.set_capacity(Some(read(&disk).len() as u64 + 10));
        let err = append(&mut writer, b"does not fit").unwrap_err();
        assert!(matches!(err, Error::NoSpace { .. }) && err.is_retryable(), "{err}");
        append(&mut writer, b"does not fit").unwrap_err();
        disk.set_capacity(None);
        append(&mut writer, b"fits").unwrap();
        assert_eq!(texts(&read(&disk)), ["one", "fits"]);
    }
}
