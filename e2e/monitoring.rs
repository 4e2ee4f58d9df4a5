//! What alerts, dashboards and docs ask Prometheus for is what running processes answer: the real engine and collector, and
//! an operator on a cluster in memory. A counter that appears only with its first event would hide that event from
//! `increase()`, so it must be there before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::promql;
use crate::tools::root;

/// Has no address but what the log says; killed when dropped.
struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a subcommand and waits until its log says where it listens.
fn start(folder: &Path, name: &str, args: &[&str]) -> Running {
    let log = folder.join(format!("{name}.log"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_logstack"))
        .args(args)
        .env("LOGSTACK_LOG_FORMAT", "json")
        .env("HOSTNAME", "node")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .spawn()
        .expect("the binary starts");
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(address) = text.lines().find_map(listening_address) {
            return Running { child, url: format!("http://{address}") };
        }
        if start.elapsed() > Duration::from_secs(90) || !matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            panic!("{name} does not listen:\n{text}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn listening_address(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields").unwrap_or(&event);
    (fields.get("message")? == "listening").then(|| fields.get("address")?.as_str().map(str::to_owned))?
}

/// Names of the samples of a page; a histogram's families too.
fn names(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    samples.map(name).filter(|name| !name.is_empty()).collect()
}

/// Each metric that is asked for, and by whom.
fn wanted() -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut add = |expr: &str, at: &str| {
        for metric in promql::metrics(expr) {
            out.insert(metric, at.to_owned());
        }
    };
    let folder = root().join("deploy/monitoring");
    let rules = std::fs::read_to_string(folder.join("prometheusrule.yaml")).expect("rules");
    let rules: serde_yaml::Value = serde_yaml::from_str(&rules).expect("YAML");
    for alert in rules["spec"]["groups"][0]["rules"].as_sequence().expect("alerts") {
        add(alert["expr"].as_str().expect("an expression"), alert["alert"].as_str().unwrap_or_default());
    }
    for file in std::fs::read_dir(folder.join("dashboards")).expect("dashboards").flatten() {
        let text = std::fs::read_to_string(file.path()).expect("a dashboard");
        let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                if target["datasource"]["type"] == "prometheus" {
                    add(target["expr"].as_str().expect("an expression"), panel["title"].as_str().unwrap_or_default());
                }
            }
        }
    }
    // In docs a metric is written as code.
    for file in std::fs::read_dir(root().join("docs")).expect("docs").flatten() {
        if file.path().extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(file.path()).expect("a page");
            let page = file.file_name().to_string_lossy().into_owned();
            for code in text.split('`').skip(1).step_by(2) {
                let is_name = code.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '0'..='9'));
                let has_unit =
                    ["_total", "_bytes", "_seconds", "_lines", "_parts"].iter().any(|unit| code.ends_with(unit));
                if is_name && has_unit {
                    add(code, &page);
                }
            }
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_answered() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data").display().to_string();
    let engine = start(folder.path(), "engine", &["engine", "--listen", "127.0.0.1:0", "--data-dir", &data]);
    std::fs::write(folder.path().join("a.log"), "a line\nanother\n").expect("a log");
    let config = format!(
        "server: {{http_listen_address: 127.0.0.1, http_listen_port: 0}}
clients: [{{url: '{}/loki/api/v1/push'}}]
positions: {{filename: {folder}/positions.yaml}}
scrape_configs: [{{job_name: a, static_configs: [{{targets: [localhost], labels: {{app: a, __path__: {folder}/*.log}}}}]}}]
",
        engine.url,
        folder = folder.path().display()
    );
    let file = folder.path().join("collector.yaml");
    std::fs::write(&file, config).expect("a configuration");
    let file = file.display().to_string();
    let collector = start(folder.path(), "collector", &["collector", "--config-file", &file]);

    let cluster = Cluster::in_memory().await;
    let operator = cluster.operator(|_| {}).await;
    cluster.namespace("logging", serde_json::json!({})).await;
    cluster.apply("logging", "LogStack", "logs", "spec: {}").await;
    cluster.apply("logging", "LogScrape", "all", "spec: {}").await;
    cluster.condition("logging", "LogStack", "logs", "Ready", "AllReady").await;

    let client = reqwest::Client::new();
    let page = async |url: &str| -> String {
        let answer = client.get(format!("{url}/metrics")).send().await.expect("an answer");
        answer.text().await.expect("a page")
    };
    // A query, and lines that came the whole way.
    crate::cluster::eventually("the lines are stored", async || {
        let query = [("query", r#"{app="a"}"#)];
        let answer = client.get(format!("{}/loki/api/v1/query_range", engine.url)).query(&query).send().await.ok()?;
        answer.text().await.ok()?.contains("another").then_some(())
    })
    .await;
    let mut known = names(&page(&engine.url).await);
    known.extend(names(&page(&collector.url).await));
    known.extend(names(&operator.metrics.page()));
    operator.stop().await.expect("it stops");

    let wanted = wanted();
    assert!(wanted.len() > 20, "{wanted:?}");
    // The kubelet's own come from the kubelet.
    let missing: Vec<_> =
        wanted.iter().filter(|(metric, _)| !metric.starts_with("kubelet_") && !known.contains(*metric)).collect();
    assert!(missing.is_empty(), "nobody answers {missing:#?}\n{known:#?}");
}
