//! The contract's scenarios: each in its own namespace, each wait with a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, conditions, eventually};

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

/// 2: applying the same again writes nothing; neither does a fresh operator.
pub async fn idle(cluster: &Cluster) {
    let ns = "e2e-idle";
    ready(cluster, ns, "{}").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = versions(cluster, ns).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    let second = cluster.operator(|options| options.instance = "second".to_owned()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(versions(cluster, ns).await, before);
    let written: f64 = ["post", "put", "patch", "delete"]
        .iter()
        .map(|verb| second.metrics.sum("logstack_operator_api_requests_total", &[("verb", verb)]))
        .sum();
    assert!(written == 0.0 || cluster.memory.is_none(), "an idle operator wrote {written} times");
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
    if cluster.memory.is_some() {
        cluster.gone(ns, "StatefulSet", "logs-engine").await;
    }
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
    for idx in 0..20 {
        cluster.apply(ns, "LogScrape", &format!("s{idx}"), "spec: {}").await;
    }
    for idx in 0..20 {
        cluster.condition(ns, "LogScrape", &format!("s{idx}"), "Ready", "Programmed").await;
    }
    cluster.apply(ns, "LogScrape", "s7", "spec: {relabelings: [{regex: '(', targetLabel: x}]}").await;
    let bad = cluster.condition(ns, "LogScrape", "s7", "Accepted", "Invalid").await;
    assert_eq!(bad["status"]["bindings"][0]["generationInForce"], 1, "the old generation stays in force");
    let stack = cluster.condition(ns, "LogStack", "logs", "ScrapesAccepted", "SomeRejected").await;
    assert!(conditions(&stack).any(|c| c["type"] == "Ready" && c["status"] == "True"));
    let map = cluster.get(ns, "ConfigMap", "logs-collector-jobs-0").await.expect("jobs");
    assert_eq!(map["data"].as_object().expect("data").len(), 20);
}

/// 33: an object that cannot be decoded is said to be so; the others go on. In memory, where no schema stops it.
pub async fn undecodable(cluster: &Cluster) {
    if cluster.memory.is_none() {
        return;
    }
    let ns = "e2e-undecodable";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogScrape", "broken", "spec: {priority: high}").await;
    cluster.apply(ns, "LogStack", "broken", "spec: {engine: {replicas: many}}").await;
    cluster.condition(ns, "LogStack", "broken", "Ready", "Undecodable").await;
    cluster.apply(ns, "LogScrape", "good", "spec: {}").await;
    cluster.condition(ns, "LogScrape", "good", "Ready", "Programmed").await;
    cluster.delete(ns, "LogStack", "broken").await;
    cluster.delete(ns, "LogScrape", "broken").await;
}

/// 34: what another namespace may not ask for is refused, and its job removed at once.
pub async fn permission(cluster: &Cluster) {
    let (ns, other) = ("e2e-permission", "e2e-permission-other");
    cluster.namespace(other, json!({"logs": "permission"})).await;
    ready(cluster, ns, "{scrapeNamespaceSelector: {matchLabels: {logs: permission}}}").await;
    cluster.apply(other, "LogScrape", "a", "spec: {}").await;
    cluster.condition(other, "LogScrape", "a", "Ready", "Programmed").await;
    cluster.apply(other, "LogScrape", "a", "spec: {tenant: theirs}").await;
    let scrape = cluster.condition(other, "LogScrape", "a", "Accepted", "NotPermitted").await;
    assert!(scrape["status"]["bindings"][0]["generationInForce"].is_null());
    cluster.gone(ns, "ConfigMap", "logs-collector-jobs-0").await;
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

/// 41: of two operators one writes; when it is killed the other takes over, when it stops it gives the lease back.
pub async fn leaders(cluster: &Cluster) {
    let start = |name: &'static str| {
        cluster.operator(move |options| {
            options.has_leader_election = true;
            options.instance = name.to_owned();
            options.settings.controller_id = Some("leaders".to_owned());
        })
    };
    cluster.namespace("default", json!({})).await;
    let (one, two) = (start("one").await, start("two").await);
    let leads =
        |operator: &logstack_operator::Operator| operator.metrics.page().contains("\nlogstack_operator_leader 1\n");
    eventually("one leads", async || (leads(&one) || leads(&two)).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(leads(&one) != leads(&two), "exactly one leads");
    let (leader, standby) = if leads(&one) { (one, two) } else { (two, one) };
    leader.stop().await.expect("it stops");
    let since = std::time::Instant::now();
    eventually("the other leads", async || leads(&standby).then_some(())).await;
    assert!(since.elapsed() < Duration::from_secs(6), "the lease was given back");
    let third = start("three").await;
    standby.kill();
    let since = std::time::Instant::now();
    eventually("the third leads", async || leads(&third).then_some(())).await;
    assert!(since.elapsed() < Duration::from_secs(20), "failover within 20 s");
    third.stop().await.expect("it stops");
}

/// 40: the API server is away during changes; afterwards everything converges, nothing twice. Not on a cluster of others.
pub async fn outage(cluster: &Cluster, away: Duration) {
    if !cluster.can_be_away() {
        return;
    }
    let ns = "e2e-outage";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 4d}}}").await;
    cluster.set_away(true);
    tokio::time::sleep(away).await;
    cluster.set_away(false);
    cluster.apply(ns, "LogScrape", "late", "spec: {}").await;
    cluster.until(ns, "ConfigMap", "logs-engine-runtime", "4 days", |map| map["data"].to_string().contains("4d")).await;
    cluster.condition(ns, "LogScrape", "late", "Ready", "Programmed").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
}

/// Many at once, then nothing: time to converge, requests, memory.
pub async fn many(cluster: &Cluster, stacks: usize, scrapes: usize) {
    for stack in 0..stacks {
        let ns = format!("e2e-many-{stack}");
        cluster.namespace(&ns, json!({})).await;
        cluster.apply(&ns, "LogStack", "logs", "spec: {}").await;
    }
    for idx in 0..scrapes {
        let ns = format!("e2e-many-{}", idx % stacks);
        cluster
            .apply(
                &ns,
                "LogScrape",
                &format!("s{idx}"),
                "spec: {pipelineStages: [{json: {expressions: {level: level}}}, {labels: {level: ''}}]}",
            )
            .await;
    }
    let start = std::time::Instant::now();
    for idx in 0..scrapes {
        let ns = format!("e2e-many-{}", idx % stacks);
        cluster.condition(&ns, "LogScrape", &format!("s{idx}"), "Ready", "Programmed").await;
    }
    for stack in 0..stacks {
        cluster.condition(&format!("e2e-many-{stack}"), "LogStack", "logs", "Ready", "AllReady").await;
    }
    eprintln!("{stacks} LogStacks, {scrapes} LogScrapes: ready {:?} after the last apply", start.elapsed());
}
