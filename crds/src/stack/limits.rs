//! `engine.limits`: the limits that users touch; the rest goes through `extraConfig`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use logstack_config::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of all tenants, and exceptions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("self.ingestionBurstSizeMb >= self.ingestionRateMb",
         "ingestionBurstSizeMb: not below ingestionRateMb"),
    ])))]
pub struct LimitsSpec {
    /// MiB per second of a tenant. Loki's own default is 4.
    #[schemars(range(min = 1, max = 10240))]
    pub ingestion_rate_mb: i32,
    /// MiB at once of a tenant; also the largest request. Loki's own default is 6.
    #[schemars(range(min = 1, max = 10240))]
    pub ingestion_burst_size_mb: i32,
    /// Longest run of a query.
    pub query_timeout: PromDuration,
    /// Most lines that a query returns.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entries_per_query: i32,
    /// Longest line.
    pub max_line_size: Quantity,
    /// Cut longer lines rather than refuse them.
    pub max_line_size_truncate: bool,
    /// Most labels of a stream.
    #[schemars(range(min = 1, max = 200))]
    pub max_label_names_per_series: i32,
    /// Most active streams of a tenant; 0: no limit.
    #[schemars(range(min = 0))]
    pub max_streams_per_tenant: i32,
    /// Most series that a metric query returns.
    #[schemars(range(min = 1))]
    pub max_query_series: i32,
    /// Longest time range of a query; `0`: no limit.
    pub max_query_length: PromDuration,
    /// Most live tails of a tenant.
    #[schemars(range(min = 0))]
    pub max_concurrent_tails: i32,
    /// Bytes per second of a stream.
    pub per_stream_rate_limit: Quantity,
    /// Bytes at once of a stream.
    pub per_stream_rate_limit_burst: Quantity,
    /// Oldest entry that is taken.
    pub reject_old_samples_max_age: PromDuration,
    /// Other limits by tenant. Needs `tenancy.mode: Multi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 256))]
    pub tenants: Option<BTreeMap<String, TenantLimitsSpec>>,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            ingestion_rate_mb: 10,
            ingestion_burst_size_mb: 20,
            query_timeout: PromDuration::minutes(1),
            max_entries_per_query: 5000,
            max_line_size: Quantity("256Ki".to_owned()),
            max_line_size_truncate: false,
            max_label_names_per_series: 15,
            max_streams_per_tenant: 5000,
            max_query_series: 500,
            max_query_length: PromDuration::hours(721),
            max_concurrent_tails: 10,
            per_stream_rate_limit: Quantity("3Mi".to_owned()),
            per_stream_rate_limit_burst: Quantity("15Mi".to_owned()),
            reject_old_samples_max_age: PromDuration::hours(168),
            tenants: None,
        }
    }
}

/// Limits of one tenant; what is absent is inherited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantLimitsSpec {
    /// MiB per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10240))]
    pub ingestion_rate_mb: Option<i32>,
    /// MiB at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10240))]
    pub ingestion_burst_size_mb: Option<i32>,
    /// Longest run of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_timeout: Option<PromDuration>,
    /// Most lines that a query returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entries_per_query: Option<i32>,
    /// Longest line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_line_size: Option<Quantity>,
    /// Cut longer lines rather than refuse them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_line_size_truncate: Option<bool>,
    /// Most labels of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub max_label_names_per_series: Option<i32>,
    /// Most active streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_streams_per_tenant: Option<i32>,
    /// Most series that a metric query returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_query_series: Option<i32>,
    /// Longest time range of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_query_length: Option<PromDuration>,
    /// Most live tails.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_concurrent_tails: Option<i32>,
    /// Bytes per second of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_stream_rate_limit: Option<Quantity>,
    /// Bytes at once of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_stream_rate_limit_burst: Option<Quantity>,
    /// Oldest entry that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_old_samples_max_age: Option<PromDuration>,
    /// How long logs are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_period: Option<PromDuration>,
}
