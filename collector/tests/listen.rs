//! Listeners and clients with TLS, as real connections: certificates that change, names that differ, clients that must
//! show who they are, and connections that are slow, idle or too many.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use logstack_collector::listen;
use logstack_collector::ship::http::Http;
use logstack_config::collector::{ClientConfig, ClientTls, CollectorServer};
use logstack_config::engine::{ClientAuth, TlsConfig};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate for `name` that signs itself: its files, and PEM.
struct Issued {
    cert: PathBuf,
    key: PathBuf,
    pem: String,
}

fn issue(folder: &Path, name: &str) -> Issued {
    let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (cert, key, pem) = (folder.join("cert.pem"), folder.join("key.pem"), issued.cert.pem());
    std::fs::write(&cert, &pem).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    Issued { cert, key, pem }
}

async fn serve(server: CollectorServer) -> SocketAddr {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let never = || async { std::future::pending::<&str>().await };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/never", get(never));
    tokio::spawn(async move { listen::serve(listener, router, &server, CancellationToken::new()).await });
    address
}

/// What the client of `tls` reads.
async fn fetch(address: SocketAddr, tls: ClientTls) -> Result<String, String> {
    let url: reqwest::Url = format!("https://localhost:{}/", address.port()).parse().unwrap();
    let config = ClientConfig { tls_config: tls, ..ClientConfig::default() };
    let client = Http::new(&config, &url).and_then(|http| http.client()).map_err(|err| err.to_string())?;
    let response = client.get(url).send().await.map_err(|err| format!("{err:?}"))?;
    response.text().await.map_err(|err| err.to_string())
}

fn trusting(pem: &str) -> ClientTls {
    ClientTls { ca: pem.to_owned(), ..ClientTls::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = issue(folder.path(), "localhost");
    let tls = TlsConfig { cert_file: Some(first.cert), key_file: Some(first.key), ..TlsConfig::default() };
    let address = serve(CollectorServer { http_tls_config: tls, ..CollectorServer::default() }).await;
    assert_eq!(fetch(address, trusting(&first.pem)).await.as_deref(), Ok("hello"));
    let second = issue(folder.path(), "localhost");
    let deadline = Instant::now() + PATIENCE;
    while fetch(address, trusting(&second.pem)).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(fetch(address, trusting(&first.pem)).await.is_err());
    // What is no certificate leaves the last good one in force.
    std::fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(fetch(address, trusting(&second.pem)).await.as_deref(), Ok("hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_have_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let issued = issue(folder.path(), "logs.inner.example");
    let tls = TlsConfig { cert_file: Some(issued.cert), key_file: Some(issued.key), ..TlsConfig::default() };
    let address = serve(CollectorServer { http_tls_config: tls, ..CollectorServer::default() }).await;
    let named = |name: &str, ca: &str| ClientTls { server_name: name.to_owned(), ..trusting(ca) };
    assert!(fetch(address, trusting(&issued.pem)).await.is_err(), "the URL says localhost");
    assert_eq!(fetch(address, named("logs.inner.example", &issued.pem)).await.as_deref(), Ok("hello"));
    assert!(fetch(address, named("other.example", &issued.pem)).await.is_err());
    assert!(fetch(address, named("logs.inner.example", "")).await.is_err(), "the system does not know it");
    assert!(fetch(address, named("not a name", &issued.pem)).await.is_err());
    let version = |min: &str, max: &str| ClientTls {
        min_version: min.to_owned(),
        max_version: max.to_owned(),
        ..named("logs.inner.example", &issued.pem)
    };
    assert_eq!(fetch(address, version("TLS13", "")).await.as_deref(), Ok("hello"));
    assert_eq!(fetch(address, version("", "TLS12")).await.as_deref(), Ok("hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_show_who_they_are() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, client) = (issue(ours.path(), "localhost"), issue(theirs.path(), "client"));
    let tls = TlsConfig {
        cert_file: Some(server.cert),
        key_file: Some(server.key),
        client_ca: client.pem.clone(),
        client_auth_type: ClientAuth::RequireAndVerifyClientCert,
        ..TlsConfig::default()
    };
    let address = serve(CollectorServer { http_tls_config: tls, ..CollectorServer::default() }).await;
    assert!(fetch(address, trusting(&server.pem)).await.is_err());
    let shown = ClientTls { cert_file: Some(client.cert), key_file: Some(client.key), ..trusting(&server.pem) };
    assert_eq!(fetch(address, shown.clone()).await.as_deref(), Ok("hello"));
    let named = ClientTls { server_name: "localhost".to_owned(), ..shown };
    assert_eq!(fetch(address, named).await.as_deref(), Ok("hello"));
}

/// Sends `request`; everything that comes until the server closes.
fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_slow_and_too_many_connections_end() {
    let server = CollectorServer {
        http_server_idle_timeout: logstack_config::GoDuration::millis(200),
        http_server_write_timeout: logstack_config::GoDuration::millis(100),
        http_listen_conn_limit: 1,
        ..CollectorServer::default()
    };
    let address = serve(server).await;
    let talks = tokio::task::spawn_blocking(move || {
        // Held open and silent: it takes the only place, until it is closed for its silence.
        let silent = TcpStream::connect(address).unwrap();
        let answer = talk(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        drop(silent);
        let never = talk(address, "GET /never HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        (answer, talk(address, "GET / HT"), never)
    });
    let (answer, half, never) = talks.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer:?}");
    assert!(!half.contains("200"), "{half:?}");
    assert!(never.starts_with("HTTP/1.1 503"), "{never:?}");
}
