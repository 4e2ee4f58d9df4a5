//! Queries: LogQL text -> plan -> scans of storage -> streams, a vector, a matrix or a scalar.
//!
//! ```text
//! engine       the door: parse, admit, evaluate, explain      request    what is asked and answered
//! admission    what a tenant may ask                          control    client, time, memory
//! source       snapshots of the tenants, scan units           pool       the threads that scan
//! log/         the nearest entries of a range                 metric/    series over a grid of steps
//! catalog      labels, series, volumes                     turns      whose query is next
//! explain      why an answer is empty
//! ```

pub mod admission;
pub mod catalog;
pub mod detected;
pub mod log;
pub mod metric;
pub mod request;
pub mod source;

mod control;
mod engine;
mod error;
mod evaluation;
mod explain;
mod pool;
mod turns;

pub use control::{CancelOnDrop, Control, SharedMemory};
pub use engine::{Caller, Engine, parse};
pub use error::Error;
pub use evaluation::Evaluation;
pub use log::labels::{LabelCache, LineLabels};
pub use pool::Pool;
pub use request::{Answer, Data, Direction, InstantQuery, RangeQuery, Stats};
