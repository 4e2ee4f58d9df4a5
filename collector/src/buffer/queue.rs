//! A queue of the disk buffer: the segments of one tenant.
//!
//! ```text
//! FOLDER/TENANT/00000000000000000000.seg     named by the place where it begins
//! FOLDER/TENANT/00000000000000183212.seg     the newest is written
//! FOLDER/TENANT/marker                       the place before which everything is acknowledged
//! ```
//!
//! A *place* is a number of bytes since the queue was made; it only grows. Segments of an earlier process are never
//! written again: what follows its torn end begins a segment of its own.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::record;

const MARKER: &str = "marker";
const MARKER_MAGIC: &str = "logstack-buffer 1";
/// The segment that is written is replaced when it is acknowledged and so large …
const RETIRE_BYTES: u64 = 1 << 20;
/// … or nothing was written for so long.
const RETIRE_AGE: Duration = Duration::from_secs(10);

/// Entries of one tenant that wait on disk.
#[derive(Debug)]
pub struct Queue {
    /// Whose; `None`: the client's own.
    pub tenant: Option<Box<str>>,
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// Of the last segment; `None`: the next record begins a new one.
    writer: Option<File>,
    /// Where the next segment begins.
    next: u64,
    /// How far entries were read: they are on their way, and not lost with their segment.
    read_to: u64,
}

/// A file of a queue.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Place of its first byte.
    pub base: u64,
    /// Bytes that may be read.
    pub len: u64,
    begun: SystemTime,
    last_write: SystemTime,
}

impl Segment {
    /// Place behind its last byte.
    pub fn end(&self) -> u64 {
        self.base + self.len
    }
}

/// What went with a segment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes on disk.
    pub bytes: u64,
    /// Entries that nobody had read.
    pub entries: u64,
}

/// When a segment is followed by a new one.
#[derive(Debug, Clone, Copy)]
pub struct Roll {
    /// Largest segment.
    pub bytes: u64,
    /// Longest time in which one is written.
    pub age: Duration,
}

impl Queue {
    /// Opens or creates the queue in `folder`; gives the place where reading goes on.
    ///
    /// # Errors
    /// A folder that cannot be read or made.
    pub fn open(folder: PathBuf, tenant: Option<Box<str>>) -> io::Result<(Self, u64)> {
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            sync_folder(folder.parent().unwrap_or(Path::new(".")))?;
        }
        let mut segments: Vec<Segment> = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let base = name.to_str().and_then(|name| name.strip_suffix(".seg")?.parse().ok());
            let Some(base) = base else { continue };
            let metadata = entry.metadata()?;
            let last_write = metadata.modified()?;
            segments.push(Segment { base, len: metadata.len(), begun: last_write, last_write });
        }
        segments.sort_by_key(|segment| segment.base);
        for idx in 1..segments.len() {
            // A write that failed may have left more than was counted.
            let room = segments[idx].base - segments[idx - 1].base;
            segments[idx - 1].len = segments[idx - 1].len.min(room);
        }
        let marker = read_marker(&folder.join(MARKER)).unwrap_or(0);
        let next = segments.last().map_or(0, Segment::end).max(marker);
        let state = State { segments: segments.into(), writer: None, next, read_to: marker };
        let queue = Self { tenant, folder, state: Mutex::new(state) };
        queue.acknowledge(marker);
        Ok((queue, marker))
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.state.lock().segments.iter().map(|segment| segment.len).sum()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.state.lock().segments.len()
    }

    /// When the oldest segment was written last.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.state.lock().segments.front().map(|segment| segment.last_write)
    }

    /// Writes a record and syncs it.
    ///
    /// # Errors
    /// A disk that is full or broken; then nothing of the record will be read.
    pub fn append(&self, record: &[u8], roll: Roll, now: SystemTime) -> io::Result<()> {
        let mut state = self.state.lock();
        let State { segments, writer, next, .. } = &mut *state;
        let is_full = segments.back().is_some_and(|segment| {
            let is_old = now.duration_since(segment.begun).is_ok_and(|age| age >= roll.age);
            segment.len > 0 && (segment.len + record.len() as u64 > roll.bytes || is_old)
        });
        if is_full {
            *writer = None;
        }
        if writer.is_none() {
            let path = segment_path(&self.folder, *next);
            *writer = Some(OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?);
            sync_folder(&self.folder)?;
            // One that was begun and never written has the same name.
            segments.retain(|segment| segment.base != *next);
            segments.push_back(Segment { base: *next, len: 0, begun: now, last_write: now });
        }
        let (Some(file), Some(segment)) = (writer.as_mut(), segments.back_mut()) else {
            unreachable!("both were made above");
        };
        let written = file.write_all(record).and_then(|()| file.sync_data());
        if let Err(err) = written {
            // What was written of it must not be taken for a record; a new segment follows in any case.
            let _ = file.set_len(segment.len);
            *writer = None;
            if segment.len == 0 {
                let _ = fs::remove_file(segment_path(&self.folder, segment.base));
                segments.pop_back();
            }
            return Err(err);
        }
        segment.len += record.len() as u64;
        segment.last_write = now;
        *next = segment.end();
        Ok(())
    }

    /// The segment that holds `place`, or the first one behind it.
    pub fn locate(&self, place: u64) -> Option<(Segment, PathBuf)> {
        let state = self.state.lock();
        let segment = state.segments.iter().find(|segment| segment.end() > place)?;
        Some((segment.clone(), segment_path(&self.folder, segment.base)))
    }

    /// Entries before `place` were read.
    pub fn read_to(&self, place: u64) {
        self.state.lock().read_to = place;
    }

    /// Deletes what lies before `place`; gives the bytes that are free now.
    pub fn acknowledge(&self, place: u64) -> u64 {
        let mut state = self.state.lock();
        let mut freed = 0;
        while let Some(segment) = state.segments.front() {
            let is_idle = segment.last_write.elapsed().is_ok_and(|age| age >= RETIRE_AGE);
            let is_written = state.segments.len() == 1 && state.writer.is_some();
            if segment.end() > place || is_written && segment.len < RETIRE_BYTES && !is_idle {
                break;
            }
            freed += self.remove_oldest(&mut state);
        }
        freed
    }

    /// Drops the oldest segment, read or not.
    pub fn drop_oldest(&self) -> Option<Dropped> {
        let mut state = self.state.lock();
        let segment = state.segments.front()?.clone();
        let from = state.read_to.saturating_sub(segment.base).min(segment.len);
        let file = File::open(segment_path(&self.folder, segment.base));
        let entries = file.map_or(0, |file| record::count_entries(&file, from, segment.len));
        Some(Dropped { bytes: self.remove_oldest(&mut state), entries })
    }

    fn remove_oldest(&self, state: &mut State) -> u64 {
        let Some(segment) = state.segments.pop_front() else { return 0 };
        if state.segments.is_empty() {
            state.writer = None;
        }
        let path = segment_path(&self.folder, segment.base);
        if let Err(err) = fs::remove_file(&path)
            && err.kind() != io::ErrorKind::NotFound
        {
            warn!(error = %err, path = %path.display(), "a segment of the disk buffer cannot be deleted");
        }
        segment.len
    }

    /// Remembers that everything before `place` is acknowledged.
    ///
    /// # Errors
    /// A disk that is full or broken.
    pub fn save_marker(&self, place: u64) -> io::Result<()> {
        let (path, temporary) = (self.folder.join(MARKER), self.folder.join("marker.tmp"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let body = place.to_string();
        writeln!(file, "{MARKER_MAGIC} {body} {:016x}", xxh3_64(body.as_bytes()))?;
        file.sync_data()?;
        fs::rename(temporary, path)
    }
}

fn segment_path(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}.seg"))
}

/// After a power cut a file may be there without its name, and its entries are acknowledged to their senders.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// `None`: there is none, or it is damaged; then everything that is left is sent again.
fn read_marker(path: &Path) -> Option<u64> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return None,
        Err(err) => {
            warn!(error = %err, path = %path.display(), "a marker of the disk buffer cannot be read");
            return None;
        }
    };
    let parsed = || {
        let mut words = text.strip_prefix(MARKER_MAGIC)?.split_whitespace();
        let (body, hash) = (words.next()?, u64::from_str_radix(words.next()?, 16).ok()?);
        (xxh3_64(body.as_bytes()) == hash).then(|| body.parse().ok()).flatten()
    };
    let marker = parsed();
    if marker.is_none() {
        warn!(path = %path.display(), "a marker of the disk buffer is damaged: what is left of it is sent again");
    }
    marker
}

#[cfg(test)]
mod tests {
    use logstack_logql::Labels;

    use super::*;

    const ROLL: Roll = Roll { bytes: 100, age: Duration::from_secs(3600) };

    fn record(line: &str) -> Vec<u8> {
        let mut builder = record::Builder::default();
        builder.add(&Labels::from_pairs([("a", "b")]), 1, line.as_bytes(), &[]);
        builder.encode()
    }

    fn open(folder: &Path) -> (Queue, u64) {
        Queue::open(folder.join("-"), None).unwrap()
    }

    #[test]
    fn segments_roll_and_go_when_they_are_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, marker) = open(folder.path());
        assert_eq!(marker, 0);
        let (record, now) = (record("x"), SystemTime::now());
        let len = record.len() as u64;
        (0..5).for_each(|_| queue.append(&record, ROLL, now).unwrap());
        let per_segment = ROLL.bytes / len;
        assert!(per_segment >= 1 && queue.segment_count() as u64 == 5u64.div_ceil(per_segment));
        assert_eq!(queue.bytes(), 5 * len);
        assert_eq!(queue.acknowledge(per_segment * len), per_segment * len);
        assert_eq!(queue.locate(0).unwrap().0.base, per_segment * len);
        queue.save_marker(3 * len).unwrap();
        drop(queue);
        let (queue, marker) = open(folder.path());
        assert_eq!(marker, 3 * len);
        assert!(queue.locate(marker).unwrap().0.end() > marker);
        queue.append(&record, ROLL, now).unwrap();
        assert!(queue.locate(5 * len).is_some_and(|(segment, _)| segment.base == 5 * len), "places go on");
    }

    #[test]
    fn places_never_go_back() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, _) = open(folder.path());
        queue.append(&record("x"), ROLL, SystemTime::now()).unwrap();
        let end = queue.bytes();
        queue.save_marker(end).unwrap();
        drop(queue);
        let (queue, marker) = open(folder.path());
        assert_eq!((queue.segment_count(), marker), (0, end), "everything was acknowledged");
        queue.append(&record("y"), ROLL, SystemTime::now()).unwrap();
        assert_eq!(queue.locate(marker).unwrap().0.base, end);
    }

    #[test]
    fn drops_the_oldest_and_counts_what_nobody_had_read() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, _) = open(folder.path());
        let (record, roll) = (record("x"), Roll { bytes: 1 << 20, ..ROLL });
        let len = record.len() as u64;
        (0..3).for_each(|_| queue.append(&record, roll, SystemTime::now()).unwrap());
        queue.read_to(len);
        assert_eq!(queue.drop_oldest(), Some(Dropped { bytes: 3 * len, entries: 2 }));
        assert_eq!(queue.drop_oldest(), None);
        queue.append(&record, roll, SystemTime::now()).unwrap();
        assert_eq!(queue.locate(0).unwrap().0.base, 3 * len);
    }

    #[test]
    fn a_damaged_marker_sends_everything_again() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, _) = open(folder.path());
        queue.append(&record("x"), ROLL, SystemTime::now()).unwrap();
        queue.save_marker(3).unwrap();
        drop(queue);
        for damage in ["", "\0\0\0", "logstack-buffer 1 9 0000000000000000", "logstack-buffer 1 x"] {
            fs::write(folder.path().join("-/marker"), damage).unwrap();
            assert_eq!(open(folder.path()).1, 0, "{damage:?}");
        }
    }
}
