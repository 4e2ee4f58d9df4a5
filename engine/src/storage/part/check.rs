//! Looks at every byte of a part: for whoever asks whether a disk can be trusted.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::reader::{Part, PartDetail};
use crate::model::Rows;
use crate::storage::codec::section::{Section, check_section};
use crate::storage::codec::{BlockReader, BlockSource, RowSet, Wanted};
use crate::storage::disk::ReadFile;
use crate::storage::error::{Error, Result};

/// Bytes of filter rows that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What a start reads, and the records of the blocks: damage in the blocks themselves is not seen.
    Records,
    /// The checksum of every byte.
    Checksums,
    /// Every row is decoded, too: finds what was already wrong when the checksums were made.
    Rows,
}

/// A block of a part, past all caches.
struct Uncached<'a> {
    file: &'a dyn ReadFile,
    offset: u64,
}

impl BlockSource for Uncached<'_> {
    fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.offset + offset)?;
        Ok(Bytes::from(bytes))
    }
}

impl Part {
    /// Checks the part. Returns the records of its blocks, if they can be read, and what does not hold. Blocking: reads
    /// the whole file if `depth` asks for it.
    pub fn check(&self, depth: Depth) -> (Option<Arc<PartDetail>>, Vec<Error>) {
        let detail = match self.read_detail() {
            Ok(detail) => Arc::new(detail),
            Err(err) => return (None, vec![err]),
        };
        let mut problems = Vec::new();
        if depth >= Depth::Checksums {
            problems.extend(self.check_filter_rows().err());
            let mut rows = Rows::default();
            for (idx, info) in self.blocks().iter().enumerate() {
                let source = Uncached { file: self.file(), offset: info.offset };
                let sections = detail.metas[idx].sections.iter();
                let wrong = |section: &Section| {
                    let problem = check_section(&source, section).err()?;
                    Some(Error::damaged(&self.path, format!("block {idx}, {:?}: {problem}", section.kind)))
                };
                let before = problems.len();
                problems.extend(sections.filter_map(wrong));
                if depth >= Depth::Rows && problems.len() == before {
                    problems.extend(self.decode(idx, &detail, &source, &mut rows).err());
                }
            }
        }
        (Some(detail), problems)
    }

    fn check_filter_rows(&self) -> Result<()> {
        let frame = &self.footer.frames.filter_rows;
        let end = frame.end(self.file()).ok_or_else(|| Error::damaged(&self.path, "filters lie outside the file"))?;
        let mut hasher = Xxh3::new();
        let mut at = frame.offset;
        while at < end {
            let mut bytes = vec![0; READ_BYTES.min((end - at) as usize)];
            self.file().read_exact_at(&mut bytes, at).map_err(Error::io("read", &self.path))?;
            hasher.update(&bytes);
            at += bytes.len() as u64;
        }
        match hasher.digest() == frame.checksum {
            true => Ok(()),
            false => Err(Error::damaged(&self.path, "filters do not match their checksum")),
        }
    }

    fn decode(&self, idx: usize, detail: &PartDetail, source: &Uncached<'_>, rows: &mut Rows) -> Result<()> {
        let meta = &detail.metas[idx];
        let mut reader = BlockReader::new(meta, &detail.dict, source);
        rows.clear();
        let rendered = reader.render(&RowSet::full(meta.rows as usize), Wanted::ALL, rows);
        rendered.map_err(|err| Error::damaged(&self.path, format!("block {idx}: {err}")))?;
        match rows.bytes.len() as u64 == meta.line_bytes {
            true => Ok(()),
            false => Err(Error::damaged(&self.path, format!("block {idx} has other lines than its record says"))),
        }
    }
}
