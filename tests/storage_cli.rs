//! `logstack storage` beside a running engine, and after somebody flipped bits in its files.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LINES: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_quarantined_and_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let client = common::client();
    let engine = common::Process::engine(&data, &["--set", "auth_enabled=false"]);
    for app in ["hit", "whole"] {
        push(&client, engine.url(), app).await;
        let flushed = client.post(format!("{}/flush", engine.url())).send().await.expect("an answer");
        assert!(flushed.status().is_success());
    }
    push(&client, engine.url(), "log").await;

    // The engine runs, and is not disturbed.
    let verified = storage(&data, &["verify", "--decode"]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    let inspected = text(&storage(&data, &["inspect", "--blocks"]));
    assert!(inspected.contains("app=\"hit\"") && inspected.contains("segment"), "{inspected}");
    let stats = text(&storage(&data, &["stats"]));
    assert!(stats.contains("by tenant") && stats.contains("tenant") && stats.contains(":1)"), "{stats}");
    assert_eq!(count(&client, engine.url(), "hit").await, LINES);
    engine.kill();

    // The first part has the lines of one stream: flip a bit in the midst of its block.
    let part = parts(&data).remove(0);
    flip(&part, 100);
    let verified = storage(&data, &["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    assert!(text(&verified).contains(part.file_name().unwrap().to_str().unwrap()), "{}", text(&verified));

    // The end of a file is what a start reads: such a part is set aside at once, the rest is answered.
    let len = std::fs::metadata(&part).expect("the part").len();
    flip(&part, len - 30);
    let engine = common::Process::engine(&data, &["--set", "auth_enabled=false"]);
    assert_eq!(count(&client, engine.url(), "hit").await, 0);
    assert_eq!(count(&client, engine.url(), "whole").await, LINES);
    assert_eq!(count(&client, engine.url(), "log").await, LINES);
    let metrics = client.get(format!("{}/metrics", engine.url())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("logstack_storage_lost_parts 1"), "{metrics}");
    assert!(metrics.contains("logstack_storage_quarantined_files_total 1"), "{metrics}");
    assert_eq!(storage(&data, &["verify"]).status.code(), Some(0), "what was set aside is no longer part of the data");
    drop(engine);

    let missing = storage(folder.path(), &["verify"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no data directory"));
}

fn storage(data: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_logstack"))
        .arg("storage")
        .args(args)
        .arg("--data-dir")
        .arg(data)
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All parts, oldest first.
fn parts(data: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(data.join("days")).expect("days").flatten();
    let mut parts: Vec<PathBuf> = folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).expect("a day").flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|name| name == "part"))
        .collect();
    parts.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    parts
}

fn flip(path: &Path, offset: u64) {
    let mut bytes = std::fs::read(path).expect("the part");
    bytes[offset as usize] ^= 16;
    std::fs::write(path, bytes).expect("the part is written");
}

async fn push(client: &reqwest::Client, url: &str, app: &str) {
    let now_ns = i64::try_from(jiff::Timestamp::now().as_nanosecond()).expect("before the year 2262");
    let values: Vec<_> = (0..LINES)
        .map(|n| {
            serde_json::json!([(now_ns - n as i64 * 1000).to_string(), format!("GET /{n} of {app} took {}ms", n * 7)])
        })
        .collect();
    let body = serde_json::json!({"streams": [{"stream": {"app": app}, "values": values}]}).to_string();
    let request = client.post(format!("{url}/loki/api/v1/push")).header("Content-Type", "application/json").body(body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 204, "{}", response.text().await.unwrap_or_default());
}

async fn count(client: &reqwest::Client, url: &str, app: &str) -> usize {
    let params = [("query", format!("{{app=\"{app}\"}}")), ("limit", "5000".to_owned())];
    let request = client.get(format!("{url}/loki/api/v1/query_range")).query(&params);
    let body: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let streams = body["data"]["result"].as_array().unwrap_or_else(|| panic!("{body}"));
    streams.iter().map(|stream| stream["values"].as_array().map_or(0, Vec::len)).sum()
}
