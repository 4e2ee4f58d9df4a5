//! One file that is tailed: reads what was appended, notices truncation, cuts lines. Which file comes before and after
//! it is the affair of its [`Log`](super::log::Log).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bzip2::read::MultiBzDecoder;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use memchr::memchr;

use super::identity::{Fingerprint, HEAD_BYTES_MAX, Identity, Inode};
use crate::receipt::{Progress, Receipt};

/// Bytes that are read from a file before the next one has its turn.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// The beginning of a file that was not looked at for so long is compared before more is read: it may have been cut and
/// have grown beyond where we were.
const COMPARE_PERIOD: Duration = Duration::from_millis(50);

/// A line as it lies in the file.
#[derive(Debug, Clone, Copy)]
pub struct RawLine<'a> {
    /// Without its newline.
    pub bytes: &'a [u8],
    /// Where it begins.
    pub start: u64,
}

/// What the taker of lines says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// More.
    More,
    /// Enough for now: what follows is read again later.
    Enough,
}

/// How a newline is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Newline {
    /// One byte: UTF-8, and whatever else writes ASCII as ASCII.
    #[default]
    Byte,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

impl Newline {
    /// Bytes of a newline.
    fn len(self) -> usize {
        if self == Self::Byte { 1 } else { 2 }
    }

    /// Where the next newline begins, from `from` on.
    fn find(self, bytes: &[u8], from: usize) -> Option<usize> {
        let pair: [u8; 2] = match self {
            Self::Byte => return memchr(b'\n', &bytes[from..]).map(|at| from + at),
            Self::Utf16Le => [b'\n', 0],
            Self::Utf16Be => [0, b'\n'],
        };
        bytes[from..].chunks_exact(2).position(|unit| unit == pair).map(|unit| from + unit * 2)
    }
}

/// A file that is being read.
#[derive(Debug)]
pub struct TailedFile {
    source: Source,
    identity: Identity,
    /// Bytes taken from the file so far, unfinished line included. Of compressed files: bytes of the content.
    read_offset: u64,
    /// Where the unfinished line begins.
    line_start: u64,
    /// A line whose end has not been written yet.
    unfinished: Vec<u8>,
    line_bytes_max: usize,
    newline: Newline,
    /// What the server has acknowledged.
    pub progress: Arc<Progress>,
    last_growth: Instant,
    /// Seconds and ns of the last write, as of the last look.
    modified: (i64, i64),
    /// It had no name at the last look.
    is_unlinked: bool,
    /// When the beginning was compared last.
    compared: Instant,
    /// The last turn found nothing: before more is read, the beginning is compared.
    was_idle: bool,
}

enum Source {
    Plain(File),
    /// A rotated file that was compressed; offsets are those of the content.
    Compressed(Box<dyn Read + Send>),
    /// A whole archive; positions count lines, as in Promtail.
    Archive {
        decoder: Box<dyn Read + Send>,
        skip_lines: u64,
        lines: u64,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Compressed(_) => "Compressed",
            Self::Archive { .. } => "Archive",
        })
    }
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Lines were read, there may be more.
    Read,
    /// Lines were read, and the taker has enough.
    Paused,
    /// Nothing new.
    Idle,
    /// The file was cut in place, or replaced under its inode: another content is there now.
    Truncated,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// zlib.
    Zlib,
    /// bzip2, also in several streams, as `pbzip2` writes it.
    Bzip2,
}

/// The first bytes of a file.
pub fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES_MAX];
    let mut len = 0;
    while len < head.len() {
        match file.read_at(&mut head[len..], len as u64) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    head.truncate(len);
    Ok(head)
}

/// The first bytes of a gzip file's content; what can be read of a damaged one.
pub fn read_gzip_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let result = MultiGzDecoder::new(file.try_clone()?).take(HEAD_BYTES_MAX as u64).read_to_end(&mut head);
    // The clone shares its place with `file`.
    (&mut &*file).rewind()?;
    if head.is_empty() {
        result?;
    }
    Ok(head)
}

/// True for files that hold no lines: lastlog and its kind are sparse, or begin with NUL.
pub fn looks_binary(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let is_sparse = metadata.len() > (1 << 20) && metadata.blocks() * 512 < metadata.len() / 64;
    Ok(is_sparse || memchr(0, &read_head(file)?).is_some())
}

impl TailedFile {
    /// Reads an open file behind the first `offset` bytes.
    pub fn plain(file: File, offset: u64, line_bytes_max: usize, now: Instant) -> io::Result<Self> {
        let identity = Identity { inode: Inode::of(&file)?, fingerprint: Fingerprint::of(&read_head(&file)?) };
        Ok(Self::new(Source::Plain(file), identity, offset, line_bytes_max, now))
    }

    /// Reads a rotated and compressed file behind the first `offset` bytes of its content.
    pub fn compressed(file: File, offset: u64, line_bytes_max: usize, now: Instant) -> io::Result<Self> {
        let inode = Inode::of(&file)?;
        let fingerprint = Fingerprint::of(&read_gzip_head(&file)?);
        let mut decoder = MultiGzDecoder::new(io::BufReader::new(file));
        io::copy(&mut (&mut decoder).take(offset), &mut io::sink())?;
        let identity = Identity { inode, fingerprint };
        Ok(Self::new(Source::Compressed(Box::new(decoder)), identity, offset, line_bytes_max, now))
    }

    /// Reads an archive behind its first `lines` lines.
    pub fn archive(file: File, kind: Compression, lines: u64, line_bytes_max: usize, now: Instant) -> io::Result<Self> {
        let inode = Inode::of(&file)?;
        let identity = Identity { inode, fingerprint: Fingerprint::of(&read_head(&file)?) };
        let file = io::BufReader::new(file);
        let decoder: Box<dyn Read + Send> = match kind {
            Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
            Compression::Zlib => Box::new(ZlibDecoder::new(file)),
            Compression::Bzip2 => Box::new(MultiBzDecoder::new(file)),
        };
        let source = Source::Archive { decoder, skip_lines: lines, lines: 0 };
        let mut tailed = Self::new(source, identity, 0, line_bytes_max, now);
        tailed.progress = Progress::new(lines);
        Ok(tailed)
    }

    fn new(source: Source, identity: Identity, offset: u64, line_bytes_max: usize, now: Instant) -> Self {
        Self {
            source,
            identity,
            read_offset: offset,
            line_start: offset,
            unfinished: Vec::new(),
            line_bytes_max,
            newline: Newline::Byte,
            progress: Progress::new(offset),
            last_growth: now,
            modified: (0, 0),
            is_unlinked: false,
            compared: now,
            was_idle: true,
        }
    }

    /// The file's newlines are written like this.
    pub fn with_newline(mut self, newline: Newline) -> Self {
        self.newline = newline;
        self
    }

    /// Which file it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// True for a file that is read whole: it never grows.
    pub fn is_closed(&self) -> bool {
        !matches!(self.source, Source::Plain(_))
    }

    /// True for a file of which no beginning is known, because it was empty.
    pub fn is_blank(&self) -> bool {
        self.identity.fingerprint.len == 0 && !self.is_closed()
    }

    /// A blank file may have got a beginning since.
    pub fn learn_beginning(&mut self) {
        if let (true, Source::Plain(file)) = (self.is_blank(), &self.source) {
            // What cannot be read now is tried again with its turn.
            self.identity.fingerprint =
                read_head(file).map_or(self.identity.fingerprint, |head| Fingerprint::of(&head));
        }
    }

    /// Bytes taken so far.
    pub fn read_offset(&self) -> u64 {
        self.read_offset
    }

    /// Bytes of whole lines taken so far.
    pub fn line_start(&self) -> u64 {
        self.line_start
    }

    /// True when it had lost its name at the last look.
    pub fn is_unlinked(&self) -> bool {
        self.is_unlinked
    }

    /// True when it has not grown for `quiet`, as far as we saw or as its times said at the last look.
    pub fn is_quiet(&self, now: Instant, quiet: Duration) -> bool {
        let is_old = || {
            let (seconds, ns) = self.modified;
            let modified = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0 && !self.is_closed());
            let modified = modified.map(|seconds| UNIX_EPOCH + Duration::new(seconds, ns as u32));
            // A clock that was set back says nothing.
            modified.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|since| since >= quiet)
        };
        now.saturating_duration_since(self.last_growth) >= quiet || is_old()
    }

    /// Bytes that are not taken yet, and whether the file has lost its name. Compressed files do not know.
    pub fn behind(&self) -> (u64, bool) {
        match &self.source {
            Source::Plain(file) => file.metadata().map_or((0, false), |metadata| {
                (metadata.len().saturating_sub(self.read_offset), metadata.nlink() == 0)
            }),
            _ => (0, false),
        }
    }

    /// ns since the epoch of the last write.
    pub fn modified_ns(&self) -> i128 {
        let Source::Plain(file) = &self.source else { return 0 };
        file.metadata()
            .map_or(0, |metadata| i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()))
    }

    /// Begins again: what is there now is another content.
    pub fn start_over(&mut self) -> io::Result<()> {
        self.read_offset = 0;
        self.line_start = 0;
        self.unfinished.clear();
        self.progress = Progress::new(0);
        if let Source::Plain(file) = &self.source {
            self.identity.fingerprint = Fingerprint::of(&read_head(file)?);
        }
        Ok(())
    }

    /// Reads at most [`CHUNK_BYTES_MAX`] and calls `take` for each whole line. `buffer` is scratch.
    pub fn turn(
        &mut self,
        buffer: &mut Vec<u8>,
        now: Instant,
        take: &mut dyn FnMut(RawLine<'_>, &Receipt) -> Take,
    ) -> io::Result<Turn> {
        if buffer.len() < CHUNK_BYTES_MAX {
            buffer.resize(CHUNK_BYTES_MAX, 0);
        }
        if let Source::Plain(file) = &self.source {
            let metadata = file.metadata()?;
            let len = metadata.len();
            if len < self.read_offset {
                return Ok(Turn::Truncated);
            }
            self.is_unlinked = metadata.nlink() == 0;
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            let was_modified = std::mem::replace(&mut self.modified, modified) != modified;
            if len == self.read_offset && !was_modified {
                self.was_idle = true;
                return Ok(Turn::Idle);
            }
            let is_long_ago = now.saturating_duration_since(self.compared) >= COMPARE_PERIOD;
            let is_short = (self.identity.fingerprint.len as usize) < HEAD_BYTES_MAX;
            if self.was_idle || is_long_ago || is_short || len == self.read_offset {
                // Cut and grown beyond where we were between two looks: only the beginning tells.
                let head = read_head(file)?;
                if !self.identity.fingerprint.fits(&head) {
                    return Ok(Turn::Truncated);
                }
                self.identity.fingerprint = Fingerprint::of(&head);
                self.compared = now;
            }
        }
        let mut count = match &mut self.source {
            Source::Plain(file) => file.read_at(&mut buffer[..CHUNK_BYTES_MAX], self.read_offset)?,
            Source::Compressed(decoder) | Source::Archive { decoder, .. } => {
                // One byte of room, see below.
                decoder.read(&mut buffer[..CHUNK_BYTES_MAX - 1])?
            }
        };
        if self.newline != Newline::Byte && (self.read_offset as usize + count) % 2 == 1 {
            // Half a unit: from a file it is read again, from a decoder the other half is fetched.
            match &mut self.source {
                Source::Plain(_) => count -= 1,
                Source::Compressed(decoder) | Source::Archive { decoder, .. } => {
                    let mut half = [0];
                    if decoder.read_exact(&mut half).is_ok() {
                        buffer[count] = half[0];
                        count += 1;
                    }
                }
            }
        }
        self.was_idle = count == 0;
        if count == 0 {
            return Ok(Turn::Idle);
        }
        self.last_growth = now;
        match self.cut_lines(&buffer[..count], take) {
            Take::More => Ok(Turn::Read),
            Take::Enough => Ok(Turn::Paused),
        }
    }

    /// The writer has gone: what is there of a last line is all that will ever be there of it.
    pub fn finish(&mut self, take: &mut dyn FnMut(RawLine<'_>, &Receipt) -> Take) {
        if self.unfinished.is_empty() {
            return;
        }
        let end = match &mut self.source {
            Source::Archive { lines, .. } => {
                *lines += 1;
                *lines
            }
            _ => self.read_offset,
        };
        let receipt = self.progress.chunk(end);
        let line = std::mem::take(&mut self.unfinished);
        take(RawLine { bytes: trimmed(&line, self.line_bytes_max, self.newline), start: self.line_start }, &receipt);
        self.line_start = self.read_offset;
        receipt.settle();
    }

    fn cut_lines(&mut self, bytes: &[u8], take: &mut dyn FnMut(RawLine<'_>, &Receipt) -> Take) -> Take {
        let chunk_start = self.read_offset;
        self.read_offset += bytes.len() as u64;
        if self.newline.find(bytes, 0).is_none() {
            self.keep_unfinished(bytes);
            return Take::More;
        }
        let receipt = self.progress.chunk(0);
        let mut start = 0;
        let mut answer = Take::More;
        while let Some(newline) = self.newline.find(bytes, start) {
            let line = &bytes[start..newline];
            start = newline + self.newline.len();
            let (is_skipped, line_start) = match &mut self.source {
                Source::Archive { lines, skip_lines, .. } => {
                    *lines += 1;
                    (*lines <= *skip_lines, *lines - 1)
                }
                _ => (false, self.line_start),
            };
            self.line_start = chunk_start + start as u64;
            if is_skipped {
                self.unfinished.clear();
            } else if self.unfinished.is_empty() {
                answer = take(
                    RawLine { bytes: trimmed(line, self.line_bytes_max, self.newline), start: line_start },
                    &receipt,
                );
            } else {
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(line);
                answer = take(
                    RawLine { bytes: trimmed(&whole, self.line_bytes_max, self.newline), start: line_start },
                    &receipt,
                );
                whole.clear();
                self.unfinished = whole;
            }
            // What cannot be sought is taken whole.
            if answer == Take::Enough && matches!(self.source, Source::Plain(_)) {
                break;
            }
        }
        receipt.end_at(match &self.source {
            Source::Archive { lines, skip_lines, .. } => (*lines).max(*skip_lines),
            _ => self.line_start,
        });
        receipt.settle();
        if answer == Take::Enough && matches!(self.source, Source::Plain(_)) {
            self.read_offset = self.line_start;
            return answer;
        }
        self.keep_unfinished(&bytes[start..]);
        answer
    }

    /// Keeps the start of a line; beyond the limit the start is all that is kept until its newline comes.
    fn keep_unfinished(&mut self, bytes: &[u8]) {
        let room = (self.line_bytes_max + 1).saturating_sub(self.unfinished.len());
        self.unfinished.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A line without the carriage return of foreign systems, cut at the limit.
fn trimmed(line: &[u8], limit: usize, newline: Newline) -> &[u8] {
    if newline != Newline::Byte {
        // Decoded before anything else; a carriage return goes then.
        return &line[..line.len().min(limit & !1)];
    }
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

/// Opens a regular file for reading; devices, pipes and sockets are refused.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // A pipe without writer would block the open itself.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;

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
            TailedFile::plain(File::open(&self.path).unwrap(), offset, 100, self.now).unwrap()
        }
    }

    /// One turn that takes at most `max` lines.
    #[track_caller]
    fn check_max(file: &mut TailedFile, now: Instant, max: usize, want: &[&str], want_turn: Turn) {
        let mut lines = Vec::new();
        let mut take = |line: RawLine<'_>, _: &Receipt| {
            lines.push(String::from_utf8_lossy(line.bytes).into_owned());
            if lines.len() < max { Take::More } else { Take::Enough }
        };
        let turn = file.turn(&mut Vec::new(), now, &mut take).unwrap();
        assert_eq!((lines.iter().map(String::as_str).collect::<Vec<_>>(), turn), (want.to_vec(), want_turn));
    }

    #[track_caller]
    fn check(file: &mut TailedFile, now: Instant, want: &[&str], want_turn: Turn) {
        check_max(file, now, usize::MAX, want, want_turn);
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
    fn reads_again_what_was_not_taken() {
        let scene = Scene::new();
        scene.append("one\ntwo\nthree\n");
        let mut file = scene.open(0);
        check_max(&mut file, scene.now, 2, &["one", "two"], Turn::Paused);
        assert_eq!(file.progress.acknowledged(), 8);
        check(&mut file, scene.now, &["three"], Turn::Read);
        assert_eq!(file.progress.acknowledged(), 14);
    }

    #[test]
    fn gives_out_a_last_line_without_end() {
        let scene = Scene::new();
        scene.append("late\nrest");
        let mut file = scene.open(0);
        check(&mut file, scene.now, &["late"], Turn::Read);
        let mut lines = Vec::new();
        file.finish(&mut |line, _| {
            lines.push((line.bytes.to_vec(), line.start));
            Take::More
        });
        assert_eq!(lines, [(b"rest".to_vec(), 5)]);
        assert_eq!(file.progress.acknowledged(), 9);
    }

    #[test]
    fn notices_a_cut_in_place() {
        let scene = Scene::new();
        scene.append("a long first line\n");
        let mut file = scene.open(0);
        check(&mut file, scene.now, &["a long first line"], Turn::Read);
        fs::write(&scene.path, "cut\n").unwrap();
        check(&mut file, scene.now, &[], Turn::Truncated);
        file.start_over().unwrap();
        check(&mut file, scene.now, &["cut"], Turn::Read);
        check(&mut file, scene.now, &[], Turn::Idle);
        // Cut and grown beyond where we were.
        fs::write(&scene.path, "other and longer\n").unwrap();
        check(&mut file, scene.now, &[], Turn::Truncated);
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

    fn gzip(path: &Path, text: &str) {
        let mut encoder = flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
    }

    #[test]
    fn reads_an_archive_once_and_goes_on_behind_its_lines() {
        let scene = Scene::new();
        gzip(&scene.path, "one\ntwo\nthree");
        let open = |lines| {
            TailedFile::archive(File::open(&scene.path).unwrap(), Compression::Gzip, lines, 100, scene.now).unwrap()
        };
        let mut file = open(0);
        check(&mut file, scene.now, &["one", "two"], Turn::Read);
        check(&mut file, scene.now, &[], Turn::Idle);
        file.finish(&mut |_, _| Take::More);
        assert_eq!(file.progress.acknowledged(), 3);
        check(&mut open(2), scene.now, &[], Turn::Read);
    }

    #[test]
    fn reads_every_kind_of_archive() {
        let scene = Scene::new();
        let bzip2 = |text: &str| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"one\ntwo\n").unwrap();
        let archives = [
            (Compression::Zlib, zlib.finish().unwrap()),
            (Compression::Bzip2, bzip2("one\ntwo\n")),
            (Compression::Bzip2, [bzip2("one\nt"), bzip2("wo\n")].concat()),
        ];
        for (kind, bytes) in archives {
            fs::write(&scene.path, &bytes).unwrap();
            let open = || TailedFile::archive(File::open(&scene.path).unwrap(), kind, 0, 100, scene.now).unwrap();
            let (mut file, mut lines) = (open(), Vec::new());
            let mut take = |line: RawLine<'_>, _: &Receipt| {
                lines.push(String::from_utf8_lossy(line.bytes).into_owned());
                Take::More
            };
            // A stream ends a read.
            while file.turn(&mut Vec::new(), scene.now, &mut take).unwrap() == Turn::Read {}
            assert_eq!(lines, ["one", "two"], "{kind:?}");
            // A copy that is not complete, or no archive.
            for damaged in [&bytes[..bytes.len() - 5], b"no archive"] {
                fs::write(&scene.path, damaged).unwrap();
                let mut file = open();
                let mut buffer = Vec::new();
                let turns = (0..9).map(|_| file.turn(&mut buffer, scene.now, &mut |_, _| Take::More));
                assert!(turns.map_while(Result::ok).all(|turn| turn != Turn::Truncated), "{kind:?}");
            }
        }
    }

    #[test]
    fn cuts_utf16_at_its_own_newlines() {
        let scene = Scene::new();
        // U+0A00 and U+000A look alike when read at the wrong byte.
        let le: Vec<u8> = "a\u{0a00}b\nc\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(&scene.path, &le[..le.len() - 1]).unwrap();
        let mut file = scene.open(0).with_newline(Newline::Utf16Le);
        let mut lines = Vec::new();
        let mut take = |line: RawLine<'_>, _: &Receipt| {
            lines.push((line.bytes.to_vec(), line.start));
            Take::More
        };
        file.turn(&mut Vec::new(), scene.now, &mut take).unwrap();
        fs::write(&scene.path, &le).unwrap();
        while file.turn(&mut Vec::new(), scene.now, &mut take).unwrap() == Turn::Read {}
        assert_eq!(lines, [(le[..6].to_vec(), 0), (le[8..10].to_vec(), 8)]);
        assert_eq!(file.progress.acknowledged(), 12);
    }

    #[test]
    fn goes_on_inside_a_compressed_rotation() {
        let scene = Scene::new();
        gzip(&scene.path, "one\ntwo\nthree\n");
        let mut file = TailedFile::compressed(File::open(&scene.path).unwrap(), 4, 100, scene.now).unwrap();
        assert!(file.identity().fingerprint.fits(b"one\ntwo\nthree\n"));
        check(&mut file, scene.now, &["two", "three"], Turn::Read);
        assert_eq!(file.progress.acknowledged(), 14);
    }
}
