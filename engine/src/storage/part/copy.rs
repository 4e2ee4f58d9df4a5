//! A part whose blocks another part takes over as they are.

use std::sync::Arc;

use bytes::Bytes;

use super::reader::{Caches, Part, PartDetail};
use crate::storage::codec::{BlockFilter, BlockSource, Renumbering};
use crate::storage::error::{Error, Result};

/// Open for as long as its blocks are copied into one other part.
pub struct CopySource {
    /// The part.
    pub part: Arc<Part>,
    pub(super) detail: Arc<PartDetail>,
    pub(super) renumbering: Renumbering,
    caches: Arc<Caches>,
}

impl CopySource {
    /// Reads what is needed of `part` besides its blocks.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn open(part: &Arc<Part>, caches: &Arc<Caches>) -> Result<Self> {
        let detail = part.detail(caches)?;
        Ok(Self { part: part.clone(), detail, renumbering: Renumbering::default(), caches: caches.clone() })
    }

    /// All bytes of block `idx`, not checked, and its filter.
    pub(super) fn read(&self, idx: usize) -> Result<(Bytes, BlockFilter)> {
        let (part, detail) = (&self.part, &self.detail);
        let filter = detail.filter.filter_of(idx, &part.filter_rows(&self.caches));
        let filter = filter.map_err(|err| part.codec_error(err))?;
        let len = detail.metas[idx].stored_bytes() as usize;
        let bytes = part.block_source(idx, &self.caches).read(0, len).map_err(Error::io("read", &part.path))?;
        Ok((bytes, filter))
    }
}
