//! What Grafana's sidecar reads: a data source and dashboards, as ConfigMaps in Grafana's namespace.
//!
//! Credentials never: they are references to Grafana's own environment. Never `prune`, never the default data source
//! unasked: two defaults stop Grafana from starting.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use logstack_crds::LogStack;
use logstack_crds::stack::{AuthType, DatasourceSpec, LogStackSpec, TenancyMode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::meta::{self, Component};
use super::render::engine_url;
use super::{Inputs, Object};
use crate::names::{self, Names};

/// Grafana's column holds so many.
const UID_BYTES_MAX: usize = 40;

/// The dashboard of logs, as people import it: its data source is a variable.
const DASHBOARD: &str = include_str!("../../../deploy/monitoring/dashboards/logstack-logs.json");

/// A provisioning file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Provisioning {
    api_version: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delete_datasources: Vec<DeleteDatasource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    datasources: Vec<Datasource>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteDatasource {
    name: String,
    org_id: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Datasource {
    name: String,
    uid: String,
    #[serde(rename = "type")]
    kind: &'static str,
    access: &'static str,
    org_id: i64,
    url: String,
    editable: bool,
    is_default: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    basic_auth: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    basic_auth_user: Option<String>,
    json_data: Map<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secure_json_data: BTreeMap<String, String>,
}

/// Uid of the data source.
pub fn datasource_uid(stack: &LogStack, names: &Names) -> String {
    let spec = &stack.spec.grafana.datasource;
    let own = || names::cut(&format!("logstack-{}-{}", names.namespace, names.stack), UID_BYTES_MAX);
    spec.uid.clone().unwrap_or_else(own)
}

fn datasource_name(spec: &DatasourceSpec, names: &Names) -> String {
    spec.name.clone().unwrap_or_else(|| format!("Logs ({}/{})", names.namespace, names.stack))
}

pub(super) fn build(inputs: &Inputs<'_>, out: &mut Vec<Object>) {
    let spec = &inputs.stack.spec.grafana;
    if !spec.enabled {
        return;
    }
    let uid = datasource_uid(inputs.stack, inputs.names);
    let file = Provisioning {
        api_version: 1,
        delete_datasources: Vec::new(),
        datasources: vec![datasource(inputs, uid.clone())],
    };
    // A file of strings and numbers has a YAML form.
    let text = serde_yaml::to_string(&file).unwrap_or_default();
    out.push(map(inputs, &inputs.names.datasource(), &spec.labels, (format!("{uid}.yaml"), text), None));
    if spec.dashboards.enabled {
        let title = datasource_name(&spec.datasource, inputs.names);
        let text = dashboard(&uid, &title);
        let folder = Some(("grafana_folder", spec.dashboards.folder.as_str()));
        out.push(map(
            inputs,
            &inputs.names.dashboards(),
            &spec.dashboards.labels,
            (format!("{uid}.json"), text),
            folder,
        ));
    }
}

/// The dashboard of one data source: without the variable that chooses one, under a uid and title of its own.
///
/// Text in, text out: no other order of keys, so nothing is written for another version of a library.
fn dashboard(uid: &str, title: &str) -> String {
    let lines = DASHBOARD.lines().filter(|line| !line.contains(r#""type": "datasource""#));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.replacen(r#""uid": "logstack-logs""#, &format!(r#""uid": "{uid}""#), 1)
        .replacen(r#""title": "Logstack: logs""#, &format!(r#""title": "{}""#, title.replace('"', "'")), 1)
        .replace("${logs}", uid)
}

fn map(
    inputs: &Inputs<'_>,
    name: &str,
    labels: &BTreeMap<String, String>,
    (key, text): (String, String),
    annotation: Option<(&str, &str)>,
) -> Object {
    let grafana = &inputs.stack.spec.grafana;
    let own = &inputs.names.namespace;
    let namespace = grafana.namespace.as_ref().unwrap_or(own);
    let mut metadata = match namespace == own {
        true => meta::own(inputs, Component::Grafana, name),
        false => meta::foreign(inputs, Component::Grafana, Some(namespace), name),
    };
    metadata.labels.get_or_insert_default().extend(labels.clone());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.extend(grafana.annotations.clone());
    annotations.extend(annotation.map(|(key, value)| (key.to_owned(), value.to_owned())));
    Object::new(&ConfigMap { metadata, data: Some(BTreeMap::from([(key, text)])), ..ConfigMap::default() })
}

fn datasource(inputs: &Inputs<'_>, uid: String) -> Datasource {
    let stack: &LogStackSpec = &inputs.stack.spec;
    let spec = &stack.grafana.datasource;
    let mut json_data = Map::new();
    json_data.insert("maxLines".to_owned(), spec.max_lines.into());
    json_data
        .insert("timeout".to_owned(), (stack.engine.limits.query_timeout.get().as_millis() / 1000).to_string().into());
    let mut secure = BTreeMap::new();
    if stack.tenancy.mode == TenancyMode::Multi {
        json_data.insert("httpHeaderName1".to_owned(), "X-Scope-OrgID".into());
        // A tenant is no secret; Grafana expands `$`.
        let tenant = stack.tenancy.default_tenant.clone().unwrap_or_default();
        secure.insert("httpHeaderValue1".to_owned(), tenant.replace('$', "$$"));
    }
    let mut basic_auth_user = None;
    if let Some(variable) = &spec.credentials_env {
        match stack.auth.kind {
            AuthType::None => {}
            AuthType::Basic => {
                basic_auth_user = Some(format!("${variable}_USER"));
                secure.insert("basicAuthPassword".to_owned(), format!("${variable}"));
            }
            AuthType::Bearer => {
                json_data.insert("httpHeaderName2".to_owned(), "Authorization".into());
                secure.insert("httpHeaderValue2".to_owned(), format!("Bearer ${variable}"));
            }
        }
    }
    json_data.extend(spec.json_data.clone());
    Datasource {
        name: datasource_name(spec, inputs.names),
        uid,
        kind: "loki",
        access: "proxy",
        org_id: spec.org_id,
        url: spec.url.clone().unwrap_or_else(|| engine_url(stack, inputs.names)),
        editable: false,
        is_default: spec.is_default,
        basic_auth: basic_auth_user.is_some(),
        basic_auth_user,
        json_data,
        secure_json_data: secure,
    }
}

/// The content that makes Grafana forget the data source: it keeps one whose file merely vanishes.
pub fn tombstone(stack: &LogStack, names: &Names) -> (String, String) {
    let spec = &stack.spec.grafana.datasource;
    let file = Provisioning {
        api_version: 1,
        delete_datasources: vec![DeleteDatasource { name: datasource_name(spec, names), org_id: spec.org_id }],
        datasources: Vec::new(),
    };
    (format!("{}.yaml", datasource_uid(stack, names)), serde_yaml::to_string(&file).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stacks_dashboard_asks_its_own_source() {
        let text = dashboard("logstack-obs-logs", "Logs \"of\" obs");
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&dashboard["uid"], &dashboard["title"]), (&"logstack-obs-logs".into(), &"Logs 'of' obs".into()));
        assert!(!text.contains("${logs}"), "{text}");
        // Its own, that of two variables, that of each panel.
        let sources = text.matches("\"uid\": \"logstack-obs-logs\"").count();
        assert_eq!(sources, 3 + dashboard["panels"].as_array().unwrap().len());
        assert_eq!(dashboard["templating"]["list"].as_array().unwrap().len(), 3);
    }
}
