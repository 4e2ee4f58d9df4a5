//! A disk in memory that forgets what was not synced, tears writes, fills up, and fails on command.
//!
//! ```text
//! disk.fail_at(n, Fault::Crash)   every operation from the n-th on fails: the process is dead
//! disk.after_crash(seed)          what a machine would find after the power came back
//! ```

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, Entry, ReadFile, Space, WriteFile};

/// What goes wrong, at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This operation and all later ones fail. A write leaves half of its bytes behind.
    Crash,
    /// This one operation fails; a write leaves half of its bytes behind.
    Once,
}

#[derive(Default, Clone)]
struct Inode {
    content: Vec<u8>,
    /// Bytes that survive a power cut for certain.
    synced: Vec<u8>,
}

type Shared = Arc<Mutex<Inode>>;

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Shared>,
    /// Names as the last `sync_dir` of their folder left them.
    durable_names: BTreeMap<PathBuf, Shared>,
    dirs: std::collections::BTreeSet<PathBuf>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    capacity_bytes: Option<u64>,
}

impl State {
    /// Counts an operation that changes the disk; tells whether it fails.
    fn step(&mut self) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, Fault::Crash)) if now >= at => Err(io::Error::other("simulated crash")),
            Some((at, Fault::Once)) if now == at => Err(io::Error::other("simulated failure")),
            _ => Ok(()),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| inode.lock().content.len() as u64).sum()
    }
}

/// See the module.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Operations that changed the disk so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Arms a fault.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.0.lock().fault = Some((operation, fault));
    }

    /// Limits or frees the volume.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity_bytes = bytes;
    }

    /// Changes a stored byte, as a failing medium does.
    pub fn flip(&self, path: &Path, offset: usize) {
        let state = self.0.lock();
        let mut inode = state.names[path].lock();
        inode.content[offset] ^= 0x40;
        inode.synced = inode.content.clone();
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        self.0.lock().names.iter().map(|(path, inode)| (path.clone(), inode.lock().content.len())).collect()
    }

    /// The disk that a machine finds after a power cut: synced bytes, plus, depending on `seed`, some of the rest. A
    /// name that was not synced is there or not.
    pub fn after_crash(&self, seed: u64) -> Self {
        let state = self.0.lock();
        let mut names = BTreeMap::new();
        let mut dice = seed;
        let mut roll = |sides: u64| {
            // splitmix64: enough to reach every combination over a few hundred seeds.
            dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = dice;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % sides
        };
        let keep_new_names = roll(2) == 0;
        let source = if keep_new_names { &state.names } else { &state.durable_names };
        for (path, inode) in source {
            let inode = inode.lock();
            let mut content = inode.synced.clone();
            if inode.content.len() > content.len() && inode.content.starts_with(&content) {
                let extra = inode.content.len() - content.len();
                let kept = usize::try_from(roll(extra as u64 + 1)).unwrap();
                content.extend_from_slice(&inode.content[content.len()..content.len() + kept]);
            }
            names.insert(path.clone(), Arc::new(Mutex::new(Inode { synced: content.clone(), content })));
        }
        let state = State {
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            operations: 0,
            fault: None,
            capacity_bytes: state.capacity_bytes,
        };
        Self(Arc::new(Mutex::new(state)))
    }
}

fn not_found() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "no such file")
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.0.lock();
        state.step()?;
        let inode = Shared::default();
        state.names.insert(path.to_owned(), inode.clone());
        Ok(Box::new(SimulatedWrite { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let state = self.0.lock();
        let inode = state.names.get(path).ok_or_else(not_found)?.clone();
        let len = inode.lock().content.len() as u64;
        Ok(Arc::new(SimulatedRead { inode, len }))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let mut inode = state.names.get(path).ok_or_else(not_found)?.lock();
        inode.content.truncate(usize::try_from(len).map_err(io::Error::other)?);
        inode.synced = inode.content.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.names.remove(path).map(drop).ok_or_else(not_found)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        if state.names.keys().any(|name| name.starts_with(path)) {
            return Err(io::Error::new(ErrorKind::DirectoryNotEmpty, "folder holds files"));
        }
        state.dirs.remove(path);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        for dir in path.ancestors() {
            state.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let State { names, durable_names, .. } = &mut *state;
        durable_names.retain(|name, _| name.parent() != Some(path));
        for (name, inode) in names.iter().filter(|(name, _)| name.parent() == Some(path)) {
            durable_names.insert(name.clone(), inode.clone());
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock();
        let name_of = |child: &Path| child.file_name().unwrap().to_str().unwrap().to_owned();
        let files = state.names.iter().filter(|(child, _)| child.parent() == Some(path)).map(|(child, inode)| Entry {
            name: name_of(child),
            len: inode.lock().content.len() as u64,
            is_dir: false,
        });
        let dirs = state.dirs.iter().filter(|child| child.parent() == Some(path)).map(|child| Entry {
            name: name_of(child),
            len: 0,
            is_dir: true,
        });
        let mut entries: Vec<Entry> = files.chain(dirs).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.0.lock();
        let total_bytes = state.capacity_bytes.unwrap_or(1 << 40);
        Ok(Space { total_bytes, free_bytes: total_bytes.saturating_sub(state.used_bytes()) })
    }
}

struct SimulatedWrite {
    disk: SimulatedDisk,
    inode: Shared,
}

impl WriteFile for SimulatedWrite {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let now = state.operations;
        if let Err(err) = state.step() {
            // After a crash there is no process that could write.
            if state.fault.is_some_and(|(at, _)| at == now) {
                self.inode.lock().content.extend_from_slice(&bytes[..bytes.len() / 2]);
            }
            return Err(err);
        }
        let room = state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes()));
        if (bytes.len() as u64) > room {
            let room = usize::try_from(room).expect("less than what is in memory");
            self.inode.lock().content.extend_from_slice(&bytes[..room]);
            return Err(io::Error::new(ErrorKind::StorageFull, "simulated full disk"));
        }
        self.inode.lock().content.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.0.lock().step()?;
        let mut inode = self.inode.lock();
        inode.synced = inode.content.clone();
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.disk.0.lock().step()?;
        let mut inode = self.inode.lock();
        inode.content.truncate(usize::try_from(len).map_err(io::Error::other)?);
        // A journalling file system commits the new length before later data.
        inode.synced.truncate(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }
}

struct SimulatedRead {
    inode: Shared,
    len: u64,
}

impl ReadFile for SimulatedRead {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let inode = self.inode.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = start.checked_add(buf.len()).and_then(|end| inode.content.get(start..end));
        let bytes = bytes.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "read past the end"))?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}
