//! What a pass looks at before it builds: Secrets by name, LogScrapes, and the jobs that are in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::Value;

use super::Pass;
use crate::build::{self, SecretReference};
use crate::error::{classify, is_not_found};
use crate::hash;
use crate::names::SHARDS_MAX;
use crate::object::{Kind, ObjectId};
use crate::scrape::{self, ScrapePlan};
use crate::world::Verdicts;

impl Pass<'_> {
    /// Reads the Secrets that the spec names, one by one: we may neither list nor watch them.
    pub(super) async fn references(&self) -> (Vec<(&'static str, String)>, Option<String>, bool) {
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

    /// ConfigMaps of jobs as they are.
    fn shards(&self) -> Vec<Arc<Value>> {
        let id = |idx| ObjectId::new(Kind::ConfigMap, &self.key.namespace, &self.names.jobs(idx));
        // An absent one is an empty one: the place in the list says which it is.
        let shard = |idx| self.context.world.object(&id(idx)).unwrap_or_default();
        (0..SHARDS_MAX).map(shard).collect()
    }

    pub(super) fn scrapes(&self) -> ScrapePlan {
        let world = &self.context.world;
        let controller_id = self.context.settings.controller_id.as_deref();
        let shards = self.shards();
        let observed: Vec<_> = shards.iter().map(|shard| jobs(shard)).collect();
        scrape::plan(&self.stack, &world.scrapes(), &observed, controller_id, &|name| world.namespace(name))
    }

    /// A job is in force when it is in the ConfigMap, not when we meant to write it.
    pub(super) fn in_force(&self, plan: ScrapePlan) -> Verdicts {
        let shards = self.shards();
        let observed: Vec<_> = shards.iter().map(|shard| jobs(shard)).collect();
        let mut verdicts = plan.verdicts;
        for (key, verdict) in &mut verdicts {
            let file = scrape::job_key(key);
            let text = observed.iter().find_map(|shard| shard.get(file.as_str()));
            verdict.generation_in_force = text.and_then(|text| scrape::generation_of(text));
        }
        verdicts
    }
}

/// Jobs of a ConfigMap by their keys.
fn jobs(shard: &Value) -> BTreeMap<&str, &str> {
    let data = shard.get("data").and_then(Value::as_object).into_iter().flatten();
    data.filter_map(|(key, text)| Some((key.as_str(), text.as_str()?))).collect()
}
