//! Tail: reads the files of all targets, in turns, on one thread of its own.
//!
//! The thread blocks when the shipper's batches cannot leave; then no file is read and the files are the buffer.

mod file;
mod watch;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use logstack_logql::Labels;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::discovery::Target;
use crate::positions::Positions;
use crate::ship::{Entry, Shipper};
use file::{TailedFile, Turn};
use watch::FolderWatch;

/// Pause between two looks at a file that grows …
const POLL_MIN: Duration = Duration::from_millis(100);
/// … and at one that has been quiet.
const POLL_MAX: Duration = Duration::from_secs(2);

/// How files are read.
#[derive(Debug, Clone)]
pub struct TailSettings {
    /// Time between two complete looks for new files; a watch usually tells sooner.
    pub sync_period: Duration,
    /// Longer lines are cut.
    pub line_bytes_max: usize,
    /// Where positions are kept; `None` keeps none.
    pub positions_file: Option<PathBuf>,
    /// Time between two writes of the positions file.
    pub positions_period: Duration,
}

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub struct TailMetrics {
    /// Lines read.
    pub lines: AtomicU64,
    /// Bytes of lines read.
    pub bytes: AtomicU64,
    /// Files held open.
    pub open_files: AtomicU64,
}

/// Reads the files of `targets` until it is told to stop.
pub struct Reader {
    targets: Vec<Target>,
    settings: TailSettings,
    shipper: Shipper,
    positions: Positions,
    files: HashMap<PathBuf, OpenFile>,
    /// Archives that were read to their end, so that they are not opened again.
    finished: HashSet<PathBuf>,
    watch: FolderWatch,
    metrics: Arc<TailMetrics>,
    shutdown: CancellationToken,
}

struct OpenFile {
    tailed: TailedFile,
    labels: Labels,
    next_look: Instant,
    pause: Duration,
}

impl Reader {
    /// Reads the positions file, opens nothing yet.
    ///
    /// # Errors
    /// When the positions file exists and cannot be read.
    pub fn new(
        targets: Vec<Target>,
        settings: TailSettings,
        shipper: Shipper,
        metrics: Arc<TailMetrics>,
        shutdown: CancellationToken,
    ) -> std::io::Result<Self> {
        let positions = settings.positions_file.as_deref().map_or_else(|| Ok(Positions::default()), Positions::load)?;
        Ok(Self {
            targets,
            settings,
            shipper,
            positions,
            files: HashMap::new(),
            finished: HashSet::new(),
            watch: FolderWatch::new(),
            metrics,
            shutdown,
        })
    }

    /// Runs on the calling thread until shutdown, then hands over what was read and gives the senders to wait for.
    pub fn run(mut self) -> (Vec<tokio::task::JoinHandle<()>>, Committer) {
        let mut buffer = Vec::new();
        let mut next_scan = Instant::now();
        let mut next_commit = Instant::now() + self.settings.positions_period;
        while !self.shutdown.is_cancelled() {
            let now = Instant::now();
            if now >= next_scan || self.watch.changed() {
                self.scan(now);
                next_scan = now + self.settings.sync_period;
            }
            let busy = self.read_turns(&mut buffer);
            self.shipper.flush(false);
            if now >= next_commit {
                self.commit();
                next_commit = now + self.settings.positions_period;
            }
            if !busy {
                std::thread::sleep(POLL_MIN);
            }
        }
        let files = self.files.into_iter().map(|(path, file)| (path, file.tailed.progress)).collect();
        let committer = Committer { positions: self.positions, files, path: self.settings.positions_file };
        (self.shipper.finish(), committer)
    }

    /// Opens files that have come. A file belongs to the first target that claims it.
    fn scan(&mut self, now: Instant) {
        for target in &self.targets {
            self.watch.add_all(&target.path.folders());
            for path in target.path.files() {
                let excluded = target.exclude.as_ref().is_some_and(|exclude| exclude.matches(&path));
                if excluded || self.files.contains_key(&path) || self.finished.contains(&path) {
                    continue;
                }
                let offset = self.positions.offset(&path).unwrap_or(0);
                let limit = self.settings.line_bytes_max;
                // Compressed files by name, too: samples, and what a logrotate left.
                let archive = target.archive || path.extension().is_some_and(|extension| extension == "gz");
                let opened = if archive {
                    TailedFile::open_archive(&path, offset, limit, now)
                } else {
                    TailedFile::open(&path, offset, limit, now)
                };
                match opened {
                    Ok(tailed) => {
                        info!(path = %path.display(), offset, "reading file");
                        let labels = with_filename(&target.labels, &path);
                        self.files.insert(path, OpenFile { tailed, labels, next_look: now, pause: POLL_MIN });
                    }
                    Err(err) => {
                        warn!(error = %err, path = %path.display(), "file cannot be opened, trying again later")
                    }
                }
            }
        }
        self.metrics.open_files.store(self.files.len() as u64, Ordering::Relaxed);
    }

    /// Gives every file that is due one turn; true when any had something.
    fn read_turns(&mut self, buffer: &mut Vec<u8>) -> bool {
        let mut busy = false;
        let mut over = Vec::new();
        for (path, file) in &mut self.files {
            let now = Instant::now();
            if now < file.next_look {
                continue;
            }
            let OpenFile { tailed, labels, .. } = file;
            let (shipper, metrics) = (&mut self.shipper, &self.metrics);
            let turn = tailed.turn(buffer, now, |line, receipt| {
                metrics.lines.fetch_add(1, Ordering::Relaxed);
                metrics.bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
                let line = String::from_utf8_lossy(line);
                let entry =
                    Entry { tenant: None, labels, timestamp_ns: now_ns(), line: line.as_bytes(), metadata: &[] };
                shipper.add(&entry, receipt);
            });
            match turn {
                Ok(Turn::Read) => {
                    busy = true;
                    file.pause = POLL_MIN;
                }
                Ok(Turn::Idle) => {
                    file.pause = (file.pause * 2).min(POLL_MAX);
                    file.next_look = now + file.pause;
                }
                Ok(Turn::Finished) => over.push(path.clone()),
                Err(err) => {
                    warn!(error = %err, path = %path.display(), "file cannot be read, trying again");
                    file.pause = POLL_MAX;
                    file.next_look = now + POLL_MAX;
                }
            }
        }
        for path in over {
            self.close(&path);
        }
        busy
    }

    fn close(&mut self, path: &Path) {
        // Its position is kept until what was read of it is acknowledged; a new file of that name starts from 0.
        let Some(file) = self.files.get(path) else { return };
        if !file.tailed.progress.is_settled() {
            return;
        }
        let file = self.files.remove(path).expect("looked up above");
        info!(path = %path.display(), "file is read to its end");
        if path.exists() && file.tailed.is_archive() {
            self.positions.set_offset(path, file.tailed.progress.acknowledged());
            self.finished.insert(path.to_owned());
        } else {
            self.positions.set_offset(path, 0);
        }
        // The next file of this name may wait already.
        self.watch.touch();
    }

    fn commit(&mut self) {
        for (path, file) in &self.files {
            self.positions.set_offset(path, file.tailed.progress.acknowledged());
        }
        self.finished.retain(|path| path.exists());
        store(&mut self.positions, self.settings.positions_file.as_deref());
    }
}

/// Writes the last positions, after the senders are done.
pub struct Committer {
    positions: Positions,
    files: Vec<(PathBuf, Arc<crate::receipt::Progress>)>,
    path: Option<PathBuf>,
}

impl Committer {
    /// Writes what is acknowledged by now.
    pub fn commit(mut self) {
        for (path, progress) in &self.files {
            self.positions.set_offset(path, progress.acknowledged());
        }
        store(&mut self.positions, self.path.as_deref());
    }
}

fn store(positions: &mut Positions, path: Option<&Path>) {
    let Some(path) = path else { return };
    positions.forget_missing();
    if let Err(err) = positions.store(path) {
        warn!(error = %err, path = %path.display(), "positions cannot be written: after a crash lines would be sent again");
    }
}

fn with_filename(labels: &Labels, path: &Path) -> Labels {
    let filename = ("filename", path.to_string_lossy());
    Labels::from_pairs(labels.iter().map(|(n, v)| (n, v.into())).chain([filename]))
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
