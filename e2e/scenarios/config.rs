//! Pausing, Secrets, and configuration that is not valid.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::ready;
use crate::cluster::{Cluster, conditions};

/// 27: a paused stack is observed and not written; resuming converges.
pub async fn paused(cluster: &Cluster) {
    let ns = "e2e-paused";
    ready(cluster, ns, "{}").await;
    cluster.merge(ns, "LogStack", "logs", json!({"metadata": {"annotations": {"logstack.dev/paused": "true"}}})).await;
    cluster.condition(ns, "LogStack", "logs", "Paused", "Paused").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 5d}}}").await;
    cluster
        .until(ns, "LogStack", "logs", "observed", |now| {
            now["status"]["observedGeneration"] == now["metadata"]["generation"]
        })
        .await;
    let map = cluster.get(ns, "ConfigMap", "logs-engine-runtime").await.expect("a map");
    assert!(!map["data"].to_string().contains("5d"), "nothing is written");
    cluster.merge(ns, "LogStack", "logs", json!({"metadata": {"annotations": {"logstack.dev/paused": null}}})).await;
    cluster.until(ns, "ConfigMap", "logs-engine-runtime", "5 days", |map| map["data"].to_string().contains("5d")).await;
}

/// 28: a missing Secret is named, and heals.
pub async fn secrets(cluster: &Cluster) {
    let ns = "e2e-secrets";
    cluster.namespace(ns, json!({})).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {auth: {type: Basic, secretName: users}}").await;
    let stack = cluster.condition(ns, "LogStack", "logs", "Ready", "MissingReference").await;
    let message = conditions(&stack).find(|c| c["type"] == "Ready").expect("a condition")["message"].clone();
    assert!(message.as_str().expect("text").contains("Secret e2e-secrets/users does not exist"), "{message}");
    cluster.apply(ns, "Secret", "users", "data: {wrong: eA==}").await;
    cluster
        .until(ns, "LogStack", "logs", "key named", |now| {
            conditions(now).any(|c| c["message"].as_str().is_some_and(|text| text.contains("has no key credentials")))
        })
        .await;
    cluster.apply(ns, "Secret", "users", "data: {credentials: eA==}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 29: a mistake is named with its path; the last good configuration stays in force.
pub async fn bad_config(cluster: &Cluster) {
    let ns = "e2e-config";
    ready(cluster, ns, "{}").await;
    let before = cluster.get(ns, "ConfigMap", "logs-engine").await.expect("a map");
    for (spec, condition, reason) in [
        ("{engine: {extraConfig: {server: {http_listen_port: 1}}}}", "ConfigValid", "ProtectedKey"),
        ("{engine: {extraConfig: {querier: {no_such_key: 1}}}}", "ConfigValid", "InvalidValue"),
        (
            "{collector: {extraScrapeConfigs: [{job_name: a, basic_auth: {password: x}}]}}",
            "ConfigValid",
            "InlineSecret",
        ),
        ("{rules: {enabled: true}}", "ConfigValid", "Unsupported"),
    ] {
        cluster.apply(ns, "LogStack", "logs", &format!("spec: {spec}")).await;
        let stack = cluster.condition(ns, "LogStack", "logs", condition, reason).await;
        assert!(conditions(&stack).all(|c| c["type"] != "Stalled"), "an earlier configuration is in force");
    }
    let after = cluster.get(ns, "ConfigMap", "logs-engine").await.expect("a map");
    assert_eq!(after["data"], before["data"]);
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 27: while paused children that somebody edits stay edited; deletion works all the same.
pub async fn paused_children(cluster: &Cluster) {
    let ns = "e2e-paused-children";
    ready(cluster, ns, "{}").await;
    let pause = json!({"metadata": {"annotations": {"logstack.dev/paused": "true"}}});
    cluster.merge(ns, "LogStack", "logs", pause).await;
    cluster.condition(ns, "LogStack", "logs", "Paused", "Paused").await;
    cluster.merge(ns, "StatefulSet", "logs-engine", json!({"spec": {"replicas": 0}})).await;
    let stack = cluster.condition(ns, "LogStack", "logs", "Available", "EngineNotReady").await;
    assert!(
        conditions(&stack)
            .any(|c| { c["type"] == "Ready" && c["message"].as_str().is_some_and(|text| text.starts_with("paused")) })
    );
    let set = cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set");
    assert_eq!(set["spec"]["replicas"], 0, "nothing is written");
    cluster.delete(ns, "LogStack", "logs").await;
    cluster.gone(ns, "LogStack", "logs").await;
    assert!(cluster.get(ns, "ClusterRoleBinding", &format!("logstack:{ns}:logs:collector")).await.is_none());
}

/// 28: the content of a Secret that the engine reads once rolls its pod; one that it reads again does not. In the audit
/// log no operator lists or watches Secrets.
pub async fn secret_contents(cluster: &Cluster) {
    let ns = "e2e-secret-contents";
    cluster.namespace(ns, json!({})).await;
    cluster.apply(ns, "Secret", "more", "data: {config.yaml: e30=}").await;
    cluster.apply(ns, "Secret", "cert", "data: {tls.crt: eA==, tls.key: eA==, ca.crt: eA==}").await;
    ready(cluster, ns, "{engine: {extraConfigSecretName: more}, tls: {secretName: cert}}").await;
    let template =
        async || cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set")["spec"]["template"].clone();
    let before = template().await;
    // Nothing wakes the operator for a Secret, but any change of the stack does.
    let look = async |value: &str| {
        cluster.merge(ns, "LogStack", "logs", json!({"metadata": {"annotations": {"look": value}}})).await;
    };
    cluster.apply(ns, "Secret", "cert", "data: {tls.crt: eQ==, tls.key: eQ==, ca.crt: eQ==}").await;
    look("1").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(template().await, before, "certificates are read again");
    cluster.apply(ns, "Secret", "more", "data: {config.yaml: e30K}").await;
    look("2").await;
    cluster.until(ns, "StatefulSet", "logs-engine", "rolled", |set| set["spec"]["template"] != before).await;
    let Some(server) = &cluster.server else { return };
    let verbs: BTreeSet<String> = server
        .audit()
        .iter()
        .filter(|line| line["objectRef"]["resource"] == "secrets")
        .map(|line| line["verb"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(verbs, BTreeSet::from(["get".to_owned()]), "Secrets are read by name");
}
