//! What can be wrong with the bytes of a block.

use std::io;

use crate::storage::wire::Malformed;

/// Why a block could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what an encoder wrote: a checksum, a length or a value is impossible.
    #[error("block is damaged: {what}")]
    Damaged {
        /// Which piece, and what is wrong with it.
        what: &'static str,
    },
    /// Written by a newer version.
    #[error("block uses {what} {id}, which this version does not know: upgrade before reading it")]
    Unknown {
        /// Kind of identifier.
        what: &'static str,
        /// Its value.
        id: u8,
    },
    /// The source of bytes failed.
    #[error("cannot read {len} bytes at {offset} of the block")]
    Read {
        /// First byte wanted, from the start of the block.
        offset: u64,
        /// How many.
        len: usize,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// More rows or bytes than a block may hold; the caller cuts blocks.
    #[error("{rows} rows with {line_bytes} bytes of lines do not fit into one block")]
    TooLarge {
        /// Rows given.
        rows: usize,
        /// Bytes of lines given.
        line_bytes: usize,
    },
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Malformed> for Error {
    fn from(err: Malformed) -> Self {
        damaged(err.0)
    }
}

/// Shorthand for the commonest error.
pub(crate) fn damaged(what: &'static str) -> Error {
    Error::Damaged { what }
}
