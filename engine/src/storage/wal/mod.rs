//! The write-ahead log: what was acknowledged and is not yet in parts.
//!
//! ```text
//! append -> record::encode -> queue -> writer thread: one write, one fsync for all that wait -> memtable -> answer
//! start  -> replay: segments in order -> memtable
//! ```
//!
//! A segment is removed once the manifest says that parts hold all of its rows.

pub mod record;
pub mod replay;
pub mod segment;
pub mod writer;

use std::path::{Path, PathBuf};

/// Number of a segment. Segments are written in this order; a later one never holds earlier rows.
pub type SegmentNo = u64;

/// `wal/0000000000000001.wal`
pub fn segment_path(dir: &Path, number: SegmentNo) -> PathBuf {
    dir.join(format!("{number:016}.wal"))
}

/// The number in a segment's file name.
pub fn parse_segment_name(name: &str) -> Option<SegmentNo> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 16).then(|| digits.parse().ok()).flatten()
}
