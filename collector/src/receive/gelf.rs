//! `gelf`: Graylog's messages over UDP, whole or in chunks, plain or compressed.
//!
//! Source: Graylog, "GELF via UDP".

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use logstack_config::collector::GelfConfig;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::intake::{Incoming, Intake, Losses};
use super::{ReceiveMetrics, SourceError, label_map, listen_address};
use crate::discovery::relabel::LabelMap;

/// A message in chunks is forgotten when it is not whole after this.
const CHUNK_AGE: Duration = Duration::from_secs(5);
/// Messages that may be incomplete at a time.
const PARTIAL_MAX: usize = 256;
/// Chunks of a message.
const CHUNKS_MAX: u8 = 128;
/// Longest message when decompressed.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Opens the socket of a configuration.
///
/// # Errors
/// An address that cannot be listened on.
pub fn bind(config: &GelfConfig) -> Result<UdpSocket, SourceError> {
    let address = listen_address(&config.listen_address);
    let cannot = |err: std::io::Error| SourceError::new("gelf.listen_address", format!("{address}: {err}"));
    let socket = UdpSocket::bind(&address).map_err(cannot)?;
    socket.set_nonblocking(true).map_err(cannot)?;
    Ok(socket)
}

/// A GELF receiver.
pub struct Gelf {
    /// As configured.
    pub config: GelfConfig,
    /// Of the job.
    pub job: String,
    /// Where entries go.
    pub intake: Intake,
    /// Counters.
    pub metrics: Arc<ReceiveMetrics>,
}

impl Gelf {
    /// Receives until cancelled.
    pub async fn run(self, socket: UdpSocket, stop: CancellationToken) {
        let socket = match tokio::net::UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(err) => return warn!(job = self.job, error = %err, "the GELF receiver cannot listen"),
        };
        let mut buffer = vec![0; 64 << 10];
        let (mut chunks, mut losses) = (Chunks::default(), Losses::default());
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = stop.cancelled() => return,
            };
            let Ok((len, _)) = received else { continue };
            let Some(message) = chunks.add(&buffer[..len], Instant::now()) else { continue };
            match entry(&message, &self.config) {
                Some(incoming) => {
                    self.metrics.gelf_entries.fetch_add(1, Ordering::Relaxed);
                    if !self.intake.try_put(incoming) {
                        self.metrics.datagrams_lost.fetch_add(1, Ordering::Relaxed);
                        losses.count(&self.job, "datagrams are lost: the server is too slow for them");
                    }
                }
                None => {
                    self.metrics.gelf_errors.fetch_add(1, Ordering::Relaxed);
                    debug!(job = self.job, "not a GELF message");
                }
            }
        }
    }
}

/// Messages that are not whole yet: since when, and their parts by number.
#[derive(Default)]
struct Chunks(HashMap<[u8; 8], (Instant, Parts)>);

type Parts = BTreeMap<u8, Vec<u8>>;

impl Chunks {
    /// The message that is whole with this datagram.
    fn add(&mut self, datagram: &[u8], now: Instant) -> Option<Vec<u8>> {
        let Some(rest) = datagram.strip_prefix(b"\x1e\x0f") else { return Some(datagram.to_vec()) };
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let ([number, count], data) = rest.split_first_chunk::<2>()?;
        if *count == 0 || *count > CHUNKS_MAX || number >= count {
            return None;
        }
        if self.0.len() >= PARTIAL_MAX && !self.0.contains_key(id) {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < CHUNK_AGE);
            if self.0.len() >= PARTIAL_MAX {
                return None;
            }
        }
        let (since, parts) = self.0.entry(*id).or_insert_with(|| (now, Parts::new()));
        if now.duration_since(*since) >= CHUNK_AGE {
            (*since, *parts) = (now, Parts::new());
        }
        parts.insert(*number, data.to_vec());
        if parts.len() < usize::from(*count) {
            return None;
        }
        self.0.remove(id).map(|(_, parts)| parts.into_values().flatten().collect())
    }
}

#[derive(Deserialize)]
struct Message {
    version: Option<String>,
    host: Option<String>,
    facility: Option<String>,
    level: Option<i64>,
    timestamp: Option<f64>,
}

/// The line is the whole message, as JSON.
fn entry(bytes: &[u8], config: &GelfConfig) -> Option<Incoming> {
    let line = decompressed(bytes)?;
    let message: Message = serde_json::from_slice(&line).ok()?;
    let mut labels: LabelMap = label_map(&config.labels);
    const LEVELS: [&str; 8] =
        ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
    let level = message.level.and_then(|level| LEVELS.get(usize::try_from(level).ok()?)).map(|name| (*name).to_owned());
    let values =
        [("level", level), ("host", message.host), ("version", message.version), ("facility", message.facility)];
    labels.extend(values.into_iter().filter_map(|(name, value)| Some((format!("__gelf_message_{name}"), value?))));
    let timestamp_ns =
        message.timestamp.filter(|_| config.use_incoming_timestamp).map(|seconds| (seconds * 1e9) as i64);
    Some(Incoming { labels: Arc::new(labels), line, timestamp_ns, metadata: Vec::new(), receipt: None, place: 0 })
}

fn decompressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let limit = MESSAGE_BYTES_MAX as u64;
    match bytes {
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(bytes).take(limit).read_to_end(&mut out).ok()?,
        [0x78, ..] => flate2::read::ZlibDecoder::new(bytes).take(limit).read_to_end(&mut out).ok()?,
        _ => return Some(bytes.to_vec()),
    };
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"version":"1.1","host":"web","short_message":"m","level":3,"timestamp":1.5}"#;

    #[test]
    fn reads_messages() {
        let config = GelfConfig { use_incoming_timestamp: true, ..GelfConfig::default() };
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, MESSAGE.as_bytes()).unwrap();
        for bytes in [MESSAGE.as_bytes().to_vec(), packed.finish().unwrap()] {
            let incoming = entry(&bytes, &config).unwrap();
            assert_eq!((incoming.line.as_slice(), incoming.timestamp_ns), (MESSAGE.as_bytes(), Some(1_500_000_000)));
            let labels: Vec<String> = incoming.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(labels, ["__gelf_message_host=web", "__gelf_message_level=error", "__gelf_message_version=1.1"]);
        }
        assert!(entry(b"nonsense", &config).is_none());
    }

    #[test]
    fn joins_chunks() {
        let now = Instant::now();
        let chunk =
            |number: u8, count: u8, text: &str| [&b"\x1e\x0f12345678"[..], &[number, count], text.as_bytes()].concat();
        let mut chunks = Chunks::default();
        assert_eq!(chunks.add(&chunk(1, 2, "b"), now), None);
        assert_eq!(chunks.add(&chunk(0, 2, "a"), now), Some(b"ab".to_vec()));
        assert_eq!(chunks.add(&chunk(0, 2, "a"), now), None);
        assert_eq!(chunks.add(&chunk(1, 2, "b"), now + CHUNK_AGE), None, "the first part was too old");
        assert_eq!(chunks.add(&chunk(3, 2, "b"), now), None);
        assert_eq!(chunks.add(b"\x1e\x0f1", now), None);
        assert_eq!(chunks.add(b"{}", now), Some(b"{}".to_vec()));
    }
}
