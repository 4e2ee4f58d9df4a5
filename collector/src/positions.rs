//! The positions file: how far each file is acknowledged, in Promtail's YAML form.
//!
//! ```text
//! positions:
//!   /var/log/pods/a_b_c/d/0.log: "1234"
//!   cursor-journal: s=…
//! ```
//!
//! Written under another name, synced and renamed, so that a crash leaves the old file or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

/// Offsets by path, and cursors of other sources by their key.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    #[serde(default)]
    positions: BTreeMap<String, String>,
    /// The file does not say the same.
    #[serde(skip)]
    is_changed: bool,
}

impl Positions {
    /// Reads the file. A missing one is empty; a damaged one is set aside, reported, and counts as empty: a collector
    /// that does not start loses more than one that reads a file again.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(err) if err.kind() == io::ErrorKind::InvalidData => String::from("\0"),
            Err(err) => return Err(err),
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        match Self::parse(&text) {
            Ok(positions) => Ok(positions),
            Err(err) => {
                let aside = set_aside(path)?;
                warn!(error = %err, path = %path.display(), kept_as = %aside.display(), "positions file is damaged, files are read from their start");
                Ok(Self::default())
            }
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }

    /// Bytes of `path` that need not be read again.
    pub fn offset(&self, path: &Path) -> Option<u64> {
        self.positions.get(path.to_str()?)?.parse().ok()
    }

    /// Sets the offset of `path`.
    pub fn set_offset(&mut self, path: &Path, offset: u64) {
        self.set(&path.to_string_lossy(), &offset.to_string());
    }

    /// Cursors by their key. Old files of Promtail name those of the journal otherwise.
    pub fn cursors(&self) -> Vec<(String, String)> {
        let cursor = |(key, value): (&String, &String)| {
            let key = match key.strip_prefix("journal-") {
                Some(job) => format!("cursor-{job}"),
                None => key.clone(),
            };
            key.starts_with("cursor-").then(|| (key, value.clone()))
        };
        self.positions.iter().filter_map(cursor).collect()
    }

    /// Sets a cursor.
    pub fn set_cursor(&mut self, key: &str, cursor: &str) {
        self.set(key, cursor);
    }

    fn set(&mut self, key: &str, value: &str) {
        if self.positions.get(key).is_none_or(|known| known != value) {
            self.positions.insert(key.to_owned(), value.to_owned());
            self.is_changed = true;
        }
    }

    /// True when there is something to store.
    pub fn has_changed(&self) -> bool {
        self.is_changed
    }

    /// True without offsets and cursors.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Forgets `path`.
    pub fn forget(&mut self, path: &Path) {
        self.is_changed |= self.positions.remove(&*path.to_string_lossy()).is_some();
    }

    /// Forgets files that are gone. Cursors stay.
    pub fn forget_missing(&mut self) {
        self.positions.retain(|key, _| !key.starts_with('/') || Path::new(key).exists());
    }

    /// Replaces the file.
    pub fn store(&mut self, path: &Path) -> io::Result<()> {
        let text = serde_yaml::to_string(self).map_err(io::Error::other)?;
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // Without this the new name may be lost in a power cut, and lines would be sent twice.
        File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
        self.is_changed = false;
        Ok(())
    }
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = jiff::Timestamp::now().as_second();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".corrupt-{seconds}"));
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions.yaml");
        assert_eq!(Positions::load(&path).unwrap(), Positions::default());
        let mut positions = Positions::default();
        positions.set_offset(Path::new("/var/log/a b: c.log"), 42);
        positions.set_offset(&path, 7);
        positions.store(&path).unwrap();
        let mut loaded = Positions::load(&path).unwrap();
        assert_eq!(loaded, positions);
        loaded.set_offset(&path, 7);
        assert!(!loaded.has_changed(), "it is stored");
        loaded.forget_missing();
        assert_eq!((loaded.offset(Path::new("/var/log/a b: c.log")), loaded.offset(&path)), (None, Some(7)));
    }

    #[test]
    fn reads_what_promtail_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions.yaml");
        fs::write(&path, "positions:\n  /var/log/syslog: \"99\"\n  cursor-journal: s=1;i=2\n").unwrap();
        assert_eq!(Positions::load(&path).unwrap().offset(Path::new("/var/log/syslog")), Some(99));
    }

    #[test]
    fn sets_a_damaged_file_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions.yaml");
        for damage in ["positions: [1, 2", "\0\0\0\0"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(Positions::load(&path).unwrap(), Positions::default());
            assert!(!path.exists(), "{damage:?} was left in place");
        }
        let kept = fs::read_dir(folder.path()).unwrap().count();
        assert!(kept >= 1, "the damaged file is kept for a person to look at");
    }
}
