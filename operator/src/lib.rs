//! Reconciles LogStack and LogScrape.
//!
//! ```text
//! watches -> world, queue -> pass: gather -> build (pure) -> plan (pure) -> apply -> observe -> status (pure) -> write
//! ```
//!
//! Everything that decides is a function of plain data with a table test; everything that talks to the API is thin.
//! It never writes a user's spec, labels or annotations, and while nothing changes it writes nothing but its Lease.

pub mod apply;
pub mod build;
pub mod controller;
pub mod error;
pub mod events;
#[cfg(test)]
mod fields;
pub mod hash;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod object;
pub mod observe;
mod operator;
pub mod queue;
pub mod requests;
pub mod retry;
pub mod scrape;
pub mod serve;
pub mod status;
pub mod storage;
pub mod subset;
pub mod watchdog;
pub mod world;

pub use operator::{Error, Operator, Options};
pub use watchdog::SILENCE;
