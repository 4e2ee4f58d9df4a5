//! The patterns of a day on disk.
//!
//! ```text
//! day := hex(xxh3 of the rest) "\n" zstd(JSON of `DayFile`)       patterns/2026-01-15, replaced as a whole
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{error, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::template::Template;
use crate::storage::disk::Disk;

const VERSION: u32 = 1;
/// A day with all that memory may hold unpacks to less.
const JSON_BYTES_MAX: usize = 512 << 20;

/// A day.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayFile {
    /// Of this form.
    pub version: u32,
    /// Streams with lines on that day.
    pub streams: Vec<DayStream>,
}

/// A stream of a day.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStream {
    /// Whose.
    pub tenant: String,
    /// Index labels.
    pub labels: Vec<(String, String)>,
    /// Its templates.
    pub patterns: Vec<DayPattern>,
}

/// A template of a stream.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayPattern {
    /// What its lines have in common.
    pub template: Template,
    /// Their level.
    pub level: Arc<str>,
    /// Slots of 10 s, and lines in them.
    pub counts: Vec<(u32, u32)>,
}

impl DayFile {
    /// An empty day.
    pub fn new() -> Self {
        Self { version: VERSION, streams: Vec::new() }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        let packed = zstd::bulk::compress(&json, 3)?;
        let mut bytes = format!("{:016x}\n", xxh3_64(&packed)).into_bytes();
        bytes.extend_from_slice(&packed);
        Ok(bytes)
    }

    /// Reads the bytes of a file. `None`: they are damaged, or of a later version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, packed) = bytes.split_at_checked(17)?;
        let want = u64::from_str_radix(std::str::from_utf8(head).ok()?.strip_suffix('\n')?, 16).ok()?;
        if xxh3_64(packed) != want {
            return None;
        }
        let json = zstd::bulk::decompress(packed, JSON_BYTES_MAX).ok()?;
        let day: Self = serde_json::from_slice(&json).ok()?;
        let is_sound = |stream: &DayStream| stream.patterns.iter().all(|pattern| pattern.template.is_sound());
        (day.version == VERSION && day.streams.iter().all(is_sound)).then_some(day)
    }
}

/// The folder of all days.
#[derive(Clone)]
pub struct DayFolder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl DayFolder {
    /// `patterns` in the data directory.
    pub fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self { disk, path: data_dir.join("patterns") }
    }

    fn file(&self, day: i32) -> PathBuf {
        self.path.join(name(day))
    }

    /// The days that have a file, oldest first.
    pub fn days(&self) -> Vec<i32> {
        let entries = self.disk.list(&self.path).unwrap_or_default();
        let mut days: Vec<i32> = entries.iter().filter_map(|entry| parse_name(&entry.name)).collect();
        days.sort_unstable();
        days
    }

    /// A day; empty when there is no file, or none that can be read: patterns are worth a warning, not a stop.
    pub fn read(&self, day: i32) -> DayFile {
        let path = self.file(day);
        match self.disk.read(&path) {
            Ok(bytes) => DayFile::decode(&bytes).unwrap_or_else(|| {
                error!(path = %path.display(), "patterns of a day are damaged and left out");
                DayFile::new()
            }),
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => DayFile::new(),
            Err(failure) => {
                warn!(error = %failure, path = %path.display(), "patterns of a day cannot be read");
                DayFile::new()
            }
        }
    }

    /// Replaces a day. False when that failed; the next try may do better.
    pub fn write(&self, day: i32, content: &DayFile) -> bool {
        let path = self.file(day);
        let written = self
            .disk
            .create_dir_all(&self.path)
            .and_then(|()| content.encode())
            .and_then(|bytes| self.disk.replace(&path, &bytes));
        if let Err(failure) = &written {
            warn!(error = %failure, path = %path.display(), "patterns of a day not written");
        }
        written.is_ok()
    }

    /// Removes all but the newest `keep` days.
    pub fn keep_newest(&self, keep: usize) {
        let days = self.days();
        for &day in &days[..days.len().saturating_sub(keep)] {
            let path = self.file(day);
            if let Err(failure) = self.disk.remove(&path) {
                warn!(error = %failure, path = %path.display(), "old patterns could not be removed");
            }
        }
    }
}

fn name(day: i32) -> String {
    let date = jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(day));
    date.to_string()
}

fn parse_name(name: &str) -> Option<i32> {
    let date: jiff::civil::Date = name.parse().ok()?;
    let days = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok()?;
    Some(days.get_days())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns::tokens::Words;
    use crate::storage::disk::RealDisk;

    #[test]
    fn names_are_dates() {
        assert_eq!(name(20_468), "2026-01-15");
        assert_eq!(parse_name("2026-01-15"), Some(20_468));
        assert_eq!(parse_name("2026-01-15.tmp"), None);
    }

    #[test]
    fn a_day_reads_back_and_damage_is_noticed() {
        let mut words = Words::default();
        words.read("a=1 b");
        let template = Template::of("a=1 b", &words);
        let pattern = DayPattern { template, level: "info".into(), counts: vec![(1, 2)] };
        let labels = vec![("app".to_owned(), "x".to_owned())];
        let stream = DayStream { tenant: "fake".to_owned(), labels, patterns: vec![pattern] };
        let day = DayFile { version: VERSION, streams: vec![stream] };
        let mut bytes = day.encode().unwrap();
        assert_eq!(DayFile::decode(&bytes).as_ref(), Some(&day));
        let dir = tempfile::tempdir().unwrap();
        let folder = DayFolder::new(Arc::new(RealDisk), dir.path());
        assert!(folder.days().is_empty());
        for number in 5..9 {
            assert!(folder.write(number, &day));
        }
        assert_eq!((folder.days(), folder.read(7)), (vec![5, 6, 7, 8], day));
        assert_eq!(folder.read(1), DayFile::new());
        folder.keep_newest(2);
        assert_eq!(folder.days(), [7, 8]);
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(DayFile::decode(&bytes), None, "byte {at}");
            bytes[at] ^= 1;
        }
        assert_eq!(DayFile::decode(b""), None);
    }
}
