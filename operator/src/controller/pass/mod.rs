//! The steps of a pass over a LogStack. Nothing waits here: what is not done is done by the next pass.
//!
//! `gather` -> `upgrade` -> build (pure) -> `volume` -> `write` -> `look`, with questions to the `engine`.

mod engine;
mod gather;
mod look;
mod upgrade;
mod volume;
mod write;

use std::sync::Arc;

use logstack_crds::LogStack;
use logstack_crds::stack::ConfigHashes;
use tracing::debug;

use super::stack::wake_scrapes;
use super::{Context, PassError};
use crate::build::{self, Built, Inputs, Rendered};
use crate::error::{ApplyError, Refusal};
use crate::hash;
use crate::names::{self, Names};
use crate::object::{Kind, ObjectId};
use crate::scrape::ScrapePlan;
use crate::status::StackFacts;
use crate::world::Key;

pub(in crate::controller) struct Pass<'a> {
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
    pub(in crate::controller) fn new(context: &'a Arc<Context>, key: &'a Key, stack: Arc<LogStack>) -> Self {
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
    pub(in crate::controller) async fn run(mut self) -> (StackFacts, Option<PassError>, bool) {
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
