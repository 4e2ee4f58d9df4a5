//! Objects of a stack, and what a change of the spec does to them.

use serde_json::{Value, json};

use super::scale::requests;
use super::{CHILDREN, ready, versions};
use crate::cluster::{Cluster, conditions, eventually};

/// 1: the minimal stack has all objects, owned and labelled, and is ready.
pub async fn minimal(cluster: &Cluster) {
    let ns = "e2e-minimal";
    let stack = ready(cluster, ns, "{}").await;
    let uid = stack["metadata"]["uid"].as_str().expect("a uid");
    for (kind, name) in CHILDREN {
        let name = name.replace("NS", ns);
        let object = cluster.get(ns, kind, &name).await.unwrap_or_else(|| panic!("{kind} {name} is missing"));
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "logstack-operator", "{kind} {name}");
        assert_eq!(object["metadata"]["labels"]["logstack.dev/stack"], format!("{ns}.logs"), "{kind} {name}");
        match kind {
            "ClusterRoleBinding" => assert_eq!(object["metadata"]["annotations"]["logstack.dev/owner-uid"], uid),
            _ => assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], uid, "{kind} {name}"),
        }
    }
    let claim = cluster.get(ns, "PersistentVolumeClaim", "data-logs-engine-0").await.expect("a claim");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "50Gi");
    assert_eq!(stack["metadata"]["finalizers"], json!(["logstack.dev/cleanup"]));
    assert_eq!(stack["status"]["observedGeneration"], stack["metadata"]["generation"]);
    assert_eq!(stack["status"]["engine"]["ready"], "1/1");
    assert!(conditions(&stack).all(|condition| condition["type"] != "Stalled"));
}

/// Makes the operator look at the stack once more, and says how often it has written so far.
async fn look_again(cluster: &Cluster, ns: &str, operator: &logstack_operator::Operator, nth: usize) -> f64 {
    let passes = || operator.metrics.sum("logstack_operator_reconciles_total", &[("controller", "logstack")]);
    let before = passes();
    cluster.merge(ns, "LogStack", "logs", json!({"metadata": {"annotations": {"e2e/look": nth.to_string()}}})).await;
    eventually("it has looked again", async || (passes() > before).then_some(())).await;
    requests(operator, &["post", "put", "patch", "delete"])
}

/// 2: applying the same again writes nothing; neither does a fresh operator.
pub async fn idle(cluster: &Cluster) {
    let ns = "e2e-idle";
    // Of its own, so that nothing else is under way.
    let start = || cluster.operator(|options| options.settings.controller_id = Some("idle".to_owned()));
    // With everything that is off by default.
    let spec = "{networkPolicy: {enabled: true}, engine: {podDisruptionBudget: {enabled: true}}}";
    let fields = format!("metadata: {{labels: {{logstack.dev/controller-id: idle}}}}\nspec: {spec}");
    let first = start().await;
    cluster.namespace(ns, json!({})).await;
    cluster.apply(ns, "LogStack", "logs", &fields).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    cluster.condition(ns, "LogStack", "logs", "StorageResized", "AsRequested").await;
    // What pods and volumes do is told to the end when a look at it writes nothing.
    let mut written = look_again(cluster, ns, &first, 0).await;
    for nth in 1.. {
        let now = look_again(cluster, ns, &first, nth).await;
        if now == std::mem::replace(&mut written, now) {
            break;
        }
        assert!(nth < 10, "each look writes: {now} so far");
    }
    let before = versions(cluster, ns).await;
    cluster.apply(ns, "LogStack", "logs", &fields).await;
    assert_eq!(versions(cluster, ns).await, before, "the same again changes nothing");
    first.stop().await.expect("it stops");
    let second = start().await;
    eventually("it has looked", async || {
        second.metrics.page().contains("controller=\"logstack\",result=\"ok\"").then_some(())
    })
    .await;
    assert_eq!(versions(cluster, ns).await, before, "a fresh operator changes nothing");
    let written = look_again(cluster, ns, &second, 99).await;
    assert!(written == 0.0, "a fresh operator wrote {written} times");
    second.stop().await.expect("it stops");
}

/// 4 and 5: a change of class P makes one new revision, one of class R none.
pub async fn changes(cluster: &Cluster) {
    let ns = "e2e-changes";
    ready(cluster, ns, "{}").await;
    let set = |object: &Value| object["spec"]["template"].clone();
    let before = cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set");
    let hash = |stack: &Value| stack["status"]["lastAppliedConfigHash"]["runtime"].clone();
    let stack = cluster.get(ns, "LogStack", "logs").await.expect("a stack");
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 10d}}}").await;
    cluster
        .until(ns, "ConfigMap", "logs-engine-runtime", "10 days", |map| {
            map["data"]["runtime.yaml"].as_str().is_some_and(|text| text.contains("10d"))
        })
        .await;
    let after = cluster.until(ns, "LogStack", "logs", "new hash", |now| hash(now) != hash(&stack)).await;
    assert_ne!(hash(&after), Value::Null);
    assert_eq!(set(&cluster.get(ns, "StatefulSet", "logs-engine").await.expect("a set")), set(&before), "no pod rolls");
    cluster
        .apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 10d}, env: [{name: A, value: b}]}}")
        .await;
    cluster.until(ns, "StatefulSet", "logs-engine", "a new template", |now| set(now) != set(&before)).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// 6: service type and port, disruption budget and claim policy are patched in place.
pub async fn in_place(cluster: &Cluster) {
    let ns = "e2e-in-place";
    ready(cluster, ns, "{}").await;
    let before = cluster.get(ns, "Service", "logs").await.expect("a service");
    let spec = "spec: {engine: {service: {type: NodePort, port: 3200}, podDisruptionBudget: {enabled: true}, storage: {whenDeleted: Delete}}}";
    cluster.apply(ns, "LogStack", "logs", spec).await;
    let after = cluster.until(ns, "Service", "logs", "3200", |now| now["spec"]["ports"][0]["port"] == 3200).await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    cluster.until(ns, "PodDisruptionBudget", "logs-engine", "there", |_| true).await;
    cluster
        .until(ns, "StatefulSet", "logs-engine", "Delete", |set| {
            set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
        })
        .await;
    let map = cluster.get(ns, "ConfigMap", "logs-collector").await.expect("a map");
    assert!(map["data"]["config.yaml"].as_str().expect("a file").contains(":3200/loki"), "collectors follow");
    let source = cluster.get(ns, "ConfigMap", &format!("logstack-{ns}-logs-datasource")).await.expect("a map");
    assert!(source["data"].to_string().contains(":3200"), "the data source follows");
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    cluster.gone(ns, "PodDisruptionBudget", "logs-engine").await;
}

/// 3 and 7: what CEL refuses, with its path. A real API server only.
pub async fn refusals(cluster: &Cluster) {
    if cluster.memory.is_some() {
        return;
    }
    let ns = "e2e-refusals";
    cluster.namespace(ns, json!({})).await;
    for (kind, spec, want) in [
        ("LogStack", "{engine: {limits: {ingestionRateMb: 20, ingestionBurstSizeMb: 10}}}", "ingestionBurstSizeMb"),
        ("LogStack", "{engine: {retention: {period: '30'}}}", "spec.engine.retention.period"),
        ("LogStack", "{engine: {replicas: 3}}", "spec.engine.replicas"),
        ("LogStack", "{engine: {storage: {size: '0'}}}", "spec.engine.storage"),
        ("LogStack", "{commonLabels: {app.kubernetes.io/name: x}}", "commonLabels"),
        ("LogStack", "{auth: {type: Basic}}", "spec.auth"),
        (
            "LogStack",
            "{grafana: {labels: {}, enabled: true}, engine: {external: {url: nonsense}}}",
            "spec.engine.external",
        ),
        ("LogStack", "{engine: {limits: {tenants: {a: {}}}}}", "limits.tenants"),
        ("LogStack", "{engine: {service: {nodePort: 30000}}}", "spec.engine.service"),
        ("LogScrape", "{pipelineStages: [{jsn: {}}]}", "spec.pipelineStages"),
        ("LogScrape", "{labels: {namespace: x}}", "labels"),
        ("LogScrape", "{nodePaths: [{path: ../x}]}", "spec.nodePaths"),
        ("LogScrape", "{rateLimit: {linesPerSecond: 10, burst: 5}}", "spec.rateLimit"),
        ("LogScrape", "{relabelings: [{action: hashmod}]}", "spec.relabelings"),
    ] {
        let error = cluster.try_apply(ns, kind, "bad", &format!("spec: {spec}")).await.expect_err(spec).to_string();
        assert!(error.contains(want), "{spec}: {error}");
    }
    cluster.try_apply(ns, "LogStack", "good", "spec: {engine: {storage: {size: 60Gi}}}").await.expect("a good one");
    let error =
        cluster.try_apply(ns, "LogStack", "good", "spec: {engine: {storage: {size: 60Gi, storageClassName: x}}}").await;
    assert!(error.expect_err("the class stays").to_string().contains("storageClassName"));
    cluster.delete(ns, "LogStack", "good").await;
}

/// 47 and hibernation: an external engine takes the set away and leaves the volume; zero replicas, too.
pub async fn external(cluster: &Cluster) {
    let ns = "e2e-external";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {replicas: 0}}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "Hibernated").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {external: {url: 'http://127.0.0.1:1'}}}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "ExternalUnreachable").await;
    cluster.gone(ns, "StatefulSet", "logs-engine").await;
    cluster.gone(ns, "Service", "logs").await;
    assert!(cluster.get(ns, "PersistentVolumeClaim", "data-logs-engine-0").await.is_some(), "the volume stays");
    let map = cluster.get(ns, "ConfigMap", "logs-collector").await.expect("a map");
    assert!(map["data"].to_string().contains("http://127.0.0.1:1/loki"), "collectors are repointed");
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}
