//! The engine's configuration, in Loki's shape.
//!
//! Only what has a meaning here is typed. Keys of Loki without one are accepted by name and reported once
//! (`known.rs`); our own keys live under the one top-level key `logstack` .

mod check;
mod known;
mod own;
mod sections;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use own::{
    AuthConfig, AuthKind, LogstackConfig, MergeConfig, QueryConfig, StorageConfig, WalConfig as StorageWalConfig,
    WalSync,
};
pub use sections::{
    CommonConfig, CommonStorage, CompactorConfig, DistributorConfig, DistributorOtlp, FilesystemConfig, FrontendConfig,
    IngesterConfig, PatternIngesterConfig, QuerierConfig, QuerierEngine, QueryRangeConfig, RuntimeConfig,
    StorageSection, TableManager, WalConfig,
};
pub use server::{ClientAuth, LogFormat, LogLevel, ServerConfig, TlsConfig};

pub(crate) use check::check_limits;
pub use check::check_tenant;

use crate::limits::{AttributeAction, AttributesRule, Limits};
use crate::units::PromDuration;

/// What `logstack engine` is told. Every key has a default, so an empty file is a configuration.
///
/// Source: Loki 3.7.6, "Supported contents and default values of `loki.yaml`".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EngineConfig {
    /// Every data request needs `X-Scope-OrgID`. Without: every request is [`no_auth_tenant`](Self::no_auth_tenant)'s.
    pub auth_enabled: bool,
    /// The tenant when `auth_enabled` is false.
    pub no_auth_tenant: String,
    /// Listening, logging, TLS.
    pub server: ServerConfig,
    /// Paths.
    pub common: CommonConfig,
    /// What each tenant may do, unless overridden.
    pub limits_config: Limits,
    /// Ingest.
    pub distributor: DistributorConfig,
    /// Streams in memory.
    pub ingester: IngesterConfig,
    /// Queries.
    pub querier: QuerierConfig,
    /// Query splitting.
    pub query_range: QueryRangeConfig,
    /// Query logging.
    pub frontend: FrontendConfig,
    /// Retention and deletes.
    pub compactor: CompactorConfig,
    /// Retention as Loki 1.x had it.
    pub table_manager: TableManager,
    /// Where data was kept, to place ours beside it.
    pub storage_config: StorageSection,
    /// Per-tenant overrides.
    pub runtime_config: RuntimeConfig,
    /// Patterns.
    pub pattern_ingester: PatternIngesterConfig,
    /// Limits that `/loki/api/v1/drilldown-limits` shows.
    pub tenant_limits_allow_publish: Vec<String>,
    /// Our own keys.
    pub logstack: LogstackConfig,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            auth_enabled: true,
            no_auth_tenant: "fake".to_owned(),
            server: ServerConfig::default(),
            common: CommonConfig::default(),
            limits_config: Limits::default(),
            distributor: DistributorConfig::default(),
            ingester: IngesterConfig::default(),
            querier: QuerierConfig::default(),
            query_range: QueryRangeConfig::default(),
            frontend: FrontendConfig::default(),
            compactor: CompactorConfig::default(),
            table_manager: TableManager::default(),
            storage_config: StorageSection::default(),
            runtime_config: RuntimeConfig::default(),
            pattern_ingester: PatternIngesterConfig::default(),
            tenant_limits_allow_publish: PUBLISHED_LIMITS.iter().map(|&name| name.to_owned()).collect(),
            logstack: LogstackConfig::default(),
        }
    }
}

/// Loki's default of `tenant_limits_allow_publish`.
const PUBLISHED_LIMITS: [&str; 18] = [
    "discover_log_levels",
    "discover_service_name",
    "log_level_fields",
    "max_entries_limit_per_query",
    "max_line_size_truncate",
    "max_query_bytes_read",
    "max_query_length",
    "max_query_lookback",
    "max_query_range",
    "max_query_series",
    "metric_aggregation_enabled",
    "otlp_config",
    "pattern_persistence_enabled",
    "query_timeout",
    "retention_period",
    "retention_stream",
    "volume_enabled",
    "volume_max_series",
];

impl EngineConfig {
    /// Where data lives, as far as the file says: our own key, else Loki's `common.path_prefix`, else beside the
    /// folder that held Loki's chunks (same volume, another name). `None`: the caller's default.
    pub fn data_dir(&self) -> Option<PathBuf> {
        let own = self.logstack.storage.path.clone();
        let prefix = || self.common.path_prefix.clone();
        let chunks = || {
            let folders = [&self.common.storage.filesystem.chunks_directory, &self.storage_config.filesystem.directory];
            folders.into_iter().flatten().find_map(|chunks| Some(chunks.parent()?.join("logstack")))
        };
        own.or_else(prefix).or_else(chunks)
    }

    /// The per-tenant overrides file, at its present or its older place.
    pub fn overrides_file(&self) -> Option<&Path> {
        self.runtime_config.file.as_deref().or(self.limits_config.per_tenant_override_config.as_deref())
    }

    /// True when something asks for retention: the compactor, or Loki 1.x's table manager.
    pub fn retention_enabled(&self) -> bool {
        self.compactor.retention_enabled || self.table_manager.retention_deletes_enabled
    }

    /// `limits_config` with what other sections say about limits applied; what a tenant without overrides has.
    pub fn resolved_limits(&self) -> Limits {
        self.resolve(self.limits_config.clone())
    }

    /// Applies what other sections say about limits to `limits` (one tenant's, already merged).
    pub(crate) fn resolve(&self, mut limits: Limits) -> Limits {
        let resource = &mut limits.otlp_config.resource_attributes;
        let defaults = &self.distributor.otlp_config.default_resource_attributes_as_index_labels;
        if !resource.ignore_defaults && !defaults.is_empty() {
            let rule = AttributesRule {
                action: AttributeAction::IndexLabel,
                attributes: defaults.clone(),
                regex: String::new(),
            };
            resource.attributes_config.insert(0, rule);
            // Applied: resolving twice must not add them twice.
            resource.ignore_defaults = true;
        }
        if !self.retention_enabled() {
            limits.retention_period = PromDuration::ZERO;
            limits.retention_stream.clear();
        } else if limits.retention_period.is_zero() && self.table_manager.retention_deletes_enabled {
            limits.retention_period = self.table_manager.retention_period;
        }
        limits
    }
}
