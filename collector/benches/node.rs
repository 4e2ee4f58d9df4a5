//! What a node pays for the collector: CPU a byte, memory while the engine is away, CPU while nothing happens.
//!
//! ```text
//! cargo bench -p logstack-collector                 everything, two minutes
//! cargo bench -p logstack-collector -- idle         one of throughput, idle, dead
//! ```
//!
//! The collector runs in a process of its own (this program, started again), so that the sink is not counted, nor is it
//! in its memory. CPU is what the kernel booked on all threads of that process, as the machine is shared: bytes of the
//! log files by CPU seconds is what one core moves. The sink answers 204 and looks at nothing.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use logstack_collector::Collector;
use logstack_config::CollectorConfig;

/// Set in the process that is measured: its configuration, and how many entries it is to send.
const CONFIG: &str = "NODE_BENCH_CONFIG";
const ENTRIES: &str = "NODE_BENCH_ENTRIES";

const LINES: usize = 1_000_000;
/// The best of so many runs: what disturbs only adds.
const RUNS: usize = 3;
const FILES: usize = 1000;
const IDLE: Duration = Duration::from_secs(30);

/// Name, stages, MB/s on one core that are asked for.
const CASES: [(&str, &str, f64); 3] = [
    ("no stages", "[]", 150.0),
    ("cri", "[{cri: {}}]", 150.0),
    (
        "cri, json, labels, timestamp",
        "[{cri: {}}, {json: {expressions: {level: level, ts: time, path: path}}}, {labels: {level: }}, {timestamp: {source: ts, format: RFC3339Nano}}]",
        60.0,
    ),
];

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(path) = std::env::var_os(CONFIG) {
        return collect(Path::new(&path));
    }
    // `cargo test --all-targets` builds it, too, and is not to wait for it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let folder = tempfile::tempdir().expect("a folder");
    if is_wanted("throughput") {
        throughput(folder.path());
    }
    if is_wanted("idle") {
        idle(folder.path());
    }
    if is_wanted("dead") {
        dead(folder.path());
    }
}

/// The process that is measured: says when all entries are sent, and ends with its standard input.
fn collect(config: &Path) {
    let text = fs::read_to_string(config).expect("a configuration");
    let (config, _) = logstack_config::load::<CollectorConfig>(&text, "bench.yaml").expect("a configuration");
    let entries: u64 = std::env::var(ENTRIES).expect("a number").parse().expect("a number");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let collector = Collector::start(&config).expect("it starts");
        let metrics = collector.client_metrics();
        while metrics[0].1.sent_entries.load(Ordering::Relaxed) < entries {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("sent");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let _ = end.await;
        collector.stop(Duration::ZERO).await;
    });
}

/// A collector in a process of its own; it ends when dropped.
struct Measured(Child);

impl Measured {
    fn start(folder: &Path, url: &str, job: &str, entries: usize) -> Self {
        let path = folder.join("collector.yaml");
        let state = tempfile::tempdir_in(folder).expect("a folder").keep();
        let text = format!(
            "positions: {{filename: {}/positions.yaml}}\nclients: [{{url: '{url}'}}]\ncollector: {{pod_logs_root: {}/pods}}\nscrape_configs:\n- job_name: bench\n{job}",
            state.display(),
            folder.display(),
        );
        fs::write(&path, text).expect("a configuration");
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program)
            .env(CONFIG, &path)
            .env(ENTRIES, entries.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self(child)
    }

    fn wait_until_sent(&mut self) {
        let stdout = self.0.stdout.as_mut().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says so");
        assert_eq!(line, "sent\n", "the collector ended early");
    }

    /// CPU time of all threads.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("it runs");
        let of_task = |task: fs::DirEntry| -> Option<u64> {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(of_task).sum())
    }

    /// Now and at most, in MiB.
    fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
            line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0.id())).expect("it runs").count()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn throughput(folder: &Path) {
    let path = folder.join("0.log");
    fs::write(&path, lines(LINES)).expect("a log");
    let bytes = fs::metadata(&path).expect("a log").len() as f64;
    let url = sink();
    for (name, stages, goal) in CASES {
        let job = format!(
            "  pipeline_stages: {stages}\n  static_configs: [{{labels: {{app: web, __path__: {}}}}}]\n",
            path.display()
        );
        let mut best = f64::MAX;
        let mut walls = Vec::new();
        for _ in 0..RUNS {
            let started = Instant::now();
            let mut collector = Measured::start(folder, &url, &job, LINES);
            collector.wait_until_sent();
            best = best.min(collector.cpu().as_secs_f64());
            walls.push(format!("{:.0}", bytes / 1e6 / started.elapsed().as_secs_f64()));
        }
        println!(
            "throughput, {name}: {:.0} MB/s on one core (goal {goal}); {:.2} CPU seconds for {:.0} MB; by the clock of this machine {} MB/s",
            bytes / 1e6 / best,
            best,
            bytes / 1e6,
            walls.join(", ")
        );
    }
    fs::remove_file(&path).expect("a log");
}

/// `FILES` containers, each with `text`.
fn containers(folder: &Path, text: &str) -> String {
    for idx in 0..FILES {
        let pod = folder.join(format!("pods/ns_pod-{idx}_uid-{idx}/app"));
        fs::create_dir_all(&pod).expect("a folder");
        fs::write(pod.join("0.log"), text).expect("a log");
    }
    format!(
        "  pipeline_stages: [{{cri: {{}}}}]\n  static_configs: [{{labels: {{app: web, __path__: '{}/pods/*/*/*.log'}}}}]\n",
        folder.display()
    )
}

fn idle(folder: &Path) {
    let job = containers(folder, &lines(10));
    let mut collector = Measured::start(folder, &sink(), &job, FILES * 10);
    collector.wait_until_sent();
    for phase in ["files are open", "files are closed, quiet for a minute"] {
        std::thread::sleep(Duration::from_secs(5));
        let (cpu, started) = (collector.cpu(), Instant::now());
        std::thread::sleep(IDLE);
        let share = (collector.cpu() - cpu).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
        println!(
            "idle, {FILES} containers, {phase}: {share:.2} % of a core (goal 0.5); {:.1} MiB; {} descriptors",
            collector.memory().0,
            collector.descriptors()
        );
        std::thread::sleep(Duration::from_secs(30));
    }
    fs::remove_dir_all(folder.join("pods")).expect("pods");
}

fn dead(folder: &Path) {
    let job = containers(folder, &lines(1000));
    // Nobody listens there.
    let collector = Measured::start(folder, "http://127.0.0.1:1/push", &job, 1);
    std::thread::sleep(Duration::from_secs(10));
    let (cpu, started) = (collector.cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let share = (collector.cpu() - cpu).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    let (now, most) = collector.memory();
    println!(
        "dead engine, {FILES} containers with 1,000 lines each: {now:.1} MiB, at most {most:.1} (goal 48); {} descriptors; {share:.2} % of a core",
        collector.descriptors()
    );
}

fn lines(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
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
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}
