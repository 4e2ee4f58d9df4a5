//! `/loki/api/v1/query`, `/loki/api/v1/query_range`, `/loki/api/v1/format_query`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use tracing::debug;

use super::app::{App, Form, Read};
use super::json::JsonWriter;
use super::{encode, respond};
use crate::query::{Answer, Error, InstantQuery, RangeQuery, parse};

const ENCODING_FLAGS: &str = "x-loki-response-encoding-flags";
pub(super) const CATEGORIZE_LABELS: &str = "categorize-labels";

/// `query_range`.
pub async fn range(State(app): State<Arc<App>>, read: Read) -> Response {
    match answer_range(&app, &read).await {
        Ok(answer) => respond::json(encode::answer(&answer, &encoding_flags(&read.headers))),
        Err(error) => error.into_response(),
    }
}

/// Reads the parameters of `query_range` and answers it.
///
/// # Errors
/// Parameters and query.
pub async fn answer_range(app: &App, read: &Read) -> Result<Answer, Error> {
    let query = range_query(read)?;
    let (mut answer, waited) =
        read.run(app, move |engine, caller, control| engine.query_range(caller, &query, control)).await?;
    note(read, &mut answer, waited);
    Ok(answer)
}

/// The parameters of `query_range`.
///
/// # Errors
/// The first that is wrong.
pub fn range_query(read: &Read) -> Result<RangeQuery, Error> {
    let params = &read.params;
    let limit = params.limit()?;
    let direction = params.direction()?;
    let bounds = params.bounds(read.caller.now_ns)?;
    Ok(RangeQuery {
        text: params.get("query").unwrap_or_default().to_owned(),
        start_ns: bounds.start_ns,
        end_ns: bounds.end_ns,
        step_ns: params.step(bounds)?,
        interval_ns: params.interval()?,
        limit,
        direction,
        categorize_labels: encoding_flags(&read.headers).iter().any(|flag| flag == CATEGORIZE_LABELS),
        partial_series: read.is_drilldown(),
        explain: read.shows_warnings(),
    })
}

/// `query`.
pub async fn instant(State(app): State<Arc<App>>, read: Read) -> Response {
    match answer_instant(&app, &read).await {
        Ok(answer) => respond::json(encode::answer(&answer, &[])),
        Err(error) => error.into_response(),
    }
}

async fn answer_instant(app: &App, read: &Read) -> Result<Answer, Error> {
    let params = &read.params;
    params.limit()?;
    params.direction()?;
    let query = InstantQuery {
        text: params.get("query").unwrap_or_default().to_owned(),
        time_ns: params.instant("time")?.unwrap_or(read.caller.now_ns),
        partial_series: read.is_drilldown(),
        explain: read.shows_warnings(),
    };
    let (mut answer, waited) =
        read.run(app, move |engine, caller, control| engine.query(caller, &query, control)).await?;
    note(read, &mut answer, waited);
    Ok(answer)
}

/// The query log, and what only the caller of the engine knows.
fn note(read: &Read, answer: &mut Answer, waited: std::time::Duration) {
    answer.stats.queue_time = waited;
    debug!(
        query = read.params.get("query").unwrap_or_default(),
        tags = ?read.caller.tags,
        seconds = answer.stats.exec_time.as_secs_f64(),
        bytes = answer.stats.bytes,
        lines = answer.stats.lines,
        returned = answer.stats.entries_returned,
        "query answered"
    );
}

/// `format_query`: the query in its canonical layout.
pub async fn format(Form(params): Form) -> Response {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("status");
    match parse(params.get("query").unwrap_or_default()) {
        Ok(expr) => {
            json.string("success");
            json.key("data");
            json.string(&expr.pretty());
            json.end_object();
            respond::json(json)
        }
        Err(error) => {
            json.string("invalid-query");
            json.key("error");
            json.string(&error.to_string());
            json.end_object();
            let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
            (StatusCode::BAD_REQUEST, headers, json.finish()).into_response()
        }
    }
}

/// The flags that the client sent; unknown ones are echoed, as Loki does.
pub(super) fn encoding_flags(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(ENCODING_FLAGS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|flag| !flag.is_empty())
        .map(str::to_owned)
        .collect()
}
