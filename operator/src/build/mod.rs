//! LogStack -> the objects that it means. Pure: the same input gives the same bytes, so that a restart of the operator
//! never rolls a pod.
//!
//! ```text
//! render::render(spec)            -> files of engine and collectors, each valid or a list of problems
//! build(stack, files, shards, …)  -> objects, and those that stay as they are because their file is not valid
//! ```
//!
//! A file an object. What the spec does not decide (which image is in force, which jobs, hashes of Secrets) comes in
//! with [`Inputs`].

mod account;
mod collector;
mod config;
mod engine;
mod extras;
mod grafana;
mod meta;
mod pod;
mod references;
mod render;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use logstack_crds::LogStack;

use crate::names::Names;
use crate::object::{Kind, Object, ObjectId};

pub use config::shard_texts;
pub use grafana::{datasource_uid, tombstone};
pub use pod::static_prefix;
pub use references::{SecretReference, secret_references};
pub use render::{CollectorText, EngineText, Rendered, engine_url, render, runtime_problems};

/// Port of the collectors' own server.
pub const COLLECTOR_PORT: i32 = 3101;
/// Port of the engine in its pod; the Service may have another.
pub const ENGINE_PORT: i32 = 3100;

/// What the operator was told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Image of stacks that name none.
    pub image: String,
    /// Namespaces that are looked at; empty: all.
    pub watch_namespaces: Vec<String>,
    /// The ClusterRole that collectors are bound to.
    pub collector_cluster_role: String,
    /// Which of several operators this is.
    pub controller_id: Option<String>,
}

impl Settings {
    /// True when an object is ours to reconcile, and not another operator's.
    pub fn is_responsible_for(&self, metadata: &ObjectMeta) -> bool {
        let id = metadata.labels.as_ref().and_then(|labels| labels.get(crate::names::CONTROLLER_ID));
        id.map(String::as_str) == self.controller_id.as_deref()
    }

    /// Where to ask for objects: each watched namespace; `None`: everywhere.
    pub fn scopes(&self) -> Vec<Option<String>> {
        match self.watch_namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        }
    }

    /// True when objects of `namespace` are ours to look at.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watch_namespaces.is_empty() || self.watch_namespaces.iter().any(|watched| watched == namespace)
    }
}

/// Images in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The engine's.
    pub engine: String,
    /// The collectors'.
    pub collector: String,
}

impl Images {
    /// What the spec asks for, with `default` where it says nothing.
    pub fn of(stack: &LogStack, default: &str) -> Self {
        let image = |own: &Option<String>| own.as_deref().or(stack.spec.image.as_deref()).unwrap_or(default).to_owned();
        Self { engine: image(&stack.spec.engine.image), collector: image(&stack.spec.collector.image) }
    }
}

/// Everything that decides what is built.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The stack.
    pub stack: &'a LogStack,
    /// The operator's own settings.
    pub settings: &'a Settings,
    /// Names of its objects.
    pub names: &'a Names,
    /// Files of engine and collectors.
    pub rendered: &'a Rendered,
    /// Jobs of LogScrapes, by ConfigMap.
    pub shards: &'a [BTreeMap<String, String>],
    /// Folders of the node that jobs of LogScrapes read.
    pub node_dirs: &'a BTreeSet<String>,
    /// Hash of the Secrets that a running engine does not read again.
    pub secret_hash: Option<&'a str>,
    /// Images in force.
    pub images: &'a Images,
}

/// What was built.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// Objects to apply, in the order in which they are applied.
    pub objects: Vec<Object>,
    /// Objects that stay as they are: their new content is not valid.
    pub kept: Vec<ObjectId>,
}

/// Builds all objects of a stack.
pub fn build(inputs: &Inputs<'_>) -> Built {
    let mut built = Built::default();
    let names = inputs.names;
    let spec = &inputs.stack.spec;
    let (own, is_external) = (&names.namespace, spec.engine.external.is_some());
    account::build(inputs, &mut built.objects);
    if !is_external {
        match &inputs.rendered.engine {
            Ok(text) => {
                built.objects.push(config::engine(inputs, text));
                built.objects.push(config::runtime(inputs, text));
                built.objects.push(engine::build(inputs, text));
            }
            Err(_) => built.kept.extend([
                ObjectId::new(Kind::ConfigMap, own, &names.engine),
                ObjectId::new(Kind::ConfigMap, own, &names.runtime()),
                ObjectId::new(Kind::StatefulSet, own, &names.engine),
            ]),
        }
        built.objects.push(service::client(inputs));
        built.objects.push(service::headless(inputs));
    }
    if spec.collector.enabled {
        built.objects.extend(config::jobs(inputs));
        match &inputs.rendered.collector {
            Ok(text) => {
                built.objects.push(config::collector(inputs, text));
                built.objects.push(collector::build(inputs, text));
            }
            Err(_) => built.kept.extend([
                ObjectId::new(Kind::ConfigMap, own, &names.collector),
                ObjectId::new(Kind::DaemonSet, own, &names.collector),
            ]),
        }
    }
    grafana::build(inputs, &mut built.objects);
    extras::build(inputs, &mut built.objects);
    // Accounts before the pods that use them, configuration before the pods that mount it.
    built.objects.sort_by(|a, b| (a.id.kind, &a.id).cmp(&(b.id.kind, &b.id)));
    built
}
