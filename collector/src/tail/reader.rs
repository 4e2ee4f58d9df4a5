//! The reader: one thread that gives every log its turn.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use encoding_rs::Encoding;
use logstack_logql::Labels;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::file::{Compression, Newline, Take};
use super::identity::Inode;
use super::log::{Log, LogState, LogTurn, OpenOptions, Start, has_rotated_files, state_at};
use super::plan::originals;
use super::rate::{Admission, ContainerRate};
use super::watch::FolderWatch;
use super::{FileStatus, ReadFrom, TailMetrics, TailSettings};
use crate::discovery::Target;
use crate::discovery::glob::Folders;
use crate::discovery::targets::Targets;
use crate::pipeline::{Context, Counters, Flush, Outgoing, Pipeline, SourceId, SourceLabels};
use crate::positions::Positions;
use crate::receipt::Receipt;
use crate::receive::cursors::Cursors;
use crate::ship::Shipper;
use crate::ship::client::SenderTask;
use crate::state::{State, StateFile};

/// Complete looks are at least so far apart, whatever a watch tells: a look costs some ms on a busy node.
const SCAN_PAUSE: Duration = Duration::from_millis(100);
/// How often stages are asked for what waited long enough.
const FLUSH_PERIOD: Duration = Duration::from_millis(250);
/// A log whose tenant has no room is looked at again after this.
const BLOCKED_PAUSE: Duration = Duration::from_millis(20);
/// … and after twice as long each time, up to this.
const BLOCKED_PAUSE_MAX: Duration = Duration::from_millis(250);
/// A log that nothing happens to.
const PARKED_PAUSE: Duration = Duration::from_secs(5);
/// With nothing to read, the logs that come due within so long have their turns together: a thousand quiet ones would
/// wake the thread two hundred times a second.
const SLEEP_MIN: Duration = Duration::from_millis(25);
/// … and commands and new folders are looked for so often.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// How often a second collector asks whether the first one has gone.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// A job: its name and what is done to its lines.
pub struct Job {
    /// As configured.
    pub name: String,
    /// Compiled stages.
    pub pipeline: Pipeline,
    /// Files are archives, read once.
    pub archive: Option<Archive>,
    /// Lines are in this encoding; `None`: UTF-8.
    pub encoding: Option<&'static Encoding>,
}

/// How a job's archives are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive {
    /// How they are compressed.
    pub compression: Compression,
    /// Pause before the one pass: whoever writes a file needs some time for it.
    pub delay: Duration,
}

impl Job {
    fn newline(&self) -> Newline {
        match self.encoding {
            Some(encoding) if encoding == encoding_rs::UTF_16LE => Newline::Utf16Le,
            Some(encoding) if encoding == encoding_rs::UTF_16BE => Newline::Utf16Be,
            _ => Newline::Byte,
        }
    }
}

/// A line in UTF-8, without a byte order mark and carriage return; what has no meaning becomes U+FFFD.
fn decoded<'l>(encoding: &'static Encoding, line: &'l [u8]) -> Cow<'l, str> {
    let (text, _) = encoding.decode_with_bom_removal(line);
    match text.strip_suffix('\r') {
        Some(rest) => Cow::Owned(rest.to_owned()),
        None => text,
    }
}

/// What the reader can be told while it runs.
pub enum Command {
    /// Another configuration: jobs that are `None` go on as they are, under their name. Files keep their places.
    Replace {
        /// All jobs, in order, by name; `None`: unchanged.
        jobs: Vec<(String, Option<Job>)>,
        /// What is read now.
        targets: Arc<Targets>,
        /// Where it goes; `None`: unchanged.
        shipper: Option<Shipper>,
        /// How files are read. Where positions are kept, and whose a file is, stay as they were.
        settings: Box<TailSettings>,
    },
}

/// Reads the files of all targets until it is told to stop.
pub struct Reader {
    jobs: Vec<Job>,
    targets: Arc<Targets>,
    seen_version: u64,
    settings: TailSettings,
    shipper: Shipper,
    counters: Counters,
    positions: Positions,
    state_file: Option<StateFile>,
    /// Of logs that are not read now, and since when this node is read at all.
    remembered: State,
    /// This node was never read, nor looked at until now: what is there is old, whatever the clock says.
    is_first_look: bool,
    logs: HashMap<u64, Tailed>,
    by_key: HashMap<LogKey, u64>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    next_id: u64,
    failed: HashMap<PathBuf, Instant>,
    /// Archives that wait for their `initial_delay`.
    arriving: HashMap<PathBuf, Instant>,
    folders: Folders,
    watch: FolderWatch,
    metrics: Arc<TailMetrics>,
    cursors: Arc<Cursors>,
    commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
}

/// A log of a job. The job is named where several may read one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct LogKey {
    path: PathBuf,
    job: Option<String>,
}

impl LogKey {
    /// As in the state file.
    fn text(&self) -> String {
        match &self.job {
            Some(job) => format!("{}\t{job}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }
}

/// The path in a [`LogKey::text`].
fn path_of(key: &str) -> &Path {
    Path::new(key.split_once('\t').map_or(key, |(path, _)| path))
}

struct Tailed {
    key: LogKey,
    log: Log,
    job_idx: usize,
    /// Of its target, without the file's name.
    target_labels: Labels,
    source: SourceLabels,
    pause: Duration,
    /// Its entries go to this tenant, which had no room.
    blocked: Option<Option<Box<str>>>,
    blocked_pause: Duration,
    /// `per_container_rate`
    rate: Option<ContainerRate>,
    lines: u64,
}

impl Tailed {
    /// A server that is away for hours is not asked for room by a thousand logs fifty times a second.
    fn wait_longer(&mut self) -> Duration {
        let pause = self.blocked_pause;
        self.blocked_pause = (pause * 2).min(BLOCKED_PAUSE_MAX);
        pause
    }
}

impl Reader {
    /// Reads the positions file, opens nothing yet.
    ///
    /// # Errors
    /// When the positions file exists and cannot be read.
    #[allow(clippy::too_many_arguments, reason = "called once, by the collector")]
    pub fn new(
        jobs: Vec<Job>,
        targets: Arc<Targets>,
        settings: TailSettings,
        shipper: Shipper,
        counters: Counters,
        metrics: Arc<TailMetrics>,
        cursors: Arc<Cursors>,
        commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> std::io::Result<Self> {
        let positions = settings.positions_file.as_deref().map_or_else(|| Ok(Positions::default()), Positions::load)?;
        let state_file = settings.state_file.as_deref().map(StateFile::new);
        Ok(Self {
            jobs,
            targets,
            seen_version: u64::MAX,
            settings,
            shipper,
            counters,
            positions,
            state_file,
            remembered: State { first_start_ns: now_ns(), ..State::default() },
            is_first_look: true,
            logs: HashMap::new(),
            by_key: HashMap::new(),
            due: BinaryHeap::new(),
            next_id: 0,
            failed: HashMap::new(),
            arriving: HashMap::new(),
            folders: Folders::default(),
            watch: FolderWatch::new(),
            metrics,
            cursors,
            commands,
            shutdown,
        })
    }

    /// Runs on the calling thread until shutdown, then hands over what was read and gives the senders to wait for.
    pub fn run(mut self) -> (Vec<SenderTask>, Committer) {
        let is_locked = self.wait_for_lock();
        if is_locked {
            self.load_state();
            self.read_all();
        }
        let Self { jobs, logs, positions, state_file, remembered, settings, shipper, metrics, cursors, .. } = self;
        // What stages keep back is not complete: it is not sent, its place is held, and it will be read again.
        drop(jobs);
        let tasks = shipper.finish();
        let logs = logs.into_values().map(|tailed| (tailed.key, tailed.log)).collect();
        (
            tasks,
            Committer {
                logs,
                positions,
                state_file,
                remembered,
                path: settings.positions_file,
                // Another collector's state is not ours to write.
                read_only: settings.read_only || !is_locked,
                metrics,
                cursors,
            },
        )
    }

    fn wait_for_lock(&mut self) -> bool {
        if self.settings.read_only {
            return true;
        }
        let Some(state_file) = &mut self.state_file else { return true };
        let mut told = false;
        while !state_file.try_lock() {
            if !std::mem::replace(&mut told, true) {
                info!("another collector holds the state file, waiting for it to stop");
            }
            if self.shutdown.is_cancelled() {
                return false;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        true
    }

    fn load_state(&mut self) {
        if let Some(mut state) = self.state_file.as_mut().and_then(StateFile::load) {
            self.cursors.load(std::mem::take(&mut state.cursors));
            self.remembered = state;
            self.is_first_look = false;
        }
        // Who waited for the lock has read what another collector has overwritten since.
        if let Some(Ok(positions)) = self.settings.positions_file.as_deref().map(Positions::load) {
            self.positions = positions;
        }
        self.cursors.load(self.positions.cursors());
        // Promtail has read this node before.
        if self.is_first_look && !self.positions.is_empty() {
            self.remembered.first_start_ns = 0;
            self.is_first_look = false;
        }
    }

    fn read_all(&mut self) {
        let mut buffer = Vec::new();
        let mut last_scan: Option<Instant> = None;
        let mut next_commit = Instant::now() + self.settings.positions_period;
        let mut next_flush = Instant::now();
        while !self.shutdown.is_cancelled() {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            let now = Instant::now();
            let version = self.targets.version();
            let since = last_scan.map(|last| now.duration_since(last));
            let has_changed = self.watch.changed();
            if has_changed || self.watch.failures() > 0 {
                self.logs.values_mut().for_each(|tailed| tailed.log.look_soon());
            }
            let wants_scan = version != self.seen_version
                || has_changed
                || since.is_none_or(|since| since >= self.settings.sync_period)
                || self.arriving.values().any(|until| *until <= now);
            if wants_scan && since.is_none_or(|since| since >= SCAN_PAUSE) {
                self.seen_version = version;
                // Whoever kills us now finds what has come again, wherever it is rotated to.
                if self.scan(now) {
                    self.remember(false);
                }
                last_scan = Some(now);
            } else if wants_scan {
                self.watch.touch();
            }
            let busy = self.read_turns(&mut buffer);
            if now >= next_flush {
                self.flush_pipelines(Flush::Expired);
                next_flush = now + FLUSH_PERIOD;
            }
            self.shipper.flush(false);
            if now >= next_commit {
                self.commit();
                next_commit = now + self.settings.positions_period;
            }
            if !busy {
                let next = self
                    .due
                    .peek()
                    .map_or(self.settings.poll_min, |Reverse((at, _))| at.saturating_duration_since(Instant::now()));
                std::thread::sleep(next.clamp(SLEEP_MIN, SLEEP_MAX));
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let Command::Replace { jobs, targets, shipper, settings } = command;
        let old = &self.settings;
        let kept = TailSettings {
            positions_file: old.positions_file.clone(),
            state_file: old.state_file.clone(),
            read_only: old.read_only,
            exclusive: old.exclusive,
            ..*settings
        };
        self.settings = kept;
        for tailed in self.logs.values_mut() {
            tailed.rate = self.settings.container_rate.clone();
        }
        let places: HashMap<String, usize> =
            jobs.iter().enumerate().map(|(idx, (name, _))| (name.clone(), idx)).collect();
        for tailed in self.logs.values_mut() {
            // Until the next look a log without a job waits.
            let name = self.jobs.get(tailed.job_idx).map(|job| &job.name);
            tailed.job_idx = name.and_then(|name| places.get(name)).copied().unwrap_or(usize::MAX);
        }
        let mut old: HashMap<String, Job> = self.jobs.drain(..).map(|job| (job.name.clone(), job)).collect();
        for (name, job) in jobs {
            match job {
                Some(job) => self.jobs.push(job),
                None => self.jobs.extend(old.remove(&name)),
            }
        }
        // What jobs that change kept back goes out as it is: nobody will complete it.
        let mut leaving: Vec<Job> = old.into_values().collect();
        for job in &mut leaving {
            flush_pipeline(&mut job.pipeline, Flush::All, &mut self.shipper);
        }
        if let Some(shipper) = shipper {
            let old = std::mem::replace(&mut self.shipper, shipper);
            self.shipper.follow(old);
        }
        self.targets = targets;
        self.seen_version = u64::MAX;
    }

    /// Opens files that have come, lets go of those that nobody wants; true when files have come.
    fn scan(&mut self, now: Instant) -> bool {
        let mut have_come = false;
        // The clock was ahead at the first start. If it is behind now, more is read than need be.
        self.remembered.first_start_ns = self.remembered.first_start_ns.min(now_ns());
        TailMetrics::add(&self.metrics.scans, 1);
        let targets = self.targets.active();
        let mut folders = std::mem::take(&mut self.folders);
        folders.look_again();
        let mut wanted: HashSet<LogKey> = HashSet::new();
        for target in &targets {
            let mut files: BTreeSet<PathBuf> = target.files(&mut folders).into_iter().collect();
            // Rotated away while we were not there, and nothing has the name again.
            let orphans = self.remembered.logs.keys().map(|key| path_of(key));
            let orphans: Vec<PathBuf> = orphans.filter(|path| is_orphan(path, target)).map(Path::to_path_buf).collect();
            files.extend(orphans);
            for path in &files {
                // What is rotated is read as part of the log that it was.
                if originals(path).any(|original| files.contains(&original)) {
                    continue;
                }
                let key = self.key(path, target.job_idx);
                if wanted.insert(key.clone()) {
                    have_come |= self.claim(target, key, now);
                }
            }
        }
        self.watch.add_all(folders.paths());
        self.folders = folders;
        self.metrics.watch_failures.store(self.watch.failures(), Ordering::Relaxed);
        let unwanted: Vec<u64> = self
            .by_key
            .iter()
            // A deleted file is drained: its lines were written while somebody wanted them.
            .filter(|(key, _)| !wanted.contains(*key) && key.path.exists())
            .map(|(_, id)| *id)
            .collect();
        unwanted.into_iter().for_each(|id| self.let_go(id));
        let paths: HashSet<&Path> = wanted.iter().map(|key| &*key.path).collect();
        self.failed.retain(|path, _| paths.contains(&**path));
        self.arriving.retain(|path, _| paths.contains(&**path));
        self.limit_pinned();
        self.publish();
        self.is_first_look = false;
        have_come
    }

    /// A file belongs to the first job that claims it, or each job reads it on its own.
    fn key(&self, path: &Path, job_idx: usize) -> LogKey {
        let job = (!self.settings.exclusive).then(|| self.jobs.get(job_idx).map(|job| job.name.clone())).flatten();
        LogKey { path: path.to_owned(), job }
    }

    /// Reads the log for `target` from now on; true when it was opened.
    fn claim(&mut self, target: &Target, key: LogKey, now: Instant) -> bool {
        let path = key.path.clone();
        if let Some(id) = self.by_key.get(&key) {
            let Some(tailed) = self.logs.get_mut(id) else { return false };
            if tailed.job_idx == target.job_idx && tailed.target_labels.ptr_eq(&target.labels) {
                return false;
            }
            tailed.target_labels = target.labels.clone();
            let labels = with_filename(&target.labels, &path);
            if tailed.source.labels != labels || tailed.job_idx != target.job_idx {
                // Handed over where it stands: no gap, no repetition.
                self.next_id += 1;
                tailed.source = SourceLabels { labels, id: self.next_id };
                tailed.job_idx = target.job_idx;
            }
            return false;
        }
        if self.failed.get(&path).is_some_and(|until| *until > now) {
            return false;
        }
        let archive = self.jobs.get(target.job_idx).and_then(|job| job.archive);
        let delay = archive.map_or(Duration::ZERO, |archive| archive.delay);
        if delay > Duration::ZERO && *self.arriving.entry(path.clone()).or_insert(now + delay) > now {
            return false;
        }
        self.arriving.remove(&path);
        let newline = self.jobs.get(target.job_idx).map_or(Newline::Byte, Job::newline);
        let options = OpenOptions {
            line_bytes_max: self.settings.line_bytes_max,
            archive: archive.map(|archive| archive.compression),
            refuse_binary: newline == Newline::Byte && !path.starts_with(&self.settings.pod_logs_root),
            newline,
            start: Start::Offset(0),
        };
        let (state, start) = self.where_to_begin(&key, options.archive.is_some());
        match Log::open(&path, &state, OpenOptions { start, ..options }, now) {
            Ok(log) => {
                self.next_id += 1;
                let id = self.next_id;
                self.failed.remove(&path);
                self.remembered.logs.remove(&key.text());
                let labels = with_filename(&target.labels, &path);
                let tailed = Tailed {
                    key: key.clone(),
                    log,
                    job_idx: target.job_idx,
                    target_labels: target.labels.clone(),
                    source: SourceLabels { labels, id },
                    pause: self.settings.poll_min,
                    blocked: None,
                    blocked_pause: BLOCKED_PAUSE,
                    rate: self.settings.container_rate.clone(),
                    lines: 0,
                };
                self.by_key.insert(key, id);
                self.logs.insert(id, tailed);
                self.due.push(Reverse((now, id)));
                true
            }
            Err(err) => {
                let again = self.settings.sync_period;
                if self.failed.insert(path.clone(), now + again).is_none() {
                    warn!(error = %err, path = %path.display(), "file cannot be read, trying again later");
                }
                false
            }
        }
    }

    fn where_to_begin(&self, key: &LogKey, is_archive: bool) -> (LogState, Start) {
        let path = &*key.path;
        if let Some(state) = self.remembered.logs.get(&key.text()) {
            return (state.clone(), Start::Offset(0));
        }
        if let Some(offset) = self.positions.offset(path) {
            if is_archive {
                return (LogState::default(), Start::Offset(offset));
            }
            // Promtail knows no identity: an offset behind the end belongs to a file that was rotated since.
            return match state_at(path, offset) {
                Some(state) => (state, Start::Offset(0)),
                None => (LogState::default(), Start::Offset(0)),
            };
        }
        let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
        let is_recent = |age: Duration| {
            modified.and_then(|at| SystemTime::now().duration_since(at).ok()).is_none_or(|since| since <= age)
        };
        // Where the filesystem does not know when it was born, what was written since is rather read than left.
        let born_ns = Inode::at(path).map_or(0, |inode| inode.born_ns);
        let came_ns = if born_ns == 0 { modified.map_or(i64::MAX, ns_of) } else { born_ns };
        let since_ns = self.remembered.first_start_ns;
        let is_newer = !self.is_first_look && came_ns >= since_ns;
        let start = match self.settings.read_from {
            _ if is_newer && path.starts_with(&self.settings.pod_logs_root) => Start::History(since_ns),
            _ if is_newer => Start::Offset(0),
            ReadFrom::Beginning => Start::Offset(0),
            ReadFrom::End => Start::End,
            ReadFrom::Since(age) if is_recent(age) => Start::Offset(0),
            ReadFrom::Since(_) => Start::End,
        };
        (LogState::default(), start)
    }

    /// Gives every log that is due one turn; true when any had something.
    fn read_turns(&mut self, buffer: &mut Vec<u8>) -> bool {
        let mut busy = false;
        let now = Instant::now();
        // Only what is due now: a log that has more comes again after all others.
        let mut due = Vec::new();
        while let Some(Reverse((at, id))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            due.push(id);
        }
        for id in due {
            let Some(next) = self.turn(id, buffer, &mut busy) else { continue };
            self.due.push(Reverse((next, id)));
        }
        busy
    }

    /// One turn; returns when the next one is due, `None` when the log is over.
    fn turn(&mut self, id: u64, buffer: &mut Vec<u8>, busy: &mut bool) -> Option<Instant> {
        let tailed = self.logs.get_mut(&id)?;
        let now = Instant::now();
        let has_room = match &tailed.blocked {
            Some(tenant) => self.shipper.has_room(tenant.as_deref()),
            None => !self.shipper.is_over_budget(),
        };
        if !has_room {
            if let Some(job) = self.jobs.get_mut(tailed.job_idx) {
                job.pipeline.keep_waiting(SourceId(id), now);
            }
            if let Err(err) = tailed.log.look_for_rotation(now) {
                debug!(error = %err, path = %tailed.log.path.display(), "a rotated file cannot be opened");
            }
            return Some(now + tailed.wait_longer());
        }
        tailed.blocked = None;
        tailed.blocked_pause = BLOCKED_PAUSE;
        let Some(job) = self.jobs.get_mut(tailed.job_idx) else { return Some(now + PARKED_PAUSE) };
        let (shipper, metrics, counters) = (&mut self.shipper, &self.metrics, &self.counters);
        let rate = &mut self.settings.rate;
        let (source, lines, encoding) = (&tailed.source, &mut tailed.lines, job.encoding);
        let (container_rate, pipeline) = (&mut tailed.rate, &mut job.pipeline);
        let mut wait = Duration::ZERO;
        let mut blocked: Option<Option<Box<str>>> = None;
        // Lines of one turn are a nanosecond apart: an engine keeps equal lines of one instant once.
        let mut now_ns = now_ns();
        let mut taken = (0u64, 0u64);
        let turn = tailed.log.turn(buffer, now, &mut |line, receipt| {
            now_ns += 1;
            taken.0 += 1;
            taken.1 += line.bytes.len() as u64;
            let mut cx = Context {
                now,
                now_ns,
                source: SourceId(id),
                receipt: Some(receipt),
                line_start: line.start,
                wait: Duration::ZERO,
            };
            let mut limited = Duration::ZERO;
            if let Some(container_rate) = container_rate {
                match container_rate.take(line.bytes.len(), now) {
                    Admission::Now => {}
                    Admission::AfterPause(pause) => limited = pause,
                    Admission::Never => {
                        counters.dropped("per_container_rate").count();
                        return Take::More;
                    }
                }
            }
            let text = encoding.map(|encoding| decoded(encoding, line.bytes));
            let bytes = text.as_ref().map_or(line.bytes, |text| text.as_bytes());
            pipeline.run(source, bytes, &mut cx, &mut |mut outgoing: Outgoing<'_>| {
                if let Some((bucket, drops)) = rate {
                    if !*drops {
                        limited = limited.max(bucket.take(now));
                    } else if !bucket.try_take(now) {
                        counters.dropped("global_rate_limiter_drop").count();
                        outgoing.held.drain(..).for_each(Receipt::settle);
                        return;
                    }
                }
                if !shipper.add(&mut outgoing) {
                    blocked = Some(outgoing.entry.tenant.map(Box::from));
                }
            });
            wait = wait.max(cx.wait).max(limited);
            if wait > Duration::ZERO || blocked.is_some() { Take::Enough } else { Take::More }
        });
        *lines += taken.0;
        TailMetrics::add(&metrics.lines, taken.0);
        TailMetrics::add(&metrics.bytes, taken.1);
        tailed.blocked = blocked;
        match turn {
            Ok(LogTurn::Read) => {
                *busy = true;
                tailed.pause = self.settings.poll_min;
                Some(now + wait)
            }
            Ok(LogTurn::Paused) => {
                tailed.pause = self.settings.poll_min;
                Some(now + wait.max(if tailed.blocked.is_some() { BLOCKED_PAUSE } else { Duration::ZERO }))
            }
            Ok(LogTurn::Idle) => {
                tailed.pause = (tailed.pause * 2).min(self.settings.poll_max);
                Some(now + tailed.pause)
            }
            Ok(LogTurn::Parked) => Some(now + PARKED_PAUSE),
            Ok(LogTurn::Over) => {
                self.end(id);
                None
            }
            Err(err) => {
                warn!(error = %err, path = %tailed.log.path.display(), "file cannot be read, trying again");
                tailed.pause = self.settings.poll_max;
                Some(now + self.settings.poll_max)
            }
        }
    }

    /// The log's writer has gone and all is read.
    fn end(&mut self, id: u64) {
        self.flush_pipelines(Flush::Source(SourceId(id)));
        let Some(tailed) = self.logs.remove(&id) else { return };
        info!(path = %tailed.log.path.display(), "log is over");
        self.by_key.remove(&tailed.key);
        self.positions.forget(&tailed.log.path);
        // The next file of this name may wait already.
        self.watch.touch();
    }

    /// Nobody wants the log any more; where it stands is remembered.
    fn let_go(&mut self, id: u64) {
        self.flush_pipelines(Flush::Source(SourceId(id)));
        let Some(tailed) = self.logs.remove(&id) else { return };
        info!(path = %tailed.log.path.display(), "log is not wanted any more");
        self.by_key.remove(&tailed.key);
        self.positions.set_offset(&tailed.log.path, tailed.log.acknowledged());
        self.remembered.logs.insert(tailed.key.text(), tailed.log.state());
    }

    fn flush_pipelines(&mut self, what: Flush) {
        for job in &mut self.jobs {
            flush_pipeline(&mut job.pipeline, what, &mut self.shipper);
        }
    }

    /// Gives up old generations when too many bytes wait that the disk could use.
    fn limit_pinned(&mut self) {
        let (log_max, all_max) = self.settings.pinned_bytes_max;
        let mut all = 0;
        let mut by_size: Vec<(u64, u64)> = Vec::new();
        for (id, tailed) in &mut self.logs {
            let mut pinned = tailed.log.pinned_bytes();
            while pinned > log_max && skip(tailed, &self.metrics) {
                pinned = tailed.log.pinned_bytes();
            }
            if pinned > 0 {
                by_size.push((pinned, *id));
                all += pinned;
            }
        }
        by_size.sort_unstable_by(|a, b| b.cmp(a));
        for (pinned, id) in by_size {
            if all <= all_max {
                return;
            }
            if let Some(tailed) = self.logs.get_mut(&id).filter(|tailed| tailed.log.pinned_bytes() > 0)
                && skip(tailed, &self.metrics)
            {
                all = all.saturating_sub(pinned.saturating_sub(tailed.log.pinned_bytes()));
            }
        }
    }

    fn publish(&self) {
        let status = |tailed: &Tailed| {
            let (read_bytes, file_bytes) = tailed.log.read_and_length();
            FileStatus {
                path: tailed.log.path.clone(),
                job_idx: tailed.job_idx,
                labels: tailed.source.labels.clone(),
                read_bytes,
                file_bytes,
                lag_bytes: tailed.log.lag_bytes(),
                lines: tailed.lines,
            }
        };
        let mut files: Vec<FileStatus> = self.logs.values().map(status).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let open = self.logs.values().filter(|tailed| tailed.log.is_open()).count();
        self.metrics.known_files.store(files.len() as u64, Ordering::Relaxed);
        self.metrics.open_files.store(open as u64, Ordering::Relaxed);
        *self.metrics.files.lock() = files;
    }

    fn commit(&mut self) {
        self.publish();
        self.remember(true);
    }

    /// Writes what is known of the logs. Promtail's positions may wait for their time.
    fn remember(&mut self, with_positions: bool) {
        if self.settings.read_only {
            return;
        }
        let logs = self.logs.values().map(|tailed| (&tailed.key, &tailed.log));
        write_positions(
            logs,
            &mut self.positions,
            self.state_file.as_mut(),
            &mut self.remembered,
            self.settings.positions_file.as_deref().filter(|_| with_positions),
            &self.cursors,
            &self.metrics,
        );
    }
}

fn skip(tailed: &mut Tailed, metrics: &TailMetrics) -> bool {
    let Some(bytes) = tailed.log.skip_oldest() else { return false };
    warn!(path = %tailed.log.path.display(), bytes, "rotated file given up unread: the collector is too far behind (collector.max_pinned_bytes)");
    TailMetrics::add(&metrics.skipped_generations, 1);
    TailMetrics::add(&metrics.skipped_bytes, bytes);
    true
}

fn flush_pipeline(pipeline: &mut Pipeline, what: Flush, shipper: &mut Shipper) {
    if !pipeline.keeps_back() {
        return;
    }
    let mut cx = Context {
        now: Instant::now(),
        now_ns: now_ns(),
        source: SourceId(0),
        receipt: None,
        line_start: 0,
        wait: Duration::ZERO,
    };
    pipeline.flush(what, &mut cx, &mut |mut outgoing| {
        shipper.add(&mut outgoing);
    });
}

/// Writes the last positions, after the senders are done.
pub struct Committer {
    logs: Vec<(LogKey, Log)>,
    positions: Positions,
    state_file: Option<StateFile>,
    remembered: State,
    path: Option<PathBuf>,
    read_only: bool,
    metrics: Arc<TailMetrics>,
    cursors: Arc<Cursors>,
}

impl Committer {
    /// Writes what is acknowledged by now.
    pub fn commit(mut self) {
        if self.read_only {
            return;
        }
        write_positions(
            self.logs.iter().map(|(key, log)| (key, log)),
            &mut self.positions,
            self.state_file.as_mut(),
            &mut self.remembered,
            self.path.as_deref(),
            &self.cursors,
            &self.metrics,
        );
    }
}

fn write_positions<'l>(
    logs: impl Iterator<Item = (&'l LogKey, &'l Log)>,
    positions: &mut Positions,
    state_file: Option<&mut StateFile>,
    remembered: &mut State,
    path: Option<&Path>,
    cursors: &Cursors,
    metrics: &TailMetrics,
) {
    // In a rotation nothing has the name for a moment.
    remembered.logs.retain(|key, _| path_of(key).exists() || has_rotated_files(path_of(key)));
    let mut state = State { cursors: cursors.acknowledged(), ..remembered.clone() };
    let mut offsets: BTreeMap<&Path, u64> = BTreeMap::new();
    for (key, log) in logs {
        // Promtail knows one offset a file: that of the job that has come least far.
        let offset = offsets.entry(&log.path).or_insert(u64::MAX);
        *offset = log.acknowledged().min(*offset);
        state.logs.insert(key.text(), log.state());
    }
    offsets.into_iter().for_each(|(path, offset)| positions.set_offset(path, offset));
    state.cursors.iter().for_each(|(key, cursor)| positions.set_cursor(key, cursor));
    if let Some(state_file) = state_file
        && let Err(err) = state_file.store(state)
    {
        TailMetrics::add(&metrics.state_errors, 1);
        warn!(error = %err, "the state cannot be written: after a crash lines would be sent again");
    }
    let Some(path) = path else { return };
    if !positions.has_changed() {
        return;
    }
    positions.forget_missing();
    if let Err(err) = positions.store(path) {
        TailMetrics::add(&metrics.state_errors, 1);
        warn!(error = %err, path = %path.display(), "positions cannot be written: after a crash lines would be sent again");
    }
}

/// True for a remembered log that `target` wants and of which only rotated files are left.
fn is_orphan(path: &Path, target: &Target) -> bool {
    target.wants(path) && !path.exists() && has_rotated_files(path)
}

fn with_filename(labels: &Labels, path: &Path) -> Labels {
    let filename = ("filename", path.to_string_lossy());
    Labels::from_pairs(labels.iter().map(|(n, v)| (n, v.into())).chain([filename]))
}

fn now_ns() -> i64 {
    ns_of(SystemTime::now())
}

/// ns since the epoch.
fn ns_of(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
