//! What people and their tools see: kubectl, and Argo CD's comparison.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{Cluster, documents};

/// The real kubectl: the one that the tests of `deploy/` fetched, or the one of the path.
fn kubectl() -> Option<PathBuf> {
    let fetched = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../deploy-tools/kubectl/kubectl");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).map(|dir| dir.join("kubectl"));
    [fetched].into_iter().chain(all).find(|file| file.exists())
}

/// 46: `kubectl wait`, `scale`, `get`, `explain`, short names, categories and field selectors.
pub async fn with_kubectl(cluster: &Cluster) {
    let Some(server) = &cluster.server else { return };
    let Some(program) = kubectl() else {
        eprintln!("skipped: no kubectl (hint: cargo test -p logstack-crds --test deploy_tools fetches one)");
        return;
    };
    let (ns, config) = ("e2e-kubectl", server.kubeconfig());
    let run = async |arguments: &str| -> (bool, String) {
        let mut command = Command::new(&program);
        command.arg("--kubeconfig").arg(&config).args(["-n", ns]).args(arguments.split(' '));
        command.env("HOME", config.parent().expect("a folder"));
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("kubectl runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let succeeds = async |arguments: &str, wanted: &[&str]| {
        let (is_ok, text) = run(arguments).await;
        assert!(is_ok, "kubectl {arguments}: {text}");
        wanted
            .iter()
            .for_each(|wanted| assert!(text.contains(wanted), "kubectl {arguments}: no {wanted:?} in\n{text}"));
    };
    cluster.namespace(ns, json!({})).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    // At once, before there is a status: it waits for the truth.
    succeeds("wait --for=condition=Ready logstack/logs --timeout=300s", &["condition met"]).await;
    cluster.apply(ns, "LogScrape", "web", "spec: {tenant: fake}").await;
    succeeds("wait --for=condition=Ready logscrape/web --timeout=300s", &["condition met"]).await;
    let columns = ["NAME", "READY", "REASON", "ENGINE", "COLLECTORS", "STORAGE", "AGE", "AllReady", "1/1", "50Gi"];
    succeeds("get lgs", &columns).await;
    succeeds("get lgs -o wide", &["RETENTION", "VERSION", "30d"]).await;
    succeeds("get lsc", &["TARGETS", "GATED", "Programmed"]).await;
    succeeds("get logging", &["logstack.logstack.dev/logs", "logscrape.logstack.dev/web"]).await;
    succeeds("get observability", &["logstack.logstack.dev/logs"]).await;
    succeeds("get logstack logs -o jsonpath={.status.engine.ready}", &["1/1"]).await;
    succeeds("get logstacks --field-selector spec.tenancy.mode=Single", &["logs"]).await;
    succeeds("get logstacks --field-selector spec.tenancy.mode=Multi", &["No resources found"]).await;
    succeeds("get logscrapes --field-selector spec.tenant=fake", &["web"]).await;
    succeeds("explain logstack.spec.engine.retention", &["period", "streams", "maxSize"]).await;
    succeeds("explain logscrape.spec.pipelineStages", &["json", "multiline"]).await;
    let (is_ok, text) = run("scale logstack/logs --replicas=3").await;
    assert!(!is_ok && text.contains("spec.engine.replicas"), "{text}");
    succeeds("scale logstack/logs --replicas=0", &["scaled"]).await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "Hibernated").await;
    succeeds("scale logstack/logs --replicas=1", &["scaled"]).await;
    succeeds("wait --for=condition=Ready logstack/logs --timeout=300s", &["condition met"]).await;
    succeeds("delete logstack logs --wait=false", &["deleted"]).await;
    succeeds("wait --for=delete logstack/logs --timeout=300s", &[]).await;
}

/// 45: what Argo CD applied is what it finds: the operator changes no spec, label or annotation of a user's object, and
/// the API server fills in nothing that the manifest says otherwise.
pub async fn argo(cluster: &Cluster) {
    let ns = "e2e-argo";
    cluster.namespace(ns, json!({})).await;
    let mut compared = 0;
    let samples = ["quickstart", "production", "multi-tenant", "external", "system-logs", "edge"];
    for sample in samples {
        for (idx, mut wanted) in documents(&format!("samples/{sample}.yaml"), ns).into_iter().enumerate() {
            let kind = wanted["kind"].as_str().unwrap_or_default().to_owned();
            if !matches!(kind.as_str(), "LogStack" | "LogScrape") {
                continue;
            }
            let name = format!("{sample}-{idx}-{}", wanted["metadata"]["name"].as_str().unwrap_or_default());
            wanted["metadata"]["name"] = json!(name);
            wanted["metadata"]["namespace"] = json!(ns);
            wanted["metadata"]["labels"]["argocd.argoproj.io/instance"] = json!("app");
            cluster.apply_value(&wanted).await;
            let first = cluster.get(ns, &kind, &name).await.expect("an object");
            let is_seen = |now: &Value| now["status"]["observedGeneration"] == now["metadata"]["generation"];
            let now = cluster.until(ns, &kind, &name, "looked at", is_seen).await;
            assert_eq!(now["metadata"]["generation"], 1, "{sample}: the operator writes no spec");
            assert_eq!(now["spec"], first["spec"], "{sample}");
            for field in ["labels", "annotations"] {
                assert_eq!(now["metadata"][field], first["metadata"][field], "{sample}: {field}");
            }
            assert_eq!(out_of_sync(&wanted, &now), None, "{sample}: {kind} {name}");
            compared += 1;
        }
    }
    assert!(compared >= samples.len(), "{compared} objects of the samples");
}

/// The first field of a manifest that is not so in the cluster. Lists are compared whole, as Argo CD does: a default in an
/// item would be out of sync for ever.
fn out_of_sync(wanted: &Value, live: &Value) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().find_map(|(key, wanted)| {
            let inner = live.get(key).map_or_else(|| Some(String::new()), |live| out_of_sync(wanted, live));
            inner.map(|path| format!("{key}.{path}"))
        }),
        _ => (wanted != live).then(|| format!(" is {live}, not {wanted}")),
    }
}
