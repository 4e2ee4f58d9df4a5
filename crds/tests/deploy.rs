//! `deploy/` and `docs/`: what is generated is fresh, every document is accepted, every query parses, every metric exists.
//!
//! `UPDATE_DEPLOY=1 cargo test -p logstack-crds --test deploy` writes what is generated; the diff is reviewed.

#[path = "tools/promql.rs"]
mod promql;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use logstack_config::Severity;
use serde_yaml::Value;

use promql::metrics;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// Files below a folder with this extension, sorted.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    let documents = serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

const GENERATED: &str = "# Generated; do not edit: UPDATE_DEPLOY=1 cargo test -p logstack-crds --test deploy\n";

/// Path and text of everything in `deploy/` that is made from something else.
fn generated() -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut definitions = String::new();
    let chart = "deploy/helm/logstack-operator/files";
    for definition in logstack_crds::definitions().unwrap() {
        let name = definition.metadata.name.clone().unwrap();
        let text = format!("{GENERATED}{}", serde_yaml::to_string(&definition).unwrap());
        out.push((format!("deploy/crds/{name}.yaml"), text.clone()));
        out.push((format!("{chart}/crds/{name}.yaml"), text.clone()));
        write!(definitions, "---\n{text}").unwrap();
    }
    let base = |file: &str| read(&format!("deploy/kustomize/base/{file}.yaml"));
    let (namespace, rbac, operator) = (base("namespace"), base("rbac"), base("operator"));
    out.push((
        "deploy/install.yaml".to_owned(),
        format!("{GENERATED}# kubectl apply -f install.yaml\n{namespace}{definitions}---\n{rbac}---\n{operator}"),
    ));
    let rules = operator_rules(&rbac);
    let namespaced = namespaced(&rules);
    let list = |rules: &[Value]| format!("{GENERATED}{}", serde_yaml::to_string(rules).unwrap());
    out.push((format!("{chart}/rules.yaml"), list(&rules)));
    out.push((format!("{chart}/rules-namespaced.yaml"), list(&namespaced)));
    out.push(("deploy/kustomize/overlays/namespaced/role.yaml".to_owned(), roles(&namespaced)));
    let alerts = read("deploy/monitoring/prometheusrule.yaml");
    out.push((format!("{chart}/prometheusrule.yaml"), format!("{GENERATED}{alerts}")));
    for file in files("deploy/monitoring/dashboards", "json") {
        let name = file.rsplit('/').next().unwrap();
        out.push((format!("{chart}/dashboards/{name}"), read(&file)));
    }
    out.push(("deploy/argocd/argocd-cm.yaml".to_owned(), argocd_cm()));
    out
}

/// The rules of the operator's ClusterRole.
fn operator_rules(rbac: &str) -> Vec<Value> {
    let is_operators =
        |object: &Value| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "logstack-operator";
    documents(rbac).into_iter().find(is_operators).unwrap()["rules"].as_sequence().unwrap().clone()
}

/// The rules of a Role: without what is cluster-wide.
fn namespaced(rules: &[Value]) -> Vec<Value> {
    let mut rules = rules.to_vec();
    for rule in &mut rules {
        let resources = rule["resources"].as_sequence_mut().unwrap();
        resources.retain(|resource| resource != "namespaces" && resource != "clusterrolebindings");
    }
    rules.retain(|rule| rule["resources"].as_sequence().is_some_and(|resources| !resources.is_empty()));
    rules
}

/// Roles and bindings of the namespaced overlay.
fn roles(rules: &[Value]) -> String {
    let rules: String = serde_yaml::to_string(rules).unwrap().lines().map(|line| format!("  {line}\n")).collect();
    let labels = "{app.kubernetes.io/name: logstack-operator, app.kubernetes.io/part-of: logstack}";
    let mut out = GENERATED.to_owned();
    for namespace in ["logging", "matrix"] {
        write!(
            out,
            "---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: logstack-operator
  namespace: {namespace}
  labels: {labels}
rules:
{rules}---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: logstack-operator
  namespace: {namespace}
  labels: {labels}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: logstack-operator}}
subjects:
  - {{kind: ServiceAccount, name: logstack-operator, namespace: logstack-system}}
"
        )
        .unwrap();
    }
    out
}

/// The health scripts as Argo CD's ConfigMap has them.
fn argocd_cm() -> String {
    let mut out = format!(
        "{GENERATED}# kubectl -n argocd patch configmap argocd-cm --patch-file argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
data:
"
    );
    for (kind, script) in [("LogStack", "logstack"), ("LogScrape", "logscrape")] {
        writeln!(out, "  resource.customizations.health.logstack.dev_{kind}: |").unwrap();
        for line in read(&format!("deploy/argocd/health/{script}.lua")).lines() {
            writeln!(out, "{}", format!("    {line}").trim_end()).unwrap();
        }
    }
    out
}

#[test]
fn generated_files_are_fresh() {
    let update = std::env::var_os("UPDATE_DEPLOY").is_some();
    let mut stale = Vec::new();
    for (path, want) in generated() {
        let file = root().join(&path);
        if fs::read_to_string(&file).is_ok_and(|have| have == want) {
            continue;
        }
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, want).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}\nUPDATE_DEPLOY=1 cargo test -p logstack-crds --test deploy");
}

#[test]
fn definitions_are_quiet_for_gitops() {
    for definition in logstack_crds::definitions().unwrap() {
        let value = serde_yaml::to_value(&definition).unwrap();
        assert!(value.get("status").is_none());
        let names = value["spec"]["names"].as_mapping().unwrap();
        let empty = names.iter().filter(|(_, value)| value.as_sequence().is_some_and(Vec::is_empty));
        assert_eq!(empty.count(), 0, "an empty list is eternal drift in Argo CD");
    }
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    for chart in ["logstack-operator", "logstack"] {
        let chart: Value = serde_yaml::from_str(&read(&format!("deploy/helm/{chart}/Chart.yaml"))).unwrap();
        assert_eq!((&chart["version"], &chart["appVersion"]), (&Value::from(version), &Value::from(version)));
    }
    let image = format!("ghcr.io/logstack/logstack:{version}");
    assert_eq!(read("deploy/kustomize/base/operator.yaml").matches(&image).count(), 2, "image and LOGSTACK_IMAGE");
}

/// What `logstack check` says of some documents: no mistakes.
#[track_caller]
fn accept(name: &str, text: &str) {
    let findings = logstack_crds::check([(name, text)]);
    let mistakes: Vec<String> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn samples_are_accepted() {
    let samples = files("deploy/samples", "yaml");
    assert!(samples.len() > 10, "{samples:?}");
    for sample in samples.iter().chain(&files("deploy/argocd/example", "yaml")) {
        accept(sample, &read(sample));
    }
    // A folder is one stack.
    let matrix: String =
        files("deploy/samples/matrix", "yaml").iter().map(|file| format!("---\n{}", read(file))).collect();
    accept("matrix", &matrix);
    let (matrix, _) = logstack_crds::parse([("matrix", matrix.as_str())]).unwrap();
    assert_eq!((matrix.stacks.len(), matrix.scrapes.len()), (1, 11));
    // Jobs that overlap are told apart by priority: the narrower one first.
    let priority = |name: &str| {
        let found = matrix.scrapes.iter().find(|scrape| scrape.object.metadata.name.as_deref() == Some(name));
        found.unwrap().object.spec.priority
    };
    assert!(priority("synapse-li") > priority("synapse-workers"));
    assert!(priority("synapse-workers") > priority("synapse-main"));
}

/// A query with Grafana's variables replaced by what Grafana would put there.
fn without_variables(query: &str) -> String {
    let values = [
        ("$__auto", "5m"),
        ("$__range", "1h"),
        ("$__interval", "1m"),
        ("$label", "namespace"),
        ("$price", "0.05"),
        ("$namespace", "a|b"),
        ("$app", ".*"),
        ("$search", "a text"),
    ];
    values.iter().fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value))
}

#[track_caller]
fn parses(query: &str, at: &str) {
    let query = without_variables(query);
    if let Err(err) = logstack_logql::parse(&query) {
        panic!("{at}: {query}\n{err}");
    }
}

/// Source of what writes `/metrics`: a name that is nowhere in it is in no answer.
fn sources() -> String {
    let crates = ["engine/src", "collector/src", "operator/src"];
    crates.iter().flat_map(|folder| files(folder, "rs")).map(|file| read(&file)).collect()
}

#[track_caller]
fn exists(metric: &str, sources: &str, at: &str) {
    // The kubelet's own.
    if metric.starts_with("kubelet_") {
        return;
    }
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix)).unwrap_or(metric);
    let is_written = [metric, base].iter().any(|name| sources.contains(&format!("\"{name}")));
    assert!(is_written || sources.contains(&format!("# TYPE {base} ")), "{at}: no {metric}");
}

#[test]
fn dashboards_ask_what_exists() {
    let sources = sources();
    let dashboards = files("deploy/monitoring/dashboards", "json");
    assert_eq!(dashboards.len(), 4, "{dashboards:?}");
    for file in dashboards {
        let dashboard: serde_json::Value = serde_json::from_str(&read(&file)).unwrap();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "{file}: an id twice");
            let at = format!("{file}: {}", panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                let expr = target["expr"].as_str().unwrap();
                let source = target.get("datasource").unwrap_or(&panel["datasource"]);
                if source["type"] == "loki" {
                    parses(expr, &at);
                } else {
                    let names = metrics(expr);
                    assert!(!names.is_empty(), "{at}: {expr} asks for nothing");
                    names.iter().for_each(|name| exists(name, &sources, &at));
                }
            }
        }
    }
}

#[test]
fn alerts_ask_what_exists_and_lead_somewhere() {
    let sources = sources();
    let rule: Value = serde_yaml::from_str(&read("deploy/monitoring/prometheusrule.yaml")).unwrap();
    let troubleshooting = read("docs/troubleshooting.md");
    let anchors: BTreeSet<String> = troubleshooting.lines().filter_map(anchor).collect();
    for alert in rule["spec"]["groups"][0]["rules"].as_sequence().unwrap() {
        let name = alert["alert"].as_str().unwrap();
        let names = metrics(alert["expr"].as_str().unwrap());
        assert!(!names.is_empty(), "{name}");
        names.iter().for_each(|metric| exists(metric, &sources, name));
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        let (_, anchor) = url.split_once("docs/troubleshooting.md#").unwrap();
        assert!(anchors.contains(anchor), "{name}: docs/troubleshooting.md has no section {anchor}: {anchors:?}");
    }
}

/// The anchor of a Markdown heading.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix("##")?.trim_start_matches('#').trim();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect())
}

/// Fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    blocks
}

#[test]
fn docs_show_what_works() {
    let (mut queries, mut objects) = (0, 0);
    let pages = files("docs", "md");
    assert!(pages.len() >= 8, "{pages:?}");
    for page in &pages {
        let text = read(page);
        for (language, block) in blocks(&text) {
            match language.as_str() {
                // A query a paragraph; a comment begins with #.
                "logql" => {
                    for query in block.split("\n\n") {
                        let lines = query.lines().filter(|line| !line.trim_start().starts_with('#'));
                        let query = lines.collect::<Vec<_>>().join("\n");
                        if !query.trim().is_empty() {
                            parses(&query, page);
                            queries += 1;
                        }
                    }
                }
                "yaml" if logstack_crds::is_ours(&block, page) => {
                    accept(page, &block);
                    objects += 1;
                }
                "yaml" => drop(documents(&block)),
                _ => {}
            }
        }
        // Links to other files of the repository lead somewhere.
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !link.contains("://") && !file.is_empty() {
                let path = root().join(page).parent().unwrap().join(file);
                assert!(path.exists(), "{page}: {link}");
            }
        }
    }
    assert!(queries >= 40 && objects >= 8, "{queries} queries, {objects} documents");
}

#[test]
fn manifests_are_objects() {
    let folders = ["deploy/argocd", "deploy/flux", "deploy/kustomize", "deploy/monitoring", "deploy/policy"];
    let all = folders.iter().flat_map(|folder| files(folder, "yaml"));
    for file in all.filter(|file| !file.ends_with("health_test.yaml")) {
        for object in documents(&read(&file)) {
            assert!(object["apiVersion"].is_string() && object["kind"].is_string(), "{file}");
        }
    }
}
