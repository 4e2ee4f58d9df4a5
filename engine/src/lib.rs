//! The log store. Four rooms, one direction: `http -> ingest -> storage <- query <- http`.

pub mod http;
pub mod ingest;
pub mod model;
pub mod query;
pub mod server;
pub mod storage;

pub use server::{Server, ServerOptions};
