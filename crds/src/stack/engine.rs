//! `engine`, `auth`, `tls`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, ResourceRequirements, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use logstack_config::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::limits::LimitsSpec;
use super::storage::{RetentionSpec, StorageSpec};
use crate::schema::{self, is_empty_object};

/// The log store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!has(self.external) || !has(self.coldStorage)",
         "coldStorage: an external engine keeps its own data"),
        ("!has(oldSelf.coldStorage) || has(self.coldStorage)",
         "coldStorage: cannot be removed; data lives there"),
        ("!has(self.retention.maxSize) || quantity(string(self.retention.maxSize)).compareTo(quantity(string(self.storage.size))) <= 0",
         "retention.maxSize: not above storage.size"),
    ])))]
pub struct EngineSpec {
    /// Use this Loki-compatible server instead of running one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalEngine>,
    /// Image of the engine; absent: `spec.image` (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// 1; 0 hibernates: pods go, the volume stays (K).
    #[schemars(range(min = 0, max = 1))]
    pub replicas: i32,
    /// Requests and limits; the memory limit is also the engine's own budget.
    pub resources: ResourceRequirements,
    /// The volume.
    pub storage: StorageSpec,
    /// Older data on an object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_storage: Option<ColdStorage>,
    /// How long logs are kept.
    pub retention: RetentionSpec,
    /// What a tenant may do.
    pub limits: LimitsSpec,
    /// The Service that clients use (K).
    pub service: ServiceSpec,
    /// Further keys of the engine's own file, laid over what is made from this spec.
    #[serde(skip_serializing_if = "is_empty_object")]
    #[schemars(schema_with = "schema::free_form")]
    pub extra_config: Map<String, Value>,
    /// Dotted paths of keys to remove from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub extra_config_unset: Vec<String>,
    /// A Secret with the key `config.yaml`, merged inside the pod (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub extra_config_secret_name: Option<String>,
    /// Environment (K).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::env")]
    pub env: Vec<EnvVar>,
    /// Affinity (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::affinity")]
    pub affinity: Option<Affinity>,
    /// Tolerations (K).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Node selector (K).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Spreading (K).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::topology_spread")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// An existing service account (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Seconds to flush and stop (K).
    #[schemars(range(min = 10, max = 3600))]
    pub termination_grace_period_seconds: i64,
    /// Disruption budget (K).
    pub pod_disruption_budget: DisruptionBudget,
    /// `metadata.labels`, `metadata.annotations` and `spec` merged onto the built pod template (K).
    #[serde(skip_serializing_if = "is_empty_object")]
    #[schemars(schema_with = "schema::free_form")]
    pub pod_template: Map<String, Value>,
}

impl Default for EngineSpec {
    fn default() -> Self {
        Self {
            external: None,
            image: None,
            replicas: 1,
            resources: resources(("100m", "256Mi"), "1Gi"),
            storage: StorageSpec::default(),
            cold_storage: None,
            retention: RetentionSpec::default(),
            limits: LimitsSpec::default(),
            service: ServiceSpec::default(),
            extra_config: Map::new(),
            extra_config_unset: Vec::new(),
            extra_config_secret_name: None,
            env: Vec::new(),
            affinity: None,
            tolerations: Vec::new(),
            node_selector: BTreeMap::new(),
            topology_spread_constraints: Vec::new(),
            priority_class_name: None,
            service_account_name: None,
            termination_grace_period_seconds: 120,
            pod_disruption_budget: DisruptionBudget::default(),
            pod_template: Map::new(),
        }
    }
}

/// Requests of processor and memory, and a limit of memory. No processor limit: throttling makes queries slow and
/// saves nothing.
pub(super) fn resources((cpu, memory): (&str, &str), memory_limit: &str) -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.to_owned());
    ResourceRequirements {
        requests: Some(BTreeMap::from([("cpu".to_owned(), quantity(cpu)), ("memory".to_owned(), quantity(memory))])),
        limits: Some(BTreeMap::from([("memory".to_owned(), quantity(memory_limit))])),
        ..ResourceRequirements::default()
    }
}

/// A Loki-compatible server that runs elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("isURL(self.url) && url(self.url).getScheme() in ['http','https']",
         "url: an http or https URL"),
    ])))]
pub struct ExternalEngine {
    /// Its address, as in `http://loki.monitoring:3100`.
    #[schemars(length(max = 2048))]
    pub url: String,
}

/// Older data on an object store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.bucket == oldSelf.bucket",
         "bucket: cannot be changed; data lives there"),
        ("has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix)",
         "prefix: cannot be changed; data lives there"),
    ])))]
pub struct ColdStorage {
    /// The protocol.
    #[serde(default, rename = "type")]
    pub kind: ColdStorageType,
    /// Its bucket.
    #[schemars(length(max = 255))]
    pub bucket: String,
    /// Its address; absent: Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub region: Option<String>,
    /// Before every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// The bucket stands in the path, not in the host name.
    #[serde(default)]
    pub force_path_style: bool,
    /// Data moves when it is older.
    #[serde(default = "three_days")]
    pub move_after: PromDuration,
    /// Secret with `access_key_id` and `secret_access_key`; absent: the pod's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// Secret with `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub ca_secret_name: Option<String>,
}

fn three_days() -> PromDuration {
    PromDuration::hours(72)
}

/// Protocols of object stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ColdStorageType {
    /// Amazon's, and all that speak it.
    #[default]
    S3,
}

/// The Service that clients use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.type != 'ClusterIP' || !has(self.nodePort)",
         "nodePort: needs type NodePort or LoadBalancer"),
        ("self.type == 'LoadBalancer' || !has(self.loadBalancerClass)",
         "loadBalancerClass: needs type LoadBalancer"),
    ])))]
pub struct ServiceSpec {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ServiceType,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Port on the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
    /// Which load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub load_balancer_class: Option<String>,
    /// Who may reach the load balancer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub load_balancer_source_ranges: Vec<String>,
    /// `Cluster` or `Local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<String>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            kind: ServiceType::ClusterIP,
            port: 3100,
            node_port: None,
            load_balancer_class: None,
            load_balancer_source_ranges: Vec::new(),
            external_traffic_policy: None,
            ip_family_policy: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// Types of Services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// A load balancer.
    LoadBalancer,
}

/// A disruption budget. With one replica it must not forbid the only eviction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudget {
    /// Make one.
    pub enabled: bool,
    /// Pods that may be away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// Who may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.type == 'None' || has(self.secretName)",
         "secretName: is needed unless type is None"),
    ])))]
pub struct AuthSpec {
    /// How clients prove who they are.
    #[serde(rename = "type")]
    pub kind: AuthType,
    /// Secret with the engine's `credentials`: lines `user:password`, or a token a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// Secret that the collectors use: `username` and `password`, or `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub client_secret_name: Option<String>,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthType {
    /// Not at all.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic,
    /// A bearer token.
    Bearer,
}

/// TLS for the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.clientAuth == 'None' || has(self.clientCASecretName)",
         "clientCASecretName: is needed unless clientAuth is None"),
    ])))]
pub struct TlsSpec {
    /// Secret with `tls.crt` and `tls.key`.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// `1.2` or `1.3`.
    #[serde(default = "tls_1_2")]
    #[schemars(regex(pattern = r"^1\.[23]$"))]
    pub min_version: String,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_auth: ClientAuthSpec,
    /// Secret with `ca.crt`, which signs client certificates.
    #[serde(default, rename = "clientCASecretName", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub client_ca_secret_name: Option<String>,
}

fn tls_1_2() -> String {
    "1.2".to_owned()
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthSpec {
    /// They are not asked.
    #[default]
    None,
    /// They may; it is verified.
    Request,
    /// They must; it is verified.
    Require,
}
