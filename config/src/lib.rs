//! What a process is told: engine and collector configuration, typed and validated. Plain data: no Kubernetes, no
//! HTTP, no disk.
#![warn(unreachable_pub)]

mod check;
pub mod collector;
pub mod engine;
pub mod env;
mod finding;
mod limits;
mod load;
mod runtime;
mod secret;
mod sparse;
pub mod units;
pub mod yaml;

pub use check::{FileKind, check_file, detect};
pub use collector::CollectorConfig;
pub use engine::{EngineConfig, check_tenant};
pub use finding::{Errors, Finding, Place, Severity, Warnings};
pub use limits::{
    AttributeAction, AttributesRule, BlockedQuery, DeletionMode, Limits, OtlpConfig, PriorityStream, QueryKind,
    RateStrategy, ResourceAttributes, ShardStreams, StreamRetention,
};
pub use load::{Options, Root, load, load_document, load_with};
pub use runtime::{OverridesFile, RuntimeSettings, TenantLimits};
pub use secret::Secret;
pub use sparse::differences;
pub use units::{ByteSize, GoDuration, PromDuration};
