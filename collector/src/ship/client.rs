//! Sends batches to one client's URL: one request in flight a tenant, so that streams keep their order; retries until
//! the answer is final.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::backoff::Backoff;
use super::batch::Batch;

/// Part of a refusal's text that is logged.
const REASON_BYTES_MAX: usize = 1024;

/// How one client is reached.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// In logs and metrics.
    pub name: String,
    /// Full push URL.
    pub url: reqwest::Url,
    /// `X-Scope-OrgID` of entries without a tenant of their own.
    pub tenant: Option<String>,
    /// Further headers.
    pub headers: reqwest::header::HeaderMap,
    /// Limit of a whole request.
    pub timeout: Duration,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Attempts before a batch is dropped; `None`: until it is through, which is right for files, they can wait.
    pub attempts_max: Option<u32>,
    /// A batch is closed at this many bytes of content …
    pub batch_bytes: usize,
    /// … or this long after its first entry.
    pub batch_wait: Duration,
}

/// What happened to batches, for `/metrics`.
#[derive(Debug, Default)]
pub struct ClientMetrics {
    /// Entries acknowledged.
    pub sent_entries: AtomicU64,
    /// Bytes of request bodies acknowledged.
    pub sent_bytes: AtomicU64,
    /// Entries refused for good.
    pub dropped_entries: AtomicU64,
    /// Requests that were sent again.
    pub retries: AtomicU64,
}

/// What an answer means for the batch.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Stored.
    Acknowledged,
    /// Not now.
    Retry,
    /// The server will never take it; it may have stored a part.
    Refused,
    /// The address or the credentials are wrong: the data is kept, a person has to act.
    Misconfigured,
}

fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Acknowledged,
        401 | 403 | 404 | 405 => Verdict::Misconfigured,
        408 | 429 | 500..=599 => Verdict::Retry,
        _ => Verdict::Refused,
    }
}

/// Sends the batches of one tenant, one after the other, until the channel closes. On `shutdown` a batch that does not
/// get through is given up without being settled: it will be read again.
pub async fn send_all(
    settings: Arc<ClientSettings>,
    tenant: Option<String>,
    http: reqwest::Client,
    metrics: Arc<ClientMetrics>,
    mut batches: mpsc::Receiver<Batch>,
    shutdown: CancellationToken,
) {
    while let Some(batch) = batches.recv().await {
        let body = match snap::raw::Encoder::new().compress_vec(&batch.encode()) {
            Ok(body) => bytes::Bytes::from(body),
            // Snappy's only limit is 4 GiB a block; a batch is bounded far below.
            Err(err) => unreachable!("a batch of {} bytes cannot be compressed: {err}", batch.memory_bytes()),
        };
        let entries = batch.entries as u64;
        let sending = deliver(&settings, tenant.as_deref(), &http, &metrics, &body);
        let acknowledged = tokio::select! {
            acknowledged = sending => acknowledged,
            () = shutdown.cancelled() => return,
        };
        if acknowledged {
            metrics.sent_entries.fetch_add(entries, Ordering::Relaxed);
            metrics.sent_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        } else {
            metrics.dropped_entries.fetch_add(entries, Ordering::Relaxed);
        }
        batch.settle();
    }
}

/// True when acknowledged, false when refused for good.
async fn deliver(
    settings: &ClientSettings,
    tenant: Option<&str>,
    http: &reqwest::Client,
    metrics: &ClientMetrics,
    body: &bytes::Bytes,
) -> bool {
    let mut attempt = 0u32;
    loop {
        let mut request = http
            .post(settings.url.clone())
            .header("Content-Type", "application/x-protobuf")
            .timeout(settings.timeout)
            .headers(settings.headers.clone());
        if let Some(tenant) = tenant.or(settings.tenant.as_deref()) {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let mut retry_after = None;
        let (what, outcome) = match request.body(body.clone()).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                retry_after = response
                    .headers()
                    .get("Retry-After")
                    .and_then(|v| v.to_str().ok()?.parse().ok())
                    .map(Duration::from_secs);
                let mut reason = if status < 300 { String::new() } else { response.text().await.unwrap_or_default() };
                reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
                (verdict(status), format!("{status} {}", reason.trim()))
            }
            Err(err) => (Verdict::Retry, chain(&err)),
        };
        match what {
            Verdict::Acknowledged => return true,
            Verdict::Refused => {
                warn!(client = settings.name, %outcome, "batch refused by the server and dropped");
                return false;
            }
            Verdict::Retry | Verdict::Misconfigured => {}
        }
        attempt += 1;
        if what == Verdict::Retry && settings.attempts_max.is_some_and(|max| attempt >= max) {
            warn!(client = settings.name, attempt, %outcome, "batch dropped after the last attempt");
            return false;
        }
        metrics.retries.fetch_add(1, Ordering::Relaxed);
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
        tokio::time::sleep(delay).await;
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
        for (status, want) in [
            (204, Verdict::Acknowledged),
            (200, Verdict::Acknowledged),
            (400, Verdict::Refused),
            (422, Verdict::Refused),
            (401, Verdict::Misconfigured),
            (404, Verdict::Misconfigured),
            (408, Verdict::Retry),
            (429, Verdict::Retry),
            (503, Verdict::Retry),
        ] {
            assert_eq!(verdict(status), want, "{status}");
        }
    }
}
