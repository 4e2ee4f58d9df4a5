//! The store: parts of blocks on disk, what leads to them, and what is kept of a query's answer before it.

pub mod codec;
