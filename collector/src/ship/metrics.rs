//! What happened to batches, counted for `/metrics` under Promtail's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Upper bounds of `promtail_request_duration_seconds`.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why entries were dropped or changed on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The server refused them, or attempts ran out.
    IngesterError,
    /// 429, and the client is told to drop then.
    RateLimited,
    /// More streams than a batch may have.
    StreamLimited,
    /// Longer than `max_line_size`.
    LineTooLong,
}

impl Reason {
    const ALL: [Self; 4] = [Self::IngesterError, Self::RateLimited, Self::StreamLimited, Self::LineTooLong];

    fn name(self) -> &'static str {
        match self {
            Self::IngesterError => "ingester_error",
            Self::RateLimited => "rate_limited",
            Self::StreamLimited => "stream_limited",
            Self::LineTooLong => "line_too_long",
        }
    }
}

/// Entries and bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    entries: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

type ByReason = Mutex<BTreeMap<(String, Reason), Amount>>;

/// Counters of one client.
#[derive(Debug, Default)]
pub struct ClientMetrics {
    /// Host and port of its URL.
    pub host: String,
    /// Entries acknowledged.
    pub sent_entries: AtomicU64,
    /// Bytes of request bodies acknowledged.
    pub sent_bytes: AtomicU64,
    /// Bytes of request bodies, before they were sent.
    pub encoded_bytes: AtomicU64,
    /// Requests that were sent again.
    pub retries: AtomicU64,
    /// The last answer was that credentials or address are wrong.
    pub misconfigured: AtomicBool,
    retries_by_tenant: Mutex<BTreeMap<String, u64>>,
    dropped: ByReason,
    mutated: ByReason,
    durations: Mutex<BTreeMap<i32, Histogram>>,
}

impl ClientMetrics {
    /// Of the client at `host`.
    pub fn new(host: String) -> Self {
        let metrics = Self { host, ..Self::default() };
        for reason in Reason::ALL {
            // Alerts need the series before the first drop.
            add(&metrics.dropped, "", reason, 0, 0);
            add(&metrics.mutated, "", reason, 0, 0);
        }
        metrics
    }

    /// Entries were dropped.
    pub fn drop_entries(&self, tenant: Option<&str>, reason: Reason, entries: u64, bytes: u64) {
        add(&self.dropped, tenant.unwrap_or_default(), reason, entries, bytes);
    }

    /// An entry lost `bytes`.
    pub fn mutate_entry(&self, tenant: Option<&str>, reason: Reason, bytes: u64) {
        add(&self.mutated, tenant.unwrap_or_default(), reason, 1, bytes);
    }

    /// Entries dropped so far.
    pub fn dropped_entries(&self) -> u64 {
        self.dropped.lock().values().map(|amount| amount.entries).sum()
    }

    /// A request will be sent again.
    pub fn retry(&self, tenant: Option<&str>) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        *self.retries_by_tenant.lock().entry(tenant.unwrap_or_default().to_owned()).or_default() += 1;
    }

    /// A request took so long; `status` -1: it got no answer.
    pub fn observe(&self, status: i32, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let mut durations = self.durations.lock();
        let histogram = durations.entry(status).or_default();
        let place = BUCKETS.partition_point(|bound| *bound < seconds);
        histogram.buckets[place..].iter_mut().for_each(|count| *count += 1);
        histogram.count += 1;
        histogram.seconds += seconds;
    }
}

fn add(map: &ByReason, tenant: &str, reason: Reason, entries: u64, bytes: u64) {
    let mut map = map.lock();
    let amount = map.entry((tenant.to_owned(), reason)).or_default();
    amount.entries += entries;
    amount.bytes += bytes;
}

/// By tenant and reason.
type Amounts = BTreeMap<(String, Reason), Amount>;

/// Appends the text that Prometheus reads, for all clients.
pub fn write(clients: &[std::sync::Arc<ClientMetrics>], out: &mut String) {
    // Writing to a String cannot fail.
    let mut counter = |name: &str, get: &dyn Fn(&ClientMetrics) -> u64| {
        let _ = writeln!(out, "# TYPE {name} counter");
        for client in clients {
            let _ = writeln!(out, "{name}{{host={:?}}} {}", client.host, get(client));
        }
    };
    counter("promtail_encoded_bytes_total", &|c| c.encoded_bytes.load(Ordering::Relaxed));
    counter("promtail_sent_bytes_total", &|c| c.sent_bytes.load(Ordering::Relaxed));
    counter("promtail_sent_entries_total", &|c| c.sent_entries.load(Ordering::Relaxed));
    let mut by_reason = |name: &str, map: &dyn Fn(&ClientMetrics) -> Amounts| {
        for unit in ["entries", "bytes"] {
            let _ = writeln!(out, "# TYPE promtail_{name}_{unit}_total counter");
            for client in clients {
                for ((tenant, reason), amount) in map(client) {
                    let value = if unit == "entries" { amount.entries } else { amount.bytes };
                    let (host, reason) = (&client.host, reason.name());
                    let _ = writeln!(
                        out,
                        "promtail_{name}_{unit}_total{{host={host:?},reason={reason:?},tenant={tenant:?}}} {value}"
                    );
                }
            }
        }
    };
    by_reason("dropped", &|c| c.dropped.lock().clone());
    by_reason("mutated", &|c| c.mutated.lock().clone());
    let _ = writeln!(out, "# TYPE promtail_batch_retries_total counter");
    for client in clients {
        for (tenant, count) in &*client.retries_by_tenant.lock() {
            let _ = writeln!(out, "promtail_batch_retries_total{{host={:?},tenant={tenant:?}}} {count}", client.host);
        }
    }
    let name = "promtail_request_duration_seconds";
    let _ = writeln!(out, "# TYPE {name} histogram");
    for client in clients {
        for (status, histogram) in &*client.durations.lock() {
            let labels = format!("host={:?},status_code=\"{status}\"", client.host);
            for (bound, count) in BUCKETS.iter().zip(&histogram.buckets) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", histogram.seconds);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", histogram.count);
        }
    }
}
