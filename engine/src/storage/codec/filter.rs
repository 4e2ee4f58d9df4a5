//! What a part knows about the text of its blocks, so that a query skips them unopened.

use super::error::{Error, Result};
use super::meta::BlockMeta;
use super::rowset::RowSet;
use super::search::PartSearch;
use super::section::BlockSource;
use super::wire::Reader;

const VERSION: u8 = 1;

/// What one block contributes to the index of its part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockFilter {}

/// Collects the filters of a part's blocks, in block order.
#[derive(Debug, Default)]
pub struct FilterIndexBuilder {}

impl FilterIndexBuilder {
    /// Adds the filter of the next block.
    pub fn push(&mut self, filter: BlockFilter) {
        let BlockFilter {} = filter;
    }

    /// Appends the index: `header` is to be kept in memory while the part is open, `rows` is read in ranges.
    pub fn finish(self, header: &mut Vec<u8>, rows: &mut Vec<u8>) {
        let _ = rows;
        header.push(VERSION);
    }
}

/// The index of a part, its header in memory.
#[derive(Debug, Clone)]
pub struct FilterIndex {}

impl FilterIndex {
    /// Reads the header that [`FilterIndexBuilder::finish`] wrote.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Unknown`].
    pub fn read(header: &[u8]) -> Result<Self> {
        let version = Reader::new(header).u8()?;
        if version != VERSION {
            return Err(Error::Unknown { what: "filter index version", id: version });
        }
        Ok(Self {})
    }

    /// Removes from `blocks` (numbered as pushed) those that hold no row that `search` looks for. Reads ranges of
    /// `rows` through `source`, a few kilobytes.
    ///
    /// # Errors
    /// When reading fails or what is read is damaged.
    pub fn prune(
        &self,
        search: &PartSearch,
        metas: &[BlockMeta],
        source: &dyn BlockSource,
        blocks: &mut RowSet,
    ) -> Result<()> {
        let _ = (search, metas, source, blocks);
        Ok(())
    }
}
