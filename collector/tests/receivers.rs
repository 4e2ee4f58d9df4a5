//! Sources that are no files, through their sockets, to what would be pushed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use logstack_collector::Collector;
use logstack_config::CollectorConfig;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A collector with one job that prints; its positions are in a folder of their own.
struct Scene {
    collector: Collector,
    lines: mpsc::Receiver<String>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(job: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "positions: {{filename: {}/p.yaml}}\nclients: [{{url: 'http://127.0.0.1:1/push'}}]\nscrape_configs:\n- job_name: test\n{job}",
            folder.path().display()
        );
        let (config, _) =
            logstack_config::load::<CollectorConfig>(&text, "test.yaml").unwrap_or_else(|e| panic!("{e}"));
        let (collector, lines) = Collector::start_dry(&config).unwrap();
        Self { collector, lines, _folder: folder }
    }

    /// The next entries, without their times, and stops.
    async fn check(mut self, want: &[&str]) {
        let mut got = Vec::new();
        for _ in want {
            let line =
                tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("a line in time").expect("a line");
            got.push(line.split_once('\t').expect("a time").1.trim_end().replace('\t', " "));
        }
        assert_eq!(got, want);
        self.collector.stop(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_over_tcp() {
    let port = free_port();
    let scene = Scene::new(&format!(
        "  syslog: {{listen_address: '127.0.0.1:{port}', label_structured_data: true, labels: {{job: syslog}}}}
  relabel_configs:
  - {{source_labels: [__syslog_message_hostname], target_label: host}}
  - {{source_labels: [__syslog_message_severity], target_label: severity}}
  - {{source_labels: [__syslog_message_sd_a_1_b], target_label: b}}
  - {{source_labels: [__syslog_connection_ip_address], target_label: ip}}
  - {{source_labels: [__syslog_message_app_name], action: drop, regex: noise}}
"
    ));
    let mut lines = TcpStream::connect(("127.0.0.1", port)).unwrap();
    lines.write_all(b"<34>1 - h1 su - - - one\n<34>1 - h1 noise - - - not me\n<34>1 - - - - - -\nnonsense\n").unwrap();
    lines.write_all(b"<165>1 - h2 app - - [a@1 b=\"c\"] two").unwrap();
    drop(lines);
    let first = r#"{host="h1", ip="127.0.0.1", job="syslog", severity="critical"} one"#;
    let second = r#"{b="c", host="h2", ip="127.0.0.1", job="syslog", severity="notice"} two"#;
    scene.check(&[first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_of_old_over_udp_and_counted_over_tcp() {
    let port = free_port();
    let scene = Scene::new(&format!(
        "  syslog: {{listen_address: '127.0.0.1:{port}', listen_protocol: udp, syslog_format: rfc3164, labels: {{job: udp}}}}\n"
    ));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"<13>Jan  5 00:00:00 h app[7]: hello\n", ("127.0.0.1", port)).unwrap();
    scene.check(&[r#"{job="udp"} hello"#]).await;

    let port = free_port();
    let scene = Scene::new(&format!(
        "  syslog: {{listen_address: '127.0.0.1:{port}', use_rfc5424_message: true, labels: {{job: tcp}}}}\n"
    ));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"19 <13>1 - - - - - - x20 <13>1 - - - - - - y\n").unwrap();
    scene.check(&[r#"{job="tcp"} <13>1 - - - - - - x"#, r#"{job="tcp"} <13>1 - - - - - - y"#]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let scene = Scene::new(&format!(
        "  syslog: {{listen_address: '127.0.0.1:{port}', labels: {{job: tls}}, tls_config: {{cert_file: {}, key_file: {}}}}}\n",
        cert.display(),
        key.display()
    ));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut connection =
        rustls::ClientConnection::new(std::sync::Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    rustls::Stream::new(&mut connection, &mut socket).write_all(b"<13>1 - - - - - - secret\n").unwrap();
    scene.check(&[r#"{job="tls"} secret"#]).await;
}

/// Posts `body`; the status line of the answer.
fn post(port: u16, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes() {
    let port = free_port();
    let scene = Scene::new(&format!(
        "  loki_push_api: {{server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}}}, labels: {{via: collector}}, use_incoming_timestamp: true}}
  relabel_configs:
  - {{source_labels: [app], action: drop, regex: noise}}
  pipeline_stages:
  - drop: {{expression: dropped}}
"
    ));
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"streams":[
        {"stream":{"app":"noise"},"values":[["1","not me"]]},
        {"stream":{"app":"web","via":"sender"},"values":[["1","one"],["2","dropped"],["3","two"]]}]}"#;
    assert_eq!(post(port, "/loki/api/v1/push", json, body.as_bytes()), "HTTP/1.1 204 No Content");
    assert_eq!(post(port, "/promtail/api/v1/raw", "", b"raw 1\r\n\nraw 2\n"), "HTTP/1.1 204 No Content");
    assert_eq!(post(port, "/loki/api/v1/push", json, b"{"), "HTTP/1.1 400 Bad Request");
    assert_eq!(post(port, "/loki/api/v1/push", "", b"not snappy"), "HTTP/1.1 400 Bad Request");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(br#"{"streams":[{"stream":{"app":"gz"},"values":[["1","three"]]}]}"#).unwrap();
    let headers = format!("{json}Content-Encoding: gzip\r\n");
    assert_eq!(post(port, "/loki/api/v1/push", &headers, &packed.finish().unwrap()), "HTTP/1.1 204 No Content");
    scene
        .check(&[
            r#"{app="web", via="collector"} one"#,
            r#"{app="web", via="collector"} two"#,
            r#"{via="collector"} raw 1"#,
            r#"{via="collector"} raw 2"#,
            r#"{app="gz", via="collector"} three"#,
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gelf() {
    let port = free_port();
    let scene = Scene::new(&format!(
        "  gelf: {{listen_address: '127.0.0.1:{port}', labels: {{job: gelf}}}}
  relabel_configs: [{{source_labels: [__gelf_message_host], target_label: host}}]
  pipeline_stages: [{{json: {{expressions: {{short_message: }}}}}}, {{output: {{source: short_message}}}}]
"
    ));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(br#"{"version":"1.1","host":"web","short_message":"hi"}"#, ("127.0.0.1", port)).unwrap();
    scene.check(&[r#"{host="web", job="gelf"} hi"#]).await;
}
