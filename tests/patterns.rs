//! Patterns over a restart, and what mining costs a push, with the real binary.
//!
//! ```text
//! PATTERN_LINES=2000000 cargo test --test patterns cost -- --nocapture       figures with and without
//! ```

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Process;
use serde_json::{Value, json};

const OPEN: &str = "auth_enabled: false\nlimits_config: {ingestion_rate_mb: 1000, ingestion_burst_size_mb: 1000, \
                    per_stream_rate_limit: 1GB, per_stream_rate_limit_burst: 1GB, reject_old_samples: false}\n";

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

async fn push(client: &reqwest::Client, process: &Process, first_ns: i64, lines: &[String]) {
    let values: Vec<Value> =
        lines.iter().enumerate().map(|(idx, line)| json!([(first_ns + idx as i64).to_string(), line])).collect();
    let body = json!({"streams": [{"stream": {"app": "x"}, "values": values}]});
    let response = client.post(format!("{}/loki/api/v1/push", process.url())).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 204, "{}", response.text().await.unwrap());
}

/// Patterns with the sum of their samples.
async fn patterns(client: &reqwest::Client, process: &Process, start_ns: i64, end_ns: i64) -> Vec<(String, u64)> {
    let (start, end) = (start_ns.to_string(), end_ns.to_string());
    let request = client.get(format!("{}/loki/api/v1/patterns", process.url()));
    let request = request.query(&[("query", "{app=\"x\"}"), ("start", &start), ("end", &end), ("step", "1h")]);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let sum = |pattern: &Value| pattern["samples"].as_array().unwrap().iter().map(|s| s[1].as_u64().unwrap()).sum();
    let found = answer["data"].as_array().unwrap().iter();
    found.map(|pattern| (pattern["pattern"].as_str().unwrap().to_owned(), sum(pattern))).collect()
}

#[tokio::test]
async fn a_restart_keeps_them() {
    const DAY_NS: i64 = 86_400_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let client = common::client();
    let now_ns = now_ns();
    let process = Process::engine_with(dir.path(), OPEN);
    // More days than are open at once: the older ones are in files already.
    for day in (0..6).rev() {
        let lines: Vec<String> = (0..50).map(|n| format!("day {day} took {n} ms")).collect();
        push(&client, &process, now_ns - day * DAY_NS, &lines).await;
    }
    let all = (now_ns - 7 * DAY_NS, now_ns + DAY_NS);
    let want = [("day <_> took <_> ms".to_owned(), 300)];
    assert_eq!(patterns(&client, &process, all.0, all.1).await, want);
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(std::fs::read_dir(dir.path().join("patterns")).unwrap().count(), 6);

    let process = Process::engine_with(dir.path(), OPEN);
    assert_eq!(patterns(&client, &process, all.0, all.1).await, want);
    push(&client, &process, now_ns - 5 * DAY_NS + 1_000_000, &["day 5 took 1234 ms".to_owned()]).await;
    assert_eq!(patterns(&client, &process, all.0, all.1).await, [(want[0].0.clone(), 301)]);
    let one_day = patterns(&client, &process, now_ns - 5 * DAY_NS, now_ns - 5 * DAY_NS + 60_000_000_000).await;
    assert_eq!(one_day, [(want[0].0.clone(), 51)]);

    // A damaged day is left out; the others stay.
    assert_eq!(process.terminate(), Some(0));
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path().join("patterns")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    std::fs::write(&files[1], "no such thing").unwrap();
    let process = Process::engine_with(dir.path(), OPEN);
    assert_eq!(patterns(&client, &process, all.0, all.1).await, [(want[0].0.clone(), 251)]);
}

/// Processor time of the process.
fn cpu(process: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |number: usize| fields.get(number).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[tokio::test]
async fn the_cost_of_a_push() {
    let total: usize = std::env::var("PATTERN_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let client = common::client();
    // Lines of a dozen kinds, as many words as those of services have.
    let line = |n: usize| {
        match n % 4 {
        0 => format!(
            "level=info ts={n} caller=sync.go:{} msg=\"synced room\" room=!r{}:x took={}ms",
            n % 90,
            n % 999,
            n % 77
        ),
        1 => format!(
            "10.0.{}.{} - - \"GET /_matrix/client/v3/sync?since=s{n} HTTP/1.1\" 200 {}",
            n % 9,
            n % 250,
            n % 5000
        ),
        2 => {
            json!({"level": "warn", "msg": "slow query", "ms": n % 3000, "table": (["events", "rooms", "users"][n % 3])})
                .to_string()
        }
        _ => format!("worker {} finished job {n} of queue mail in {} ms", n % 16, n % 400),
    }
    };
    let mut bodies = Vec::new();
    let first_ns = now_ns() - 60_000_000_000;
    for start in (0..total).step_by(5000) {
        let values: Vec<Value> = (start..total.min(start + 5000))
            .map(|n| json!([(first_ns + n as i64 * 1000).to_string(), line(n)]))
            .collect();
        bodies.push(json!({"streams": [{"stream": {"app": "x"}, "values": values}]}).to_string());
    }
    for is_on in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::engine_with(dir.path(), &format!("{OPEN}pattern_ingester: {{enabled: {is_on}}}\n"));
        let (started, before) = (Instant::now(), cpu(&process));
        for body in &bodies {
            let request = client.post(format!("{}/loki/api/v1/push", process.url())).body(body.clone());
            assert_eq!(request.header("Content-Type", "application/json").send().await.unwrap().status(), 204);
        }
        let (time, cpu) = (started.elapsed(), cpu(&process) - before);
        eprintln!(
            "patterns {}: {total} lines in {:.2} s, {:.0} lines/s, {:.2} s of processor time",
            if is_on { "on " } else { "off" },
            time.as_secs_f64(),
            total as f64 / time.as_secs_f64(),
            cpu.as_secs_f64()
        );
        if is_on {
            let found = patterns(&client, &process, first_ns - 1_000_000_000, now_ns()).await;
            let counted: u64 = found.iter().map(|(_, count)| count).sum();
            eprintln!("{counted} lines in {} patterns: {found:#?}", found.len());
            assert!(found.len() >= 4 && found.len() < 20, "{found:?}");
            let off = counted.abs_diff(total as u64) as f64 / total as f64;
            assert!(off < 0.05, "{counted} of {total}: what is left out is counted by what is looked at");
        }
    }
}
