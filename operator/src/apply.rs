//! Writes what differs, and nothing else: server-side apply with one field manager.
//!
//! ```text
//! hash of desired == annotation, and desired is part of observed   nothing to do
//! hash equal, but a field differs                                  somebody changed our field: corrected, counted, told
//! hash differs                                                     applied
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::{ApplyError, Refusal, classify};
use crate::metrics::Metrics;
use crate::object::{Kind, Object, ObjectId};
use crate::subset::first_difference;
use crate::world::{World, annotation, controller_uid, label, uid};
use crate::{hash, names};

/// One request; longer waits belong to the queue, where they are seen.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// So many corrections of one object in [`FIGHT_WINDOW`] are a fight with another controller.
const FIGHT_CORRECTIONS: usize = 5;
/// See [`FIGHT_CORRECTIONS`].
const FIGHT_WINDOW: Duration = Duration::from_secs(600);
/// In a fight we write no more often than this.
const FIGHT_PAUSE: Duration = Duration::from_secs(10);

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was as we want it.
    Unchanged,
    /// It was not there.
    Created,
    /// We want something else now.
    Changed,
    /// Somebody had changed the field at this path.
    Corrected(String),
    /// Somebody keeps changing the field at this path: left alone for a while.
    Fighting(String),
}

/// Writes objects of one operator.
#[allow(missing_debug_implementations)] // the client has none
pub struct Applier {
    client: Client,
    world: Arc<World>,
    metrics: Arc<Metrics>,
    corrections: Mutex<HashMap<ObjectId, Vec<Instant>>>,
}

/// Whose object it is to be.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Uid of the LogStack.
    pub uid: &'a str,
    /// Value of its label.
    pub label: &'a str,
}

impl Owner<'_> {
    /// True for an object that carries our marks.
    pub fn owns(&self, object: &Value) -> bool {
        controller_uid(object) == Some(self.uid) || annotation(object, names::OWNER_UID) == Some(self.uid)
    }

    /// True when we may write an object that is there already.
    fn may_write(&self, object: &Value) -> bool {
        if self.owns(object) || annotation(object, names::ADOPT) == Some("true") {
            return true;
        }
        // Left by a LogStack of the same name that is gone.
        let is_ours = label(object, names::MANAGED_BY) == Some(names::FIELD_MANAGER)
            && label(object, names::STACK) == Some(self.label);
        controller_uid(object).is_none() && is_ours
    }
}

impl Applier {
    /// An applier that looks at `world` first.
    pub fn new(client: Client, world: Arc<World>, metrics: Arc<Metrics>) -> Self {
        Self { client, world, metrics, corrections: Mutex::default() }
    }

    /// The interface to objects of a kind.
    pub fn api(&self, id: &ObjectId) -> Api<DynamicObject> {
        let resource = id.kind.resource();
        match id.kind.is_cluster_scoped() {
            true => Api::all_with(self.client.clone(), &resource),
            false => Api::namespaced_with(self.client.clone(), &id.namespace, &resource),
        }
    }

    /// The object as the watch saw it, or as the API server has it: a stranger without our label is in no watch.
    ///
    /// # Errors
    /// The API server's.
    pub async fn observe(&self, id: &ObjectId) -> Result<Option<Arc<Value>>, ApplyError> {
        // Prometheus' kinds are not watched: what we know of them may be old.
        if let Some(known) = self.world.object(id).filter(|_| !id.kind.is_optional()) {
            return Ok(Some(known));
        }
        match self.timed(id, self.api(id).get(&id.name)).await {
            Ok(found) => Ok(Some(Arc::new(to_value(id, &found)))),
            Err(error) if error.refusal == Refusal::NamespaceMissing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn timed<T>(
        &self,
        id: &ObjectId,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let (refusal, message) = classify(&error);
                Err(ApplyError { id: id.clone(), refusal, message })
            }
            Err(_) => {
                let message = "the API server did not answer in time".to_owned();
                Err(ApplyError { id: id.clone(), refusal: Refusal::Timeout, message })
            }
        }
    }

    /// Makes the object as `object` says, if it may and must.
    ///
    /// # Errors
    /// The API server's, and `NameConflict` for an object that is not ours.
    pub async fn apply(&self, object: &Object, owner: Owner<'_>) -> Result<Outcome, ApplyError> {
        let id = &object.id;
        let hash = hash::of_value(&object.value);
        let mut desired = object.value.clone();
        desired["metadata"]["annotations"][names::APPLIED_HASH] = Value::String(hash.clone());
        let was_known = self.world.object(id).is_some();
        let observed = self.observe(id).await?;
        let outcome = match &observed {
            None => Outcome::Created,
            Some(observed) => {
                if !owner.may_write(observed) {
                    let message = format!(
                        "{id} exists and is not this LogStack's (hint: rename the LogStack, or annotate it {}: \"true\" to take it over)",
                        names::ADOPT
                    );
                    return Err(ApplyError { id: id.clone(), refusal: Refusal::NameConflict, message });
                }
                let difference = first_difference(&desired, observed);
                match (difference, annotation(observed, names::APPLIED_HASH) == Some(hash.as_str())) {
                    (None, _) => {
                        if id.kind.is_optional() {
                            // No watch brings it, and what is not in the picture is not deleted one day.
                            self.world.set_object(id.clone(), Some((**observed).clone()));
                        }
                        self.count(id.kind, "unchanged");
                        return Ok(Outcome::Unchanged);
                    }
                    (Some(path), true) => match self.is_fighting(id) {
                        true => return Ok(Outcome::Fighting(path)),
                        false => Outcome::Corrected(path),
                    },
                    (Some(_), false) => Outcome::Changed,
                }
            }
        };
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let api = self.api(id);
        match self.timed(id, api.patch(&id.name, &params, &Patch::Apply(&desired))).await {
            Ok(written) => {
                // The next pass may come before the watch.
                self.world.set_written(id.clone(), was_known, to_value(id, &written));
                self.count(id.kind, if outcome == Outcome::Created { "created" } else { "changed" });
                if let Outcome::Corrected(_) = outcome {
                    self.metrics.count("logstack_operator_drift_corrections_total", &[("kind", id.kind.as_str())]);
                }
                Ok(outcome)
            }
            Err(error) => {
                self.count(id.kind, "error");
                Err(error)
            }
        }
    }

    fn count(&self, kind: Kind, result: &str) {
        self.metrics.count("logstack_operator_applies_total", &[("kind", kind.as_str()), ("result", result)]);
    }

    /// Notes a correction; true when it must wait.
    fn is_fighting(&self, id: &ObjectId) -> bool {
        let mut all = self.corrections.lock();
        let times = all.entry(id.clone()).or_default();
        let now = Instant::now();
        times.retain(|at| now.duration_since(*at) < FIGHT_WINDOW);
        let is_soon = times.last().is_some_and(|last| now.duration_since(*last) < FIGHT_PAUSE);
        if times.len() >= FIGHT_CORRECTIONS && is_soon {
            return true;
        }
        times.push(now);
        false
    }

    /// True while an object is fought over.
    pub fn is_fought_over(&self, id: &ObjectId) -> bool {
        let now = Instant::now();
        let all = self.corrections.lock();
        let recent = |times: &Vec<Instant>| times.iter().filter(|at| now.duration_since(**at) < FIGHT_WINDOW).count();
        all.get(id).is_some_and(|times| recent(times) > FIGHT_CORRECTIONS)
    }

    /// A merge patch of a live object.
    ///
    /// # Errors
    /// The API server's; the raw one, because admission says there why a claim cannot grow.
    pub async fn merge(&self, id: &ObjectId, patch: &Value) -> Result<(), kube::Error> {
        let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api(id);
        let was_known = self.world.object(id).is_some();
        let written = api.patch(&id.name, &params, &Patch::Merge(patch)).await?;
        self.world.set_written(id.clone(), was_known, to_value(id, &written));
        Ok(())
    }

    /// Deletes the object if it is still the one that we saw. Absent is what we wanted.
    ///
    /// # Errors
    /// The API server's.
    pub async fn delete(
        &self,
        id: &ObjectId,
        observed: &Value,
        propagation: PropagationPolicy,
    ) -> Result<(), ApplyError> {
        let preconditions = Preconditions { uid: Some(uid(observed).to_owned()), resource_version: None };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(propagation),
            ..DeleteParams::default()
        };
        match self.timed(id, self.api(id).delete(&id.name, &params)).await {
            Ok(_) => {
                self.count(id.kind, "deleted");
                Ok(())
            }
            Err(error) if error.refusal == Refusal::NamespaceMissing => {
                self.world.set_object(id.clone(), None);
                Ok(())
            }
            // Another object of that name: not what we meant to delete.
            Err(error) if error.refusal == Refusal::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A dynamic object as one JSON value, without the bookkeeping of field managers, which is half of its size.
pub fn to_value(id: &ObjectId, object: &DynamicObject) -> Value {
    let mut object = object.clone();
    object.managed_fields_mut().clear();
    let mut value = object.data;
    let resource = id.kind.resource();
    value["apiVersion"] = json!(resource.api_version);
    value["kind"] = json!(resource.kind);
    object.metadata.managed_fields = None;
    value["metadata"] = serde_json::to_value(&object.metadata).unwrap_or_default();
    value
}
