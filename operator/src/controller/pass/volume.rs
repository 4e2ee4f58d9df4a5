//! The volume: takes the steps that `storage` plans, and fits the set's claim template to what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PropagationPolicy};
use logstack_crds::quantity::bytes;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::Pass;
use crate::build::Built;
use crate::controller::Item;
use crate::error::{ApplyError, is_expansion_refused, is_not_found};
use crate::names;
use crate::object::{Kind, ObjectId};
use crate::storage::{self, Claim, Resize, Step, quantity_bytes};
use crate::world::Key;

/// A file system that waits for a restart to grow gets one after this.
const RESTART_FOR_RESIZE_AFTER: Duration = Duration::from_secs(600);

impl Pass<'_> {
    /// The volume: plans and takes the steps, and fits the set's claim template to what is there.
    pub(super) async fn storage(&mut self, built: &mut Built) -> Option<Resize> {
        let storage = &self.stack.spec.engine.storage;
        if self.stack.spec.engine.external.is_some() || storage.ephemeral {
            return None;
        }
        let namespace = &self.key.namespace;
        let claim_id = ObjectId::new(Kind::PersistentVolumeClaim, namespace, &self.names.claim());
        let set_id = ObjectId::new(Kind::StatefulSet, namespace, &self.names.engine);
        let observed = self.context.applier.observe(&claim_id).await.ok().flatten();
        let set = self.context.world.object(&set_id);
        let desired = bytes(&storage.size)?;
        let template = set.as_deref().and_then(template_bytes);
        let claim = observed.as_deref().map(Claim::of);
        let pod_key = Key { namespace: namespace.clone(), name: self.names.pod() };
        let is_wrong = claim.as_ref().is_some_and(|claim| !claim.is_bound && claim.requested != desired);
        let has_pod = is_wrong && self.is_placed(&pod_key.name).await;
        let plan = storage::plan(desired, claim.as_ref(), template, has_pod);
        let is_going = set.as_deref().is_some_and(|set| set.pointer("/metadata/deletionTimestamp").is_some());
        if is_going {
            // It was deleted for a new template; what we would write now would be lost.
            self.keep(built, Kind::StatefulSet, &self.names.engine.clone());
            self.again_soon = true;
            return Some(plan.resize);
        }
        let mut recreate = false;
        if !self.is_paused {
            for step in &plan.steps {
                match step {
                    Step::Request(size) => self.request(&claim_id, *size, observed.as_deref()).await,
                    Step::DeleteUnbound => {
                        if let Some(claim) = observed.as_deref()
                            && let Err(error) =
                                self.context.applier.delete(&claim_id, claim, PropagationPolicy::Background).await
                        {
                            self.failed.push(error);
                        }
                    }
                    // Admission refused the claim: the template must not say what the claim cannot have.
                    Step::RecreateSet if self.not_expandable.is_none() => recreate = true,
                    Step::RecreateSet => {}
                }
            }
            self.mark_claim(&claim_id, observed.as_deref()).await;
        }
        self.fit_set(built, &set_id, set.as_deref(), claim.as_ref(), desired);
        if recreate && let Some(set) = set.as_deref() {
            self.recreate(built, &set_id, set).await;
        }
        if plan.resize == Resize::PodRestartNeeded {
            let is_due = self
                .context
                .memories
                .with(self.key, |memory| memory.persists("resize-restart", true, RESTART_FOR_RESIZE_AFTER));
            if is_due && !self.is_paused {
                self.delete_pod(&pod_key.name, "RestartForResize", "the file system grows when the pod starts").await;
            }
        } else {
            self.context.memories.with(self.key, |memory| memory.persists("resize-restart", false, Duration::ZERO));
        }
        if !plan.steps.is_empty() || plan.resize == Resize::Resizing {
            self.again_soon = true;
        }
        Some(plan.resize)
    }

    /// True when the pod has a node, whose kubelet may be about to use the claim. One that waits for a volume has none.
    async fn is_placed(&self, pod: &str) -> bool {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        match api.get_opt(pod).await {
            Ok(pod) => pod.and_then(|pod| pod.spec?.node_name).is_some(),
            Err(_) => true,
        }
    }

    /// Patches the claim's request. What the class cannot do is said, and blocks nothing.
    pub(super) async fn request(&mut self, id: &ObjectId, size: u64, claim: Option<&Value>) {
        let patch = json!({ "spec": { "resources": { "requests": { "storage": size_text(size) } } } });
        match self.context.applier.merge(id, &patch).await {
            Ok(()) => info!(stack = %self.key, size, "claim patched"),
            Err(error) if is_expansion_refused(&error) => {
                let class = claim.and_then(|claim| claim.pointer("/spec/storageClassName")).and_then(Value::as_str);
                self.not_expandable = Some(class.unwrap_or("of the claim").to_owned());
            }
            Err(error) => self.failed.push(ApplyError::new(id, &error)),
        }
    }

    /// Labels and annotations of the live claim; also ours, which one made beforehand lacks.
    pub(super) async fn mark_claim(&mut self, id: &ObjectId, claim: Option<&Value>) {
        let Some(claim) = claim else { return };
        let storage = &self.stack.spec.engine.storage;
        let mut labels: BTreeMap<String, String> = storage.labels.clone();
        labels.insert(names::MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned());
        labels.insert(names::STACK.to_owned(), self.names.label());
        labels.insert(names::INSTANCE.to_owned(), self.names.stack.clone());
        let wanted = json!({ "metadata": { "labels": labels, "annotations": storage.annotations } });
        if crate::subset::first_difference(&wanted, claim).is_some()
            && let Err(error) = self.context.applier.merge(id, &wanted).await
        {
            self.failed.push(ApplyError::new(id, &error));
        }
    }

    /// The claim template is immutable: an existing set's stays in what we apply, a new set's has the size of the volume.
    pub(super) fn fit_set(
        &self,
        built: &mut Built,
        id: &ObjectId,
        set: Option<&Value>,
        claim: Option<&Claim>,
        desired: u64,
    ) {
        let Some(object) = built.objects.iter_mut().find(|object| object.id == *id) else { return };
        match set {
            Some(set) => {
                if let Some(mut templates) = set.pointer("/spec/volumeClaimTemplates").cloned() {
                    for template in templates.as_array_mut().into_iter().flatten() {
                        template.as_object_mut().map(|template| template.remove("status"));
                    }
                    object.value["spec"]["volumeClaimTemplates"] = templates;
                }
            }
            None => {
                let capacity = claim.and_then(|claim| claim.capacity).unwrap_or_default();
                if capacity > desired {
                    let path = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
                    if let Some(size) = object.value.pointer_mut(path) {
                        *size = Value::String(size_text(capacity));
                    }
                }
                // Its other changes follow when it is there again: growing restarts nothing.
                let template = self.context.memories.with(self.key, |memory| memory.recreating.take());
                if let Some(template) = template {
                    object.value["spec"]["template"] = template;
                    self.context.queue.add(Item::Stack(self.key.clone()), Duration::from_secs(1));
                }
            }
        }
    }

    /// Deletes the set for a new claim template; its pods stay, and the next pass makes it anew.
    pub(super) async fn recreate(&mut self, built: &mut Built, id: &ObjectId, set: &Value) {
        self.keep(built, Kind::StatefulSet, &self.names.engine.clone());
        self.again_soon = true;
        let when_deleted = set.pointer("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted");
        if when_deleted.is_some_and(|policy| policy == "Delete") {
            // Belt and braces: the garbage collector must not take the claim for an orphan.
            let patch = json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain" } } });
            if let Err(error) = self.context.applier.merge(id, &patch).await {
                self.failed.push(ApplyError::new(id, &error));
            }
            self.context.queue.add(Item::Stack(self.key.clone()), Duration::from_secs(2));
            return;
        }
        let template = set.pointer("/spec/template").cloned();
        match self.context.applier.delete(id, set, PropagationPolicy::Orphan).await {
            Ok(()) => {
                info!(stack = %self.key, "set deleted for a new claim template, its pods stay");
                self.context.memories.with(self.key, |memory| memory.recreating = template);
                self.context.queue.add(Item::Stack(self.key.clone()), Duration::from_secs(1));
            }
            Err(error) => self.failed.push(error),
        }
    }

    /// With an external engine the set goes and the volume stays, whatever `whenDeleted` says about the LogStack.
    pub(super) async fn protect_claim(&mut self, id: &ObjectId, set: &Value) {
        let policy = set.pointer("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted");
        if policy.is_some_and(|policy| policy == "Delete") {
            let patch = json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain" } } });
            if let Err(error) = self.context.applier.merge(id, &patch).await {
                self.failed.push(ApplyError::new(id, &error));
            }
        }
    }

    pub(super) async fn delete_pod(&mut self, name: &str, reason: &str, note: &str) {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => self.context.tell(&self.stack, false, reason, &format!("pod {name}: {note}")),
            Err(error) if is_not_found(&error) => {}
            Err(error) => debug!(%error, "pod not deleted"),
        }
    }
}

fn template_bytes(set: &Value) -> Option<u64> {
    set.pointer("/spec/volumeClaimTemplates/0/spec/resources/requests/storage").and_then(quantity_bytes)
}

/// Bytes as people write them.
fn size_text(bytes: u64) -> String {
    for (suffix, shift) in [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{suffix}", bytes >> shift);
        }
    }
    bytes.to_string()
}
