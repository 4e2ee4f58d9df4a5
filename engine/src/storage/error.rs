//! What can go wrong in storage, by who can fix it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of storage. Cheap to clone, because one failed write answers every append of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The volume is full. Nothing of the append was acknowledged; the same append succeeds once there is space.
    #[error("the volume of {path:?} is full: free space, enlarge it, or lower `retention`")]
    NoSpace {
        /// What could not be written.
        path: PathBuf,
    },
    /// The memtable is full and waits for the disk.
    #[error("storage cannot keep up with what comes in: {waiting_bytes} bytes wait to be flushed")]
    Busy {
        /// Bytes in memtables.
        waiting_bytes: usize,
    },
    /// The operating system failed us.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried: "open", "append to", "sync".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes on disk are not what was written there.
    #[error("{path:?} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        what: String,
    },
    /// A newer version wrote this.
    #[error("{path:?} has format version {found}, this version reads up to {known}: upgrade, or restore a backup")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that we read.
        known: u32,
    },
    /// The data directory belongs to another running process.
    #[error("{path:?} is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// One append is larger than a record may be.
    #[error("a batch of {bytes} bytes does not fit a log record: send smaller requests")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
    /// After [`super::Store::close`].
    #[error("storage is closed")]
    Closed,
}

/// Short for results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Tells a full volume from other failures. For `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { action, path, source: Arc::new(source) },
        }
    }

    /// Damage at `path`.
    pub fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }

    /// True when the same call may succeed later without anybody changing it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::Busy { .. } | Self::Io { .. } => true,
            Self::Damaged { .. }
            | Self::Unknown { .. }
            | Self::Locked { .. }
            | Self::TooLarge { .. }
            | Self::Closed => false,
        }
    }

    /// True for bytes that do not check out: the file is quarantined, not retried.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}
