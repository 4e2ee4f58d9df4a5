//! Queries: LogQL text -> plan -> scans of storage -> streams, a vector, a matrix or a scalar.

pub mod metric;

mod error;

pub use error::Error;
