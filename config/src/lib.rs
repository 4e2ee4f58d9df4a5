//! What a process is told: engine and collector configuration, typed and validated. Plain data: no Kubernetes, no
//! HTTP, no disk.

pub mod engine;
mod limits;
pub mod units;

pub use engine::EngineConfig;
pub use limits::{
    AttributeAction, AttributesRule, BlockedQuery, DeletionMode, Limits, OtlpConfig, PriorityStream, QueryKind,
    RateStrategy, ResourceAttributes, ShardStreams, StreamRetention,
};
pub use units::{ByteSize, GoDuration, PromDuration};
