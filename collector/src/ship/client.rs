//! Sends batches to one client's URL: one request in flight a tenant, so that streams keep their order; retries until
//! the answer is final.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::Accounted;
use super::backoff::Backoff;
use super::batch::{Batch, Part, entry_count, halve};
use super::http::Http;
use super::metrics::{ClientMetrics, Reason};

/// Part of a refusal's text that is logged.
const REASON_BYTES_MAX: usize = 1024;
/// Answer 400 with such a text means 413.
const TOO_LARGE_TEXTS: [&str; 2] = ["message too large", "received message larger than max"];

/// How one client is reached.
#[derive(Debug)]
pub struct ClientSettings {
    /// In logs and metrics.
    pub name: String,
    /// Full push URL.
    pub url: reqwest::Url,
    /// `X-Scope-OrgID` of entries without a tenant of their own.
    pub tenant: Option<String>,
    /// Further headers, added where nothing else set them.
    pub headers: HeaderMap,
    /// Labels for entries that do not have them.
    pub external_labels: BTreeMap<String, String>,
    /// The connection.
    pub http: Http,
    /// Limit of a whole request.
    pub timeout: Duration,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Attempts before a batch is dropped; `None`: until it is through, which is right for files, they can wait.
    pub attempts_max: Option<u32>,
    /// Drop a batch that is answered with 429.
    pub drop_rate_limited: bool,
    /// Positions do not wait for this client.
    pub best_effort: bool,
    /// A batch is closed at this many bytes of content …
    pub batch_bytes: usize,
    /// … or this long after its first entry.
    pub batch_wait: Duration,
}

impl ClientSettings {
    /// Host and port of the URL.
    pub fn host(&self) -> String {
        match (self.url.host_str(), self.url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        }
    }
}

/// What an answer means for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Stored.
    Acknowledged,
    /// Not now.
    Retry,
    /// Too much at once.
    RateLimited,
    /// Too large: halves may pass.
    TooLarge,
    /// The server will never take it; it may have stored a part.
    Refused,
    /// The address or the credentials are wrong: the data is kept, a person has to act.
    Misconfigured,
}

fn verdict(status: u16, text: &str) -> Verdict {
    match status {
        200..=299 => Verdict::Acknowledged,
        401 | 403 | 404 | 405 => Verdict::Misconfigured,
        413 => Verdict::TooLarge,
        429 => Verdict::RateLimited,
        408 | 500..=599 => match TOO_LARGE_TEXTS.iter().any(|large| text.contains(large)) {
            true => Verdict::TooLarge,
            false => Verdict::Retry,
        },
        _ if TOO_LARGE_TEXTS.iter().any(|large| text.contains(large)) => Verdict::TooLarge,
        _ => Verdict::Refused,
    }
}

/// What became of a part of a batch.
enum Outcome {
    Acknowledged,
    Dropped(Reason),
    Halve,
    Retired,
}

/// What the sender before left.
async fn inherit(before: Option<SenderTask>) -> VecDeque<Accounted> {
    match before {
        Some(before) => before.await.unwrap_or_default().into(),
        None => VecDeque::new(),
    }
}

/// Sends the batches of one tenant.
pub struct Sending {
    /// Where.
    pub settings: Arc<ClientSettings>,
    /// Counters.
    pub metrics: Arc<ClientMetrics>,
    /// Whose.
    pub tenant: Option<String>,
    /// Batches that do not get through are given up.
    pub shutdown: CancellationToken,
    /// Batches that do not get through are handed to the sender that follows this one.
    pub retired: CancellationToken,
    /// The sender before this one: what it leaves goes first.
    pub before: Option<SenderTask>,
}

/// A sender at work; gives the batches that it leaves to its successor.
pub type SenderTask = JoinHandle<Vec<Accounted>>;

impl Sending {
    /// Sends one batch after the other until the channel closes. On shutdown a batch that does not get through is given
    /// up without being settled: it will be read again.
    pub async fn run(mut self, mut batches: mpsc::UnboundedReceiver<Accounted>) -> Vec<Accounted> {
        let shutdown = self.shutdown.clone();
        let before = self.before.take();
        let mut waiting = tokio::select! {
            waiting = inherit(before) => waiting,
            () = shutdown.cancelled() => return Vec::new(),
        };
        loop {
            let next = match waiting.pop_front() {
                Some(batch) => Some(batch),
                None => batches.recv().await,
            };
            let Some(batch) = next else { return Vec::new() };
            tokio::select! {
                is_done = self.send(batch.batch()) => match is_done {
                    true => batch.settle(),
                    false => {
                        waiting.push_front(batch);
                        // Whoever retired this sender closes the channel.
                        while let Some(batch) = batches.recv().await {
                            waiting.push_back(batch);
                        }
                        return waiting.into();
                    }
                },
                () = shutdown.cancelled() => return Vec::new(),
            }
        }
    }

    /// False when this sender is retired before the batch is through.
    async fn send(&self, batch: &Batch) -> bool {
        let mut parts = vec![batch.whole()];
        while let Some(part) = parts.pop() {
            let raw = batch.encode(&part, &self.settings.external_labels);
            let body = match snap::raw::Encoder::new().compress_vec(&raw) {
                Ok(body) => bytes::Bytes::from(body),
                // Snappy's only limit is 4 GiB a block; a batch is bounded far below.
                Err(err) => unreachable!("a batch of {} bytes cannot be compressed: {err}", raw.len()),
            };
            drop(raw);
            self.metrics.encoded_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
            let entries = entry_count(&part);
            match self.deliver(&body, batch, &part).await {
                Outcome::Acknowledged => {
                    self.metrics.sent_entries.fetch_add(entries, Ordering::Relaxed);
                    self.metrics.sent_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                }
                Outcome::Dropped(reason) => {
                    self.metrics.drop_entries(self.tenant.as_deref(), reason, entries, body.len() as u64);
                }
                Outcome::Retired => return false,
                Outcome::Halve => match halve(&part) {
                    // The first half leaves first: streams keep their order.
                    Some((first, second)) => parts.extend([second, first]),
                    None => {
                        warn!(client = self.settings.name, "an entry is too large for the server and dropped");
                        self.metrics.drop_entries(self.tenant.as_deref(), Reason::IngesterError, 1, body.len() as u64);
                    }
                },
            }
        }
        true
    }

    async fn deliver(&self, body: &bytes::Bytes, batch: &Batch, part: &Part) -> Outcome {
        let settings = &self.settings;
        let mut attempt = 0u32;
        loop {
            let started = Instant::now();
            let (what, text, retry_after) = self.attempt(body).await;
            let (status, outcome) = (text.0, text.1);
            self.metrics.observe(status, started.elapsed());
            self.metrics.misconfigured.store(what == Verdict::Misconfigured, Ordering::Relaxed);
            match what {
                Verdict::Acknowledged => return Outcome::Acknowledged,
                Verdict::TooLarge => return Outcome::Halve,
                Verdict::Refused => {
                    let stream = batch.streams().next().map(ToString::to_string).unwrap_or_default();
                    let entries = entry_count(part);
                    warn!(client = settings.name, %outcome, entries, stream, "batch refused by the server and dropped");
                    return Outcome::Dropped(Reason::IngesterError);
                }
                Verdict::RateLimited if settings.drop_rate_limited => return Outcome::Dropped(Reason::RateLimited),
                Verdict::Misconfigured => settings.http.forget_token(),
                Verdict::Retry | Verdict::RateLimited => {}
            }
            attempt += 1;
            if what != Verdict::Misconfigured && settings.attempts_max.is_some_and(|max| attempt >= max) {
                warn!(client = settings.name, attempt, %outcome, "batch dropped after the last attempt");
                let is_limited = what == Verdict::RateLimited;
                return Outcome::Dropped(if is_limited { Reason::RateLimited } else { Reason::IngesterError });
            }
            self.metrics.retry(self.tenant.as_deref());
            let delay = match (what, retry_after) {
                (Verdict::Misconfigured, _) => settings.backoff.max,
                (_, Some(wanted)) => wanted.min(settings.backoff.max),
                _ => settings.backoff.delay(attempt - 1, share(body, attempt)),
            };
            // The first failure of a batch is worth a line; the rest of an outage would only repeat it.
            if attempt == 1 {
                warn!(client = settings.name, %outcome, ?delay, "push failed, the batch is kept and sent again");
            } else {
                debug!(client = settings.name, attempt, %outcome, ?delay, "push failed again");
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.retired.cancelled() => return Outcome::Retired,
            }
        }
    }

    /// One request. The status is -1 without an answer.
    async fn attempt(&self, body: &bytes::Bytes) -> (Verdict, (i32, String), Option<Duration>) {
        let settings = &self.settings;
        let prepared = async { Ok::<_, super::http::Error>((settings.http.client()?, settings.http.headers().await?)) };
        let (client, own) = match prepared.await {
            Ok(prepared) => prepared,
            Err(err) => return (Verdict::Misconfigured, (-1, chain(&err)), None),
        };
        let mut headers = settings.headers.clone();
        headers.extend(own);
        headers.insert("Content-Type", reqwest::header::HeaderValue::from_static("application/x-protobuf"));
        headers.remove("User-Agent");
        if let Some(tenant) = self.tenant.as_deref().or(settings.tenant.as_deref()) {
            match tenant.parse() {
                Ok(value) => drop(headers.insert("X-Scope-OrgID", value)),
                Err(_) => return (Verdict::Refused, (-1, format!("{tenant:?} cannot be a tenant")), None),
            }
        }
        let request = client.post(settings.url.clone()).timeout(settings.timeout).headers(headers);
        match request.body(body.clone()).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let retry_after = response.headers().get("Retry-After").and_then(|v| v.to_str().ok()?.parse().ok());
                let mut text = if status < 300 { String::new() } else { response.text().await.unwrap_or_default() };
                let what = verdict(status, &text);
                text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
                (what, (i32::from(status), format!("{status} {}", text.trim())), retry_after.map(Duration::from_secs))
            }
            Err(err) => (Verdict::Retry, (-1, chain(&err)), None),
        }
    }
}

/// A draw in `0.0..1.0` that differs between batches and attempts, so that collectors do not retry in step.
fn share(body: &[u8], attempt: u32) -> f64 {
    let hash = xxh3_64(body).rotate_left(attempt) ^ u64::from(std::process::id());
    (xxh3_64(&hash.to_le_bytes()) >> 11) as f64 / (1u64 << 53) as f64
}

fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_by_status() {
        for (status, text, want) in [
            (204, "", Verdict::Acknowledged),
            (200, "", Verdict::Acknowledged),
            (400, "entry too far behind", Verdict::Refused),
            (422, "", Verdict::Refused),
            (401, "", Verdict::Misconfigured),
            (404, "", Verdict::Misconfigured),
            (408, "", Verdict::Retry),
            (413, "", Verdict::TooLarge),
            (429, "", Verdict::RateLimited),
            (503, "", Verdict::Retry),
            (500, "rpc error: grpc: received message larger than max (5 vs. 4)", Verdict::TooLarge),
        ] {
            assert_eq!(verdict(status, text), want, "{status}");
        }
    }
}
