//! Per-tenant overrides: the file that `runtime_config` names, read again while the engine runs.
//!
//! A tenant in the file inherits every key that it does not name; one that is not in the file has `limits_config`.
//! There is no wildcard.
//!
//! Source: HTTP contract, "Overrides".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::{EngineConfig, check_limits, check_tenant};
use crate::finding::{Errors, Finding, Severity, Warnings};
use crate::limits::Limits;
use crate::load::Root;
use crate::units::ByteSize;
use crate::yaml::{Document, Kind, Node, Report, Rules};

/// Limits by tenant, resolved. Immutable: a reload makes a new one, so it may live in an `ArcSwap`.
#[derive(Debug, Clone)]
pub struct TenantLimits {
    default: Arc<Limits>,
    tenants: HashMap<String, Arc<Limits>>,
    settings: RuntimeSettings,
}

impl TenantLimits {
    /// Every tenant has the engine's own limits.
    pub fn new(engine: &EngineConfig) -> Self {
        Self {
            default: Arc::new(engine.resolved_limits()),
            tenants: HashMap::new(),
            settings: RuntimeSettings::default(),
        }
    }

    /// Reads an overrides file on top of the engine's limits.
    ///
    /// # Errors
    /// Every mistake at once. At start that is fatal; later the caller keeps what it has.
    pub fn load(engine: &EngineConfig, text: &str, file: &str) -> Result<(Self, Warnings), Errors> {
        Self::load_document(engine, &Document::parse(text, file))
    }

    /// [`load`](Self::load) from a document that was read already.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load_document(engine: &EngineConfig, document: &Document) -> Result<(Self, Warnings), Errors> {
        let (overrides, mut findings) = read(engine, document);
        findings.sort_by_key(|f| (f.place.line, f.place.column));
        if findings.iter().any(|f| f.severity == Severity::Error) {
            return Err(Errors::new(findings));
        }
        let Overrides { default, tenants, settings } = overrides;
        Ok((Self { default: Arc::new(default), tenants, settings }, Warnings(findings)))
    }

    /// What `tenant` may do.
    pub fn of(&self, tenant: &str) -> &Arc<Limits> {
        self.tenants.get(tenant).unwrap_or(&self.default)
    }

    /// What a tenant that the file does not name may do.
    pub fn default_limits(&self) -> &Arc<Limits> {
        &self.default
    }

    /// How much disk may be used, where the file says so.
    pub fn settings(&self) -> &RuntimeSettings {
        &self.settings
    }

    /// The tenants that the file names.
    pub fn overridden(&self) -> impl Iterator<Item = (&str, &Arc<Limits>)> {
        self.tenants.iter().map(|(tenant, limits)| (tenant.as_str(), limits))
    }
}

/// The overrides file as it is written: what the operator renders.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverridesFile {
    /// Keys of [`Limits`] by tenant.
    pub overrides: BTreeMap<String, serde_yaml::Value>,
    /// Verbosity of Loki's own logs by tenant; accepted, no meaning here.
    #[serde(skip_serializing)]
    pub configs: serde_yaml::Value,
    /// Our own keys.
    pub logstack: RuntimeSettings,
}

/// `logstack` in the overrides file: what may change without a restart and is no tenant's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeSettings {
    /// Laid over the engine's `limits_config`, for all tenants.
    #[serde(skip_serializing_if = "serde_yaml::Value::is_null")]
    pub limits_config: serde_yaml::Value,
    /// In place of `logstack.storage.max_disk_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_disk_size: Option<ByteSize>,
    /// In place of `logstack.storage.max_disk_share`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_disk_share: Option<f64>,
}

impl Root for OverridesFile {
    fn rules() -> &'static Rules {
        // Loki's multi-KV switch may stand in the same file.
        EngineConfig::rules()
    }

    fn check(&self, report: &mut Report<'_>) {
        for tenant in self.overrides.keys() {
            check_tenant(tenant, &format!("overrides.{tenant}"), report);
        }
        if let Some(share) = self.logstack.max_disk_share.filter(|share| !(0.0..=1.0).contains(share)) {
            report.error("logstack.max_disk_share", format!("{share} is not a share (hint: write 0.9 for 90 %)"));
        }
    }
}

/// What an overrides file says, resolved.
struct Overrides {
    default: Limits,
    tenants: HashMap<String, Arc<Limits>>,
    settings: RuntimeSettings,
}

fn read(engine: &EngineConfig, document: &Document) -> (Overrides, Vec<Finding>) {
    let (file, mut findings) = crate::load::inspect::<OverridesFile>(document);
    let settings = file.map(|file| file.logstack).unwrap_or_default();
    let base = match serde_yaml::to_value(&engine.limits_config) {
        Ok(value) => Node::from_value(&value),
        // Plain data serialises; were it not so, inheriting from the defaults is the safe side.
        Err(_) => Node::empty(document.root().at),
    };
    let (default, base) = match document.root().get("logstack").and_then(|own| own.get("limits_config")) {
        None => (None, base),
        Some(over) => overlaid(engine, document, &base, over, "logstack.limits_config", &mut findings),
    };
    let mut tenants = HashMap::new();
    if let Some(Kind::Mapping(entries)) = document.root().get("overrides").map(|node| &node.kind) {
        for (tenant, over) in entries {
            let path = format!("overrides.{}", tenant.text);
            let (limits, _) = overlaid(engine, document, &base, over, &path, &mut findings);
            if let Some(limits) = limits {
                tenants.insert(tenant.text.clone(), Arc::new(limits));
            }
        }
    }
    (Overrides { default: default.unwrap_or_else(|| engine.resolved_limits()), tenants, settings }, findings)
}

/// Lays `over` on `base`: the limits, resolved, and the tree for those who inherit them.
fn overlaid(
    engine: &EngineConfig,
    document: &Document,
    base: &Node,
    over: &Node,
    path: &str,
    findings: &mut Vec<Finding>,
) -> (Option<Limits>, Node) {
    let mut merged = base.clone();
    // `tenant-a:` without anything overrides nothing.
    if !matches!(&over.kind, Kind::Scalar(scalar) if scalar.is_null()) {
        merged.overlay(over.clone());
    }
    let (limits, removed, found) = document.decode_node::<Limits>(&merged, path, EngineConfig::rules());
    findings.extend(found);
    if let Some(limits) = &limits {
        let mut report = Report::without(document, removed);
        check_limits(limits, path, &mut report);
        findings.extend(report.into_findings());
    }
    (limits.map(|limits| engine.resolve(limits)), merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::PromDuration;

    fn engine() -> EngineConfig {
        let text = "compactor: {retention_enabled: true}\nlimits_config: {ingestion_rate_mb: 7, retention_period: 30d}";
        crate::load(text, "engine.yaml").unwrap().0
    }

    #[test]
    fn tenants_inherit_what_they_do_not_name() {
        let text = "overrides:\n  tenant-a:\n    ingestion_rate_mb: 10\n    retention_stream:\n    - {selector: '{ns=\"x\"}', priority: 1, period: 24h}\n    shard_streams: {enabled: false}\nconfigs:\n  tenant-a: {log_push_request: true}\n";
        let (limits, warnings) = TenantLimits::load(&engine(), text, "runtime.yaml").unwrap();
        assert_eq!(warnings.0, []);
        let a = limits.of("tenant-a");
        assert_eq!((a.ingestion_rate_mb, a.retention_period), (10.0, PromDuration::days(30)));
        assert_eq!(a.retention_stream[0].selector, "{ns=\"x\"}");
        assert!(!a.shard_streams.enabled);
        assert_eq!(a.shard_streams.desired_rate, Limits::default().shard_streams.desired_rate);
        assert_eq!(limits.of("another").ingestion_rate_mb, 7.0);
        assert_eq!(limits.overridden().count(), 1);
        // The defaults of OTLP come once, before and after merging.
        assert_eq!(a.otlp_config, limits.of("another").otlp_config);
    }

    #[test]
    fn own_keys_change_all_tenants() {
        let text = "logstack:\n  limits_config: {ingestion_rate_mb: 9, max_query_series: 3}\n  max_disk_size: 5GB\noverrides:\n  a: {max_query_series: 4}\n  b:\n";
        let (limits, _) = TenantLimits::load(&engine(), text, "runtime.yaml").unwrap();
        let of = |tenant| (limits.of(tenant).ingestion_rate_mb, limits.of(tenant).max_query_series);
        assert_eq!((of("a"), of("b"), of("c")), ((9.0, 4), (9.0, 3), (9.0, 3)));
        assert_eq!(limits.settings().max_disk_size, Some(ByteSize::gib(5)));
        let errors = TenantLimits::load(&engine(), "logstack: {limits_config: {x: 1}, max_disk_share: 9}", "f");
        let want = "f:1: logstack.limits_config.x: unknown key\nf:1: logstack.max_disk_share: 9 is not a share (hint: write 0.9 for 90 %)";
        assert_eq!(errors.unwrap_err().to_string(), want);
    }

    #[test]
    fn an_empty_file_overrides_nobody() {
        let (limits, _) = TenantLimits::load(&engine(), "", "runtime.yaml").unwrap();
        assert_eq!(limits.of("a"), limits.default_limits());
        let (limits, _) = TenantLimits::load(&engine(), "overrides:\n", "runtime.yaml").unwrap();
        assert_eq!(limits.of("a"), limits.default_limits());
    }

    #[test]
    fn reports_every_mistake() {
        let text = "overrides:\n  a/b:\n    ingestion_rate_mb: fast\n  b:\n    retention_perid: 1d\n    retention_stream: [{selector: x, period: 1h}]\noverride: {}\n";
        let errors = TenantLimits::load(&engine(), text, "runtime.yaml").unwrap_err();
        insta::assert_snapshot!(errors, @r#"
        runtime.yaml:2: overrides.a/b: "a/b" is not a tenant id (hint: 1 to 150 of A-Z a-z 0-9 ! - _ . * ' ( ))
        runtime.yaml:3: overrides.a/b.ingestion_rate_mb: fast is not a number
        runtime.yaml:5: overrides.b.retention_perid: unknown key (did you mean retention_period?)
        runtime.yaml:6: overrides.b.retention_stream[0].selector: "x" is not a stream selector (hint: write '{app="x"}')
        runtime.yaml:6: overrides.b.retention_stream[0].period: retention period must be >= 24h was 1h0m0s
        runtime.yaml:7: override: unknown key (did you mean overrides?)
        "#);
    }
}
