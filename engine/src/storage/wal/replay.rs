//! Reads the WAL back at start. Idempotent: a crash during replay changes nothing but a torn tail that is gone.

use std::path::Path;

use tracing::{error, warn};

use super::segment::{Found, HEADER_BYTES, walk};
use super::{SegmentNo, parse_segment_name, segment_path};
use crate::storage::disk::Disk;
use crate::storage::error::{Error, Result};
use crate::storage::quarantine::Quarantine;
use crate::storage::wire::Malformed;

/// What replay found, for logs and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Segments read.
    pub segments: u64,
    /// Records handed on.
    pub records: u64,
    /// Bytes of a torn tail that were cut off. Nothing in them was acknowledged.
    pub torn_bytes: u64,
    /// Bytes that do not check out. They may have held acknowledged entries.
    pub damaged_bytes: u64,
    /// The number for the next segment.
    pub next_segment: SegmentNo,
}

/// Hands every record of the segments from `first` on to `apply`, in order; `segment_done` follows each segment.
/// Segments before `first` are in parts already, and are removed.
///
/// Only the newest segment with records may end torn: its tail is cut off. Damage elsewhere is copied to quarantine and counted;
/// what checks out behind it is still used.
pub fn replay(
    disk: &dyn Disk,
    dir: &Path,
    first: SegmentNo,
    quarantine: &Quarantine,
    mut apply: impl FnMut(&[u8]) -> Result<(), Malformed>,
    mut segment_done: impl FnMut(SegmentNo) -> Result<()>,
) -> Result<Replayed> {
    let mut numbers = Vec::new();
    for entry in disk.list(dir).map_err(Error::io("list", dir))? {
        let Some(number) = parse_segment_name(&entry.name) else { continue };
        if number < first {
            let path = segment_path(dir, number);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        } else {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    let next_segment = numbers.last().map_or(first, |newest| newest + 1);
    let mut replayed = Replayed { next_segment, ..Replayed::default() };
    let newest = newest_in_use(disk, dir, &numbers)?;
    for number in numbers {
        let path = segment_path(dir, number);
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        let mut damaged_bytes = 0;
        let mut tail = None;
        for found in walk(number, &bytes) {
            match found {
                Found::Record { offset, payload } => match apply(payload) {
                    Ok(()) => replayed.records += 1,
                    Err(err) => {
                        error!(path = %path.display(), offset, error = %err, "a log record does not decode");
                        damaged_bytes += payload.len() as u64;
                    }
                },
                Found::Damage { offset, len } => {
                    error!(path = %path.display(), offset, len, "log segment is damaged");
                    damaged_bytes += len as u64;
                }
                Found::Tail { offset } => tail = Some(offset),
            }
        }
        replayed.segments += 1;
        if let Some(offset) = tail {
            let len = (bytes.len() - offset) as u64;
            if number >= newest {
                warn!(path = %path.display(), offset, len, "cut the torn end of the newest log segment");
                replayed.torn_bytes += len;
            } else {
                error!(path = %path.display(), offset, len, "log segment ends in damage");
                damaged_bytes += len;
            }
        }
        if damaged_bytes > 0 {
            replayed.damaged_bytes += damaged_bytes;
            quarantine.copy(&path, &bytes);
        }
        if let Some(offset) = tail.filter(|_| number >= newest) {
            // Without its header a segment holds nothing, and a later start should not take it for damage.
            if offset < HEADER_BYTES {
                disk.remove(&path).map_err(Error::io("remove", &path))?;
            } else {
                disk.truncate(&path, offset as u64).map_err(Error::io("truncate", &path))?;
            }
        }
        segment_done(number)?;
    }
    Ok(replayed)
}

/// The newest segment that holds a record. Later ones were created and never used: a full disk can keep the writer in
/// the old segment.
fn newest_in_use(disk: &dyn Disk, dir: &Path, numbers: &[SegmentNo]) -> Result<SegmentNo> {
    for &number in numbers.iter().rev() {
        let path = segment_path(dir, number);
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        if walk(number, &bytes).any(|found| matches!(found, Found::Record { .. })) {
            return Ok(number);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::simulated::SimulatedDisk;
    use crate::storage::wal::segment::SegmentWriter;
    use std::sync::Arc;

    fn segments(contents: &[&[&str]]) -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        for (idx, texts) in contents.iter().enumerate() {
            let mut writer = SegmentWriter::create(&disk, Path::new("/wal"), idx as u64 + 1).unwrap();
            writer.append(texts.iter().map(|t| t.as_bytes()), true, &mut Vec::new()).unwrap();
        }
        disk
    }

    fn read(disk: &SimulatedDisk, first: SegmentNo) -> (Vec<String>, Replayed) {
        let quarantine = Quarantine::new(Arc::new(disk.clone()), Path::new("/quarantine"));
        let mut texts = Vec::new();
        let apply = |payload: &[u8]| {
            texts.push(String::from_utf8(payload.to_vec()).unwrap());
            Ok(())
        };
        let replayed = replay(disk, Path::new("/wal"), first, &quarantine, apply, |_| Ok(())).unwrap();
        (texts, replayed)
    }

    #[test]
    fn replays_in_order_from_the_cut() {
        let disk = segments(&[&["a"], &["b", "c"], &["d"]]);
        let (texts, replayed) = read(&disk, 2);
        assert_eq!(texts, ["b", "c", "d"]);
        assert_eq!((replayed.segments, replayed.records, replayed.next_segment), (2, 3, 4));
        assert_eq!(read(&disk, 1).0, ["b", "c", "d"], "segments before the cut are gone");
    }

    #[test]
    fn cuts_a_torn_tail_once() {
        let disk = segments(&[&["a"], &["b", "c"]]);
        let path = segment_path(Path::new("/wal"), 2);
        let len = disk.read(&path).unwrap().len() as u64;
        disk.truncate(&path, len - 1).unwrap();
        let (texts, replayed) = read(&disk, 1);
        assert_eq!((texts.join(""), replayed.torn_bytes, replayed.damaged_bytes), ("ab".to_owned(), 16, 0));
        let (texts, replayed) = read(&disk, 1);
        assert_eq!((texts.join(""), replayed.torn_bytes), ("ab".to_owned(), 0));
        disk.truncate(&path, 3).unwrap();
        let (texts, replayed) = read(&disk, 1);
        assert_eq!((texts.join(""), replayed.torn_bytes, replayed.next_segment), ("a".to_owned(), 3, 3));
    }

    #[test]
    fn quarantines_damage_and_goes_on() {
        let disk = segments(&[&["a", "b"], &["c"]]);
        disk.flip(&segment_path(Path::new("/wal"), 1), 32);
        let (texts, replayed) = read(&disk, 1);
        assert_eq!((texts.join(""), replayed.damaged_bytes > 0), ("bc".to_owned(), true));
        assert!(disk.files().iter().any(|(path, _)| path.starts_with("/quarantine")));
    }
}
