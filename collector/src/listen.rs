//! Listeners for HTTP: the collector's own pages and the push API, with TLS if it is configured.
//!
//! Handshakes run beside each other, so that one slow client holds up nobody. A connection on which nothing comes for
//! `http_server_idle_timeout` is closed, and at most `http_listen_conn_limit` are open. Certificates are read again when
//! their files change.
//!
//! Source: contract of the collector, section 1.5.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use logstack_config::collector::CollectorServer;
use logstack_config::engine::{ClientAuth, TlsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Longest TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections that may wait to be served.
const QUEUE: usize = 64;
/// How often the files of a certificate are looked at, when somebody connects.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted: too many open files, mostly, and they are closed again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is wrong with `http_tls_config`.
#[derive(Debug, thiserror::Error)]
#[error("http_tls_config.{key}: {reason}")]
pub struct TlsError {
    /// Below `http_tls_config`.
    pub key: &'static str,
    /// What to do about it.
    pub reason: String,
}

/// Serves `router` until cancelled, as `server` says.
///
/// # Errors
/// TLS that cannot be used, or a listener that fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    server: &CollectorServer,
    cancelled: CancellationToken,
) -> io::Result<()> {
    let tls = Tls::new(server).map_err(io::Error::other)?;
    let address = listener.local_addr()?;
    let (sender, connections) = mpsc::channel(QUEUE);
    let limit = match server.http_listen_conn_limit {
        0 => Semaphore::MAX_PERMITS,
        limit => (limit as usize).min(Semaphore::MAX_PERMITS),
    };
    let accepting = Accepting { listener, tls, limit: Arc::new(Semaphore::new(limit)), sender };
    let idle = server.http_server_idle_timeout.get();
    let patience = server.http_server_write_timeout.get();
    let router = match patience.is_zero() {
        true => router,
        false => {
            router.layer(middleware::from_fn(move |request: Request, next: Next| in_time(patience, request, next)))
        }
    };
    let accepted = Accepted { address, connections, idle };
    let stop = cancelled.clone();
    let accepting = tokio::spawn(async move {
        tokio::select! {
            () = accepting.run() => {}
            () = stop.cancelled() => {}
        }
    });
    let outcome = axum::serve(accepted, router).with_graceful_shutdown(cancelled.cancelled_owned()).await;
    accepting.abort();
    outcome
}

async fn in_time(patience: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not answered within http_server_write_timeout\n").into_response(),
    }
}

/// Takes connections and shakes hands.
struct Accepting {
    listener: TcpListener,
    tls: Option<Tls>,
    limit: Arc<Semaphore>,
    sender: mpsc::Sender<(Stream, SocketAddr, OwnedSemaphorePermit)>,
}

impl Accepting {
    async fn run(mut self) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.limit.clone().acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(err) => {
                    warn!(error = %err, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let sender = self.sender.clone();
            let acceptor = self.tls.as_mut().map(Tls::acceptor);
            tokio::spawn(async move {
                let stream = match acceptor {
                    None => Stream::Plain(stream),
                    Some(acceptor) => match tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                        Ok(Err(err)) => return debug!(error = %err, %peer, "no TLS handshake"),
                        Err(_) => return debug!(%peer, "no TLS handshake in time"),
                    },
                };
                // The server has stopped.
                let _ = sender.send((stream, peer, permit)).await;
            });
        }
    }
}

/// Connections that are ready, for axum.
struct Accepted {
    address: SocketAddr,
    connections: mpsc::Receiver<(Stream, SocketAddr, OwnedSemaphorePermit)>,
    idle: Duration,
}

impl axum::serve::Listener for Accepted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some((stream, peer, permit)) => (Connection::new(stream, self.idle, permit), peer),
            // Nobody accepts any more: the server is stopping.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that ends when nothing comes for long.
struct Connection {
    stream: Stream,
    idle: Duration,
    /// `None`: it may be idle for ever.
    timer: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: Stream, idle: Duration, permit: OwnedSemaphorePermit) -> Self {
        let timer = (!idle.is_zero()).then(|| Box::pin(tokio::time::sleep(idle)));
        Self { stream, idle, timer, _permit: permit }
    }

    fn postpone(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(tokio::time::Instant::now() + self.idle);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if polled.is_ready() {
            this.postpone();
            return polled;
        }
        let is_over = this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if is_over { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.postpone();
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The certificate in force.
struct Tls {
    config: TlsConfig,
    min_version: String,
    current: TlsAcceptor,
    stamps: Stamps,
    looked: Instant,
}

type Stamps = [Option<SystemTime>; 3];

/// Checks a server's TLS by loading it.
///
/// # Errors
/// What cannot be used.
pub fn check(server: &CollectorServer) -> Result<(), TlsError> {
    Tls::new(server).map(drop)
}

impl Tls {
    fn new(server: &CollectorServer) -> Result<Option<Self>, TlsError> {
        let config = server.http_tls_config.clone();
        if !config.is_enabled() {
            return Ok(None);
        }
        let min_version = server.tls_min_version.clone();
        let (stamps, current) = (stamps(&config), acceptor(&config, &min_version)?);
        Ok(Some(Self { config, min_version, current, stamps, looked: Instant::now() }))
    }

    /// For the next connection.
    fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK_PERIOD {
            self.looked = Instant::now();
            let now = stamps(&self.config);
            if now != self.stamps {
                // Certificate and key change one after the other; the second change is seen, too.
                self.stamps = now;
                match acceptor(&self.config, &self.min_version) {
                    Ok(acceptor) => {
                        self.current = acceptor;
                        info!("certificate read again");
                    }
                    Err(err) => warn!(error = %err, "certificate left as it was"),
                }
            }
        }
        self.current.clone()
    }
}

fn stamps(config: &TlsConfig) -> Stamps {
    let of = |path: &Option<PathBuf>| path.as_ref()?.metadata().ok()?.modified().ok();
    [of(&config.cert_file), of(&config.key_file), of(&config.client_ca_file)]
}

fn acceptor(config: &TlsConfig, min_version: &str) -> Result<TlsAcceptor, TlsError> {
    let error = |key: &'static str| move |reason: &dyn std::fmt::Display| TlsError { key, reason: reason.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&config.cert_file, &config.cert).map_err(|err| error("cert_file")(&err))?;
    let key = pem(&config.key_file, config.key.expose()).map_err(|err| error("key_file")(&err))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|err| error("key_file")(&err))?;
    let versions = match min_version {
        "VersionTLS13" => &[&rustls::version::TLS13][..],
        _ => rustls::ALL_VERSIONS,
    };
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|err| error("cert_file")(&err))?;
    let verifies = match config.client_auth_type {
        // A certificate that nobody verifies need not be asked for.
        ClientAuth::NoClientCert | ClientAuth::RequestClientCert => None,
        ClientAuth::VerifyClientCertIfGiven => Some(false),
        ClientAuth::RequireAndVerifyClientCert | ClientAuth::RequireAnyClientCert => Some(true),
    };
    let builder = match verifies {
        None => builder.with_no_client_auth(),
        Some(is_needed) => {
            let mut roots = rustls::RootCertStore::empty();
            let authorities = certificates(&config.client_ca_file, &config.client_ca);
            for authority in authorities.map_err(|err| error("client_ca_file")(&err))? {
                roots.add(authority).map_err(|err| error("client_ca_file")(&err))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if is_needed { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|err| error("client_ca_file")(&err))?)
        }
    };
    let mut built = builder.with_single_cert(chain, key).map_err(|err| error("key_file")(&err))?;
    built.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(built)))
}

/// Files win over inline texts.
fn pem(file: &Option<PathBuf>, inline: &str) -> Result<Vec<u8>, String> {
    match file {
        Some(path) => std::fs::read(path).map_err(|err| format!("{}: {err}", path.display())),
        None => Ok(inline.as_bytes().to_vec()),
    }
}

fn certificates(file: &Option<PathBuf>, inline: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(file, inline)?).collect();
    let found = found.map_err(|err| err.to_string())?;
    if found.is_empty() { Err("holds no certificate in PEM form".to_owned()) } else { Ok(found) }
}
