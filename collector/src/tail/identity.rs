//! Which file is it? Names change (rotation) and inode numbers are used again at once, so a file is known by device,
//! inode and a hash of its first bytes. Container log lines begin with a time in nanoseconds: 1 KiB of them is unique.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statat, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a file that are hashed at most.
pub const HEAD_BYTES_MAX: usize = 1024;

/// Device and inode, and when the inode was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inode {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// ns since the epoch: tells a file from the next one with its inode number. 0 where the filesystem does not say.
    #[serde(default)]
    pub born_ns: i64,
}

impl Inode {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        look(file, Path::new(""), AtFlags::EMPTY_PATH)
    }

    /// Of the file that has the name now; links are followed.
    pub fn at(path: &Path) -> io::Result<Self> {
        look(CWD, path, AtFlags::empty())
    }

    /// True when both are the same file. Devices may be numbered anew at a boot; where the time of birth is known it
    /// tells better.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let is_same_device = self.device == other.device;
        match self.born_ns != 0 && other.born_ns != 0 {
            true => self.inode == other.inode && self.born_ns == other.born_ns,
            false => self.inode == other.inode && is_same_device,
        }
    }
}

/// The standard library knows the time of birth with glibc alone, and containers seldom have that.
///
/// Source: `statx(2)`.
fn look(folder: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Inode> {
    let seen = match statx(&folder, path, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
        Ok(seen) => seen,
        // An old kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let seen = statat(&folder, path, flags)?;
            return Ok(Inode { device: seen.st_dev, inode: seen.st_ino, born_ns: 0 });
        }
        Err(err) => return Err(err.into()),
    };
    let born = seen.stx_btime;
    let born_ns = born.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(born.tv_nsec));
    let is_born = StatxFlags::from_bits_retain(seen.stx_mask).contains(StatxFlags::BTIME) && born_ns > 0;
    Ok(Inode {
        device: makedev(seen.stx_dev_major, seen.stx_dev_minor),
        inode: seen.stx_ino,
        born_ns: if is_born { born_ns } else { 0 },
    })
}

/// Hash of the first `len` bytes; grows with the file up to [`HEAD_BYTES_MAX`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Bytes hashed.
    pub len: u32,
    /// Their hash.
    pub hash: u64,
}

impl Fingerprint {
    /// Of a file that begins with `head`.
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD_BYTES_MAX)];
        Self { len: head.len() as u32, hash: xxh3_64(head) }
    }

    /// True when a file that begins with `head` can be the one that was hashed. An empty file can be any.
    pub fn fits(&self, head: &[u8]) -> bool {
        let len = self.len as usize;
        head.len() >= len && xxh3_64(&head[..len]) == self.hash || len == 0
    }
}

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Device and inode.
    #[serde(flatten)]
    pub inode: Inode,
    /// Its beginning.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_fits_what_grew() {
        let short = Fingerprint::of(b"one\n");
        assert!(short.fits(b"one\ntwo\n") && short.fits(b"one\n"));
        assert!(!short.fits(b"one") && !short.fits(b"two\none\n"));
        assert!(Fingerprint::of(b"").fits(b"anything"));
        let long = vec![b'x'; 5000];
        assert_eq!(Fingerprint::of(&long).len as usize, HEAD_BYTES_MAX);
    }
}
