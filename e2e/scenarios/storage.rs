//! The volume.

use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use super::ready;
use crate::cluster::{Cluster, conditions};

/// 8 and 12: growing patches the claim and makes the set anew; the pod stays.
pub async fn grow(cluster: &Cluster) {
    let ns = "e2e-grow";
    ready(cluster, ns, "{}").await;
    let pod = cluster.get(ns, "Pod", "logs-engine-0").await.expect("a pod");
    let set = cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set");
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {storage: {size: 60Gi}}}").await;
    cluster
        .until(ns, "PersistentVolumeClaim", "data-logs-engine-0", "60Gi", |claim| {
            claim["spec"]["resources"]["requests"]["storage"] == "60Gi"
        })
        .await;
    let size = |set: &Value| set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].clone();
    let anew = cluster.until(ns, "StatefulSet", "logs-engine", "60Gi", |set| size(set) == "60Gi").await;
    assert_ne!(anew["metadata"]["uid"], set["metadata"]["uid"]);
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    let same = cluster.get(ns, "Pod", "logs-engine-0").await.expect("a pod");
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"], "growing restarts nothing");
    // Together with a new image: both arrive.
    cluster.apply(ns, "LogStack", "logs", "spec: {image: 'logstack:two', engine: {storage: {size: 70Gi}}}").await;
    cluster
        .until(ns, "StatefulSet", "logs-engine", "70Gi and the image", |set| {
            size(set) == "70Gi" && set["spec"]["template"]["spec"]["containers"][0]["image"] == "logstack:two"
        })
        .await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 10: a smaller size is refused in status; the rest of the spec is applied; going back clears it.
pub async fn shrink(cluster: &Cluster) {
    let ns = "e2e-shrink";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {storage: {size: 20Gi}, retention: {period: 9d}}}").await;
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "ShrinkRefused").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    let claim = cluster.get(ns, "PersistentVolumeClaim", "data-logs-engine-0").await.expect("a claim");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "50Gi");
    let map = cluster.get(ns, "ConfigMap", "logs-engine-runtime").await.expect("a map");
    assert!(map["data"]["runtime.yaml"].as_str().expect("a file").contains("9d"));
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
}

/// Size in the set's claim template.
fn template_size(set: &Value) -> &Value {
    &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
}

fn request(claim: &Value) -> &Value {
    &claim["spec"]["resources"]["requests"]["storage"]
}

/// 8 and 11: the condition waits for the capacity; a size between capacity and request lowers the request.
pub async fn frozen(cluster: &Cluster) {
    let (ns, claim) = ("e2e-frozen", "data-logs-engine-0");
    ready(cluster, ns, "{}").await;
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
    let frozen = |value: Value| json!({"metadata": {"annotations": {"e2e/frozen": value}}});
    cluster.merge(ns, "PersistentVolumeClaim", claim, frozen(json!("true"))).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {storage: {size: 600Gi}}}").await;
    cluster.until(ns, "PersistentVolumeClaim", claim, "asking for 600Gi", |now| request(now) == "600Gi").await;
    cluster.until(ns, "StatefulSet", "logs-engine", "of 600Gi", |set| template_size(set) == "600Gi").await;
    let stack = cluster.condition(ns, "LogStack", "logs", "StorageResized", "Resizing").await;
    assert_eq!(stack["status"]["storage"]["capacity"], "50Gi", "not before it is true");
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {storage: {size: 60Gi}}}").await;
    cluster.until(ns, "PersistentVolumeClaim", claim, "asking for 60Gi", |now| request(now) == "60Gi").await;
    cluster.merge(ns, "PersistentVolumeClaim", claim, frozen(Value::Null)).await;
    let stack = cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
    assert_eq!(stack["status"]["storage"]["capacity"], "60Gi");
}

/// 9: a class that cannot grow is told; everything else is applied. Admission is for a real API server.
pub async fn rigid(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let ns = "e2e-rigid";
    ready(cluster, ns, "{engine: {storage: {storageClassName: rigid}}}").await;
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
    let spec = "spec: {engine: {storage: {storageClassName: rigid, size: 60Gi}, retention: {period: 8d}}}";
    cluster.apply(ns, "LogStack", "logs", spec).await;
    let stack = cluster.condition(ns, "LogStack", "logs", "StorageResized", "ExpansionNotSupported").await;
    let message = conditions(&stack).find(|c| c["type"] == "StorageResized").expect("a condition")["message"].clone();
    assert!(message.as_str().expect("text").contains("class rigid cannot grow"), "{message}");
    cluster.until(ns, "ConfigMap", "logs-engine-runtime", "8 days", |map| map["data"].to_string().contains("8d")).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 13: the operator dies between deleting the set and making it anew; the next one finds the pod still there.
pub async fn dies_between(cluster: &Cluster) {
    let ns = "e2e-dies";
    let of = |spec: &str| format!("metadata: {{labels: {{logstack.dev/controller-id: dies}}}}\nspec: {spec}");
    let start = || cluster.operator(|options| options.settings.controller_id = Some("dies".to_owned()));
    cluster.namespace(ns, json!({})).await;
    let first = start().await;
    cluster.apply(ns, "LogStack", "logs", &of("{}")).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    let pod = cluster.get(ns, "Pod", "logs-engine-0").await.expect("a pod");
    first.kill();
    // As it left it: the claim asks for more, the set is gone, its pod is not.
    cluster.apply(ns, "LogStack", "logs", &of("{engine: {storage: {size: 60Gi}}}")).await;
    let grown = json!({"spec": {"resources": {"requests": {"storage": "60Gi"}}}});
    cluster.merge(ns, "PersistentVolumeClaim", "data-logs-engine-0", grown).await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    cluster.dynamic("StatefulSet", ns).delete("logs-engine", &orphan).await.expect("it goes");
    cluster.gone(ns, "StatefulSet", "logs-engine").await;
    let second = start().await;
    cluster.until(ns, "StatefulSet", "logs-engine", "of 60Gi", |set| template_size(set) == "60Gi").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
    let same = cluster.get(ns, "Pod", "logs-engine-0").await.expect("a pod");
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"], "the pod is adopted");
    assert!(!same["metadata"]["ownerReferences"][0]["uid"].is_null());
    second.stop().await.expect("it stops");
}

/// 14: a claim that never had a volume is made anew in the new size; its pod waits for it and is no reason to keep it.
pub async fn never_bound(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let ns = "e2e-never-bound";
    cluster.namespace(ns, json!({})).await;
    let spec = |size: &str| format!("spec: {{engine: {{storage: {{storageClassName: never, size: {size}}}}}}}");
    cluster.apply(ns, "LogStack", "logs", &spec("50Ti")).await;
    cluster.condition(ns, "LogStack", "logs", "EngineReady", "VolumeNotBound").await;
    cluster.apply(ns, "LogStack", "logs", &spec("50Gi")).await;
    cluster
        .until(ns, "PersistentVolumeClaim", "data-logs-engine-0", "made anew", |claim| {
            request(claim) == "50Gi" && claim["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    cluster.until(ns, "StatefulSet", "logs-engine", "of 50Gi", |set| template_size(set) == "50Gi").await;
}

/// 15: `whenDeleted: Delete` takes the volume along; `Retain` leaves it, and a stack of the same name finds it again. The
/// first is the StatefulSet controller's work.
pub async fn claim_policy(cluster: &Cluster) {
    let (ns, claim) = ("e2e-claim", "data-logs-engine-0");
    ready(cluster, ns, "{}").await;
    let before = cluster.get(ns, "PersistentVolumeClaim", claim).await.expect("a claim");
    cluster.delete(ns, "LogStack", "logs").await;
    cluster.gone(ns, "LogStack", "logs").await;
    cluster.gone(ns, "StatefulSet", "logs-engine").await;
    ready(cluster, ns, "{engine: {storage: {whenDeleted: Delete}}}").await;
    let same = cluster.get(ns, "PersistentVolumeClaim", claim).await.expect("a claim");
    assert_eq!(same["metadata"]["uid"], before["metadata"]["uid"], "the volume is found again");
    if cluster.server.is_none() {
        return;
    }
    cluster
        .until(ns, "PersistentVolumeClaim", claim, "owned by the set", |claim| {
            claim["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
        })
        .await;
    cluster.delete(ns, "LogStack", "logs").await;
    cluster.gone(ns, "PersistentVolumeClaim", claim).await;
}
