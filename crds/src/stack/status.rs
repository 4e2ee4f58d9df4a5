//! What the operator says about a stack. Nothing here changes while nothing changes.
//!
//! Source: operator contract, section 1.4.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a LogStack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogStackStatus {
    /// The generation that the rest is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and its parts.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Engine pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Engine pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Their selector, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Images in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImagesStatus>,
    /// The engine's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineStatus>,
    /// The collectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorStatus>,
    /// The volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// Where to send and ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointsStatus>,
    /// LogScrapes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrapes: Option<ScrapesStatus>,
    /// Where the data source was last written; needed to clean up after a move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grafana: Option<GrafanaStatus>,
    /// Hashes of what was last applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_applied_config_hash: Option<ConfigHashes>,
    /// The operator's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
}

/// Images in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagesStatus {
    /// The engine's.
    pub engine: String,
    /// The collectors'.
    pub collector: String,
}

/// The engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EngineStatus {
    /// `1/1`.
    pub ready: String,
    /// Revision of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The collectors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CollectorStatus {
    /// `3/3`.
    pub ready: String,
    /// Nodes that should have one.
    pub desired: i32,
    /// Of the current revision.
    pub updated: i32,
    /// Available.
    pub available: i32,
}

/// The volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageStatus {
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Quantity>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// How full, to 5 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// Its class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Claims that are growing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub resizing: Vec<String>,
}

/// Where to send and ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsStatus {
    /// Push URL.
    pub push: String,
    /// Address for queries.
    pub query: String,
    /// Address for live tails.
    pub tail: String,
}

/// LogScrapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScrapesStatus {
    /// Found by the selectors.
    pub selected: i32,
    /// In force.
    pub accepted: i32,
    /// Not in force; each says why.
    pub rejected: i32,
}

/// Where the data source was last written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrafanaStatus {
    /// Namespace.
    pub namespace: String,
    /// ConfigMap.
    pub config_map: String,
    /// Uid of the data source.
    pub uid: String,
}

/// Hashes of what was last applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigHashes {
    /// The engine's file.
    pub engine: String,
    /// The engine's overrides.
    pub runtime: String,
    /// The collectors' files.
    pub collector: String,
}
