//! Watches folders, so that a new file is seen at once and not at the next complete look.
//!
//! Only folders are watched, never files, and only for names that come and go. A watch that cannot be had (the kernel
//! limits them) is reported once; the periodic look finds the files then.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};
use tracing::warn;

/// Watches for names that come and go.
pub struct FolderWatch {
    inotify: Option<Inotify>,
    watched: HashSet<PathBuf>,
    touched: bool,
    failures: u64,
}

impl FolderWatch {
    /// Without folders yet.
    pub fn new() -> Self {
        let mut watch = Self { inotify: None, watched: HashSet::new(), touched: false, failures: 0 };
        match Inotify::init() {
            Ok(inotify) => watch.inotify = Some(inotify),
            Err(err) => watch.warn(&err, Path::new("/")),
        }
        watch
    }

    /// Watches those of `folders` that are not watched yet.
    pub fn add_all<'f>(&mut self, folders: impl Iterator<Item = &'f Path>) {
        let mask =
            WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE | WatchMask::ONLYDIR;
        for folder in folders {
            let Some(inotify) = &self.inotify else { return };
            if self.watched.contains(folder) || !folder.is_dir() {
                continue;
            }
            match inotify.watches().add(folder, mask) {
                Ok(_) => drop(self.watched.insert(folder.to_owned())),
                Err(err) => self.warn(&err, folder),
            }
        }
    }

    /// Watches that could not be had.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Makes the next [`Self::changed`] true.
    pub fn touch(&mut self) {
        self.touched = true;
    }

    /// True when a name came or went since the last call. Does not wait.
    pub fn changed(&mut self) -> bool {
        let mut changed = std::mem::take(&mut self.touched);
        let mut buffer = [0; 4096];
        while let Some(inotify) = &mut self.inotify {
            match inotify.read_events(&mut buffer) {
                Ok(events) => changed |= events.count() > 0,
                // Nothing (more) to read; any other error shows again at the next look.
                Err(_) => break,
            }
        }
        if changed {
            // A folder that went away and came back needs a new watch.
            self.watched.retain(|folder| folder.is_dir());
        }
        changed
    }

    fn warn(&mut self, err: &std::io::Error, folder: &Path) {
        self.failures += 1;
        if self.failures == 1 {
            warn!(error = %err, folder = %folder.display(), "folders cannot be watched, new files are found by looking for them: raise fs.inotify.max_user_watches or max_user_instances");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_new_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new();
        watch.add_all([folder.path(), &folder.path().join("missing")].into_iter());
        assert!(!watch.changed());
        std::fs::write(folder.path().join("a.log"), "").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
        watch.touch();
        assert!(watch.changed());
    }
}
