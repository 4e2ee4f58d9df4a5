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
pub mod deletes;
pub mod disk;
pub mod error;
pub mod inspect;
pub mod memtable;
pub mod merge;
pub mod options;
pub mod part;
pub mod retention;
pub mod scan;
pub mod snapshot;
pub mod store;
pub mod streams;
pub mod wal;

mod append;
mod background;
mod flush;
mod manifest;
mod quarantine;
mod recover;
mod shared;
mod view;
mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use options::{BlockOptions, StorageOptions, SyncMode};
pub use scan::{Direction, Scan, ScanUnit, UnitCounts};
pub use snapshot::{MetadataFilter, ScanRequest, Snapshot};
pub use store::{DeleteError, Environment, Observer, Store, StoreStats};
