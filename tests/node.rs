//! What a node with very many files asks of its kernel, and that an engine that is away changes nothing about it.
//!
//! Contract of the collector, section 9.7 and 9.8: 2,000 containers, one inotify instance with watches on folders only,
//! one descriptor a file, memory that stays flat. CPU is measured by `cargo bench -p logstack-collector`.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONTAINERS: usize = 2000;
/// RSS with 2,000 files (contract, 3.10). The binary under test is not optimised; its memory is the same.
const RSS_MIB_MAX: u64 = 100;
/// Descriptors besides files: sockets, the runtime, the state.
const OTHER_DESCRIPTORS_MAX: usize = 50;
/// A wait ends in failure when nothing has happened for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers 204, or 503 while it is away; counts the bytes of both.
#[derive(Clone, Default)]
struct Sink {
    is_away: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Sink {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/push", listener.local_addr().expect("an address"));
        let sink = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = sink.clone();
                std::thread::spawn(move || sink.serve(stream));
            }
        });
        url
    }

    fn serve(&self, mut stream: std::net::TcpStream) -> Option<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).ok()?;
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let length = head.split("content-length:").nth(1)?.split("\r\n").next()?.trim().parse().ok()?;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            let (status, counter) = match self.is_away.load(Ordering::Relaxed) {
                true => ("503 Away", &self.refused),
                false => ("204 Taken", &self.taken),
            };
            counter.fetch_add(1, Ordering::Relaxed);
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }
}

fn path_of(pods: &Path, idx: usize) -> PathBuf {
    pods.join(format!("ns_pod-{idx}_uid-{idx}/app/0.log"))
}

/// Each container writes a line of so many bytes.
fn write_all(pods: &Path, bytes: usize) {
    let filler = "x".repeat(bytes);
    for idx in 0..CONTAINERS {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path_of(pods, idx)).expect("a log");
        writeln!(file, "2026-01-15T10:00:00.5Z stdout F {filler}").expect("it can be written");
    }
}

fn rss_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

/// Descriptors of all, of logs, inotify instances, and watches of those.
fn descriptors(pid: u32, pods: &Path) -> (usize, usize, usize, usize) {
    let (mut all, mut logs, mut instances, mut watches) = (0, 0, 0, 0);
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        all += 1;
        logs += usize::from(link.starts_with(pods));
        if link.to_string_lossy().contains("inotify") {
            instances += 1;
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
            watches +=
                fs::read_to_string(info).unwrap_or_default().lines().filter(|l| l.starts_with("inotify")).count();
        }
    }
    (all, logs, instances, watches)
}

/// A counter of `/metrics`.
async fn metric(client: &reqwest::Client, url: &str, name: &str) -> u64 {
    let text = client.get(format!("{url}/metrics")).send().await.expect("an answer").text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().expect("a number").parse::<f64>().expect("a number") as u64
}

/// Waits until `value` is at least `want`, for as long as it grows.
async fn wait_for(what: &str, want: u64, mut value: impl AsyncFnMut() -> u64) {
    let (mut known, mut since) = (0, Instant::now());
    loop {
        let now = value().await;
        if now >= want {
            return;
        }
        if now != known {
            (known, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{what}: {now} of {want}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_thousand_files_and_an_engine_that_goes_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pods = folder.path().join("pods");
    for idx in 0..CONTAINERS {
        fs::create_dir_all(path_of(&pods, idx).parent().expect("a folder")).expect("a folder");
    }
    write_all(&pods, 100);
    let sink = Sink::default();
    let config = folder.path().join("collector.yaml");
    let text = format!(
        "\
server: {{http_listen_address: 127.0.0.1, http_listen_port: 0}}
positions: {{filename: {folder}/positions.yaml}}
collector: {{pod_logs_root: {folder}/pods}}
clients: [{{url: '{url}', backoff_config: {{min_period: 20ms, max_period: 100ms}}}}]
scrape_configs:
  - job_name: pods
    pipeline_stages: [{{cri: {{}}}}]
    static_configs: [{{labels: {{job: pods, __path__: '{folder}/pods/*/*/*.log'}}}}]
",
        folder = folder.path().display(),
        url = sink.start(),
    );
    fs::write(&config, text).expect("the configuration can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstack"));
    command.arg("collector").arg("--config-file").arg(&config);
    let process = common::Process::spawn(command);
    let client = common::client();
    let sent = async || metric(&client, process.url(), "promtail_sent_entries_total").await;
    wait_for("entries", CONTAINERS as u64, sent).await;

    let pid = process.pid();
    let (all, logs, instances, watches) = descriptors(pid, &pods);
    assert_eq!((logs, instances), (CONTAINERS, 1));
    assert!(all <= logs + OTHER_DESCRIPTORS_MAX, "{all} descriptors");
    // The root, and a folder for each pod and container: never a file.
    assert!(watches <= 2 * CONTAINERS + 10, "{watches} watches");
    let before = rss_mib(pid);
    assert!(before <= RSS_MIB_MAX, "{before} MiB");

    // 80 MB come while the engine is away, with room for 32.
    sink.is_away.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        write_all(&pods, 4000);
    }
    let refused = async || sink.refused.load(Ordering::Relaxed);
    wait_for("attempts", 30, refused).await;
    let full = rss_mib(pid);
    wait_for("attempts", refused().await + 30, refused).await;
    let later = rss_mib(pid);
    eprintln!(
        "{before} MiB with {CONTAINERS} files, {full} MiB and later {later} MiB without the engine; {all} descriptors, {watches} watches"
    );
    assert!(full <= RSS_MIB_MAX && later <= RSS_MIB_MAX, "{full} MiB, {later} MiB");
    let (all, logs, ..) = descriptors(pid, &pods);
    assert!(logs == CONTAINERS && all <= logs + OTHER_DESCRIPTORS_MAX, "{all} descriptors");

    sink.is_away.store(false, Ordering::Relaxed);
    wait_for("entries", 11 * CONTAINERS as u64, sent).await;
    assert_eq!(process.terminate(), Some(0));
}
