//! The listener: TLS and its reload, client certificates, credentials, slow clients, limits of connections and heads.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::Process;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

fn start(dir: &Path, config: &str) -> Process {
    let file = dir.join("engine.yaml");
    std::fs::write(&file, config).unwrap();
    Process::engine(dir, &["--config-file", file.to_str().unwrap()])
}

/// An authority that signs certificates for 127.0.0.1.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, dir: &Path) {
        let (certificate, key) = self.sign();
        std::fs::write(dir.join("tls.crt"), certificate).unwrap();
        std::fs::write(dir.join("tls.key"), key).unwrap();
    }
}

fn client(root: &Authority, identity: Option<(String, String)>) -> Client {
    drop(common::client());
    // A connection per request: what is asked is what a new connection gets.
    let builder = Client::builder().pool_max_idle_per_host(0);
    let builder = builder.tls_certs_only([Certificate::from_pem(root.pem().as_bytes()).unwrap()]);
    match identity {
        Some((certificate, key)) => {
            builder.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
        }
        None => builder,
    }
    .build()
    .unwrap()
}

async fn ready(client: &Client, process: &Process) -> bool {
    let url = process.url().replace("http://", "https://");
    match client.get(format!("{url}/ready")).send().await {
        Ok(response) => {
            assert_eq!(response.status(), 200);
            true
        }
        Err(_) => false,
    }
}

fn tls(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!(
        "auth_enabled: false\nserver:\n  http_tls_config: {{cert_file: {dir}/tls.crt, key_file: {dir}/tls.key{more}}}\n"
    )
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    old.write(dir.path());
    let process = start(dir.path(), &tls(dir.path(), ""));
    let (by_old, by_new) = (client(&old, None), client(&new, None));
    assert!(ready(&by_old, &process).await && !ready(&by_new, &process).await);
    assert!(common::client().get(format!("{}/ready", process.url())).send().await.is_err(), "plain text is no way in");

    std::fs::write(dir.path().join("tls.crt"), "half a file").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(ready(&by_old, &process).await, "the last good one stays");
    new.write(dir.path());
    let deadline = Instant::now() + PATIENCE;
    while !ready(&by_new, &process).await {
        assert!(Instant::now() < deadline, "the new certificate is in force");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!ready(&by_old, &process).await);
}

#[tokio::test]
async fn clients_show_certificates_where_they_must() {
    let (own, other) = (Authority::new(), Authority::new());
    let check = async |kind: &str, want: [bool; 3]| {
        let dir = tempfile::tempdir().unwrap();
        own.write(dir.path());
        std::fs::write(dir.path().join("ca.crt"), own.pem()).unwrap();
        let more = format!(", client_ca_file: {}/ca.crt, client_auth_type: {kind}", dir.path().display());
        let process = start(dir.path(), &tls(dir.path(), &more));
        let mut got = Vec::new();
        for identity in [None, Some(other.sign()), Some(own.sign())] {
            got.push(ready(&client(&own, identity), &process).await);
        }
        assert_eq!(got, want, "{kind}: without, of a stranger, of ours");
    };
    check("NoClientCert", [true, true, true]).await;
    check("RequestClientCert", [true, true, true]).await;
    check("RequireAnyClientCert", [false, true, true]).await;
    check("RequireAndVerifyClientCert", [false, false, true]).await;
    check("VerifyClientCertIfGiven", [true, false, true]).await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(dir.path());
    std::fs::write(dir.path().join("tls.key"), authority.sign().1).unwrap();
    let file = dir.path().join("engine.yaml");
    std::fs::write(&file, tls(dir.path(), "")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_logstack"))
        .args(["engine", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .arg("--config-file")
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("http_tls_config"), "{text}");
}

#[tokio::test]
async fn credentials_keep_strangers_out_of_every_route_but_two() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "one\n").unwrap();
    let config =
        format!("auth_enabled: false\nlogstack: {{auth: {{type: bearer, credentials_file: {}}}}}\n", file.display());
    let process = start(dir.path(), &config);
    let client = common::client();
    let status = async |path: &str, token: Option<&str>| {
        let request = client.get(format!("{}{path}", process.url()));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/ready", "/metrics"] {
        assert_eq!(status(path, None).await, 200, "{path}");
    }
    for path in ["/loki/api/v1/labels", "/config", "/flush", "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D", "/nothing"] {
        assert_eq!((status(path, None).await, status(path, Some("two")).await), (401, 401), "{path}");
    }
    assert_eq!(status("/loki/api/v1/labels", Some("one")).await, 200);
    std::fs::write(&file, "number two\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while status("/loki/api/v1/labels", Some("number two")).await != 200 {
        assert!(Instant::now() < deadline, "the new token is in force");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status("/loki/api/v1/labels", Some("one")).await, 401);
}

async fn raw(process: &Process) -> TcpStream {
    TcpStream::connect(process.url().trim_start_matches("http://")).await.unwrap()
}

/// What the server says until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = "auth_enabled: false\nserver: {http_server_read_timeout: 1s, http_server_idle_timeout: 2s}\n";
    let process = start(dir.path(), config);
    let (mut silent, mut dripping, mut half) = (raw(&process).await, raw(&process).await, raw(&process).await);
    dripping.write_all(b"GET /rea").await.unwrap();
    half.write_all(
        b"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    )
    .await
    .unwrap();
    let mut form = raw(&process).await;
    form.write_all(
        b"POST /loki/api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
          Content-Length: 100\r\n\r\nquery=",
    )
    .await
    .unwrap();
    let mut idle = raw(&process).await;
    idle.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut dripping).await, "");
    let answer = rest(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ready\n"), "{answer}");
    for stream in [&mut half, &mut form] {
        let mut head = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("an answer").unwrap();
        assert_eq!(&head, b"HTTP/1.1 408");
    }
}

#[tokio::test]
async fn heads_and_connections_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let config = "auth_enabled: false\nserver: {http_listen_conn_limit: 3, http_server_read_timeout: 5s}\n";
    let process = start(dir.path(), config);
    let mut long = raw(&process).await;
    let head = format!("GET /ready HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(1 << 20));
    // The server may close before it has read all of it.
    let _ = long.write_all(head.as_bytes()).await;
    let mut status = [0; 12];
    if long.read_exact(&mut status).await.is_ok() {
        assert_eq!(&status, b"HTTP/1.1 431");
    }
    drop(long);
    let mut many = raw(&process).await;
    let head: String = (0..300).map(|n| format!("H{n}: 1\r\n")).collect();
    many.write_all(format!("GET /ready HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await.unwrap();
    assert!(rest(&mut many).await.starts_with("HTTP/1.1 431"));
    drop(many);

    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = raw(&process).await;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        open.push(stream);
    }
    let mut fourth = raw(&process).await;
    fourth.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    assert!(tokio::time::timeout(Duration::from_millis(300), fourth.read(&mut byte)).await.is_err(), "it waits");
    open.pop();
    assert!(rest(&mut fourth).await.contains("ready"), "its turn has come");
}
