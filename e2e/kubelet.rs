//! The work of nodes, scheduler and volumes, played on a real API server that has none.
//!
//! What an image or a class is called decides how it goes: `bad` cannot be pulled, `crash` ends at once, `nowhere` finds
//! no node; volumes of class `rigid` do not grow, those of class `never` are not made. A claim with the annotation
//! `e2e/frozen: "true"` keeps its size.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// How often it is played.
const PLAY_EVERY: Duration = Duration::from_millis(500);

/// Objects of a kind that are worked on at once.
const AT_ONCE: usize = 16;

/// Plays for ever.
pub async fn play(client: Client) {
    loop {
        // A conflict with a controller is tried again in a moment.
        let _ = once(&client).await;
        tokio::time::sleep(PLAY_EVERY).await;
    }
}

async fn once(client: &Client) -> Result<(), kube::Error> {
    make_classes(client).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    if nodes.get_opt("node").await?.is_none() {
        let node = serde_json::from_value(json!({ "metadata": { "name": "node" } })).expect("a node");
        nodes.create(&PostParams::default(), &node).await?;
        let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        nodes.patch_status("node", &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    let bound = bind_claims(client).await?;
    let pods: Api<Pod> = Api::all(client.clone());
    let run = |pod: Pod| {
        let bound = &bound;
        async move { run_pod(client, &pod, bound).await }
    };
    stream::iter(pods.list(&Default::default()).await?).for_each_concurrent(AT_ONCE, run).await;
    Ok(())
}

async fn make_classes(client: &Client) -> Result<(), kube::Error> {
    let classes: Api<StorageClass> = Api::all(client.clone());
    // Without a class whose volumes grow the API server refuses to grow a claim.
    for (name, is_default, grows) in [("standard", "true", true), ("rigid", "false", false), ("never", "false", true)] {
        if classes.get_opt(name).await?.is_none() {
            let class = serde_json::from_value(json!({
                "metadata": { "name": name, "annotations": { "storageclass.kubernetes.io/is-default-class": is_default } },
                "provisioner": "e2e/played", "allowVolumeExpansion": grows,
            }));
            classes.create(&PostParams::default(), &class.expect("a storage class")).await?;
        }
    }
    Ok(())
}

/// Makes volumes and lets them grow. Returns the claims, by namespace and name, that have one.
async fn bind_claims(client: &Client) -> Result<BTreeSet<(String, String)>, kube::Error> {
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let claims = stream::iter(claims.list(&Default::default()).await?);
    let bound = claims.map(|claim| bind_claim(client, claim)).buffer_unordered(AT_ONCE);
    // A conflict concerns one claim.
    Ok(bound.filter_map(async |outcome| outcome.unwrap_or_default()).collect().await)
}

/// Its namespace and name, if it has a volume.
async fn bind_claim(client: &Client, claim: PersistentVolumeClaim) -> Result<Option<(String, String)>, kube::Error> {
    let is_frozen = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("e2e/frozen"));
    let (name, namespace) = (claim.metadata.name.unwrap_or_default(), claim.metadata.namespace.unwrap_or_default());
    let uid = claim.metadata.uid.unwrap_or_default();
    let wanted = serde_json::to_value(&claim.spec).unwrap_or_default()["resources"]["requests"].clone();
    let status = serde_json::to_value(&claim.status).unwrap_or_default();
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    if status["phase"] != "Bound" {
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        // Of this claim: the volume of an earlier one of the same name is released, and stays so.
        let volume = format!("pvc-{uid}");
        if class.as_deref() != Some("never") && volumes.get_opt(&volume).await?.is_none() {
            let body = serde_json::from_value(json!({
                "metadata": { "name": volume },
                "spec": {
                    "capacity": wanted, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/tmp" },
                    "claimRef": { "namespace": namespace, "name": name, "uid": uid }, "storageClassName": class,
                },
            }));
            volumes.create(&PostParams::default(), &body.expect("a volume")).await?;
        }
        return Ok(None);
    }
    if status["capacity"] != wanted && !is_frozen {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        let grown = json!({ "status": { "capacity": wanted } });
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&grown)).await?;
    }
    Ok(Some((namespace, name)))
}

async fn run_pod(client: &Client, pod: &Pod, bound: &BTreeSet<(String, String)>) {
    let (name, namespace) =
        (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.namespace.clone().unwrap_or_default());
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    if pod.metadata.deletion_timestamp.is_some() {
        let _ = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        return;
    }
    let Some(spec) = &pod.spec else { return };
    let claims = spec.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    // A claim that is not there yet is waited for, too.
    let waits = claims.into_iter().any(|claim| !bound.contains(&(namespace.clone(), claim.claim_name.clone())));
    let image = spec.containers.first().and_then(|container| container.image.clone()).unwrap_or_default();
    let status = status_of(&image, waits);
    let now = serde_json::to_value(&pod.status).unwrap_or_default();
    // A pod is pending from the start: that alone says nothing.
    let differs = ["phase", "containerStatuses"].iter().any(|key| now[key] != status[key])
        || now["conditions"][0]["type"] != status["conditions"][0]["type"];
    if differs {
        let patch = json!({ "status": status });
        let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    }
}

/// What a kubelet says of a container of `image`.
fn status_of(image: &str, waits_for_a_volume: bool) -> Value {
    let container = |state: Value, last: Value| {
        let status = json!([{
            "name": "engine", "image": image, "imageID": "", "ready": false, "restartCount": 0, "state": state,
            "lastState": last,
        }]);
        json!({ "phase": "Pending", "conditions": [{ "type": "Ready", "status": "False" }], "containerStatuses": status })
    };
    let unscheduled = |message: &str| {
        let conditions =
            json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }]);
        json!({ "phase": "Pending", "conditions": conditions })
    };
    if waits_for_a_volume {
        return unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims");
    }
    match image {
        image if image.contains("bad") => {
            container(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "not found" } }), json!({}))
        }
        image if image.contains("crash") => container(
            json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } }),
            json!({ "terminated": { "exitCode": 3, "message": "starting\nno space left\n" } }),
        ),
        image if image.contains("nowhere") => unscheduled("0/1 nodes are available: 1 Insufficient memory."),
        _ => json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
    }
}
