//! `delete`: entries that somebody wants gone; `cache/generation_numbers`.
//!
//! Like Loki's, these routes exist only where retention is on and `compactor.delete_request_store` is set. Deleted
//! entries are hidden at once; storage removes them when the request can no longer be taken back.
//!
//! Source: contract http-api.md, 1.16.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use logstack_config::DeletionMode;
use logstack_go::units::{GoDuration, parse_go_duration, parse_int, parse_rfc3339_nano};
use tracing::{error, info};

use super::app::{App, now_ns};
use super::json::JsonWriter;
use super::params::Params;
use super::respond;
use crate::model::{TenantId, TimeRange};
use crate::storage::DeleteError;
use crate::storage::deletes::DeleteRequest;

const SECOND_NS: i64 = 1_000_000_000;
const REQUEST_ID: &str = "x-delete-request-id";

/// Why a request was not done: status and text.
type Refusal = (StatusCode, String);

fn refuse<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err((StatusCode::BAD_REQUEST, text.into()))
}

/// Creates a request.
pub async fn create(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(try_create(app, request).await)
}

async fn try_create(app: Arc<App>, request: Request) -> Result<Response, Refusal> {
    let (tenant, params) = enter(&app, &request)?;
    let max_interval_ns = app.config.compactor.delete_max_interval.as_nanos();
    let (query, range) = read_request(&params, now_ns(), max_interval_ns)?;
    let store = app.store.clone();
    let created = blocking(move || store.delete(&tenant, &query, range)).await?;
    match created {
        Ok(created) => {
            info!(id = created.id, tenant = created.tenant, query = created.query, "entries are to be deleted");
            let mut response = StatusCode::NO_CONTENT.into_response();
            if let Ok(id) = HeaderValue::from_str(&created.id) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            Ok(response)
        }
        Err(DeleteError::Query(_)) => refuse("invalid query expression"),
        Err(DeleteError::Storage(failure)) => Err(internal(&failure)),
    }
}

/// What is to be deleted: the query, and a range with both ends.
fn read_request(params: &Params, now_ns: i64, max_interval_ns: i64) -> Result<(String, TimeRange), Refusal> {
    let Some(query) = params.get("query") else { return refuse("query not set") };
    let Ok(expr) = logstack_logql::parse_log_selector(query) else {
        return refuse("invalid query expression");
    };
    let Some(start) = params.get("start") else { return refuse("start time not set") };
    let start_ns = instant(start, "start")?;
    let end_ns = match params.get("end") {
        Some(end) => instant(end, "end")?,
        None => now_ns,
    };
    if end_ns > now_ns {
        return refuse("deletes in the future are not allowed");
    }
    if start_ns >= end_ns {
        return refuse("start time can't be greater than or equal to end time");
    }
    // Parts of a request are a matter of how Loki works through it; here it is one.
    if let Some(text) = params.get("max_interval").filter(|_| !expr.stages.is_empty()) {
        let Ok(interval_ns) = parse_go_duration(text) else {
            return refuse("invalid max_interval: valid time units are 's', 'm', 'h'");
        };
        if max_interval_ns > 0 && interval_ns > max_interval_ns {
            return refuse(format!("max_interval can't be greater than {}", GoDuration(max_interval_ns)));
        }
        let length_ns = end_ns.saturating_sub(start_ns);
        if interval_ns > length_ns {
            let length = GoDuration(length_ns);
            return refuse(format!("max_interval can't be greater than the interval to be deleted ({length})"));
        }
    }
    Ok((query.to_owned(), TimeRange { first_ns: start_ns, last_ns: end_ns }))
}

/// Unix seconds of ten digits, or RFC 3339.
fn instant(text: &str, name: &str) -> Result<i64, Refusal> {
    let seconds = || (text.len() == 10).then(|| parse_int(text).ok()).flatten();
    let ns = seconds().map(|seconds| seconds * SECOND_NS).or_else(|| parse_rfc3339_nano(text).ok());
    match ns {
        Some(ns) => Ok(ns),
        None => refuse(format!("invalid {name} time: require unix seconds or RFC3339 format")),
    }
}

/// Lists the requests.
pub async fn list(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(try_list(&app, &request))
}

fn try_list(app: &App, request: &Request) -> Result<Response, Refusal> {
    let (tenant, params) = enter(app, request)?;
    let first_ns = params.get("start").map_or(Ok(i64::MIN), |text| instant(text, "start"))?;
    let last_ns = params.get("end").map_or(Ok(i64::MAX), |text| instant(text, "end"))?;
    let asked = TimeRange { first_ns, last_ns };
    let mut json = JsonWriter::default();
    json.begin_array();
    for own in app.store.delete_requests(&tenant) {
        if asked.overlaps(&TimeRange { first_ns: own.first_ns, last_ns: own.last_ns }) {
            write_request(&mut json, &own);
        }
    }
    json.end_array();
    let mut body = json.finish();
    body.push(b'\n');
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

fn write_request(json: &mut JsonWriter, own: &DeleteRequest) {
    json.begin_object();
    json.key("request_id");
    json.string(&own.id);
    // Whole seconds: logcli decodes into integers, and fails on what Loki writes itself.
    json.key("start_time");
    json.integer(own.first_ns.div_euclid(SECOND_NS));
    json.key("end_time");
    json.integer(own.last_ns.div_euclid(SECOND_NS));
    json.key("query");
    json.string(&own.query);
    json.key("status");
    json.string(if own.is_processed { "processed" } else { "received" });
    json.key("created_at");
    json.integer(own.created_ns.div_euclid(SECOND_NS));
    json.key("user_id");
    json.string("");
    json.end_object();
}

/// Takes a request back.
pub async fn cancel(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(try_cancel(app, request).await)
}

async fn try_cancel(app: Arc<App>, request: Request) -> Result<Response, Refusal> {
    let (tenant, params) = enter(&app, &request)?;
    // Loki takes all of them back when none is named.
    let Some(id) = params.get("request_id").map(str::to_owned) else { return refuse("request_id not set") };
    let known = app.store.delete_requests(&tenant).into_iter().find(|own| own.id == id);
    let not_found = || (StatusCode::NOT_FOUND, "could not find delete request with given id".to_owned());
    let known = known.ok_or_else(not_found)?;
    if known.is_processed {
        return refuse("deletion of request which is in process or already processed is not allowed");
    }
    let period_ns = app.config.compactor.delete_request_cancel_period.as_nanos();
    let is_late = now_ns() > known.created_ns.saturating_add(period_ns);
    if is_late && params.get("force") != Some("true") {
        return refuse(format!(
            "Cancellation of partially completed delete request or delete request past the deadline of {} since its \
             creation is not allowed. To force, use the ?force query parameter",
            GoDuration(period_ns)
        ));
    }
    let store = app.store.clone();
    match blocking(move || store.cancel_delete(&tenant, &id)).await? {
        Ok(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(false) => Err(not_found()),
        Err(failure) => Err(internal(&failure)),
    }
}

/// `cache/generation_numbers`: there is no cache of results that a number could expire.
pub async fn generation_numbers(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match app.tenancy.tenant(&headers) {
        Ok(_) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], "\"\"\n").into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Who asks, and with what in the URL.
fn enter(app: &App, request: &Request) -> Result<(TenantId, Params), Refusal> {
    if !app.config.retention_enabled() || app.config.compactor.delete_request_store.is_empty() {
        return Err((StatusCode::NOT_FOUND, "404 page not found".to_owned()));
    }
    let tenant = app.tenancy.tenant(request.headers()).map_err(|refusal| (refusal.status(), refusal.to_string()))?;
    let limits = app.limits_of(std::slice::from_ref(&tenant));
    if limits.deletion_mode == DeletionMode::Disabled {
        return Err((StatusCode::FORBIDDEN, "deletion is not available for this tenant".to_owned()));
    }
    let params = Params::read(request.uri(), &HeaderMap::new(), &Bytes::new());
    Ok((tenant, params))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|failure| internal(&failure))
}

fn internal(failure: &dyn std::fmt::Display) -> Refusal {
    error!(error = %failure, "a delete request failed");
    (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string())
}

fn answer(outcome: Result<Response, Refusal>) -> Response {
    outcome.unwrap_or_else(|(status, text)| respond::error(status, format!("{text}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_to_be_deleted() {
        #[track_caller]
        fn check(query: &str, want: Result<(i64, i64), &str>) {
            let params = Params::read(&format!("/x?{query}").parse().unwrap(), &HeaderMap::new(), &Bytes::new());
            let got = read_request(&params, 2_000_000_000 * SECOND_NS, 24 * 3600 * SECOND_NS);
            let got = got.map(|(_, range)| (range.first_ns / SECOND_NS, range.last_ns / SECOND_NS));
            assert_eq!(got.map_err(|(_, text)| text), want.map_err(str::to_owned), "{query}");
        }
        let selector = "query=%7Bapp%3D%22x%22%7D";
        let filter = "query=%7Bapp%3D%22x%22%7D%7C%3D%22y%22";
        check("", Err("query not set"));
        check("query=%7B", Err("invalid query expression"));
        check("query=rate(%7Bapp%3D%22x%22%7D%5B1m%5D)", Err("invalid query expression"));
        check(selector, Err("start time not set"));
        check(&format!("{selector}&start=1000000000"), Ok((1_000_000_000, 2_000_000_000)));
        check(&format!("{selector}&start=2001-09-09T01:46:40Z&end=1000000009"), Ok((1_000_000_000, 1_000_000_009)));
        let bad_start = "invalid start time: require unix seconds or RFC3339 format";
        check(&format!("{selector}&start=1000000000000000000"), Err(bad_start));
        let bad_end = "invalid end time: require unix seconds or RFC3339 format";
        check(&format!("{selector}&start=1000000000&end=now"), Err(bad_end));
        let in_future = "deletes in the future are not allowed";
        check(&format!("{selector}&start=1000000000&end=2000000001"), Err(in_future));
        let no_range = "start time can't be greater than or equal to end time";
        check(&format!("{selector}&start=1000000000&end=1000000000"), Err(no_range));
        check(&format!("{filter}&start=1000000000&end=1000007200&max_interval=1h"), Ok((1_000_000_000, 1_000_007_200)));
        let bad_interval = "invalid max_interval: valid time units are 's', 'm', 'h'";
        check(&format!("{filter}&start=1000000000&max_interval=1d"), Err(bad_interval));
        let too_long = "max_interval can't be greater than 24h0m0s";
        check(&format!("{filter}&start=1000000000&max_interval=25h"), Err(too_long));
        let longer = "max_interval can't be greater than the interval to be deleted (1h0m0s)";
        check(&format!("{filter}&start=1000000000&end=1000003600&max_interval=2h"), Err(longer));
    }
}
