//! A folder of logs, a server that takes pushes or is away, and the configuration between them.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use logstack_collector::receive::push::decode;
use logstack_config::CollectorConfig;
use parking_lot::Mutex;

/// A wait ends in failure when nothing has come for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines with their jobs, as they arrived.
type Arrived = Arc<Mutex<Vec<String>>>;

/// A server that takes everything, unless it is away.
#[derive(Clone, Default)]
pub struct Server {
    arrived: Arrived,
    /// Requests are answered with 503.
    pub is_away: Arc<AtomicBool>,
    /// Requests that were refused.
    pub refused: Arc<AtomicU64>,
}

impl Server {
    /// Its push URL.
    async fn start(&self) -> String {
        let server = self.clone();
        let push = move |body: Bytes| {
            let server = server.clone();
            async move { server.take(&body) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/push", post(push))).await });
        url
    }

    fn take(&self, body: &Bytes) -> StatusCode {
        if self.is_away.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        for stream in decode::protobuf(body, 64 << 20).expect("a push request") {
            let job = stream.labels.get("job").cloned().unwrap_or_default();
            let lines = stream.entries.iter().map(|entry| String::from_utf8(entry.line.clone()).expect("UTF-8"));
            self.arrived.lock().extend(lines.map(|line| format!("{job}:{line}")));
        }
        StatusCode::NO_CONTENT
    }
}

pub struct Scene {
    pub folder: tempfile::TempDir,
    pub url: String,
    pub server: Server,
}

impl Scene {
    pub async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server::default();
        Self { folder: tempfile::tempdir().unwrap(), url: server.start().await, server }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `more` is appended; without `scrape_configs` in it, one job reads `app.log`.
    pub fn config_to(&self, url: &str, more: &str) -> CollectorConfig {
        let folder = self.folder.path().display();
        let jobs = format!("scrape_configs:\n{}", self.job("a", "app.log"));
        let text = format!(
            "positions: {{filename: {folder}/positions.yaml, sync_period: 100ms}}\nclients: [{{url: '{url}', batchwait: 50ms, backoff_config: {{min_period: 20ms, max_period: 100ms}}}}]\n{}{more}",
            if more.contains("scrape_configs:") { "" } else { &jobs }
        );
        logstack_config::load(&text, "test.yaml").unwrap_or_else(|err| panic!("{err}\n{text}")).0
    }

    pub fn config(&self, more: &str) -> CollectorConfig {
        self.config_to(&self.url, more)
    }

    pub fn job(&self, name: &str, file: &str) -> String {
        format!(
            "- job_name: {name}\n  static_configs: [{{labels: {{job: {name}, __path__: {}}}}}]\n",
            self.path(file).display()
        )
    }

    /// What has arrived.
    pub fn so_far(&self) -> Vec<String> {
        self.server.arrived.lock().clone()
    }

    /// Waits until so many lines arrived, for as long as some do; all that arrived.
    pub async fn arrived(&self, count: usize) -> Vec<String> {
        let (mut known, mut since) = (0, Instant::now());
        loop {
            let now = self.server.arrived.lock().len();
            if now >= count {
                break;
            }
            if now != known {
                (known, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{now} of {count} lines: {:?}", self.so_far().last());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // More than was asked for would come about now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.so_far()
    }
}

pub fn append(path: &Path, text: &str) {
    use std::io::Write;
    fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Waits for what has no notice of its own.
pub async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
