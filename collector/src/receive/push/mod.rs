//! `loki_push_api`: takes what Loki's clients push, on a port of its own.
//!
//! ```text
//! POST /loki/api/v1/push        protobuf in snappy, JSON, gzip
//! POST /promtail/api/v1/raw     an entry a line, at the time it comes
//! GET  /ready
//! ```
//!
//! A request is answered 204 when the server has its entries, or nobody wants them: a sender that waits for the answer
//! loses nothing. It is answered 429 when there is no room.

pub mod decode;

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use logstack_config::GoDuration;
use logstack_config::collector::{CollectorServer, PushApiConfig};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::intake::{Incoming, Intake};
use super::{ReceiveMetrics, SourceError, label_map};
use crate::buffer::Buffer;
use crate::discovery::relabel::LabelMap;
use crate::listen;
use crate::receipt::Progress;
use decode::{Entry, Stream};

/// A request waits this long for room before it is told to come again.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// How often a request looks whether its entries are acknowledged.
const SETTLE_PERIOD: Duration = Duration::from_millis(10);

/// Opens the socket of a configuration.
///
/// # Errors
/// An address that cannot be listened on.
pub fn bind(config: &PushApiConfig) -> Result<TcpListener, SourceError> {
    let host = match config.server.http_listen_address.as_str() {
        "" => "0.0.0.0",
        host => host,
    };
    let address = (host, config.server.http_listen_port);
    let cannot = |err: std::io::Error| {
        SourceError::new("loki_push_api.server.http_listen_port", format!("{host}:{}: {err}", address.1))
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    Ok(listener)
}

/// A receiver of pushes.
pub struct PushApi {
    /// As configured.
    pub config: PushApiConfig,
    /// Of the job.
    pub job: String,
    /// Where entries go.
    pub intake: Intake,
    /// The disk buffer, if entries go there.
    pub buffer: Option<Arc<Buffer>>,
    /// Counters.
    pub metrics: Arc<ReceiveMetrics>,
    /// Requests that wait give up.
    pub stop: CancellationToken,
}

impl PushApi {
    /// Receives until cancelled.
    pub async fn run(self, listener: TcpListener) {
        let (job, stop, server) = (self.job.clone(), self.stop.clone(), self.config.server.clone());
        // A push takes as long as the server behind needs; it has a patience of its own.
        let server = CollectorServer { http_server_write_timeout: GoDuration::ZERO, ..server };
        let prefix = self.config.server.http_path_prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let bytes_max = self.config.max_send_msg_size.as_usize();
        let router = Router::new()
            .route(&format!("{prefix}/loki/api/v1/push"), post(push))
            .route(&format!("{prefix}/promtail/api/v1/raw"), post(raw))
            .route(&format!("{prefix}/ready"), get(|| async { "ready\n" }))
            .layer(DefaultBodyLimit::max(bytes_max))
            .with_state(Arc::new(self));
        let outcome = async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listen::serve(listener, router, &server, stop).await
        };
        if let Err(err) = outcome.await {
            warn!(job, error = %err, "the push receiver ended");
        }
    }

    /// Hands the entries over and waits until they are acknowledged.
    async fn take(&self, streams: Vec<Stream>, keeps_time: bool) -> Response {
        if self.buffer.as_ref().is_some_and(|buffer| !buffer.has_room()) {
            return no_room("the disk buffer is full\n");
        }
        let progress = Progress::new(0);
        let request = progress.chunk(1);
        for Stream { labels, entries } in streams {
            let mut all: LabelMap = labels;
            all.extend(label_map(&self.config.labels));
            let labels = Arc::new(all);
            for Entry { timestamp_ns, line, metadata } in entries {
                self.metrics.push_entries.fetch_add(1, Ordering::Relaxed);
                let incoming = Incoming {
                    labels: labels.clone(),
                    line,
                    timestamp_ns: keeps_time.then_some(timestamp_ns),
                    metadata,
                    receipt: Some(request.share()),
                    place: 0,
                };
                match tokio::time::timeout(ROOM_PATIENCE, self.intake.put(incoming)).await {
                    Ok(true) => {}
                    Ok(false) => {
                        return (StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping\n").into_response();
                    }
                    Err(_) => return no_room("no room: the server behind the collector is too slow\n"),
                }
            }
        }
        request.settle();
        let patience = self.config.server.http_server_write_timeout.get().max(Duration::from_secs(1));
        let settled = async {
            while !progress.is_settled() {
                tokio::time::sleep(SETTLE_PERIOD).await;
            }
        };
        match tokio::time::timeout(patience, settled).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(_) => {
                let text = "not acknowledged by the server behind the collector in time\n";
                (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        }
    }
}

fn no_room(text: &'static str) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], text).into_response()
}

async fn push(State(api): State<Arc<PushApi>>, headers: HeaderMap, body: Bytes) -> Response {
    let bytes_max = api.config.max_send_msg_size.as_usize();
    let body = match decompressed(&headers, body, bytes_max) {
        Ok(body) => body,
        Err(reason) => return refused(&reason),
    };
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let streams = match media_type.split(';').next().map(str::trim) {
        Some("application/json") => decode::json(&body),
        _ => decode::protobuf(&body, bytes_max),
    };
    match streams {
        Ok(streams) => api.take(streams, api.config.use_incoming_timestamp).await,
        Err(err) => refused(&err.to_string()),
    }
}

async fn raw(State(api): State<Arc<PushApi>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = match decompressed(&headers, body, api.config.max_send_msg_size.as_usize()) {
        Ok(body) => body,
        Err(reason) => return refused(&reason),
    };
    let lines = body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let entries = lines.filter(|line| !line.is_empty());
    let entries = entries.map(|line| Entry { line: line.to_vec(), ..Entry::default() }).collect();
    api.take(vec![Stream { labels: LabelMap::new(), entries }], false).await
}

fn refused(reason: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response()
}

fn decompressed(headers: &HeaderMap, body: Bytes, bytes_max: usize) -> Result<Bytes, String> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut out = Vec::new();
    let limit = bytes_max as u64 + 1;
    let read = match encoding {
        "gzip" => flate2::read::MultiGzDecoder::new(&body[..]).take(limit).read_to_end(&mut out),
        "deflate" => flate2::read::ZlibDecoder::new(&body[..]).take(limit).read_to_end(&mut out),
        // Snappy is part of the protobuf form.
        "" | "identity" | "snappy" => return Ok(body),
        other => return Err(format!("Content-Encoding {other:?} is not understood")),
    };
    read.map_err(|err| format!("body cannot be decompressed: {err}"))?;
    if out.len() > bytes_max {
        return Err("body is larger than max_send_msg_size when decompressed".to_owned());
    }
    Ok(out.into())
}
