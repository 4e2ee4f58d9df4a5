//! The promise of the engine: an acknowledged entry survives `kill -9` at any instant, and is there once.
//!
//! The real process is killed at random moments while several clients push and delete, and while it flushes, merges and
//! drops what has expired or is deleted; each time it is started again on the same folder. In the end every acknowledged
//! line must be found exactly once, but none that has expired or whose deletion was acknowledged, and nothing that was
//! never sent; and every checksum must hold.
//!
//! ```text
//! cargo test --test crash                                   200 kills
//! CRASH_KILLS=1000 CRASH_SEED=7 cargo test --test crash     more, or the same again
//! ```

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Small enough that flushes, merges and retention run between the kills.
const CONFIG: &str = "\
auth_enabled: false
compactor:
  retention_enabled: true
  compaction_interval: 100ms
  delete_request_store: filesystem
  delete_request_cancel_period: 0s
limits_config:
  retention_period: 24h
  reject_old_samples: false
  ingestion_rate_mb: 10000
  ingestion_burst_size_mb: 10000
  per_stream_rate_limit: 10GB
  per_stream_rate_limit_burst: 10GB
logstack:
  storage:
    memtable_size: 32KB
    merge:
      min_parts: 2
";
/// How old lines are that have expired when they come.
const EXPIRED_NS: i64 = 25 * 3_600_000_000_000;
const PUSHERS: usize = 4;
const LINES_A_PUSH: usize = 20;
/// Longest life of a process before it is killed.
const LIFE_MAX: Duration = Duration::from_millis(120);
/// Entries a page of the final read.
const PAGE: usize = 5000;

/// What the clients know.
#[derive(Default)]
struct Ledger {
    /// Lines whose push was answered 204.
    acknowledged: HashSet<String>,
    /// Lines of pushes without an answer: they may be there or not.
    in_doubt: HashSet<String>,
    /// Lines whose deletion was answered 204.
    deleted: HashSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_lines_survive_kill_9_exactly_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("CRASH_KILLS").unwrap_or(200);
    let mut random = Random(number("CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id())) | 1);
    eprintln!("CRASH_SEED={}", random.0);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("engine.yaml");
    std::fs::write(&config, CONFIG).expect("the configuration is written");
    let data = folder.path().join("data");
    let args = ["--config-file", config.to_str().expect("UTF-8 path")];
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let next_line = Arc::new(AtomicU64::new(0));
    let first_ns = now_ns();

    for _ in 0..kills {
        let engine = common::Process::engine(&data, &args);
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|idx| {
                tokio::spawn(push_until_refused(engine.url().to_owned(), idx, ledger.clone(), next_line.clone()))
            })
            .collect();
        let deleter = tokio::spawn(delete_once(engine.url().to_owned(), ledger.clone(), next_line.clone()));
        tokio::time::sleep(LIFE_MAX.mul_f64(random.share())).await;
        engine.kill();
        deleter.await.expect("the deleter ends when the engine is gone");
        for pusher in pushers {
            pusher.await.expect("a pusher ends when the engine is gone");
        }
    }

    let engine = common::Process::engine(&data, &args);
    let found = read_all(engine.url(), first_ns - 2 * EXPIRED_NS).await;
    check_files(&data);
    let ledger = ledger.lock();
    eprintln!("{} acknowledged, {} in doubt, {} found", ledger.acknowledged.len(), ledger.in_doubt.len(), found.len());
    eprintln!("{} deleted", ledger.deleted.len());
    assert!(!ledger.acknowledged.is_empty(), "nothing was acknowledged: the test proves nothing");
    let back: Vec<_> = found.keys().filter(|line| ledger.deleted.contains(*line)).take(10).collect();
    assert!(back.is_empty(), "deleted lines are back, such as {back:?}");
    let lost: Vec<_> = ledger.acknowledged.iter().filter(|line| !found.contains_key(*line)).take(10).collect();
    assert!(lost.is_empty(), "acknowledged lines are lost, such as {lost:?}");
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).take(10).collect();
    assert!(twice.is_empty(), "lines are there more than once, such as {twice:?}");
    let strange: Vec<_> = found
        .keys()
        .filter(|line| !ledger.acknowledged.contains(*line) && !ledger.in_doubt.contains(*line))
        .take(10)
        .collect();
    assert!(strange.is_empty(), "lines that nobody sent, such as {strange:?}");
}

/// Beside the running engine: nothing is damaged, and parts were merged.
fn check_files(data: &std::path::Path) {
    let storage = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_logstack"));
        command.arg("storage").args(args).arg("--data-dir").arg(data).output().expect("the binary runs")
    };
    let verified = storage(&["verify", "--decode"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let inspected = String::from_utf8_lossy(&storage(&["inspect"]).stdout).into_owned();
    let is_merged = |line: &str| {
        let generations = line.split_once("memtables ").and_then(|(_, rest)| rest.split_once(" to "));
        generations.is_some_and(|(first, last)| first != last)
    };
    assert!(inspected.lines().any(is_merged), "no part was merged, the test proves little:\n{inspected}");
    assert!(!data.join("quarantine").exists(), "a kill is no damage");
}

/// Pushes batch after batch until the engine does not answer any more.
async fn push_until_refused(url: String, pusher: usize, ledger: Arc<Mutex<Ledger>>, next_line: Arc<AtomicU64>) {
    let client = common::client();
    loop {
        let mut values = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..LINES_A_PUSH {
            let number = next_line.fetch_add(1, Ordering::Relaxed);
            let line = format!(
                "line {number} of pusher {pusher}, with some text so that blocks fill: {}",
                number.wrapping_mul(0x9e37_79b9)
            );
            values.push(serde_json::json!([now_ns().to_string(), line]));
            lines.push(line);
        }
        let stream =
            serde_json::json!({"app": "crash", "pusher": pusher.to_string(), "kind": format!("k{}", lines.len() % 3)});
        // These are acknowledged too, and never seen again.
        let expired = serde_json::json!([(now_ns() - EXPIRED_NS).to_string(), format!("expired of pusher {pusher}")]);
        let old = serde_json::json!({"app": "crash", "kind": "expired"});
        let streams = serde_json::json!([{"stream": stream, "values": values}, {"stream": old, "values": [expired]}]);
        let body = serde_json::json!({"streams": streams}).to_string();
        let request =
            client.post(format!("{url}/loki/api/v1/push")).header("Content-Type", "application/json").body(body);
        match request.send().await {
            Ok(response) if response.status() == 204 => ledger.lock().acknowledged.extend(lines),
            Ok(response) => {
                panic!("push answered {}: {}", response.status(), response.text().await.unwrap_or_default())
            }
            Err(_) => {
                ledger.lock().in_doubt.extend(lines);
                return;
            }
        }
    }
}

/// Pushes some lines and deletes them again, if the engine lives long enough.
async fn delete_once(url: String, ledger: Arc<Mutex<Ledger>>, next_line: Arc<AtomicU64>) {
    let client = common::client();
    let number = next_line.fetch_add(1, Ordering::Relaxed);
    let lines: Vec<String> = (0..LINES_A_PUSH).map(|line| format!("doomed {number}: {line}")).collect();
    // Requests have whole seconds, none of them in the future.
    let then_ns = now_ns() - 5_000_000_000;
    let values: Vec<_> = lines.iter().map(|line| serde_json::json!([then_ns.to_string(), line])).collect();
    let stream = serde_json::json!({"app": "crash", "kind": "doomed"});
    let body = serde_json::json!({"streams": [{"stream": stream, "values": values}]}).to_string();
    ledger.lock().in_doubt.extend(lines.iter().cloned());
    let request = client.post(format!("{url}/loki/api/v1/push")).header("Content-Type", "application/json").body(body);
    if !request.send().await.is_ok_and(|response| response.status() == 204) {
        return;
    }
    let params = [
        ("query", format!("{{app=\"crash\", kind=\"doomed\"}} |= \"doomed {number}:\"")),
        ("start", (then_ns / 1_000_000_000 - 60).to_string()),
        ("end", (then_ns / 1_000_000_000 + 2).to_string()),
    ];
    let request = client.post(format!("{url}/loki/api/v1/delete")).query(&params);
    match request.send().await {
        Ok(response) if response.status() == 204 => ledger.lock().deleted.extend(lines),
        Ok(response) => {
            panic!("delete answered {}: {}", response.status(), response.text().await.unwrap_or_default())
        }
        Err(_) => {}
    }
}

/// Every line of the store, with how often it is there.
async fn read_all(url: &str, first_ns: i64) -> HashMap<String, usize> {
    let client = common::client();
    let mut found: HashMap<String, usize> = HashMap::new();
    let mut start = first_ns;
    loop {
        let params = [
            ("query", "{app=\"crash\"}".to_owned()),
            ("start", start.to_string()),
            ("end", (now_ns() + 1_000_000_000).to_string()),
            ("limit", PAGE.to_string()),
            ("direction", "forward".to_owned()),
        ];
        let response =
            client.get(format!("{url}/loki/api/v1/query_range")).query(&params).send().await.expect("an answer");
        let body: serde_json::Value = response.json().await.expect("JSON");
        let streams = body["data"]["result"].as_array().unwrap_or_else(|| panic!("{body}"));
        let entries = streams.iter().flat_map(|stream| stream["values"].as_array().into_iter().flatten());
        let mut page: Vec<(i64, String)> = entries
            .map(|entry| (entry[0].as_str().unwrap().parse().unwrap(), entry[1].as_str().unwrap().to_owned()))
            .collect();
        page.sort();
        let full = page.len() == PAGE;
        // Entries of the last timestamp of a full page may be cut: the next page starts with them.
        let last = page.last().map_or(i64::MAX, |(ns, _)| *ns);
        for (_, line) in page.into_iter().filter(|(ns, _)| !full || *ns < last) {
            *found.entry(line).or_default() += 1;
        }
        if !full {
            return found;
        }
        start = last;
    }
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).expect("before the year 2262")
}

/// xorshift64: chance with a seed that can be printed.
struct Random(u64);

impl Random {
    /// In `0.0..1.0`.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
