//! One pass over a LogStack, told from the top.
//!
//! ```text
//! gather: Secrets by name, LogScrapes, what is there
//! render, build, plan                                    pure
//! storage steps, apply, prune                            errors are collected, none stops the others
//! observe, summarise (pure), write the status if it differs
//! ```

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use logstack_crds::LogStack;
use logstack_crds::stack::LogStackStatus;
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use super::pass::Pass;
use super::{Context, Item, PassError, RESYNC, finalize};
use crate::error::{Refusal, classify};
use crate::names;
use crate::status::{get, summarize_stack};
use crate::world::{Decoded, Key, Verdicts};

/// Another look while something is under way.
const UNDER_WAY: Duration = Duration::from_secs(30);

pub(super) async fn reconcile(context: &Arc<Context>, key: &Key) -> Result<Option<Duration>, PassError> {
    let stack = match context.world.stack(key) {
        None => {
            context.memories.forget(key);
            context.metrics.forget("LogStack", &key.namespace, &key.name);
            return Ok(None);
        }
        Some(Decoded::Broken { metadata, error }) => {
            let known = context.memories.with(key, |memory| !memory.may_tell(format!("undecodable {error}")));
            if !known {
                undecodable(context, key, metadata.generation, metadata.uid.clone(), &error).await?;
            }
            return Ok(None);
        }
        Some(Decoded::Object(stack)) => stack,
    };
    if !context.settings.is_responsible_for(&stack.metadata) {
        // Another operator's: here it selects nothing.
        context.world.set_verdicts(key, Verdicts::new());
        return Ok(None);
    }
    if stack.metadata.deletion_timestamp.is_some() {
        return finalize::cleanup(context, key, &stack).await;
    }
    if context.world.namespace(&key.namespace).is_terminating {
        // Nothing can be made there, and all of it goes.
        let changed = context.world.set_verdicts(key, Verdicts::new());
        wake_scrapes(context, changed);
        return Ok(None);
    }
    let pass = Pass::new(context, key, stack.clone());
    let (facts, error, again_soon) = pass.run().await;
    let old = stack.status.clone().unwrap_or_default();
    let mut status = summarize_stack(&old, &facts, &Time(jiff::Timestamp::now()));
    let (generation, hold) = (stack.metadata.generation, context.patience * 2);
    let is_held = context.memories.with(key, |memory| {
        memory.flips.steady(&old.conditions, &mut status.conditions, generation, hold, Instant::now())
    });
    publish_metrics(context, key, &stack, &status);
    if old != status {
        tell(context, &stack, &old, &status);
        write(context, key, &stack, &status).await?;
        let nodes = |status: &LogStackStatus| status.collector.as_ref().map(|collector| collector.desired);
        if nodes(&old) != nodes(&status) {
            // LogScrapes that read files of nodes say on how many.
            let bound = context.world.verdicts(key).map(|verdicts| verdicts.keys().cloned().collect());
            wake_scrapes(context, bound.unwrap_or_default());
        }
    }
    match error {
        Some(error) => Err(error),
        // No later than what is only said when it lasts.
        None if again_soon || is_held => Ok(Some(UNDER_WAY.min(context.patience * 2))),
        None => Ok(Some(RESYNC)),
    }
}

/// Says of an object that we cannot read that we cannot read it; its neighbours go on.
async fn undecodable(
    context: &Context,
    key: &Key,
    generation: Option<i64>,
    uid: Option<String>,
    error: &str,
) -> Result<(), PassError> {
    let about = ObjectReference {
        api_version: Some(LogStack::api_version(&()).into_owned()),
        kind: Some(LogStack::kind(&()).into_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid,
        ..ObjectReference::default()
    };
    context.tell_reference(about, "Undecodable", error);
    let now = Time(jiff::Timestamp::now());
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Undecodable", "message": error,
            "observedGeneration": generation, "lastTransitionTime": now,
        })
    };
    let conditions = [condition("Ready", "False"), condition("Stalled", "True")];
    let body = json!({ "status": { "observedGeneration": generation, "conditions": conditions } });
    let resource = kube::core::ApiResource::erase::<LogStack>(&());
    let api: Api<kube::api::DynamicObject> = Api::namespaced_with(context.client.clone(), &key.namespace, &resource);
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&body)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let (refusal, message) = classify(&error);
            Err(PassError { refusal, message })
        }
    }
}

async fn write(context: &Context, key: &Key, stack: &LogStack, status: &LogStackStatus) -> Result<(), PassError> {
    let api: Api<LogStack> = Api::namespaced(context.client.clone(), &key.namespace);
    let body = json!({
        "apiVersion": LogStack::api_version(&()),
        "kind": LogStack::kind(&()),
        // Of this object, not of another of the same name.
        "metadata": { "uid": stack.metadata.uid },
        "status": status,
    });
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&key.name, &params, &Patch::Apply(&body)).await {
        Ok(mut written) => {
            written.metadata.managed_fields = None;
            context.world.set_written_stack(key, written);
            info!(stack = %key, generation = stack.metadata.generation, "status written");
            Ok(())
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => {
            let (refusal, message) = classify(&error);
            let refusal = if refusal == Refusal::Invalid { Refusal::AdmissionDenied } else { refusal };
            Err(PassError { refusal, message: format!("status of LogStack {key}: {message}") })
        }
    }
}

/// Events of transitions. A condition that turned bad is told in its own words.
fn tell(context: &Context, stack: &LogStack, old: &LogStackStatus, new: &LogStackStatus) {
    for after in &new.conditions {
        let before = get(&old.conditions, &after.type_);
        if before.is_some_and(|before| before.status == after.status && before.reason == after.reason) {
            continue;
        }
        let is_abnormal = matches!(after.type_.as_str(), "Degraded" | "StoragePressure" | "Stalled");
        let is_bad = if is_abnormal { after.status == "True" } else { after.status == "False" };
        match after.type_.as_str() {
            "Ready" if after.status == "True" => context.tell(stack, false, "Ready", &after.message),
            "Ready" if after.reason == "RollingOut" => context.tell(stack, false, "RollingOut", &after.message),
            "Ready" if is_bad => context.tell(stack, true, &after.reason, &after.message),
            "StorageResized" if after.reason == "Resizing" => {
                context.tell(stack, false, "StorageResizing", &after.message);
            }
            "StorageResized" if after.status == "True" && before.is_some_and(|before| before.status != "True") => {
                context.tell(stack, false, "StorageResized", &after.message);
            }
            "Paused" if after.status == "True" => context.tell(stack, false, "Paused", &after.message),
            "Paused" if before.is_some() => context.tell(stack, false, "Resumed", "the annotation is gone"),
            "ConfigValid" | "StorageResized" | "StoragePressure" | "Degraded" | "GrafanaSynced" | "Stalled"
                if is_bad =>
            {
                context.tell(stack, true, &after.reason, &after.message);
            }
            _ => {}
        }
    }
    let moved = |status: &LogStackStatus| status.grafana.as_ref().map(|grafana| grafana.namespace.clone());
    if let (Some(from), Some(to)) = (moved(old), moved(new))
        && from != to
    {
        context.tell(stack, false, "GrafanaMoved", &format!("from namespace {from} to {to}"));
    }
    let hashes = |status: &LogStackStatus| status.last_applied_config_hash.clone();
    if hashes(old).is_some() && hashes(old) != hashes(new) {
        context.tell(stack, false, "ConfigChanged", "the configuration of engine or collectors was written");
    }
}

fn publish_metrics(context: &Context, key: &Key, stack: &LogStack, status: &LogStackStatus) {
    let metrics = &context.metrics;
    metrics.forget("LogStack", &key.namespace, &key.name);
    let labels = [("kind", "LogStack"), ("namespace", key.namespace.as_str()), ("name", key.name.as_str())];
    let ready = get(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
    metrics.set("logstack_ready", &labels, f64::from(u8::from(ready)));
    for condition in &status.conditions {
        let [kind, namespace, name] = labels;
        let labels = [kind, namespace, name, ("type", condition.type_.as_str()), ("status", condition.status.as_str())];
        metrics.set("logstack_condition", &labels, 1.0);
    }
    let requested = logstack_crds::quantity::bytes(&stack.spec.engine.storage.size).unwrap_or_default();
    metrics.set("logstack_storage_requested_bytes", &labels, requested as f64);
    if let Some(scrapes) = &status.scrapes {
        for (state, count) in [("accepted", scrapes.accepted), ("rejected", scrapes.rejected)] {
            let [kind, namespace, name] = labels;
            metrics.set("logstack_scrapes", &[kind, namespace, name, ("state", state)], f64::from(count));
        }
    }
}

/// Wakes the LogScrapes whose verdict changed.
pub(super) fn wake_scrapes(context: &Context, changed: Vec<Key>) {
    for key in changed {
        context.queue.add(Item::Scrape(key), Duration::ZERO);
    }
}
