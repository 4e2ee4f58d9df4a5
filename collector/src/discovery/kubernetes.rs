//! `kubernetes_sd_configs`, role pod: targets from the pods of this node.
//!
//! One list and watch for all jobs of equal scope, always with the node in the field selector and served from the API
//! server's cache. Pods without an address, init and ephemeral containers are targets too: more logs, never fewer. A
//! deleted pod stays until its files are gone.
//!
//! Source: contract of the collector, section 2; Prometheus, "kubernetes_sd_config".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ContainerPort, ContainerStatus, Pod};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use logstack_config::collector::{KubernetesSd, Role};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::discover;
use super::glob::{Folders, PathGlob};
use super::pod_folders::PodFolders;
use super::relabel::{Action, LabelMap, Rule, sanitized};
use super::related::{self, Related};
use super::targets::{Discovered, SourceKey, Targets};

pub(super) const PREFIX: &str = "__meta_kubernetes_";
/// Changes are gathered for so long before targets are made anew.
const GATHER: Duration = Duration::from_millis(200);
/// A deleted pod stays at least so long …
const DELETED_KEPT: Duration = Duration::from_secs(60);
/// … and at most so long, when its files do not go away.
const DELETED_KEPT_MAX: Duration = Duration::from_secs(3600);
/// Pause before another attempt to reach the API server.
const RETRY: Duration = Duration::from_secs(10);
/// A list without pods is reported after this.
const EMPTY_AFTER: Duration = Duration::from_secs(60);
/// Where a pod finds its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Annotations with the name that a static pod's folder has in place of the uid.
const STATIC_NAMES: [&str; 2] = ["kubernetes.io/config.hash", "kubernetes.io/config.mirror"];

/// A job that looks at pods.
#[derive(Debug, Clone)]
pub struct PodJob {
    /// Index of the job.
    pub job_idx: usize,
    /// Place among the job's `kubernetes_sd_configs`.
    pub sd_idx: usize,
    /// Its rules.
    pub rules: Arc<Vec<Rule>>,
    /// What it looks at.
    pub sd: KubernetesSd,
}

impl PodJob {
    /// Where its targets are kept.
    pub fn key(&self) -> SourceKey {
        (self.job_idx, format!("kubernetes:{}", self.sd_idx))
    }
}

/// Whether the API server has told of pods.
#[derive(Debug, Default)]
pub struct Answered(pub(super) Mutex<bool>);

/// The pods that one list and watch delivers.
#[derive(Debug, Default)]
pub struct Pods {
    known: HashMap<String, Pod>,
    deleted: HashMap<String, Instant>,
    /// Of a list that is being read.
    fresh: Option<HashMap<String, Pod>>,
}

impl Pods {
    /// Takes an event; true when targets may have changed.
    pub fn apply(&mut self, event: Event<Pod>, now: Instant) -> bool {
        match event {
            Event::Init => self.fresh = Some(HashMap::new()),
            Event::InitApply(pod) => {
                if let (Some(fresh), Some(uid)) = (&mut self.fresh, uid(&pod)) {
                    fresh.insert(uid, pod);
                }
            }
            Event::InitDone => {
                let fresh = self.fresh.take().unwrap_or_default();
                for uid in self.known.keys().filter(|uid| !fresh.contains_key(*uid)) {
                    self.deleted.entry(uid.clone()).or_insert(now);
                }
                self.deleted.retain(|uid, _| !fresh.contains_key(uid));
                self.known.extend(fresh);
                return true;
            }
            Event::Apply(pod) => {
                let Some(uid) = uid(&pod) else { return false };
                self.deleted.remove(&uid);
                self.known.insert(uid, pod);
                return true;
            }
            Event::Delete(pod) => {
                let Some(uid) = uid(&pod) else { return false };
                // Its last lines are still to be read: it stays until its files are gone.
                self.deleted.insert(uid.clone(), now);
                self.known.insert(uid, pod);
            }
        }
        false
    }

    /// Forgets deleted pods for which `has_files` says no.
    fn forget(&mut self, now: Instant, has_files: impl Fn(&str) -> bool) -> bool {
        let over: Vec<String> = self
            .deleted
            .iter()
            .filter(|(uid, since)| {
                let age = now.duration_since(**since);
                age >= DELETED_KEPT_MAX || (age >= DELETED_KEPT && !has_files(uid))
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in &over {
            self.deleted.remove(uid);
            self.known.remove(uid);
        }
        !over.is_empty()
    }

    /// What the pods are to a job.
    pub fn discover(&self, job: &PodJob, related: &Related, node: &str) -> Vec<Discovered> {
        let by_port = reads_ports(&job.rules);
        let mut uids: Vec<&String> = self.known.keys().collect();
        uids.sort();
        let mut found = Vec::new();
        for uid in uids {
            let pod = &self.known[uid];
            let attached = related.labels(pod, &job.sd.attach_metadata);
            for mut labels in pod_labels(pod, by_port) {
                labels.extend(attached.clone());
                let mut discovered = discover(job.job_idx, &job.rules, labels, node);
                if let Ok(target) = &mut discovered.outcome {
                    target.aliases = aliases(pod, uid, &target.path);
                }
                found.push(discovered);
            }
        }
        found
    }
}

fn uid(pod: &Pod) -> Option<String> {
    pod.metadata.uid.clone()
}

/// The same pattern with the names that a static pod's folder may have.
fn aliases(pod: &Pod, uid: &str, path: &PathGlob) -> Vec<PathGlob> {
    let annotations = pod.metadata.annotations.as_ref();
    let names = STATIC_NAMES.iter().filter_map(|name| annotations?.get(*name)).filter(|name| *name != uid);
    let mut aliases: Vec<PathGlob> = Vec::new();
    for name in names {
        let pattern = path.pattern().replace(uid, name);
        if pattern != path.pattern() && !aliases.iter().any(|alias| alias.pattern() == pattern) {
            aliases.extend(PathGlob::new(&pattern));
        }
    }
    aliases
}

/// Labels of ports make a target for each port; mostly nobody reads them.
fn reads_ports(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| {
        let reads = |name: &String| name.contains("_container_port_") || name == "__address__";
        rule.source_labels.iter().any(reads)
            || (rule.action == Action::LabelMap && rule.regex.regex.as_str().contains("port"))
    })
}

/// A container of any kind.
struct Container<'p> {
    name: &'p str,
    image: Option<&'p str>,
    ports: &'p [ContainerPort],
    statuses: Option<&'p Vec<ContainerStatus>>,
    is_init: bool,
    is_ephemeral: bool,
}

/// The labels of each container of a pod, of each of its ports if `by_port`.
pub fn pod_labels(pod: &Pod, by_port: bool) -> Vec<LabelMap> {
    let mut common = LabelMap::new();
    let mut set = |name: &str, value: Option<&str>| {
        common.extend(value.map(|value| (format!("{PREFIX}{name}"), value.to_owned())));
    };
    let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let ip = status.and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    set("namespace", meta.namespace.as_deref());
    set("pod_name", meta.name.as_deref());
    set("pod_uid", meta.uid.as_deref());
    set("pod_ip", Some(ip));
    set("pod_host_ip", status.and_then(|status| status.host_ip.as_deref()));
    set("pod_node_name", spec.and_then(|spec| spec.node_name.as_deref()));
    set("pod_phase", status.and_then(|status| status.phase.as_deref()));
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    set("pod_ready", Some(&ready.map_or("unknown".to_owned(), |ready| ready.status.to_lowercase())));
    let owners = meta.owner_references.iter().flatten();
    if let Some(owner) = owners.clone().find(|owner| owner.controller == Some(true)) {
        set("pod_controller_kind", Some(&owner.kind));
        set("pod_controller_name", Some(&owner.name));
    }
    name_labels(meta.labels.as_ref(), "pod_label", &mut common);
    name_labels(meta.annotations.as_ref(), "pod_annotation", &mut common);
    debug_assert!(common.keys().all(|name| sanitized(name) == *name));

    let mut found = Vec::new();
    for container in containers(pod) {
        let mut labels = common.clone();
        let mut set =
            |name: &str, value: &str| drop(labels.insert(format!("{PREFIX}pod_container_{name}"), value.to_owned()));
        let status = container.statuses.into_iter().flatten().find(|status| status.name == container.name);
        set("name", container.name);
        set("id", status.and_then(|status| status.container_id.as_deref()).unwrap_or_default());
        set("image", container.image.unwrap_or_default());
        set("init", if container.is_init { "true" } else { "false" });
        if container.is_ephemeral {
            set("ephemeral", "true");
        }
        if !by_port || container.ports.is_empty() {
            labels.insert("__address__".to_owned(), ip.to_owned());
            found.push(labels);
            continue;
        }
        for port in container.ports {
            let mut labels = labels.clone();
            let mut set =
                |name: &str, value: String| drop(labels.insert(format!("{PREFIX}pod_container_port_{name}"), value));
            set("name", port.name.clone().unwrap_or_default());
            set("number", port.container_port.to_string());
            set("protocol", port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()));
            let address = match ip {
                "" => String::new(),
                ip if ip.contains(':') => format!("[{ip}]:{}", port.container_port),
                ip => format!("{ip}:{}", port.container_port),
            };
            labels.insert("__address__".to_owned(), address);
            found.push(labels);
        }
    }
    found
}

/// Adds the labels or annotations of an object: `<kind>_<name>` and `<kind>present_<name>`.
pub fn name_labels(map: Option<&BTreeMap<String, String>>, kind: &str, labels: &mut LabelMap) {
    // The maps are sorted by their own keys: of two that become one name the last wins, always the same.
    for (name, value) in map.into_iter().flatten() {
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        labels.insert(format!("{PREFIX}{kind}_{name}"), value.clone());
        labels.insert(format!("{PREFIX}{kind}present_{name}"), "true".to_owned());
    }
}

fn containers(pod: &Pod) -> Vec<Container<'_>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let status = pod.status.as_ref();
    let mut all = Vec::new();
    let kinds = [
        (Some(&spec.containers), status.and_then(|s| s.container_statuses.as_ref()), false),
        (spec.init_containers.as_ref(), status.and_then(|s| s.init_container_statuses.as_ref()), true),
    ];
    for (list, statuses, is_init) in kinds {
        for container in list.into_iter().flatten() {
            all.push(Container {
                name: &container.name,
                image: container.image.as_deref(),
                ports: container.ports.as_deref().unwrap_or_default(),
                statuses,
                is_init,
                is_ephemeral: false,
            });
        }
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        all.push(Container {
            name: &container.name,
            image: container.image.as_deref(),
            ports: container.ports.as_deref().unwrap_or_default(),
            statuses: status.and_then(|s| s.ephemeral_container_statuses.as_ref()),
            is_init: false,
            is_ephemeral: true,
        });
    }
    all
}

/// Follows pods for `jobs`, all of one scope, until cancelled. While nobody answers, `folders` tell what they can.
pub async fn run(
    jobs: Vec<PodJob>,
    targets: Arc<Targets>,
    node: String,
    folders: PodFolders,
    cancelled: CancellationToken,
) {
    let answered = Answered::default();
    let following = async {
        let Some(sd) = jobs.first().map(|job| job.sd.clone()) else { return };
        loop {
            match client(&sd).await {
                Ok(client) => {
                    let wish = related::union(jobs.iter().map(|job| &job.sd.attach_metadata));
                    let changes = related::changes(&client, &wish, &node);
                    let events = pod_events(&sd, client, &node);
                    follow(&jobs, events, changes, &targets, &node, &answered).await;
                }
                Err(err) => {
                    warn!(error = format!("{err:#}"), "the Kubernetes API cannot be reached, trying again");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    let standing_in = folders.stand_in(&jobs, &targets, &node, &answered);
    tokio::select! {
        ((), ()) = futures::future::join(following, standing_in) => {}
        () = cancelled.cancelled() => {}
    }
}

/// Two jobs of equal scope share a list and watch.
pub fn is_same_scope(a: &KubernetesSd, b: &KubernetesSd) -> bool {
    let scope = |sd: &KubernetesSd| KubernetesSd { attach_metadata: Default::default(), ..sd.clone() };
    scope(a) == scope(b)
}

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<Event<Pod>, watch::Error>> + Send>>;

/// Lists that the API server answers from its cache: `resourceVersion=0`, which kube leaves out of a list by pages.
/// Without it each list is a quorum read.
pub fn from_cache() -> watcher::Config {
    watcher::Config { page_size: None, ..watcher::Config::default().any_semantic() }
}

fn pod_events(sd: &KubernetesSd, client: Client, node: &str) -> Events {
    let selector = |get: fn(&logstack_config::collector::Selector) -> &String| {
        let of_pods = sd.selectors.iter().filter(|selector| selector.role == Some(Role::Pod));
        of_pods.map(get).filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>()
    };
    let mut fields = selector(|selector| &selector.field);
    fields.push(format!("spec.nodeName={node}"));
    let mut config = from_cache().fields(&fields.join(","));
    let labels = selector(|selector| &selector.label);
    if !labels.is_empty() {
        config = config.labels(&labels.join(","));
    }
    let mut namespaces = sd.namespaces.names.clone();
    if sd.namespaces.own_namespace {
        namespaces.extend(std::fs::read_to_string(OWN_NAMESPACE).map(|name| name.trim().to_owned()));
    }
    if namespaces.is_empty() {
        return watch(Api::<Pod>::all(client), config).default_backoff().boxed();
    }
    let streams = namespaces.iter().map(|name| {
        let api = Api::<Pod>::namespaced(client.clone(), name);
        // A list of one namespace must not forget the pods of another: its pods come one by one.
        let stream = watch(api, config.clone()).default_backoff();
        stream
            .filter_map(|event| async {
                match event {
                    Ok(Event::Init | Event::InitDone) => None,
                    Ok(Event::InitApply(pod)) => Some(Ok(Event::Apply(pod))),
                    other => Some(other),
                }
            })
            .boxed()
    });
    futures::stream::select_all(streams).boxed()
}

/// Turns events into targets until the events end.
pub async fn follow(
    jobs: &[PodJob],
    mut events: impl Stream<Item = Result<Event<Pod>, watch::Error>> + Unpin,
    mut changes: impl Stream<Item = Result<related::Change, watch::Error>> + Unpin,
    targets: &Targets,
    node: &str,
    answered: &Answered,
) {
    let (mut pods, mut related) = (Pods::default(), Related::default());
    let started = Instant::now();
    let mut told_empty = false;
    let mut dirty_since: Option<Instant> = None;
    let mut timer = tokio::time::interval(GATHER);
    let mut ticks = 0u64;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    if pods.apply(event, Instant::now()) {
                        dirty_since.get_or_insert_with(Instant::now);
                    }
                }
                Some(Err(err)) => warn!(error = %err, "watching pods failed, trying again"),
                None => {
                    publish(jobs, &pods, &related, targets, node, answered);
                    return;
                }
            },
            Some(change) = changes.next() => match change {
                Ok(change) => {
                    if related.apply(change) {
                        dirty_since.get_or_insert_with(Instant::now);
                    }
                }
                Err(err) => warn!(error = %err, "watching for attach_metadata failed, trying again"),
            },
            _ = timer.tick() => {
                ticks += 1;
                // Looking for files of deleted pods reads folders: not at every tick.
                if ticks.is_multiple_of(25) && !pods.deleted.is_empty() {
                    let has_files = |uid: &str| has_files(jobs, &pods, &related, uid, node);
                    let kept: HashMap<String, bool> = pods.deleted.keys().map(|uid| (uid.clone(), has_files(uid))).collect();
                    if pods.forget(Instant::now(), |uid| kept.get(uid).copied().unwrap_or(false)) {
                        dirty_since.get_or_insert_with(Instant::now);
                    }
                }
                if pods.known.is_empty() && started.elapsed() > EMPTY_AFTER && !std::mem::replace(&mut told_empty, true) {
                    warn!(node, "no pods are found on this node: HOSTNAME must be the node's name (spec.nodeName)");
                }
                if dirty_since.is_some_and(|since| since.elapsed() >= GATHER) {
                    dirty_since = None;
                    publish(jobs, &pods, &related, targets, node, answered);
                }
            }
        }
    }
}

fn publish(jobs: &[PodJob], pods: &Pods, related: &Related, targets: &Targets, node: &str, answered: &Answered) {
    let mut answered = answered.0.lock();
    *answered = true;
    for job in jobs {
        let found = pods.discover(job, related, node);
        info!(job = job.job_idx, pods = pods.known.len(), targets = found.len(), "pods discovered");
        targets.set(job.key(), found);
    }
}

fn has_files(jobs: &[PodJob], pods: &Pods, related: &Related, uid: &str, node: &str) -> bool {
    let Some(pod) = pods.known.get(uid) else { return false };
    let one = Pods { known: [(uid.to_owned(), pod.clone())].into(), ..Pods::default() };
    let mut folders = Folders::default();
    jobs.iter().any(|job| {
        let found = one.discover(job, related, node);
        found.iter().filter_map(|d| d.outcome.as_ref().ok()).any(|target| !target.files(&mut folders).is_empty())
    })
}

pub(super) async fn client(sd: &KubernetesSd) -> Result<Client, ClientError> {
    // Fails when the process has a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = if let Some(path) = &sd.kubeconfig_file {
        let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(ClientError::from_display)?;
        kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
            .await
            .map_err(ClientError::from_display)?
    } else if !sd.api_server.is_empty() {
        api_server(sd)?
    } else {
        kube::Config::infer().await.map_err(ClientError::from_display)?
    };
    Client::try_from(config).map_err(ClientError::from_display)
}

/// An API server with the credentials of the configuration.
fn api_server(sd: &KubernetesSd) -> Result<kube::Config, ClientError> {
    let mut config = kube::Config::new(sd.api_server.parse().map_err(ClientError::from_display)?);
    config.accept_invalid_certs = sd.tls_config.insecure_skip_verify;
    let secret = |text: &str| (!text.is_empty()).then(|| text.to_owned().into());
    let auth = &mut config.auth_info;
    auth.token = secret(sd.bearer_token.expose());
    auth.token_file = sd.bearer_token_file.as_ref().map(|path| path.display().to_string());
    if let Some(authorization) = &sd.authorization {
        auth.token = secret(authorization.credentials.expose());
        auth.token_file = authorization.credentials_file.as_ref().map(|path| path.display().to_string());
    }
    let file = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).map_err(|err| ClientError(format!("{}: {err}", path.display())))?;
        Ok(text.trim().to_owned())
    };
    if let Some(basic) = &sd.basic_auth {
        let username = basic.username_file.as_deref().map_or_else(|| Ok(basic.username.clone()), file)?;
        let password = basic.password_file.as_deref().map(file).transpose()?;
        auth.username = Some(username);
        auth.password = password.map_or_else(|| secret(basic.password.expose()), |text| secret(&text));
    }
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    (auth.client_certificate, auth.client_key) = (path(&sd.tls_config.cert_file), path(&sd.tls_config.key_file));
    if !sd.proxy_url.is_empty() {
        config.proxy_url = Some(sd.proxy_url.parse().map_err(ClientError::from_display)?);
    }
    config.tls_server_name = Some(sd.tls_config.server_name.clone()).filter(|name| !name.is_empty());
    if let Some(path) = &sd.tls_config.ca_file {
        let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = certificates.map_err(|err| ClientError(format!("{}: {err}", path.display())))?;
        config.root_cert = Some(certificates.into_iter().map(|certificate| certificate.to_vec()).collect());
    }
    Ok(config)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ClientError(String);

impl ClientError {
    fn from_display(err: impl std::fmt::Display) -> Self {
        Self(err.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::relabel::compile_regex;

    /// As the API server sends them: plain, static, starting, with init and ephemeral containers.
    fn pods() -> Vec<Pod> {
        serde_json::from_str(include_str!("testdata/pods.json")).expect("recorded pods are pods")
    }

    fn rule(sources: &[&str], separator: &str, regex: &str, target: &str, replacement: &str, action: Action) -> Rule {
        Rule {
            source_labels: sources.iter().map(|name| (*name).to_owned()).collect(),
            separator: separator.to_owned(),
            regex: compile_regex(regex).unwrap(),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
        }
    }

    fn job(mut rules: Vec<Rule>) -> PodJob {
        let uid = "__meta_kubernetes_pod_uid";
        let container = "__meta_kubernetes_pod_container_name";
        rules.push(rule(&[uid, container], "/", "(.*)", "__path__", "/var/log/pods/*$1/*.log", Action::Replace));
        rules.push(rule(&["__meta_kubernetes_pod_name"], ";", "(.*)", "pod", "$1", Action::Replace));
        PodJob { job_idx: 0, sd_idx: 0, rules: Arc::new(rules), sd: KubernetesSd::default() }
    }

    #[tokio::test]
    async fn pods_become_targets() {
        let events = [Ok(Event::Init)]
            .into_iter()
            .chain(pods().into_iter().map(|pod| Ok(Event::InitApply(pod))))
            .chain([Ok(Event::InitDone)]);
        let targets = Targets::default();
        let changes = futures::stream::pending();
        follow(&[job(Vec::new())], futures::stream::iter(events), changes, &targets, "node-1", &Answered::default())
            .await;
        let active = targets.active();
        let mut paths: Vec<String> =
            active.iter().map(|t| format!("{} {}", t.labels.get("pod").unwrap(), t.path.pattern())).collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                "etcd-node-1 /var/log/pods/*uid-static/etcd/*.log",
                "starting /var/log/pods/*uid-starting/app/*.log",
                "web-1 /var/log/pods/*uid-web/debugger/*.log",
                "web-1 /var/log/pods/*uid-web/setup/*.log",
                "web-1 /var/log/pods/*uid-web/web/*.log",
            ]
        );
        let etcd = active.iter().find(|target| target.labels.get("pod") == Some("etcd-node-1")).unwrap();
        let aliases: Vec<&str> = etcd.aliases.iter().map(PathGlob::pattern).collect();
        assert_eq!(aliases, ["/var/log/pods/*0123abcd/etcd/*.log"], "a static pod's folder has the hash");
    }

    #[test]
    fn labels_of_a_container() {
        let pods = pods();
        let web = pod_labels(&pods[0], false);
        let get = |name: &str| web[0].get(&format!("{PREFIX}{name}")).map(String::as_str);
        assert_eq!(get("namespace"), Some("shop"));
        assert_eq!(get("pod_controller_kind"), Some("ReplicaSet"));
        assert_eq!(get("pod_controller_name"), Some("web-5d8f7c9b6d"));
        assert_eq!(get("pod_label_app_kubernetes_io_name"), Some("web"));
        assert_eq!(get("pod_labelpresent_app_kubernetes_io_name"), Some("true"));
        assert_eq!(get("pod_annotation_prometheus_io_scrape"), Some("true"));
        assert_eq!(get("pod_ready"), Some("true"));
        assert_eq!(get("pod_container_id"), Some("containerd://abc"));
        assert_eq!(get("pod_container_init"), Some("false"));
        assert_eq!(web[0]["__address__"], "10.0.0.7");
        let ports = pod_labels(&pods[0], true);
        assert_eq!(ports[0]["__address__"], "10.0.0.7:8080");
        assert_eq!(ports[0]["__meta_kubernetes_pod_container_port_name"], "http");
        assert_eq!(web[2]["__meta_kubernetes_pod_container_ephemeral"], "true");
    }

    #[test]
    fn the_annotation_gate_reacts_to_changes() {
        let gate =
            rule(&["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], ";", "true", "", "$1", Action::Keep);
        let job = job(vec![gate]);
        let mut all = Pods::default();
        let mut web = pods().remove(0);
        let now = Instant::now();
        let related = Related::default();
        let active = |pods: &Pods| pods.discover(&job, &related, "node-1").iter().filter(|d| d.outcome.is_ok()).count();
        all.apply(Event::Apply(web.clone()), now);
        assert_eq!(active(&all), 3);
        web.metadata.annotations = Some([("prometheus.io/scrape".to_owned(), "True".to_owned())].into());
        all.apply(Event::Apply(web.clone()), now);
        assert_eq!(active(&all), 0, "the pattern is anchored and knows case");
        web.metadata.annotations = Some([("prometheus.io/scrape".to_owned(), "true".to_owned())].into());
        all.apply(Event::Delete(web), now);
        assert_eq!(active(&all), 3, "a deleted pod stays for its last lines");
        assert!(!all.forget(now + Duration::from_secs(90), |_| true));
        assert!(all.forget(now + Duration::from_secs(90), |_| false));
        assert_eq!(active(&all), 0);
    }
}
