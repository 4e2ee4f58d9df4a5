//! The promise of the collector: every line arrives at least once, in order, whatever happens on the node and to the
//! server; and more than once only after it was killed.
//!
//! The real process reads what threads write through a shim that rotates as the kubelet and logrotate do, while the
//! server it pushes to goes away, gets slow, refuses, or answers so that nobody hears it, and while the process is killed,
//! stopped and told to reload. Nothing depends on how fast the machine is: it is waited for as long as lines come.
//!
//! ```text
//! cargo test --test chaos                                      20 s
//! CHAOS_SECONDS=600 CHAOS_SEED=7 cargo test --test chaos       longer, or the same again
//! ```

#[path = "../common/mod.rs"]
mod common;
mod sink;
mod writers;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sink::{Mood, Patience, Seen, Sink, line};
use writers::{HostRotation, Random, World, churn, container, host_program, spawn};

/// A collector and how it is configured.
struct Node {
    folder: PathBuf,
    push_url: String,
    life: u32,
    batch_wait_ms: u64,
    process: Option<common::Process>,
    pid: Arc<AtomicU32>,
    /// Lives after which nothing may be sent again.
    clean_ends: HashSet<u32>,
}

impl Node {
    fn configure(&self) {
        let folder = self.folder.display();
        let text = format!(
            "\
server: {{http_listen_address: 127.0.0.1, http_listen_port: 0, graceful_shutdown_timeout: 25s}}
positions: {{filename: {folder}/positions.yaml, sync_period: 500ms}}
target_config: {{sync_period: 1s}}
collector: {{pod_logs_root: {folder}/pods, memory_limit: 4MB}}
clients:
  - url: {url}
    name: sink
    batchwait: {wait}ms
    batchsize: 100KB
    timeout: 2s
    backoff_config: {{min_period: 20ms, max_period: 300ms}}
    external_labels: {{life: '{life}'}}
scrape_configs:
  - job_name: pods
    pipeline_stages: [{{cri: {{}}}}]
    static_configs: [{{labels: {{job: pods, __path__: '{folder}/pods/*/*/*.log'}}}}]
  - job_name: host
    static_configs: [{{labels: {{job: host, __path__: '{folder}/host/*.log'}}}}]
",
            url = self.push_url,
            wait = self.batch_wait_ms,
            life = self.life,
        );
        std::fs::write(self.folder.join("collector.yaml"), text).expect("the configuration can be written");
    }

    fn start(&mut self) {
        self.life += 1;
        self.configure();
        let mut command = Command::new(env!("CARGO_BIN_EXE_logstack"));
        command.arg("collector").arg("--config-file").arg(self.folder.join("collector.yaml"));
        let process = common::Process::spawn(command);
        self.pid.store(process.pid(), Ordering::Relaxed);
        self.process = Some(process);
    }

    /// Reads another configuration: the clients change, and what is under way must not be lost or overtaken.
    fn reload(&mut self) {
        self.batch_wait_ms = 300 - self.batch_wait_ms;
        self.configure();
        let pid = self.process.as_ref().expect("running").pid().to_string();
        Command::new("kill").arg("-HUP").arg(pid).status().expect("kill runs");
    }
}

#[test]
fn every_line_arrives_in_order_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("CHAOS_SECONDS").unwrap_or(20);
    let seed = number("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id())) | 1;
    eprintln!("CHAOS_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (pods, host) = (folder.path().join("pods"), folder.path().join("host"));
    for path in [&pods, &host] {
        std::fs::create_dir(path).expect("a folder can be made");
    }
    let sink = Sink::start();
    let pid = Arc::new(AtomicU32::new(0));
    let mut node = Node {
        folder: folder.path().to_owned(),
        push_url: sink.url(),
        life: 0,
        batch_wait_ms: 100,
        process: None,
        pid: pid.clone(),
        clean_ends: HashSet::new(),
    };
    // What was rotated before the very first start is nobody's promise: writers begin when it has looked around.
    std::fs::write(host.join("first.log"), line("first", 0) + "\n").expect("the first line can be written");
    node.start();
    wait_for_all(&sink, &[("first".to_owned(), 1)].into());
    let world = Arc::new(World {
        pods,
        host,
        sink: sink.clone(),
        until: Instant::now() + Duration::from_secs(seconds),
        alive: parking_lot::RwLock::new(()),
        pid,
        written: Default::default(),
        rotations: Default::default(),
    });
    let writers = start_writers(&world, &mut random);
    let (kills, stops) = torment(&mut node, &world, &mut random);
    for writer in writers {
        writer.join().expect("a writer ends well");
    }
    let written = world.written.lock().clone();
    wait_for_all(&sink, &written);
    node.process.take().expect("running").terminate();

    let seen = sink.take();
    assert!(sink.strange().is_empty(), "lines that nobody wrote, such as {:?}", &sink.strange()[0]);
    let mut repeated = 0;
    for (log, count) in &written {
        repeated += check(log, *count, &seen[log], &node.clean_ends);
    }
    let total: u64 = written.values().sum();
    let rotations = world.rotations.load(Ordering::Relaxed);
    eprintln!(
        "{total} lines of {} logs, {rotations} rotations, {kills} kills, {stops} stops, {repeated} lines and {} requests sent again",
        written.len(),
        sink.unheard(),
    );
}

fn start_writers(world: &Arc<World>, random: &mut Random) -> Vec<std::thread::JoinHandle<()>> {
    let mut seed = || Random(random.below(u64::MAX >> 12) | 1);
    let mut writers = Vec::new();
    for idx in 0..4 {
        let (log, random) = (format!("pod-{idx}"), seed());
        writers.push(spawn(world, move |world| container(world, &log, random)));
    }
    for idx in 0..2 {
        let (name, random) = (format!("brief-{idx}"), seed());
        writers.push(spawn(world, move |world| churn(world, &name, random)));
    }
    let host =
        [("copied", HostRotation::CopyTruncate), ("renamed", HostRotation::Numbers), ("cut", HostRotation::Truncate)];
    for (log, how) in host {
        let random = seed();
        writers.push(spawn(world, move |world| host_program(world, log, how, random)));
    }
    writers
}

/// Kills, stops and reloads the collector and spoils the server until the writers are done; how often each end came.
fn torment(node: &mut Node, world: &World, random: &mut Random) -> (u32, u32) {
    let (mut kills, mut stops) = (0, 0);
    while Instant::now() < world.until {
        let mood = match random.below(12) {
            0 | 1 => Mood::Down,
            2 => Mood::Slow,
            3 => Mood::Refusing(429),
            4 => Mood::Refusing(500),
            5 => Mood::Mute,
            6 => Mood::Curt,
            _ => Mood::Well,
        };
        world.sink.set_mood(mood);
        random.pause_ms(200, 1500);
        match random.below(6) {
            0 | 1 => {
                // Writers that need it alive are waiting for lines: let them come.
                world.sink.set_mood(Mood::Well);
                let _dead = world.alive.write();
                world.sink.set_mood(mood);
                node.process.take().expect("running").kill();
                kills += 1;
                random.pause_ms(0, 700);
                node.start();
            }
            2 => {
                world.sink.set_mood(Mood::Well);
                let _dead = world.alive.write();
                let code = node.process.take().expect("running").terminate();
                assert_eq!(code, Some(0), "a stopped collector ends well");
                node.clean_ends.insert(node.life);
                stops += 1;
                node.start();
            }
            3 => node.reload(),
            _ => {}
        }
    }
    world.sink.set_mood(Mood::Well);
    (kills, stops)
}

fn wait_for_all(sink: &Sink, written: &HashMap<String, u64>) {
    let mut patience = Patience::new();
    loop {
        let missing: Vec<String> = written
            .iter()
            .filter(|(log, count)| sink.complete(log) < **count)
            .map(|(log, count)| format!("{log}: {} of {count}, {}", sink.complete(log), sink.early(log)))
            .collect();
        if missing.is_empty() {
            return;
        }
        assert!(patience.wait(sink), "lines are lost: {missing:?}");
    }
}

/// Number of lines that were sent again. Within a life each line comes once and in order, and over all lives lines come
/// for the first time in order.
fn check(log: &str, count: u64, seen: &Seen, clean_ends: &HashSet<u32>) -> usize {
    assert_eq!(seen.complete, count, "{log}: lines are lost");
    let mut last_of_life: HashMap<u32, u64> = HashMap::new();
    let mut next_new = 0;
    let mut repeated = 0;
    for &(life, number) in &seen.arrivals {
        if let Some(last) = last_of_life.insert(life, number) {
            assert!(number > last, "{log}: line {number} came after {last} in life {life}");
        }
        if number >= next_new {
            assert_eq!(number, next_new, "{log}: line {number} came before {next_new} in life {life}");
            next_new += 1;
            continue;
        }
        repeated += 1;
        let was_clean = clean_ends.contains(&(life - 1)) && last_of_life.get(&(life - 1)).is_some_and(|l| *l >= number);
        assert!(!was_clean, "{log}: line {number} came again in life {life} after a clean end");
    }
    repeated
}
