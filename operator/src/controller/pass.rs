//! The steps of a pass over a LogStack. Nothing waits here: what is not done is done by the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Preconditions, PropagationPolicy};
use logstack_crds::LogStack;
use logstack_crds::quantity::bytes;
use logstack_crds::stack::{ConfigHashes, GrafanaStatus};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::stack::wake_scrapes;
use super::{Context, PassError, finalize};
use crate::apply::{Outcome, Owner};
use crate::build::{self, Built, Images, Inputs, Rendered, SecretReference};
use crate::error::{ApplyError, Refusal, classify, is_expansion_refused, is_not_found};
use crate::hash;
use crate::names::{self, Names, SHARDS_MAX};
use crate::object::{Kind, ObjectId};
use crate::observe::{self, Workload};
use crate::scrape::{self, ScrapePlan};
use crate::status::{CollectorFacts, EngineFacts, GrafanaFacts, Pressure, StackFacts, StorageFacts, get};
use crate::storage::{self, Claim, Resize, Step, quantity_bytes};
use crate::world::{Key, annotation};

/// The engine is asked how full its disk is so often.
const POLL_EVERY: Duration = Duration::from_secs(300);
/// One question.
const POLL_TIMEOUT: Duration = Duration::from_secs(3);
/// A stack that rolls holds up the upgrade of the next so long at most.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(600);
/// A pod that did not start with an old template is replaced after this.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// A file system that waits for a restart to grow gets one after this.
const RESTART_FOR_RESIZE_AFTER: Duration = Duration::from_secs(600);
/// Rates are made of so much time at most.
const RATE_WINDOW: Duration = Duration::from_secs(86_400);
/// And of so much at least.
const RATE_WINDOW_MIN: Duration = Duration::from_secs(3600);

pub(super) struct Pass<'a> {
    context: &'a Arc<Context>,
    key: &'a Key,
    stack: Arc<LogStack>,
    names: Names,
    is_paused: bool,
    failed: Vec<ApplyError>,
    grafana_error: Option<String>,
    fights: Vec<String>,
    not_expandable: Option<String>,
    again_soon: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(context: &'a Arc<Context>, key: &'a Key, stack: Arc<LogStack>) -> Self {
        let annotations = stack.metadata.annotations.as_ref();
        let is_paused = annotations.and_then(|all| all.get(names::PAUSED)).is_some_and(|value| value == "true");
        Self {
            context,
            key,
            names: Names::new(&key.namespace, &key.name),
            stack,
            is_paused,
            failed: Vec::new(),
            grafana_error: None,
            fights: Vec::new(),
            not_expandable: None,
            again_soon: false,
        }
    }

    /// Makes the pass. Returns what is now known, the error that decides about another try, and whether something is
    /// under way.
    pub(super) async fn run(mut self) -> (StackFacts, Option<PassError>, bool) {
        let (missing, secret_hash, lacks_read_once) = self.references().await;
        let plan = self.scrapes();
        let rendered = build::render(&self.stack, &self.names);
        let images = self.images();
        let inputs = Inputs {
            stack: &self.stack.clone(),
            settings: &self.context.settings,
            names: &self.names.clone(),
            rendered: &rendered,
            shards: &plan.shards,
            node_dirs: &plan.node_dirs,
            secret_hash: secret_hash.as_deref(),
            images: &images,
        };
        let mut built = build::build(&inputs);
        if lacks_read_once {
            // Without it the hash would change, and the pods roll twice.
            self.keep(&mut built, Kind::StatefulSet, &self.names.engine.clone());
        }
        let resize = self.storage(&mut built).await;
        let mut written = None;
        if !self.is_paused && self.is_finalizer_there(&built).await {
            written = self.apply(&built).await;
            self.prune(&built).await;
        }
        let mut facts = self.observe(&rendered, resize).await;
        facts.missing = missing;
        facts.is_paused = self.is_paused;
        facts.images = Some(images);
        let applied = self.stack.status.as_ref().and_then(|status| status.last_applied_config_hash.clone());
        facts.hashes = match applied {
            Some(applied) if self.is_paused => applied,
            _ => hashes(&rendered, &plan),
        };
        facts.grafana.written =
            written.or_else(|| self.stack.status.as_ref().and_then(|status| status.grafana.clone()));
        let rejected = plan.rejected().map(|(key, why)| format!("{key}: {}", why.message)).collect();
        let accepted = plan.verdicts.values().filter(|verdict| verdict.accepted.is_ok()).count();
        facts.scrapes = (plan.verdicts.len(), accepted, rejected);
        let changed = self.context.world.set_verdicts(self.key, self.in_force(plan));
        wake_scrapes(self.context, changed);
        let worst = self.failed.iter().find(|error| error.refusal.is_retryable());
        let error = worst.map(|error| PassError { refusal: error.refusal, message: error.to_string() });
        let error = error.or_else(|| {
            let (reason, message) = facts.missing.first()?;
            // Nothing wakes us when the Secret comes: there is no watch on Secrets.
            debug!(reason, "waits for a Secret");
            Some(PassError { refusal: Refusal::AdmissionDenied, message: message.clone() })
        });
        facts.failed = self.failed;
        facts.fights = self.fights;
        (facts, error, self.again_soon)
    }

    fn keep(&self, built: &mut Built, kind: Kind, name: &str) {
        let id = ObjectId::new(kind, &self.key.namespace, name);
        built.objects.retain(|object| object.id != id);
        built.kept.push(id);
    }

    /// Reads the Secrets that the spec names, one by one: we may neither list nor watch them.
    async fn references(&self) -> (Vec<(&'static str, String)>, Option<String>, bool) {
        let references = build::secret_references(&self.stack.spec);
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let mut seen: BTreeMap<String, Result<Secret, kube::Error>> = BTreeMap::new();
        let mut missing = Vec::new();
        let mut lacks_read_once = false;
        let mut read_once: Vec<Vec<u8>> = Vec::new();
        for SecretReference { name, keys, is_read_once, path } in references {
            if !seen.contains_key(&name) {
                let answer = api.get(&name).await;
                seen.insert(name.clone(), answer);
            }
            let before = missing.len();
            match &seen[&name] {
                Ok(secret) => {
                    let data = secret.data.as_ref();
                    for key in keys {
                        match data.and_then(|data| data.get(key)) {
                            Some(value) if is_read_once => read_once.push(value.0.clone()),
                            Some(_) => {}
                            None => missing.push((
                                "SecretKeyMissing",
                                format!("Secret {}/{name} has no key {key} ({path})", self.key.namespace),
                            )),
                        }
                    }
                }
                Err(error) if is_not_found(error) => {
                    let message = format!("Secret {}/{name} does not exist ({path})", self.key.namespace);
                    missing.push(("SecretNotFound", message));
                }
                Err(error) => {
                    let (_, message) = classify(error);
                    missing
                        .push(("SecretNotFound", format!("Secret {}/{name} ({path}): {message}", self.key.namespace)));
                }
            }
            lacks_read_once |= is_read_once && missing.len() > before;
        }
        let hash = (!read_once.is_empty()).then(|| hash::of_bytes(read_once.iter().map(Vec::as_slice)));
        (missing, hash, lacks_read_once)
    }

    fn observed_shards(&self) -> Vec<BTreeMap<String, String>> {
        let shard = |idx| {
            let id = ObjectId::new(Kind::ConfigMap, &self.key.namespace, &self.names.jobs(idx));
            let data = self.context.world.object(&id).and_then(|map| map.get("data").cloned());
            data.and_then(|data| serde_json::from_value(data).ok()).unwrap_or_default()
        };
        (0..SHARDS_MAX).map(shard).collect()
    }

    fn scrapes(&self) -> ScrapePlan {
        let world = &self.context.world;
        let controller_id = self.context.settings.controller_id.as_deref();
        scrape::plan(&self.stack, &world.scrapes(), &self.observed_shards(), controller_id, &|name| {
            world.namespace(name)
        })
    }

    /// A job is in force when it is in the ConfigMap, not when we meant to write it.
    fn in_force(&self, plan: ScrapePlan) -> crate::world::Verdicts {
        let observed = self.observed_shards();
        let mut verdicts = plan.verdicts;
        for (key, verdict) in &mut verdicts {
            let text = observed.iter().find_map(|shard| shard.get(&scrape::job_key(key)));
            verdict.generation_in_force = text.and_then(|text| scrape::generation_of(text));
        }
        verdicts
    }

    /// The images in force. When the operator's default changes, stacks roll one after the other.
    fn images(&mut self) -> Images {
        let default = self.context.settings.image.as_str();
        let wanted = Images::of(&self.stack, default);
        let Some(now) = self.stack.status.as_ref().and_then(|status| status.image.clone()) else { return wanted };
        let now = Images { engine: now.engine, collector: now.collector };
        let asks_for_none = |stack: &LogStack| {
            stack.spec.image.is_none() && (stack.spec.engine.image.is_none() || stack.spec.collector.image.is_none())
        };
        if now == wanted || now.engine.is_empty() || !asks_for_none(&self.stack) {
            return wanted;
        }
        let is_held = |stack: &LogStack| {
            let annotations = stack.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(names::HOLD_UPGRADE)).is_some_and(|value| value == "true")
        };
        if is_held(&self.stack) {
            return now;
        }
        let is_old = |stack: &LogStack| {
            let image = stack.status.as_ref().and_then(|status| status.image.as_ref());
            image.is_some_and(|image| Images::of(stack, default).engine != image.engine)
        };
        for other in self.context.world.stacks() {
            let key = Key::of(&other.metadata);
            if key == *self.key || !asks_for_none(&other) || is_held(&other) {
                continue;
            }
            let is_before = is_old(&other) && key < *self.key;
            let rolls = !is_old(&other)
                && self.context.memories.with(&key, |memory| {
                    memory.upgraded.is_some_and(|at| at.elapsed() < UPGRADE_PATIENCE) && !is_ready(&other)
                });
            if is_before || rolls {
                self.again_soon = true;
                return now;
            }
        }
        self.context.memories.with(self.key, |memory| memory.upgraded = Some(Instant::now()));
        info!(stack = %self.key, image = wanted.engine, "default image changes");
        wanted
    }

    /// The volume: plans and takes the steps, and fits the set's claim template to what is there.
    async fn storage(&mut self, built: &mut Built) -> Option<Resize> {
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
        let has_pod = self.context.world.pod_keys().contains(&pod_key);
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

    /// Patches the claim's request. What the class cannot do is said, and blocks nothing.
    async fn request(&mut self, id: &ObjectId, size: u64, claim: Option<&Value>) {
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
    async fn mark_claim(&mut self, id: &ObjectId, claim: Option<&Value>) {
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
    fn fit_set(&self, built: &mut Built, id: &ObjectId, set: Option<&Value>, claim: Option<&Claim>, desired: u64) {
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
                    self.context.queue.add(super::Item::Stack(self.key.clone()), Duration::from_secs(1));
                }
            }
        }
    }

    /// Deletes the set for a new claim template; its pods stay, and the next pass makes it anew.
    async fn recreate(&mut self, built: &mut Built, id: &ObjectId, set: &Value) {
        self.keep(built, Kind::StatefulSet, &self.names.engine.clone());
        self.again_soon = true;
        let when_deleted = set.pointer("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted");
        if when_deleted.is_some_and(|policy| policy == "Delete") {
            // Belt and braces: the garbage collector must not take the claim for an orphan.
            let patch = json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain" } } });
            if let Err(error) = self.context.applier.merge(id, &patch).await {
                self.failed.push(ApplyError::new(id, &error));
            }
            self.context.queue.add(super::Item::Stack(self.key.clone()), Duration::from_secs(2));
            return;
        }
        let template = set.pointer("/spec/template").cloned();
        match self.context.applier.delete(id, set, PropagationPolicy::Orphan).await {
            Ok(()) => {
                info!(stack = %self.key, "set deleted for a new claim template, its pods stay");
                self.context.memories.with(self.key, |memory| memory.recreating = template);
                self.context.queue.add(super::Item::Stack(self.key.clone()), Duration::from_secs(1));
            }
            Err(error) => self.failed.push(error),
        }
    }

    async fn delete_pod(&mut self, name: &str, reason: &str, note: &str) {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => self.context.tell(&self.stack, false, reason, &format!("pod {name}: {note}")),
            Err(error) if is_not_found(&error) => {}
            Err(error) => debug!(%error, "pod not deleted"),
        }
    }

    /// What lives outside the namespace needs our finalizer before it is made.
    async fn is_finalizer_there(&mut self, built: &Built) -> bool {
        let lives_outside = built.objects.iter().any(|object| object.id.namespace != self.key.namespace);
        let has_one =
            self.stack.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == names::FINALIZER));
        if has_one == lives_outside {
            return true;
        }
        if !lives_outside {
            // Something of an earlier spec may still be there: pruned first, and then the finalizer goes.
            let uid = self.stack.metadata.uid.as_deref().unwrap_or_default();
            let left = self.context.world.foreign_children();
            if left.iter().any(|(_, object)| annotation(object, names::OWNER_UID) == Some(uid)) {
                return true;
            }
        }
        match finalize::set_finalizer(self.context, &self.stack, lives_outside).await {
            Ok(()) => true,
            // Somebody wrote at the same time: the watch brings it, and the next pass tries again.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.context.queue.add(super::Item::Stack(self.key.clone()), Duration::from_secs(1));
                false
            }
            Err(error) => {
                let id = ObjectId::new(Kind::ConfigMap, &self.key.namespace, &self.key.name);
                let (refusal, message) = classify(&error);
                self.failed.push(ApplyError { id, refusal, message });
                false
            }
        }
    }

    fn owner_uid(&self) -> String {
        self.stack.metadata.uid.clone().unwrap_or_default()
    }

    async fn apply(&mut self, built: &Built) -> Option<GrafanaStatus> {
        let (owner_uid, owner_label) = (self.owner_uid(), self.names.label());
        let owner = Owner { uid: &owner_uid, label: &owner_label };
        let mut grafana = None;
        let mut created = 0;
        for object in &built.objects {
            let is_grafana = [self.names.datasource(), self.names.dashboards()].contains(&object.id.name);
            match self.context.applier.apply(object, owner).await {
                Ok(outcome) => {
                    created += usize::from(outcome == Outcome::Created);
                    self.note(&object.id, outcome);
                    if object.id.name == self.names.datasource() {
                        grafana = Some(GrafanaStatus {
                            namespace: object.id.namespace.clone(),
                            config_map: object.id.name.clone(),
                            uid: build::datasource_uid(&self.stack, &self.names),
                        });
                    }
                }
                Err(error) if is_grafana => {
                    // Grafana's namespace may come later; nothing else waits for it.
                    self.again_soon = true;
                    self.grafana_error = Some(format!("namespace {}: {}", object.id.namespace, error.message));
                }
                Err(error) if error.refusal == Refusal::KindMissing => {
                    debug!(object = %object.id, "its kind is not installed");
                }
                Err(error) if error.refusal == Refusal::Terminating => {}
                Err(error) => self.failed.push(error),
            }
        }
        if created > 0 {
            self.context.tell(&self.stack, false, "Created", &format!("{created} objects"));
        }
        grafana
    }

    fn note(&mut self, id: &ObjectId, outcome: Outcome) {
        match outcome {
            Outcome::Corrected(path) => {
                let may_tell = self.context.memories.with(self.key, |memory| memory.may_tell(format!("{id} {path}")));
                if may_tell {
                    let note = format!("{id}: {path} was changed by somebody else and set back");
                    self.context.tell(&self.stack, false, "DriftCorrected", &note);
                }
                if self.context.applier.is_fought_over(id) {
                    self.fights.push(format!("another controller keeps changing {path} of {id}"));
                }
            }
            Outcome::Fighting(path) => {
                self.fights.push(format!("another controller keeps changing {path} of {id}"));
                self.context.queue.add(super::Item::Stack(self.key.clone()), Duration::from_secs(10));
            }
            Outcome::Unchanged if self.context.applier.is_fought_over(id) => {
                self.fights.push(format!("another controller keeps changing {id}"));
            }
            _ => {}
        }
    }

    /// Deletes what we built once and do not build any more. Only kinds we build, only objects with both marks.
    async fn prune(&mut self, built: &Built) {
        let wanted: BTreeSet<&ObjectId> = built.objects.iter().map(|object| &object.id).chain(&built.kept).collect();
        let owner_uid = self.owner_uid();
        let label = self.names.label();
        let owner = Owner { uid: &owner_uid, label: &label };
        for (id, object) in self.context.world.children(&label) {
            let is_going = object.pointer("/metadata/deletionTimestamp").is_some();
            if wanted.contains(&id) || !Kind::BUILT.contains(&id.kind) || !owner.owns(&object) || is_going {
                continue;
            }
            // The new data source must be there before the old one goes.
            let is_datasource = id.name == self.names.datasource();
            let has_moved = built.objects.iter().any(|object| object.id.name == id.name && object.id.kind == id.kind);
            let is_grafana = is_datasource || id.name == self.names.dashboards();
            if is_grafana && has_moved && self.grafana_error.is_some() {
                continue;
            }
            let buries = is_datasource && !has_moved && self.stack.spec.grafana.datasource.remove_on_delete;
            let outcome = if buries {
                finalize::bury_datasource(self.context, &self.stack, &self.names, &id, &object).await
            } else {
                if id.kind == Kind::StatefulSet {
                    self.protect_claim(&id, &object).await;
                }
                self.context.applier.delete(&id, &object, PropagationPolicy::Background).await.map(|()| true)
            };
            match outcome {
                Ok(true) => info!(stack = %self.key, object = %id, "deleted: not needed any more"),
                Ok(false) => self.again_soon = true,
                Err(error) => self.failed.push(error),
            }
        }
    }

    /// With an external engine the set goes and the volume stays, whatever `whenDeleted` says about the LogStack.
    async fn protect_claim(&mut self, id: &ObjectId, set: &Value) {
        let policy = set.pointer("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted");
        if policy.is_some_and(|policy| policy == "Delete") {
            let patch = json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain" } } });
            if let Err(error) = self.context.applier.merge(id, &patch).await {
                self.failed.push(ApplyError::new(id, &error));
            }
        }
    }

    /// What is there now.
    async fn observe(&mut self, rendered: &Rendered, resize: Option<Resize>) -> StackFacts {
        let stack = self.stack.clone();
        let spec = &stack.spec;
        let world = self.context.world.clone();
        let namespace = &self.key.namespace;
        let set = world.object(&ObjectId::new(Kind::StatefulSet, namespace, &self.names.engine));
        let daemons = world.object(&ObjectId::new(Kind::DaemonSet, namespace, &self.names.collector));
        let engine_set = Workload::of_stateful_set(set.as_deref());
        let collector_set = Workload::of_daemon_set(daemons.as_deref());
        let is_external = spec.engine.external.is_some();
        let is_hibernated = !is_external && spec.engine.replicas == 0;
        let engine_lags =
            !is_external && !is_hibernated && (engine_set.ready < engine_set.desired || !engine_set.is_rolled_out());
        let collector_lags =
            spec.collector.enabled && (collector_set.ready < collector_set.desired || !collector_set.is_rolled_out());
        let engine_problem = match engine_lags {
            true => self.pod_problem("engine", engine_set.revision.as_deref()).await,
            false => self.persisting("engine", None),
        };
        let collector_problem = match collector_lags {
            true => self.pod_problem("collector", None).await,
            false => self.persisting("collector", None),
        };
        let signature = format!("{engine_set:?} {collector_set:?}");
        let is_overdue =
            self.context.memories.with(self.key, |memory| memory.is_overdue(engine_lags || collector_lags, signature));
        if engine_lags || collector_lags {
            self.again_soon = true;
        }
        let external = match &spec.engine.external {
            Some(external) => {
                self.again_soon = true;
                Some(self.ask_external(&external.url).await)
            }
            None => None,
        };
        if !is_external && engine_set.ready > 0 && spec.tls.is_none() {
            self.poll_engine().await;
        }
        let (pressure, version) =
            self.context.memories.with(self.key, |memory| (memory.pressure, memory.version.clone()));
        let claim = world.object(&ObjectId::new(Kind::PersistentVolumeClaim, namespace, &self.names.claim()));
        let text = |path: &str| {
            claim.as_deref().and_then(|claim| claim.pointer(path)).and_then(Value::as_str).map(str::to_owned)
        };
        let is_first = self.stack.status.as_ref().is_none_or(|status| status.conditions.is_empty());
        let selector = [names::NAME, names::INSTANCE, names::COMPONENT];
        let values = ["logstack-engine", self.names.stack.as_str(), "engine"];
        let selector: Vec<String> = selector.iter().zip(values).map(|(key, value)| format!("{key}={value}")).collect();
        StackFacts {
            generation: self.stack.metadata.generation,
            is_first,
            problems: rendered.problems().cloned().collect(),
            has_last_good: (rendered.engine.is_ok() || set.is_some())
                && (rendered.collector.is_ok() || daemons.is_some()),
            has_pod_template: !spec.engine.pod_template.is_empty() || !spec.collector.pod_template.is_empty(),
            engine: EngineFacts { is_hibernated, external, set: engine_set, problem: engine_problem },
            collector: CollectorFacts {
                is_disabled: !spec.collector.enabled,
                max_unavailable: max_unavailable(&spec.collector.max_unavailable, collector_set.desired),
                set: collector_set,
                problem: collector_problem,
                pod_security: self.pod_security(),
            },
            storage: StorageFacts {
                resize,
                not_expandable: self.not_expandable.clone(),
                requested: spec.engine.storage.size.0.clone(),
                capacity: text("/status/capacity/storage"),
                claim: self.names.claim(),
                class: text("/spec/storageClassName"),
                pressure,
            },
            grafana: GrafanaFacts {
                is_enabled: spec.grafana.enabled,
                written: None,
                error: self.grafana_error.clone(),
            },
            is_overdue,
            version,
            url: build::engine_url(spec, &self.names),
            selector: selector.join(","),
            ..StackFacts::default()
        }
    }

    /// Why pods do not serve; a pod that cannot start with an old template is replaced.
    async fn pod_problem(&mut self, component: &str, revision: Option<&str>) -> Option<observe::PodProblem> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let selector = format!(
            "{}={},{}={component},{}={}",
            names::INSTANCE,
            self.names.stack,
            names::COMPONENT,
            names::MANAGED_BY,
            names::FIELD_MANAGER
        );
        let Ok(pods) = api.list(&ListParams::default().labels(&selector).limit(100)).await else {
            return self.persisting(component, None);
        };
        if let Some(revision) = revision {
            let is_stuck = |pod: &&Pod| {
                let labels = pod.metadata.labels.as_ref();
                let own = labels.and_then(|labels| labels.get("controller-revision-hash"));
                !observe::is_ready(pod)
                    && own.is_some_and(|own| own != revision)
                    && pod.metadata.deletion_timestamp.is_none()
            };
            let stuck = pods.items.iter().filter(is_stuck).max_by_key(|pod| pod.metadata.name.clone());
            let patience = STUCK_AFTER.min(self.context.patience);
            let is_due =
                self.context.memories.with(self.key, |memory| memory.persists("stuck", stuck.is_some(), patience));
            if let (Some(pod), true, false) = (stuck, is_due, self.is_paused) {
                let (name, uid) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone());
                let preconditions = Preconditions { uid, resource_version: None };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                if api.delete(&name, &params).await.is_ok() {
                    self.context.tell(
                        &self.stack,
                        false,
                        "StuckPodReplaced",
                        &format!("pod {name} could not start with an old template"),
                    );
                }
            }
        }
        self.persisting(component, observe::pod_problem(&pods.items))
    }

    /// Hard reasons are given when they have lasted; before that the pod just starts.
    fn persisting(&self, component: &str, problem: Option<observe::PodProblem>) -> Option<observe::PodProblem> {
        let patience = self.context.patience;
        let is_hard = problem.as_ref().is_some_and(|problem| matches!(problem.reason, "ImagePull" | "CrashLoop"));
        self.context.memories.with(self.key, |memory| {
            let lasts = memory.persists(&format!("{component} problem"), is_hard, patience);
            problem.filter(|_| lasts || !is_hard)
        })
    }

    /// Collectors mount folders of the node; a namespace at `baseline` or `restricted` refuses their pods.
    fn pod_security(&self) -> Option<String> {
        if !self.stack.spec.collector.enabled {
            return None;
        }
        const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
        let facts = self.context.world.namespace(&self.key.namespace);
        facts.labels.get(ENFORCE).filter(|level| matches!(level.as_str(), "baseline" | "restricted"))?;
        Some(format!("kubectl label namespace {} {ENFORCE}=privileged --overwrite", self.key.namespace))
    }

    async fn ask_external(&self, url: &str) -> Result<(), String> {
        let url = format!("{}/ready", url.trim_end_matches('/'));
        match self.context.http.get(&url).timeout(POLL_TIMEOUT).send().await {
            // A gateway in front of Loki may not show /ready: it answers all the same.
            Ok(answer) if !answer.status().is_server_error() => Ok(()),
            Ok(answer) => Err(format!("answers with {}", answer.status())),
            Err(error) if error.is_timeout() => Err("does not answer in time".to_owned()),
            Err(_) => Err("cannot be reached".to_owned()),
        }
    }

    /// Asks the engine how full its volume is.
    async fn poll_engine(&self) {
        let is_due = self.context.memories.with(self.key, |memory| {
            let is_due = memory.polled.is_none_or(|at| at.elapsed() >= POLL_EVERY);
            if is_due {
                memory.polled = Some(Instant::now());
            }
            is_due
        });
        if !is_due {
            return;
        }
        let url = format!("{}/metrics", build::engine_url(&self.stack.spec, &self.names));
        let page = match self.context.http.get(&url).timeout(POLL_TIMEOUT).send().await {
            Ok(answer) if answer.status().is_success() => answer.text().await.unwrap_or_default(),
            _ => String::new(),
        };
        let value = |name: &str| -> Option<f64> {
            page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        };
        let id = ObjectId::new(Kind::PersistentVolumeClaim, &self.key.namespace, &self.names.claim());
        let capacity = self.context.world.object(&id);
        let capacity =
            capacity.as_deref().and_then(|claim| claim.pointer("/status/capacity/storage")).and_then(quantity_bytes);
        let retains = bytes(&self.stack.spec.engine.storage.size).is_some();
        self.context.memories.with(self.key, |memory| {
            memory.pressure = match (value("logstack_storage_part_bytes"), capacity) {
                (Some(used), Some(capacity)) if capacity > 0 => {
                    memory.used.retain(|(at, _)| at.elapsed() < RATE_WINDOW);
                    memory.used.push((Instant::now(), used as u64));
                    pressure(&memory.used, capacity, retains)
                }
                _ => Pressure::Unknown,
            };
        });
    }
}

/// How full, in steps of five percent, and how soon it is full at the rate of the samples.
fn pressure(used: &[(Instant, u64)], capacity: u64, has_size_retention: bool) -> Pressure {
    let (Some((first_at, first)), Some((last_at, last))) = (used.first(), used.last()) else {
        return Pressure::Unknown;
    };
    let percent = ((*last as f64 / capacity as f64 * 20.0).round() * 5.0).min(100.0) as u8;
    if percent > 90 && !has_size_retention {
        return Pressure::NearlyFull(percent);
    }
    let span = last_at.duration_since(*first_at);
    if span < RATE_WINDOW_MIN || last <= first || has_size_retention && percent > 85 {
        return Pressure::Enough(percent);
    }
    let per_day = (last - first) as f64 / span.as_secs_f64() * 86_400.0;
    let days = capacity.saturating_sub(*last) as f64 / per_day;
    match days {
        days if days < 1.0 => Pressure::Day(percent),
        days if days < 7.0 => Pressure::Week(percent),
        _ => Pressure::Enough(percent),
    }
}

fn is_ready(stack: &LogStack) -> bool {
    let status = stack.status.as_ref();
    let ready = status.and_then(|status| get(&status.conditions, "Ready"));
    ready.is_some_and(|ready| ready.status == "True" && ready.observed_generation == stack.metadata.generation)
}

fn hashes(rendered: &Rendered, plan: &ScrapePlan) -> ConfigHashes {
    let (engine, runtime) = match &rendered.engine {
        Ok(text) => (text.static_hash(), text.runtime_hash()),
        Err(_) => Default::default(),
    };
    let collector = match &rendered.collector {
        Ok(text) => {
            let default = text.default_job.as_deref().unwrap_or_default();
            let base = [text.base_file.as_bytes(), default.as_bytes()];
            hash::of_bytes(base.into_iter().chain(build::shard_texts(&plan.shards)))
        }
        Err(_) => String::new(),
    };
    ConfigHashes { engine, runtime, collector }
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

fn max_unavailable(value: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString, desired: i32) -> i32 {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => match text.trim_end_matches('%').parse::<f64>() {
            // Rounded up, as the DaemonSet controller does.
            Ok(share) => (f64::from(desired) * share / 100.0).ceil() as i32,
            Err(_) => 1,
        },
    }
}
