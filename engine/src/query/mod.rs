//! Queries: LogQL text -> plan -> scans of storage -> streams, a vector, a matrix or a scalar.

pub mod metric;

mod control;
mod error;
mod pool;

pub use control::{CancelOnDrop, Control, SharedMemory};
pub use error::Error;
pub use pool::Pool;
