//! What comes in: decode, validate, complete (service name, level), and hand over to storage.
//!
//! ```text
//! body -> decode (borrowed entries) -> batch (limits, labels, levels, metadata) -> Store::append -> answer
//! ```
//!
//! Nothing is allocated per line on this way: lines stay in the decompressed body until they are copied, once, into
//! the columns of a [`Batch`](crate::model::Batch). This folder knows nothing of HTTP but statuses.

pub mod batch;
pub mod bucket;
pub mod budget;
pub mod decode;
mod ingester;
pub mod labels;
pub mod level;
pub mod metadata;
pub mod metrics;
pub mod rules;
pub mod tenant;
pub mod texts;

pub use ingester::{IngestOptions, Ingester, Push, PushError, Route};
