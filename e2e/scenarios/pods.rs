//! What pods do, and how it is told.

use serde_json::json;

use super::ready;
use crate::cluster::{Cluster, conditions};

/// 25: a bad image is named, and its correction heals without hands.
pub async fn bad_image(cluster: &Cluster) {
    let ns = "e2e-image";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {image: 'bad:1'}}").await;
    cluster.condition(ns, "LogStack", "logs", "EngineReady", "ImagePull").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "EngineNotReady").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {image: 'good:1'}}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 26: a namespace that lets no collector in is told, with the command.
pub async fn pod_security(cluster: &Cluster) {
    let ns = "e2e-psa";
    cluster.namespace(ns, json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    let stack = cluster.condition(ns, "LogStack", "logs", "CollectorReady", "PodSecurity").await;
    let message = conditions(&stack).find(|c| c["type"] == "CollectorReady").expect("a condition")["message"].clone();
    assert!(message.as_str().expect("text").contains("kubectl label namespace e2e-psa"), "{message}");
}

/// 30: the user's template is merged by name.
pub async fn pod_template(cluster: &Cluster) {
    let ns = "e2e-template";
    let spec =
        "{engine: {podTemplate: {metadata: {annotations: {a: b}}, spec: {containers: [{name: side, image: s}]}}}}";
    ready(cluster, ns, spec).await;
    let set = cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set");
    let containers = set["spec"]["template"]["spec"]["containers"].as_array().expect("containers");
    let names: Vec<&str> = containers.iter().filter_map(|container| container["name"].as_str()).collect();
    assert_eq!(names, ["engine", "side"]);
    assert_eq!(set["spec"]["template"]["metadata"]["annotations"]["a"], "b");
}

/// 26: what scheduler, kubelet, process and quota say is in the status in their words.
pub async fn troubles(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let ns = "e2e-troubles";
    ready(cluster, ns, "{}").await;
    for (image, reason, words) in [
        ("crash:1", "CrashLoop", "container engine ends with exit code 3: no space left"),
        ("nowhere:1", "PodPending", "Insufficient memory"),
    ] {
        cluster.apply(ns, "LogStack", "logs", &format!("spec: {{engine: {{image: '{image}'}}}}")).await;
        let stack = cluster.condition(ns, "LogStack", "logs", "EngineReady", reason).await;
        let said = conditions(&stack).find(|c| c["type"] == "EngineReady").expect("a condition")["message"].clone();
        assert!(said.as_str().is_some_and(|said| said.contains(words)), "{said}");
        cluster.condition(ns, "LogStack", "logs", "Ready", "EngineNotReady").await;
    }
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 26: a quota that leaves no room is told, and the rest is made; when there is room it heals.
pub async fn quota(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let ns = "e2e-quota";
    cluster.namespace(ns, json!({})).await;
    let quota = |count: &str| {
        json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few", "namespace": ns },
            "spec": { "hard": { "services": count } },
        })
    };
    cluster.apply_value(&quota("1")).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    let stack = cluster.condition(ns, "LogStack", "logs", "ReconcileOK", "QuotaExceeded").await;
    let said = conditions(&stack).find(|c| c["type"] == "ReconcileOK").expect("a condition")["message"].clone();
    assert!(said.as_str().is_some_and(|said| said.contains("exceeded quota: few")), "{said}");
    assert!(cluster.get(ns, "DaemonSet", "logs-collector").await.is_some(), "the rest is made");
    cluster.apply_value(&quota("10")).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 30: a template that the API server refuses is told with its words; the old one stays.
pub async fn bad_template(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let ns = "e2e-bad-template";
    ready(cluster, ns, "{}").await;
    let before = cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set");
    let spec = "{engine: {podTemplate: {spec: {restartPolicy: Never}}, retention: {period: 6d}}}";
    cluster.apply(ns, "LogStack", "logs", &format!("spec: {spec}")).await;
    let stack = cluster.condition(ns, "LogStack", "logs", "ReconcileOK", "InvalidPodTemplate").await;
    let said = conditions(&stack).find(|c| c["type"] == "ReconcileOK").expect("a condition")["message"].clone();
    assert!(said.as_str().is_some_and(|said| said.contains("restartPolicy")), "{said}");
    cluster.until(ns, "ConfigMap", "logs-engine-runtime", "6 days", |map| map["data"].to_string().contains("6d")).await;
    let after = cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set");
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    // A volume and a sidecar that mounts it are merged.
    let spec = "{engine: {podTemplate: {spec: {volumes: [{name: more, emptyDir: {}}], containers: [{name: side, image: s, volumeMounts: [{name: more, mountPath: /more}]}]}}}}";
    cluster.apply(ns, "LogStack", "logs", &format!("spec: {spec}")).await;
    cluster
        .until(ns, "StatefulSet", "logs-engine", "with the volume", |set| {
            set["spec"]["template"]["spec"]["volumes"].to_string().contains("\"more\"")
        })
        .await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}
