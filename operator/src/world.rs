//! What the watches have seen: the operator's picture of the cluster. It may be one event behind.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use logstack_crds::{LogScrape, LogStack};
use parking_lot::RwLock;
use serde_json::Value;

use crate::names;
use crate::object::{Kind, ObjectId};

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// Of an object's metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object that a user wrote; one that cannot be decoded does not stop the others.
#[derive(Debug, Clone)]
pub enum Decoded<T> {
    /// As it is.
    Object(Arc<T>),
    /// Its metadata, and what is wrong.
    Broken {
        /// Metadata.
        metadata: Arc<ObjectMeta>,
        /// What the decoder says.
        error: String,
    },
}

impl<T: Resource> Decoded<T> {
    /// Its metadata, which can always be read.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Broken { metadata, .. } => metadata,
        }
    }

    /// Takes the answer to a write of the status, unless a later state is known. What somebody else changed meanwhile is
    /// in the answer, too, and only its status is taken then: the event of that change would bring no news otherwise, and
    /// nobody would act on it.
    fn take_written(&mut self, written: T, take_status: impl FnOnce(&mut T, T))
    where
        T: Clone,
    {
        let version = |metadata: &ObjectMeta| metadata.resource_version.as_deref().map(number);
        if version(self.metadata()) > version(written.meta()) {
            return;
        }
        if trigger(self.metadata()) == trigger(written.meta()) {
            *self = Self::Object(Arc::new(written));
        } else if let Self::Object(known) = self {
            take_status(Arc::make_mut(known), written);
        }
    }
}

/// What is known of a pod: enough to count targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What is known of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// It is going away: nothing can be made in it.
    pub is_terminating: bool,
}

/// What a LogStack made of a LogScrape at its last pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Generation of the LogScrape that was judged.
    pub generation: i64,
    /// Its job, or why there is none.
    pub accepted: Result<(), Rejection>,
    /// The generation whose job is in the ConfigMap, when there is one.
    pub generation_in_force: Option<i64>,
}

/// Why a LogScrape has no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A word for a condition.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// Verdicts of one stack.
pub type Verdicts = BTreeMap<Key, Verdict>;

/// The picture.
#[derive(Debug, Default)]
pub struct World {
    stacks: RwLock<BTreeMap<Key, Decoded<LogStack>>>,
    scrapes: RwLock<BTreeMap<Key, Decoded<LogScrape>>>,
    objects: RwLock<HashMap<ObjectId, Arc<Value>>>,
    namespaces: RwLock<BTreeMap<String, NamespaceFacts>>,
    pods: RwLock<HashMap<Key, PodFacts>>,
    verdicts: RwLock<BTreeMap<Key, Arc<Verdicts>>>,
}

impl World {
    /// A LogStack.
    pub fn stack(&self, key: &Key) -> Option<Decoded<LogStack>> {
        self.stacks.read().get(key).cloned()
    }

    /// All LogStacks that can be decoded.
    pub fn stacks(&self) -> Vec<Arc<LogStack>> {
        let object = |decoded: &Decoded<LogStack>| match decoded {
            Decoded::Object(stack) => Some(stack.clone()),
            Decoded::Broken { .. } => None,
        };
        self.stacks.read().values().filter_map(object).collect()
    }

    /// Uids of all LogStacks, also of those that cannot be decoded.
    pub fn stack_uids(&self) -> Vec<String> {
        let uid = |decoded: &Decoded<LogStack>| match decoded {
            Decoded::Object(stack) => stack.metadata.uid.clone(),
            Decoded::Broken { metadata, .. } => metadata.uid.clone(),
        };
        self.stacks.read().values().filter_map(uid).collect()
    }

    /// Names of all LogStacks.
    pub fn stack_keys(&self) -> Vec<Key> {
        self.stacks.read().keys().cloned().collect()
    }

    /// A LogScrape.
    pub fn scrape(&self, key: &Key) -> Option<Decoded<LogScrape>> {
        self.scrapes.read().get(key).cloned()
    }

    /// All LogScrapes that can be decoded.
    pub fn scrapes(&self) -> Vec<Arc<LogScrape>> {
        let object = |decoded: &Decoded<LogScrape>| match decoded {
            Decoded::Object(scrape) => Some(scrape.clone()),
            Decoded::Broken { .. } => None,
        };
        self.scrapes.read().values().filter_map(object).collect()
    }

    /// Names of all LogScrapes.
    pub fn scrape_keys(&self) -> Vec<Key> {
        self.scrapes.read().keys().cloned().collect()
    }

    /// Puts or, with `None`, removes a LogStack.
    pub fn set_stack(&self, key: Key, stack: Option<Decoded<LogStack>>) {
        match stack {
            Some(stack) => drop(self.stacks.write().insert(key, stack)),
            None => {
                self.stacks.write().remove(&key);
                self.verdicts.write().remove(&key);
            }
        }
    }

    /// Puts or, with `None`, removes a LogScrape.
    pub fn set_scrape(&self, key: Key, scrape: Option<Decoded<LogScrape>>) {
        match scrape {
            Some(scrape) => drop(self.scrapes.write().insert(key, scrape)),
            None => drop(self.scrapes.write().remove(&key)),
        }
    }

    /// A child object.
    pub fn object(&self, id: &ObjectId) -> Option<Arc<Value>> {
        self.objects.read().get(id).cloned()
    }

    /// Puts or, with `None`, removes a child object.
    pub fn set_object(&self, id: ObjectId, value: Option<Value>) {
        match value {
            Some(value) => drop(self.objects.write().insert(id, Arc::new(value))),
            None => drop(self.objects.write().remove(&id)),
        }
    }

    /// Puts what a write was answered with, unless a watch has shown a newer state meanwhile: a later version, or that an
    /// object that `was_known` before the write is gone.
    pub fn set_written(&self, id: ObjectId, was_known: bool, value: Value) {
        let version = |value: &Value| value.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(number);
        let mut objects = self.objects.write();
        if objects.get(&id).map_or(!was_known, |known| version(known) <= version(&value)) {
            objects.insert(id, Arc::new(value));
        }
    }

    /// As [`set_written`](Self::set_written), for the answer to a write of its status. Only what exists is written: one that
    /// a watch no longer shows is gone.
    pub fn set_written_stack(&self, key: &Key, written: LogStack) {
        if let Some(known) = self.stacks.write().get_mut(key) {
            known.take_written(written, |known, written| known.status = written.status);
        }
    }

    /// As [`set_written_stack`](Self::set_written_stack).
    pub fn set_written_scrape(&self, key: &Key, written: LogScrape) {
        if let Some(known) = self.scrapes.write().get_mut(key) {
            known.take_written(written, |known, written| known.status = written.status);
        }
    }

    /// Children of the stack with this label value.
    pub fn children(&self, stack_label: &str) -> Vec<(ObjectId, Arc<Value>)> {
        let is_ours = |value: &Value| label(value, names::STACK) == Some(stack_label);
        let objects = self.objects.read();
        let mut out: Vec<_> =
            objects.iter().filter(|(_, v)| is_ours(v)).map(|(id, v)| (id.clone(), v.clone())).collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// All objects with an owner's uid in an annotation: those that garbage collection does not see.
    pub fn foreign_children(&self) -> Vec<(ObjectId, Arc<Value>)> {
        let objects = self.objects.read();
        let marked = objects.iter().filter(|(_, value)| annotation(value, names::OWNER_UID).is_some());
        marked.map(|(id, value)| (id.clone(), value.clone())).collect()
    }

    /// Ids of the objects of a kind.
    pub fn object_ids(&self, kind: Kind) -> Vec<ObjectId> {
        self.objects.read().keys().filter(|id| id.kind == kind).cloned().collect()
    }

    /// A namespace; unknown ones have no labels.
    pub fn namespace(&self, name: &str) -> NamespaceFacts {
        self.namespaces.read().get(name).cloned().unwrap_or_default()
    }

    /// Puts or, with `None`, removes a namespace. True when something changed.
    pub fn set_namespace(&self, name: &str, facts: Option<NamespaceFacts>) -> bool {
        let mut namespaces = self.namespaces.write();
        if namespaces.get(name) == facts.as_ref() {
            return false;
        }
        match facts {
            Some(facts) => drop(namespaces.insert(name.to_owned(), facts)),
            None => drop(namespaces.remove(name)),
        }
        true
    }

    /// Names of all namespaces.
    pub fn namespace_names(&self) -> Vec<String> {
        self.namespaces.read().keys().cloned().collect()
    }

    /// Puts or, with `None`, removes a pod. True when its labels or annotations changed.
    pub fn set_pod(&self, key: Key, facts: Option<PodFacts>) -> bool {
        let mut pods = self.pods.write();
        if pods.get(&key) == facts.as_ref() {
            return false;
        }
        match facts {
            Some(facts) => drop(pods.insert(key, facts)),
            None => drop(pods.remove(&key)),
        }
        true
    }

    /// Names of all pods.
    pub fn pod_keys(&self) -> Vec<Key> {
        self.pods.read().keys().cloned().collect()
    }

    /// Looks at every pod.
    pub fn for_each_pod(&self, mut look: impl FnMut(&Key, &PodFacts)) {
        self.pods.read().iter().for_each(|(key, facts)| look(key, facts));
    }

    /// Verdicts of a stack's last pass; `None`: it had none yet.
    pub fn verdicts(&self, stack: &Key) -> Option<Arc<Verdicts>> {
        self.verdicts.read().get(stack).cloned()
    }

    /// Keeps the verdicts of a pass and returns the LogScrapes whose verdict changed.
    pub fn set_verdicts(&self, stack: &Key, verdicts: Verdicts) -> Vec<Key> {
        let mut all = self.verdicts.write();
        let (changed, is_first) = match all.get(stack) {
            Some(old) => {
                let gone = old.keys().filter(|key| !verdicts.contains_key(*key));
                let new = verdicts.iter().filter(|(key, verdict)| old.get(*key) != Some(*verdict)).map(|(key, _)| key);
                (gone.chain(new).cloned().collect(), false)
            }
            None => (Vec::new(), true),
        };
        all.insert(stack.clone(), Arc::new(verdicts));
        drop(all);
        // Before a stack's first verdict nobody can say that it does not select.
        if is_first { self.scrape_keys() } else { changed }
    }

    /// True when every LogStack has judged.
    pub fn all_judged(&self) -> bool {
        let verdicts = self.verdicts.read();
        let stacks = self.stacks.read();
        let is_judged = |(key, stack): (&Key, &Decoded<LogStack>)| match stack {
            Decoded::Broken { .. } => true,
            Decoded::Object(_) => verdicts.contains_key(key),
        };
        stacks.iter().all(is_judged)
    }
}

/// A resource version as the number that it is in every API server; source: KEP-5504, comparable resource versions.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

/// The parts of metadata whose change is worth a pass; status writes change none of them.
pub fn trigger(metadata: &ObjectMeta) -> impl PartialEq + use<> {
    (
        metadata.uid.clone(),
        metadata.generation,
        metadata.annotations.clone(),
        metadata.labels.clone(),
        metadata.finalizers.clone(),
        metadata.deletion_timestamp.is_some(),
    )
}

/// A label of an object.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// The uid of an object.
pub fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// The uid of an object's controller.
pub fn controller_uid(object: &Value) -> Option<&str> {
    let owners = object.get("metadata")?.get("ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?.get("uid")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_comes_late_hides_no_newer_state() {
        let (world, id) = (World::default(), ObjectId::new(Kind::DaemonSet, "obs", "logs-collector"));
        let object = |version: &str| serde_json::json!({"metadata": {"resourceVersion": version}});
        #[track_caller]
        fn check(world: &World, id: &ObjectId, want: &str) {
            assert_eq!(world.object(id).unwrap()["metadata"]["resourceVersion"], want);
        }
        world.set_written(id.clone(), false, object("9"));
        check(&world, &id, "9");
        world.set_object(id.clone(), Some(object("11"))); // of a watch
        world.set_written(id.clone(), true, object("10"));
        check(&world, &id, "11");
        world.set_written(id.clone(), true, object("12"));
        check(&world, &id, "12");
        world.set_object(id.clone(), None); // deleted, says a watch
        world.set_written(id.clone(), true, object("13"));
        assert!(world.object(&id).is_none(), "it is made again by the pass that the watch asked for");
    }

    #[test]
    fn an_answer_takes_nobody_elses_change_from_its_event() {
        let (world, key) = (World::default(), Key { namespace: "obs".to_owned(), name: "logs".to_owned() });
        let stack = |version: u32, generation: i64| LogStack {
            metadata: ObjectMeta {
                resource_version: Some(version.to_string()),
                generation: Some(generation),
                ..ObjectMeta::default()
            },
            ..LogStack::new("logs", Default::default())
        };
        let known = || {
            let known = world.stack(&key).unwrap();
            (known.metadata().resource_version.clone().unwrap(), known.metadata().generation.unwrap())
        };
        world.set_written_stack(&key, stack(5, 1));
        assert!(world.stack(&key).is_none(), "no watch has shown it");
        world.set_stack(key.clone(), Some(Decoded::Object(Arc::new(stack(5, 1)))));
        world.set_written_stack(&key, stack(7, 1));
        assert_eq!(known(), ("7".to_owned(), 1));
        world.set_written_stack(&key, stack(6, 1));
        assert_eq!(known(), ("7".to_owned(), 1), "it was late");
        // Version 8 was a change of the specification, whose event has not come yet.
        world.set_written_stack(&key, LogStack { status: Some(Default::default()), ..stack(9, 2) });
        assert_eq!(known(), ("7".to_owned(), 1));
        let Some(Decoded::Object(known)) = world.stack(&key) else { panic!("it is known") };
        assert!(known.status.is_some(), "its status is what we wrote");
    }
}
