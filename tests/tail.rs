//! Live tails over a websocket, against the real binary.
//!
//! ```text
//! TAIL_LINES=1000000 cargo test --release --test tail fifty -- --nocapture     full speed, with figures
//! TAIL_IDLE=3000 cargo test --test tail idle -- --nocapture                    what idle tails cost
//! ```

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Process;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const OPEN: &str = "auth_enabled: false\nlimits_config: {ingestion_rate_mb: 1000, ingestion_burst_size_mb: 1000, \
                    per_stream_rate_limit: 1GB, per_stream_rate_limit_burst: 1GB, max_concurrent_tail_requests: 0}\n";

fn engine(dir: &tempfile::TempDir, config: &str) -> Process {
    let file = dir.path().join("engine.yaml");
    std::fs::write(&file, config).unwrap();
    Process::engine(dir.path(), &["--config-file", file.to_str().unwrap()])
}

fn url(process: &Process, path: &str, params: &[(&str, &str)]) -> String {
    let base = format!("{}{path}", process.url().replace("http://", "ws://"));
    reqwest::Url::parse_with_params(&base, params).unwrap().to_string()
}

async fn connect(
    process: &Process,
    path: &str,
    params: &[(&str, &str)],
    headers: &[(&'static str, &str)],
) -> Result<Socket, tungstenite::Error> {
    let mut request = url(process, path, params).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

async fn tail(process: &Process, query: &str) -> Socket {
    connect(process, "/loki/api/v1/tail", &[("query", query)], &[]).await.unwrap()
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// `lines` of `{app="…"}`, a nanosecond apart from `first_ns` on.
async fn push(client: &reqwest::Client, process: &Process, app: &str, first_ns: i64, lines: &[String]) {
    let values: Vec<Value> =
        lines.iter().enumerate().map(|(idx, line)| json!([(first_ns + idx as i64).to_string(), line])).collect();
    let body = json!({"streams": [{"stream": {"app": app}, "values": values}]});
    let response = client.post(format!("{}/loki/api/v1/push", process.url())).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 204, "{}", response.text().await.unwrap());
}

/// The next text frame.
async fn frame(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.expect("a frame in time").expect("no end").unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The lines of a frame; each entry is a stream of its own.
fn lines(frame: &Value) -> Vec<String> {
    let streams = frame["streams"].as_array().unwrap();
    let line = |stream: &Value| {
        let values = stream["values"].as_array().unwrap();
        assert_eq!(values.len(), 1);
        values[0][1].as_str().unwrap().to_owned()
    };
    streams.iter().map(line).collect()
}

fn dropped(frame: &Value) -> u64 {
    let named = frame["dropped_entries"].as_array().map_or(0, |named| named.len() as u64);
    assert!(named <= 1000);
    frame["dropped_count"].as_u64().unwrap_or(named)
}

/// Code and reason of the close frame that comes next, apart from pings.
async fn closed(socket: &mut Socket) -> (u16, String) {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("an end in time") {
            Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
            Some(Ok(Message::Close(None))) => return (1005, String::new()),
            Some(Ok(_)) => {}
            // What browsers and Go call 1006: the connection ends without a close frame.
            Some(Err(_)) | None => return (1006, String::new()),
        }
    }
}

#[tokio::test]
async fn history_comes_first_then_what_is_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let (process, client) = (engine(&dir, OPEN), common::client());
    let first_ns = now_ns() - 1_000_000;
    let old: Vec<String> = (0..250).map(|n| format!("level=info old {n}")).collect();
    push(&client, &process, "a", first_ns, &old).await;
    push(&client, &process, "b", first_ns, &["other".to_owned()]).await;

    let query = "{app=\"a\"} |= \"level\" | logfmt";
    let params = [("query", query), ("limit", "120")];
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let mut flagged = connect(&process, "/loki/api/v1/tail", &params, &flags).await.unwrap();
    let mut plain = connect(&process, "/loki/api/v1/tail", &params, &[]).await.unwrap();
    let mut legacy =
        connect(&process, "/api/prom/tail", &[("query", "{app=\"a\"}"), ("limit", "1")], &[]).await.unwrap();

    let (one, two) = (frame(&mut plain).await, frame(&mut plain).await);
    assert_eq!((lines(&one).len(), lines(&two).len()), (100, 20), "frames have at most 100 entries");
    assert_eq!([lines(&one), lines(&two)].concat(), old[130..], "the newest, oldest first");
    assert_eq!(one["streams"][0]["stream"]["level"], "info");
    assert_eq!(one["streams"][0]["values"][0].as_array().unwrap().len(), 2);
    frame(&mut flagged).await;
    let two = frame(&mut flagged).await;
    assert_eq!(two["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(two["streams"][0]["values"][0][2]["parsed"], json!({"level": "info"}));
    let one = frame(&mut legacy).await;
    assert_eq!(one["streams"][0]["entries"][0]["line"], "level=info old 249");
    assert_eq!(one["dropped_entries"], Value::Null);

    let new: Vec<String> = (0..3).map(|n| format!("level=warn new {n}")).collect();
    push(&client, &process, "a", now_ns(), &new).await;
    push(&client, &process, "a", now_ns(), &["dropped by the filter".to_owned()]).await;
    let live = frame(&mut plain).await;
    assert_eq!(lines(&live), new);
    assert_eq!(live["streams"][0]["stream"]["level"], "warn", "live as in the history");
    assert_eq!(frame(&mut flagged).await["streams"][0]["values"][0][2]["parsed"], json!({"level": "warn"}));
    assert_eq!(frame(&mut legacy).await["streams"][0]["entries"][0]["line"], new[0]);

    let mut pings = Vec::new();
    while pings.len() < 3 {
        if let Message::Ping(_) = timeout(PATIENCE, plain.next()).await.unwrap().unwrap().unwrap() {
            pings.push(Instant::now());
        }
    }
    let apart = pings[2] - pings[1];
    assert!(apart > Duration::from_millis(500) && apart < Duration::from_secs(10), "{apart:?}");

    plain.send(Message::Close(None)).await.unwrap();
    assert_eq!(closed(&mut plain).await.0, 1005, "the close frame is answered");
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(closed(&mut flagged).await.0, 1006, "clients reconnect only after this");
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let dir = tempfile::tempdir().unwrap();
    let config = "limits_config: {max_concurrent_tail_requests: 2}\nquerier: {tail_max_duration: 3s, \
                  multi_tenant_queries_enabled: true}\n";
    let process = engine(&dir, config);
    let refused = async |params: &[(&str, &str)], tenant: Option<&str>| {
        let headers: Vec<(&'static str, &str)> = tenant.map(|tenant| ("x-scope-orgid", tenant)).into_iter().collect();
        match connect(&process, "/loki/api/v1/tail", params, &headers).await {
            Err(tungstenite::Error::Http(response)) => {
                let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
                (response.status().as_u16(), body)
            }
            other => panic!("{params:?}: {:?}", other.is_ok()),
        }
    };
    let is = |status: u16, text: &str| (status, text.to_owned());
    let good = ("query", "{app=\"a\"}");
    assert_eq!(refused(&[good], None).await, is(401, "no org id\n"));
    assert_eq!(refused(&[good], Some("a|b")).await, is(400, "multiple org IDs present\n"));
    assert_eq!(refused(&[], Some("a")).await, is(400, "parse error : syntax error: unexpected $end"));
    assert_eq!(refused(&[good, ("delay_for", "6")], Some("a")).await, is(400, "delay_for can't be greater than 5"));
    assert_eq!(refused(&[good, ("limit", "0")], Some("a")).await, is(400, "limit must be a positive value"));

    let client = common::client();
    let plain = client.get(format!("{}/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D", process.url()));
    let plain = plain.header("X-Scope-OrgID", "a").send().await.unwrap();
    assert_eq!((plain.status().as_u16(), &plain.headers()["sec-websocket-version"]), (400, &"13".parse().unwrap()));
    assert_eq!(plain.text().await.unwrap(), "Bad Request\n");

    let open = async |tenant: &str, query: &str| {
        connect(&process, "/loki/api/v1/tail", &[("query", query)], &[("x-scope-orgid", tenant)]).await.unwrap()
    };
    let metric = closed(&mut open("a", "rate({app=\"a\"}[1m])").await).await;
    assert_eq!(metric, is(1011, "only log selector is supported"));
    let mut own = [open("a", good.1).await, open("a", good.1).await];
    let third = closed(&mut open("a", good.1).await).await;
    assert_eq!(third, is(1011, "max concurrent tail requests limit exceeded, count > limit (3 > 2)"));
    let mut other = open("b", good.1).await;
    for socket in own.iter_mut().chain([&mut other]) {
        assert_eq!(closed(socket).await, is(1011, "reached tail max duration limit"));
    }
    drop(open("a", good.1).await);
}

#[tokio::test]
async fn a_slow_client_is_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (process, client) = (engine(&dir, OPEN), common::client());
    let mut slow = tail(&process, "{app=\"a\"}").await;
    let mut other = tail(&process, "{app=\"a\"} |= \"none\"").await;
    let total = 60_000;
    let padding = "x".repeat(400);
    for start in (0..total).step_by(2000) {
        let lines: Vec<String> = (start..start + 2000).map(|n| format!("{n} {padding}")).collect();
        push(&client, &process, "a", now_ns(), &lines).await;
    }
    let (mut got, mut missed, mut last) = (0, 0, -1);
    while got + missed < total {
        let frame = frame(&mut slow).await;
        missed += dropped(&frame);
        for line in lines(&frame) {
            let number: i64 = line.split(' ').next().unwrap().parse().unwrap();
            assert!(number > last, "{number} behind {last}");
            last = number;
            got += 1;
        }
    }
    assert_eq!(got + missed, total);
    assert!(missed > 0, "nobody read for 24 MB");
    push(&client, &process, "a", now_ns(), &["none".to_owned()]).await;
    assert_eq!(lines(&frame(&mut other).await), ["none"], "another's slowness costs nobody else anything");
}

/// Resident memory of the process, MiB.
fn resident_mib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Processor time of the process, seconds.
fn cpu_s(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |number: usize| fields.get(number).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tails_while_lines_are_pushed_at_full_speed() {
    const TAILS: usize = 50;
    let total: usize = std::env::var("TAIL_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000);
    let dir = tempfile::tempdir().unwrap();
    let (process, client) = (engine(&dir, OPEN), common::client());
    // Stream n has every TAILS-th line; some tails want a stream, some a part of one, some several.
    let query = |n: usize| match n % 5 {
        3 => format!("{{app=\"s{n}\"}} |= \"even\""),
        4 => format!("{{app=~\"s{n}|s{}\"}}", n - 1),
        _ => format!("{{app=\"s{n}\"}}"),
    };
    let share = total / TAILS;
    let want = |n: usize| match n % 5 {
        3 => share.div_ceil(2),
        4 => 2 * share,
        _ => share,
    };
    let mut readers = Vec::new();
    for n in 0..TAILS {
        let mut socket = tail(&process, &query(n)).await;
        let is_filtered = n % 5 == 3;
        let want = want(n) as u64;
        readers.push(tokio::spawn(async move {
            let (mut got, mut missed) = (0u64, 0u64);
            let mut last: HashMap<String, i64> = HashMap::new();
            // Of filtered tails more lines may be counted as missed than they would have got.
            while got + missed < want {
                let frame = frame(&mut socket).await;
                missed += dropped(&frame);
                for stream in frame["streams"].as_array().unwrap() {
                    let app = stream["stream"]["app"].as_str().unwrap().to_owned();
                    let line = stream["values"][0][1].as_str().unwrap();
                    let number: i64 = line.split(' ').next().unwrap().parse().unwrap();
                    let before = last.insert(app, number).unwrap_or(-1);
                    assert!(number > before, "{number} behind {before}");
                    got += 1;
                }
            }
            assert!(is_filtered || got + missed == want, "{got} and {missed} of {want}");
            (got, missed)
        }));
    }
    let started = Instant::now();
    let before = resident_mib(&process);
    let mut peak = before;
    for start in (0..share).step_by(500) {
        let streams: Vec<Value> = (0..TAILS)
            .map(|n| {
                let first_ns = now_ns();
                let values: Vec<Value> = (start..share.min(start + 500))
                    .map(|i| {
                        let kind = if i % 2 == 0 { "even" } else { "odd" };
                        json!([(first_ns + (i - start) as i64).to_string(), format!("{i} {kind} line of stream {n}")])
                    })
                    .collect();
                json!({"stream": {"app": format!("s{n}")}, "values": values})
            })
            .collect();
        let body = json!({ "streams": streams });
        let response = client.post(format!("{}/loki/api/v1/push", process.url())).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 204, "{}", response.text().await.unwrap());
        peak = peak.max(resident_mib(&process));
    }
    let pushed = started.elapsed();
    let (mut got, mut missed) = (0, 0);
    for reader in readers {
        let (own, own_missed) = timeout(PATIENCE * 2, reader).await.expect("every tail gets its lines").unwrap();
        got += own;
        missed += own_missed;
    }
    peak = peak.max(resident_mib(&process));
    eprintln!(
        "{total} lines in {:.1} s ({:.0} lines/s); {TAILS} tails got {got} and were told of {missed} that they missed, \
         after {:.1} s; resident {before} -> at most {peak} MiB",
        pushed.as_secs_f64(),
        total as f64 / pushed.as_secs_f64(),
        started.elapsed().as_secs_f64(),
    );
}

#[tokio::test]
async fn idle_tails_are_cheap() {
    let count: usize = std::env::var("TAIL_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let dir = tempfile::tempdir().unwrap();
    let (process, client) = (engine(&dir, OPEN), common::client());
    let before = resident_mib(&process);
    let mut sockets = Vec::new();
    for n in 0..count {
        sockets.push(tail(&process, &format!("{{app=\"idle{n}\"}}")).await);
    }
    let (memory, cpu, started) = (resident_mib(&process) - before, cpu_s(&process), Instant::now());
    let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    for _ in 0..5 {
        push(&client, &process, "busy", now_ns(), &lines).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    push(&client, &process, "idle7", now_ns(), &["hello".to_owned()]).await;
    assert_eq!(lines_of(&mut sockets[7]).await, ["hello"]);
    let cpu = (cpu_s(&process) - cpu) / started.elapsed().as_secs_f64();
    eprintln!("{count} idle tails: {memory} MiB, {:.1} % of a processor", cpu * 100.0);
    assert!(memory < 20 + count as u64 / 10, "{memory} MiB");
    let metrics = client.get(format!("{}/metrics", process.url())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(&format!("loki_querier_tail_active {count}\n")), "{metrics}");
}

async fn lines_of(socket: &mut Socket) -> Vec<String> {
    lines(&frame(socket).await)
}
