//! LogScrapes.

use serde_json::{Value, json};

use super::ready;
use crate::cluster::{Cluster, conditions, eventually};

/// 31: selection by labels, namespaces and suspension; a namespace's label counts at once.
pub async fn selection(cluster: &Cluster) {
    let (ns, other) = ("e2e-select", "e2e-select-other");
    cluster.namespace(other, json!({})).await;
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogScrape", "a", "spec: {}").await;
    cluster.apply(other, "LogScrape", "b", "spec: {}").await;
    cluster.condition(ns, "LogScrape", "a", "Ready", "Programmed").await;
    cluster.condition(other, "LogScrape", "b", "Accepted", "NotSelected").await;
    let jobs = |map: &Value| -> Vec<String> {
        map["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let map = cluster.get(ns, "ConfigMap", "logs-collector-jobs-0").await.expect("jobs");
    assert_eq!(jobs(&map), [format!("{ns}.a.yaml")]);
    let spec = format!("spec: {{scrapeNamespaceSelector: {{matchLabels: {{logs: {ns}}}}}}}");
    cluster.apply(ns, "LogStack", "logs", &spec).await;
    cluster.condition(ns, "LogScrape", "a", "Accepted", "NotSelected").await;
    cluster.merge(other, "Namespace", other, json!({"metadata": {"labels": {"logs": ns}}})).await;
    let scrape = cluster.condition(other, "LogScrape", "b", "Ready", "Programmed").await;
    assert_eq!(scrape["status"]["bindings"][0]["namespace"], ns);
    cluster.apply(other, "LogScrape", "b", "spec: {suspend: true}").await;
    cluster.condition(other, "LogScrape", "b", "Accepted", "Suspended").await;
    cluster.gone(ns, "ConfigMap", "logs-collector-jobs-0").await;
}

/// 32: one bad LogScrape among many has no effect on the others, nor on the stack; its last good job stays.
pub async fn isolation(cluster: &Cluster) {
    let ns = "e2e-isolation";
    ready(cluster, ns, "{}").await;
    for idx in 0..100 {
        cluster.apply(ns, "LogScrape", &format!("s{idx}"), "spec: {}").await;
    }
    for idx in 0..100 {
        cluster.condition(ns, "LogScrape", &format!("s{idx}"), "Ready", "Programmed").await;
    }
    cluster.apply(ns, "LogScrape", "s7", "spec: {relabelings: [{regex: '(', targetLabel: x}]}").await;
    let bad = cluster.condition(ns, "LogScrape", "s7", "Accepted", "Invalid").await;
    assert_eq!(bad["status"]["bindings"][0]["generationInForce"], 1, "the old generation stays in force");
    let stack = cluster.condition(ns, "LogStack", "logs", "ScrapesAccepted", "SomeRejected").await;
    assert!(conditions(&stack).any(|c| c["type"] == "Ready" && c["status"] == "True"));
    let map = cluster.get(ns, "ConfigMap", "logs-collector-jobs-0").await.expect("jobs");
    assert_eq!(map["data"].as_object().expect("data").len(), 100);
}

/// 33: an object that cannot be decoded is said to be so; the others go on. Its definition was loosened by hand.
pub async fn undecodable(cluster: &Cluster) {
    let ns = "e2e-undecodable";
    ready(cluster, ns, "{}").await;
    let any = || json!({"x-kubernetes-preserve-unknown-fields": true});
    let broken = async |kind: &str, spec: &str| {
        let what = format!("a {kind} that no operator can read");
        eventually(&what, async || cluster.try_apply(ns, kind, "broken", spec).await.ok()).await;
    };
    cluster
        .with_definition("logscrapes.logstack.dev", "/spec/properties/priority", any(), async || {
            broken("LogScrape", "spec: {priority: high}").await;
            cluster.event(ns, "Undecodable").await;
            cluster.apply(ns, "LogScrape", "good", "spec: {}").await;
            cluster.condition(ns, "LogScrape", "good", "Ready", "Programmed").await;
            cluster.delete(ns, "LogScrape", "broken").await;
            cluster.gone(ns, "LogScrape", "broken").await;
        })
        .await;
    let engine = "/spec/properties/engine/properties/extraConfigUnset";
    cluster
        .with_definition("logstacks.logstack.dev", engine, any(), async || {
            broken("LogStack", "spec: {engine: {extraConfigUnset: many}}").await;
            let stack = cluster.condition(ns, "LogStack", "broken", "Ready", "Undecodable").await;
            assert!(conditions(&stack).any(|c| c["type"] == "Stalled" && c["status"] == "True"));
            cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 5d}}}").await;
            let is_new = |map: &Value| map["data"].to_string().contains("5d");
            cluster.until(ns, "ConfigMap", "logs-engine-runtime", "5 days", is_new).await;
            cluster.delete(ns, "LogStack", "broken").await;
            cluster.gone(ns, "LogStack", "broken").await;
        })
        .await;
}

/// 34: what another namespace may not ask for is refused, and its job removed at once.
pub async fn permission(cluster: &Cluster) {
    let (ns, other) = ("e2e-permission", "e2e-permission-other");
    cluster.namespace(other, json!({"logs": "permission"})).await;
    ready(cluster, ns, "{scrapeNamespaceSelector: {matchLabels: {logs: permission}}}").await;
    cluster.apply(other, "LogScrape", "a", "spec: {}").await;
    cluster.condition(other, "LogScrape", "a", "Ready", "Programmed").await;
    cluster.apply(other, "LogScrape", "a", "spec: {tenant: theirs}").await;
    cluster.condition(other, "LogScrape", "a", "Accepted", "NotPermitted").await;
    cluster.gone(ns, "ConfigMap", "logs-collector-jobs-0").await;
    let out_of_force = |scrape: &Value| scrape["status"]["bindings"][0]["generationInForce"].is_null();
    cluster.until(other, "LogScrape", "a", "out of force", out_of_force).await;
    for spec in ["{nodePaths: [{path: /var/log/syslog}]}", "{namespaceSelector: {any: true}}"] {
        cluster.apply(other, "LogScrape", "a", "spec: {}").await;
        cluster.condition(other, "LogScrape", "a", "Ready", "Programmed").await;
        cluster.apply(other, "LogScrape", "a", &format!("spec: {spec}")).await;
        cluster.condition(other, "LogScrape", "a", "Accepted", "NotPermitted").await;
        cluster.gone(ns, "ConfigMap", "logs-collector-jobs-0").await;
    }
    // At home files of nodes are permitted, and it is said on how many nodes they are read.
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogScrape", "files", "spec: {nodePaths: [{path: /var/log/syslog}]}").await;
    let scrape = cluster.condition(ns, "LogScrape", "files", "Ready", "Programmed").await;
    let nodes = cluster.get(ns, "DaemonSet", "logs-collector").await.expect("a set");
    assert_eq!(scrape["status"]["targetNodes"], nodes["status"]["desiredNumberScheduled"]);
}

/// 36: pods without the annotation are counted and named.
pub async fn gated(cluster: &Cluster) {
    let ns = "e2e-gated";
    ready(cluster, ns, "{}").await;
    let pod = "metadata: {labels: {app: web}}\nspec: {containers: [{name: c, image: i}]}";
    cluster.apply(ns, "Pod", "web-1", pod).await;
    cluster.apply(ns, "Pod", "web-2", pod).await;
    cluster.apply(ns, "LogScrape", "web", "spec: {selector: {matchLabels: {app: web}}}").await;
    let scrape = cluster.condition(ns, "LogScrape", "web", "TargetsFound", "AllPodsGated").await;
    assert_eq!(scrape["status"]["targets"], json!({"matched": 2, "collected": 0, "gated": 2}));
    cluster.merge(ns, "Pod", "web-1", json!({"metadata": {"annotations": {"prometheus.io/scrape": "true"}}})).await;
    let scrape = cluster.condition(ns, "LogScrape", "web", "TargetsFound", "SomePodsGated").await;
    assert_eq!(scrape["status"]["targets"], json!({"matched": 2, "collected": 1, "gated": 1}));
    cluster.delete(ns, "Pod", "web-1").await;
    cluster.delete(ns, "Pod", "web-2").await;
}
