//! `deploy/` on a real API server, with the real kubectl, helm and operator: what docs/ promise of installing, upgrading and
//! removing. The operator has the rights of its ServiceAccount and nothing else.
//!
//! `KUBEBUILDER_ASSETS` as in `main.rs`; without it, or without npm for kubectl and helm, it says so in one line and passes.

#![allow(clippy::print_stderr, missing_docs)]

#[allow(dead_code, reason = "the scenarios of main.rs use the rest")]
mod cluster;
#[path = "../tests/common/mod.rs"]
mod common;
mod kubelet;
#[allow(dead_code, reason = "as above")]
mod memory;
mod page;
mod play;
#[allow(dead_code, reason = "as above")]
mod server;
#[path = "../crds/tests/tools/mod.rs"]
mod tools;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use cluster::Cluster;
use common::Process;
use server::Server;
use tools::{root, text};

/// Longest wait for one thing, as kubectl takes it.
const TIMEOUT: &str = "--timeout=180s";

/// Where the operator is.
const SYSTEM: &str = "logstack-system";

/// A cluster and the tools that talk to it.
struct Bench {
    cluster: Cluster,
    folder: tempfile::TempDir,
    /// What was said last of a wait that goes on.
    noted: std::cell::RefCell<String>,
}

impl Bench {
    /// `None`: there is no API server to start, or there are no tools.
    async fn start() -> Option<Self> {
        let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") else {
            eprintln!("skipped: KUBEBUILDER_ASSETS does not name a real API server");
            return None;
        };
        tools::tools()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server, config, client) = Server::start(Path::new(&assets)).await;
        tokio::spawn(kubelet::play(client.clone()));
        let cluster = Cluster { config, client, memory: None, server: Some(server) };
        let bench =
            Self { cluster, folder: tempfile::tempdir().expect("a temporary folder"), noted: Default::default() };
        bench.write_kubeconfig("admin", "admin");
        // Controllers come up later than the API server: one of them makes this account.
        let start = Instant::now();
        while !bench.is_there("-n default serviceaccount/default").await {
            assert!(start.elapsed() < Duration::from_secs(180), "no controller works");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Some(bench)
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.path().join(user)
    }

    fn write_kubeconfig(&self, user: &str, token: &str) {
        let server = &self.cluster.config.cluster_url;
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: it
clusters: [{{name: it, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}]
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
users: [{{name: it, user: {{token: '{token}'}}}}]
"
        );
        std::fs::write(self.kubeconfig(user), text).expect("a kubeconfig");
    }

    /// Runs a tool in `deploy/`.
    async fn run(&self, tool: &str, args: &[&str]) -> Output {
        let mut command = tools::command(tool, &self.kubeconfig("admin")).expect("there are tools");
        command.args(args).stdin(Stdio::null());
        // The played kubelet goes on meanwhile.
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("the tool starts")
    }

    /// Runs a tool that must succeed; its output.
    async fn succeed(&self, tool: &str, args: &[&str]) -> String {
        let output = self.run(tool, args).await;
        assert!(output.status.success(), "{tool} {args:?}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    async fn kubectl(&self, args: &str) -> String {
        self.succeed("kubectl", &args.split_whitespace().collect::<Vec<_>>()).await
    }

    async fn helm(&self, args: &str) -> String {
        self.succeed("helm", &args.split_whitespace().collect::<Vec<_>>()).await
    }

    /// An object as it is.
    async fn get(&self, what: &str) -> Value {
        let json = self.kubectl(&format!("get {what} -o json")).await;
        serde_json::from_str(&json).expect("JSON")
    }

    async fn is_there(&self, what: &str) -> bool {
        let args: Vec<&str> = ["get", "--ignore-not-found", "-o", "name"].into_iter().chain(what.split(' ')).collect();
        !self.succeed("kubectl", &args).await.is_empty()
    }

    /// A namespace whose pods may read files of the node, with further labels.
    async fn namespace(&self, name: &str, labels: &str) {
        if !self.is_there(&format!("namespace {name}")).await {
            self.kubectl(&format!("create namespace {name}")).await;
            let label = format!("label namespace {name} pod-security.kubernetes.io/enforce=privileged {labels}");
            self.kubectl(&label).await;
        }
    }

    /// Remembers what is not as it should be, for whoever reads why a test failed.
    fn note(&self, value: &Value) {
        let text = serde_yaml::to_string(value).unwrap_or_default();
        let mut noted = self.noted.borrow_mut();
        if *noted != text {
            eprint!("{text}");
            *noted = text;
        }
    }

    /// Whether an account may do something.
    async fn may(&self, account: &str, what: &str) -> bool {
        let args = format!("auth can-i {what} --as system:serviceaccount:{account}");
        self.run("kubectl", &args.split_whitespace().collect::<Vec<_>>()).await.status.success()
    }

    /// Starts the binary as the Deployment would, with a token of its ServiceAccount.
    async fn operator(&self) -> OperatorProcess {
        let deployment = self.get(&format!("-n {SYSTEM} deployment/logstack-operator")).await;
        let pod = &deployment["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().expect("an account");
        let token = self.kubectl(&format!("-n {SYSTEM} create token {account}")).await;
        self.write_kubeconfig("operator", token.trim());
        let container = &pod["containers"][0];
        let strings = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_logstack"));
        command
            .args(strings(&container["args"]))
            .args(["--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
            .env_clear()
            .env("KUBECONFIG", self.kubeconfig("operator"))
            .envs([("POD_NAME", "operator-of-the-test"), ("POD_NAMESPACE", SYSTEM)]);
        for variable in container["env"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
                command.env(name, value);
            }
        }
        let log = self.folder.path().join("operator.log");
        let file = std::fs::File::create(&log).expect("a log file");
        let child = command.stdin(Stdio::null()).stderr(file).spawn().expect("the operator starts");
        OperatorProcess { child, log }
    }
}

/// A running operator; killed when dropped.
struct OperatorProcess {
    child: Child,
    log: PathBuf,
}

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OperatorProcess {
    /// Ends it by SIGTERM, and looks through what it said: it was never refused anything.
    #[track_caller]
    fn stop(mut self) {
        let status = std::process::Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(status.success());
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status,
                None => assert!(start.elapsed() < Duration::from_secs(60), "the operator does not end"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(status.success(), "{status}\n{log}");
        assert!(log.contains("everything seen"), "{log}");
        let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        assert!(refused.is_empty(), "rights are missing: {refused:#?}");
    }
}

fn documents(yaml: &str) -> Vec<Value> {
    let all = serde_yaml::Deserializer::from_str(yaml).map(|document| Value::deserialize(document).expect("YAML"));
    all.filter(|document| !document.is_null()).collect()
}

/// Documents of a file, or of a folder's files.
fn sample_documents(sample: &Path) -> Vec<Value> {
    let read = |path: &Path| documents(&std::fs::read_to_string(path).expect("a sample"));
    if sample.is_file() {
        return read(sample);
    }
    let entries = std::fs::read_dir(sample).expect("a folder").flatten();
    entries.flat_map(|entry| read(&entry.path())).collect()
}

fn named<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let of_kind = objects.iter().filter(move |object| object["kind"] == kind);
    of_kind.filter_map(|object| Some((object["metadata"]["namespace"].as_str()?, object["metadata"]["name"].as_str()?)))
}

/// Waits as the docs tell people to.
async fn ready(bench: &Bench, namespace: &str, kind: &str, name: &str) -> Value {
    let what = format!("{kind}/{name}");
    let output = bench.run("kubectl", &["-n", namespace, "wait", "--for=condition=Ready", &what, TIMEOUT]).await;
    let object = bench.get(&format!("-n {namespace} {what}")).await;
    let conditions = serde_yaml::to_string(&object["status"]).unwrap_or_default();
    assert!(output.status.success(), "{namespace}/{name}: {}\n{conditions}", text(&output.stderr));
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"], "{namespace}/{name}");
    object
}

/// Applies a sample, waits until all of it works, and removes it.
async fn check_sample(bench: &Bench, sample: &Path) {
    let start = Instant::now();
    let objects = sample_documents(sample);
    let path = sample.to_str().expect("UTF-8");
    for (namespace, _) in named(&objects, "LogStack").chain(named(&objects, "LogScrape")) {
        bench.namespace(namespace, "logs=shared").await;
    }
    for object in &objects {
        if let Some(namespace) = object["spec"]["grafana"]["namespace"].as_str() {
            bench.namespace(namespace, "").await;
        }
    }
    // The Secrets that a comment of the sample tells people to make.
    let text = std::fs::read_to_string(sample).unwrap_or_default();
    let commands = text.lines().filter_map(|line| line.split_once("kubectl ").filter(|_| line.starts_with('#')));
    for (_, command) in commands {
        bench.kubectl(&command.replace('\'', "")).await;
    }
    bench.kubectl(&format!("apply -f {path}")).await;
    let is_external = objects.iter().any(|object| object["spec"]["engine"]["external"]["url"].is_string());
    for (namespace, name) in named(&objects, "LogStack") {
        if is_external {
            // Nobody answers at the sample's URL, and that is all that is wrong.
            bench.cluster.condition(namespace, "LogStack", name, "Available", "ExternalUnreachable").await;
            bench.cluster.until(namespace, "DaemonSet", &format!("{name}-collector"), "there", |_| true).await;
            continue;
        }
        ready(bench, namespace, "logstack", name).await;
        // The volume may be bound a moment later.
        let what = format!("{namespace}/{name} has only good conditions");
        cluster::eventually(&what, async || {
            let stack = bench.cluster.get(namespace, "LogStack", name).await?;
            let bad = cluster::conditions(&stack).find(|condition| !is_good(condition)).cloned();
            if let Some(bad) = &bad {
                bench.note(bad);
            }
            bad.is_none().then_some(())
        })
        .await;
    }
    for (namespace, name) in named(&objects, "LogScrape") {
        ready(bench, namespace, "logscrape", name).await;
    }
    for (namespace, _) in named(&objects, "LogStack") {
        let mut events = bench.cluster.events(namespace).await;
        events.retain(|event| event["reason"] == "DriftCorrected");
        assert!(events.is_empty(), "nobody but the operator writes here: {events:?}");
    }
    // The operator writes no spec: what was applied is what is there.
    bench.kubectl(&format!("diff -f {path}")).await;
    let again = bench.kubectl(&format!("apply -f {path}")).await;
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{path}: {again}");
    bench.kubectl(&format!("delete -f {path} {TIMEOUT}")).await;
    // Volumes stay, and the next sample of that name would find a larger one than it asks for.
    for (namespace, name) in named(&objects, "LogStack") {
        bench.kubectl(&format!("-n {namespace} delete pvc data-{name}-engine-0 --ignore-not-found {TIMEOUT}")).await;
    }
    eprintln!("{:<40} ok  {:?}", sample.file_name().unwrap_or_default().to_string_lossy(), start.elapsed());
}

/// Whether a condition says that all is well.
fn is_good(condition: &Value) -> bool {
    match condition["type"].as_str().unwrap_or_default() {
        "Progressing" => true,
        "Degraded" | "Paused" | "Stalled" | "StoragePressure" => condition["status"] != "True",
        _ => condition["status"] == "True",
    }
}

fn samples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("deploy/samples")).expect("samples");
    let mut samples: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    samples.sort();
    samples
}

/// The manifests and each sample, then docs/upgrade-and-rollback.md "Uninstall" without helm.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_kubectl() {
    let Some(bench) = Bench::start().await else { return };
    // Server-side on an empty cluster, then removed, then client-side: both are documented.
    bench.kubectl("apply --server-side -f install.yaml").await;
    bench.kubectl("diff --server-side -f install.yaml").await;
    bench.kubectl(&format!("delete -f install.yaml {TIMEOUT}")).await;
    bench.kubectl("apply -f install.yaml").await;
    bench.kubectl(&format!("wait --for=condition=Established crd/logstacks.logstack.dev {TIMEOUT}")).await;
    bench.kubectl("diff -f install.yaml").await;
    let before = bench.get(&format!("-n {SYSTEM} deployment/logstack-operator")).await;
    bench.kubectl("apply -f install.yaml").await;
    let after = bench.get(&format!("-n {SYSTEM} deployment/logstack-operator")).await;
    assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
    // Pod Security of the namespace lets its pods in.
    bench.kubectl(&format!("-n {SYSTEM} rollout status deployment/logstack-operator {TIMEOUT}")).await;

    let account = format!("{SYSTEM}:logstack-operator");
    assert!(bench.may(&account, "get secrets -A").await);
    for forbidden in ["list secrets -A", "watch secrets -A", "create clusterroles", "create pods -A", "get leases -A"] {
        assert!(!bench.may(&account, forbidden).await, "{forbidden}");
    }

    let operator = bench.operator().await;
    for sample in samples() {
        check_sample(&bench, &sample).await;
    }
    // What collectors may see, bound for a stack that is there.
    bench.kubectl("apply -f samples/quickstart.yaml").await;
    ready(&bench, "logging", "logstack", "logs").await;
    assert!(bench.may("logging:logs-collector", "watch pods -A").await);
    assert!(!bench.may("logging:logs-collector", "get secrets -A").await);
    assert!(!bench.may("logging:logs-engine", "get pods -A").await);
    uninstall_keeps_logs(&bench).await;
    operator.stop();
    bench.kubectl(&format!("delete -f install.yaml {TIMEOUT}")).await;
    assert!(bench.is_there("-n logging pvc/data-logs-engine-0").await);
}

/// Stacks go, volumes stay, nothing waits for a finalizer.
async fn uninstall_keeps_logs(bench: &Bench) {
    bench.kubectl(&format!("delete logscrapes --all -A {TIMEOUT}")).await;
    bench.kubectl(&format!("delete logstacks --all -A {TIMEOUT}")).await;
    bench.cluster.gone("logging", "StatefulSet", "logs-engine").await;
    bench.cluster.gone("logging", "DaemonSet", "logs-collector").await;
    assert!(!bench.is_there("clusterrolebinding/logstack:logging:logs:collector").await);
    assert!(bench.is_there("-n logging pvc/data-logs-engine-0").await);
}

/// Commands of docs/getting-started.md that need more than an API server, by how they begin: what stands for them.
const LEFT_OUT: [(&str, &str); 8] = [
    ("kind ", "the API server of this test is the cluster"),
    ("docker build", "tests/image.rs builds what the image holds, and runs it"),
    ("docker tag", "the same"),
    ("docker push", "the same"),
    ("kubectl -n logging port-forward", "needs a node: the queries below are put to an engine on this machine"),
    ("helm install grafana ", "Grafana's chart is not ours: what its sidecar reads is looked at below"),
    ("kubectl -n logging rollout status deployment/grafana", "the same"),
    ("kubectl -n logging get secret grafana", "the same"),
];

/// Of what a command prints.
const LINES_SHOWN_MAX: usize = 8;

/// Runs a command of a page, which must succeed; what it prints.
async fn type_in(bench: &Bench, text: &str) -> String {
    let mut command = tools::shell(text, &bench.kubeconfig("admin")).expect("there are tools");
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("there is sh");
    let said = tools::text(&output.stdout);
    eprintln!("$ {text}");
    said.lines().take(LINES_SHOWN_MAX).for_each(|line| eprintln!("{}", &line[..line.floor_char_boundary(120)]));
    assert!(output.status.success(), "{text}\n{}", tools::text(&output.stderr));
    said
}

/// docs/getting-started.md from the top: each command is accepted, and what the page says follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn getting_started() {
    let Some(bench) = Bench::start().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let binary = env!("CARGO_BIN_EXE_logstack");
    let engine = Process::engine_with(folder.path(), "auth_enabled: false");
    push_to_kube_system(&engine).await;
    let (mut operator, mut alone) = (None, None);
    let mut left_out = BTreeSet::new();
    for command in page::commands(Path::new("docs/getting-started.md")) {
        if let Some((start, why)) = LEFT_OUT.iter().find(|(start, _)| command.text.starts_with(start)) {
            eprintln!("$ {}\n# left out: {why}\n", command.text);
            left_out.insert(*start);
            continue;
        }
        let is_asking = |text: &str| text.contains(" query ") || text.contains("query_range");
        match command.section.as_str() {
            "3. The operator" => {
                type_in(&bench, &command.text).await;
                if command.has_alternative {
                    type_in(&bench, &command.text.replacen("kubectl apply", "kubectl delete", 1)).await;
                }
            }
            "Without a cluster" if !is_asking(&command.text) => {
                let arguments = command.text.strip_prefix("cargo run --release -- ").expect("a command of the binary");
                let mut command = std::process::Command::new(binary);
                command.args(arguments.split(' ')).args(["--listen", "127.0.0.1:0", "--data-dir"]).current_dir(root());
                command.arg(folder.path().join("alone"));
                alone = Some(Process::spawn(command));
            }
            "Without a cluster" => {
                let alone: &Process = alone.as_ref().expect("it runs");
                let text = command.text.replace("cargo run --release --", binary);
                // In another terminal, a moment later: the sample logs are read by then.
                let text = format!("LOGSTACK_ADDR={} {text}", alone.url());
                cluster::eventually("a line of the sample logs", async || {
                    type_in(&bench, &text).await.contains("ERROR").then_some(())
                })
                .await;
            }
            _ if is_asking(&command.text) => {
                let text = command.text.replace("http://127.0.0.1:3100", engine.url());
                let text = text.replace("docker run --rm --network host ghcr.io/logstack/logstack:0.1.0", binary);
                let said = type_in(&bench, &format!("export LOGSTACK_ADDR={}\n{text}", engine.url())).await;
                assert!(said.contains("the first line"), "{said}");
            }
            _ => {
                if operator.is_none() {
                    // The Deployment's pods are played; its command is run here.
                    operator = Some(bench.operator().await);
                }
                let said = type_in(&bench, &command.text).await;
                match command.text.as_str() {
                    "kubectl -n logging get logstacks" => assert!(has_row(&said, &["logs", "True", "AllReady"])),
                    "kubectl -n logging get logscrapes" => assert!(has_row(&said, &["all", "True"])),
                    _ => {}
                }
            }
        }
    }
    assert_eq!(left_out.len(), LEFT_OUT.len(), "what is left out is on the page: {left_out:?}");
    grafana_finds_it(&bench).await;
    operator.expect("an operator").stop();
}

/// True when a line of a table begins with these cells.
fn has_row(table: &str, cells: &[&str]) -> bool {
    table.lines().any(|line| line.split_whitespace().take(cells.len()).eq(cells.iter().copied()))
}

/// A line that is as old as this moment, for the page's queries.
async fn push_to_kube_system(engine: &Process) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    let values = serde_json::json!([[now.to_string(), "the first line"]]);
    let streams = serde_json::json!([{ "stream": { "namespace": "kube-system" }, "values": values }]);
    let request = common::client().post(format!("{}/loki/api/v1/push", engine.url()));
    let answer = request.json(&serde_json::json!({ "streams": streams })).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// What Grafana's sidecars read, by the labels that they look for, says what the page says: the data source's name, where
/// it leads, and a dashboard of the same name.
async fn grafana_finds_it(bench: &Bench) {
    let file = async |label: &str| -> Value {
        let maps = bench.get(&format!("-n logging configmap -l {label}=1")).await;
        let files = maps["items"][0]["data"].as_object().expect("files").values().next().and_then(Value::as_str);
        serde_yaml::from_str(files.expect("a file")).expect("YAML, or JSON, which is YAML")
    };
    let source = file("grafana_datasource").await["datasources"][0].clone();
    assert_eq!((source["name"].as_str(), source["type"].as_str()), (Some("Logs (logging/logs)"), Some("loki")));
    let port = bench.get("-n logging service logs").await["spec"]["ports"][0]["port"].clone();
    let url = source["url"].as_str().expect("a URL");
    assert!(url.starts_with("http://logs.logging") && url.ends_with(&format!(":{port}")), "{url}");
    assert_eq!(file("grafana_dashboard").await["title"], "Logs (logging/logs)");
}

/// The overlays on a real API server, as far as its kinds go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlays() {
    let Some(bench) = Bench::start().await else { return };
    // Dry runs need namespaces and kinds to be there.
    for namespace in [SYSTEM, "logging", "matrix", "grafana"] {
        bench.namespace(namespace, "").await;
    }
    bench.kubectl("apply -k crds").await;
    bench.kubectl(&format!("wait --for=condition=Established crd --all {TIMEOUT}")).await;
    for overlay in
        ["base", "overlays/dev", "overlays/grafana-namespace", "overlays/namespaced", "overlays/network-policies"]
    {
        bench.kubectl(&format!("apply --dry-run=server -k kustomize/{overlay}")).await;
    }
    bench.kubectl("apply -f policy/warn-on-shrink.yaml").await;
    bench.kubectl("apply -f policy/networkpolicy-operator.yaml").await;
}

/// A copy of the operator's chart as an older release would have had it: another version, fewer fields.
fn older_chart(folder: &Path) -> PathBuf {
    let chart = folder.join("older");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([root().join("deploy/helm/logstack-operator"), chart.clone()])
        .status()
        .expect("cp runs");
    assert!(copied.success());
    let file = chart.join("Chart.yaml");
    let text = std::fs::read_to_string(&file).expect("a chart");
    let version = env!("CARGO_PKG_VERSION");
    std::fs::write(&file, text.replace(&format!("version: {version}"), "version: 0.0.9")).expect("a chart");
    let file = chart.join("files/crds/logstacks.logstack.dev.yaml");
    let mut definition = documents(&std::fs::read_to_string(&file).expect("a definition")).remove(0);
    let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let removed = spec["properties"].as_object_mut().expect("properties").remove("networkPolicy");
    assert!(removed.is_some());
    std::fs::write(&file, serde_yaml::to_string(&definition).expect("YAML")).expect("a definition");
    chart
}

/// docs/upgrade-and-rollback.md with helm.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_helm() {
    let Some(bench) = Bench::start().await else { return };
    let older = older_chart(bench.folder.path());
    let older = older.display();
    let release = format!("logstack-operator -n {SYSTEM}");
    bench.helm(&format!("install {release} {older} --create-namespace")).await;
    bench.kubectl(&format!("wait --for=condition=Established crd/logstacks.logstack.dev {TIMEOUT}")).await;
    bench.kubectl(&format!("-n {SYSTEM} rollout status deployment/logstack-operator {TIMEOUT}")).await;
    let operator = bench.operator().await;
    bench.namespace("logging", "").await;
    bench.kubectl("apply -f samples/quickstart.yaml").await;
    ready(&bench, "logging", "logstack", "logs").await;
    let before = what_stays(&bench).await;
    let with_policy = bench.folder.path().join("policy.yaml");
    let sample = std::fs::read_to_string(root().join("deploy/samples/quickstart.yaml")).expect("a sample");
    std::fs::write(&with_policy, sample.replace("spec: {}", "spec: {networkPolicy: {enabled: true}}")).expect("a file");
    let with_policy = with_policy.display().to_string();
    let refused = bench.run("kubectl", &["apply", "--server-side", "-f", &with_policy]).await;
    assert!(text(&refused.stderr).contains("networkPolicy"), "the older definition does not know the field");

    // The definitions come with the chart; the stack and its data are as they were.
    bench.helm(&format!("upgrade {release} helm/logstack-operator")).await;
    operator.stop();
    let operator = bench.operator().await;
    ready(&bench, "logging", "logstack", "logs").await;
    assert_eq!(what_stays(&bench).await, before);
    bench.kubectl(&format!("apply -f {with_policy}")).await;
    ready(&bench, "logging", "logstack", "logs").await;
    bench.cluster.until("logging", "NetworkPolicy", "logs-engine", "there", |_| true).await;

    // Back, the documented way: the operator only. The definitions still know the field, and the object keeps it.
    bench.helm(&format!("upgrade {release} {older} --set crds.install=false")).await;
    operator.stop();
    let operator = bench.operator().await;
    let stack = ready(&bench, "logging", "logstack", "logs").await;
    assert_eq!(stack["spec"]["networkPolicy"]["enabled"], true);
    bench.helm(&format!("upgrade {release} helm/logstack-operator")).await;

    // Uninstalled first, against the advice: stacks, pods and definitions go on.
    bench.helm(&format!("uninstall {release} --wait")).await;
    operator.stop();
    assert!(!bench.is_there("clusterrole/logstack-operator").await);
    assert!(bench.is_there("crd/logstacks.logstack.dev").await && bench.is_there("crd/logscrapes.logstack.dev").await);
    assert_eq!(what_stays(&bench).await, before);

    // And the chart finds its definitions when it comes back.
    bench.helm(&format!("install {release} helm/logstack-operator")).await;
    let operator = bench.operator().await;
    ready(&bench, "logging", "logstack", "logs").await;
    assert_eq!(what_stays(&bench).await, before);

    // The documented order.
    uninstall_keeps_logs(&bench).await;
    bench.helm(&format!("uninstall {release} --wait")).await;
    operator.stop();
    bench.kubectl(&format!("delete crd logstacks.logstack.dev logscrapes.logstack.dev {TIMEOUT}")).await;
    assert!(bench.is_there("-n logging pvc/data-logs-engine-0").await);
}

/// The stack of stacks' chart, from values of loki-stack, on a real API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stacks_by_helm() {
    let Some(bench) = Bench::start().await else { return };
    bench.helm(&format!("install logstack-operator helm/logstack-operator -n {SYSTEM} --create-namespace")).await;
    bench.kubectl(&format!("wait --for=condition=Established crd/logstacks.logstack.dev {TIMEOUT}")).await;
    let operator = bench.operator().await;
    bench.namespace("logging", "").await;
    let values = root().join("crds/src/migrate/testdata/loki-stack.yaml");
    let values = values.display();
    bench.helm(&format!("install logs helm/logstack -n logging -f {values} --set grafana.enabled=false")).await;
    ready(&bench, "logging", "logstack", "logs").await;
    let volume = bench.get("-n logging pvc/data-logs-engine-0").await;
    assert_eq!(volume["spec"]["resources"]["requests"]["storage"], "50Gi");
    assert_eq!(volume["spec"]["storageClassName"], "fast-ssd");
    bench.helm("uninstall logs -n logging").await;
    bench.cluster.gone("logging", "StatefulSet", "logs-engine").await;
    assert!(bench.is_there("-n logging pvc/data-logs-engine-0").await);
    operator.stop();
}

/// Identities of what an upgrade must leave alone.
async fn what_stays(bench: &Bench) -> Vec<Value> {
    let mut out = Vec::new();
    for what in ["logstack/logs", "statefulset/logs-engine", "daemonset/logs-collector", "pvc/data-logs-engine-0"] {
        out.push(bench.get(&format!("-n logging {what}")).await["metadata"]["uid"].clone());
    }
    out.push(bench.get("-n logging pod/logs-engine-0").await["metadata"]["uid"].clone());
    out
}
