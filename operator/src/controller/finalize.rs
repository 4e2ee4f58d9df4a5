//! Deletion. What has an owner reference is collected; what lives outside the namespace is deleted here. The volume is
//! kept, or not, as the set's own policy says.
//!
//! It never waits for a person: what cannot be deleted is told, left to the sweep, and the object goes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kube::api::{Api, Patch, PatchParams, PropagationPolicy};
use logstack_crds::LogStack;
use serde_json::{Value, json};
use tracing::info;

use super::stack::wake_scrapes;
use super::{Context, PassError};
use crate::build;
use crate::error::{ApplyError, Refusal, classify};
use crate::names::{self, Names};
use crate::object::{Kind, ObjectId};
use crate::world::{Key, Verdicts, annotation};

/// Grafana's sidecar reads a changed file in this time.
const TOMBSTONE_SECONDS: u64 = 30;
/// Afterwards what is left is left: five minutes with the patience of a minute.
const GIVE_UP_AFTER_PATIENCES: u32 = 5;

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Adds or removes our finalizer. Others' stay.
///
/// # Errors
/// The API server's; somebody who wrote at the same time is one.
pub(super) async fn set_finalizer(context: &Context, stack: &LogStack, is_wanted: bool) -> Result<(), kube::Error> {
    let mut all = stack.metadata.finalizers.clone().unwrap_or_default();
    all.retain(|finalizer| finalizer != names::FINALIZER);
    if is_wanted {
        all.push(names::FINALIZER.to_owned());
    }
    let key = Key::of(&stack.metadata);
    let api: Api<LogStack> = Api::namespaced(context.client.clone(), &key.namespace);
    // The version makes sure that we do not undo what somebody else wrote.
    let patch = json!({ "metadata": { "finalizers": all, "resourceVersion": stack.metadata.resource_version } });
    api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
}

/// Cleans up after a LogStack that is being deleted.
pub(super) async fn cleanup(
    context: &Arc<Context>,
    key: &Key,
    stack: &LogStack,
) -> Result<Option<Duration>, PassError> {
    let changed = context.world.set_verdicts(key, Verdicts::new());
    wake_scrapes(context, changed);
    let has_ours = stack.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == names::FINALIZER));
    if !has_ours {
        return Ok(None);
    }
    let names = Names::new(&key.namespace, &key.name);
    let owner_uid = stack.metadata.uid.as_deref().unwrap_or_default();
    let mut left: Vec<ApplyError> = Vec::new();
    let mut is_waiting = false;
    for (id, object) in outside(context, stack, &names, owner_uid).await {
        let buries = id.name == names.datasource() && stack.spec.grafana.datasource.remove_on_delete;
        let outcome = match buries {
            true => bury_datasource(context, stack, &names, &id, &object).await,
            false => context.applier.delete(&id, &object, PropagationPolicy::Background).await.map(|()| true),
        };
        match outcome {
            Ok(is_gone) => is_waiting |= !is_gone,
            Err(error) => left.push(error),
        }
    }
    if is_waiting {
        return Ok(Some(Duration::from_secs(5)));
    }
    if let Some(error) = left.first() {
        let since = stack.metadata.deletion_timestamp.as_ref().map_or(0, |at| at.0.as_second().max(0) as u64);
        let give_up_after = context.patience * GIVE_UP_AFTER_PATIENCES;
        if unix_seconds().saturating_sub(since) < give_up_after.as_secs() {
            return Err(PassError { refusal: error.refusal, message: error.to_string() });
        }
        let note = format!("left behind: {error}");
        context.tell(stack, true, "CleanupIncomplete", &note);
    } else {
        context.tell(stack, false, "CleanedUp", "what lived outside the namespace is gone");
    }
    match set_finalizer(context, stack, false).await {
        Ok(()) => {
            info!(stack = %key, "finalizer removed");
            Ok(None)
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => {
            let (refusal, message) = classify(&error);
            Err(PassError { refusal, message })
        }
    }
}

/// Objects of ours that garbage collection does not see.
async fn outside(context: &Context, stack: &LogStack, names: &Names, owner_uid: &str) -> Vec<(ObjectId, Arc<Value>)> {
    let all = context.world.foreign_children();
    let mut ours: Vec<_> =
        all.into_iter().filter(|(_, object)| annotation(object, names::OWNER_UID) == Some(owner_uid)).collect();
    // A namespaced operator does not watch Grafana's namespace; the status knows where we wrote.
    if let Some(grafana) = stack.status.as_ref().and_then(|status| status.grafana.as_ref()) {
        for name in [names.datasource(), names.dashboards()] {
            let id = ObjectId::new(Kind::ConfigMap, &grafana.namespace, &name);
            if ours.iter().any(|(known, _)| *known == id) || grafana.namespace == names.namespace {
                continue;
            }
            if let Ok(Some(object)) = context.applier.observe(&id).await
                && annotation(&object, names::OWNER_UID) == Some(owner_uid)
            {
                ours.push((id, object));
            }
        }
    }
    ours
}

/// Tells Grafana to forget the data source, and deletes the ConfigMap a while later: Grafana keeps a data source whose
/// file merely vanishes. False: it waits.
pub(super) async fn bury_datasource(
    context: &Context,
    stack: &LogStack,
    names: &Names,
    id: &ObjectId,
    object: &Value,
) -> Result<bool, ApplyError> {
    let buried = annotation(object, names::TOMBSTONE).and_then(|at| at.parse::<u64>().ok());
    match buried {
        Some(at) if unix_seconds().saturating_sub(at) >= TOMBSTONE_SECONDS => {
            context.applier.delete(id, object, PropagationPolicy::Background).await?;
            Ok(true)
        }
        Some(_) => Ok(false),
        None => {
            let (key, text) = build::tombstone(stack, names);
            let patch = json!({
                "metadata": { "annotations": { names::TOMBSTONE: unix_seconds().to_string(), names::APPLIED_HASH: null } },
                "data": { key: text },
            });
            match context.applier.merge(id, &patch).await {
                Ok(()) => Ok(false),
                Err(error) if crate::error::is_not_found(&error) => Ok(true),
                Err(error) => {
                    let (refusal, message) = classify(&error);
                    let refusal = if refusal == Refusal::Invalid { Refusal::Forbidden } else { refusal };
                    Err(ApplyError { id: id.clone(), refusal, message })
                }
            }
        }
    }
}
