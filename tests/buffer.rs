//! The disk buffer's promise: what a sender was told is taken arrives, though the server is away and the collector is
//! killed with `kill -9`, more than once; and what the server has is not sent again.

mod common;

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::Process;

const PATIENCE: Duration = Duration::from_secs(60);
const LINES_A_PUSH: usize = 50;
const PUSHES: usize = 8;
const DATAGRAMS: usize = 30;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

fn collector(config: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstack"));
    command.arg("collector").arg("--config-file").arg(config);
    Process::spawn(command)
}

async fn metric(process: &Process, name: &str) -> f64 {
    let text = common::client().get(format!("{}/metrics", process.url())).send().await.expect("metrics").text().await;
    let text = text.expect("a text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Waits until the metric is `want`.
async fn wait_for(process: &Process, name: &str, want: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = metric(process, name).await;
        if value == want {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {value}, not {want}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lines of a range of pushes, each answered 204: the collector has taken them.
async fn push(port: u16, pushes: std::ops::Range<usize>, sent: &mut BTreeSet<String>) {
    for number in pushes {
        let lines: Vec<String> = (0..LINES_A_PUSH).map(|idx| format!("push {number} line {idx}")).collect();
        let url = format!("http://127.0.0.1:{port}/promtail/api/v1/raw");
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            match common::client().post(&url).body(lines.join("\n")).send().await {
                // The pages of a collector answer a moment before its sources listen.
                Err(err) if err.is_connect() && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                answer => break answer.expect("an answer"),
            }
        };
        assert_eq!(answer.status(), 204);
        sent.extend(lines);
    }
}

/// Lines that the engine has.
async fn stored(engine: &Process) -> Vec<String> {
    let query = [("query", "{job=~\".+\"}"), ("limit", "5000"), ("since", "1h")];
    let url = format!("{}/loki/api/v1/query_range", engine.url());
    let answer = common::client().get(url).query(&query).send().await.expect("an answer");
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    let streams = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let values = streams.iter().flat_map(|stream| stream["values"].as_array().cloned().unwrap_or_default());
    values.filter_map(|value| value[1].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_arrives_though_all_others_die() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine_port, push_port, gelf_port) = (free_port(), free_port(), free_port());
    let config = folder.path().join("collector.yaml");
    let at = folder.path().display();
    let text = format!(
        "server: {{http_listen_address: 127.0.0.1, http_listen_port: 0}}
positions: {{filename: {at}/positions.yaml}}
clients: [{{url: 'http://127.0.0.1:{engine_port}/loki/api/v1/push', batchwait: 50ms, backoff_config: {{min_period: 50ms, max_period: 200ms}}}}]
collector: {{disk_buffer: {{dir: {at}/buffer, max_bytes: 8MiB}}}}
scrape_configs:
- job_name: push
  loki_push_api: {{server: {{http_listen_address: 127.0.0.1, http_listen_port: {push_port}}}, labels: {{job: push}}}}
- job_name: gelf
  gelf: {{listen_address: '127.0.0.1:{gelf_port}', labels: {{job: gelf}}}}
  pipeline_stages: [{{json: {{expressions: {{short_message: }}}}}}, {{output: {{source: short_message}}}}, {{tenant: {{value: fake}}}}]
"
    );
    std::fs::write(&config, text).expect("the configuration is written");
    let mut sent = BTreeSet::new();
    let written = "logstack_collector_disk_buffer_written_entries_total";

    // The server is away, and the collector is killed twice.
    let first = collector(&config);
    push(push_port, 0..PUSHES / 2, &mut sent).await;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // Nobody says when a datagram came too early: wait until the port is taken.
    let deadline = Instant::now() + PATIENCE;
    while UdpSocket::bind(("127.0.0.1", gelf_port)).is_ok() {
        assert!(Instant::now() < deadline, "GELF does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for number in 0..DATAGRAMS {
        let message = format!(r#"{{"version":"1.1","host":"h","short_message":"datagram {number}"}}"#);
        socket.send_to(message.as_bytes(), ("127.0.0.1", gelf_port)).expect("sent");
        sent.insert(format!("datagram {number}"));
    }
    wait_for(&first, written, (PUSHES / 2 * LINES_A_PUSH + DATAGRAMS) as f64).await;
    first.kill();
    let second = collector(&config);
    push(push_port, PUSHES / 2..PUSHES, &mut sent).await;
    second.kill();

    let mut command = Command::new(env!("CARGO_BIN_EXE_logstack"));
    command.args(["engine", "--listen", &format!("127.0.0.1:{engine_port}"), "--data-dir"]);
    let engine_config = folder.path().join("engine.yaml");
    std::fs::write(&engine_config, "auth_enabled: false\n").expect("the configuration is written");
    command.arg(folder.path().join("engine")).arg("--config-file").arg(engine_config);
    let engine = Process::spawn(command);
    let third = collector(&config);
    let deadline = Instant::now() + PATIENCE;
    let mut found = stored(&engine).await;
    while found.len() < sent.len() {
        assert!(Instant::now() < deadline, "{} of {} lines arrived", found.len(), sent.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
        found = stored(&engine).await;
    }
    assert_eq!(found.len(), sent.len(), "a line came twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), sent);
    assert_eq!(metric(&third, "logstack_collector_disk_buffer_damaged_bytes_total").await, 0.0);

    // What is acknowledged is deleted, and not sent again after one more kill.
    wait_for(&third, "logstack_collector_disk_buffer_bytes", 0.0).await;
    third.kill();
    let fourth = collector(&config);
    push(push_port, PUSHES..PUSHES + 1, &mut sent).await;
    wait_for(&fourth, "logstack_collector_disk_buffer_read_entries_total", LINES_A_PUSH as f64).await;
    assert_eq!(fourth.terminate(), Some(0));
}
