//! One pass over a LogScrape: it gathers what the LogStacks said and counts pods; the work was done by their passes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use logstack_crds::{LogScrape, LogScrapeStatus};
use serde_json::json;

use super::{Context, PassError, RESYNC};
use crate::error::{Refusal, classify};
use crate::names;
use crate::scrape::count;
use crate::status::{ScrapeFacts, get, summarize_scrape};
use crate::world::{Decoded, Key};

/// Another look when a LogStack has not judged yet; its pass wakes us, too.
const UNJUDGED: Duration = Duration::from_secs(2);

pub(super) async fn reconcile(context: &Arc<Context>, key: &Key) -> Result<Option<Duration>, PassError> {
    let scrape = match context.world.scrape(key) {
        None => {
            context.metrics.forget("LogScrape", &key.namespace, &key.name);
            return Ok(None);
        }
        Some(Decoded::Broken { metadata, error }) => {
            let about = k8s_openapi::api::core::v1::ObjectReference {
                api_version: Some(LogScrape::api_version(&()).into_owned()),
                kind: Some(LogScrape::kind(&()).into_owned()),
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                ..Default::default()
            };
            context.tell_reference(about, "Undecodable", &error);
            return Ok(None);
        }
        Some(Decoded::Object(scrape)) => scrape,
    };
    if !context.settings.is_responsible_for(&scrape.metadata) {
        return Ok(None);
    }
    // Before all have judged nobody can say that none selects it.
    if !context.world.all_judged() {
        return Ok(Some(UNJUDGED));
    }
    let mut facts = ScrapeFacts {
        key: Some(key.clone()),
        generation: scrape.metadata.generation,
        reads_node_paths: scrape.spec.node_paths.is_some(),
        gate: format!("{}: {:?}", scrape.spec.annotation_gate.key, scrape.spec.annotation_gate.value),
        ..ScrapeFacts::default()
    };
    for stack in context.world.stack_keys() {
        let verdicts = context.world.verdicts(&stack);
        if let Some(verdict) = verdicts.as_ref().and_then(|verdicts| verdicts.get(key)) {
            // Its pass over our present generation is on its way.
            if Some(verdict.generation) != scrape.metadata.generation {
                return Ok(Some(UNJUDGED));
            }
            if let Some(Decoded::Object(stack)) = context.world.stack(&stack).filter(|_| facts.reads_node_paths) {
                let collector = stack.status.as_ref().and_then(|status| status.collector.as_ref());
                facts.nodes += collector.map_or(0, |collector| collector.desired);
            }
            facts.verdicts.insert(stack, verdict.clone());
        }
    }
    if context.counts_targets && !facts.reads_node_paths {
        facts.counts = Some(count(&scrape.spec, &key.namespace, &context.world));
    }
    let old = scrape.status.clone().unwrap_or_default();
    let status = summarize_scrape(&old, &facts, &Time(jiff::Timestamp::now()));
    let is_ready = get(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
    let labels = [("kind", "LogScrape"), ("namespace", key.namespace.as_str()), ("name", key.name.as_str())];
    context.metrics.set("logstack_ready", &labels, f64::from(u8::from(is_ready)));
    if old != status {
        tell(context, &scrape, &old, &status);
        write(context, &scrape, status).await?;
    }
    Ok(Some(RESYNC))
}

/// Tells of transitions only.
fn tell(context: &Context, scrape: &LogScrape, old: &LogScrapeStatus, new: &LogScrapeStatus) {
    let (before, after) = (get(&old.conditions, "Accepted"), get(&new.conditions, "Accepted"));
    let Some(after) = after else { return };
    if before.is_some_and(|before| before.reason == after.reason && before.message == after.message) {
        return;
    }
    if after.status != "True" && matches!(after.reason.as_str(), "Invalid" | "NotPermitted" | "TooLarge") {
        context.tell_scrape(scrape, true, &after.reason, &after.message);
    }
}

async fn write(context: &Context, scrape: &LogScrape, status: LogScrapeStatus) -> Result<(), PassError> {
    let key = Key::of(&scrape.metadata);
    let api: Api<LogScrape> = Api::namespaced(context.client.clone(), &key.namespace);
    let body = json!({
        "apiVersion": LogScrape::api_version(&()),
        "kind": LogScrape::kind(&()),
        // Of this object, not of another of the same name.
        "metadata": { "uid": scrape.metadata.uid },
        "status": status,
    });
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&key.name, &params, &Patch::Apply(&body)).await {
        Ok(mut written) => {
            written.metadata.managed_fields = None;
            context.world.set_written_scrape(&key, written);
            Ok(())
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => {
            let (refusal, message) = classify(&error);
            let refusal = if refusal == Refusal::Invalid { Refusal::Forbidden } else { refusal };
            Err(PassError { refusal, message: format!("status of LogScrape {key}: {message}") })
        }
    }
}
