//! What goes when, and what stays.

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::{CHILDREN, ready};
use crate::cluster::{Cluster, eventually};

/// 15 and 16: deletion keeps the volume, tells Grafana elsewhere, and ends.
pub async fn deletion(cluster: &Cluster) {
    let (ns, grafana) = ("e2e-delete", "e2e-delete-grafana");
    cluster.namespace(grafana, json!({})).await;
    ready(cluster, ns, &format!("{{grafana: {{namespace: {grafana}}}}}")).await;
    let source = format!("logstack-{ns}-logs-datasource");
    cluster.until(grafana, "ConfigMap", &source, "there", |map| map["metadata"]["ownerReferences"].is_null()).await;
    cluster.delete(ns, "LogStack", "logs").await;
    let buried = |map: &Value| map["data"].to_string().contains("deleteDatasources");
    cluster.until(grafana, "ConfigMap", &source, "a tombstone", buried).await;
    cluster.gone(ns, "LogStack", "logs").await;
    assert!(cluster.get(grafana, "ConfigMap", &source).await.is_none());
    assert!(cluster.get(ns, "ClusterRoleBinding", &format!("logstack:{ns}:logs:collector")).await.is_none());
    cluster.gone(ns, "StatefulSet", "logs-engine").await;
    let claim = cluster.get(ns, "PersistentVolumeClaim", "data-logs-engine-0").await;
    assert!(claim.is_some_and(|claim| claim["metadata"]["deletionTimestamp"].is_null()), "the volume is kept");
}

/// 19: Grafana's namespace moves; the old ConfigMaps go after the new are there. A missing namespace degrades only.
pub async fn grafana_moves(cluster: &Cluster) {
    let (ns, target) = ("e2e-grafana", "e2e-grafana-two");
    ready(cluster, ns, "{}").await;
    let source = format!("logstack-{ns}-logs-datasource");
    let spec = format!("spec: {{grafana: {{namespace: {target}}}}}");
    cluster.apply(ns, "LogStack", "logs", &spec).await;
    cluster.condition(ns, "LogStack", "logs", "GrafanaSynced", "NotWritten").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    assert!(cluster.get(ns, "ConfigMap", &source).await.is_some(), "the old one stays until the new one is there");
    cluster.namespace(target, json!({})).await;
    cluster.until(target, "ConfigMap", &source, "there", |_| true).await;
    cluster.gone(ns, "ConfigMap", &source).await;
    cluster.condition(ns, "LogStack", "logs", "GrafanaSynced", "Synced").await;
}

/// 17: deletion never waits for a person: what may not be deleted is told, left, and the object goes. A policy of the API
/// server stands for the missing right.
pub async fn forbidden_cleanup(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let (ns, grafana) = ("e2e-forbidden", "e2e-forbidden-grafana");
    cluster.namespace(grafana, json!({})).await;
    ready(cluster, ns, &format!("{{grafana: {{namespace: {grafana}}}}}")).await;
    let source = format!("logstack-{ns}-logs-datasource");
    cluster.until(grafana, "ConfigMap", &source, "there", |_| true).await;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": grafana },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE", "DELETE"], "resources": ["configmaps"],
            }] },
            "validations": [{ "expression": format!("request.namespace != '{grafana}'"), "message": "not yours" }],
        },
    });
    cluster.apply_value(&policy).await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": grafana }, "spec": { "policyName": grafana, "validationActions": ["Deny"] },
    });
    cluster.apply_value(&binding).await;
    let touch = json!({"metadata": {"annotations": {"touched": "1"}}});
    let api = cluster.dynamic("ConfigMap", grafana);
    eventually("the policy is in force", async || {
        api.patch(&source, &PatchParams::default(), &Patch::Merge(&touch)).await.is_err().then_some(())
    })
    .await;
    cluster.delete(ns, "LogStack", "logs").await;
    cluster.gone(ns, "LogStack", "logs").await;
    cluster.event(ns, "CleanupIncomplete").await;
    assert!(cluster.get(grafana, "ConfigMap", &source).await.is_some());
    for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
        api.delete(grafana, &DeleteParams::default()).await.expect("it goes");
    }
}

/// 17: Grafana's namespace is on its way out and does not come to its end.
pub async fn grafana_terminates(cluster: &Cluster) {
    if cluster.server.is_none() {
        return;
    }
    let (ns, grafana) = ("e2e-ends", "e2e-ends-grafana");
    cluster.namespace(grafana, json!({})).await;
    cluster.apply(grafana, "ConfigMap", "holds", "metadata: {finalizers: [e2e/holds]}").await;
    ready(cluster, ns, &format!("{{grafana: {{namespace: {grafana}}}}}")).await;
    let source = format!("logstack-{ns}-logs-datasource");
    cluster.until(grafana, "ConfigMap", &source, "there", |_| true).await;
    cluster.delete(grafana, "Namespace", grafana).await;
    cluster.gone(grafana, "ConfigMap", &source).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    cluster.delete(ns, "LogStack", "logs").await;
    cluster.gone(ns, "LogStack", "logs").await;
    cluster.merge(grafana, "ConfigMap", "holds", json!({"metadata": {"finalizers": null}})).await;
    cluster.gone(grafana, "Namespace", grafana).await;
}

/// 18: the namespace of a stack is deleted: it goes, and nothing is made in it again.
pub async fn namespace_deleted(cluster: &Cluster) {
    let Some(server) = &cluster.server else { return };
    let ns = "e2e-namespace";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogScrape", "a", "spec: {}").await;
    cluster.condition(ns, "LogScrape", "a", "Ready", "Programmed").await;
    cluster.delete(ns, "Namespace", ns).await;
    cluster.gone(ns, "Namespace", ns).await;
    assert!(cluster.get(ns, "ClusterRoleBinding", &format!("logstack:{ns}:logs:collector")).await.is_none());
    let refused = |line: &&Value| line["objectRef"]["namespace"] == ns && line["responseStatus"]["code"] == 403;
    let refused = server.audit().iter().filter(refused).count();
    // One pass may have been on its way when the namespace was deleted.
    assert!(refused <= CHILDREN.len(), "{refused} attempts to make something in a namespace that goes");
}
