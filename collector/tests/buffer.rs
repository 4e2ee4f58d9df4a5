//! The disk buffer between sources and a server: damage on disk, a slow tenant, other clients, files that go away.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use logstack_collector::Collector;
use logstack_collector::buffer::record::Builder;
use logstack_collector::buffer::{Buffer, Settings};
use logstack_collector::receive::push::decode;
use logstack_config::CollectorConfig;
use logstack_logql::Labels;
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that takes everything but the entries of the tenant `slow` while it is told so.
#[derive(Clone, Default)]
struct Server {
    arrived: Arc<Mutex<Vec<String>>>,
    is_slow: Arc<AtomicBool>,
}

impl Server {
    /// Its push URL.
    async fn start(&self) -> String {
        let server = self.clone();
        let push = move |headers: HeaderMap, body: Bytes| {
            let server = server.clone();
            async move {
                let tenant = headers.get("X-Scope-OrgID").and_then(|value| value.to_str().ok()).unwrap_or("-");
                if tenant == "slow" && server.is_slow.load(Ordering::Relaxed) {
                    return StatusCode::TOO_MANY_REQUESTS;
                }
                for stream in decode::protobuf(&body, 64 << 20).expect("a push request") {
                    let lines = stream.entries.iter().map(|entry| String::from_utf8_lossy(&entry.line).into_owned());
                    server.arrived.lock().extend(lines.map(|line| format!("{tenant}:{line}")));
                }
                StatusCode::NO_CONTENT
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/push", post(push))).await });
        url
    }

    /// Waits until so many lines arrived; all of them.
    async fn arrived(&self, count: usize) -> Vec<String> {
        wait(|| self.arrived.lock().len() >= count, || format!("{:?}", self.arrived.lock())).await;
        // More than was asked for would come about now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.arrived.lock().clone()
    }
}

async fn wait(is_there: impl Fn() -> bool, told: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < deadline, "{}", told());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn config(folder: &Path, url: &str, buffer: &str, jobs: &str) -> CollectorConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let at = folder.display();
    let text = format!(
        "positions: {{filename: {at}/positions.yaml, sync_period: 100ms}}
clients: [{{url: '{url}', batchwait: 50ms, backoff_config: {{min_period: 20ms, max_period: 100ms}}}}]
collector: {{disk_buffer: {{dir: {at}/buffer, max_bytes: 4MiB, {buffer}}}}}
scrape_configs: [{jobs}]\n"
    );
    logstack_config::load(&text, "test.yaml").unwrap_or_else(|err| panic!("{err}\n{text}")).0
}

fn buffer(folder: &Path) -> Arc<Buffer> {
    let age_max = Duration::from_secs(3600);
    Buffer::open(Settings { folder: folder.join("buffer"), bytes_max: 4 << 20, age_max }).unwrap()
}

fn record(line: &str) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.add(&Labels::from_pairs([("job", "test")]), 1, line.as_bytes(), &[]);
    builder.encode()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("buffer/-")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_costs_what_it_hits_and_is_counted() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
    let buffered = buffer(folder.path());
    let records = ["one", "two", "three"].map(record);
    records.iter().for_each(|record| buffered.append(None, record, 1, false).unwrap());
    drop(buffered);
    let [segment] = &segments(folder.path())[..] else { panic!("one segment") };
    let mut bytes = fs::read(segment).unwrap();
    // A bit of the second record, and a torn one at the end: the process ended while it was written.
    bytes[records[0].len() + 30] ^= 1;
    bytes.extend_from_slice(&record("torn")[..25]);
    fs::write(segment, bytes).unwrap();
    let config = config(folder.path(), &server.start().await, "", "");
    let collector = Collector::start(&config).unwrap();
    assert_eq!(server.arrived(2).await, ["-:one", "-:three"]);
    let buffered = collector.view().buffer.expect("a buffer");
    wait(|| buffered.bytes() == 0, || format!("{} bytes are left", buffered.bytes())).await;
    let metrics = &buffered.metrics;
    assert_eq!(metrics.dropped_for_damage.load(Ordering::Relaxed), 2);
    assert_eq!(metrics.damaged_bytes.load(Ordering::Relaxed), records[1].len() as u64 + 25);
    collector.stop(Duration::from_secs(5)).await;
    drop(buffered);
    // Nothing comes again.
    let collector = Collector::start(&config).unwrap();
    assert_eq!(server.arrived(2).await.len(), 2);
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_tenant_holds_up_nobody() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
    server.is_slow.store(true, Ordering::Relaxed);
    let buffered = buffer(folder.path());
    for idx in 0..50 {
        buffered.append(Some("slow"), &record(&format!("s{idx}")), 1, false).unwrap();
        buffered.append(Some("swift"), &record(&format!("f{idx}")), 1, false).unwrap();
    }
    drop(buffered);
    let config = config(folder.path(), &server.start().await, "", "");
    let collector = Collector::start(&config).unwrap();
    let swift: Vec<String> = (0..50).map(|idx| format!("swift:f{idx}")).collect();
    assert_eq!(server.arrived(50).await, swift);
    // What is not through when it stops is there when it starts again.
    collector.stop(Duration::from_millis(100)).await;
    server.is_slow.store(false, Ordering::Relaxed);
    let collector = Collector::start(&config).unwrap();
    let slow: Vec<String> = (0..50).map(|idx| format!("slow:s{idx}")).collect();
    assert_eq!(server.arrived(100).await[50..], slow);
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_outlive_their_deletion_and_other_clients_take_over() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
    let log = folder.path().join("app.log");
    fs::write(&log, "one\ntwo\n").unwrap();
    let port = free_port();
    let jobs = format!(
        "{{job_name: a, static_configs: [{{labels: {{job: a, __path__: {}}}}}]}},
        {{job_name: p, loki_push_api: {{server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}}}, labels: {{job: p}}}}}}",
        log.display()
    );
    // Nobody listens there.
    let away = config(folder.path(), "http://127.0.0.1:1/push", "sources: all", &jobs);
    let mut collector = Collector::start(&away).unwrap();
    let buffered = collector.view().buffer.expect("a buffer");
    wait(|| buffered.metrics.written_entries.load(Ordering::Relaxed) == 2, || "nothing is written".to_owned()).await;
    let raw = format!("http://127.0.0.1:{port}/promtail/api/v1/raw");
    let answer = reqwest::Client::new().post(raw).body("three").send().await.unwrap();
    assert_eq!(answer.status(), 204, "it is safe on disk");
    fs::remove_file(&log).unwrap();
    collector.reload(&config(folder.path(), &server.start().await, "sources: all", &jobs)).unwrap();
    assert_eq!(server.arrived(3).await, ["-:one", "-:two", "-:three"]);
    drop(buffered);
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_buffer_tells_senders_to_wait_and_loses_nothing() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Server::default());
    let port = free_port();
    let jobs = format!(
        "{{job_name: p, loki_push_api: {{server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}}}, labels: {{job: p}}}}}}"
    );
    let mut collector = Collector::start(&config(folder.path(), "http://127.0.0.1:1/push", "", &jobs)).unwrap();
    let raw = format!("http://127.0.0.1:{port}/promtail/api/v1/raw");
    // What does not compress: digits of a counter that is hashed.
    let noise =
        |n: u64| (0..1 << 15).map(move |idx| format!("{:016x}", (n << 20 | idx).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut taken = 0;
    let refused = loop {
        let body: String = noise(taken).collect();
        let answer = reqwest::Client::new().post(&raw).body(body).send().await.unwrap();
        if answer.status() != 204 {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "4 MiB are full some time");
    };
    assert_eq!((refused.status().as_u16(), refused.headers()["Retry-After"].to_str().unwrap()), (429, "1"));
    collector.reload(&config(folder.path(), &server.start().await, "", &jobs)).unwrap();
    let arrived = server.arrived(taken as usize).await;
    assert_eq!(arrived.len(), taken as usize);
    let buffered = collector.view().buffer.expect("a buffer");
    wait(|| buffered.has_room(), || format!("{} bytes are left", buffered.bytes())).await;
    assert_eq!(buffered.metrics.dropped_for_bytes.load(Ordering::Relaxed), 0);
    collector.stop(Duration::from_secs(5)).await;
}

/// Where the process below works; without it the test of that name has nothing to do.
const CHILD_FOLDER: &str = "LOGSTACK_TEST_BUFFER_FOLDER";

/// The process that [`what_was_taken_survives_kill_9`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_is_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let port = fs::read_to_string(Path::new(&folder).join("port")).unwrap();
    // Nobody listens there.
    let config = config(Path::new(&folder), "http://127.0.0.1:1/push", "", &push_job(&port));
    let _collector = Collector::start(&config).unwrap();
    std::future::pending::<()>().await;
}

fn push_job(port: &str) -> String {
    format!(
        "{{job_name: p, loki_push_api: {{server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}}}, labels: {{job: p}}}}}}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_survives_kill_9() {
    let (folder, server, port) = (tempfile::tempdir().unwrap(), Server::default(), free_port().to_string());
    fs::write(folder.path().join("port"), &port).unwrap();
    let raw = format!("http://127.0.0.1:{port}/promtail/api/v1/raw");
    let mut want = Vec::new();
    for life in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["process_that_is_killed", "--exact"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        wait(|| std::net::TcpStream::connect(&address).is_ok(), || "the process does not listen".to_owned()).await;
        for number in 0..20 {
            let line = format!("{life} {number}");
            let answer = reqwest::Client::new().post(&raw).body(line.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 204);
            want.push(format!("-:{line}"));
        }
        // SIGKILL: nothing is flushed.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let collector = Collector::start(&config(folder.path(), &server.start().await, "", "")).unwrap();
    assert_eq!(server.arrived(want.len()).await, want);
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_one_collectors() {
    let folder = tempfile::tempdir().unwrap();
    let held = buffer(folder.path());
    let config = config(folder.path(), "http://127.0.0.1:1/push", "", "");
    let second = tokio::task::spawn_blocking(move || Collector::start(&config));
    // The second waits for some time, as in a rolling update.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(held);
    let second = second.await.unwrap().unwrap_or_else(|err| panic!("{err}"));
    second.stop(Duration::from_secs(1)).await;
}
