//! What people and kubelets ask: ready, version, configuration, limits, log level, services, flush, shutdown, rings.
//!
//! Source: contract http-api.md, 1.17 (lists without a ruler) and 1.18.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use logstack_config::{EngineConfig, Limits};
use logstack_go::quote::Quoted;
use logstack_go::units::Rfc3339Nano;
use serde::Serialize;
use tracing::{error, info};

use super::app::{App, Form, Read, now_ns};
use super::json::JsonWriter;
use super::respond;

/// The Loki whose interface this is. Clients compare it to know what they may ask for.
pub const LOKI_VERSION: &str = "3.7.6";

const PLAIN_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `/ready`: recovery is done before the first request is taken, so only a stop makes it say no.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.lifecycle.is_stopping() {
        return respond::error(StatusCode::SERVICE_UNAVAILABLE, "Ingester not ready: stopping\n");
    }
    respond::text("ready\n")
}

/// `/loki/api/v1/status/buildinfo`.
pub async fn buildinfo() -> Response {
    let mut json = JsonWriter::default();
    json.begin_object();
    for (key, value) in [
        ("version", LOKI_VERSION),
        ("revision", env!("CARGO_PKG_VERSION")),
        ("branch", "logstack"),
        ("buildUser", "logstack"),
        ("buildDate", ""),
        ("goVersion", ""),
    ] {
        json.key(key);
        json.string(value);
    }
    json.end_object();
    ([(header::CONTENT_TYPE, PLAIN_JSON)], json.finish()).into_response()
}

/// `/config`: what is in force, as YAML; `mode=defaults`: what would be without a file; `mode=diffs`: what differs.
pub async fn config(State(app): State<Arc<App>>, Form(params): Form) -> Response {
    // Secrets print themselves as `<secret>`.
    match params.get("mode") {
        Some("defaults") => yaml(&EngineConfig::default()),
        Some("diffs") => match logstack_config::differences(&*app.config, &EngineConfig::default()) {
            Ok(differences) => yaml(&differences),
            Err(failure) => internal(&failure),
        },
        _ => yaml(&*app.config),
    }
}

fn yaml(value: &impl Serialize) -> Response {
    match serde_yaml::to_string(value) {
        Ok(text) => respond::text(text),
        Err(failure) => internal(&failure),
    }
}

fn internal(failure: &dyn std::fmt::Display) -> Response {
    respond::error(StatusCode::INTERNAL_SERVER_ERROR, failure.to_string())
}

/// `/config/tenant/v1/limits`: the tenant's limits, as YAML.
pub async fn tenant_limits(read: Read) -> Response {
    yaml(&*read.caller.limits)
}

/// `/loki/api/v1/drilldown-limits`: the limits that Logs Drilldown wants to know, as far as they may be shown.
pub async fn drilldown_limits(State(app): State<Arc<App>>, read: Read) -> Response {
    match drilldown(&app, &read.caller.limits) {
        Ok(body) => ([(header::CONTENT_TYPE, PLAIN_JSON)], body).into_response(),
        Err(failure) => internal(&failure),
    }
}

fn drilldown(app: &App, limits: &Limits) -> Result<String, serde_json::Error> {
    let serde_json::Value::Object(all) = serde_json::to_value(limits)? else { return Ok("{}".to_owned()) };
    let published = &app.config.tenant_limits_allow_publish;
    let shown: serde_json::Map<_, _> = all.into_iter().filter(|(key, _)| published.contains(key)).collect();
    serde_json::to_string(&serde_json::json!({
        "limits": shown,
        "pattern_ingester_enabled": app.config.pattern_ingester.enabled,
        "version": LOKI_VERSION,
    }))
}

/// `/log_level`, read.
pub async fn log_level(State(app): State<Arc<App>>) -> Response {
    let message = format!("Current log level is {}", app.log_level.get());
    message_json(StatusCode::OK, None, &message)
}

/// `/log_level`, changed.
pub async fn set_log_level(State(app): State<Arc<App>>, Form(params): Form) -> Response {
    let level = params.get("log_level").unwrap_or_default();
    if !matches!(level, "debug" | "info" | "warn" | "error") {
        let message = format!("unrecognized log level {}", Quoted(level));
        return message_json(StatusCode::BAD_REQUEST, Some("failed"), &message);
    }
    if !app.log_level.set(level) {
        return message_json(StatusCode::BAD_REQUEST, Some("failed"), "the log level is fixed by the environment");
    }
    info!(level, "log level set");
    message_json(StatusCode::OK, Some("success"), &format!("Log level set to {level}"))
}

fn message_json(code: StatusCode, status: Option<&str>, message: &str) -> Response {
    let mut json = JsonWriter::default();
    json.begin_object();
    if let Some(status) = status {
        json.key("status");
        json.string(status);
    }
    json.key("message");
    json.string(message);
    json.end_object();
    (code, [(header::CONTENT_TYPE, PLAIN_JSON)], json.finish()).into_response()
}

/// `/services`.
pub async fn services(State(app): State<Arc<App>>) -> Response {
    let state = if app.lifecycle.is_stopping() { "Stopping" } else { "Running" };
    let names = ["server", "ingester", "distributor", "querier", "query-frontend", "store", "compactor"];
    respond::text(names.map(|name| format!("{name} => {state}\n")).concat())
}

/// `/flush`: memory to disk.
pub async fn flush(State(app): State<Arc<App>>) -> Response {
    let store = app.store.clone();
    match tokio::task::spawn_blocking(move || store.flush()).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(failure)) => {
            error!(error = %failure, "flush failed");
            internal(&failure)
        }
        Err(failure) => internal(&failure),
    }
}

/// `/ingester/shutdown`: flush, and end the process unless `terminate=false`.
pub async fn shutdown(State(app): State<Arc<App>>, Form(params): Form) -> Response {
    if params.get("flush") != Some("false") {
        let response = flush(State(app.clone())).await;
        if !response.status().is_success() {
            return response;
        }
    }
    if params.get("terminate") != Some("false") {
        app.lifecycle.stop_wanted.notify_one();
    }
    StatusCode::NO_CONTENT.into_response()
}

/// `/ingester/prepare_shutdown`, set.
pub async fn prepare_shutdown(State(app): State<Arc<App>>) -> StatusCode {
    app.lifecycle.prepare_stop(true);
    StatusCode::NO_CONTENT
}

/// `/ingester/prepare_shutdown`, unset.
pub async fn unprepare_shutdown(State(app): State<Arc<App>>) -> StatusCode {
    app.lifecycle.prepare_stop(false);
    StatusCode::NO_CONTENT
}

/// `/ingester/prepare_shutdown`, read.
pub async fn is_prepared(State(app): State<Arc<App>>) -> Response {
    respond::text(if app.lifecycle.stop_is_prepared() { "set\n" } else { "unset\n" })
}

/// The ring pages: one member, always active.
pub async fn ring(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "logstack".to_owned());
    let now = Rfc3339Nano(now_ns()).to_string();
    let address = format!("{}:{}", host, app.config.server.http_listen_port);
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("application/json"));
    if !wants_json {
        let page = format!(
            "<!DOCTYPE html><title>Ring</title><h1>Ring status</h1><table><tr><th>Instance<th>State<th>Address\
             <tr><td>{0}<td>ACTIVE<td>{1}</table>\n",
            escape_html(&host),
            escape_html(&address)
        );
        return ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    }
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("shards");
    json.begin_array();
    json.labels([("id", host.as_str()), ("state", "ACTIVE"), ("address", &address), ("timestamp", &now)]);
    json.end_array();
    json.key("now");
    json.string(&now);
    json.end_object();
    ([(header::CONTENT_TYPE, PLAIN_JSON)], json.finish()).into_response()
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `/prometheus/api/v1/rules`: there is no ruler, so there are no rules.
pub async fn rules(read: Read) -> Response {
    let kind = read.params.get("type").unwrap_or_default();
    if !matches!(kind, "" | "alert" | "record") {
        let mut json = JsonWriter::default();
        json.begin_object();
        json.key("status");
        json.string("error");
        json.key("data");
        json.null();
        json.key("errorType");
        json.string("bad_data");
        json.key("error");
        json.string(&format!("not supported value {}", Quoted(kind)));
        json.end_object();
        return (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, PLAIN_JSON)], json.finish()).into_response();
    }
    empty_list("groups")
}

/// `/prometheus/api/v1/alerts`.
pub async fn alerts(_: Read) -> Response {
    empty_list("alerts")
}

fn empty_list(key: &str) -> Response {
    let body = format!(r#"{{"status":"success","data":{{"{key}":[]}},"errorType":"","error":""}}"#);
    ([(header::CONTENT_TYPE, PLAIN_JSON)], body).into_response()
}
