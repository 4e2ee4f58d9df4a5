//! Tail: reads the files of all targets, in turns, on one thread of its own, and runs the pipelines.
//!
//! Nothing here waits for the network: a source whose entries cannot leave is not read until they can, the others go on.
//! A look at a file costs one `fstat`; files are looked at 100 ms after they grew, up to 2 s after when they are quiet,
//! and are closed when nothing happens for a minute.

pub mod file;
pub mod identity;
pub mod log;
pub mod plan;
mod rate;
mod reader;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use rate::ContainerRate;
pub use reader::{Archive, Command, Committer, Job, Reader};

/// How files are read.
#[derive(Debug, Clone)]
pub struct TailSettings {
    /// Time between two complete looks for new files; a watch usually tells sooner.
    pub sync_period: Duration,
    /// Pause between two looks at a file that grows …
    pub poll_min: Duration,
    /// … and at one that has been quiet.
    pub poll_max: Duration,
    /// Longer lines are cut.
    pub line_bytes_max: usize,
    /// Where positions are kept; `None` keeps none.
    pub positions_file: Option<PathBuf>,
    /// Where our own state is kept: beside this.
    pub state_file: Option<PathBuf>,
    /// Positions are read and not written.
    pub read_only: bool,
    /// Time between two writes of the positions file.
    pub positions_period: Duration,
    /// Where files begin that exist at the very first start.
    pub read_from: ReadFrom,
    /// Unread bytes of rotated and deleted files, of one log and of all.
    pub pinned_bytes_max: (u64, u64),
    /// Files below it are the kubelet's: never taken for binary ones.
    pub pod_logs_root: PathBuf,
    /// A file belongs to the first job that claims it; else each job reads it.
    pub exclusive: bool,
    /// What each log may write.
    pub container_rate: Option<ContainerRate>,
    /// Lines per second of the whole process, and whether more is dropped.
    pub rate: Option<(crate::pipeline::Bucket, bool)>,
}

/// Where files begin that exist at the very first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first line.
    Beginning,
    /// The end.
    End,
    /// The beginning of files that changed so recently, the end of others.
    Since(Duration),
}

/// What is known of a file, for the pages and metrics.
#[derive(Debug, Clone)]
pub struct FileStatus {
    /// As globbed.
    pub path: PathBuf,
    /// Index of its job.
    pub job_idx: usize,
    /// Labels of its entries.
    pub labels: logstack_logql::Labels,
    /// Bytes read of the current file.
    pub read_bytes: u64,
    /// Its length.
    pub file_bytes: u64,
    /// Unread bytes, rotated files included.
    pub lag_bytes: u64,
    /// Lines read since the start.
    pub lines: u64,
}

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub struct TailMetrics {
    /// Lines read.
    pub lines: AtomicU64,
    /// Bytes of lines read.
    pub bytes: AtomicU64,
    /// Logs known.
    pub known_files: AtomicU64,
    /// Files held open.
    pub open_files: AtomicU64,
    /// Generations given up because too much was pinned, and their unread bytes.
    pub skipped_generations: AtomicU64,
    /// See above.
    pub skipped_bytes: AtomicU64,
    /// The positions or the state could not be written.
    pub state_errors: AtomicU64,
    /// Folders that cannot be watched: files are found by looking for them.
    pub watch_failures: AtomicU64,
    /// Complete looks for files.
    pub scans: AtomicU64,
    /// Files as of the last complete look.
    pub files: Mutex<Vec<FileStatus>>,
}

impl TailMetrics {
    fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }
}
