//! Every metric that dashboards, alerts and pages name is on the page of a process that has just started: an alert on one
//! that comes with the first event would miss that event. The operator's are looked at in `e2e/`.

mod common;
#[path = "../crds/tests/tools/promql.rs"]
mod promql;

use std::path::Path;
use std::process::Command;

use common::{Process, client};

async fn page(process: &Process) -> String {
    let answer = client().get(format!("{}/metrics", process.url())).send().await.expect("an answer");
    answer.text().await.expect("a page")
}

#[tokio::test]
async fn what_is_named_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = Process::engine_with(folder.path(), "auth_enabled: false");
    let file = folder.path().join("collector.yaml");
    let at = folder.path().display();
    let yaml = format!(
        "server: {{http_listen_address: 127.0.0.1, http_listen_port: 0}}
positions: {{filename: {at}/positions.yaml}}
collector: {{disk_buffer: {{dir: {at}/buffer}}}}
clients: [{{url: '{}/loki/api/v1/push'}}]
scrape_configs: [{{job_name: a, static_configs: [{{labels: {{__path__: {at}/*.log}}}}]}}]
",
        engine.url()
    );
    std::fs::write(&file, yaml).expect("the configuration can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstack"));
    command.arg("collector").arg("--config-file").arg(&file);
    let collector = Process::spawn(command);
    let pages = page(&engine).await + &page(&collector).await;
    let named = promql::named(Path::new(env!("CARGO_MANIFEST_DIR")));
    let missing: Vec<String> = named
        .iter()
        .filter(|(name, _)| !promql::is_operators(name) && !promql::is_on(name, &pages))
        .map(|(name, file)| format!("{name} ({})", file.display()))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named.len() > 20, "{named:?}");
}
