//! Counts pods of a LogScrape: how many match, are collected, or lack the annotation. The commonest question of the first
//! hour is why a pod is not there.

use std::collections::BTreeMap;

use logstack_crds::LogScrapeSpec;

use super::select::matches;
use crate::world::{NamespaceFacts, World};

/// Names in a message; more would churn and not be read.
const EXAMPLES_MAX: usize = 3;

/// A few names, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// The first in order.
    pub names: Vec<String>,
    /// All.
    pub count: usize,
}

impl Examples {
    /// Adds one.
    pub fn add(&mut self, name: String) {
        self.count += 1;
        self.names.push(name);
        self.names.sort();
        self.names.truncate(EXAMPLES_MAX);
    }
}

impl std::fmt::Display for Examples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join(", "))?;
        match self.count - self.names.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Pods of a LogScrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Selected.
    pub matched: usize,
    /// Selected, but without the annotation.
    pub gated: Examples,
}

/// Counts the pods that `spec`, of a LogScrape in `own_namespace`, selects.
pub fn count(spec: &LogScrapeSpec, own_namespace: &str, world: &World) -> Counts {
    let mut counts = Counts::default();
    let mut namespaces: BTreeMap<String, bool> = BTreeMap::new();
    world.for_each_pod(|key, pod| {
        let is_selected = *namespaces.entry(key.namespace.clone()).or_insert_with(|| {
            selects_namespace(spec, own_namespace, &key.namespace, || world.namespace(&key.namespace))
        });
        if !is_selected || !spec.selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels)) {
            return;
        }
        counts.matched += 1;
        let gate = &spec.annotation_gate;
        if gate.enabled && pod.annotations.get(&gate.key) != Some(&gate.value) {
            counts.gated.add(key.name.clone());
        }
    });
    counts
}

fn selects_namespace(spec: &LogScrapeSpec, own: &str, namespace: &str, facts: impl Fn() -> NamespaceFacts) -> bool {
    let Some(selector) = &spec.namespace_selector else { return namespace == own };
    if selector.any == Some(true) {
        return true;
    }
    if let Some(labels) = &selector.match_labels {
        let known = facts().labels;
        return labels.iter().all(|(key, value)| known.get(key) == Some(value));
    }
    match &selector.match_names {
        Some(names) => names.iter().any(|name| name == namespace),
        None => namespace == own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Key, PodFacts};

    #[test]
    fn counts_pods() {
        let world = World::default();
        for idx in 0..6 {
            let annotations = match idx {
                0 => BTreeMap::from([("prometheus.io/scrape".to_owned(), "true".to_owned())]),
                _ => BTreeMap::new(),
            };
            let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
            let namespace = if idx == 5 { "other" } else { "shop" };
            let key = Key { namespace: namespace.to_owned(), name: format!("web-{idx}") };
            world.set_pod(key, Some(PodFacts { labels, annotations }));
        }
        #[track_caller]
        fn check(world: &World, spec: &str, want: (usize, &str)) {
            let counts = count(&serde_yaml::from_str(spec).unwrap(), "shop", world);
            assert_eq!((counts.matched, counts.gated.to_string().as_str()), want, "{spec}");
        }
        check(&world, "{}", (5, "web-1, web-2, web-3 and 1 more"));
        check(&world, "{selector: {matchLabels: {app: db}}}", (0, ""));
        check(&world, "{annotationGate: {enabled: false}}", (5, ""));
        check(&world, "{namespaceSelector: {any: true}}", (6, "web-1, web-2, web-3 and 2 more"));
        check(&world, "{namespaceSelector: {matchNames: [other]}}", (1, "web-5"));
    }
}
