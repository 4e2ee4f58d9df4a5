//! What controllers, kubelets and storage do in a cluster, played on the objects of the one in memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::memory::Path;

/// The changes of one moment: an object each, `None` for one that goes.
pub fn play(objects: &BTreeMap<Path, Value>) -> Vec<(Path, Option<Value>)> {
    let mut out = Vec::new();
    for (path, object) in objects {
        let is_going = !object["metadata"]["deletionTimestamp"].is_null();
        match path.1.as_str() {
            "statefulsets" if !is_going => play_stateful_set(objects, path, object, &mut out),
            "daemonsets" => {
                let mut set = object.clone();
                set["status"] = json!({
                    "observedGeneration": object["metadata"]["generation"], "desiredNumberScheduled": 3,
                    "currentNumberScheduled": 3, "numberReady": 3, "numberAvailable": 3, "updatedNumberScheduled": 3,
                });
                out.push((path.clone(), Some(set)));
            }
            "persistentvolumeclaims" => {
                // A volume is made, and grows; the annotation makes it stay as it is.
                let is_frozen = object["metadata"]["annotations"]["e2e/frozen"] == "true";
                let mut claim = object.clone();
                claim["status"]["phase"] = json!("Bound");
                if !is_frozen || claim["status"]["capacity"].is_null() {
                    claim["status"]["capacity"] = object["spec"]["resources"]["requests"].clone();
                }
                out.push((path.clone(), Some(claim)));
            }
            _ => {}
        }
    }
    out
}

fn play_stateful_set(
    objects: &BTreeMap<Path, Value>,
    path: &Path,
    object: &Value,
    out: &mut Vec<(Path, Option<Value>)>,
) {
    let (_, _, namespace, name) = path;
    let revision = logstack_operator::hash::of_value(&object["spec"]["template"]);
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or_default();
    let pod_path = ("v1".to_owned(), "pods".to_owned(), namespace.clone(), format!("{name}-0"));
    let claim_path =
        ("v1".to_owned(), "persistentvolumeclaims".to_owned(), namespace.clone(), format!("data-{name}-0"));
    let template = &object["spec"]["volumeClaimTemplates"][0];
    if replicas > 0 && !template.is_null() && !objects.contains_key(&claim_path) {
        let metadata =
            json!({ "name": claim_path.3, "namespace": namespace, "labels": template["metadata"]["labels"] });
        let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"] });
        out.push((claim_path, Some(claim)));
    }
    // An image that cannot be pulled.
    let is_bad =
        object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().is_some_and(|i| i.contains("bad"));
    let pod = objects.get(&pod_path);
    let has_revision = |pod: &Value| pod["metadata"]["labels"]["controller-revision-hash"] == revision.as_str();
    match pod {
        Some(_) if replicas == 0 => out.push((pod_path, None)),
        // A pod that is ready is replaced by the new revision.
        Some(pod) if !has_revision(pod) && pod["status"]["phase"] == "Running" => out.push((pod_path, None)),
        None if replicas > 0 => {
            let mut labels = object["spec"]["template"]["metadata"]["labels"].clone();
            labels["controller-revision-hash"] = json!(revision);
            let owner = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": object["metadata"]["uid"], "controller": true });
            let status = match is_bad {
                false => json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
                true => json!({ "phase": "Pending", "containerStatuses": [{
                    "name": "engine", "image": "bad", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } },
                }] }),
            };
            let metadata =
                json!({ "name": pod_path.3, "namespace": namespace, "labels": labels, "ownerReferences": [owner] });
            let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": object["spec"]["template"]["spec"], "status": status });
            out.push((pod_path, Some(pod)));
        }
        // A set that was made anew adopts its pod.
        Some(pod) if pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty) => {
            let mut pod = pod.clone();
            pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": object["metadata"]["uid"], "controller": true }]);
            out.push((pod_path, Some(pod)));
        }
        _ => {}
    }
    let is_ready = pod.is_some_and(|pod| pod["status"]["phase"] == "Running");
    let is_updated = pod.is_some_and(has_revision);
    let mut set = object.clone();
    set["status"] = json!({
        "observedGeneration": object["metadata"]["generation"], "replicas": i64::from(pod.is_some()),
        "readyReplicas": i64::from(is_ready), "availableReplicas": i64::from(is_ready),
        "updatedReplicas": i64::from(is_updated), "currentRevision": if is_updated { revision.clone() } else { "old".to_owned() },
        "updateRevision": revision,
    });
    out.push((path.clone(), Some(set)));
}
