//! `engine.storage` and `engine.retention`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use logstack_config::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("type(self.size) == int ? self.size > 0 : (isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('0')))",
         "size: a quantity above 0, as in 50Gi"),
        ("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
         "storageClassName: cannot be changed; a volume keeps its class"),
        ("self.accessMode == oldSelf.accessMode",
         "accessMode: cannot be changed"),
        ("self.ephemeral == oldSelf.ephemeral",
         "ephemeral: cannot be changed"),
    ])))]
pub struct StorageSpec {
    /// Size of the volume. It grows when this grows; a smaller size is refused in status, not here.
    pub size: Quantity,
    /// Storage class; absent: the cluster's default (K).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// How many nodes may mount it (K).
    pub access_mode: AccessMode,
    /// An emptyDir: data dies with the pod (K). For tests and the edge.
    pub ephemeral: bool,
    /// What becomes of the volume when the LogStack is deleted (K).
    pub when_deleted: ClaimPolicy,
    /// What becomes of the volume when replicas shrink (K).
    pub when_scaled: ClaimPolicy,
    /// Labels of the claim (K).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the claim (K).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            size: Quantity("50Gi".to_owned()),
            storage_class_name: None,
            access_mode: AccessMode::ReadWriteOnce,
            ephemeral: false,
            when_deleted: ClaimPolicy::Retain,
            when_scaled: ClaimPolicy::Retain,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// How many nodes may mount a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// One node.
    #[default]
    ReadWriteOnce,
    /// One pod.
    ReadWriteOncePod,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes.
    Delete,
}

/// How long logs are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionSpec {
    /// How long logs are kept; `0`: for ever, that is until `maxSize`.
    pub period: PromDuration,
    /// Exceptions by stream selector.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub streams: Vec<StreamRetentionSpec>,
    /// Bytes of logs before the oldest go; absent: 90 % of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Quantity>,
}

impl Default for RetentionSpec {
    fn default() -> Self {
        Self { period: PromDuration::hours(720), streams: Vec::new(), max_size: None }
    }
}

/// Another retention for some streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.selector.startsWith('{') && self.selector.endsWith('}')",
         "selector: a stream selector, as in {app=\"x\"}"),
    ])))]
pub struct StreamRetentionSpec {
    /// A stream selector, as in `{app="x"}`.
    #[schemars(length(max = 2048))]
    pub selector: String,
    /// How long; at least `24h`.
    pub period: PromDuration,
    /// Higher wins; equal: the shorter period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}
