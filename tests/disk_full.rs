//! A full volume: pushes are told to come back, nothing acknowledged is lost, queries go on, and the engine recovers by
//! itself when there is space again.
//!
//! Needs a volume of its own, so it mounts a small tmpfs, and proves nothing where that is not allowed.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const VOLUME: &str = "size=24m";
/// Data stays, however full the volume: what is tested is the refusal, not retention by size.
const CONFIG: &str = "\
auth_enabled: false
limits_config:
  ingestion_rate_mb: 10000
  ingestion_burst_size_mb: 10000
  per_stream_rate_limit: 10GB
  per_stream_rate_limit_burst: 10GB
logstack:
  storage:
    memtable_size: 512KB
    max_disk_share: 0
";
const ROUNDS: u64 = 4;
const LINES_A_PUSH: u64 = 50;
/// A push must be answered well within this, full volume or not.
const PATIENCE: Duration = Duration::from_secs(30);

/// A volume of its own; unmounted when dropped.
struct Volume {
    dir: tempfile::TempDir,
}

impl Volume {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", VOLUME, "tmpfs"]).arg(dir.path()).output().ok()?.status;
        status.success().then_some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_volume_refuses_and_recovers() {
    let Some(volume) = Volume::mount() else {
        eprintln!("not allowed to mount a tmpfs: nothing tested");
        return;
    };
    let config = volume.path("engine.yaml");
    std::fs::write(&config, CONFIG).expect("the configuration is written");
    let args = ["--config-file", config.to_str().expect("UTF-8 path")];
    let data = volume.path("data");
    let mut engine = common::Process::engine(&data, &args);
    let client = common::client();
    let first_ns = now_ns();
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;

    for round in 0..ROUNDS {
        // Some pushes work, then somebody's file takes what is left, down to a few kilobytes that differ each time.
        for _ in 0..20 {
            let (status, ..) = push(&client, engine.url(), &mut next, &mut acknowledged).await;
            assert_eq!(status, 204, "round {round}");
        }
        let filler = volume.path("somebody-elses-file");
        fill(&filler, round * 7_000);
        let deadline = Instant::now() + PATIENCE;
        let (retry_after, text) = loop {
            let (status, retry_after, text) = push(&client, engine.url(), &mut next, &mut acknowledged).await;
            if status != 204 {
                assert_eq!(status, 503, "{text}");
                break (retry_after, text);
            }
            assert!(Instant::now() < deadline, "pushes still succeed on a full volume");
        };
        assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "no Retry-After");
        assert!(text.contains("full"), "the text names the cause: {text}");
        check(&client, engine.url(), first_ns, &acknowledged).await;
        if round % 2 == 1 {
            // A start on a full volume must not lose anything either, whether it succeeds or not.
            engine.kill();
            std::fs::remove_file(&filler).expect("space again");
            engine = common::Process::engine(&data, &args);
        } else {
            std::fs::remove_file(&filler).expect("space again");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, _, text) = push(&client, engine.url(), &mut next, &mut acknowledged).await;
            if status == 204 {
                break;
            }
            assert!(Instant::now() < deadline, "still refused with space: {status} {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        check(&client, engine.url(), first_ns, &acknowledged).await;
    }

    engine.kill();
    let engine = common::Process::engine(&data, &args);
    check(&client, engine.url(), first_ns, &acknowledged).await;
    assert!(!data.join("quarantine").exists(), "a full volume is no damage");
    let verified = Command::new(env!("CARGO_BIN_EXE_logstack"))
        .args(["storage", "verify", "--decode", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the binary runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Writes `path` until the volume is full, then leaves `free` bytes.
fn fill(path: &Path, free: u64) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).expect("a file");
    let chunk = [0; 1 << 16];
    let mut step = chunk.len();
    while step > 0 {
        match file.write(&chunk[..step]) {
            Ok(written) if written > 0 => {}
            _ => step /= 2,
        }
    }
    let len = file.metadata().expect("its length").len();
    file.set_len(len.saturating_sub(free)).expect("it can shrink");
}

/// Pushes some lines; those of a 204 are `acknowledged`. Status, Retry-After, text.
async fn push(
    client: &reqwest::Client,
    url: &str,
    next: &mut u64,
    acknowledged: &mut BTreeSet<String>,
) -> (u16, Option<String>, String) {
    let lines: Vec<String> = (*next..*next + LINES_A_PUSH)
        .map(|n| format!("line {n} {:032x}{:032x}", scramble(n), scramble(n ^ 0xffff_0000)))
        .collect();
    *next += LINES_A_PUSH;
    let values: Vec<_> = lines.iter().map(|line| serde_json::json!([now_ns().to_string(), line])).collect();
    let body = serde_json::json!({"streams": [{"stream": {"app": "full"}, "values": values}]}).to_string();
    let request = client.post(format!("{url}/loki/api/v1/push")).header("Content-Type", "application/json").body(body);
    let response = request.timeout(PATIENCE).send().await.expect("an answer");
    let status = response.status().as_u16();
    let retry_after = response.headers().get("Retry-After").map(|value| value.to_str().unwrap_or_default().to_owned());
    let text = response.text().await.unwrap_or_default();
    if status == 204 {
        acknowledged.extend(lines);
    }
    (status, retry_after, text)
}

/// Everything acknowledged is found, once.
async fn check(client: &reqwest::Client, url: &str, first_ns: i64, acknowledged: &BTreeSet<String>) {
    let mut found = BTreeSet::new();
    let mut start = first_ns;
    loop {
        let params = [
            ("query", "{app=\"full\"}".to_owned()),
            ("start", start.to_string()),
            ("end", (now_ns() + 1_000_000_000).to_string()),
            ("limit", "5000".to_owned()),
            ("direction", "forward".to_owned()),
        ];
        let request = client.get(format!("{url}/loki/api/v1/query_range")).query(&params);
        let body: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let streams = body["data"]["result"].as_array().unwrap_or_else(|| panic!("{body}"));
        let values = streams.iter().flat_map(|stream| stream["values"].as_array().into_iter().flatten());
        let page: Vec<(i64, String)> = values
            .map(|value| (value[0].as_str().unwrap().parse().unwrap(), value[1].as_str().unwrap().to_owned()))
            .collect();
        let last = page.iter().map(|(ns, _)| *ns).max();
        let is_last = page.len() < 5000;
        found.extend(page.into_iter().map(|(_, line)| line));
        match last {
            Some(last) if !is_last => start = last,
            _ => break,
        }
    }
    let lost: Vec<_> = acknowledged.difference(&found).take(5).collect();
    assert!(lost.is_empty(), "acknowledged lines are lost, such as {lost:?}");
}

fn scramble(n: u64) -> u128 {
    let mut x = u128::from(n.wrapping_add(0x9e37_79b9_7f4a_7c15));
    for _ in 0..3 {
        x = (x ^ (x >> 29)).wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15);
    }
    x
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).expect("before the year 2262")
}
