//! The contract's scenarios: each in its own namespace, each wait with a deadline.

pub mod basics;
pub mod config;
pub mod deletion;
pub mod drift;
pub mod neighbours;
pub mod outages;
pub mod pods;
pub mod rights;
pub mod scale;
pub mod scrapes;
pub mod storage;
pub mod tools;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Objects of a minimal stack; `NS` is its namespace.
const CHILDREN: [(&str, &str); 12] = [
    ("ServiceAccount", "logs-engine"),
    ("ServiceAccount", "logs-collector"),
    ("ClusterRoleBinding", "logstack:NS:logs:collector"),
    ("ConfigMap", "logs-engine"),
    ("ConfigMap", "logs-engine-runtime"),
    ("ConfigMap", "logs-collector"),
    ("ConfigMap", "logstack-NS-logs-datasource"),
    ("ConfigMap", "logstack-NS-logs-dashboards"),
    ("Service", "logs"),
    ("Service", "logs-engine"),
    ("StatefulSet", "logs-engine"),
    ("DaemonSet", "logs-collector"),
];

/// Makes a stack and waits until it is ready.
async fn ready(cluster: &Cluster, namespace: &str, spec: &str) -> Value {
    cluster.namespace(namespace, json!({})).await;
    cluster.apply(namespace, "LogStack", "logs", &format!("spec: {spec}")).await;
    cluster.condition(namespace, "LogStack", "logs", "Ready", "AllReady").await
}

/// Versions of all children, to see that nothing was written.
async fn versions(cluster: &Cluster, namespace: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (kind, name) in CHILDREN.into_iter().chain([("LogStack", "logs")]) {
        let name = name.replace("NS", namespace);
        let object = cluster.get(namespace, kind, &name).await.unwrap_or_default();
        // Status of workloads is their controllers'.
        let seen = match kind {
            "StatefulSet" | "DaemonSet" => object["metadata"]["generation"].to_string(),
            _ => object["metadata"]["resourceVersion"].to_string(),
        };
        out.insert(format!("{kind} {name}"), seen);
    }
    out
}
