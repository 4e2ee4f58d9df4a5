//! `attach_metadata`: what other objects know about a pod: its node and namespace, and who owns its owner.
//!
//! Only metadata is listed and watched, and only of kinds that a job asks for: each needs a right of its own (`nodes`,
//! `namespaces`, `replicasets`, `jobs`). A pod whose relatives are not known yet is a target all the same.

use std::collections::HashMap;
use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use logstack_config::collector::AttachMetadata;
use serde::de::DeserializeOwned;

use super::kubernetes::{from_cache, name_labels};
use super::relabel::LabelMap;

/// A kind of object that pods have to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in Kubernetes")]
pub enum Kind {
    Node,
    Namespace,
    ReplicaSet,
    Job,
}

/// What happened to an object.
pub type Change = (Kind, Event<ObjectMeta>);
type Changes = std::pin::Pin<Box<dyn Stream<Item = Result<Change, watcher::Error>> + Send>>;

/// Metadata of objects, by kind, namespace and name.
#[derive(Debug, Default)]
pub struct Related(HashMap<(Kind, String, String), ObjectMeta>);

/// Everything that one of `wishes` asks for.
pub fn union<'a>(wishes: impl Iterator<Item = &'a AttachMetadata>) -> AttachMetadata {
    wishes.fold(AttachMetadata::default(), |all, one| AttachMetadata {
        node: all.node || one.node,
        namespace: all.namespace || one.namespace,
        deployment: all.deployment || one.deployment,
        job: all.job || one.job,
        cronjob: all.cronjob || one.cronjob,
    })
}

/// Lists and watches what `wish` asks for; never ends.
pub fn changes(client: &Client, wish: &AttachMetadata, node: &str) -> Changes {
    let mut all: Vec<Changes> = vec![futures::stream::pending().boxed()];
    if wish.node {
        // Pods of this node have no other one.
        all.push(watch::<Node>(client, Kind::Node, &format!("metadata.name={node}")));
    }
    if wish.namespace {
        all.push(watch::<Namespace>(client, Kind::Namespace, ""));
    }
    if wish.deployment {
        all.push(watch::<ReplicaSet>(client, Kind::ReplicaSet, ""));
    }
    if wish.cronjob {
        all.push(watch::<Job>(client, Kind::Job, ""));
    }
    futures::stream::select_all(all).boxed()
}

fn watch<K>(client: &Client, kind: Kind, fields: &str) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = from_cache();
    if !fields.is_empty() {
        config = config.fields(fields);
    }
    let events = watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config).default_backoff();
    events
        .map(move |event| {
            Ok((
                kind,
                match event? {
                    Event::Apply(object) => Event::Apply(object.metadata),
                    Event::Delete(object) => Event::Delete(object.metadata),
                    Event::InitApply(object) => Event::InitApply(object.metadata),
                    Event::Init => Event::Init,
                    Event::InitDone => Event::InitDone,
                },
            ))
        })
        .boxed()
}

impl Related {
    /// Takes a change; true when labels of pods may be others now.
    pub fn apply(&mut self, (kind, event): Change) -> bool {
        let key = |meta: &ObjectMeta| {
            (kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
        };
        match event {
            Event::Apply(meta) | Event::InitApply(meta) => {
                let known = self.0.insert(key(&meta), meta.clone());
                // Nodes report themselves every few seconds, mostly with nothing new.
                known.is_none_or(|known| {
                    known.labels != meta.labels
                        || known.annotations != meta.annotations
                        || known.owner_references != meta.owner_references
                })
            }
            Event::Delete(meta) => self.0.remove(&key(&meta)).is_some(),
            Event::Init | Event::InitDone => false,
        }
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&ObjectMeta> {
        self.0.get(&(kind, namespace.to_owned(), name.to_owned()))
    }

    /// Labels that `wish` adds to those of a pod.
    pub fn labels(&self, pod: &Pod, wish: &AttachMetadata) -> LabelMap {
        let mut labels = LabelMap::new();
        let mut set = |name: &str, value: &str| {
            labels.insert(format!("__meta_kubernetes_{name}"), value.to_owned());
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let owner = controller(&pod.metadata);
        if wish.node && !node.is_empty() {
            set("node_name", node);
        }
        if wish.job
            && let Some(owner) = owner.filter(|owner| owner.kind == "Job")
        {
            set("pod_job_name", &owner.name);
        }
        let grandparents = [
            (wish.deployment, "ReplicaSet", Kind::ReplicaSet, "Deployment", "pod_deployment_name"),
            (wish.cronjob, "Job", Kind::Job, "CronJob", "pod_cronjob_name"),
        ];
        for (_, parent, kind, grandparent, label) in grandparents.into_iter().filter(|(wanted, ..)| *wanted) {
            let parent = owner.filter(|owner| owner.kind == parent);
            let meta = parent.and_then(|parent| self.get(kind, namespace, &parent.name));
            if let Some(owner) = meta.and_then(controller).filter(|owner| owner.kind == grandparent) {
                set(label, &owner.name);
            }
        }
        let objects = [
            (wish.node, "node", self.get(Kind::Node, "", node)),
            (wish.namespace, "namespace", self.get(Kind::Namespace, "", namespace)),
        ];
        for (_, kind, meta) in objects.into_iter().filter(|(wanted, ..)| *wanted) {
            let Some(meta) = meta else { continue };
            name_labels(meta.labels.as_ref(), &format!("{kind}_label"), &mut labels);
            name_labels(meta.annotations.as_ref(), &format!("{kind}_annotation"), &mut labels);
        }
        labels
    }
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(yaml: &str) -> ObjectMeta {
        serde_yaml::from_str(yaml).expect("metadata")
    }

    fn pod(owner: &str) -> Pod {
        serde_yaml::from_str(&format!(
            "metadata: {{namespace: shop, name: p, ownerReferences: [{owner}]}}\nspec: {{nodeName: n1, containers: []}}"
        ))
        .expect("a pod")
    }

    #[test]
    fn relatives_become_labels() {
        let mut related = Related::default();
        let owner = |kind: &str, name: &str| {
            format!("{{apiVersion: v1, kind: {kind}, name: {name}, uid: u, controller: true}}")
        };
        let objects = [
            (Kind::Node, "{name: n1, labels: {topology.kubernetes.io/zone: a}}".to_owned()),
            (Kind::Namespace, "{name: shop, annotations: {team: x}}".to_owned()),
            (
                Kind::ReplicaSet,
                format!("{{namespace: shop, name: web-1, ownerReferences: [{}]}}", owner("Deployment", "web")),
            ),
            (
                Kind::Job,
                format!("{{namespace: shop, name: night-7, ownerReferences: [{}]}}", owner("CronJob", "night")),
            ),
        ];
        for (kind, yaml) in &objects {
            assert!(related.apply((*kind, Event::InitApply(meta(yaml)))));
            assert!(!related.apply((*kind, Event::Apply(meta(yaml)))), "nothing new");
        }
        let all = AttachMetadata { node: true, namespace: true, deployment: true, job: true, cronjob: true };
        let check = |pod: &Pod, wish: &AttachMetadata, want: &[&str]| {
            let labels = related.labels(pod, wish);
            let got: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{}={value}", name.trim_start_matches("__meta_kubernetes_")))
                .collect();
            assert_eq!(got, want);
        };
        let of_node_and_namespace = [
            "namespace_annotation_team=x",
            "namespace_annotationpresent_team=true",
            "node_label_topology_kubernetes_io_zone=a",
            "node_labelpresent_topology_kubernetes_io_zone=true",
            "node_name=n1",
        ];
        let with = |more: &[&'static str]| [&of_node_and_namespace[..], more].concat();
        check(&pod(&owner("ReplicaSet", "web-1")), &all, &with(&["pod_deployment_name=web"]));
        check(&pod(&owner("Job", "night-7")), &all, &with(&["pod_cronjob_name=night", "pod_job_name=night-7"]));
        check(&pod(&owner("StatefulSet", "db")), &all, &of_node_and_namespace);
        check(&pod(&owner("ReplicaSet", "web-1")), &AttachMetadata::default(), &[]);
        assert!(related.apply((Kind::Node, Event::Delete(meta("{name: n1}")))));
    }
}
