//! Our objects in the hands of others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CHILDREN, ready};
use crate::cluster::{Cluster, conditions};

/// 20: a stranger's object with our name is not touched, until it is given to us.
pub async fn conflict(cluster: &Cluster) {
    let ns = "e2e-conflict";
    cluster.namespace(ns, json!({})).await;
    cluster.apply(ns, "ConfigMap", "logs-engine", "data: {mine: 'yes'}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    let stack = cluster.condition(ns, "LogStack", "logs", "Ready", "NameConflict").await;
    assert!(conditions(&stack).any(|condition| condition["type"] == "Stalled"));
    let map = cluster.get(ns, "ConfigMap", "logs-engine").await.expect("the stranger's");
    assert_eq!(map["data"], json!({"mine": "yes"}));
    cluster
        .merge(ns, "ConfigMap", "logs-engine", json!({"metadata": {"annotations": {"logstack.dev/adopt": "true"}}}))
        .await;
    // It has no label that we watch: a change of the stack, or the next resync, looks again.
    cluster.merge(ns, "LogStack", "logs", json!({"metadata": {"annotations": {"look": "again"}}})).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 21 and 24: what is edited is set back, what is deleted is made again.
pub async fn drift(cluster: &Cluster) {
    let ns = "e2e-drift";
    ready(cluster, ns, "{}").await;
    cluster.merge(ns, "ConfigMap", "logs-engine-runtime", json!({"data": {"runtime.yaml": "changed: true"}})).await;
    cluster
        .until(ns, "ConfigMap", "logs-engine-runtime", "set back", |map| {
            map["data"]["runtime.yaml"].as_str().is_some_and(|text| text.contains("limits_config"))
        })
        .await;
    cluster.merge(ns, "StatefulSet", "logs-engine", json!({"spec": {"replicas": 0}})).await;
    cluster.until(ns, "StatefulSet", "logs-engine", "set back", |set| set["spec"]["replicas"] == 1).await;
    for (kind, name) in CHILDREN {
        let name = name.replace("NS", ns);
        let before = cluster.get(ns, kind, &name).await.unwrap_or_else(|| panic!("{kind} {name}"));
        cluster.delete(ns, kind, &name).await;
        cluster.until(ns, kind, &name, "made again", |now| now["metadata"]["uid"] != before["metadata"]["uid"]).await;
    }
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 22: labels, annotations and ports of others stay.
pub async fn others_fields(cluster: &Cluster) {
    let ns = "e2e-others";
    ready(cluster, ns, "{}").await;
    cluster
        .merge(ns, "Service", "logs", json!({"metadata": {"labels": {"theirs": "1"}, "annotations": {"theirs": "1"}}}))
        .await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {service: {labels: {ours: '1'}}}}").await;
    let service =
        cluster.until(ns, "Service", "logs", "our label", |now| now["metadata"]["labels"]["ours"] == "1").await;
    assert_eq!(service["metadata"]["labels"]["theirs"], "1");
    assert_eq!(service["metadata"]["annotations"]["theirs"], "1");
    // What we do not want any more is withdrawn, what others want is not.
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    let service =
        cluster.until(ns, "Service", "logs", "without", |now| now["metadata"]["labels"]["ours"].is_null()).await;
    assert_eq!(service["metadata"]["labels"]["theirs"], "1");
}

/// 21: each field that somebody edits is set back, and told once.
pub async fn edits(cluster: &Cluster) {
    let ns = "e2e-edits";
    ready(cluster, ns, "{}").await;
    let binding = format!("logstack:{ns}:logs:collector");
    let source = format!("logstack-{ns}-logs-datasource");
    let edits: [(&str, &str, &str, Value); 14] = [
        ("ServiceAccount", "logs-engine", "/automountServiceAccountToken", json!(true)),
        ("ServiceAccount", "logs-collector", "/metadata/labels/app.kubernetes.io~1part-of", json!("theirs")),
        ("ClusterRoleBinding", &binding, "/subjects", json!([])),
        ("ConfigMap", "logs-engine", "/data/config.yaml", json!("theirs")),
        ("ConfigMap", "logs-collector", "/data/config.yaml", json!("theirs")),
        ("ConfigMap", &source, "/metadata/labels/grafana_datasource", json!("0")),
        ("Service", "logs", "/spec/selector/app.kubernetes.io~1component", json!("theirs")),
        ("Service", "logs-engine", "/spec/publishNotReadyAddresses", json!(false)),
        ("StatefulSet", "logs-engine", "/spec/template/spec/containers/0/image", json!("theirs")),
        ("StatefulSet", "logs-engine", "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted", json!("Delete")),
        ("StatefulSet", "logs-engine", "/metadata/ownerReferences/0/controller", json!(false)),
        ("DaemonSet", "logs-collector", "/spec/template/spec/priorityClassName", json!("")),
        ("DaemonSet", "logs-collector", "/spec/updateStrategy/rollingUpdate/maxUnavailable", json!(1)),
        ("DaemonSet", "logs-collector", "/metadata/annotations/logstack.dev~1applied-hash", json!("theirs")),
    ];
    for (kind, name, path, theirs) in &edits {
        let before = cluster.get(ns, kind, name).await.unwrap_or_else(|| panic!("{kind} {name}"));
        let ours = before.pointer(path).unwrap_or_else(|| panic!("{kind} {name} {path}:\n{before}")).clone();
        let edit =
            |object: &mut Value| object.pointer_mut(path).map(|field| field.clone_from(theirs)).unwrap_or_default();
        cluster.edit(ns, kind, name, edit).await;
        cluster.until(ns, kind, name, &format!("{path} set back"), |now| now.pointer(path) == Some(&ours)).await;
    }
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    let event = cluster.event(ns, "DriftCorrected").await;
    assert!(event["note"].as_str().is_some_and(|note| note.contains("set back")), "{event}");
}

/// 23: another controller that wants something else is told of, and there is no hot loop.
pub async fn fight(cluster: &Cluster) {
    let ns = "e2e-fight";
    ready(cluster, ns, "{}").await;
    let theirs = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "theirs"}}});
    let is_theirs = |service: &Value| service["metadata"]["labels"]["app.kubernetes.io/part-of"] == "theirs";
    let other = async {
        let mut written = 0u32;
        loop {
            if cluster.get(ns, "Service", "logs").await.is_some_and(|service| !is_theirs(&service)) {
                cluster.merge(ns, "Service", "logs", theirs.clone()).await;
                written += 1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            // What follows is dropped when the wait for the condition ends.
            if written > 100 {
                return;
            }
        }
    };
    tokio::select! {
        _ = cluster.condition(ns, "LogStack", "logs", "Degraded", "DriftFight") => {}
        () = other => panic!("a hot loop"),
    }
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    // From now on one of ours in ten seconds, whatever the other does.
    let mut ours = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(12) {
        if cluster.get(ns, "Service", "logs").await.is_some_and(|service| !is_theirs(&service)) {
            ours += 1;
            cluster.merge(ns, "Service", "logs", theirs.clone()).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ours <= 3, "{ours} corrections in 12 s");
}

/// 22: a sidecar and a port that others add to our objects stay over many passes.
pub async fn additions(cluster: &Cluster) {
    let ns = "e2e-additions";
    ready(cluster, ns, "{engine: {service: {type: NodePort}}}").await;
    let port = cluster.get(ns, "Service", "logs").await.expect("a service")["spec"]["ports"][0]["nodePort"].clone();
    let inject = |set: &mut Value| {
        let containers = set["spec"]["template"]["spec"]["containers"].as_array_mut().expect("containers");
        containers.push(json!({ "name": "injected", "image": "i" }));
    };
    cluster.edit(ns, "DaemonSet", "logs-collector", inject).await;
    for days in 3..6 {
        let spec = format!("spec: {{engine: {{service: {{type: NodePort}}, retention: {{period: {days}d}}}}}}");
        cluster.apply(ns, "LogStack", "logs", &spec).await;
        let text = format!("{days}d");
        let is_new = |map: &Value| map["data"].to_string().contains(&text);
        cluster.until(ns, "ConfigMap", "logs-engine-runtime", &text, is_new).await;
    }
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    let set = cluster.get(ns, "DaemonSet", "logs-collector").await.expect("a set");
    let containers = set["spec"]["template"]["spec"]["containers"].as_array().expect("containers");
    assert!(containers.iter().any(|container| container["name"] == "injected"), "the sidecar stays");
    let service = cluster.get(ns, "Service", "logs").await.expect("a service");
    assert_eq!(service["spec"]["ports"][0]["nodePort"], port, "the port that the server chose stays");
}
