//! LogStack -> the engine's file.

use logstack_config::engine::{AuthKind, ClientAuth};
use logstack_config::yaml::{Document, Node};
use logstack_config::{ByteSize, EngineConfig, Limits, OverridesFile, Severity, StreamRetention, load_document};
use serde_json::{Map, Value};

use super::{Problem, Reason, Setting};
use crate::quantity::bytes;
use crate::stack::{AuthType, ClientAuthSpec, LimitsSpec, LogStackSpec, TenancyMode, TenantLimitsSpec};

/// Keys of the engine's file that the operator owns: listening, data, tenancy, who may connect.
const PROTECTED: [&str; 11] = [
    "server.http_listen_address",
    "server.http_listen_port",
    "server.http_path_prefix",
    "server.http_tls_config",
    "auth_enabled",
    "no_auth_tenant",
    "common.path_prefix",
    "logstack.storage.path",
    "logstack.auth",
    "runtime_config.file",
    "limits_config.per_tenant_override_config",
];

/// Where Secrets of the spec are mounted in the engine's pod.
const TLS_DIR: &str = "/etc/logstack/tls";
const CLIENT_CA_DIR: &str = "/etc/logstack/client-ca";
const AUTH_FILE: &str = "/etc/logstack/auth/credentials";

/// The engine's whole configuration, limits included.
///
/// # Errors
/// Every key of `extraConfig` that is wrong, protected or misspelt.
pub fn render_engine(spec: &LogStackSpec, setting: &Setting) -> Result<EngineConfig, Vec<Problem>> {
    let mut config = EngineConfig { auth_enabled: spec.tenancy.mode == TenancyMode::Multi, ..EngineConfig::default() };
    if let Some(tenant) = &spec.tenancy.default_tenant {
        config.no_auth_tenant.clone_from(tenant);
    }
    config.server.http_listen_address.clone_from(&setting.listen_address);
    config.server.http_listen_port = setting.listen_port;
    config.logstack.storage.path = Some(setting.data_dir.clone());
    config.compactor.retention_enabled = true;
    // Any name: it switches delete requests on.
    config.compactor.delete_request_store = "filesystem".to_owned();
    if let Some(max) = spec.engine.retention.max_size.as_ref().and_then(bytes) {
        config.logstack.storage.max_disk_size = ByteSize(max);
    }
    config.limits_config = limits(spec);
    apply_tls(spec, &mut config);
    if let Some(memory) = setting.memory_bytes {
        apply_memory(memory, &mut config);
    }
    overlay(config, &spec.engine.extra_config, &spec.engine.extra_config_unset)
}

fn limits(spec: &LogStackSpec) -> Limits {
    let retention = &spec.engine.retention;
    let streams = retention.streams.iter().map(|rule| StreamRetention {
        period: rule.period,
        priority: rule.priority.unwrap_or_default(),
        selector: rule.selector.clone(),
    });
    let LimitsSpec {
        ingestion_rate_mb,
        ingestion_burst_size_mb,
        query_timeout,
        max_entries_per_query,
        ref max_line_size,
        max_line_size_truncate,
        max_label_names_per_series,
        max_streams_per_tenant,
        max_query_series,
        max_query_length,
        max_concurrent_tails,
        ref per_stream_rate_limit,
        ref per_stream_rate_limit_burst,
        reject_old_samples_max_age,
        tenants: _, // rendered apart
    } = spec.engine.limits;
    let default = Limits::default();
    Limits {
        ingestion_rate_mb: f64::from(ingestion_rate_mb),
        ingestion_burst_size_mb: f64::from(ingestion_burst_size_mb),
        query_timeout,
        max_entries_limit_per_query: unsigned(max_entries_per_query),
        max_line_size: bytes(max_line_size).map_or(default.max_line_size, ByteSize),
        max_line_size_truncate,
        max_label_names_per_series: unsigned(max_label_names_per_series) as usize,
        max_global_streams_per_user: unsigned(max_streams_per_tenant),
        max_query_series: unsigned(max_query_series) as usize,
        max_query_length,
        max_concurrent_tail_requests: unsigned(max_concurrent_tails) as usize,
        per_stream_rate_limit: bytes(per_stream_rate_limit).map_or(default.per_stream_rate_limit, ByteSize),
        per_stream_rate_limit_burst: bytes(per_stream_rate_limit_burst)
            .map_or(default.per_stream_rate_limit_burst, ByteSize),
        reject_old_samples_max_age,
        retention_period: retention.period,
        retention_stream: streams.collect(),
        ..default
    }
}

/// Counts are checked to be positive by the schema.
fn unsigned(count: i32) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

fn apply_tls(spec: &LogStackSpec, config: &mut EngineConfig) {
    if let Some(tls) = &spec.tls {
        let block = &mut config.server.http_tls_config;
        block.cert_file = Some(format!("{TLS_DIR}/tls.crt").into());
        block.key_file = Some(format!("{TLS_DIR}/tls.key").into());
        block.client_auth_type = match tls.client_auth {
            ClientAuthSpec::None => ClientAuth::NoClientCert,
            ClientAuthSpec::Request => ClientAuth::VerifyClientCertIfGiven,
            ClientAuthSpec::Require => ClientAuth::RequireAndVerifyClientCert,
        };
        if tls.client_auth != ClientAuthSpec::None {
            block.client_ca_file = Some(format!("{CLIENT_CA_DIR}/ca.crt").into());
        }
        config.server.tls_min_version = format!("VersionTLS{}", tls.min_version.replace('.', ""));
    }
    config.logstack.auth.kind = match spec.auth.kind {
        AuthType::None => AuthKind::None,
        AuthType::Basic => AuthKind::Basic,
        AuthType::Bearer => AuthKind::Bearer,
    };
    config.logstack.auth.credentials_file = (spec.auth.kind != AuthType::None).then(|| AUTH_FILE.into());
}

/// Shares of the memory limit. The rest is for requests in flight, merges and the allocator.
fn apply_memory(memory: u64, config: &mut EngineConfig) {
    let share = |divisor: u64| ByteSize((memory / divisor).max(1 << 20));
    config.logstack.storage.memtable_size = share(16);
    config.logstack.storage.cache_size = share(8);
    config.logstack.query.total_memory_budget = share(2);
    config.logstack.query.memory_budget = share(4);
}

/// Lays `extraConfig` over the rendered configuration and removes what `extraConfigUnset` names.
fn overlay(config: EngineConfig, extra: &Map<String, Value>, unset: &[String]) -> Result<EngineConfig, Vec<Problem>> {
    if extra.is_empty() && unset.is_empty() {
        return Ok(config);
    }
    let failed = |error: serde_yaml::Error| vec![Problem::invalid("spec.engine.extraConfig", error.to_string())];
    let over = Node::from_value(&serde_yaml::to_value(extra).map_err(failed)?);
    let mut over = Document::from_node(over, "extraConfig");
    let mut problems: Vec<Problem> = Vec::new();
    for key in PROTECTED {
        if !over.unset(key) {
            continue;
        }
        problems.push(Problem {
            path: format!("spec.engine.extraConfig.{key}"),
            text: "belongs to the spec (hint: use the spec's own field)".to_owned(),
            reason: Reason::ProtectedKey,
        });
    }
    let mut root = Node::from_value(&serde_yaml::to_value(&config).map_err(failed)?);
    root.overlay(over.root().clone());
    let mut document = Document::from_node(root, "extraConfig");
    for (idx, path) in unset.iter().enumerate() {
        let is_protected = PROTECTED.iter().any(|key| key.starts_with(path.as_str()));
        if is_protected {
            problems.push(Problem {
                path: format!("spec.engine.extraConfigUnset[{idx}]"),
                text: format!("{path} belongs to the spec"),
                reason: Reason::ProtectedKey,
            });
        } else {
            // Absent already is what was asked for.
            document.unset(path);
        }
    }
    match load_document::<EngineConfig>(&document) {
        Ok((config, _)) if problems.is_empty() => Ok(config),
        Ok(_) => Err(problems),
        Err(errors) => {
            let errors = errors.findings().iter().filter(|finding| finding.severity == Severity::Error);
            problems.extend(errors.map(|finding| Problem::from_finding("spec.engine.extraConfig", finding)));
            Err(problems)
        }
    }
}

/// The overrides of single tenants.
///
/// # Errors
/// Only if a limit could not be serialised.
pub fn render_tenants(spec: &LogStackSpec) -> Result<OverridesFile, serde_yaml::Error> {
    let mut file = OverridesFile::default();
    for (tenant, limits) in spec.engine.limits.tenants.iter().flatten() {
        file.overrides.insert(tenant.clone(), tenant_keys(limits)?);
    }
    Ok(file)
}

/// Only the keys that the tenant names: the rest is inherited.
fn tenant_keys(limits: &TenantLimitsSpec) -> Result<serde_yaml::Value, serde_yaml::Error> {
    let mut keys = serde_yaml::Mapping::new();
    let mut put = |key: &str, value: Result<serde_yaml::Value, serde_yaml::Error>| {
        value.map(|value| {
            if !value.is_null() {
                keys.insert(key.into(), value);
            }
        })
    };
    let size = |quantity: &Option<_>| serde_yaml::to_value(quantity.as_ref().and_then(bytes).map(ByteSize));
    put("ingestion_rate_mb", serde_yaml::to_value(limits.ingestion_rate_mb))?;
    put("ingestion_burst_size_mb", serde_yaml::to_value(limits.ingestion_burst_size_mb))?;
    put("query_timeout", serde_yaml::to_value(limits.query_timeout))?;
    put("max_entries_limit_per_query", serde_yaml::to_value(limits.max_entries_per_query))?;
    put("max_line_size", size(&limits.max_line_size))?;
    put("max_line_size_truncate", serde_yaml::to_value(limits.max_line_size_truncate))?;
    put("max_label_names_per_series", serde_yaml::to_value(limits.max_label_names_per_series))?;
    put("max_global_streams_per_user", serde_yaml::to_value(limits.max_streams_per_tenant))?;
    put("max_query_series", serde_yaml::to_value(limits.max_query_series))?;
    put("max_query_length", serde_yaml::to_value(limits.max_query_length))?;
    put("max_concurrent_tail_requests", serde_yaml::to_value(limits.max_concurrent_tails))?;
    put("per_stream_rate_limit", size(&limits.per_stream_rate_limit))?;
    put("per_stream_rate_limit_burst", size(&limits.per_stream_rate_limit_burst))?;
    put("reject_old_samples_max_age", serde_yaml::to_value(limits.reject_old_samples_max_age))?;
    put("retention_period", serde_yaml::to_value(limits.retention_period))?;
    Ok(serde_yaml::Value::Mapping(keys))
}

/// Moves what may change without a restart out of the static file: limits of all tenants, and how much disk may be
/// used. The engine reads both files as one.
///
/// # Errors
/// Only if a limit could not be serialised.
pub fn split_runtime(
    mut config: EngineConfig,
    tenants: OverridesFile,
) -> Result<(EngineConfig, OverridesFile), serde_yaml::Error> {
    let default = EngineConfig::default();
    let mut runtime = tenants;
    runtime.logstack.limits_config = logstack_config::differences(&config.limits_config, &default.limits_config)?;
    runtime.logstack.max_disk_size = Some(config.logstack.storage.max_disk_size);
    runtime.logstack.max_disk_share = Some(config.logstack.storage.max_disk_share);
    config.limits_config = default.limits_config;
    config.logstack.storage.max_disk_size = default.logstack.storage.max_disk_size;
    config.logstack.storage.max_disk_share = default.logstack.storage.max_disk_share;
    Ok((config, runtime))
}
