//! `LogStack`: one engine, its collectors, and how Grafana finds them.
//!
//! Fields marked **K** mean something in a cluster only; `logstack run -f` ignores them with one notice.
//!
//! Source: operator contract, section 1.2.

mod collector;
mod engine;
mod limits;
mod observe;
mod status;
mod storage;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::LocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use collector::{
    AnnotationGate, BackoffSpec, ClientSpec, CollectorSpec, DefaultScrape, ExtraHostPath, HostPaths, JournalSpec,
    ReloadPolicy, SystemFile, SystemLogs,
};
pub use engine::{
    AuthSpec, AuthType, ClientAuthSpec, ColdStorage, ColdStorageType, DisruptionBudget, EngineSpec, ExternalEngine,
    ServiceSpec, ServiceType, TlsSpec,
};
pub use limits::{LimitsSpec, TenantLimitsSpec};
pub use observe::{
    DashboardsSpec, DatasourceSpec, GrafanaSpec, MonitorSpec, MonitoringSpec, NetworkPolicySpec, RulesSpec,
};
pub use status::{
    CollectorStatus, ConfigHashes, EndpointsStatus, EngineStatus, GrafanaStatus, ImagesStatus, LogStackStatus,
    ScrapesStatus, StorageStatus,
};
pub use storage::{AccessMode, ClaimPolicy, RetentionSpec, StorageSpec, StreamRetentionSpec};

/// What a user asks for: a log store, collectors on every node, a data source.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "logstack.dev",
    version = "v1alpha1",
    kind = "LogStack",
    plural = "logstacks",
    singular = "logstack",
    shortname = "lgs",
    category = "logging",
    category = "observability",
    namespaced,
    status = "LogStackStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A log store, the collectors that feed it and the Grafana data source that shows it.",
    scale(
        spec_replicas_path = ".spec.engine.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Engine", "type": "string", "jsonPath": ".status.engine.ready"}"#,
    printcolumn = r#"{"name": "Collectors", "type": "string", "jsonPath": ".status.collector.ready"}"#,
    printcolumn = r#"{"name": "Storage", "type": "string", "jsonPath": ".status.storage.capacity"}"#,
    printcolumn = r#"{"name": "Retention", "type": "string", "jsonPath": ".spec.engine.retention.period", "priority": 1}"#,
    printcolumn = r#"{"name": "Version", "type": "string", "jsonPath": ".status.version", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    selectable = ".spec.tenancy.mode"
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!has(self.commonLabels) || self.commonLabels.all(k, !['app.kubernetes.io/','logstack.dev/','argocd.argoproj.io/'].exists(p, k.startsWith(p)))",
         "commonLabels: app.kubernetes.io/, logstack.dev/ and argocd.argoproj.io/ belong to tools"),
        ("self.tenancy.mode == 'Multi' || !has(self.engine.limits.tenants)",
         "engine.limits.tenants: needs tenancy.mode: Multi"),
    ])))]
pub struct LogStackSpec {
    /// Image of engine and collectors (K). Default: the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// Secrets to pull it with (K).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// When it is pulled (K).
    pub image_pull_policy: PullPolicy,
    /// Labels for every object, not for pods (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "labels_16")]
    pub common_labels: Option<BTreeMap<String, String>>,
    /// Annotations for every object, not for pods (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "labels_16")]
    pub common_annotations: Option<BTreeMap<String, String>>,
    /// The log store.
    pub engine: EngineSpec,
    /// Whose logs are kept apart from whose.
    pub tenancy: TenancySpec,
    /// Who may connect.
    pub auth: AuthSpec,
    /// TLS for the engine; absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// The agents on the nodes.
    pub collector: CollectorSpec,
    /// Which LogScrapes; absent: all in the selected namespaces (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub scrape_selector: Option<LabelSelector>,
    /// LogScrapes of which namespaces; absent: only this one; `{}`: every watched one (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub scrape_namespace_selector: Option<LabelSelector>,
    /// What a LogScrape from another namespace may ask for (K).
    pub scrape_policy: ScrapePolicy,
    /// How Grafana finds the store (K).
    pub grafana: GrafanaSpec,
    /// Prometheus objects (K).
    pub monitoring: MonitoringSpec,
    /// Network policies (K).
    pub network_policy: NetworkPolicySpec,
    /// Alerting rules; not yet in the engine.
    pub rules: RulesSpec,
}

/// A label selector whose requirements an API server can check.
pub(crate) fn label_selector(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let _ = generator;
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": { "type": "string", "maxLength": 63 },
            },
            "matchExpressions": {
                "type": "array",
                "maxItems": 32,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "maxLength": 317 },
                        "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
                        "values": {
                            "type": "array",
                            "maxItems": 64,
                            "items": { "type": "string", "maxLength": 63 },
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "self.operator in ['In','NotIn'] ? (has(self.values) && self.values.size() > 0) : (!has(self.values) || self.values.size() == 0)",
                        "message": "In and NotIn need values, Exists and DoesNotExist must not have any",
                    }],
                },
            },
        },
    })
}

fn labels_16(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 1024 },
    })
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Unless the node has it.
    #[default]
    IfNotPresent,
    /// At every start.
    Always,
    /// Not at all.
    Never,
}

/// Whose logs are kept apart from whose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!has(self.defaultTenant) || !(self.defaultTenant in ['.', '..'])",
         "defaultTenant: . and .. are no tenant ids"),
    ])))]
pub struct TenancySpec {
    /// `Single`: one tenant, no header needed. `Multi`: every request names its tenant in `X-Scope-OrgID`.
    pub mode: TenancyMode,
    /// The tenant of `Single`, and of collected logs whose LogScrape names none. Default: `fake`, as in Loki.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 150), regex(pattern = r"^[a-zA-Z0-9!_.*'()-]+$"))]
    pub default_tenant: Option<String>,
}

/// How many tenants there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TenancyMode {
    /// One.
    #[default]
    Single,
    /// As many as requests name.
    Multi,
}

/// What a LogScrape from another namespace may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScrapePolicy {
    /// Pods of other namespaces than its own.
    pub allow_cross_namespace_targets: bool,
    /// Files of the node.
    pub allow_node_paths: NodePathPolicy,
    /// Tenants it may name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed_tenants: Vec<String>,
    /// The label `namespace` is the pod's, whatever relabelling says.
    pub enforce_namespace_label: bool,
}

impl Default for ScrapePolicy {
    fn default() -> Self {
        Self {
            allow_cross_namespace_targets: false,
            allow_node_paths: NodePathPolicy::OwnNamespace,
            allowed_tenants: Vec::new(),
            enforce_namespace_label: true,
        }
    }
}

/// From which namespaces LogScrapes may read files of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodePathPolicy {
    /// From the LogStack's.
    #[default]
    OwnNamespace,
    /// From all.
    All,
    /// From none.
    None,
}
