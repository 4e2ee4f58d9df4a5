//! How the rows of one block become bytes and back, and how a query skips and searches inside them.
//!
//! A block holds rows of one stream in ascending time. Its bytes are sections, one behind the other ([`section`]);
//! what they are is in its [`BlockMeta`], which the part file keeps apart, so that a reader fetches only the columns
//! that a query needs. Texts that blocks share are in the part's [`TemplateDict`]; what lets a query skip blocks
//! without opening them is in the part's [`FilterIndex`].
//!
//! ```text
//! Rows -> BlockEncoder -> block bytes, BlockMeta, BlockFilter      (TemplateDict grows)
//!                          |            |          '-> FilterIndexBuilder -> FilterIndex -> which blocks
//! LineSearch -> PartSearch -> BlockReader (meta, dict, source) -> which rows -> timestamps, lines, metadata
//! ```

pub mod section;

mod copy;
mod dict;
mod encode;
mod error;
mod filter;
pub(crate) mod lines;
mod meta;
mod metadata;
mod plain;
mod read;
mod rowset;
pub mod search;
mod timestamps;

#[cfg(test)]
mod tests;

pub use copy::{Original, Renumbering};
pub use dict::TemplateDict;
pub use encode::{BlockEncoder, Encoded, Level};
pub use error::{Error, Result};
pub use filter::{BlockFilter, FilterIndex, FilterIndexBuilder};
pub use meta::{BLOCK_LINE_BYTES_MAX, BLOCK_ROWS_MAX, BlockMeta};
pub use read::{Block, BlockReader, BorrowedBlock, Wanted};
pub use rowset::RowSet;
pub use search::{LineSearch, PartSearch};
pub use section::BlockSource;
