//! Storage: an LSM of immutable parts by UTC day, behind a write-ahead log.
//!
//! ```text
//! append -> wal (durable) -> memtable (visible) -> flush -> part (a file of blocks) -> merge -> larger part
//! query  -> snapshot: memtables + parts -> plan: units by stream and time -> scan: rows
//! ```
//!
//! Blocking file work is done on threads of its own; what says "blocking" here must not run on an async thread.
//! Formats are drawn in `engine/FORMAT.md`.

pub mod codec;
pub mod disk;
pub mod error;
pub mod memtable;
pub mod options;
pub mod pending;
pub mod quarantine;
pub mod scan;
pub mod snapshot;
pub mod store;
pub mod streams;
pub mod view;
pub mod wal;
pub mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use options::{StorageOptions, SyncMode};
pub use scan::{Direction, Scan, ScanUnit, UnitCounts};
pub use snapshot::{ScanRequest, Snapshot};
pub use store::{Store, StoreStats};
