//! Everything storage does to files, behind one small trait, so that tests see every write and can break any of them.
//!
//! Files are written once from front to back and then only read. Nothing here is buffered: a caller hands over whole
//! buffers. A file or a name is durable only after `sync` of the file and `sync_dir` of its folder.

mod real;
#[cfg(test)]
pub mod simulated;

pub use real::RealDisk;

use std::io;
use std::path::Path;
use std::sync::Arc;

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name without the folder.
    pub name: String,
    /// Length; 0 for folders.
    pub len: u64,
    /// A folder.
    pub is_dir: bool,
}

/// The volume that holds a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the volume.
    pub total_bytes: u64,
    /// What may still be written.
    pub free_bytes: u64,
}

/// A file system, or something that behaves like one.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file, or empties an existing one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Opens a file for reading. An open file stays readable after it is removed.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;
    /// Cuts a file to `len` bytes and syncs it.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Renames, replacing what was at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder and its parents; fine if it exists.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Lists a folder, sorted by name; empty if there is none.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Takes a folder for this process alone, as long as what is returned lives. `WouldBlock` if another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// Size and free space of the volume.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.len()).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a small file so that after a crash either the old or the new content is there, whole.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let tmp = path.with_extension("tmp");
        let mut file = self.create(&tmp)?;
        file.append(bytes)?;
        file.sync()?;
        drop(file);
        self.rename(&tmp, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// A file being written.
pub trait WriteFile: Send {
    /// Writes all of `bytes` at the end. After an error an unknown prefix of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content durable. After an error nothing appended since the last success may be relied on.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `len`, and continues there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// A file, or an object, read by ranges.
pub trait ReadFile: Send + Sync {
    /// Length when opened.
    fn len(&self) -> u64;
    /// True without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `buf` from `offset`; an error if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}
