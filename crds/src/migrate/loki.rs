//! Values of Loki's charts -> `spec.engine`, `spec.grafana`, `spec.monitoring`.
//!
//! Two generations: the charts loki-stack 2.x and loki 2.x, whose `config` is Loki's file; and loki 3 and later,
//! whose `loki` has the file's blocks under names of its own and whose pods are under `singleBinary`.

use serde_json::{Value, json};

use super::draft::Draft;
use super::engine::{self, Section};
use super::source::{At, Ledger};

/// Which chart the values are of: they differ in defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// loki-stack 2.x, loki 2.x: no volume unless asked for, one tenant.
    Old,
    /// loki 3 and later: a volume of 10Gi, many tenants.
    New,
}

/// Carries the values of loki-stack's `loki`, or of the chart loki 2.x.
pub(super) fn old_values(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    storage(at.get("persistence"), Generation::Old, at, draft, ledger);
    pods(at, "engine", draft, ledger);
    replicas(at, draft, ledger);
    service(at, draft, ledger);
    monitoring(at, draft, ledger);
    data_source(at, draft, ledger);
    let mut sections = Vec::new();
    if let Some(config) = at.get("config") {
        match config.entries() {
            entries if entries.is_empty() && !config.is_empty() => ledger.left(&config, TEMPLATE),
            entries => sections.extend(entries.into_iter().map(|(key, at)| Section { key: key.to_owned(), at })),
        }
    }
    engine::carry(&sections, false, at, draft, ledger);
}

/// A text that cannot be read before Helm has.
pub(super) const TEMPLATE: &str = "holds a Helm template (hint: give the rendered file, which lies in the chart's Secret or ConfigMap: kubectl get secret NAME -o jsonpath='{.data.*}' | base64 -d)";

/// Blocks of `loki` in the charts from 3 on, where they are not named as in the file.
const RENAMED: [(&str, &str); 1] = [("commonConfig", "common")];

/// Blocks of `loki` that are named as in the file.
const SAME_NAME: [&str; 21] = [
    "auth_enabled",
    "server",
    "limits_config",
    "storage_config",
    "compactor",
    "ingester",
    "ingester_client",
    "querier",
    "query_range",
    "query_scheduler",
    "frontend",
    "frontend_worker",
    "distributor",
    "analytics",
    "tracing",
    "pattern_ingester",
    "index_gateway",
    "bloom_build",
    "bloom_gateway",
    "ui",
    "table_manager",
];

/// Carries the values of the chart loki from 3 on.
pub(super) fn new_values(root: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    let binary = root.get("singleBinary");
    let volume = binary.as_ref().and_then(|at| at.get("persistence")).or_else(|| root.find("write.persistence"));
    storage(volume, Generation::New, root, draft, ledger);
    let is_single = root.get("deploymentMode").is_none_or(|mode| mode.text() == Some("SingleBinary"));
    if let Some(binary) = &binary {
        // The chart's own values have 0 here, for its other modes.
        if let Some(replicas) = binary.get("replicas").filter(|_| !is_single) {
            ledger.not_needed(&replicas, "another mode of the chart is chosen; one process does everything");
        } else {
            replicas(binary, draft, ledger);
        }
        pods(binary, "engine", draft, ledger);
    }
    // The switch of network policies is outside.
    monitoring(root, draft, ledger);
    if let Some(at) = root.get("monitoring") {
        monitoring(&at, draft, ledger);
    }
    let Some(loki) = root.get("loki") else {
        return engine::carry(&[], true, root, draft, ledger);
    };
    for key in ["podAnnotations", "podLabels"] {
        pod_metadata(&loki, key, "engine", draft, ledger);
    }
    if let Some(kind) = loki.find("storage.type").filter(|at| at.text() != Some("filesystem")) {
        ledger.left(
            &kind,
            "logs are kept on the volume, not in an object store: size spec.engine.storage for the whole retention",
        );
    }
    // Below a key that is not needed: it has to be named before that is said.
    if let Some(ingress) =
        root.find("gateway.ingress").filter(|at| at.get("enabled").and_then(|at| at.bool()) == Some(true))
    {
        ledger.left(&ingress, "no Ingress is made: point yours at the stack's Service");
    }
    let mut sections = Vec::new();
    for (key, at) in loki.entries() {
        let renamed = RENAMED.iter().find(|(own, _)| *own == key).map(|(_, name)| *name);
        if let Some(name) = renamed.or_else(|| SAME_NAME.contains(&key).then_some(key)) {
            sections.push(Section { key: name.to_owned(), at });
        }
    }
    // What is written here is laid over the rest by the chart.
    for key in ["config", "structuredConfig"] {
        let Some(at) = loki.get(key) else { continue };
        match at.entries() {
            entries if entries.is_empty() && !at.is_empty() => ledger.left(&at, TEMPLATE),
            entries => sections.extend(entries.into_iter().map(|(key, at)| Section { key: key.to_owned(), at })),
        }
    }
    engine::carry(&sections, true, root, draft, ledger);
    if let Some(overrides) = loki.find("runtimeConfig.overrides") {
        engine::overrides(&overrides, draft, ledger);
    }
}

fn storage(at: Option<At<'_>>, generation: Generation, root: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    let Some(at) = at else {
        match generation {
            Generation::Old => {
                draft.set("engine.storage.ephemeral", true);
                ledger.remark(
                    root,
                    "spec.engine.storage.ephemeral: true (the chart's default: no volume, logs die with the pod)",
                );
            }
            Generation::New => {
                draft.set("engine.storage.size", "10Gi");
                ledger.remark(root, "spec.engine.storage.size: 10Gi (the chart's default)");
            }
        }
        return;
    };
    let enabled = at.get("enabled");
    let is_enabled = enabled.as_ref().and_then(At::bool).unwrap_or(generation == Generation::New);
    if let Some(enabled) = &enabled {
        ledger.carried(enabled, "spec.engine.storage.ephemeral");
    }
    if !is_enabled {
        draft.set("engine.storage.ephemeral", true);
        return;
    }
    match at.get("size").as_ref().map(|size| (size, size.text().unwrap_or_default().trim())) {
        Some((size, text)) if !text.is_empty() => {
            draft.set("engine.storage.size", text);
            ledger.carried(size, "spec.engine.storage.size");
        }
        _ => {
            draft.set("engine.storage.size", "10Gi");
            ledger.remark(&at, "spec.engine.storage.size: 10Gi (the chart's default)");
        }
    }
    for key in ["storageClassName", "storageClass"] {
        let Some(class) = at.get(key) else { continue };
        match class.text() {
            None | Some("") => ledger.not_needed(&class, "empty: the cluster's default class"),
            Some("-") => {
                ledger.left(&class, "asks for a volume that was made by hand: make a claim named data-<stack>-engine-0")
            }
            Some(name) => {
                draft.set("engine.storage.storageClassName", name);
                ledger.carried(&class, "spec.engine.storage.storageClassName");
            }
        }
    }
    if let Some(modes) = at.get("accessModes") {
        match modes.items().iter().filter_map(At::text).collect::<Vec<_>>().as_slice() {
            [] | ["ReadWriteOnce"] => ledger.carried(&modes, "spec.engine.storage.accessMode"),
            ["ReadWriteOncePod"] => {
                draft.set("engine.storage.accessMode", "ReadWriteOncePod");
                ledger.carried(&modes, "spec.engine.storage.accessMode");
            }
            _ => ledger.left(&modes, "the engine's volume is one node's: ReadWriteOnce is used"),
        }
    }
    for key in ["labels", "annotations"] {
        if let Some(map) = at.get(key).filter(|map| !map.is_empty()) {
            let path = format!("engine.storage.{key}");
            draft.set(&path, texts(&map));
            ledger.carried(&map, format!("spec.{path}"));
        }
    }
}

/// A map whose values are texts, however they were written.
fn texts(at: &At<'_>) -> Value {
    at.entries().into_iter().map(|(key, at)| (key.to_owned(), Value::from(at.text().unwrap_or_default()))).collect()
}

/// What all pods of charts have: `prefix` is `engine` or `collector`.
pub(super) fn pods(at: &At<'_>, prefix: &str, draft: &mut Draft, ledger: &mut Ledger) {
    for (key, field) in [
        ("resources", "resources"),
        ("nodeSelector", "nodeSelector"),
        ("tolerations", "tolerations"),
        ("affinity", "affinity"),
        ("priorityClassName", "priorityClassName"),
        ("env", "env"),
        ("extraEnv", "env"),
    ] {
        let Some(found) = at.get(key).filter(|found| !found.is_empty()) else { continue };
        if holds_template(&found.value()) {
            if (prefix, key) == ("engine", "affinity") {
                ledger.not_needed(&found, "tells the pods of the chart apart, and the engine is one pod");
            } else {
                ledger.left(&found, "holds a Helm template (hint: write what it renders to)");
            }
            continue;
        }
        let path = format!("{prefix}.{field}");
        draft.set(&path, found.value());
        ledger.carried(&found, format!("spec.{path}"));
    }
    for key in ["podAnnotations", "podLabels"] {
        pod_metadata(at, key, prefix, draft, ledger);
    }
    if let Some(secrets) = at.get("imagePullSecrets").filter(|secrets| !secrets.is_empty()) {
        let name = |secret: At<'_>| {
            let name = secret.get("name").unwrap_or(secret);
            name.text().map(|name| json!({ "name": name }))
        };
        draft.set("imagePullSecrets", secrets.items().into_iter().filter_map(name).collect::<Vec<_>>());
        ledger.carried(&secrets, "spec.imagePullSecrets");
    }
    if prefix != "engine" {
        return;
    }
    if let Some(seconds) = at.get("terminationGracePeriodSeconds") {
        let value = seconds.int().unwrap_or(120);
        draft.set("engine.terminationGracePeriodSeconds", value.clamp(10, 3600));
        ledger.carried(&seconds, "spec.engine.terminationGracePeriodSeconds");
    }
    if let Some(budget) = at.get("podDisruptionBudget").filter(|budget| !budget.is_empty()) {
        match budget.get("maxUnavailable") {
            Some(max) if max.int() != Some(0) => {
                draft.set("engine.podDisruptionBudget", json!({ "enabled": true, "maxUnavailable": max.value() }));
                ledger.carried(&budget, "spec.engine.podDisruptionBudget");
            }
            _ => ledger.left(&budget, "would forbid every drain of the engine's node: none is made"),
        }
    }
}

/// One engine, or none for now.
fn replicas(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    let Some(replicas) = at.get("replicas") else { return };
    match replicas.int() {
        Some(0) => {
            draft.set("engine.replicas", 0);
            ledger.carried(&replicas, "spec.engine.replicas");
        }
        Some(1) => ledger.carried(&replicas, "spec.engine.replicas"),
        _ => ledger.left(&replicas, "the engine is one process: one replica"),
    }
}

/// Whether a text somewhere in `value` is for Helm to evaluate.
fn holds_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Object(members) => members.values().any(holds_template),
        _ => false,
    }
}

fn pod_metadata(at: &At<'_>, key: &str, prefix: &str, draft: &mut Draft, ledger: &mut Ledger) {
    let Some(map) = at.get(key).filter(|map| !map.is_empty()) else { return };
    let field = if key == "podLabels" { "labels" } else { "annotations" };
    let path = format!("{prefix}.podTemplate.metadata.{field}");
    draft.set(&path, texts(&map));
    ledger.carried(&map, format!("spec.{path}"));
}

fn service(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    let Some(service) = at.get("service") else { return };
    let kind = service.get("type").and_then(|at| at.text()).unwrap_or("ClusterIP").to_owned();
    for (key, at) in service.entries() {
        let path = format!("engine.service.{key}");
        let value = match key {
            "type" | "nodePort" | "loadBalancerSourceRanges" | "loadBalancerClass" | "externalTrafficPolicy" => {
                at.value()
            }
            "port" if at.int() == Some(3100) => {
                ledger.carried(&at, "spec.engine.service.port");
                continue;
            }
            "port" => at.int().map_or(Value::Null, Value::from),
            "labels" | "annotations" => texts(&at),
            _ => continue,
        };
        if at.is_empty() {
            continue;
        }
        if value.is_null() {
            ledger.left(&at, "is no port");
        } else if key == "nodePort" && kind == "ClusterIP" {
            ledger.not_needed(&at, "a Service of type ClusterIP has none");
        } else {
            draft.set(&path, value);
            ledger.carried(&at, format!("spec.{path}"));
        }
    }
}

/// `serviceMonitor`, `prometheusRule`, `networkPolicy`: their switches.
pub(super) fn monitoring(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    for (key, path) in [
        ("serviceMonitor", "monitoring.serviceMonitor"),
        ("podMonitor", "monitoring.serviceMonitor"),
        ("prometheusRule", "monitoring.prometheusRule"),
        ("networkPolicy", "networkPolicy"),
    ] {
        let Some(found) = at.get(key).filter(|found| !found.is_empty()) else { continue };
        let is_enabled = found.get("enabled").and_then(|at| at.bool()).unwrap_or_default();
        if !is_enabled {
            ledger.not_needed(&found, "is switched off, as by default here");
            continue;
        }
        draft.set(&format!("{path}.enabled"), true);
        for (key, at) in found.entries() {
            match key {
                "enabled" => ledger.carried(&at, format!("spec.{path}.enabled")),
                "labels" | "additionalLabels" if path != "networkPolicy" && !at.is_empty() => {
                    draft.set(&format!("{path}.labels"), texts(&at));
                    ledger.carried(&at, format!("spec.{path}.labels"));
                }
                "interval" if path == "monitoring.serviceMonitor" && engine::duration(&at).is_some() => {
                    draft.set(&format!("{path}.interval"), engine::duration(&at).unwrap_or_default());
                    ledger.carried(&at, format!("spec.{path}.interval"));
                }
                _ if at.is_empty() => {}
                _ => ledger.left(&at, format!("the object that spec.{path} makes has no such setting")),
            }
        }
    }
}

/// loki-stack's data source for Grafana.
fn data_source(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    if let Some(default) = at.get("isDefault") {
        draft.set("grafana.datasource.isDefault", default.bool().unwrap_or_default());
        ledger.carried(&default, "spec.grafana.datasource.isDefault");
    }
    if let Some(uid) = at.find("datasource.uid").filter(|uid| !uid.is_empty()) {
        draft.set("grafana.datasource.uid", uid.text().unwrap_or_default());
        ledger.carried(&uid, "spec.grafana.datasource.uid");
    }
    if let Some(data) = at.find("datasource.jsonData").filter(|data| !data.is_empty()) {
        if data.value().is_object() {
            draft.set("grafana.datasource.jsonData", data.value());
            ledger.carried(&data, "spec.grafana.datasource.jsonData");
        } else {
            ledger.left(&data, "is no object");
        }
    }
    if let Some(url) = at.get("url") {
        ledger.not_needed(&url, "the data source points at the stack's own Service");
    }
}

/// The subcharts of loki-stack that are other programs.
pub(super) fn neighbours(root: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    for key in ["grafana", "prometheus", "fluent-bit", "filebeat", "logstash"] {
        let Some(chart) = root.get(key) else { continue };
        if chart.get("enabled").and_then(|at| at.bool()) == Some(false) {
            let is_grafana = key == "grafana" && chart.entries().len() > 1;
            if !is_grafana {
                ledger.not_needed(&chart, "is not installed");
                continue;
            }
        }
        if key != "grafana" {
            continue;
        }
        match chart.get("enabled") {
            Some(enabled) if enabled.bool() == Some(false) => {
                // Only the sidecar's switches have an effect, which loki-stack writes a data source by.
                let others = chart.entries().into_iter().filter(|(key, _)| *key != "sidecar");
                others.for_each(|(_, at)| ledger.not_needed(&at, "is not installed"));
            }
            Some(enabled) => ledger
                .left(&enabled, "Grafana is installed by its own chart; the LogStack writes the data source for it"),
            None => {}
        }
        let Some(sidecar) = chart.find("sidecar.datasources") else { continue };
        if let Some(label) = sidecar.get("label").filter(|label| !label.is_empty()) {
            let value =
                sidecar.get("labelValue").and_then(|at| at.text()).filter(|text| !text.is_empty()).unwrap_or("1");
            draft.set("grafana.labels", json!({ label.text().unwrap_or_default(): value }));
            ledger.carried(&label, "spec.grafana.labels");
            if let Some(value) = sidecar.get("labelValue") {
                ledger.carried(&value, "spec.grafana.labels");
            }
        }
        if let Some(lines) = sidecar.get("maxLines").filter(|lines| lines.int().is_some_and(|lines| lines > 0)) {
            draft.set("grafana.datasource.maxLines", lines.int().unwrap_or(1000));
            ledger.carried(&lines, "spec.grafana.datasource.maxLines");
        }
        if let Some(enabled) = sidecar.get("enabled") {
            draft.set("grafana.enabled", enabled.bool().unwrap_or(true));
            ledger.carried(&enabled, "spec.grafana.enabled");
        }
    }
}
