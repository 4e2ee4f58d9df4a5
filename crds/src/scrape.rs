//! `LogScrape`: which logs, and what is done to them.
//!
//! Source: operator contract, section 1.3.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use logstack_config::collector::{RelabelAction, RelabelConfig, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stack::{AnnotationGate, label_selector};

/// Which logs are collected, and what is done to them.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "logstack.dev",
    version = "v1alpha1",
    kind = "LogScrape",
    plural = "logscrapes",
    singular = "logscrape",
    shortname = "lsc",
    category = "logging",
    category = "observability",
    namespaced,
    status = "LogScrapeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Pods or files of the node whose logs go to the LogStacks that select this object.",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Targets", "type": "integer", "jsonPath": ".status.targets.collected"}"#,
    printcolumn = r#"{"name": "Gated", "type": "integer", "jsonPath": ".status.targets.gated"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    selectable = ".spec.tenant"
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!has(self.labels) || self.labels.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && !k.startsWith('__'))",
         "labels: names of letters, digits and _, without a digit or __ first"),
        ("!has(self.labels) || !self.labels.exists(k, k in ['namespace','pod','container','node','stream','filename'])",
         "labels: namespace, pod, container, node, stream and filename are set from the pod"),
        ("!has(self.nodePaths) || (!has(self.selector) && !has(self.namespaceSelector))",
         "nodePaths: not together with selector or namespaceSelector"),
    ])))]
pub struct LogScrapeSpec {
    /// Which pods; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
    /// Pods of which namespaces; absent: its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// Only pods with this annotation.
    pub annotation_gate: AnnotationGate,
    /// Which containers, init and ephemeral ones included; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<ContainerFilter>,
    /// Order of jobs: higher first; the first whose selection matches reads the file.
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i32,
    /// Rules for labels, Promtail's `relabel_configs`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub relabelings: Vec<Relabeling>,
    /// What is done to each line, Promtail's `pipeline_stages`; `cri` comes first by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub pipeline_stages: Vec<Stage>,
    /// Constant labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "labels_15")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Tenant; absent: the LogStack's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 150), regex(pattern = r"^[a-zA-Z0-9!_.*'()-]+$"))]
    pub tenant: Option<String>,
    /// A limit for each container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Longer lines are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_line_size: Option<Quantity>,
    /// Fraction of lines that is kept, as in `"0.1"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?)$"), length(max = 16))]
    pub sampling: Option<String>,
    /// Regular expression of the first line of an entry that has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub multiline_hint: Option<String>,
    /// Files of every node, instead of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub node_paths: Option<Vec<NodePath>>,
    /// Keep the object, remove the job.
    pub suspend: bool,
}

impl Default for LogScrapeSpec {
    fn default() -> Self {
        Self {
            selector: None,
            namespace_selector: None,
            annotation_gate: AnnotationGate::default(),
            containers: None,
            priority: 100,
            relabelings: Vec::new(),
            pipeline_stages: Vec::new(),
            labels: None,
            tenant: None,
            rate_limit: None,
            max_line_size: None,
            sampling: None,
            multiline_hint: None,
            node_paths: None,
            suspend: false,
        }
    }
}

fn labels_15(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 15,
        "additionalProperties": { "type": "string", "maxLength": 2048 },
    })
}

/// Pods of which namespaces: one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("[has(self.any) && self.any, has(self.matchNames), has(self.matchLabels)].filter(x, x).size() <= 1",
         "one of any, matchNames, matchLabels"),
    ])))]
pub struct NamespaceSelector {
    /// All.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any: Option<bool>,
    /// By name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "set"))]
    pub match_names: Option<Vec<String>>,
    /// By label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// Which containers, by globs of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerFilter {
    /// These; absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub include: Vec<String>,
    /// Not these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exclude: Vec<String>,
}

/// One rule of relabelling. What is absent has Promtail's default; none is written into the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!has(self.action) || self.action != 'hashmod' || (has(self.modulus) && has(self.targetLabel))",
         "hashmod needs modulus and targetLabel"),
        ("!((has(self.action) ? self.action : 'replace') in ['replace','lowercase','uppercase','keepequal','dropequal']) || has(self.targetLabel)",
         "this action needs targetLabel"),
    ])))]
pub struct Relabeling {
    /// Their values, joined, are what the rule looks at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub source_labels: Vec<String>,
    /// Joins them; absent: `;`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub separator: Option<String>,
    /// Anchored at both ends; absent: `(.*)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub regex: Option<String>,
    /// The label that is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub target_label: Option<String>,
    /// What is written; absent: `$1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub replacement: Option<String>,
    /// For `hashmod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub modulus: Option<i64>,
    /// What the rule does; absent: `replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<RelabelAction>,
}

impl Relabeling {
    /// The rule as the collector reads it.
    pub fn to_config(&self) -> RelabelConfig {
        let default = RelabelConfig::default();
        let or = |text: &Option<String>, default: String| text.clone().unwrap_or(default);
        RelabelConfig {
            source_labels: self.source_labels.clone(),
            separator: or(&self.separator, default.separator),
            regex: or(&self.regex, default.regex),
            modulus: self.modulus.and_then(|modulus| u64::try_from(modulus).ok()).unwrap_or_default(),
            target_label: or(&self.target_label, default.target_label),
            replacement: or(&self.replacement, default.replacement),
            action: self.action.unwrap_or_default(),
        }
    }
}

/// A limit for each container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.burst >= self.linesPerSecond",
         "burst: not below linesPerSecond"),
    ])))]
pub struct RateLimit {
    /// Lines per second.
    #[schemars(range(min = 1))]
    pub lines_per_second: i32,
    /// Lines at once.
    #[schemars(range(min = 1))]
    pub burst: i32,
    /// Drop what is too much; false: the file waits.
    #[serde(default = "yes")]
    pub drop: bool,
}

fn yes() -> bool {
    true
}

/// Files of every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.path.startsWith('/') && !self.path.contains('..')",
         "path: an absolute path without .."),
    ])))]
pub struct NodePath {
    /// Glob.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// Glob of files to leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub exclude: Option<String>,
    /// IANA name of the encoding; absent: UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub encoding: Option<String>,
    /// Constant labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "labels_15")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// State of a LogScrape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogScrapeStatus {
    /// The generation that the rest is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and its parts.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The LogStacks that select it.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "name"]))]
    pub bindings: Vec<ScrapeBinding>,
    /// Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<TargetsStatus>,
    /// Nodes with a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_nodes: Option<i32>,
}

/// What one LogStack made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeBinding {
    /// The LogStack's namespace.
    pub namespace: String,
    /// The LogStack's name.
    pub name: String,
    /// In force.
    pub accepted: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why, and what to do.
    #[serde(default)]
    pub message: String,
    /// Name of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The generation that is in force; an older one when the present one was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_in_force: Option<i64>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<String>,
}

/// Pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetsStatus {
    /// Selected.
    pub matched: i32,
    /// Collected.
    pub collected: i32,
    /// Selected, but without the annotation.
    pub gated: i32,
}
