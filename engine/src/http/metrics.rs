//! `/metrics`: the text format of Prometheus, under the names that Loki's dashboards and alerts ask for.
//!
//! Source: contract http-api.md, 1.19; Prometheus, "Exposition formats", version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, header};
use parking_lot::Mutex;

use super::app::App;
use crate::storage::deletes::DeleteRequest;

/// Upper bounds in seconds; the last bucket is `+Inf`.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

/// Requests by method, route and status.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    durations: Mutex<BTreeMap<RequestKey, Arc<Histogram>>>,
    /// Open connections.
    pub connections: Arc<AtomicI64>,
    inflight: Mutex<BTreeMap<(&'static str, String), Arc<AtomicI64>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RequestKey {
    method: &'static str,
    route: String,
    status: u16,
}

/// Counts per bucket, not cumulative.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, seconds: f64) {
        let bucket = BUCKETS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add((seconds * 1e6) as u64, Ordering::Relaxed);
    }
}

/// Lowers the gauge also when the request is dropped on the way.
struct Inflight(Arc<AtomicI64>);

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Measures every request.
pub async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |path| route_name(path.as_str()));
    let gauge = app.metrics.inflight.lock().entry((method, route.clone())).or_default().clone();
    gauge.fetch_add(1, Ordering::Relaxed);
    let inflight = Inflight(gauge);
    let started = Instant::now();
    let response = next.run(request).await;
    drop(inflight);
    let key = RequestKey { method, route, status: response.status().as_u16() };
    let histogram = app.metrics.durations.lock().entry(key).or_default().clone();
    histogram.observe(started.elapsed().as_secs_f64());
    response
}

/// Methods that clients make up must not become time series.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        _ => "other",
    }
}

/// `/loki/api/v1/label/{name}/values` -> `loki_api_v1_label_name_values`
fn route_name(path: &str) -> String {
    let name: String = path.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    match name.trim_matches('/') {
        "" => "other".to_owned(),
        name => name.replace(['/', '-'], "_"),
    }
}

/// Lines of the text format.
#[derive(Debug, Default)]
pub struct TextWriter {
    out: String,
}

impl TextWriter {
    /// The head of a family: help and type (`counter`, `gauge`, `histogram`).
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(name);
        if !labels.is_empty() {
            self.out.push('{');
            for (idx, (label, value)) in labels.iter().enumerate() {
                let comma = if idx > 0 { "," } else { "" };
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(self.out, "{comma}{label}=\"{value}\"");
            }
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// A family with one sample without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }
}

/// `/metrics`.
pub async fn expose(State(app): State<Arc<App>>) -> Response {
    let mut text = TextWriter::default();
    text.family("loki_build_info", "gauge", "What is running.");
    let version = env!("CARGO_PKG_VERSION");
    let build =
        [("version", super::ops::LOKI_VERSION), ("revision", version), ("branch", "logstack"), ("goversion", "")];
    text.sample("loki_build_info", &build, 1.0);
    write_requests(&app.metrics, &mut text);
    write_store(&app, &mut text);
    write_process(&app, &mut text);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut body = text.finish();
    app.ingester.metrics().render(&mut body);
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn write_requests(metrics: &RequestMetrics, text: &mut TextWriter) {
    let name = "loki_request_duration_seconds";
    text.family(name, "histogram", "Time (in seconds) spent serving HTTP requests.");
    let durations = metrics.durations.lock().clone();
    for (key, histogram) in &durations {
        let status = key.status.to_string();
        let labels = [
            ("method", key.method),
            ("route", key.route.as_str()),
            ("status_code", status.as_str()),
            ("ws", if key.route.ends_with("_tail") { "true" } else { "false" }),
        ];
        let mut count = 0;
        for (idx, bucket) in histogram.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = BUCKETS.get(idx).map_or("+Inf".to_owned(), f64::to_string);
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            text.sample(&format!("{name}_bucket"), &labels, count as f64);
        }
        text.sample(&format!("{name}_sum"), &labels, histogram.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
        text.sample(&format!("{name}_count"), &labels, count as f64);
    }
    text.family("loki_tcp_connections", "gauge", "Current number of accepted TCP connections.");
    let connections = metrics.connections.load(Ordering::Relaxed) as f64;
    text.sample("loki_tcp_connections", &[("protocol", "http")], connections);
    text.family("loki_inflight_requests", "gauge", "Current number of inflight requests.");
    for ((method, route), gauge) in &*metrics.inflight.lock() {
        let labels = [("method", *method), ("route", route.as_str())];
        text.sample("loki_inflight_requests", &labels, gauge.load(Ordering::Relaxed) as f64);
    }
}

fn write_store(app: &App, text: &mut TextWriter) {
    write_deletes(app, text);
    let is_good = if app.lifecycle.overrides_are_good() { 1.0 } else { 0.0 };
    let help = "Whether the last runtime-config reload was successful.";
    text.single("loki_runtime_config_last_reload_successful", "gauge", help, is_good);
    // A panic ends the process; dashboards ask all the same.
    text.single("loki_panic_total", "counter", "The total number of panic triggered", 0.0);
    let stats = app.store.stats();
    for (name, kind, help, value) in [
        ("logstack_storage_streams", "gauge", "Streams known to the index.", stats.streams),
        ("logstack_storage_memtable_bytes", "gauge", "Bytes in memtables.", stats.memtable_bytes),
        ("logstack_storage_memtable_rows", "gauge", "Entries in memtables.", stats.memtable_rows),
        ("logstack_storage_parts", "gauge", "Parts on disk.", stats.parts),
        ("logstack_storage_part_bytes", "gauge", "Bytes of parts on disk.", stats.part_bytes),
        ("logstack_storage_part_rows", "gauge", "Entries in parts.", stats.part_rows),
        (
            "logstack_storage_part_line_bytes",
            "gauge",
            "Bytes of the lines in parts, uncompressed.",
            stats.part_line_bytes,
        ),
        ("logstack_storage_part_blocks", "gauge", "Blocks in parts.", stats.part_blocks),
        ("logstack_storage_cache_bytes", "gauge", "Bytes in caches for queries.", stats.cache_bytes),
        ("logstack_storage_lost_parts", "gauge", "Parts that were missing or damaged at start.", stats.lost_parts),
        ("logstack_storage_quarantined_files_total", "counter", "Damaged files set aside.", stats.quarantined_files),
        ("logstack_storage_flushes_total", "counter", "Memtables written to parts.", stats.flushes),
        ("logstack_storage_merges_total", "counter", "Merges of parts.", stats.merges),
        ("logstack_storage_merged_rows_total", "counter", "Entries that merges have read.", stats.merged_rows),
        (
            "logstack_storage_copied_rows_total",
            "counter",
            "Of the merged entries, those in blocks that were copied as they were.",
            stats.copied_rows,
        ),
        (
            "logstack_storage_failures_total",
            "counter",
            "Flushes and merges that failed and are retried.",
            stats.failures,
        ),
    ] {
        text.single(name, kind, help, value as f64);
    }
    let dropped = "logstack_storage_dropped_rows_total";
    text.family(dropped, "counter", "Entries that were stored and are no more, by reason.");
    for (reason, rows) in [
        ("retention_time", stats.expired_rows),
        ("retention_size", stats.evicted_rows),
        ("delete_request", stats.deleted_rows),
        ("duplicate", stats.duplicate_rows),
        ("damage", stats.lost_rows),
    ] {
        text.sample(dropped, &[("reason", reason)], rows as f64);
    }
    text.single(
        "logstack_query_memory_bytes",
        "gauge",
        "Memory that running queries hold.",
        app.engine.memory_bytes() as f64,
    );
    let tails = app.tails.active() as f64;
    text.single("loki_querier_tail_active", "gauge", "Number of active tailers.", tails);
    let streams = app.tails.watched_streams() as f64;
    text.single("loki_querier_tail_active_streams", "gauge", "Number of active streams being tailed.", streams);
    let sent = app.tails.sent_bytes.load(Ordering::Relaxed) as f64;
    text.single("loki_querier_tail_bytes_total", "counter", "Total bytes tailed.", sent);
    let dropped = app.tails.dropped_lines.load(Ordering::Relaxed) as f64;
    text.single("logstack_tail_dropped_lines_total", "counter", "Lines that tails were too slow for.", dropped);
    if let Some(patterns) = &app.patterns {
        let stats = patterns.stats();
        let templates = stats.templates as f64;
        text.single("logstack_patterns_templates", "gauge", "Templates in memory.", templates);
        let (looked_at, skipped) = (stats.lines as f64, stats.skipped_lines as f64);
        text.single("logstack_patterns_lines_total", "counter", "Lines that were looked at for patterns.", looked_at);
        text.single("logstack_patterns_skipped_lines_total", "counter", "Lines left out of patterns.", skipped);
    }
    // The mixin's alert wants exactly one process to say so.
    text.single("loki_boltdb_shipper_compactor_running", "gauge", "Value will be 1 if compactor is running.", 1.0);
}

/// Delete requests of all tenants.
fn write_deletes(app: &App, text: &mut TextWriter) {
    let tenants = app.store.tenants();
    let requests: Vec<_> = tenants.iter().map(|tenant| (tenant, app.store.delete_requests(tenant))).collect();
    let pending = || requests.iter().flat_map(|(_, own)| own).filter(|request| !request.is_processed);
    let oldest_ns = pending().map(|request| request.created_ns).min();
    let age_s = oldest_ns.map_or(0.0, |oldest| (super::app::now_ns().saturating_sub(oldest)) as f64 / 1e9);
    let help = "Count of delete requests which are received but have not finished processing yet.";
    text.single("loki_compactor_pending_delete_requests_count", "gauge", help, pending().count() as f64);
    let help = "Age of oldest pending delete request in seconds since they are over their cancellation period";
    text.single("loki_compactor_oldest_pending_delete_request_age_seconds", "gauge", help, age_s);
    for (name, help, is_counted) in [
        (
            "loki_compactor_delete_requests_received_total",
            "Number of delete requests received per user",
            (|_| true) as fn(&DeleteRequest) -> bool,
        ),
        ("loki_compactor_delete_requests_processed_total", "Number of delete requests processed per user", |request| {
            request.is_processed
        }),
    ] {
        text.family(name, "counter", help);
        for (tenant, own) in requests.iter().filter(|(_, own)| !own.is_empty()) {
            let count = own.iter().filter(|request| is_counted(request)).count() as f64;
            text.sample(name, &[("user", tenant.as_str())], count);
        }
    }
}

/// What the kernel says about the process; nothing where there is no `/proc`.
fn write_process(app: &App, text: &mut TextWriter) {
    let uptime = app.started.elapsed().as_secs_f64();
    let started = super::app::now_ns() as f64 / 1e9 - uptime;
    text.single(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        started,
    );
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // Fields behind the command, which may hold blanks: 14 and 15 are ticks, 23 and 24 memory (proc(5)).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    const TICKS_PER_SECOND: f64 = 100.0;
    const PAGE_BYTES: f64 = 4096.0;
    let cpu = (field(14) + field(15)) / TICKS_PER_SECOND;
    text.single("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
    text.single("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(23));
    text.single("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", field(24) * PAGE_BYTES);
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        text.single("process_open_fds", "gauge", "Number of open file descriptors.", files.count() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_routes() {
        assert_eq!(route_name("/loki/api/v1/label/{name}/values"), "loki_api_v1_label_name_values");
        assert_eq!(route_name("/otlp/v1/logs"), "otlp_v1_logs");
        assert_eq!(route_name("/"), "other");
    }

    #[test]
    fn writes_the_text_format() {
        let mut text = TextWriter::default();
        text.family("a_total", "counter", "Things.");
        text.sample("a_total", &[("x", "q\"\\\n"), ("y", "1")], 2.5);
        text.single("b", "gauge", "One.", 7.0);
        assert_eq!(
            text.finish(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\",y=\"1\"} 2.5\n\
             # HELP b One.\n# TYPE b gauge\nb 7\n"
        );
    }

    #[test]
    fn histograms_count_in_the_right_bucket() {
        let histogram = Histogram::default();
        histogram.observe(0.005);
        histogram.observe(0.3);
        histogram.observe(1000.0);
        let counts: Vec<u64> = histogram.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        assert_eq!((counts[0], counts[6], counts[14]), (1, 1, 1));
    }
}
