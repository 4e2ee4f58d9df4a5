//! `collector`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, ResourceRequirements, SecurityContext, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use logstack_config::PromDuration;
use logstack_config::collector::Stage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::engine::resources;
use crate::schema::{self, is_empty_object};
use crate::scrape::Relabeling;

/// The agents on the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CollectorSpec {
    /// Run them.
    pub enabled: bool,
    /// Image of the collectors; absent: `spec.image` (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// Requests and limits (K).
    pub resources: ResourceRequirements,
    /// Environment (K).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::env")]
    pub env: Vec<EnvVar>,
    /// Node selector (K).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Affinity (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::affinity")]
    pub affinity: Option<Affinity>,
    /// Tolerations; default: all (K).
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Priority class (K).
    pub priority_class_name: String,
    /// Agents that may be away in a rollout (K).
    pub max_unavailable: IntOrString,
    /// `metadata.labels`, `metadata.annotations` and `spec` merged onto the built pod template (K).
    #[serde(skip_serializing_if = "is_empty_object")]
    #[schemars(schema_with = "schema::free_form")]
    pub pod_template: Map<String, Value>,
    /// Folders of the node (K).
    pub host_paths: HostPaths,
    /// Security context; absent: uid 0 without capabilities, read-only root (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::security_context")]
    pub security_context: Option<SecurityContext>,
    /// The built-in last job: pods that pass the gate and that no LogScrape took (K).
    pub default_scrape: DefaultScrape,
    /// Logs of the node itself.
    pub system_logs: SystemLogs,
    /// Stages before each LogScrape's own; `cri` comes first by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub pipeline_stages: Vec<Stage>,
    /// Rules before each LogScrape's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub relabelings: Vec<Relabeling>,
    /// Labels for everything that is collected.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 15))]
    pub labels: BTreeMap<String, String>,
    /// Further jobs in Promtail's shape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::free_form_list")]
    pub extra_scrape_configs: Vec<Map<String, Value>>,
    /// Further receivers; the engine is always the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub clients: Vec<ClientSpec>,
    /// Further keys of the collector's own file, laid over what is made from this spec.
    #[serde(skip_serializing_if = "is_empty_object")]
    #[schemars(schema_with = "schema::free_form")]
    pub extra_config: Map<String, Value>,
    /// How a change reaches the agents (K).
    pub reload_policy: ReloadPolicy,
}

impl Default for CollectorSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            image: None,
            resources: resources(("50m", "64Mi"), "256Mi"),
            env: Vec::new(),
            node_selector: BTreeMap::new(),
            affinity: None,
            tolerations: vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }],
            priority_class_name: "system-node-critical".to_owned(),
            max_unavailable: IntOrString::String("10%".to_owned()),
            pod_template: Map::new(),
            host_paths: HostPaths::default(),
            security_context: None,
            default_scrape: DefaultScrape::default(),
            system_logs: SystemLogs::default(),
            pipeline_stages: Vec::new(),
            relabelings: Vec::new(),
            labels: BTreeMap::new(),
            extra_scrape_configs: Vec::new(),
            clients: Vec::new(),
            extra_config: Map::new(),
            reload_policy: ReloadPolicy::HotReload,
        }
    }
}

/// Folders of the node. Logs are mounted read-only; the state folder is the only writable one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.podLogs.startsWith('/') && !self.podLogs.contains('..')",
         "podLogs: an absolute path without .."),
        ("!has(self.state) || (self.state.startsWith('/') && !self.state.contains('..'))",
         "state: an absolute path without .."),
    ])))]
pub struct HostPaths {
    /// The kubelet's `podLogsDir`.
    #[schemars(length(max = 1024))]
    pub pod_logs: String,
    /// State of the agents; absent: `/var/lib/logstack/<namespace>-<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub state: Option<String>,
    /// Further folders to mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub extra: Vec<ExtraHostPath>,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self { pod_logs: "/var/log/pods".to_owned(), state: None, extra: Vec::new() }
    }
}

/// A further folder, mounted read-only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.path.startsWith('/') && !self.path.contains('..')",
         "path: an absolute path without .."),
    ])))]
pub struct ExtraHostPath {
    /// The folder.
    #[schemars(length(max = 1024))]
    pub path: String,
}

/// The built-in last job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultScrape {
    /// Have it.
    pub enabled: bool,
    /// Which pods.
    pub annotation_gate: AnnotationGate,
}

impl Default for DefaultScrape {
    fn default() -> Self {
        Self { enabled: true, annotation_gate: AnnotationGate::default() }
    }
}

/// Only pods with this annotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnnotationGate {
    /// Look at it; false: all pods.
    pub enabled: bool,
    /// Its name.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Its exact value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

impl Default for AnnotationGate {
    fn default() -> Self {
        Self { enabled: true, key: "prometheus.io/scrape".to_owned(), value: "true".to_owned() }
    }
}

/// Logs of the node itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SystemLogs {
    /// journald.
    pub journal: JournalSpec,
    /// Files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub files: Vec<SystemFile>,
}

/// journald.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!has(self.path) || (self.path.startsWith('/') && !self.path.contains('..'))",
         "path: an absolute path without .."),
    ])))]
pub struct JournalSpec {
    /// Read it.
    pub enabled: bool,
    /// Its folder; absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// Oldest entry at the first start.
    pub max_age: PromDuration,
}

impl Default for JournalSpec {
    fn default() -> Self {
        Self { enabled: false, path: None, max_age: PromDuration::hours(7) }
    }
}

/// Files of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.path.startsWith('/') && !self.path.contains('..')",
         "path: an absolute path without .."),
    ])))]
pub struct SystemFile {
    /// Names the job.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Glob.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Glob of files to leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub exclude: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 15))]
    pub labels: BTreeMap<String, String>,
}

/// A further receiver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("isURL(self.url) && url(self.url).getScheme() in ['http','https']",
         "url: an http or https URL"),
    ])))]
pub struct ClientSpec {
    /// Unique.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Push URL, whole.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 150))]
    pub tenant: Option<String>,
    /// Labels for entries that do not have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 15))]
    pub labels: BTreeMap<String, String>,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// Secret with `username` and `password` (K).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub basic_auth_secret_name: Option<String>,
    /// Secret with `token` (K).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub bearer_secret_name: Option<String>,
    /// Secret with `ca.crt`, and `tls.crt` and `tls.key` for client certificates (K).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub tls_secret_name: Option<String>,
    /// Retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffSpec>,
    /// Time for a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<PromDuration>,
}

/// Retries of a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackoffSpec {
    /// First wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_period: Option<PromDuration>,
    /// Longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_period: Option<PromDuration>,
    /// Attempts; 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_retries: Option<i32>,
}

/// How a change reaches the agents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReloadPolicy {
    /// They read it.
    #[default]
    HotReload,
    /// They are replaced.
    Restart,
}
