//! One task a watch, each with its own back-off: a broken connection of one must not stop the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Client, Resource};
use logstack_crds::{LogScrape, LogStack};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Context, Item};
use crate::apply::to_value;
use crate::names;
use crate::object::{Kind, ObjectId};
use crate::queue::DEBOUNCE;
use crate::scrape::selects;
use crate::world::{Decoded, Key, NamespaceFacts, PodFacts, label, trigger};

/// Objects of a list at once.
const PAGE_SIZE: u32 = 500;
/// Pods come and go; counts may be so late.
const COUNT_DEBOUNCE: Duration = Duration::from_secs(30);
/// Kinds of children that are watched, by label. Prometheus' kinds are not: a cluster may lack them.
const WATCHED: [Kind; 10] = [
    Kind::ServiceAccount,
    Kind::ClusterRoleBinding,
    Kind::RoleBinding,
    Kind::ConfigMap,
    Kind::Service,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::PersistentVolumeClaim,
    Kind::PodDisruptionBudget,
    Kind::NetworkPolicy,
];

/// Counts the watches that have not shown everything yet.
#[derive(Debug, Clone, Default)]
pub struct Synced(Arc<AtomicUsize>);

impl Synced {
    /// True when all have.
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// Starts all watches; they end with `stop`.
pub fn start_watches(context: &Arc<Context>, synced: &Synced, stop: &CancellationToken) {
    let starter = Starter { context: context.clone(), synced: synced.clone(), stop: stop.clone() };
    for namespace in &context.settings.scopes() {
        let client = context.client.clone();
        starter.start(
            api::<DeserializeGuard<LogStack>>(client.clone(), namespace),
            StackWatch(namespace.clone()),
            "LogStack",
        );
        starter.start(
            api::<DeserializeGuard<LogScrape>>(client.clone(), namespace),
            ScrapeWatch(namespace.clone()),
            "LogScrape",
        );
        for kind in WATCHED {
            let resource = kind.resource();
            // In a namespaced installation bindings are namespaced, in a cluster-wide one they are not.
            if kind.is_cluster_scoped() == namespace.is_some()
                && matches!(kind, Kind::ClusterRoleBinding | Kind::RoleBinding)
            {
                continue;
            }
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            starter.start(api, ObjectWatch(kind, namespace.clone()), kind.as_str());
        }
        if context.counts_targets {
            starter.start(api::<PartialObjectMeta<Pod>>(client, namespace), PodWatch(namespace.clone()), "Pod");
        }
    }
    let all: Api<PartialObjectMeta<Namespace>> = Api::all(context.client.clone());
    starter.start(all, NamespaceWatch, "Namespace");
}

pub(super) fn api<K>(client: Client, namespace: &Option<String>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// What one watch does with what it sees.
trait Sink: Send + Sync + 'static {
    type Object: Send;
    /// Puts an object into the picture; returns its name in it.
    fn put(&self, context: &Context, object: Self::Object) -> Key;
    /// Removes an object.
    fn remove(&self, context: &Context, key: &Key);
    /// What it has in the picture.
    fn known(&self, context: &Context) -> BTreeSet<Key>;
    /// The name of an object.
    fn key(&self, object: &Self::Object) -> Key;
    /// Which of them.
    fn selector(&self) -> Option<String> {
        None
    }
    /// A cluster may refuse it, and the operator goes on without.
    fn is_optional(&self) -> bool {
        false
    }
}

struct Starter {
    context: Arc<Context>,
    synced: Synced,
    stop: CancellationToken,
}

impl Starter {
    fn start<K, S>(&self, api: Api<K>, sink: S, name: &'static str)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        S: Sink<Object = K>,
    {
        let stream = watch_objects(api, config(&sink)).default_backoff();
        self.spawn(stream, sink, name);
    }

    fn spawn<K, S, W>(&self, stream: W, sink: S, name: &'static str)
    where
        K: Send + 'static,
        S: Sink<Object = K>,
        W: futures::Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    {
        self.synced.0.fetch_add(1, Ordering::AcqRel);
        let (context, synced, stop) = (self.context.clone(), self.synced.clone(), self.stop.clone());
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            let mut is_synced = false;
            let sync = |is_synced: &mut bool| {
                if !std::mem::replace(is_synced, true) {
                    synced.0.fetch_sub(1, Ordering::AcqRel);
                }
            };
            // What was there before a restart and is not listed any more is gone.
            let mut unseen: Option<BTreeSet<Key>> = None;
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = stream.next() => event,
                };
                let Some(event) = event else { return };
                match event {
                    Ok(event) => {
                        context.metrics.count("logstack_operator_watch_events_total", &[("kind", name)]);
                        match event {
                            Event::Init => unseen = Some(sink.known(&context)),
                            Event::InitApply(object) => {
                                let key = sink.put(&context, object);
                                unseen.as_mut().map(|unseen| unseen.remove(&key));
                            }
                            Event::InitDone => {
                                unseen.take().iter().flatten().for_each(|key| sink.remove(&context, key));
                                sync(&mut is_synced);
                            }
                            Event::Apply(object) => drop(sink.put(&context, object)),
                            Event::Delete(object) => sink.remove(&context, &sink.key(&object)),
                        }
                    }
                    Err(error) => {
                        context.metrics.count("logstack_operator_watch_restarts_total", &[("kind", name)]);
                        if sink.is_optional() && is_refused(&error) {
                            debug!(kind = name, %error, "watch refused, going on without");
                            sync(&mut is_synced);
                        } else {
                            warn!(kind = name, error = %chain(&error), "watch interrupted");
                        }
                    }
                }
            }
        });
    }
}

fn config<S: Sink>(sink: &S) -> watcher::Config {
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    match sink.selector() {
        Some(selector) => config.labels(&selector),
        None => config,
    }
}

fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 403 | 404),
        _ => false,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

fn is_in(key: &Key, namespace: &Option<String>) -> bool {
    namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace)
}

fn decoded<T: Resource>(guard: DeserializeGuard<T>) -> Decoded<T> {
    match guard.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            Decoded::Object(Arc::new(object))
        }
        Err(invalid) => Decoded::Broken { metadata: Arc::new(invalid.metadata), error: invalid.error },
    }
}

struct StackWatch(Option<String>);

impl Sink for StackWatch {
    type Object = DeserializeGuard<LogStack>;

    fn put(&self, context: &Context, object: Self::Object) -> Key {
        let new = decoded(object);
        let metadata = new.metadata().clone();
        let key = Key::of(&metadata);
        let old = context.world.stack(&key);
        let is_changed = old.is_none_or(|old| trigger(old.metadata()) != trigger(&metadata));
        context.world.set_stack(key.clone(), Some(new));
        if is_changed {
            let item = Item::Stack(key.clone());
            context.queue.reset(&item);
            context.queue.add(item, DEBOUNCE);
        }
        key
    }

    fn remove(&self, context: &Context, key: &Key) {
        context.world.set_stack(key.clone(), None);
        context.queue.add(Item::Stack(key.clone()), Duration::ZERO);
        for scrape in context.world.scrape_keys() {
            context.queue.add(Item::Scrape(scrape), DEBOUNCE);
        }
    }

    fn known(&self, context: &Context) -> BTreeSet<Key> {
        context.world.stack_keys().into_iter().filter(|key| is_in(key, &self.0)).collect()
    }

    fn key(&self, object: &Self::Object) -> Key {
        Key::of(object.meta())
    }
}

struct ScrapeWatch(Option<String>);

impl Sink for ScrapeWatch {
    type Object = DeserializeGuard<LogScrape>;

    fn put(&self, context: &Context, object: Self::Object) -> Key {
        let new = decoded(object);
        let metadata = new.metadata().clone();
        let key = Key::of(&metadata);
        let old = context.world.scrape(&key);
        let is_changed = old.is_none_or(|old| trigger(old.metadata()) != trigger(&metadata));
        context.world.set_scrape(key.clone(), Some(new));
        if is_changed {
            let item = Item::Scrape(key.clone());
            context.queue.reset(&item);
            context.queue.add(item, DEBOUNCE);
            wake_selecting(context, &key, Some(&metadata));
        }
        key
    }

    fn remove(&self, context: &Context, key: &Key) {
        context.world.set_scrape(key.clone(), None);
        wake_selecting(context, key, None);
    }

    fn known(&self, context: &Context) -> BTreeSet<Key> {
        context.world.scrape_keys().into_iter().filter(|key| is_in(key, &self.0)).collect()
    }

    fn key(&self, object: &Self::Object) -> Key {
        Key::of(object.meta())
    }
}

/// Wakes the stacks that selected a LogScrape, and those that do now.
fn wake_selecting(context: &Context, key: &Key, metadata: Option<&ObjectMeta>) {
    let labels = context.world.namespace(&key.namespace).labels;
    for stack in context.world.stacks() {
        let stack_key = Key::of(&stack.metadata);
        let did = context.world.verdicts(&stack_key).is_some_and(|verdicts| verdicts.contains_key(key));
        let does = || metadata.is_some_and(|metadata| selects(&stack.spec, &stack_key.namespace, metadata, &labels));
        if did || does() {
            context.queue.add(Item::Stack(stack_key), DEBOUNCE);
        }
    }
}

/// Wakes the stacks to which a namespace matters: it is theirs, Grafana's, or they select LogScrapes by its labels.
fn wake_around(context: &Context, namespace: &str) {
    for stack in context.world.stacks() {
        let key = Key::of(&stack.metadata);
        let is_grafanas = stack.spec.grafana.namespace.as_deref() == Some(namespace);
        if key.namespace == namespace || is_grafanas || stack.spec.scrape_namespace_selector.is_some() {
            context.queue.add(Item::Stack(key), DEBOUNCE);
        }
    }
}

struct ObjectWatch(Kind, Option<String>);

impl ObjectWatch {
    /// Wakes the stack whose label the object has.
    fn wake(context: &Context, stack_label: Option<&str>) {
        let Some(wanted) = stack_label else { return };
        let keys = context.world.stack_keys();
        if let Some(key) = keys.into_iter().find(|key| names::stack_label(&key.namespace, &key.name) == wanted) {
            context.queue.add(Item::Stack(key), DEBOUNCE);
        }
    }
}

impl Sink for ObjectWatch {
    type Object = DynamicObject;

    fn put(&self, context: &Context, object: DynamicObject) -> Key {
        let key = Key::of(&object.metadata);
        let id = ObjectId::new(self.0, &key.namespace, &key.name);
        let value = to_value(&id, &object);
        let known = context.world.object(&id);
        // Our own write came back, or an older state of it.
        let version = |value: &serde_json::Value| value.pointer("/metadata/resourceVersion").cloned();
        if known.is_some_and(|known| version(&known) == version(&value)) {
            return key;
        }
        let stack_label = label(&value, names::STACK).map(str::to_owned);
        context.world.set_object(id, Some(value));
        Self::wake(context, stack_label.as_deref());
        key
    }

    fn remove(&self, context: &Context, key: &Key) {
        let id = ObjectId::new(self.0, &key.namespace, &key.name);
        let known = context.world.object(&id);
        context.world.set_object(id, None);
        Self::wake(context, known.as_deref().and_then(|known| label(known, names::STACK)));
    }

    fn known(&self, context: &Context) -> BTreeSet<Key> {
        let ids = context.world.object_ids(self.0).into_iter();
        ids.map(|id| Key { namespace: id.namespace, name: id.name }).filter(|key| is_in(key, &self.1)).collect()
    }

    fn key(&self, object: &DynamicObject) -> Key {
        Key::of(&object.metadata)
    }

    fn selector(&self) -> Option<String> {
        Some(format!("{}={}", names::MANAGED_BY, names::FIELD_MANAGER))
    }
}

struct PodWatch(Option<String>);

impl Sink for PodWatch {
    type Object = PartialObjectMeta<Pod>;

    fn put(&self, context: &Context, object: Self::Object) -> Key {
        let key = Key::of(&object.metadata);
        let mut annotations = object.metadata.annotations.unwrap_or_default();
        // The largest by far, and nobody gates by it.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        let facts = PodFacts { labels: object.metadata.labels.unwrap_or_default(), annotations };
        if facts.labels.get(names::MANAGED_BY).is_some_and(|manager| manager == names::FIELD_MANAGER) {
            // One of ours changed: it started, or cannot.
            ObjectWatch::wake(context, facts.labels.get(names::STACK).map(String::as_str));
        }
        if context.world.set_pod(key.clone(), Some(facts)) {
            recount(context);
        }
        key
    }

    fn remove(&self, context: &Context, key: &Key) {
        if context.world.set_pod(key.clone(), None) {
            recount(context);
        }
    }

    fn known(&self, context: &Context) -> BTreeSet<Key> {
        context.world.pod_keys().into_iter().filter(|key| is_in(key, &self.0)).collect()
    }

    fn key(&self, object: &Self::Object) -> Key {
        Key::of(&object.metadata)
    }
}

fn recount(context: &Context) {
    for key in context.world.scrape_keys() {
        context.queue.add(Item::Scrape(key), COUNT_DEBOUNCE);
    }
}

struct NamespaceWatch;

impl Sink for NamespaceWatch {
    type Object = PartialObjectMeta<Namespace>;

    fn put(&self, context: &Context, object: Self::Object) -> Key {
        let key = Key::of(&object.metadata);
        let labels: BTreeMap<String, String> = object.metadata.labels.unwrap_or_default();
        let facts = NamespaceFacts { labels, is_terminating: object.metadata.deletion_timestamp.is_some() };
        if context.world.set_namespace(&key.name, Some(facts)) {
            wake_around(context, &key.name);
        }
        key
    }

    fn remove(&self, context: &Context, key: &Key) {
        if context.world.set_namespace(&key.name, None) {
            wake_around(context, &key.name);
        }
    }

    fn known(&self, context: &Context) -> BTreeSet<Key> {
        let names = context.world.namespace_names().into_iter();
        names.map(|name| Key { namespace: String::new(), name }).collect()
    }

    fn key(&self, object: &Self::Object) -> Key {
        Key::of(&object.metadata)
    }

    /// A namespaced installation may not have the right.
    fn is_optional(&self) -> bool {
        true
    }
}
