//! Speed of the whole way of a container's lines: read, parsed, batched, compressed, sent and acknowledged.
//!
//! Throughput is in bytes of the log file. The sink is a thread that answers 204 and looks at nothing. `reading` has no
//! stages; `cri` joins and parses the runtime's lines; `stages` also runs json, labels and timestamp on each.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logstack_collector::Collector;
use logstack_config::CollectorConfig;

const LINES: usize = 200_000;

const CASES: [(&str, &str); 3] = [
    ("reading", "[]"),
    ("cri", "[{cri: {}}]"),
    (
        "stages",
        "[{cri: {}}, {json: {expressions: {level: level, ts: time, path: path}}}, {labels: {level: }}, {timestamp: {source: ts, format: RFC3339Nano}}]",
    ),
];

fn log() -> String {
    let mut text = String::new();
    for n in 0..LINES {
        let (second, level) = (n / 1000 % 60, ["info", "info", "warn", "error"][n % 4]);
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.push_str(&format!(
            "2026-01-15T10:00:{second:02}.{n:09}Z stdout F {{\"time\":\"2026-01-15T10:00:{second:02}.{n:09}Z\",\"level\":\"{level}\",\"path\":\"/items/{id}\",\"status\":200,\"msg\":\"request handled by the worker\"}}\n"
        ));
    }
    text
}

/// Answers every request; returns the URL.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&stream));
        }
    });
    format!("http://{address}/push")
}

fn answer(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).ok()? == 0 {
                return None;
            }
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
        black_box(&body);
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

/// Time from start until everything is acknowledged.
fn ship(runtime: &tokio::runtime::Runtime, log: &Path, url: &str, stages: &str) -> Duration {
    let state = tempfile::tempdir().expect("a folder");
    let text = format!(
        "positions: {{filename: {}/positions.yaml}}\nclients: [{{url: '{url}'}}]\nscrape_configs:\n- job_name: bench\n  pipeline_stages: {stages}\n  static_configs: [{{labels: {{app: web, __path__: {}}}}}]\n",
        state.path().display(),
        log.display()
    );
    let (config, _) = logstack_config::load::<CollectorConfig>(&text, "bench.yaml").expect("a configuration");
    runtime.block_on(async {
        let started = Instant::now();
        let collector = Collector::start(&config).expect("it starts");
        let sent = || {
            let clients = collector.client_metrics();
            clients[0].1.sent_entries.load(std::sync::atomic::Ordering::Relaxed)
        };
        while sent() < LINES as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            // The last batch waits for a second for more.
            if collector.tail_metrics().lines.load(std::sync::atomic::Ordering::Relaxed) == LINES as u64 {
                break;
            }
        }
        let took = started.elapsed();
        collector.stop(Duration::from_secs(5)).await;
        took
    })
}

fn read(c: &mut Criterion) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.log");
    let text = log();
    std::fs::write(&path, &text).expect("a log");
    let url = sink();
    let mut group = c.benchmark_group("read");
    group.sample_size(10).throughput(Throughput::Bytes(text.len() as u64));
    for (name, stages) in CASES {
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| ship(&runtime, &path, &url, stages)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
