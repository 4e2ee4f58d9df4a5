//! Stages that change labels, structured metadata or the tenant.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NameMap;

/// `labels`: label -> extracted key; empty: the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LabelsStage(pub NameMap);

/// `static_labels`: label -> value; empty values are skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StaticLabelsStage(pub BTreeMap<String, String>);

/// `labeldrop`: exact names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LabelDropStage(pub Vec<String>);

/// `labelallow`: exact names. Removes the tenant of an earlier `tenant` stage too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LabelAllowStage(pub Vec<String>);

/// `structured_metadata`: name -> extracted key or label; empty: the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StructuredMetadataStage(pub NameMap);

/// `tenant`: exactly one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TenantStage {
    /// Label that holds the tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Extracted key that holds the tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}
