//! The smaller blocks of the engine's file: what Loki's components are told, as far as it means something here.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, GoDuration, PromDuration};

/// `common`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommonConfig {
    /// Folder of all data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<PathBuf>,
    /// Folders of single kinds of data.
    pub storage: CommonStorage,
}

/// `common.storage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommonStorage {
    /// Local disk.
    pub filesystem: FilesystemConfig,
}

/// `common.storage.filesystem` and `storage_config.filesystem`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FilesystemConfig {
    /// Where Loki kept chunks; ours go beside it unless another key says where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks_directory: Option<PathBuf>,
    /// The same, as `storage_config` spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

/// `storage_config`, of which only the local folder matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageSection {
    /// Local disk.
    pub filesystem: FilesystemConfig,
}

/// `distributor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DistributorConfig {
    /// Largest push request as sent.
    pub max_recv_msg_size: ByteSize,
    /// Largest push request after decompression.
    pub max_decompressed_size: ByteSize,
    /// OTLP defaults for all tenants.
    pub otlp_config: DistributorOtlp,
}

impl Default for DistributorConfig {
    fn default() -> Self {
        Self {
            max_recv_msg_size: ByteSize::mib(100),
            // Loki: 50 times `max_recv_msg_size`. A decompression bomb of that size is more than a small node has.
            max_decompressed_size: ByteSize::mib(1024),
            otlp_config: DistributorOtlp::default(),
        }
    }
}

/// `distributor.otlp_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DistributorOtlp {
    /// Resource attributes that become index labels unless a tenant ignores the defaults.
    pub default_resource_attributes_as_index_labels: Vec<String>,
}

impl Default for DistributorOtlp {
    fn default() -> Self {
        let names = [
            "service.name",
            "service.namespace",
            "service.instance.id",
            "deployment.environment",
            "deployment.environment.name",
            "cloud.region",
            "cloud.availability_zone",
            "k8s.cluster.name",
            "k8s.namespace.name",
            "k8s.pod.name",
            "k8s.container.name",
            "container.name",
            "k8s.replicaset.name",
            "k8s.deployment.name",
            "k8s.statefulset.name",
            "k8s.daemonset.name",
            "k8s.cronjob.name",
            "k8s.job.name",
        ];
        Self { default_resource_attributes_as_index_labels: names.iter().map(|&name| name.to_owned()).collect() }
    }
}

/// `ingester`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IngesterConfig {
    /// A stream without entries for so long is no longer active: it leaves the stream limit and its window.
    pub chunk_idle_period: GoDuration,
    /// Half of it is how far behind its stream's newest entry an entry may be.
    pub max_chunk_age: GoDuration,
    /// The write-ahead log.
    pub wal: WalConfig,
}

impl Default for IngesterConfig {
    fn default() -> Self {
        Self {
            chunk_idle_period: GoDuration::minutes(30),
            max_chunk_age: GoDuration::hours(2),
            wal: WalConfig::default(),
        }
    }
}

/// `ingester.wal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WalConfig {
    /// False: entries that are not yet in a part die with the process.
    pub enabled: bool,
    /// Write memory to parts at a graceful stop; on whatever it says here, see `logstack.storage`.
    pub flush_on_shutdown: bool,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { enabled: true, flush_on_shutdown: false }
    }
}

/// `querier`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QuerierConfig {
    /// Longest live tail.
    pub tail_max_duration: GoDuration,
    /// Queries that run at once; 0: twice the processors.
    pub max_concurrent: usize,
    /// `X-Scope-OrgID: a|b` in reads.
    pub multi_tenant_queries_enabled: bool,
    /// Evaluation.
    pub engine: QuerierEngine,
}

impl Default for QuerierConfig {
    fn default() -> Self {
        Self {
            tail_max_duration: GoDuration::hours(1),
            max_concurrent: 4,
            multi_tenant_queries_enabled: false,
            engine: QuerierEngine::default(),
        }
    }
}

/// `querier.engine`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QuerierEngine {
    /// How far an instant log query looks back.
    pub max_look_back_period: GoDuration,
    /// Size of the heap of `approx_topk`.
    pub max_count_min_sketch_heap_size: usize,
}

impl Default for QuerierEngine {
    fn default() -> Self {
        Self { max_look_back_period: GoDuration::secs(30), max_count_min_sketch_heap_size: 10_000 }
    }
}

/// `query_range`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueryRangeConfig {
    /// Move start and end of metric queries to multiples of the step.
    pub align_queries_with_step: bool,
}

/// `frontend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FrontendConfig {
    /// Log queries slower than this; 0: none.
    pub log_queries_longer_than: GoDuration,
    /// Largest body of a read.
    pub max_body_size: ByteSize,
    /// Compress answers when the client accepts it.
    pub compress_responses: bool,
    /// Queries of a tenant that may wait.
    pub max_outstanding_per_tenant: usize,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        Self {
            log_queries_longer_than: GoDuration::ZERO,
            max_body_size: ByteSize::mib(10),
            compress_responses: true,
            max_outstanding_per_tenant: 2048,
        }
    }
}

/// `compactor`: retention and delete requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CompactorConfig {
    /// Retention by time works only when true (or with `table_manager.retention_deletes_enabled`).
    pub retention_enabled: bool,
    /// Time between a mark and the removal. Queries honour retention at once.
    pub retention_delete_delay: GoDuration,
    /// How often retention and deletes are applied.
    pub compaction_interval: GoDuration,
    /// The same for retention alone; 0: `compaction_interval`.
    pub apply_retention_interval: GoDuration,
    /// Names a store in Loki; here any value switches delete requests on.
    pub delete_request_store: String,
    /// How long a delete request can be taken back.
    pub delete_request_cancel_period: GoDuration,
    /// Longest interval of a part of a delete request; 0: one part.
    pub delete_max_interval: GoDuration,
}

impl Default for CompactorConfig {
    fn default() -> Self {
        Self {
            retention_enabled: false,
            retention_delete_delay: GoDuration::hours(2),
            compaction_interval: GoDuration::minutes(10),
            apply_retention_interval: GoDuration::ZERO,
            delete_request_store: String::new(),
            delete_request_cancel_period: GoDuration::hours(24),
            delete_max_interval: GoDuration::hours(24),
        }
    }
}

/// `table_manager`: how Loki 1.x and the loki-stack chart ask for retention.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TableManager {
    /// Whether `retention_period` is applied.
    pub retention_deletes_enabled: bool,
    /// How long entries are kept, for tenants whose limits do not say so; 0 = for ever.
    pub retention_period: PromDuration,
}

/// `runtime_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RuntimeConfig {
    /// The per-tenant overrides file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How often it is looked at.
    pub period: GoDuration,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { file: None, period: GoDuration::secs(10) }
    }
}

/// `pattern_ingester`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PatternIngesterConfig {
    /// Look for patterns in what is stored, and serve `/loki/api/v1/patterns`. On unless said otherwise: Logs Drilldown
    /// shows them, and they cost little.
    pub enabled: bool,
}

impl Default for PatternIngesterConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}
