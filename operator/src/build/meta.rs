//! Metadata of every object: labels, owner, and nothing that the user wrote on the LogStack itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use logstack_crds::LogStack;

use super::Inputs;
use crate::names::{self, Names};

/// The part of a stack that an object serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The log store.
    Engine,
    /// The agents.
    Collector,
    /// What Grafana reads.
    Grafana,
}

impl Component {
    fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Collector => "collector",
            Self::Grafana => "grafana",
        }
    }
}

/// Labels by which Services, StatefulSet and DaemonSet find pods. They never change.
pub fn selector_labels(names: &Names, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::NAME.to_owned(), format!("logstack-{}", component.as_str())),
        (names::INSTANCE.to_owned(), names.stack.clone()),
        (names::COMPONENT.to_owned(), component.as_str().to_owned()),
    ])
}

/// [`selector_labels`] as a selector.
pub fn selector(names: &Names, component: Component) -> LabelSelector {
    LabelSelector { match_labels: Some(selector_labels(names, component)), ..LabelSelector::default() }
}

/// Labels of pods and claims. Without the version: a new operator must not roll pods.
pub fn pod_labels(names: &Names, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector_labels(names, component);
    labels.insert(names::PART_OF.to_owned(), "logstack".to_owned());
    labels.insert(names::MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned());
    labels.insert(names::STACK.to_owned(), names.label());
    labels
}

fn labels(inputs: &Inputs<'_>, component: Component) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = inputs.stack.spec.common_labels.clone().unwrap_or_default();
    labels.extend(pod_labels(inputs.names, component));
    labels.insert(names::VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    labels
}

/// Metadata of an object beside its LogStack.
pub fn own(inputs: &Inputs<'_>, component: Component, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(inputs.names.namespace.clone()),
        labels: Some(labels(inputs, component)),
        annotations: inputs.stack.spec.common_annotations.clone(),
        owner_references: Some(vec![owner(inputs.stack)]),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object in another namespace, or in none: it cannot have an owner reference, so it carries the owner's
/// uid. No `instance` label: Argo CD's tracking by label would adopt and prune it.
pub fn foreign(inputs: &Inputs<'_>, component: Component, namespace: Option<&str>, name: &str) -> ObjectMeta {
    let mut labels = labels(inputs, component);
    labels.remove(names::INSTANCE);
    let mut annotations = inputs.stack.spec.common_annotations.clone().unwrap_or_default();
    annotations.insert(names::OWNER_UID.to_owned(), inputs.stack.metadata.uid.clone().unwrap_or_default());
    for (key, value) in [names::ARGO_COMPARE, names::ARGO_SYNC] {
        annotations.insert(key.to_owned(), value.to_owned());
    }
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// The LogStack as the owner that garbage collection and other controllers see.
pub fn owner(stack: &LogStack) -> OwnerReference {
    OwnerReference {
        api_version: LogStack::api_version(&()).into_owned(),
        kind: LogStack::kind(&()).into_owned(),
        name: stack.metadata.name.clone().unwrap_or_default(),
        uid: stack.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
