//! The collector's own HTTP server: readiness, metrics under Promtail's names, pages for people.
//!
//! ```text
//! /ready /healthz /metrics /targets /service-discovery /config /reload      below `http_path_prefix`
//! ```
//!
//! Source: contract of the collector, section 6.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use logstack_config::CollectorConfig;
use logstack_config::collector::{CollectorServer, MetricsPerFile};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::View;
use crate::listen;
use crate::ship::metrics as ship_metrics;

/// With more files than this, metrics have no series per file unless somebody asks for them.
const FILE_SERIES_MAX: usize = 1000;
/// Dropped targets of a job that the page shows.
const DROPPED_SHOWN_MAX: usize = 100;

/// A wish to read the configuration again, and where the answer goes.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the pages show; replaced by a reload.
pub struct Shown {
    view: View,
    /// Effective YAML, secrets masked.
    config: String,
    per_file: MetricsPerFile,
    /// `health_check_target: true` was written: ready only with files.
    needs_files: bool,
    reloads: (u64, u64),
}

impl Shown {
    /// Of a collector and its configuration.
    pub fn new(view: View, config: &CollectorConfig) -> Self {
        Self {
            view,
            config: serde_yaml::to_string(config).unwrap_or_else(|err| format!("# cannot be shown: {err}\n")),
            per_file: config.collector.metrics_per_file,
            needs_files: config.server.health_check_target == Some(true),
            reloads: (0, 0),
        }
    }
}

/// The server's side of what is shown.
#[derive(Clone)]
pub struct Pages {
    shown: Arc<RwLock<Shown>>,
    reload: Option<mpsc::Sender<ReloadRequest>>,
    prefix: String,
    /// What links begin with: a proxy may have moved the pages.
    outside: String,
    server: CollectorServer,
}

impl Pages {
    /// `reload` takes wishes of `/reload`; `None`: the route is not served.
    pub fn new(shown: Shown, reload: Option<mpsc::Sender<ReloadRequest>>, server: &CollectorServer) -> Self {
        let with_slash = |path: &str| match path.trim_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        let prefix = with_slash(&server.http_path_prefix);
        let outside = match server.external_url.as_str() {
            "" => prefix.clone(),
            // The path of a whole URL, or what is written without one.
            url => {
                with_slash(url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..])))
            }
        };
        Self { shown: Arc::new(RwLock::new(shown)), reload, prefix, outside, server: server.clone() }
    }

    /// After a reload: what is shown now, or that it failed.
    pub fn reloaded(&self, outcome: Option<Shown>) {
        let mut shown = self.shown.write();
        let (good, bad) = shown.reloads;
        match outcome {
            Some(new) => *shown = Shown { reloads: (good + 1, bad), ..new },
            None => shown.reloads = (good, bad + 1),
        }
    }

    /// Serves until cancelled.
    pub async fn serve(self, listener: TcpListener, cancelled: CancellationToken) -> std::io::Result<()> {
        let server = self.server.clone();
        listen::serve(listener, self.router(), &server, cancelled).await
    }

    fn router(self) -> Router {
        let prefix = self.prefix.clone();
        let at = |path: &str| format!("{prefix}{path}");
        let home = format!("{}/targets", self.outside);
        let mut router = Router::new()
            .route(&at("/"), get(move || async move { Redirect::to(&home) }))
            .route(&at("/ready"), get(ready))
            .route(&at("/healthz"), get(|| async { "ok\n" }))
            .route(&at("/targets"), get(targets))
            .route(&at("/service-discovery"), get(service_discovery))
            .route(&at("/config"), get(config));
        if self.server.register_instrumentation {
            router = router.route(&at("/metrics"), get(metrics));
        }
        if self.reload.is_some() {
            // The charts' sidecar calls it with GET.
            router = router.route(&at("/reload"), any(reload));
        }
        router.with_state(self)
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    let shown = pages.shown.read();
    let problem = problem(&shown);
    match problem {
        None => (StatusCode::OK, "Ready\n").into_response(),
        Some(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response(),
    }
}

fn problem(shown: &Shown) -> Option<String> {
    let view = &shown.view;
    let refused = view.clients.metrics().into_iter().find(|(_, metrics)| metrics.misconfigured.load(Ordering::Relaxed));
    if let Some((name, _)) = refused {
        return Some(format!("Not ready: client {name} is refused: its address or its credentials are wrong"));
    }
    if view.tail.scans.load(Ordering::Relaxed) == 0 {
        return Some("Not ready: files have not been looked for yet".to_owned());
    }
    if shown.needs_files && view.tail.known_files.load(Ordering::Relaxed) == 0 {
        return Some("Not ready: no file is read (health_check_target)".to_owned());
    }
    None
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let text = metrics_text(&pages.shown.read());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn metrics_text(shown: &Shown) -> String {
    let view = &shown.view;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut metric = |name: &str, kind: &str, value: u64| {
        let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
    };
    let tail = &view.tail;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    metric("promtail_config_reload_success_total", "counter", shown.reloads.0);
    metric("promtail_config_reload_fail_total", "counter", shown.reloads.1);
    metric("promtail_files_active_total", "gauge", load(&tail.known_files));
    metric("promtail_targets_active_total", "gauge", view.targets.active().len() as u64);
    metric("logstack_collector_open_files", "gauge", load(&tail.open_files));
    metric("logstack_collector_read_lines_total", "counter", load(&tail.lines));
    metric("logstack_collector_read_bytes_total", "counter", load(&tail.bytes));
    metric("logstack_collector_skipped_generations_total", "counter", load(&tail.skipped_generations));
    metric("logstack_collector_skipped_bytes_total", "counter", load(&tail.skipped_bytes));
    metric("logstack_collector_state_write_errors_total", "counter", load(&tail.state_errors));
    metric("logstack_collector_watch_failures_total", "counter", load(&tail.watch_failures));
    metric("logstack_collector_scans_total", "counter", load(&tail.scans));
    metric("logstack_collector_restart_needed", "gauge", u64::from(!view.restart_keys.is_empty()));
    metric("logstack_collector_in_flight_bytes", "gauge", view.clients.budget().used_bytes() as u64);
    let received = &view.receiving;
    let counters = [
        ("promtail_journal_target_lines_total", &received.journal_lines),
        ("promtail_journal_target_parsing_errors_total", &received.journal_errors),
        ("promtail_syslog_target_entries_total", &received.syslog_entries),
        ("promtail_syslog_target_parsing_errors_total", &received.syslog_errors),
        ("promtail_syslog_empty_messages_total", &received.syslog_empty),
        ("promtail_gelf_target_entries_total", &received.gelf_entries),
        ("promtail_gelf_target_parsing_errors_total", &received.gelf_errors),
        ("logstack_collector_push_entries_total", &received.push_entries),
        ("logstack_collector_datagrams_lost_total", &received.datagrams_lost),
    ];
    counters.into_iter().for_each(|(name, counter)| metric(name, "counter", load(counter)));
    let files = tail.files.lock();
    metric("logstack_collector_lag_bytes", "gauge", files.iter().map(|file| file.lag_bytes).sum());
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "# TYPE promtail_build_info gauge\npromtail_build_info{{version={version:?}}} 1");
    let _ = writeln!(out, "# TYPE promtail_targets_failed_total counter");
    let mut failed = std::collections::BTreeMap::new();
    for (_, found) in view.targets.all() {
        for reason in found.iter().filter_map(|discovered| discovered.outcome.as_ref().err()) {
            *failed.entry(*reason).or_insert(0u64) += 1;
        }
    }
    for (reason, count) in failed {
        let _ = writeln!(out, "promtail_targets_failed_total{{reason={:?}}} {count}", reason.name());
    }
    let has_series = match shown.per_file {
        MetricsPerFile::Always => true,
        MetricsPerFile::Never => false,
        MetricsPerFile::Auto => files.len() <= FILE_SERIES_MAX,
    };
    if has_series {
        type Get = fn(&crate::tail::FileStatus) -> u64;
        // Gauges for all their names: so they are in Promtail.
        let series: [(&str, &str, Get); 3] = [
            ("promtail_read_bytes_total", "gauge", |file| file.read_bytes),
            ("promtail_file_bytes_total", "gauge", |file| file.file_bytes),
            ("promtail_read_lines_total", "counter", |file| file.lines),
        ];
        for (name, kind, get) in series {
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for file in &*files {
                let _ = writeln!(out, "{name}{{path={:?}}} {}", file.path.display().to_string(), get(file));
            }
        }
    }
    drop(files);
    let clients: Vec<_> = view.clients.metrics().into_iter().map(|(_, metrics)| metrics).collect();
    ship_metrics::write(&clients, &mut out);
    if let Some(buffer) = &view.buffer {
        buffer.write_metrics(&mut out);
    }
    view.counters.write(Instant::now(), &mut out);
    out
}

async fn targets(State(pages): State<Pages>) -> Response {
    let shown = pages.shown.read();
    let view = &shown.view;
    let mut body = String::new();
    let files = view.tail.files.lock();
    for (idx, job) in view.jobs.iter().enumerate() {
        let of_job: Vec<_> = files.iter().filter(|file| file.job_idx == idx).collect();
        let _ = write!(
            body,
            "<h2>{} ({}, {} files)</h2><table><tr><th>File</th><th>Position</th><th>Length</th><th>Labels</th></tr>",
            escape(job),
            view.sources.get(idx).copied().unwrap_or_default(),
            of_job.len()
        );
        for file in of_job {
            let _ = write!(
                body,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
                escape(&file.path.display().to_string()),
                file.read_bytes,
                file.file_bytes,
                escape(&file.labels.to_string())
            );
        }
        body.push_str("</table>");
    }
    page("Targets", &pages.outside, &body)
}

async fn service_discovery(State(pages): State<Pages>) -> Response {
    let shown = pages.shown.read();
    let view = &shown.view;
    let mut body = String::new();
    for ((job_idx, source), found) in view.targets.all() {
        let job = view.jobs.get(job_idx).map_or("", String::as_str);
        let active = found.iter().filter(|discovered| discovered.outcome.is_ok()).count();
        let _ = write!(
            body,
            "<h2>{} / {} ({active} of {} active)</h2><table><tr><th>Discovered labels</th><th>Target labels</th></tr>",
            escape(job),
            escape(&source),
            found.len()
        );
        let mut dropped = 0;
        for discovered in found.iter() {
            let outcome = match &discovered.outcome {
                Ok(target) => {
                    format!("<code>{}</code><br>{}", escape(&target.labels.to_string()), escape(target.path.pattern()))
                }
                Err(_) if dropped >= DROPPED_SHOWN_MAX => continue,
                Err(reason) => {
                    dropped += 1;
                    format!("dropped: {}", reason.name())
                }
            };
            let labels: Vec<String> = discovered
                .labels
                .iter()
                .map(|(name, value)| format!("{}={}", escape(name), escape(&format!("{value:?}"))))
                .collect();
            let _ = write!(body, "<tr><td><code>{}</code></td><td>{outcome}</td></tr>", labels.join("<br>"));
        }
        body.push_str("</table>");
    }
    page("Service discovery", &pages.outside, &body)
}

async fn config(State(pages): State<Pages>) -> Response {
    let shown = pages.shown.read();
    let mut text = String::new();
    if !shown.view.restart_keys.is_empty() {
        let _ = writeln!(text, "# changed, and waits for a restart: {}", shown.view.restart_keys.join(", "));
    }
    text.push_str(&shown.config);
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn reload(State(pages): State<Pages>) -> Response {
    let (answer, outcome) = oneshot::channel();
    let Some(sender) = &pages.reload else { return StatusCode::NOT_FOUND.into_response() };
    if sender.send(answer).await.is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the collector is stopping\n").into_response();
    }
    match outcome.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(text)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{text}\n")).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the collector is stopping\n").into_response(),
    }
}

fn page(title: &str, prefix: &str, body: &str) -> Response {
    let style = "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:4px 8px;text-align:left;vertical-align:top}";
    let text = format!(
        "<!doctype html><title>{title}</title><style>{style}</style><p><a href=\"{prefix}/targets\">Targets</a> <a href=\"{prefix}/service-discovery\">Service discovery</a> <a href=\"{prefix}/config\">Configuration</a> <a href=\"{prefix}/metrics\">Metrics</a></p><h1>{title}</h1>{body}"
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
