//! One file that is tailed: reads what was appended, notices rotation and truncation, cuts lines.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memchr_iter;

use crate::receipt::{Progress, Receipt};

/// Bytes that are read from a file before the next one has its turn.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// A rotated file is finished when it has not grown for this long: the writer may still hold it open.
const ROTATED_QUIET: Duration = Duration::from_secs(2);

/// Which file this is, whatever its name, for as long as it is held open (a held inode number is not used again).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// A file that is being read.
#[derive(Debug)]
pub struct TailedFile {
    /// As globbed, before symbolic links are resolved.
    pub path: PathBuf,
    source: Source,
    identity: Identity,
    /// Bytes taken from the file so far, unfinished line included.
    read_offset: u64,
    /// A line whose end has not been written yet.
    unfinished: Vec<u8>,
    line_bytes_max: usize,
    /// What the server has acknowledged.
    pub progress: Arc<Progress>,
    last_growth: Instant,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    /// A whole archive; positions count lines, as a place in the compressed bytes cannot be sought.
    Archive {
        decoder: Box<flate2::read::MultiGzDecoder<File>>,
        skip_lines: u64,
        lines: u64,
    },
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Lines were read, there may be more.
    Read,
    /// Nothing new.
    Idle,
    /// The file is read to its end and will not grow: another file has its name, or it is gone, or an archive is through.
    Finished,
}

impl TailedFile {
    /// Opens `path` behind the first `offset` bytes; starts over if the file is shorter, as it is then another one.
    pub fn open(path: &Path, offset: u64, line_bytes_max: usize, now: Instant) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let offset = if offset > metadata.len() { 0 } else { offset };
        Ok(Self::new(path, Source::Plain(file), identity(&metadata), offset, line_bytes_max, now))
    }

    /// Opens a gzip archive behind its first `lines` lines.
    pub fn open_archive(path: &Path, lines: u64, line_bytes_max: usize, now: Instant) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = identity(&file.metadata()?);
        let decoder = Box::new(flate2::read::MultiGzDecoder::new(file));
        let source = Source::Archive { decoder, skip_lines: lines, lines: 0 };
        let mut tailed = Self::new(path, source, identity, 0, line_bytes_max, now);
        tailed.progress = Progress::new(lines);
        Ok(tailed)
    }

    fn new(path: &Path, source: Source, identity: Identity, offset: u64, line_bytes_max: usize, now: Instant) -> Self {
        Self {
            path: path.to_owned(),
            source,
            identity,
            read_offset: offset,
            unfinished: Vec::new(),
            line_bytes_max,
            progress: Progress::new(offset),
            last_growth: now,
        }
    }

    /// True for a compressed archive.
    pub fn is_archive(&self) -> bool {
        matches!(self.source, Source::Archive { .. })
    }

    /// Reads at most [`CHUNK_BYTES_MAX`] and calls `take` for each whole line, without its newline. `buffer` is scratch.
    pub fn turn(
        &mut self,
        buffer: &mut Vec<u8>,
        now: Instant,
        mut take: impl FnMut(&[u8], &Receipt),
    ) -> io::Result<Turn> {
        buffer.resize(CHUNK_BYTES_MAX, 0);
        if let Source::Plain(file) = &self.source {
            let len = file.metadata()?.len();
            if len < self.read_offset {
                // Cut in place (copytruncate): what is there now was written after the cut.
                self.read_offset = 0;
                self.unfinished.clear();
                self.progress = Progress::new(0);
            }
        }
        let count = match &mut self.source {
            Source::Plain(file) => file.read_at(buffer, self.read_offset)?,
            Source::Archive { decoder, .. } => decoder.read(buffer)?,
        };
        if count > 0 {
            self.last_growth = now;
            self.cut_lines(&buffer[..count], &mut take);
            return Ok(Turn::Read);
        }
        if !self.is_over(now) {
            return Ok(Turn::Idle);
        }
        if !self.unfinished.is_empty() {
            // The writer has gone: this is all that will ever be there of the line.
            let end = self.position_after_line();
            let receipt = self.progress.chunk(end);
            take(&std::mem::take(&mut self.unfinished), &receipt);
            receipt.settle();
        }
        Ok(Turn::Finished)
    }

    /// True when nothing will be appended any more.
    fn is_over(&self, now: Instant) -> bool {
        match &self.source {
            Source::Archive { .. } => true,
            Source::Plain(_) => {
                let replaced = match fs::metadata(&self.path) {
                    Ok(metadata) => identity(&metadata) != self.identity,
                    Err(_) => true,
                };
                replaced && now.duration_since(self.last_growth) >= ROTATED_QUIET
            }
        }
    }

    fn position_after_line(&mut self) -> u64 {
        match &mut self.source {
            Source::Plain(_) => self.read_offset,
            Source::Archive { lines, .. } => {
                *lines += 1;
                *lines
            }
        }
    }

    fn cut_lines(&mut self, bytes: &[u8], take: &mut impl FnMut(&[u8], &Receipt)) {
        let chunk_start = self.read_offset;
        self.read_offset += bytes.len() as u64;
        let Some(last_newline) = bytes.iter().rposition(|&byte| byte == b'\n') else {
            return self.keep_unfinished(bytes);
        };
        let (mut lines_before, mut skip) = (0, 0);
        let end = match &mut self.source {
            Source::Plain(_) => chunk_start + last_newline as u64 + 1,
            Source::Archive { lines, skip_lines, .. } => {
                (lines_before, skip) = (*lines, *skip_lines);
                *lines += memchr_iter(b'\n', bytes).count() as u64;
                (*lines).max(skip)
            }
        };
        let receipt = self.progress.chunk(end);
        let mut start = 0;
        for newline in memchr_iter(b'\n', bytes) {
            let line = &bytes[start..newline];
            start = newline + 1;
            lines_before += 1;
            if lines_before <= skip {
                self.unfinished.clear();
                continue;
            }
            if self.unfinished.is_empty() {
                take(trimmed(line, self.line_bytes_max), &receipt);
            } else {
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(line);
                take(trimmed(&whole, self.line_bytes_max), &receipt);
                whole.clear();
                self.unfinished = whole;
            }
        }
        receipt.settle();
        self.keep_unfinished(&bytes[start..]);
    }

    /// Keeps the start of a line; beyond the limit the start is all that is kept until its newline comes.
    fn keep_unfinished(&mut self, bytes: &[u8]) {
        let room = (self.line_bytes_max + 1).saturating_sub(self.unfinished.len());
        self.unfinished.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A line without the carriage return of foreign systems, cut at the limit.
fn trimmed(line: &[u8], limit: usize) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= limit {
        return line;
    }
    let mut end = limit;
    // Not within a character: a UTF-8 continuation byte is 10xxxxxx.
    while end > 0 && line[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &line[..end]
}

fn identity(metadata: &fs::Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Scene {
        _folder: tempfile::TempDir,
        path: PathBuf,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("app.log");
            Self { _folder: folder, path, now: Instant::now() }
        }

        fn append(&self, text: &str) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn open(&self, offset: u64) -> TailedFile {
            TailedFile::open(&self.path, offset, 100, self.now).unwrap()
        }
    }

    #[track_caller]
    fn check(file: &mut TailedFile, now: Instant, want: &[&str], want_turn: Turn) {
        let mut lines = Vec::new();
        let turn =
            file.turn(&mut Vec::new(), now, |line, _| lines.push(String::from_utf8_lossy(line).into_owned())).unwrap();
        assert_eq!((lines.iter().map(String::as_str).collect::<Vec<_>>(), turn), (want.to_vec(), want_turn));
    }

    #[test]
    fn reads_what_is_appended_line_by_line() {
        let scene = Scene::new();
        scene.append("one\ntwo\r\nthr");
        let mut file = scene.open(0);
        check(&mut file, scene.now, &["one", "two"], Turn::Read);
        assert_eq!(file.progress.acknowledged(), 9);
        check(&mut file, scene.now, &[], Turn::Idle);
        scene.append("ee\n\n");
        check(&mut file, scene.now, &["three", ""], Turn::Read);
        assert_eq!(file.progress.acknowledged(), 16);
        let mut again = scene.open(file.progress.acknowledged());
        check(&mut again, scene.now, &[], Turn::Idle);
    }

    #[test]
    fn finishes_a_rotated_file_before_it_lets_go() {
        let scene = Scene::new();
        scene.append("old\n");
        let mut file = scene.open(0);
        check(&mut file, scene.now, &["old"], Turn::Read);
        fs::rename(&scene.path, scene.path.with_extension("1")).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(scene.path.with_extension("1"))
            .unwrap()
            .write_all(b"late\nrest")
            .unwrap();
        scene.append("new\n");
        check(&mut file, scene.now, &["late"], Turn::Read);
        check(&mut file, scene.now, &[], Turn::Idle);
        check(&mut file, scene.now + ROTATED_QUIET, &["rest"], Turn::Finished);
    }

    #[test]
    fn starts_over_after_a_cut_in_place() {
        let scene = Scene::new();
        scene.append("a long first line\n");
        let mut file = scene.open(0);
        check(&mut file, scene.now, &["a long first line"], Turn::Read);
        fs::write(&scene.path, "cut\n").unwrap();
        check(&mut file, scene.now, &["cut"], Turn::Read);
        assert_eq!(file.progress.acknowledged(), 4);
    }

    #[test]
    fn cuts_overlong_lines_and_goes_on_behind_them() {
        let scene = Scene::new();
        scene.append(&format!("{}é\nnext\n", "x".repeat(99)));
        let mut file = scene.open(0);
        check(&mut file, scene.now, &[&"x".repeat(99), "next"], Turn::Read);
        scene.append(&"y".repeat(300));
        check(&mut file, scene.now, &[], Turn::Read);
        scene.append("\nafter\n");
        check(&mut file, scene.now, &[&"y".repeat(100), "after"], Turn::Read);
    }

    #[test]
    fn reads_an_archive_once_and_goes_on_behind_its_lines() {
        let scene = Scene::new();
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&scene.path).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"one\ntwo\nthree").unwrap();
        encoder.finish().unwrap();
        let mut file = TailedFile::open_archive(&scene.path, 0, 100, scene.now).unwrap();
        check(&mut file, scene.now, &["one", "two"], Turn::Read);
        check(&mut file, scene.now, &["three"], Turn::Finished);
        assert_eq!(file.progress.acknowledged(), 3);
        let mut again = TailedFile::open_archive(&scene.path, 2, 100, scene.now).unwrap();
        check(&mut again, scene.now, &[], Turn::Read);
        check(&mut again, scene.now, &["three"], Turn::Finished);
    }
}
