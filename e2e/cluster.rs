//! A cluster to test against: the one of `KUBECONFIG`, one that is started from `KUBEBUILDER_ASSETS`, or one in memory.
//!
//! Where there is no kubelet its work is played: pods become ready, claims are bound, volumes grow.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Client, Config};
use logstack_operator::build::Settings;
use logstack_operator::{Operator, Options};
use serde_json::{Value, json};

use crate::memory::{MemoryApi, Path};

/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(45);

/// Place of kube-apiserver among the processes: etcd comes before it.
const API_SERVER: usize = 1;

/// A running cluster.
pub struct Cluster {
    pub config: Config,
    pub client: Client,
    /// The one in memory; `None`: a real API server.
    pub memory: Option<Arc<MemoryApi>>,
    processes: Vec<Child>,
    folder: Option<tempfile::TempDir>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
        drop(self.folder.take());
    }
}

impl Cluster {
    /// In memory.
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
        Self { config, client, memory: Some(memory), processes: Vec::new(), folder: None }
    }

    /// A real one; `None`: there is none here.
    pub async fn real() -> Option<Self> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            return Some(Self::from_assets(PathBuf::from(assets)).await);
        }
        std::env::var_os("KUBECONFIG")?;
        let config = Config::infer().await.expect("KUBECONFIG names a cluster");
        let client = Client::try_from(config.clone()).expect("a client");
        Some(Self { config, client, memory: None, processes: Vec::new(), folder: None })
    }

    /// Starts etcd, kube-apiserver and, when it is there, kube-controller-manager.
    async fn from_assets(assets: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path();
        let (etcd, peer, secure) = (free_port(), free_port(), free_port());
        let mut processes = Vec::new();
        let log = |name: &str| {
            let file = std::fs::File::create(dir.join(format!("{name}.log"))).expect("a log file");
            Stdio::from(file)
        };
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        processes.push(
            Command::new(assets.join("etcd"))
                .args(["--data-dir", &dir.join("etcd").display().to_string(), "--unsafe-no-fsync"])
                .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
                .args(["--listen-peer-urls", &peer_url])
                .stdout(log("etcd.out"))
                .stderr(log("etcd"))
                .spawn()
                .expect("etcd starts"),
        );
        std::fs::write(dir.join("tokens.csv"), "admin,admin,admin,system:masters\n").expect("a token file");
        // Two files: in a private key of PKCS#8 kube-apiserver does not find the public one.
        let key = rcgen::KeyPair::generate().expect("a key");
        std::fs::write(dir.join("sa.key"), key.serialize_pem()).expect("a key file");
        std::fs::write(dir.join("sa.pub"), key.public_key_pem()).expect("a key file");
        let flag = |name: &str, file: &str| format!("--{name}={}", dir.join(file).display());
        processes.push(
            Command::new(assets.join("kube-apiserver"))
                .arg(format!("--etcd-servers={etcd_url}"))
                .arg(format!("--secure-port={secure}"))
                .args([flag("cert-dir", "certs"), flag("token-auth-file", "tokens.csv")])
                .args([flag("service-account-key-file", "sa.pub"), flag("service-account-signing-key-file", "sa.key")])
                .args(["--service-account-issuer=https://e2e", "--authorization-mode=RBAC", "--bind-address=127.0.0.1"])
                .args(["--service-cluster-ip-range=10.0.0.0/16", "--disable-admission-plugins=ServiceAccount"])
                .stdout(log("apiserver.out"))
                .stderr(log("apiserver"))
                .spawn()
                .expect("kube-apiserver starts"),
        );
        let server = format!("https://127.0.0.1:{secure}");
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: e2e\nclusters: [{{name: e2e, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}]\ncontexts: [{{name: e2e, context: {{cluster: e2e, user: admin}}}}]\nusers: [{{name: admin, user: {{token: admin}}}}]\n"
        );
        std::fs::write(dir.join("kubeconfig"), &kubeconfig).expect("a kubeconfig");
        let parsed = kube::config::Kubeconfig::from_yaml(&kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(parsed, &Default::default()).await.expect("a kubeconfig");
        let client = Client::try_from(config.clone()).expect("a client");
        let start = Instant::now();
        while client.apiserver_version().await.is_err() {
            let has_ended = processes.iter_mut().any(|process| !matches!(process.try_wait(), Ok(None)));
            if has_ended || start.elapsed() > Duration::from_secs(120) {
                let log = std::fs::read_to_string(dir.join("apiserver.log")).unwrap_or_default();
                panic!("kube-apiserver does not answer:\n{}", &log[log.len().saturating_sub(4000)..]);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let manager = assets.join("kube-controller-manager");
        if manager.exists() {
            processes.push(
                Command::new(manager)
                    .args([flag("kubeconfig", "kubeconfig"), flag("service-account-private-key-file", "sa.key")])
                    // No port of its own: two suites run side by side.
                    .args([
                        "--leader-elect=false",
                        "--secure-port=0",
                        "--controllers=*,-nodelifecycle,-nodeipam,-cloud-node-lifecycle",
                    ])
                    .stdout(log("manager.out"))
                    .stderr(log("manager"))
                    .spawn()
                    .expect("kube-controller-manager starts"),
            );
        } else {
            eprintln!("no kube-controller-manager: its work is played");
        }
        Self { config, client, memory: None, processes, folder: Some(folder) }
    }

    /// Whether [`set_away`](Self::set_away) works here: not on a cluster of others.
    pub fn can_be_away(&self) -> bool {
        self.memory.is_some() || !self.processes.is_empty()
    }

    /// Takes the API server away, or gives it back. A real one is frozen: its connections stay open and say nothing, which
    /// is the worse case.
    pub fn set_away(&self, is_away: bool) {
        if let Some(memory) = &self.memory {
            memory.is_away.store(is_away, std::sync::atomic::Ordering::SeqCst);
        }
        if let Some(server) = self.processes.get(API_SERVER) {
            let signal = if is_away { "-STOP" } else { "-CONT" };
            let status = Command::new("kill").args([signal, &server.id().to_string()]).status().expect("kill runs");
            assert!(status.success(), "kill {signal}: {status}");
        }
    }

    /// Installs the definitions.
    pub async fn install_crds(&self) {
        if self.memory.is_some() {
            return;
        }
        let api: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
            Api::all(self.client.clone());
        for definition in logstack_crds::definitions().expect("definitions") {
            let name = definition.metadata.name.clone().unwrap_or_default();
            let params = PatchParams::apply("e2e").force();
            api.patch(&name, &params, &Patch::Apply(&definition)).await.expect("a valid definition");
        }
        eventually("the definitions are served", async || {
            self.dynamic("LogStack", "default").list(&Default::default()).await.ok().map(drop)
        })
        .await;
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
        loop {
            let object = self.get(namespace, kind, name).await;
            if let Some(object) = object.as_ref().filter(|object| wanted(object)) {
                return object.clone();
            }
            if start.elapsed() > DEADLINE {
                let seen = object.map(|object| serde_yaml::to_string(&object).unwrap_or_default()).unwrap_or_default();
                panic!("{kind} {namespace}/{name}: not {what} in {DEADLINE:?}; it is\n{seen}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
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

    /// Waits until an object is gone.
    pub async fn gone(&self, namespace: &str, kind: &str, name: &str) {
        let what = format!("{kind} {namespace}/{name} is gone");
        eventually(&what, async || match self.dynamic(kind, namespace).get_opt(name).await {
            Ok(None) => Some(()),
            _ => None,
        })
        .await;
    }

    /// Starts an operator.
    pub async fn operator(&self, change: impl FnOnce(&mut Options)) -> Operator {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut options = Options {
            settings: Settings {
                image: "logstack:e2e".to_owned(),
                watch_namespaces: Vec::new(),
                collector_cluster_role: "logstack-collector".to_owned(),
                controller_id: None,
            },
            namespace: "default".to_owned(),
            instance: "e2e".to_owned(),
            has_leader_election: false,
            counts_targets: true,
            patience: Duration::from_millis(500),
            metrics_listen: any,
            health_listen: any,
        };
        change(&mut options);
        Operator::start(self.config.clone(), options).await.expect("an operator")
    }
}

/// Conditions of an object.
pub fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// What controllers, kubelets and storage do in a cluster, for the one in memory.
fn play(objects: &std::collections::BTreeMap<Path, Value>) -> Vec<(Path, Option<Value>)> {
    let mut out = Vec::new();
    for (path, object) in objects {
        let is_going = !object["metadata"]["deletionTimestamp"].is_null();
        match path.1.as_str() {
            "statefulsets" if !is_going => play_stateful_set(objects, path, object, &mut out),
            "daemonsets" => {
                let mut set = object.clone();
                set["status"] = json!({
                    "observedGeneration": object["metadata"]["generation"], "desiredNumberScheduled": 3,
                    "currentNumberScheduled": 3, "numberReady": 3, "numberAvailable": 3, "updatedNumberScheduled": 3,
                });
                out.push((path.clone(), Some(set)));
            }
            "persistentvolumeclaims" => {
                // A volume is made, and grows; the annotation makes it stay as it is.
                let is_frozen = object["metadata"]["annotations"]["e2e/frozen"] == "true";
                let mut claim = object.clone();
                claim["status"]["phase"] = json!("Bound");
                if !is_frozen || claim["status"]["capacity"].is_null() {
                    claim["status"]["capacity"] = object["spec"]["resources"]["requests"].clone();
                }
                out.push((path.clone(), Some(claim)));
            }
            _ => {}
        }
    }
    out
}

fn play_stateful_set(
    objects: &std::collections::BTreeMap<Path, Value>,
    path: &Path,
    object: &Value,
    out: &mut Vec<(Path, Option<Value>)>,
) {
    let (_, _, namespace, name) = path;
    let revision = logstack_operator::hash::of_value(&object["spec"]["template"]);
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or_default();
    let pod_path = ("v1".to_owned(), "pods".to_owned(), namespace.clone(), format!("{name}-0"));
    let claim_path =
        ("v1".to_owned(), "persistentvolumeclaims".to_owned(), namespace.clone(), format!("data-{name}-0"));
    let template = &object["spec"]["volumeClaimTemplates"][0];
    if replicas > 0 && !template.is_null() && !objects.contains_key(&claim_path) {
        let metadata =
            json!({ "name": claim_path.3, "namespace": namespace, "labels": template["metadata"]["labels"] });
        let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"] });
        out.push((claim_path, Some(claim)));
    }
    // An image that cannot be pulled.
    let is_bad =
        object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().is_some_and(|i| i.contains("bad"));
    let pod = objects.get(&pod_path);
    let has_revision = |pod: &Value| pod["metadata"]["labels"]["controller-revision-hash"] == revision.as_str();
    match pod {
        Some(_) if replicas == 0 => out.push((pod_path, None)),
        // A pod that is ready is replaced by the new revision.
        Some(pod) if !has_revision(pod) && pod["status"]["phase"] == "Running" => out.push((pod_path, None)),
        None if replicas > 0 => {
            let mut labels = object["spec"]["template"]["metadata"]["labels"].clone();
            labels["controller-revision-hash"] = json!(revision);
            let owner = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": object["metadata"]["uid"], "controller": true });
            let status = match is_bad {
                false => json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
                true => json!({ "phase": "Pending", "containerStatuses": [{
                    "name": "engine", "image": "bad", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } },
                }] }),
            };
            let metadata =
                json!({ "name": pod_path.3, "namespace": namespace, "labels": labels, "ownerReferences": [owner] });
            let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": object["spec"]["template"]["spec"], "status": status });
            out.push((pod_path, Some(pod)));
        }
        // A set that was made anew adopts its pod.
        Some(pod) if pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty) => {
            let mut pod = pod.clone();
            pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": object["metadata"]["uid"], "controller": true }]);
            out.push((pod_path, Some(pod)));
        }
        _ => {}
    }
    let is_ready = pod.is_some_and(|pod| pod["status"]["phase"] == "Running");
    let is_updated = pod.is_some_and(has_revision);
    let mut set = object.clone();
    set["status"] = json!({
        "observedGeneration": object["metadata"]["generation"], "replicas": i64::from(pod.is_some()),
        "readyReplicas": i64::from(is_ready), "availableReplicas": i64::from(is_ready),
        "updatedReplicas": i64::from(is_updated), "currentRevision": if is_updated { revision.clone() } else { "old".to_owned() },
        "updateRevision": revision,
    });
    out.push((path.clone(), Some(set)));
}

/// How often the work of kubelets is played on a real API server.
const PLAY_EVERY: Duration = Duration::from_millis(500);

impl Cluster {
    /// Plays kubelet, scheduler and volumes on a real API server without nodes. Not where `KUBECONFIG` names a cluster
    /// that has them.
    pub fn play_real(&self) {
        if self.processes.is_empty() {
            return;
        }
        let client = self.client.clone();
        tokio::spawn(async move {
            loop {
                // A conflict with a controller is tried again in a moment.
                let _ = play_once(&client).await;
                tokio::time::sleep(PLAY_EVERY).await;
            }
        });
    }
}

async fn play_once(client: &Client) -> Result<(), kube::Error> {
    use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
    use k8s_openapi::api::storage::v1::StorageClass;
    // Without a class whose volumes grow the API server refuses to grow a claim.
    let classes: Api<StorageClass> = Api::all(client.clone());
    if classes.get_opt("standard").await?.is_none() {
        let class = serde_json::from_value(json!({
            "metadata": { "name": "standard", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
            "provisioner": "e2e/played", "allowVolumeExpansion": true,
        }));
        classes.create(&PostParams::default(), &class.expect("a storage class")).await?;
    }
    let nodes: Api<Node> = Api::all(client.clone());
    if nodes.get_opt("node").await?.is_none() {
        let node = serde_json::from_value(json!({ "metadata": { "name": "node" } })).expect("a node");
        nodes.create(&PostParams::default(), &node).await?;
        let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        nodes.patch_status("node", &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    for claim in claims.list(&Default::default()).await? {
        let (name, namespace) = (claim.metadata.name.unwrap_or_default(), claim.metadata.namespace.unwrap_or_default());
        let wanted = serde_json::to_value(&claim.spec).unwrap_or_default()["resources"]["requests"].clone();
        let status = serde_json::to_value(&claim.status).unwrap_or_default();
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
        let volume = format!("{namespace}-{name}");
        if status["phase"] != "Bound" && volumes.get_opt(&volume).await?.is_none() {
            let body = json!({
                "metadata": { "name": volume },
                "spec": {
                    "capacity": wanted, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/tmp" },
                    "claimRef": { "namespace": namespace, "name": name }, "storageClassName": class,
                },
            });
            let body = serde_json::from_value(body).expect("a volume");
            volumes.create(&PostParams::default(), &body).await?;
        } else if status["phase"] == "Bound" && status["capacity"] != wanted {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
            let grown = json!({ "status": { "capacity": wanted } });
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&grown)).await?;
        }
    }
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&Default::default()).await? {
        let (name, namespace) =
            (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.namespace.clone().unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        if pod.metadata.deletion_timestamp.is_some() {
            let now = DeleteParams::default().grace_period(0);
            let _ = api.delete(&name, &now).await;
            continue;
        }
        let image = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.containers.first())
            .and_then(|c| c.image.clone())
            .unwrap_or_default();
        let value = serde_json::to_value(&pod.status).unwrap_or_default();
        let status = if image.contains("bad") {
            json!({ "phase": "Pending", "containerStatuses": [{
                "name": "engine", "image": image, "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } },
            }] })
        } else {
            json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] })
        };
        // A pod is pending from the start: that alone says nothing.
        if value["phase"] != status["phase"] || value["containerStatuses"] != status["containerStatuses"] {
            let patch = json!({ "status": status });
            let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        }
    }
    Ok(())
}
