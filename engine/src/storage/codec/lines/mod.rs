//! Lines as templates and columns.
//!
//! A block's lines are cut into tokens ([`token`]), lines that differ only in their variables become rows of one
//! template ([`shape`]), and each variable of a template becomes a column ([`column`]). Columns of strings hold numbers
//! into the block's vocabulary ([`vocabulary`]), so that each string is stored, searched and filtered once.
//!
//! | section | holds | packing |
//! |---|---|---|
//! | Order | the template of each row, in byte planes | zstd |
//! | Directory | templates of the block and how each column is written | zstd |
//! | Numbers | byte planes of columns, in frames of about 256 KiB | zstd |
//! | Lists | vocabulary numbers that string columns use | zstd |
//! | Lengths, Text | the vocabulary's strings, in frames of about 256 KiB | zstd |
//! | PackedLengths, Packed | its hex strings and uuids, two digits a byte | mostly stored |
//!
//! A substring search reads Lengths and Text, seldom more; a numeric one reads Numbers.

pub(crate) mod charset;
pub(crate) mod clock;
pub(crate) mod column;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod ints;
pub(crate) mod order;
pub(crate) mod phrase;
pub(crate) mod shape;
pub(crate) mod strings;
pub(crate) mod token;
pub(crate) mod vocabulary;
