//! The state file: which file each log was read from and how far, exactly. Lies beside Promtail's positions file, which
//! knows offsets by name only.
//!
//! ```text
//! logstack-state 1 SEQUENCE XXH3\n     the hash is of what follows
//! {"first_start_ns": NS, "logs": {PATH: {...}}, "cursors": {KEY: CURSOR}}
//! ```
//!
//! Two copies are written in turn and synced, so that a crash or a full disk damages one at most; the newest whole one
//! counts. The first copy is locked while a collector runs: a second one, as in a rolling update, waits.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use crate::tail::log::LogState;

const MAGIC: &str = "logstack-state 1";

/// What is remembered between two starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When this node was read for the first time, ns since the epoch: what is older begins where `read_from` says, what
    /// is newer is read whole.
    #[serde(default)]
    pub first_start_ns: i64,
    /// By path as globbed.
    pub logs: BTreeMap<String, LogState>,
    /// Of sources that are no files, by their key.
    #[serde(default)]
    pub cursors: BTreeMap<String, String>,
}

/// The two copies.
#[derive(Debug)]
pub struct StateFile {
    paths: [PathBuf; 2],
    sequence: u64,
    last: Option<State>,
    lock: Option<File>,
}

impl StateFile {
    /// Beside or at `path`; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            path.with_file_name(name)
        };
        Self { paths: [with(".state"), with(".state.alt")], sequence: 0, last: None, lock: None }
    }

    /// True when this process holds the lock, or there is nothing that can be locked (a read-only folder).
    pub fn try_lock(&mut self) -> bool {
        if self.lock.is_some() {
            return true;
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.paths[0]);
        match file {
            Ok(file) => match file.try_lock() {
                Ok(()) => {
                    self.lock = Some(file);
                    true
                }
                Err(fs::TryLockError::WouldBlock) => false,
                Err(fs::TryLockError::Error(err)) => {
                    warn!(error = %err, path = %self.paths[0].display(), "the state file cannot be locked");
                    true
                }
            },
            Err(err) => {
                warn!(error = %err, path = %self.paths[0].display(), "the state file cannot be opened: after a restart lines would be sent again");
                true
            }
        }
    }

    /// The newest whole copy; `None` when there is none.
    pub fn load(&mut self) -> Option<State> {
        let mut newest: Option<(u64, State)> = None;
        for path in &self.paths {
            match fs::read(path) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => match decode(&bytes) {
                    Some((sequence, state)) => {
                        if newest.as_ref().is_none_or(|(known, _)| sequence > *known) {
                            newest = Some((sequence, state));
                        }
                    }
                    None => warn!(path = %path.display(), "a copy of the state is damaged, the other one is used"),
                },
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => warn!(error = %err, path = %path.display(), "a copy of the state cannot be read"),
            }
        }
        let (sequence, state) = newest?;
        self.sequence = sequence;
        Some(state)
    }

    /// Writes the older copy, unless nothing has changed.
    pub fn store(&mut self, state: State) -> io::Result<()> {
        if self.last.as_ref() == Some(&state) {
            return Ok(());
        }
        let body = serde_json::to_vec(&state).map_err(io::Error::other)?;
        let sequence = self.sequence + 1;
        let path = &self.paths[usize::from(sequence % 2 == 1)];
        let is_new = !path.exists();
        // Not another file under the same name: the first copy's lock is on this one.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        writeln!(file, "{MAGIC} {sequence} {:016x}", xxh3_64(&body))?;
        file.write_all(&body)?;
        file.sync_all()?;
        if is_new {
            File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
        }
        self.sequence = sequence;
        self.last = Some(state);
        Ok(())
    }
}

/// The sequence number and content of a copy; `None` when it is damaged.
pub fn decode(bytes: &[u8]) -> Option<(u64, State)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let header = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = header.strip_prefix(MAGIC)?.split_whitespace();
    let (sequence, hash) = (words.next()?.parse().ok()?, u64::from_str_radix(words.next()?, 16).ok()?);
    let body = &bytes[end + 1..];
    (xxh3_64(body) == hash).then(|| serde_json::from_slice(body).ok()).flatten().map(|state| (sequence, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(cursor: &str) -> State {
        State { cursors: [("cursor-journal".to_owned(), cursor.to_owned())].into(), ..State::default() }
    }

    #[test]
    fn survives_a_damaged_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions.yaml");
        let mut file = StateFile::new(&path);
        assert!(file.try_lock());
        assert_eq!(file.load(), None);
        for cursor in ["a", "b", "c"] {
            file.store(state(cursor)).unwrap();
        }
        assert_eq!(StateFile::new(&path).load(), Some(state("c")));
        let newest = folder.path().join("positions.yaml.state.alt");
        let mut bytes = fs::read(&newest).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&newest, &bytes).unwrap();
        assert_eq!(StateFile::new(&path).load(), Some(state("b")), "the other copy is one step older");
        fs::write(&newest, "\0\0\0").unwrap();
        fs::write(folder.path().join("positions.yaml.state"), "").unwrap();
        assert_eq!(StateFile::new(&path).load(), None);
    }

    #[test]
    fn is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions.yaml");
        let (mut first, mut second) = (StateFile::new(&path), StateFile::new(&path));
        assert!(first.try_lock() && first.try_lock());
        assert!(!second.try_lock());
        drop(first);
        assert!(second.try_lock());
    }
}
