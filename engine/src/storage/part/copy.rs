//! A part whose blocks another part takes over as they are.

use std::sync::Arc;

use bytes::Bytes;

use super::reader::{Caches, Part, PartDetail};
use crate::storage::codec::{BlockFilter, BlockSource, Renumbering};
use crate::storage::error::{Error, Result};

/// Open for as long as its blocks are copied into one other part.
pub struct CopySource {
    pub(super) part: Arc<Part>,
    pub(super) detail: Arc<PartDetail>,
    pub(super) renumbering: Renumbering,
    caches: Arc<Caches>,
    /// Read when the first block is copied; what is copied is taken out.
    filters: Vec<BlockFilter>,
}

impl CopySource {
    /// Reads what is needed of `part` besides its blocks.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn open(part: &Arc<Part>, caches: &Arc<Caches>) -> Result<Self> {
        let detail = part.detail(caches)?;
        let (part, caches, renumbering) = (part.clone(), caches.clone(), Renumbering::default());
        Ok(Self { part, detail, renumbering, caches, filters: Vec::new() })
    }

    /// All bytes of block `idx`, not checked, and its filter. Each block once.
    pub(super) fn take(&mut self, idx: usize) -> Result<(Bytes, BlockFilter)> {
        let part = &self.part;
        let len = self.detail.metas[idx].stored_bytes() as usize;
        let bytes = part.block_source(idx, &self.caches).read(0, len).map_err(Error::io("read", &part.path))?;
        if self.filters.is_empty() {
            let filters = self.detail.filter.filters(&part.filter_rows(&self.caches));
            self.filters = filters.map_err(|err| part.codec_error(err))?;
        }
        let filter = self.filters.get_mut(idx).map(std::mem::take);
        Ok((bytes, filter.ok_or_else(|| Error::damaged(&part.path, "filter index is of another part"))?))
    }
}
