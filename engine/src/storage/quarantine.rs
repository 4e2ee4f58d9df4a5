//! Where damaged files go: out of the way, not out of reach. Nothing in here is ever read again by the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::error;

use super::disk::Disk;

/// The `quarantine/` folder of a data directory.
pub struct Quarantine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: AtomicU64,
}

impl Quarantine {
    /// Nothing is created before it is needed.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), files: AtomicU64::new(0) }
    }

    /// Files put here by this process.
    pub fn file_count(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Keeps a copy of a file that stays in use, or is about to be cut. Best effort: a full disk must not keep the
    /// engine from starting.
    pub fn copy(&self, path: &Path, bytes: &[u8]) {
        let to = self.place_for(path);
        let result = self.disk.create_dir_all(&self.dir).and_then(|()| self.disk.replace(&to, bytes));
        self.report(path, &to, result);
    }

    /// Moves a file here.
    pub fn take(&self, path: &Path) {
        let to = self.place_for(path);
        let result = self.disk.create_dir_all(&self.dir).and_then(|()| self.disk.rename(path, &to));
        self.report(path, &to, result);
    }

    /// `days/2026-11-22/x.part` becomes `quarantine/2026-11-22.x.part`; a second one replaces the first.
    fn place_for(&self, path: &Path) -> PathBuf {
        let text = |part: Option<&std::ffi::OsStr>| part.and_then(|p| p.to_str()).unwrap_or("file").to_owned();
        let folder = text(path.parent().and_then(Path::file_name));
        self.dir.join(format!("{folder}.{}", text(path.file_name())))
    }

    fn report(&self, from: &Path, to: &Path, result: std::io::Result<()>) {
        self.files.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => error!(path = %from.display(), kept = %to.display(), "a damaged file was put into quarantine"),
            Err(err) => error!(path = %from.display(), error = %err, "a damaged file could not be quarantined"),
        }
    }
}
