//! A cluster to test against: the one of `KUBECONFIG`, one that is started from `KUBEBUILDER_ASSETS`, or one in memory.
//!
//! Where there is no kubelet its work is played: pods become ready, claims are bound, volumes grow. On a real API server
//! operators have the rights of the shipped ClusterRole, and no others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use logstack_operator::build::Settings;
use logstack_operator::{Operator, Options};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kubelet;
use crate::memory::{MemoryApi, Trouble};
use crate::play::play;
use crate::server::Server;

/// Longest wait for anything. Generous: a machine with ten times as much to do as it can must not fail a scenario.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// Between two looks at first, and in the end: tens of scenarios that look all the time are a load of their own.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(600));
/// Where the operators of the suite live.
pub const HOME: &str = "e2e-system";

/// A running cluster.
pub struct Cluster {
    pub config: Config,
    pub client: Client,
    /// The one in memory; `None`: a real API server.
    pub memory: Option<Arc<MemoryApi>>,
    /// The processes of one that was started for us.
    pub server: Option<Server>,
}

impl Cluster {
    /// A real one where there is one, else one in memory.
    pub async fn any() -> Self {
        let cluster = match Self::real().await {
            Some(cluster) => cluster,
            None => Self::in_memory().await,
        };
        cluster.install().await;
        cluster
    }

    /// One in memory.
    pub async fn in_memory() -> Self {
        let (memory, address) = MemoryApi::start().await;
        let config = Config::new(format!("http://{address}").parse().expect("a URL"));
        let client = Client::try_from(config.clone()).expect("a client");
        let player = memory.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                player.play(play);
            }
        });
        Self { config, client, memory: Some(memory), server: None }
    }

    async fn real() -> Option<Self> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let (server, config, client) = Server::start(&PathBuf::from(assets)).await;
            tokio::spawn(kubelet::play(client.clone()));
            return Some(Self { config, client, memory: None, server: Some(server) });
        }
        std::env::var_os("KUBECONFIG")?;
        let config = Config::infer().await.expect("KUBECONFIG names a cluster");
        let client = Client::try_from(config.clone()).expect("a client");
        Some(Self { config, client, memory: None, server: None })
    }

    /// Takes the API server away, or gives it back. False: it is a cluster of others, and stays.
    pub fn set_away(&self, is_away: bool) -> bool {
        match (&self.memory, &self.server) {
            (Some(memory), _) => memory.set_trouble(if is_away { Trouble::Away } else { Trouble::None }),
            (None, Some(server)) => server.set_frozen(is_away),
            (None, None) => return false,
        }
        true
    }

    /// Installs the definitions, and the operator's rights.
    async fn install(&self) {
        self.namespace(HOME, json!({})).await;
        if self.memory.is_some() {
            return;
        }
        for definition in logstack_crds::definitions().expect("definitions") {
            let definition = serde_json::to_value(&definition).expect("a definition");
            self.apply_value(&definition).await;
        }
        for object in documents("kustomize/base/rbac.yaml", HOME) {
            self.apply_value(&object).await;
        }
        eventually("the definitions are served", async || {
            self.dynamic("LogStack", "default").list(&Default::default()).await.ok().map(drop)
        })
        .await;
    }

    /// Does `what` while the schema of a definition has `value` at `path`, and puts the definition back. In memory there
    /// are no schemas, and anything goes.
    pub async fn with_definition(&self, name: &str, path: &str, value: Value, what: impl AsyncFnOnce()) {
        if self.memory.is_some() {
            what().await;
            return;
        }
        let definition = logstack_crds::definitions().expect("definitions").into_iter();
        let definition = definition.map(|d| serde_json::to_value(d).expect("a definition"));
        let definition = definition.into_iter().find(|d| d["metadata"]["name"] == name).expect("a definition");
        let mut changed = definition.clone();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        let parent = format!("/spec/versions/0/schema/openAPIV3Schema/properties{parent}");
        changed.pointer_mut(&parent).unwrap_or_else(|| panic!("{parent}"))[key] = value;
        self.apply_value(&changed).await;
        what().await;
        self.apply_value(&definition).await;
    }

    /// Applies an object of any kind, as an administrator does.
    pub async fn apply_value(&self, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = text("/apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", version.as_str()));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &text("/kind")));
        let namespace = text("/metadata/namespace");
        let api: Api<DynamicObject> = match namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let params = PatchParams::apply("e2e").force();
        let outcome = api.patch(&text("/metadata/name"), &params, &Patch::Apply(object)).await;
        outcome.unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str, labels: Value) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }));
        let _ = api.create(&PostParams::default(), &namespace.expect("a namespace")).await;
    }

    /// Objects of a kind by its name.
    pub fn dynamic(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let resource = match kind {
            "LogStack" => ApiResource::erase::<logstack_crds::LogStack>(&()),
            "LogScrape" => ApiResource::erase::<logstack_crds::LogScrape>(&()),
            "Pod" => ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()),
            "Secret" => ApiResource::erase::<k8s_openapi::api::core::v1::Secret>(&()),
            "Namespace" => ApiResource::erase::<Namespace>(&()),
            kind => logstack_operator::object::Kind::named(kind).expect("a kind").resource(),
        };
        match kind {
            "Namespace" | "ClusterRoleBinding" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    /// Applies a document as a user does.
    pub async fn apply(&self, namespace: &str, kind: &str, name: &str, fields: &str) {
        self.try_apply(namespace, kind, name, fields).await.expect("the API server takes it");
    }

    /// [`apply`](Self::apply), or what the API server says.
    pub async fn try_apply(&self, namespace: &str, kind: &str, name: &str, fields: &str) -> Result<(), kube::Error> {
        let mut body: Value = serde_yaml::from_str(fields).expect("YAML");
        let (version, kind_name) = match kind {
            "LogStack" | "LogScrape" => ("logstack.dev/v1alpha1", kind),
            "ConfigMap" | "Secret" | "Pod" | "Namespace" => ("v1", kind),
            other => ("", other),
        };
        body["apiVersion"] = json!(version);
        body["kind"] = json!(kind_name);
        body["metadata"]["name"] = json!(name);
        if kind != "Namespace" {
            body["metadata"]["namespace"] = json!(namespace);
        }
        let params = PatchParams::apply("user").force();
        self.dynamic(kind, namespace).patch(name, &params, &Patch::Apply(&body)).await.map(drop)
    }

    /// A merge patch, as by a careless hand.
    pub async fn merge(&self, namespace: &str, kind: &str, name: &str, patch: Value) {
        let api = self.dynamic(kind, namespace);
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a patch");
    }

    /// Reads, changes and writes an object, as `kubectl edit` does.
    pub async fn edit(&self, namespace: &str, kind: &str, name: &str, change: impl Fn(&mut Value)) {
        let api = self.dynamic(kind, namespace);
        eventually(&format!("{kind} {name} is edited"), async || {
            let mut object = serde_json::to_value(api.get(name).await.ok()?).ok()?;
            change(&mut object);
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            match api.replace(name, &PostParams::default(), &object).await {
                Ok(_) => Some(()),
                Err(kube::Error::Api(status)) if status.code == 409 => None,
                Err(error) => panic!("{kind} {name}: {error}"),
            }
        })
        .await;
    }

    /// An object, if it is there.
    pub async fn get(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let object = self.dynamic(kind, namespace).get_opt(name).await.ok()??;
        serde_json::to_value(&object).ok()
    }

    /// Deletes an object.
    pub async fn delete(&self, namespace: &str, kind: &str, name: &str) {
        let _ = self.dynamic(kind, namespace).delete(name, &DeleteParams::default()).await;
    }

    /// Waits until the object is as `wanted` says.
    pub async fn until(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let start = Instant::now();
        let mut pause = LOOK_EVERY.0;
        loop {
            let object = self.get(namespace, kind, name).await;
            if let Some(object) = object.as_ref().filter(|object| wanted(object)) {
                return object.clone();
            }
            if start.elapsed() > DEADLINE {
                let seen = object.map(|mut object| {
                    object["metadata"]["managedFields"].take();
                    object
                });
                let seen = seen.map(|object| serde_yaml::to_string(&object).unwrap_or_default()).unwrap_or_default();
                panic!("{kind} {namespace}/{name}: not {what} in {DEADLINE:?}; it is\n{seen}");
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.3).min(LOOK_EVERY.1);
        }
    }

    /// Waits for a condition with a reason.
    pub async fn condition(&self, namespace: &str, kind: &str, name: &str, condition: &str, reason: &str) -> Value {
        let what = format!("{condition}/{reason}");
        self.until(namespace, kind, name, &what, |object| {
            let generation = &object["metadata"]["generation"];
            conditions(object)
                .any(|c| c["type"] == condition && c["reason"] == reason && c["observedGeneration"] == *generation)
        })
        .await
    }

    /// Waits for an event of an operator about something in `namespace`.
    pub async fn event(&self, namespace: &str, reason: &str) -> Value {
        eventually(&format!("event {reason} in {namespace}"), async || {
            self.events(namespace).await.into_iter().find(|event| event["reason"] == reason)
        })
        .await
    }

    /// Events in a namespace.
    pub async fn events(&self, namespace: &str) -> Vec<Value> {
        let api: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), namespace);
        let events = api.list(&Default::default()).await.map(|list| list.items).unwrap_or_default();
        events.iter().filter_map(|event| serde_json::to_value(event).ok()).collect()
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, namespace: &str, kind: &str, name: &str) {
        let what = format!("{kind} {namespace}/{name} is gone");
        eventually(&what, async || match self.dynamic(kind, namespace).get_opt(name).await {
            Ok(None) => Some(()),
            _ => None,
        })
        .await;
    }

    /// Starts an operator with the rights of the shipped ClusterRole.
    pub async fn operator(&self, change: impl FnOnce(&mut Options)) -> Operator {
        self.operator_of(HOME, change).await
    }

    /// Starts an operator with the rights of the ServiceAccount `logstack-operator` in `home`.
    pub async fn operator_of(&self, home: &str, change: impl FnOnce(&mut Options)) -> Operator {
        let mut config = self.config.clone();
        if self.memory.is_none() {
            config.auth_info.impersonate = Some(format!("system:serviceaccount:{home}:logstack-operator"));
            config.auth_info.impersonate_groups =
                Some(vec!["system:serviceaccounts".to_owned(), "system:authenticated".to_owned()]);
        }
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut options = Options {
            settings: Settings {
                image: "logstack:e2e".to_owned(),
                watch_namespaces: Vec::new(),
                collector_cluster_role: "logstack-collector".to_owned(),
                controller_id: None,
            },
            namespace: home.to_owned(),
            instance: "e2e".to_owned(),
            has_leader_election: false,
            counts_targets: true,
            patience: Duration::from_millis(500),
            silence: logstack_operator::SILENCE,
            metrics_listen: any,
            health_listen: any,
        };
        change(&mut options);
        Operator::start(config, options).await.expect("an operator")
    }
}

/// Conditions of an object.
pub fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = LOOK_EVERY.0;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}");
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.3).min(LOOK_EVERY.1);
    }
}

/// Objects of a file in `deploy/`, those of `logstack-system` moved to `home`.
pub fn documents(file: &str, home: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = text.replace("logstack-system", home);
    let all = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).expect("YAML"));
    all.filter(|document| !document.is_null()).collect()
}
