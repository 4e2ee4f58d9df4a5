//! A log: a name and the files that have had it, its generations. They are read one after the other, oldest first.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::file::{
    Compression, Newline, RawLine, TailedFile, Take, Turn, looks_binary, open_regular, read_gzip_head, read_head,
};
use super::identity::{Fingerprint, Identity, Inode};
use super::plan::{Candidate, Known, Planned, Rotation, Unfinished, plan_generations, rotation};
use crate::receipt::{Progress, Receipt};

/// A rotated file is finished when it has not grown for this long: the writer may still hold it open.
const ROTATED_QUIET: Duration = Duration::from_secs(2);
/// A file that has been quiet for this long is closed until it grows.
const PARK_AFTER: Duration = Duration::from_secs(60);
/// While a file has much to read, its name is looked at this often: what is rotated has to be open before it is deleted.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Who has the name of a quiet file is asked this often, unless a watch tells that names have changed.
const NAME_PERIOD: Duration = Duration::from_secs(10);
/// A folder that changes while it is listed is listed again so often.
const LIST_ATTEMPTS: usize = 10;
/// Generations that are remembered as delivered, so that they are not read again under another name.
const DONE_MAX: usize = 64;

/// What is remembered of a log between two starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// Generations that are not delivered whole, oldest first.
    pub unfinished: Vec<Unfinished>,
    /// Generations that are.
    #[serde(default)]
    pub done: Vec<Unfinished>,
}

/// How a log's files are opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Longer lines are cut.
    pub line_bytes_max: usize,
    /// The files are whole archives.
    pub archive: Option<Compression>,
    /// Refuse files that hold no text.
    pub refuse_binary: bool,
    /// How lines end.
    pub newline: Newline,
    /// Where a log begins that was never seen.
    pub start: Start,
}

/// Where a log begins that was never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At so many bytes of the current file; at 0 if it is shorter.
    Offset(u64),
    /// At the current file's end.
    End,
    /// With the oldest file that was rotated at this time (ns since the epoch) or later.
    History(i64),
}

/// A log that is read.
#[derive(Debug)]
pub struct Log {
    /// As globbed, before symbolic links are resolved.
    pub path: PathBuf,
    options: OpenOptions,
    /// Oldest first; the last one has the name, or had it until now.
    generations: VecDeque<TailedFile>,
    /// Read to their end, not yet acknowledged.
    draining: Vec<Draining>,
    done: VecDeque<Unfinished>,
    /// Closed, because nothing happens: what to look for.
    parked: Option<Parked>,
    /// Since when nothing has the name.
    gone_since: Option<Instant>,
    looked_at: Instant,
    /// When the last file was seen to have the name; `None`: somebody has to look.
    named_at: Option<Instant>,
    /// The name is a link: nobody watches the folder that it leads to.
    is_link: bool,
}

/// A generation that is on its way.
#[derive(Debug)]
struct Draining {
    identity: Identity,
    progress: Arc<Progress>,
    /// Bytes that were read.
    end: u64,
}

/// A file of the log, open: it cannot go away between being found and being read.
struct Found {
    candidate: Candidate,
    file: File,
    path: PathBuf,
    is_compressed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Parked {
    unfinished: Unfinished,
    modified_ns: i128,
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub enum LogTurn {
    /// Lines were read, there may be more.
    Read,
    /// The taker has enough.
    Paused,
    /// Nothing new.
    Idle,
    /// Nothing new for long; looked at rarely.
    Parked,
    /// All is read and acknowledged, and nothing has the name any more.
    Over,
}

impl Log {
    /// Finds the log's files and opens them.
    ///
    /// # Errors
    /// When the current file cannot be opened.
    pub fn open(path: &Path, state: &LogState, options: OpenOptions, now: Instant) -> io::Result<Self> {
        let mut log = Self {
            path: path.to_owned(),
            options,
            generations: VecDeque::new(),
            draining: Vec::new(),
            done: state.done.iter().copied().collect(),
            parked: None,
            gone_since: None,
            looked_at: now,
            named_at: None,
            is_link: fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()),
        };
        log.open_generations(state, 0, now)?;
        Ok(log)
    }

    /// What has to be remembered.
    pub fn state(&self) -> LogState {
        // What is acknowledged to its end is done, though no turn came since: read on from there, a copy of a cut file
        // would be read twice.
        let (settled, draining): (Vec<&Draining>, Vec<&Draining>) =
            self.draining.iter().partition(|draining| draining.progress.is_settled());
        let settled =
            settled.into_iter().map(|draining| Unfinished { identity: draining.identity, offset: draining.end });
        let draining = draining.into_iter().map(|draining| (draining.identity, &draining.progress));
        let reading = self.generations.iter().map(|file| (file.identity(), &file.progress));
        let unfinished = draining
            .chain(reading)
            .map(|(identity, progress)| Unfinished { identity, offset: progress.acknowledged() })
            .chain(self.parked.map(|parked| parked.unfinished));
        LogState { unfinished: unfinished.collect(), done: self.done.iter().copied().chain(settled).collect() }
    }

    /// Bytes of the file that has the name which need not be read again.
    pub fn acknowledged(&self) -> u64 {
        match (&self.parked, self.generations.back()) {
            (Some(parked), _) => parked.unfinished.offset,
            (None, Some(file)) => file.progress.acknowledged(),
            (None, None) => 0,
        }
    }

    /// Bytes read of the file that has the name, and its length.
    pub fn read_and_length(&self) -> (u64, u64) {
        match (&self.parked, self.generations.back()) {
            (Some(parked), _) => (parked.unfinished.offset, parked.unfinished.offset),
            (None, Some(file)) => (file.read_offset(), file.read_offset() + file.behind().0),
            (None, None) => (0, 0),
        }
    }

    /// Bytes that are on disk and not read yet.
    pub fn lag_bytes(&self) -> u64 {
        self.generations.iter().map(|file| file.behind().0).sum()
    }

    /// Unread bytes that only we keep from being freed, or that rotation will free: of all but the current file.
    pub fn pinned_bytes(&self) -> u64 {
        let last = self.generations.len().saturating_sub(1);
        let pinned = self.generations.iter().enumerate().map(|(idx, file)| match file.behind() {
            (bytes, is_unlinked) if is_unlinked || idx < last => bytes,
            _ => 0,
        });
        pinned.sum()
    }

    /// Gives up the oldest generation; returns its unread bytes. Never the current file while it has its name.
    pub fn skip_oldest(&mut self) -> Option<u64> {
        let front = self.generations.front()?;
        let (bytes, is_unlinked) = front.behind();
        if self.generations.len() < 2 && !is_unlinked {
            return None;
        }
        let file = self.generations.pop_front()?;
        self.remember_done(Unfinished { identity: file.identity(), offset: u64::MAX });
        Some(bytes)
    }

    /// Names may have changed in the log's folder.
    pub fn look_soon(&mut self) {
        self.named_at = None;
    }

    /// True when a file is held open.
    pub fn is_open(&self) -> bool {
        !self.generations.is_empty()
    }

    /// One turn of the oldest generation.
    pub fn turn(
        &mut self,
        buffer: &mut Vec<u8>,
        now: Instant,
        take: &mut dyn FnMut(RawLine<'_>, &Receipt) -> Take,
    ) -> io::Result<LogTurn> {
        self.settle_drained();
        if self.parked.is_some() && !self.unpark(now)? {
            return Ok(LogTurn::Parked);
        }
        self.look_for_copies(now)?;
        let Some(front) = self.generations.front_mut() else { return self.look_for_name(now) };
        match front.turn(buffer, now, take)? {
            Turn::Read => {
                self.look_for_rotation(now)?;
                return Ok(LogTurn::Read);
            }
            Turn::Paused => {
                self.look_for_rotation(now)?;
                return Ok(LogTurn::Paused);
            }
            Turn::Truncated => {
                self.truncated(now)?;
                return Ok(LogTurn::Read);
            }
            Turn::Idle => {}
        }
        let (is_closed, is_quiet) = (front.is_closed(), front.is_quiet(now, ROTATED_QUIET));
        let inode = front.identity().inode;
        let is_unlinked = front.is_unlinked();
        let can_park = front.is_quiet(now, PARK_AFTER) && front.progress.is_settled();
        if self.generations.len() > 1 || is_closed {
            // With two files after it, it was left long ago.
            if is_closed || is_quiet || self.generations.len() > 2 {
                self.finish_front(take);
                return Ok(LogTurn::Read);
            }
            self.look_for_rotation(now)?;
            return Ok(LogTurn::Idle);
        }
        let has_name = self.named_at.is_some_and(|at| now.saturating_duration_since(at) < NAME_PERIOD);
        if has_name && !self.is_link && !is_unlinked && !can_park {
            return Ok(LogTurn::Idle);
        }
        self.named_at = None;
        match Inode::at(&self.path) {
            Ok(named) if named.is_same_file(&inode) => {
                self.gone_since = None;
                self.named_at = Some(now);
                if can_park {
                    self.park();
                    return Ok(LogTurn::Parked);
                }
                Ok(LogTurn::Idle)
            }
            Ok(_) => {
                let known = self.generations.len();
                self.open_newer(now)?;
                Ok(if self.generations.len() > known { LogTurn::Read } else { LogTurn::Idle })
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // In a rotation nothing has the name for a moment, and the kubelet may undo it: as long as the file has
                // some name it may come back.
                if is_quiet && is_unlinked {
                    self.gone_since.get_or_insert(now);
                    self.finish_front(take);
                    return Ok(LogTurn::Read);
                }
                Ok(LogTurn::Idle)
            }
            Err(err) => Err(err),
        }
    }

    /// Opens what has taken the name while the files before it are being read, or cannot be: what is rotated away now may
    /// be deleted before its turn comes.
    ///
    /// # Errors
    /// When the file that has the name cannot be opened.
    pub fn look_for_rotation(&mut self, now: Instant) -> io::Result<()> {
        let is_early = now.saturating_duration_since(self.looked_at) < LOOK_PERIOD;
        if self.options.archive.is_some() || is_early || self.parked.is_some() {
            return Ok(());
        }
        self.looked_at = now;
        let Some(newest) = self.generations.back().map(|file| file.identity().inode) else { return Ok(()) };
        match Inode::at(&self.path) {
            Ok(named) if !named.is_same_file(&newest) => self.open_newer(now),
            // In a rotation nothing has the name for a moment.
            _ => Ok(()),
        }
    }

    fn open_newer(&mut self, now: Instant) -> io::Result<()> {
        // A file that was empty when it was opened is known by its inode alone, and compressed it would be another.
        self.generations.iter_mut().for_each(TailedFile::learn_beginning);
        let state = self.state();
        self.open_generations(&state, state.unfinished.len(), now)
    }

    /// Opens what was copied from the front file while it was empty each time that somebody looked: it has no beginning
    /// yet by which a cut would show, so that only the new copies tell.
    fn look_for_copies(&mut self, now: Instant) -> io::Result<()> {
        let Some(front) = self.generations.front() else { return Ok(()) };
        if self.options.archive.is_some() || !front.is_blank() || front.behind().0 == 0 {
            return Ok(());
        }
        let inode = front.identity().inode;
        // What lost its name was renamed, and is itself what was rotated.
        if !Inode::at(&self.path).is_ok_and(|named| named.is_same_file(&inode)) {
            return Ok(());
        }
        let state = self.state();
        let mut all: Vec<Option<Found>> = self.candidates()?.into_iter().map(Some).collect();
        let candidates: Vec<Candidate> = all.iter().flatten().map(|found| found.candidate.clone()).collect();
        let mut copies = Vec::new();
        for planned in plan_generations(&state.unfinished, &state.done, &candidates, i64::MAX) {
            if planned.known != Known::No || candidates[planned.idx].is_current {
                continue;
            }
            let Some(found) = all[planned.idx].take() else { continue };
            let path = found.path.clone();
            match self.open_file(found, planned.offset, now) {
                Ok(file) => copies.push(file),
                Err(err) => warn!(error = %err, path = %path.display(), "the copy of a cut file cannot be read"),
            }
        }
        copies.into_iter().rev().for_each(|file| self.generations.push_front(file));
        Ok(())
    }

    /// Nothing is open: everything was read. Somebody may take the name again.
    fn look_for_name(&mut self, now: Instant) -> io::Result<LogTurn> {
        if self.options.archive.is_some() && self.path.exists() {
            return Ok(LogTurn::Parked);
        }
        if self.path.exists() {
            self.gone_since = None;
            self.open_newer(now)?;
            return Ok(if self.generations.is_empty() { LogTurn::Parked } else { LogTurn::Read });
        }
        let gone_since = *self.gone_since.get_or_insert(now);
        let is_over = self.draining.is_empty() && now.duration_since(gone_since) >= ROTATED_QUIET;
        Ok(if is_over { LogTurn::Over } else { LogTurn::Idle })
    }

    fn finish_front(&mut self, take: &mut dyn FnMut(RawLine<'_>, &Receipt) -> Take) {
        let Some(mut file) = self.generations.pop_front() else { return };
        file.finish(take);
        debug!(path = %self.path.display(), inode = file.identity().inode.inode, "file is read to its end");
        self.drain(file.identity(), file.progress.clone(), file.read_offset());
        self.settle_drained();
    }

    fn drain(&mut self, identity: Identity, progress: Arc<Progress>, end: u64) {
        self.draining.push(Draining { identity, progress, end });
    }

    fn settle_drained(&mut self) {
        if self.draining.is_empty() {
            return;
        }
        let (settled, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.draining).into_iter().partition(|draining| draining.progress.is_settled());
        self.draining = open;
        for Draining { identity, end, .. } in settled {
            self.remember_done(Unfinished { identity, offset: end });
        }
    }

    fn remember_done(&mut self, done: Unfinished) {
        if self.done.len() == DONE_MAX {
            self.done.pop_front();
        }
        self.done.push_back(done);
    }

    /// The front file was cut in place. What was not read of it may be in a copy.
    fn truncated(&mut self, now: Instant) -> io::Result<()> {
        let Some(front) = self.generations.front_mut() else { return Ok(()) };
        let (old, read_offset, progress) = (front.identity(), front.line_start(), front.progress.clone());
        front.start_over()?;
        warn!(path = %self.path.display(), read_offset, "file was cut in place, reading it from its start");
        self.drain(old, progress, read_offset);
        // Its copy, and what was copied after that while nobody looked.
        let mut before: Vec<TailedFile> = Vec::new();
        for found in self.candidates()? {
            let (candidate, path) = (&found.candidate, found.path.clone());
            let is_copy = old.fingerprint.len > 0 && old.fingerprint.fits(&candidate.head) && !candidate.is_current;
            let offset = match (before.is_empty(), is_copy) {
                (true, true) => read_offset,
                (true, false) => continue,
                (false, _) => 0,
            };
            let is_known = self.done.iter().any(|done| done.identity.inode.is_same_file(&candidate.inode));
            let is_held = self.generations.iter().any(|held| held.identity().inode.is_same_file(&candidate.inode));
            if is_known || is_held || candidate.is_current {
                continue;
            }
            match self.open_file(found, offset, now) {
                Ok(file) => before.push(file),
                Err(err) => warn!(error = %err, path = %path.display(), "the copy of a cut file cannot be read"),
            }
        }
        before.into_iter().rev().for_each(|file| self.generations.push_front(file));
        Ok(())
    }

    fn park(&mut self) {
        let Some(file) = self.generations.pop_back() else { return };
        let unfinished = Unfinished { identity: file.identity(), offset: file.progress.acknowledged() };
        self.parked = Some(Parked { unfinished, modified_ns: file.modified_ns() });
    }

    /// True when the log is open again.
    fn unpark(&mut self, now: Instant) -> io::Result<bool> {
        let Some(parked) = self.parked else { return Ok(true) };
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(err),
        };
        let is_same = |metadata: &fs::Metadata| {
            let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
            let inode = &parked.unfinished.identity.inode;
            modified_ns == parked.modified_ns && Inode::at(&self.path).is_ok_and(|named| named.is_same_file(inode))
        };
        if metadata.as_ref().is_some_and(is_same) {
            return Ok(false);
        }
        let state = self.state();
        self.parked = None;
        // The last one of the state is what was parked.
        self.open_generations(&state, state.unfinished.len() - 1, now).inspect_err(|_| {
            // It is where it was, and tried again.
            self.generations.clear();
            self.parked = Some(parked);
        })?;
        Ok(true)
    }

    /// Opens what `state` and the folder say, behind what is open already: the first `held` unfinished generations of
    /// `state`.
    fn open_generations(&mut self, state: &LogState, held: usize, now: Instant) -> io::Result<()> {
        if let Some(kind) = self.options.archive {
            let lines = match (state.unfinished.first(), self.options.start) {
                (Some(unfinished), _) => unfinished.offset,
                (None, Start::Offset(lines)) => lines,
                (None, _) => 0,
            };
            if state.unfinished.is_empty() && !state.done.is_empty() {
                return Ok(());
            }
            let file = open_regular(&self.path)?;
            let file = TailedFile::archive(file, kind, lines, self.options.line_bytes_max, now)?;
            self.generations.push_back(file.with_newline(self.options.newline));
            return Ok(());
        }
        let mut all: Vec<Option<Found>> = self.candidates()?.into_iter().map(Some).collect();
        let candidates: Vec<Candidate> = all.iter().flatten().map(|found| found.candidate.clone()).collect();
        let was_never_seen = state.unfinished.is_empty() && state.done.is_empty();
        let history_ns = match self.options.start {
            Start::History(from_ns) => from_ns,
            Start::Offset(_) | Start::End => i64::MAX,
        };
        if was_never_seen {
            // What was rotated before we came never becomes new.
            let is_old = |candidate: &&Candidate| !candidate.is_current && candidate.modified_ns < history_ns;
            for old in candidates.iter().filter(is_old) {
                let identity = Identity { inode: old.inode, fingerprint: Fingerprint::of(&old.head) };
                self.remember_done(Unfinished { identity, offset: u64::MAX });
            }
        }
        let plan = plan_generations(&state.unfinished, &state.done, &candidates, history_ns);
        for Planned { idx, offset, known } in plan {
            if matches!(known, Known::Unfinished(place) if place < held) {
                continue;
            }
            let Some(found) = all[idx].take() else { continue };
            let (path, is_current) = (found.path.clone(), found.candidate.is_current);
            let offset = match self.options.start {
                Start::Offset(offset) if was_never_seen && is_current => offset,
                Start::End if was_never_seen && is_current => u64::MAX,
                _ => offset,
            };
            match self.open_file(found, offset, now) {
                Ok(file) => {
                    info!(path = %path.display(), offset = file.read_offset(), "reading file");
                    match known {
                        Known::Done(_) => {
                            self.done.retain(|done| !done.identity.inode.is_same_file(&file.identity().inode));
                            self.generations.push_front(file);
                        }
                        _ => self.generations.push_back(file),
                    }
                }
                Err(err) if is_current => return Err(err),
                Err(err) => warn!(error = %err, path = %path.display(), "rotated file cannot be read"),
            }
        }
        Ok(())
    }

    fn open_file(&self, found: Found, offset: u64, now: Instant) -> io::Result<TailedFile> {
        let Found { file, is_compressed, .. } = found;
        if is_compressed {
            let file = TailedFile::compressed(file, offset, self.options.line_bytes_max, now)?;
            return Ok(file.with_newline(self.options.newline));
        }
        if self.options.refuse_binary && looks_binary(&file)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a text file"));
        }
        let len = file.metadata()?.len();
        let offset = match offset {
            u64::MAX => len,
            // Another file: a shorter one cannot have been read so far.
            offset if offset > len => 0,
            offset => offset,
        };
        Ok(TailedFile::plain(file, offset, self.options.line_bytes_max, now)?.with_newline(self.options.newline))
    }

    /// The log's files, oldest first, the current one last. Names may change while they are listed: then they are listed
    /// again, so that no file is missed between two names.
    fn candidates(&self) -> io::Result<Vec<Found>> {
        // Rotation happens where the file lies, not where a link to it lies.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut attempts = 0;
        loop {
            let before = list_names(&path);
            let found = self.open_all(&path, &before);
            attempts += 1;
            if before == list_names(&path) || attempts == LIST_ATTEMPTS {
                return found;
            }
        }
    }

    fn open_all(&self, path: &Path, names: &Names) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for rotated in &names.rotated {
            all.extend(find(&rotated.path, rotated.is_compressed, false).ok());
        }
        match find(path, false, true) {
            Ok(current) => all.push(Found { path: self.path.clone(), ..current }),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        Ok(all)
    }
}

/// Names in a log's folder.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// Oldest first.
    rotated: Vec<Rotated>,
    current: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rotated {
    rotation: Rotation,
    modified: i64,
    is_compressed: bool,
    path: PathBuf,
    inode: u64,
}

fn list_names(path: &Path) -> Names {
    let current = fs::metadata(path).ok().map(|metadata| metadata.ino());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Names { rotated: Vec::new(), current };
    };
    let mut rotated: Vec<Rotated> = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let sibling = entry.file_name();
        let Some((rotation, is_compressed)) = sibling.to_str().and_then(|sibling| rotation(name, sibling)) else {
            continue;
        };
        let Ok(metadata) = entry.metadata() else { continue };
        let (modified, inode) = (metadata.mtime(), metadata.ino());
        rotated.push(Rotated { rotation, modified, is_compressed, path: entry.path(), inode });
    }
    // By name; local time may step back, then the time of the last write decides nothing either.
    rotated.sort();
    // While a file is being compressed both forms are there.
    rotated.dedup_by(|later, earlier| later.rotation == earlier.rotation);
    // Whoever writes changes the time, and that is not a change of names.
    rotated.iter_mut().for_each(|rotated| rotated.modified = 0);
    Names { rotated, current }
}

/// True when something is left of a log whose name nothing has: it was rotated a moment ago, or for the last time.
pub fn has_rotated_files(path: &Path) -> bool {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    !list_names(&path).rotated.is_empty()
}

fn find(path: &Path, is_compressed: bool, is_current: bool) -> io::Result<Found> {
    let file: File = open_regular(path)?;
    let head = if is_compressed { read_gzip_head(&file)? } else { read_head(&file)? };
    let metadata = file.metadata()?;
    let len = (!is_compressed).then_some(metadata.len());
    let modified_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    let candidate = Candidate { inode: Inode::of(&file)?, head, len, is_current, modified_ns };
    Ok(Found { candidate, file, path: path.to_owned(), is_compressed })
}

/// The state of a log of which only the offset in its current file is known.
pub fn state_at(path: &Path, offset: u64) -> Option<LogState> {
    let Candidate { inode, head, len, .. } = find(path, false, true).ok()?.candidate;
    // An empty file has nothing that could be known of it.
    if head.is_empty() || len.is_none_or(|len| offset > len) {
        return None;
    }
    let identity = |inode, head: &[u8]| Identity { inode, fingerprint: Fingerprint::of(head) };
    // What was rotated before never becomes new.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let rotated = list_names(&real).rotated.into_iter().rev().take(DONE_MAX);
    let rotated = rotated.filter_map(|rotated| find(&rotated.path, rotated.is_compressed, false).ok());
    let mut done: Vec<Unfinished> = rotated
        .map(|old| Unfinished { identity: identity(old.candidate.inode, &old.candidate.head), offset: u64::MAX })
        .collect();
    done.reverse();
    Some(LogState { unfinished: vec![Unfinished { identity: identity(inode, &head), offset }], done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const OPTIONS: OpenOptions = OpenOptions {
        line_bytes_max: 100,
        archive: None,
        refuse_binary: false,
        newline: Newline::Byte,
        start: Start::Offset(0),
    };

    struct Scene {
        folder: tempfile::TempDir,
        now: Instant,
        buffer: Vec<u8>,
        receipts: Vec<Receipt>,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder, now: Instant::now(), buffer: Vec::new(), receipts: Vec::new() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn append(&self, name: &str, text: &str) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.path(from), self.path(to)).unwrap();
        }

        fn gzip(&self, name: &str) {
            let text = fs::read(self.path(name)).unwrap();
            let file = File::create(self.path(&format!("{name}.gz"))).unwrap();
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap();
            fs::remove_file(self.path(name)).unwrap();
        }

        fn open(&self, state: &LogState) -> Log {
            Log::open(&self.path("0.log"), state, OPTIONS, self.now).unwrap()
        }

        /// Everything that can be read while `seconds` pass; lines are acknowledged at once.
        fn read(&mut self, log: &mut Log, seconds: u64) -> String {
            self.read_with(log, seconds, true)
        }

        fn read_with(&mut self, log: &mut Log, seconds: u64, acknowledges: bool) -> String {
            let mut out = Vec::new();
            let receipts = &mut self.receipts;
            log.look_soon();
            let mut take = |line: RawLine<'_>, receipt: &Receipt| {
                out.push(String::from_utf8_lossy(line.bytes).into_owned());
                if !acknowledges {
                    receipts.push(receipt.share());
                }
                Take::More
            };
            for _ in 0..=seconds {
                while log.turn(&mut self.buffer, self.now, &mut take).unwrap() == LogTurn::Read {}
                self.now += Duration::from_secs(1);
            }
            out.join(" ")
        }
    }

    #[test]
    fn reads_generations_in_order() {
        let mut scene = Scene::new();
        scene.append("0.log", "1 a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 0), "1 a");
        scene.append("0.log", "1 b\n");
        scene.rename("0.log", "0.log.20260101-000000");
        scene.append("0.log.20260101-000000", "1 late\n");
        scene.append("0.log", "2 a\n");
        scene.rename("0.log", "0.log.20260101-000010");
        scene.append("0.log", "3 a\n");
        assert_eq!(scene.read(&mut log, 8), "1 b 1 late 2 a 3 a");
        assert_eq!(log.state().done.len(), 2);
        // Compressing what was delivered changes nothing.
        scene.gzip("0.log.20260101-000000");
        scene.append("0.log", "3 b\n");
        assert_eq!(scene.read(&mut log, 5), "3 b");
    }

    #[test]
    fn a_file_that_was_opened_empty_is_known_when_it_is_compressed() {
        let mut scene = Scene::new();
        scene.append("0.log", "1\n");
        let mut log = scene.open(&LogState::default());
        // Nobody may read meanwhile.
        let mut look = |scene: &mut Scene| {
            scene.now += Duration::from_secs(1);
            log.look_for_rotation(scene.now).unwrap();
        };
        scene.rename("0.log", "0.log.20260101-000000");
        scene.append("0.log", "");
        look(&mut scene);
        scene.append("0.log", "2\n");
        scene.rename("0.log", "0.log.20260101-000010");
        scene.append("0.log", "3\n");
        look(&mut scene);
        scene.gzip("0.log.20260101-000000");
        scene.gzip("0.log.20260101-000010");
        scene.rename("0.log", "0.log.20260101-000020");
        scene.append("0.log", "4\n");
        look(&mut scene);
        assert_eq!(scene.read(&mut log, 8), "1 2 3 4");
    }

    #[test]
    fn survives_a_rename_that_is_undone() {
        let mut scene = Scene::new();
        scene.append("0.log", "a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 0), "a");
        scene.rename("0.log", "0.log.20260101-000000");
        assert_eq!(scene.read(&mut log, 1), "");
        scene.rename("0.log.20260101-000000", "0.log");
        scene.append("0.log", "b\n");
        assert_eq!(scene.read(&mut log, 3), "b");
    }

    #[test]
    fn catches_up_after_a_restart() {
        let mut scene = Scene::new();
        scene.append("0.log", "1 a\n1 b\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read_with(&mut log, 0, false), "1 a 1 b");
        assert_eq!(log.acknowledged(), 0);
        let state = log.state();
        drop(log);
        scene.rename("0.log", "0.log.20260101-000000");
        scene.append("0.log", "2 a\n");
        scene.gzip("0.log.20260101-000000");
        scene.rename("0.log", "0.log.20260101-000010");
        scene.append("0.log", "3 a\n");
        let mut log = scene.open(&state);
        assert_eq!(scene.read(&mut log, 8), "1 a 1 b 2 a 3 a");
        let state = log.state();
        let mut log = scene.open(&state);
        assert_eq!(scene.read(&mut log, 8), "", "all was acknowledged");
    }

    #[test]
    fn goes_on_at_the_acknowledged_place_in_a_compressed_file() {
        let mut scene = Scene::new();
        scene.append("0.log", "1 a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 0), "1 a");
        let state = log.state();
        scene.append("0.log", "1 b\n");
        scene.rename("0.log", "0.log.20260101-000000");
        scene.gzip("0.log.20260101-000000");
        scene.append("0.log", "2 a\n");
        assert_eq!(scene.read(&mut scene_open(&scene, &state), 8), "1 b 2 a");
    }

    fn scene_open(scene: &Scene, state: &LogState) -> Log {
        scene.open(state)
    }

    #[test]
    fn does_not_take_a_new_file_with_an_old_inode_for_the_old_one() {
        let mut scene = Scene::new();
        scene.append("0.log", "first content\n");
        let mut log = scene.open(&LogState::default());
        scene.read(&mut log, 0);
        let state = log.state();
        drop(log);
        // The same inode with another content, as after a deletion and a new file.
        fs::write(scene.path("0.log"), "second content, longer\n").unwrap();
        let mut log = scene.open(&state);
        assert_eq!(scene.read(&mut log, 0), "second content, longer");
    }

    #[test]
    fn reads_the_rest_of_a_cut_file_from_its_copy() {
        let mut scene = Scene::new();
        scene.append("0.log", "1 a\n");
        let mut log = scene.open(&LogState::default());
        scene.append("0.log", "1");
        assert_eq!(scene.read(&mut log, 0), "1 a");
        scene.append("0.log", " b\n");
        fs::copy(scene.path("0.log"), scene.path("0.log.1")).unwrap();
        fs::write(scene.path("0.log"), "2\n").unwrap();
        assert_eq!(scene.read(&mut log, 4), "1 b 2");
    }

    #[test]
    fn reads_all_copies_of_a_file_that_was_cut_more_than_once() {
        let mut scene = Scene::new();
        scene.append("0.log", "1 a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read_with(&mut log, 0, false), "1 a");
        let state = log.state();
        scene.append("0.log", "1 b\n");
        fs::copy(scene.path("0.log"), scene.path("0.log.2")).unwrap();
        fs::write(scene.path("0.log"), "2 a\n2 b\n").unwrap();
        fs::copy(scene.path("0.log"), scene.path("0.log.1")).unwrap();
        fs::write(scene.path("0.log"), "3\n").unwrap();
        assert_eq!(scene.read_with(&mut log, 6, false), "1 b 2 a 2 b 3");
        // Nothing was acknowledged: whenever it is killed, everything comes again.
        for state in [state, log.state()] {
            let mut log = scene.open(&state);
            assert_eq!(scene.read_with(&mut log, 6, false), "1 a 1 b 2 a 2 b 3");
        }
    }

    #[test]
    fn a_copy_is_not_read_again_after_a_stop_that_came_before_its_turn() {
        let mut scene = Scene::new();
        scene.append("0.log", "1 a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read_with(&mut log, 0, false), "1 a");
        scene.append("0.log", "1 b\n");
        fs::copy(scene.path("0.log"), scene.path("0.log.1")).unwrap();
        fs::write(scene.path("0.log"), "2\n").unwrap();
        assert_eq!(scene.read_with(&mut log, 0, false), "1 b", "the copy is not quiet yet");
        // The reader has stopped, and what was read is acknowledged after that.
        scene.receipts.drain(..).for_each(Receipt::settle);
        let state = log.state();
        assert_eq!(scene.read(&mut scene_open(&scene, &state), 4), "2");
    }

    #[test]
    fn a_file_that_is_cut_and_empty_at_each_look_is_read_from_its_copies() {
        let mut scene = Scene::new();
        scene.append("0.log.1", "before we came\n");
        scene.append("0.log", "1\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 0), "1");
        let rotate = |scene: &Scene, then: &str| {
            for number in (1..5).rev() {
                let _ =
                    fs::rename(scene.path(&format!("0.log.{number}")), scene.path(&format!("0.log.{}", number + 1)));
            }
            fs::copy(scene.path("0.log"), scene.path("0.log.1")).unwrap();
            fs::write(scene.path("0.log"), then).unwrap();
        };
        rotate(&scene, "");
        assert_eq!(scene.read(&mut log, 4), "");
        let state = log.state();
        scene.append("0.log", "2\n");
        rotate(&scene, "3\n");
        rotate(&scene, "4\n");
        assert_eq!(scene.read(&mut log, 8), "2 3 4");
        // The same, if it was stopped meanwhile.
        assert_eq!(scene.read(&mut scene_open(&scene, &state), 8), "2 3 4");
        assert_eq!(scene.read(&mut scene_open(&scene, &log.state()), 8), "");
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let mut scene = Scene::new();
        let wrote_at = |scene: &Scene, name: &str, seconds: u64| {
            let file = fs::OpenOptions::new().append(true).open(scene.path(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        // The hour from two to three comes twice, and the times of writes lie far ahead of the clock.
        const AHEAD: u64 = 4_000_000_000;
        scene.append("0.log", "1 a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 0), "1 a");
        let state = log.state();
        scene.append("0.log", "1 b\n");
        scene.rename("0.log", "0.log.20261025-025000");
        wrote_at(&scene, "0.log.20261025-025000", AHEAD);
        scene.append("0.log", "2\n");
        scene.rename("0.log", "0.log.20261025-021000");
        wrote_at(&scene, "0.log.20261025-021000", AHEAD + 1200);
        scene.append("0.log", "3\n");
        assert_eq!(scene.read(&mut log, 8), "1 b 2 3");
        assert_eq!(scene.read(&mut scene_open(&scene, &state), 8), "1 b 2 3");
        assert_eq!(scene.read(&mut scene_open(&scene, &log.state()), 8), "");
    }

    #[test]
    fn what_was_rotated_before_it_was_seen_never_becomes_new() {
        let mut scene = Scene::new();
        scene.append("0.log.2", "old\n");
        scene.append("0.log.1", "older\n");
        scene.append("0.log", "a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 0), "a");
        let state = log.state();
        fs::write(scene.path("0.log"), "cut\n").unwrap();
        assert_eq!(scene.read(&mut log, 3), "cut");
        assert_eq!(scene.read(&mut scene_open(&scene, &state), 3), "cut");
    }

    #[test]
    fn drains_a_deleted_file_and_is_over() {
        let mut scene = Scene::new();
        scene.append("0.log", "a\nno end");
        let mut log = scene.open(&LogState::default());
        fs::remove_file(scene.path("0.log")).unwrap();
        assert_eq!(scene.read(&mut log, 3), "a no end");
        scene.now += Duration::from_secs(3);
        assert_eq!(log.turn(&mut Vec::new(), scene.now, &mut |_, _| Take::More).unwrap(), LogTurn::Over);
    }

    #[test]
    fn closes_what_is_quiet_and_opens_it_when_it_grows() {
        let mut scene = Scene::new();
        scene.append("0.log", "a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 61), "a");
        assert!(!log.is_open());
        assert_eq!(log.acknowledged(), 2);
        scene.append("0.log", "b\n");
        assert_eq!(scene.read(&mut log, 0), "b");
        assert_eq!(scene.read(&mut log, 61), "");
        scene.append("0.log", "c\n");
        scene.rename("0.log", "0.log.20260101-000000");
        scene.append("0.log", "d\n");
        assert_eq!(scene.read(&mut log, 4), "c d");
    }

    #[test]
    fn what_cannot_be_opened_again_keeps_its_place() {
        let mut scene = Scene::new();
        scene.append("0.log", "a\n");
        let mut log = scene.open(&LogState::default());
        assert_eq!(scene.read(&mut log, 61), "a");
        assert!(!log.is_open());
        scene.rename("0.log", "kept");
        fs::create_dir(scene.path("0.log")).unwrap();
        scene.now += Duration::from_secs(10);
        let turn = log.turn(&mut scene.buffer, scene.now, &mut |_, _| Take::More);
        assert!(turn.is_err(), "{turn:?}");
        assert_eq!(log.state().unfinished.len(), 1);
        fs::remove_dir(scene.path("0.log")).unwrap();
        scene.rename("kept", "0.log");
        scene.append("0.log", "b\n");
        assert_eq!(scene.read(&mut log, 3), "b");
    }

    #[test]
    fn begins_where_it_is_told() {
        let mut scene = Scene::new();
        scene.append("0.log.20260101-000000", "old\n");
        scene.append("0.log", "a\nb\n");
        let mut check = |start: Start, want: &str| {
            let options = OpenOptions { start, ..OPTIONS };
            let mut log = Log::open(&scene.path("0.log"), &LogState::default(), options, scene.now).unwrap();
            assert_eq!(scene.read(&mut log, 3), want, "{start:?}");
        };
        check(Start::Offset(0), "a b");
        check(Start::Offset(2), "b");
        check(Start::Offset(99), "a b");
        check(Start::End, "");
        check(Start::History(0), "old a b");
        check(Start::History(i64::MAX), "a b");
    }

    #[test]
    fn gives_up_the_oldest_generation() {
        let mut scene = Scene::new();
        scene.append("0.log", "old\n");
        let mut log = scene.open(&LogState::default());
        scene.rename("0.log", "0.log.20260101-000000");
        scene.append("0.log", "new\n");
        let state = log.state();
        log.open_generations(&state, 1, scene.now).unwrap();
        assert_eq!((log.pinned_bytes(), log.skip_oldest()), (4, Some(4)));
        assert_eq!(log.skip_oldest(), None);
        assert_eq!(scene.read(&mut log, 3), "new");
    }
}
