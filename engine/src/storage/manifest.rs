//! The manifest: which parts are live, and from which segment on the log is still needed.
//!
//! ```text
//! manifest := "LSMANI\0\x01" record*
//! record   := len:u32le xxh3(payload):u64le payload:[u8; len]
//! payload  := version next_part next_generation wal_first removed_count id* added_count (id day)*
//! ```
//!
//! A record is one atomic change: a flush adds its parts and moves `wal_first` in one record, so each row is in the log
//! or in a part, never in both and never in none. At start the file is rewritten as a single record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::disk::{Disk, WriteFile};
use super::error::{Error, Result};
use super::part::{Day, PartId};
use super::wal::SegmentNo;
use super::wire::{Malformed, Reader, put_varint, put_zigzag};

const MAGIC: &[u8; 8] = b"LSMANI\0\x01";
const VERSION: u32 = 1;
const RECORD_HEADER_BYTES: usize = 12;
/// The file is rewritten when it reaches this size: about a day of changes.
const REWRITE_BYTES: usize = 1 << 20;

/// What the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Live parts.
    pub parts: BTreeMap<PartId, Day>,
    /// The id of the next part.
    pub next_part: u64,
    /// The number of the next memtable.
    pub next_generation: u64,
    /// Earlier segments of the log are not needed.
    pub wal_first: SegmentNo,
}

impl Default for State {
    fn default() -> Self {
        Self { parts: BTreeMap::new(), next_part: 1, next_generation: 1, wal_first: 1 }
    }
}

/// One atomic change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Parts that become live.
    pub added: Vec<(PartId, Day)>,
    /// Parts that are no longer.
    pub removed: Vec<PartId>,
    /// Memtables up to this one are in parts.
    pub flushed_generation: Option<u64>,
    /// Earlier segments are no longer needed.
    pub wal_first: Option<SegmentNo>,
}

impl State {
    fn apply(&mut self, edit: &Edit) {
        for id in &edit.removed {
            self.parts.remove(id);
        }
        for &(id, day) in &edit.added {
            self.parts.insert(id, day);
            self.next_part = self.next_part.max(id.0 + 1);
        }
        if let Some(generation) = edit.flushed_generation {
            self.next_generation = self.next_generation.max(generation + 1);
        }
        if let Some(wal_first) = edit.wal_first {
            self.wal_first = self.wal_first.max(wal_first);
        }
    }

    /// The record of a change from here: absolute numbers, relative parts.
    fn put_record(&self, removed: &[PartId], added: &[(PartId, Day)], out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        put_varint(&mut payload, u64::from(VERSION));
        put_varint(&mut payload, self.next_part);
        put_varint(&mut payload, self.next_generation);
        put_varint(&mut payload, self.wal_first);
        put_varint(&mut payload, removed.len() as u64);
        for id in removed {
            put_varint(&mut payload, id.0);
        }
        put_varint(&mut payload, added.len() as u64);
        for (id, day) in added {
            put_varint(&mut payload, id.0);
            put_zigzag(&mut payload, i64::from(day.0));
        }
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&xxh3_64(&payload).to_le_bytes());
        out.extend_from_slice(&payload);
    }

    fn apply_record(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        let mut reader = Reader::new(payload);
        let version = reader.varint_u32()?;
        if version > VERSION {
            return Err(RecordError::Unknown(version));
        }
        let numbers = (reader.varint()?, reader.varint()?, reader.varint()?);
        (self.next_part, self.next_generation, self.wal_first) = numbers;
        for _ in 0..reader.count()? {
            self.parts.remove(&PartId(reader.varint()?));
        }
        for _ in 0..reader.count()? {
            let id = PartId(reader.varint()?);
            let day = i32::try_from(reader.zigzag()?).map_err(|_| Malformed("the day is impossible"))?;
            self.parts.insert(id, Day(day));
        }
        Ok(reader.finish()?)
    }
}

enum RecordError {
    Malformed(Malformed),
    Unknown(u32),
}

impl From<Malformed> for RecordError {
    fn from(err: Malformed) -> Self {
        Self::Malformed(err)
    }
}

/// What a start found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// What the manifest says, up to where it can be read.
    pub state: State,
    /// Why that may not be all. Then parts that it does not name may be live, and are to be kept: rows that are found
    /// twice are stored once, rows that were deleted would be gone.
    pub problem: Option<String>,
}

/// Reads the manifest at `path`; `None` if there is none.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Found>> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    if !entries.iter().any(|entry| path.file_name().is_some_and(|name| name == entry.name.as_str())) {
        return Ok(None);
    }
    let bytes = disk.read(path).map_err(Error::io("read", path))?;
    let mut state = State::default();
    let problem = match read_records(&bytes, &mut state) {
        Ok(()) => None,
        Err(RecordError::Malformed(err)) => Some(err.0.to_owned()),
        Err(RecordError::Unknown(found)) => {
            return Err(Error::Unknown { path: path.to_owned(), found, known: VERSION });
        }
    };
    Ok(Some(Found { state, problem }))
}

fn read_records(bytes: &[u8], state: &mut State) -> Result<(), RecordError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(Malformed("it does not start as a manifest"))?;
    if rest.is_empty() {
        return Err(Malformed("it has no record").into());
    }
    while !rest.is_empty() {
        let payload = record(rest).ok_or(Malformed("a record is torn or damaged"))?;
        state.apply_record(payload)?;
        rest = &rest[RECORD_HEADER_BYTES + payload.len()..];
    }
    Ok(())
}

fn record(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().expect("4 bytes")) as usize;
    let checksum = u64::from_le_bytes(bytes.get(4..RECORD_HEADER_BYTES)?.try_into().expect("8 bytes"));
    let payload = bytes[RECORD_HEADER_BYTES..].get(..len)?;
    (xxh3_64(payload) == checksum).then_some(payload)
}

/// The manifest, open for changes.
pub struct Manifest {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: State,
    /// `None` after a failed write: what the file holds is not known, and the next change rewrites it.
    file: Option<Box<dyn WriteFile>>,
    file_bytes: usize,
}

impl Manifest {
    /// Writes `state` as the manifest at `path`, whatever was there.
    pub fn create(disk: Arc<dyn Disk>, path: &Path, state: State) -> Result<Self> {
        let mut manifest = Self { disk, path: path.to_owned(), state: State::default(), file: None, file_bytes: 0 };
        manifest.rewrite(&state)?;
        manifest.state = state;
        Ok(manifest)
    }

    /// What it says.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// An id that no part has.
    pub fn take_part_id(&mut self) -> PartId {
        let id = PartId(self.state.next_part);
        self.state.next_part += 1;
        id
    }

    /// Makes a change, durably. After an error it may or may not be there after a crash, so files that it names must
    /// stay; in this process it did not happen.
    pub fn commit(&mut self, edit: &Edit) -> Result<()> {
        let mut next = self.state.clone();
        next.apply(edit);
        match self.file.as_mut().filter(|_| self.file_bytes < REWRITE_BYTES) {
            Some(file) => {
                let mut bytes = Vec::new();
                next.put_record(&edit.removed, &edit.added, &mut bytes);
                let written = file.append(&bytes).and_then(|()| file.sync());
                if let Err(err) = written {
                    self.file = None;
                    return Err(Error::io("append to", &self.path)(err));
                }
                self.file_bytes += bytes.len();
            }
            None => self.rewrite(&next)?,
        }
        self.state = next;
        Ok(())
    }

    /// Makes sure that the file says what [`Self::state`] says, after a change that failed. Files that the failed change
    /// named can then go.
    pub fn settle(&mut self) -> Result<()> {
        if self.file.is_none() {
            let state = self.state.clone();
            self.rewrite(&state)?;
        }
        Ok(())
    }

    fn rewrite(&mut self, state: &State) -> Result<()> {
        self.file = None;
        let tmp = self.path.with_extension("tmp");
        let mut bytes = MAGIC.to_vec();
        let parts: Vec<(PartId, Day)> = state.parts.iter().map(|(&id, &day)| (id, day)).collect();
        state.put_record(&[], &parts, &mut bytes);
        let mut file = self.disk.create(&tmp).map_err(Error::io("create", &tmp))?;
        file.append(&bytes).map_err(Error::io("append to", &tmp))?;
        file.sync().map_err(Error::io("sync", &tmp))?;
        self.disk.rename(&tmp, &self.path).map_err(Error::io("rename", &tmp))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        self.file = Some(file);
        self.file_bytes = bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::simulated::{Fault, SimulatedDisk};

    fn path() -> &'static Path {
        Path::new("/data/manifest")
    }

    fn add(id: u64) -> Edit {
        Edit {
            added: vec![(PartId(id), Day(-3))],
            flushed_generation: Some(id),
            wal_first: Some(id + 1),
            ..Edit::default()
        }
    }

    fn manifest() -> (SimulatedDisk, Manifest) {
        let disk = SimulatedDisk::new();
        let mut manifest = Manifest::create(Arc::new(disk.clone()), path(), State::default()).unwrap();
        for id in 1..4 {
            manifest.commit(&add(id)).unwrap();
        }
        manifest.commit(&Edit { removed: vec![PartId(2)], ..Edit::default() }).unwrap();
        (disk, manifest)
    }

    fn found(disk: &SimulatedDisk) -> (State, Option<String>) {
        let Found { state, problem } = read(disk, path()).unwrap().unwrap();
        (state, problem)
    }

    #[test]
    fn says_what_was_committed() {
        let (disk, manifest) = manifest();
        let want = State {
            parts: BTreeMap::from([(PartId(1), Day(-3)), (PartId(3), Day(-3))]),
            next_part: 4,
            next_generation: 4,
            wal_first: 4,
        };
        assert_eq!(manifest.state(), &want);
        assert_eq!(found(&disk), (want.clone(), None));
        Manifest::create(Arc::new(disk.clone()), path(), want.clone()).unwrap();
        assert_eq!(found(&disk), (want, None));
        assert_eq!(read(&SimulatedDisk::new(), path()).unwrap(), None);
    }

    #[test]
    fn never_trusts_an_unclean_end() {
        let (disk, _) = manifest();
        let bytes = disk.read(path()).unwrap();
        let last = bytes.len() - 12 - 6;
        for len in last + 1..bytes.len() {
            disk.truncate(path(), len as u64).unwrap_or_default();
            disk.replace(path(), &bytes[..len]).unwrap();
            let (state, problem) = found(&disk);
            assert!(problem.is_some(), "cut at {len}");
            assert_eq!(state.parts.len(), 3, "cut at {len}: the last change is not there");
        }
        for offset in 0..bytes.len() {
            disk.replace(path(), &bytes).unwrap();
            disk.flip(path(), offset);
            assert!(found(&disk).1.is_some(), "byte {offset}");
        }
    }

    #[test]
    fn a_failed_change_did_not_happen() {
        for failing in 0..2 {
            let (disk, mut manifest) = manifest();
            disk.fail_at(disk.operations() + failing, Fault::Once);
            manifest.commit(&add(9)).unwrap_err();
            assert_eq!(manifest.state().parts.len(), 2);
            manifest.commit(&add(10)).unwrap();
            let (state, problem) = found(&disk);
            assert_eq!(problem, None);
            assert_eq!(state.parts.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 3, 10], "operation {failing} fails");
        }
    }
}
