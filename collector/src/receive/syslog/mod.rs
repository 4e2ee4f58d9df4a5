//! `syslog`: messages over TCP (TLS if wanted) and UDP.
//!
//! A TCP sender waits while the clients have no room. A datagram that has no room is lost, and counted.

pub mod frame;
pub mod message;
pub mod names;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logstack_config::collector::{SyslogConfig, SyslogFormat, SyslogProtocol, SyslogTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::intake::{Incoming, Intake, Losses};
use super::{ReceiveMetrics, SourceError, label_map, listen_address};
use crate::discovery::relabel::LabelMap;
use frame::Framer;
use message::{Message, parse_rfc3164, parse_rfc5424};
use names::Names;

/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Label maps of senders that are remembered, so that equal ones are shared.
const LABEL_MAPS_MAX: usize = 4096;

/// A socket that listens.
pub enum Socket {
    /// Streams, with TLS or without.
    Tcp(TcpListener, Option<TlsAcceptor>),
    /// Datagrams.
    Udp(UdpSocket),
}

/// Opens the socket of a configuration.
///
/// # Errors
/// An address that cannot be listened on, or TLS files that cannot be used.
pub fn bind(config: &SyslogConfig) -> Result<Socket, SourceError> {
    let address = listen_address(&config.listen_address);
    let cannot = |err: std::io::Error| SourceError::new("syslog.listen_address", format!("{address}: {err}"));
    match config.listen_protocol {
        SyslogProtocol::Tcp => {
            let tls = config.tls_config.as_ref().map(acceptor).transpose()?;
            let listener = TcpListener::bind(&address).map_err(cannot)?;
            listener.set_nonblocking(true).map_err(cannot)?;
            Ok(Socket::Tcp(listener, tls))
        }
        SyslogProtocol::Udp => {
            let socket = UdpSocket::bind(&address).map_err(cannot)?;
            socket.set_nonblocking(true).map_err(cannot)?;
            Ok(Socket::Udp(socket))
        }
    }
}

impl Socket {
    /// Where it listens.
    ///
    /// # Errors
    /// Never, for a socket that is bound.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Checks TLS files by loading them.
fn acceptor(tls: &SyslogTls) -> Result<TlsAcceptor, SourceError> {
    let key = |name: &str| format!("syslog.tls_config.{name}");
    let (Some(cert_file), Some(key_file)) = (&tls.cert_file, &tls.key_file) else {
        return Err(SourceError::new("syslog.tls_config", "needs the keys cert_file and key_file"));
    };
    let chain = certificates(cert_file).map_err(|err| SourceError::new(key("cert_file"), err))?;
    let private = PrivateKeyDer::from_pem_file(key_file).map_err(|err| SourceError::new(key("key_file"), err))?;
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| SourceError::new("syslog.tls_config", err))?;
    let builder = match &tls.ca_file {
        None => builder.with_no_client_auth(),
        Some(ca_file) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(ca_file).map_err(|err| SourceError::new(key("ca_file"), err))? {
                roots.add(certificate).map_err(|err| SourceError::new(key("ca_file"), err))?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|err| SourceError::new(key("ca_file"), err))?)
        }
    };
    let config = builder.with_single_cert(chain, private).map_err(|err| SourceError::new("syslog.tls_config", err))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

/// A syslog receiver.
pub struct Syslog {
    /// As configured.
    pub config: SyslogConfig,
    /// Of the job.
    pub job: String,
    /// Where entries go.
    pub intake: Intake,
    /// Counters.
    pub metrics: Arc<ReceiveMetrics>,
    /// Names of senders; `None`: no rule asks for them.
    pub names: Option<Names>,
}

impl Syslog {
    /// Receives until cancelled.
    pub async fn run(self, socket: Socket, stop: CancellationToken) {
        let job = self.job.clone();
        let outcome = match socket {
            Socket::Tcp(listener, tls) => Arc::new(self).accept(listener, tls, stop).await,
            Socket::Udp(socket) => self.receive(socket, stop).await,
        };
        if let Err(err) = outcome {
            warn!(job, error = %err, "the syslog receiver cannot listen");
        }
    }

    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(err) => {
                    // Too many open files, mostly: they are closed again.
                    warn!(job = self.job, error = %err, "a syslog connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (syslog, tls, stop) = (self.clone(), tls.clone(), stop.clone());
            connections.spawn(async move {
                let outcome = match tls {
                    None => syslog.read(stream, peer, &stop).await,
                    Some(tls) => match tokio::time::timeout(Duration::from_secs(10), tls.accept(stream)).await {
                        Ok(Ok(stream)) => syslog.read(stream, peer, &stop).await,
                        Ok(Err(err)) => Err(err.to_string()),
                        Err(_) => Err("no TLS handshake within 10s".to_owned()),
                    },
                };
                if let Err(reason) = outcome {
                    syslog.metrics.syslog_errors.fetch_add(1, Ordering::Relaxed);
                    debug!(job = syslog.job, %peer, reason, "syslog connection closed");
                }
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }

    async fn read(
        &self,
        mut stream: impl AsyncRead + Unpin,
        peer: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        if let Some(names) = &self.names {
            names.resolve(peer.ip().to_canonical()).await;
        }
        let mut framer = Framer::new(self.config.max_message_length);
        let mut maps = LabelMaps::default();
        let mut buffer = vec![0; 16 << 10];
        let mut messages: Vec<Vec<u8>> = Vec::new();
        loop {
            let count = tokio::select! {
                count = tokio::time::timeout(self.config.idle_timeout.get(), stream.read(&mut buffer)) => match count {
                    Ok(Ok(count)) => count,
                    Ok(Err(err)) => return Err(err.to_string()),
                    Err(_) => 0,
                },
                () = stop.cancelled() => 0,
            };
            let fed = framer.feed(&buffer[..count], &mut |message| messages.push(message.to_vec()));
            if count == 0 {
                framer.end(&mut |message| messages.push(message.to_vec()));
            }
            for message in messages.drain(..) {
                if let Some(incoming) = self.entry(&message, peer.ip(), &mut maps)
                    && !self.intake.put(incoming).await
                {
                    return Ok(());
                }
            }
            fed.map_err(|err| err.to_string())?;
            if count == 0 {
                return Ok(());
            }
        }
    }

    async fn receive(&self, socket: UdpSocket, stop: CancellationToken) -> std::io::Result<()> {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut maps = LabelMaps::default();
        let mut losses = Losses::default();
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = stop.cancelled() => return Ok(()),
            };
            let (len, peer) = match received {
                Ok(received) => received,
                // A sender's port was closed: says nothing about the next datagram.
                Err(_) => continue,
            };
            let end = buffer[..len].iter().rposition(|b| !matches!(b, b'\n' | b'\r' | 0)).map_or(0, |at| at + 1);
            let message = &buffer[..end.min(self.config.max_message_length)];
            if let Some(incoming) = self.entry(message, peer.ip(), &mut maps)
                && !self.intake.try_put(incoming)
            {
                self.metrics.datagrams_lost.fetch_add(1, Ordering::Relaxed);
                losses.count(&self.job, "datagrams are lost: the server is too slow for them");
            }
        }
    }

    /// `None` for what is no message, or has no text.
    fn entry(&self, bytes: &[u8], peer: IpAddr, maps: &mut LabelMaps) -> Option<Incoming> {
        let now_ns = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let parsed = match self.config.syslog_format {
            SyslogFormat::Rfc5424 => parse_rfc5424(bytes),
            SyslogFormat::Rfc3164 => parse_rfc3164(bytes, now_ns),
        };
        let Some(message) = parsed else {
            self.metrics.syslog_errors.fetch_add(1, Ordering::Relaxed);
            debug!(job = self.job, %peer, message = %String::from_utf8_lossy(bytes), "not a syslog message");
            return None;
        };
        let Some(text) = message.text.filter(|text| !text.is_empty()) else {
            self.metrics.syslog_empty.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.metrics.syslog_entries.fetch_add(1, Ordering::Relaxed);
        let line = if self.config.use_rfc5424_message { bytes } else { text };
        let mut labels = labels(&message, peer, &self.config);
        if let Some(name) = self.names.as_ref().and_then(|names| names.get(peer.to_canonical())) {
            labels.insert("__syslog_connection_hostname".to_owned(), name.as_ref().to_owned());
        }
        Some(Incoming {
            labels: maps.share(labels),
            line: line.to_vec(),
            timestamp_ns: message.timestamp_ns.filter(|_| self.config.use_incoming_timestamp),
            metadata: Vec::new(),
            receipt: None,
            place: 0,
        })
    }
}

/// Equal label maps of a connection, held once.
#[derive(Default)]
struct LabelMaps(HashMap<LabelMap, Arc<LabelMap>>);

impl LabelMaps {
    fn share(&mut self, labels: LabelMap) -> Arc<LabelMap> {
        if let Some(shared) = self.0.get(&labels) {
            return shared.clone();
        }
        if self.0.len() >= LABEL_MAPS_MAX {
            self.0.clear();
        }
        let shared = Arc::new(labels.clone());
        self.0.insert(labels, shared.clone());
        shared
    }
}

/// What rules may look at.
fn labels(message: &Message<'_>, peer: IpAddr, config: &SyslogConfig) -> LabelMap {
    let mut labels: BTreeMap<String, String> = label_map(&config.labels);
    let mut set = |name: &str, value: Option<&str>| {
        labels.extend(value.map(|value| (format!("__syslog_{name}"), value.to_owned())));
    };
    set("connection_ip_address", Some(&peer.to_canonical().to_string()));
    set("message_severity", Some(message.severity_name()));
    set("message_facility", Some(message.facility_name()));
    set("message_hostname", message.hostname);
    set("message_app_name", message.app_name);
    set("message_proc_id", message.proc_id);
    set("message_msg_id", message.msg_id);
    if config.label_structured_data {
        for (element, name, value) in &message.structured_data {
            let name: String = format!("message_sd_{element}_{name}")
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
                .collect();
            set(&name, Some(value));
        }
    }
    labels
}
