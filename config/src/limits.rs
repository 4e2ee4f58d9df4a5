//! What one tenant may do: Loki's `limits_config`, resolved.
//!
//! The same struct is the engine file's `limits_config`, a tenant's entry in the overrides file, and what ingest and
//! query ask at run time. Every key has Loki 3.7's default; keys of Loki that have no meaning here are listed in
//! [`crate::engine`]'s table of known keys, not here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, GoDuration, PromDuration, Time};

/// Limits of one tenant. Zero means "no limit" wherever a limit can be switched off.
///
/// Source: Loki 3.7.6, `limits_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    // Ingest: rates.
    /// `global` or `local`; on one node they are the same.
    pub ingestion_rate_strategy: RateStrategy,
    /// Mean rate per tenant, MiB/s.
    pub ingestion_rate_mb: f64,
    /// Largest burst per tenant, MiB; also the largest request.
    pub ingestion_burst_size_mb: f64,
    /// Mean rate per stream, per second.
    pub per_stream_rate_limit: ByteSize,
    /// Largest burst per stream.
    pub per_stream_rate_limit_burst: ByteSize,
    /// Active (in-memory) streams per tenant; 0 = no limit.
    pub max_global_streams_per_user: u64,
    /// The same, counted per node; 0 = no limit.
    pub max_streams_per_user: u64,

    // Ingest: labels, lines, times.
    /// Longest label name, bytes.
    pub max_label_name_length: usize,
    /// Longest label value, bytes.
    pub max_label_value_length: usize,
    /// Most labels of a stream, `service_name` not counted when we added it.
    pub max_label_names_per_series: usize,
    /// Longest line; 0 = no limit.
    pub max_line_size: ByteSize,
    /// Cut longer lines rather than refuse them.
    pub max_line_size_truncate: bool,
    /// Ends a cut line.
    pub max_line_size_truncate_identifier: String,
    /// Refuse entries older than `reject_old_samples_max_age`.
    pub reject_old_samples: bool,
    /// How old an entry may be.
    pub reject_old_samples_max_age: PromDuration,
    /// How far in the future an entry may be.
    pub creation_grace_period: PromDuration,
    /// False: refuse whatever is older than the newest entry of its stream.
    pub unordered_writes: bool,
    /// Move an entry with its predecessor's timestamp and another line one nanosecond on.
    pub increment_duplicate_timestamp: bool,
    /// Labels that may become `service_name`, best first; empty: no discovery.
    pub discover_service_name: Vec<String>,
    /// Add `detected_level` to each entry.
    pub discover_log_levels: bool,
    /// Names under which a level is looked for.
    pub log_level_fields: Vec<String>,
    /// How deep a JSON line is searched for a level.
    pub log_level_from_json_max_depth: u32,
    /// Accept structured metadata.
    pub allow_structured_metadata: bool,
    /// Most bytes of structured metadata of an entry, names and values.
    pub max_structured_metadata_size: ByteSize,
    /// Most pairs of structured metadata of an entry.
    pub max_structured_metadata_entries_count: usize,
    /// What OTLP attributes become.
    pub otlp_config: OtlpConfig,
    /// Automatic stream sharding. Only `enabled` matters here: it decides whether a rate refusal drops a whole stream.
    pub shard_streams: ShardStreams,
    /// Labels that every stream must have.
    pub enforced_labels: Vec<String>,
    /// The same per policy.
    pub policy_enforced_labels: BTreeMap<String, Vec<String>>,
    /// Which policy a stream belongs to.
    pub policy_stream_mapping: BTreeMap<String, Vec<PriorityStream>>,
    /// Refuse all writes until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_ingestion_until: Option<Time>,
    /// The status of such a refusal; 200 drops silently.
    pub block_ingestion_status_code: u16,
    /// The same per policy.
    pub block_ingestion_policy_until: BTreeMap<String, Time>,

    // Queries.
    /// Most entries of a log query; 0 = no limit.
    pub max_entries_limit_per_query: u64,
    /// Longest `end - start`; 0 = no limit.
    pub max_query_length: PromDuration,
    /// How far back queries see; 0 = everything.
    pub max_query_lookback: PromDuration,
    /// Longest range of a metric query; 0 = no limit.
    pub max_query_range: PromDuration,
    /// Most series of a metric query.
    pub max_query_series: usize,
    /// Parts of a query that run at once.
    pub max_query_parallelism: usize,
    /// The same for TSDB schemas; the larger one counts.
    pub tsdb_max_query_parallelism: usize,
    /// Most label matchers of a query.
    pub max_streams_matchers_per_query: usize,
    /// Most chunks (our blocks) of a query.
    pub max_chunks_per_query: u64,
    /// Most bytes a query may read; 0 = no limit.
    pub max_query_bytes_read: ByteSize,
    /// Most bytes one querier may read for a query; 0 = no limit.
    pub max_querier_bytes_read: ByteSize,
    /// Most streams an index look-up may touch; 0 = no limit.
    pub cardinality_limit: usize,
    /// Longest run of a query.
    pub query_timeout: PromDuration,
    /// Where Loki cuts range queries. Ours are cut by block; this only says when Loki's answers lose points at its cuts
    /// and ours lose the same ones. 0: no answer loses a point.
    pub split_queries_by_interval: PromDuration,
    /// Most live tails.
    pub max_concurrent_tail_requests: usize,
    /// Labels that every selector must name.
    pub required_labels: Vec<String>,
    /// Fewest label matchers of a selector.
    pub minimum_labels_number: usize,
    /// Queries that are refused.
    pub blocked_queries: Vec<BlockedQuery>,
    /// Serve the volume endpoints.
    pub volume_enabled: bool,
    /// Most series of a volume answer.
    pub volume_max_series: usize,
    /// Keep patterns on disk.
    pub pattern_persistence_enabled: bool,
    /// Keep aggregated metrics.
    pub metric_aggregation_enabled: bool,

    // Retention and deletes.
    /// How long entries are kept; 0 = for ever. Works with `compactor.retention_enabled` or `table_manager`.
    pub retention_period: PromDuration,
    /// Exceptions per stream selector: highest priority wins, then the shortest period.
    pub retention_stream: Vec<StreamRetention>,
    /// Whether delete requests are accepted, and what they do.
    pub deletion_mode: DeletionMode,

    // The overrides file, where older configurations name it.
    /// Older place of `runtime_config.file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_tenant_override_config: Option<PathBuf>,
    /// Older place of `runtime_config.period`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_tenant_override_period: Option<GoDuration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ingestion_rate_strategy: RateStrategy::Global,
            ingestion_rate_mb: 4.0,
            ingestion_burst_size_mb: 6.0,
            per_stream_rate_limit: ByteSize::mib(3),
            per_stream_rate_limit_burst: ByteSize::mib(15),
            max_global_streams_per_user: 5000,
            max_streams_per_user: 0,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            max_label_names_per_series: 15,
            max_line_size: ByteSize::kib(256),
            max_line_size_truncate: false,
            max_line_size_truncate_identifier: String::new(),
            reject_old_samples: true,
            reject_old_samples_max_age: PromDuration::days(7),
            creation_grace_period: PromDuration::minutes(10),
            unordered_writes: true,
            increment_duplicate_timestamp: false,
            discover_service_name: strings(&SERVICE_NAME_LABELS),
            discover_log_levels: true,
            log_level_fields: strings(&LOG_LEVEL_FIELDS),
            log_level_from_json_max_depth: 2,
            allow_structured_metadata: true,
            max_structured_metadata_size: ByteSize::kib(64),
            max_structured_metadata_entries_count: 128,
            otlp_config: OtlpConfig::default(),
            shard_streams: ShardStreams::default(),
            enforced_labels: Vec::new(),
            policy_enforced_labels: BTreeMap::new(),
            policy_stream_mapping: BTreeMap::new(),
            block_ingestion_until: None,
            block_ingestion_status_code: 260,
            block_ingestion_policy_until: BTreeMap::new(),
            max_entries_limit_per_query: 5000,
            max_query_length: PromDuration::hours(721),
            max_query_lookback: PromDuration::ZERO,
            max_query_range: PromDuration::ZERO,
            max_query_series: 500,
            max_query_parallelism: 32,
            tsdb_max_query_parallelism: 128,
            max_streams_matchers_per_query: 1000,
            max_chunks_per_query: 2_000_000,
            max_query_bytes_read: ByteSize::ZERO,
            max_querier_bytes_read: ByteSize::gib(150),
            cardinality_limit: 100_000,
            query_timeout: PromDuration::minutes(1),
            split_queries_by_interval: PromDuration::minutes(60),
            max_concurrent_tail_requests: 10,
            required_labels: Vec::new(),
            minimum_labels_number: 0,
            blocked_queries: Vec::new(),
            volume_enabled: true,
            volume_max_series: 1000,
            pattern_persistence_enabled: false,
            metric_aggregation_enabled: false,
            retention_period: PromDuration::ZERO,
            retention_stream: Vec::new(),
            deletion_mode: DeletionMode::FilterAndDelete,
            per_tenant_override_config: None,
            per_tenant_override_period: None,
        }
    }
}

impl Limits {
    /// Mean rate in bytes per second.
    pub fn ingestion_rate_bytes(&self) -> f64 {
        self.ingestion_rate_mb * BYTES_PER_MB
    }

    /// Largest burst in bytes.
    pub fn ingestion_burst_bytes(&self) -> u64 {
        (self.ingestion_burst_size_mb * BYTES_PER_MB) as u64
    }

    /// Active streams that a tenant may have; `None` = no limit. The smaller of the two keys that are set.
    pub fn streams_max(&self) -> Option<u64> {
        [self.max_global_streams_per_user, self.max_streams_per_user].into_iter().filter(|&max| max > 0).min()
    }
}

/// `ingestion_rate_mb` counts these, as Loki does.
const BYTES_PER_MB: f64 = 1_048_576.0;

const SERVICE_NAME_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

const LOG_LEVEL_FIELDS: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// `limits_config.ingestion_rate_strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateStrategy {
    /// The rate is shared by all nodes.
    #[default]
    Global,
    /// The rate is each node's.
    Local,
}

/// `limits_config.deletion_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeletionMode {
    /// Delete requests are refused.
    Disabled,
    /// Deleted entries are hidden and stay on disk.
    FilterOnly,
    /// Deleted entries are hidden at once and removed later.
    #[default]
    FilterAndDelete,
}

/// One exception of `retention_stream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamRetention {
    /// At least 24h.
    pub period: PromDuration,
    /// Higher wins.
    #[serde(default)]
    pub priority: i32,
    /// A stream selector: `{app="x"}`.
    pub selector: String,
}

/// One entry of `blocked_queries`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BlockedQuery {
    /// The query, or a regular expression over it; `.*` or empty: any query.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// The pattern is a regular expression.
    pub regex: bool,
    /// Kinds of query that this concerns; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<QueryKind>,
    /// FNV-32 hash of the query; 0: any.
    pub hash: u32,
    /// `key=value` pairs of `X-Query-Tags`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Kinds of query that [`BlockedQuery`] tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueryKind {
    /// A metric query.
    Metric,
    /// A log query with a line or label filter.
    Filter,
    /// A log query without one.
    Limited,
}

/// A selector of `policy_stream_mapping`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriorityStream {
    /// A stream selector.
    pub selector: String,
    /// Higher wins.
    #[serde(default)]
    pub priority: i32,
}

/// `limits_config.shard_streams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShardStreams {
    /// On by default, as in Loki.
    pub enabled: bool,
    /// Accepted; no meaning here.
    pub time_sharding_enabled: bool,
    /// Accepted; no meaning here.
    pub desired_rate: ByteSize,
}

impl Default for ShardStreams {
    fn default() -> Self {
        Self { enabled: true, time_sharding_enabled: false, desired_rate: ByteSize::kib(1536) }
    }
}

/// `limits_config.otlp_config`: what OTLP attributes become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpConfig {
    /// Attributes of the resource.
    pub resource_attributes: ResourceAttributes,
    /// Attributes of the scope.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope_attributes: Vec<AttributesRule>,
    /// Attributes of the record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_attributes: Vec<AttributesRule>,
    /// Make `severity_text` an index label.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub severity_text_as_label: bool,
}

/// `otlp_config.resource_attributes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceAttributes {
    /// Leave out the default index labels ([`crate::engine::DistributorConfig`]); else they come first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_defaults: bool,
    /// First match wins; what matches nothing becomes structured metadata.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes_config: Vec<AttributesRule>,
}

/// Which attributes become what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AttributesRule {
    /// What becomes of them.
    pub action: AttributeAction,
    /// Exact names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Names by regular expression, unless `attributes` is given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regex: String,
}

/// What becomes of an OTLP attribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeAction {
    /// A label of the stream; only resource attributes can.
    IndexLabel,
    /// Structured metadata.
    #[default]
    StructuredMetadata,
    /// Nothing.
    Drop,
}
