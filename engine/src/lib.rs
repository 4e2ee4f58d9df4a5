//! The log store. Four rooms, one direction: `http -> ingest -> storage <- query <- http`. Beside them, what listens to
//! storage: [`patterns`], [`tail`].

pub mod clock;
pub mod http;
pub mod ingest;
pub mod model;
pub mod patterns;
pub mod query;
pub mod server;
pub mod storage;
pub mod tail;

pub use server::{Server, ServerOptions};
