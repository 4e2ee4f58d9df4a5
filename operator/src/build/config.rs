//! ConfigMaps: the engine's two files, the collectors' base file, the jobs of LogScrapes.
//!
//! None of them is a Secret: credentials appear in them only as paths of mounted files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::meta::{self, Component};
use super::render::{CollectorText, EngineText};
use super::{Inputs, Object};

pub(super) fn engine(inputs: &Inputs<'_>, text: &EngineText) -> Object {
    map(inputs, Component::Engine, &inputs.names.engine, one("config.yaml", &text.static_file))
}

pub(super) fn runtime(inputs: &Inputs<'_>, text: &EngineText) -> Object {
    map(inputs, Component::Engine, &inputs.names.runtime(), one("runtime.yaml", &text.runtime_file))
}

pub(super) fn collector(inputs: &Inputs<'_>, text: &CollectorText) -> Object {
    let mut data = one("config.yaml", &text.base_file);
    if let Some(default_job) = &text.default_job {
        data.insert("default.yaml".to_owned(), default_job.clone());
    }
    map(inputs, Component::Collector, &inputs.names.collector, data)
}

/// Shards without jobs are not built: their ConfigMaps go.
pub(super) fn jobs<'a>(inputs: &'a Inputs<'_>) -> impl Iterator<Item = Object> + 'a {
    let filled = inputs.shards.iter().enumerate().filter(|(_, jobs)| !jobs.is_empty());
    filled.map(|(idx, jobs)| map(inputs, Component::Collector, &inputs.names.jobs(idx), jobs.clone()))
}

/// All texts of the jobs, for a hash.
pub fn shard_texts(shards: &[BTreeMap<String, String>]) -> impl Iterator<Item = &[u8]> {
    shards.iter().flatten().flat_map(|(key, text)| [key.as_bytes(), text.as_bytes()])
}

fn one(key: &str, text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), text.to_owned())])
}

fn map(inputs: &Inputs<'_>, component: Component, name: &str, data: BTreeMap<String, String>) -> Object {
    let metadata = meta::own(inputs, component, name);
    Object::new(&ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
}
