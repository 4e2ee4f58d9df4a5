//! `grafana`, `monitoring`, `networkPolicy`, `rules`: what others see of a stack.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use logstack_config::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::label_selector;
use crate::schema::{self, is_empty_object};

/// How Grafana finds the store: a ConfigMap for its sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = crate::schema::rules(&[
        ("!self.enabled || self.labels.size() > 0",
         "labels: Grafana's sidecar finds the data source by them; use enabled: false to have none"),
    ])))]
pub struct GrafanaSpec {
    /// Make a data source.
    pub enabled: bool,
    /// Grafana's namespace; absent: the stack's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Labels that the sidecar looks for.
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the ConfigMap.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Dashboards.
    pub dashboards: DashboardsSpec,
    /// The data source.
    pub datasource: DatasourceSpec,
}

impl Default for GrafanaSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            namespace: None,
            labels: label("grafana_datasource"),
            annotations: BTreeMap::new(),
            dashboards: DashboardsSpec::default(),
            datasource: DatasourceSpec::default(),
        }
    }
}

fn label(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), "1".to_owned())])
}

/// Dashboards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DashboardsSpec {
    /// Ship them.
    pub enabled: bool,
    /// Labels that the sidecar looks for.
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
    /// Folder in Grafana.
    #[schemars(length(max = 128))]
    pub folder: String,
}

impl Default for DashboardsSpec {
    fn default() -> Self {
        Self { enabled: true, labels: label("grafana_dashboard"), folder: "Logs".to_owned() }
    }
}

/// The data source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatasourceSpec {
    /// Its name; absent: `Logs (<namespace>/<name>)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 190))]
    pub name: Option<String>,
    /// Its uid; absent: `logstack-<namespace>-<name>`, cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = "^[a-zA-Z0-9_-]+$"))]
    pub uid: Option<String>,
    /// Grafana's default.
    pub is_default: bool,
    /// Its organisation.
    pub org_id: i64,
    /// Lines that a panel asks for.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_lines: i32,
    /// Further `jsonData`.
    #[serde(skip_serializing_if = "is_empty_object")]
    #[schemars(schema_with = "schema::free_form")]
    pub json_data: Map<String, Value>,
    /// Address, when Grafana does not run in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Environment variable of Grafana that holds the password or token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub credentials_env: Option<String>,
    /// Tell Grafana to delete the data source when the stack goes.
    pub remove_on_delete: bool,
}

impl Default for DatasourceSpec {
    fn default() -> Self {
        Self {
            name: None,
            uid: None,
            is_default: false,
            org_id: 1,
            max_lines: 1000,
            json_data: Map::new(),
            url: None,
            credentials_env: None,
            remove_on_delete: true,
        }
    }
}

/// Prometheus objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitoringSpec {
    /// ServiceMonitor and PodMonitor.
    pub service_monitor: MonitorSpec,
    /// Alert rules about the stack itself.
    pub prometheus_rule: MonitorSpec,
}

/// One kind of Prometheus object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitorSpec {
    /// Make it.
    pub enabled: bool,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
    /// Scrape interval.
    pub interval: PromDuration,
}

impl Default for MonitorSpec {
    fn default() -> Self {
        Self { enabled: false, labels: BTreeMap::new(), interval: PromDuration::secs(30) }
    }
}

/// Network policies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// Make them.
    pub enabled: bool,
}

/// Alerting rules, for when the engine has a ruler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RulesSpec {
    /// Evaluate them; until there is a ruler the stack says `Unsupported`.
    pub enabled: bool,
    /// ConfigMaps with rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub config_map_selector: Option<LabelSelector>,
    /// Where alerts go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub alertmanager_url: Option<String>,
    /// How often.
    pub evaluation_interval: PromDuration,
}

impl Default for RulesSpec {
    fn default() -> Self {
        Self {
            enabled: false,
            config_map_selector: None,
            alertmanager_url: None,
            evaluation_interval: PromDuration::minutes(1),
        }
    }
}
