//! `labels`, `label/{name}/values`, `series`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use logstack_go::units::PrometheusDuration;

use super::app::{App, Read};
use super::json::JsonWriter;
use super::params::Bounds;
use super::respond;
use crate::model::TimeRange;
use crate::query::Error;
use crate::query::catalog::{is_everything, parse_selector};

impl Bounds {
    /// The end is not included; an instant is.
    pub fn range(self) -> TimeRange {
        let last_ns = if self.end_ns > self.start_ns { self.end_ns - 1 } else { self.end_ns };
        TimeRange { first_ns: self.start_ns, last_ns }
    }
}

/// Label names.
pub async fn names(State(app): State<Arc<App>>, read: Read) -> Response {
    match list_names(&app, &read).await {
        Ok(names) => respond::json(list(&names)),
        Err(error) => error.into_response(),
    }
}

pub(super) async fn list_names(app: &App, read: &Read) -> Result<Vec<String>, Error> {
    let range = index_range(read)?;
    let selector = parse_selector(read.params.get("query"))?;
    let (names, _) = read.run(app, move |engine, caller, _| engine.label_names(caller, &selector, range)).await?;
    Ok(names)
}

/// The range of a question to the index. One that ends before it starts gets the answer that Loki gives here.
fn index_range(read: &Read) -> Result<TimeRange, Error> {
    let bounds = read.params.bounds_unchecked(read.caller.now_ns)?;
    if bounds.end_ns < bounds.start_ns {
        let lookback = PrometheusDuration(read.caller.limits.max_query_lookback.as_nanos());
        return Err(Error::Refused(format!(
            "this data is no longer available, it is past now - max_query_lookback ({lookback})"
        )));
    }
    Ok(bounds.range())
}

/// Values of a label.
pub async fn values(State(app): State<Arc<App>>, Path(name): Path<String>, read: Read) -> Response {
    match list_values(&app, &read, name).await {
        Ok(values) => respond::json(list(&values)),
        Err(error) => error.into_response(),
    }
}

async fn list_values(app: &App, read: &Read, name: String) -> Result<Vec<String>, Error> {
    let range = index_range(read)?;
    let selector = parse_selector(read.params.get("query"))?;
    let (values, _) =
        read.run(app, move |engine, caller, _| engine.label_values(caller, &name, &selector, range)).await?;
    Ok(values)
}

/// `{"status":"success","data":[…]}`, without `data` when there is none: some clients choke on `null`, none on this.
fn list(texts: &[String]) -> JsonWriter {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("status");
    json.string("success");
    if !texts.is_empty() {
        json.key("data");
        json.begin_array();
        texts.iter().for_each(|text| json.string(text));
        json.end_array();
    }
    json.end_object();
    json
}

/// Label sets.
pub async fn series(State(app): State<Arc<App>>, read: Read) -> Response {
    match list_series(&app, &read).await {
        Ok(json) => respond::json(json),
        Err(error) => error.into_response(),
    }
}

async fn list_series(app: &App, read: &Read) -> Result<JsonWriter, Error> {
    let range = index_range(read)?;
    let texts: Vec<&str> = read.params.all("match[]").chain(read.params.all("match")).collect();
    let selectors = match texts[..] {
        [one] if is_everything(one) => Vec::new(),
        _ => texts.iter().map(|text| parse_selector(Some(text))).collect::<Result<Vec<_>, _>>()?,
    };
    let (series, _) = read.run(app, move |engine, caller, _| engine.series(caller, &selectors, range)).await?;
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("status");
    json.string("success");
    json.key("data");
    json.begin_array();
    series.iter().for_each(|labels| json.labels(labels.iter()));
    json.end_array();
    json.end_object();
    Ok(json)
}
