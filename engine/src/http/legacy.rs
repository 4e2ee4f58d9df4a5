//! `/api/prom/*`: reads as Loki 0.x had them. Grafana up to 6 and old scripts ask here.
//!
//! Source: contract http-api.md, 1.20.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use logstack_go::units::Rfc3339Nano;
use logstack_logql::ast::{Expr, LineFilter, LineFilterOp, LineMatch, Stage};

use super::app::{App, Read};
use super::json::JsonWriter;
use super::{labels, query, respond};
use crate::query::{Answer, Data, Error, parse};

/// `query`: log queries only; `regexp` is one more line filter.
pub async fn query(State(app): State<Arc<App>>, read: Read) -> Response {
    match answer(&app, &read).await {
        Ok(answer) => respond::json(encode(&answer)),
        Err(error) => error.into_response(),
    }
}

async fn answer(app: &App, read: &Read) -> Result<Answer, Error> {
    let mut asked = query::range_query(read)?;
    let Expr::Log(mut log) = parse(&asked.text)? else {
        return Err(Error::refused("legacy endpoints only support streams result type, current type is matrix"));
    };
    if let Some(regexp) = read.params.get("regexp") {
        let items = vec![LineMatch::Text(regexp.to_owned())];
        log.stages.insert(0, Stage::LineFilter(LineFilter { op: LineFilterOp::Regex, items }));
        asked.text = Expr::Log(log).to_string();
    }
    let (answer, _) = read.run(app, move |engine, caller, control| engine.query_range(caller, &asked, control)).await?;
    Ok(answer)
}

fn encode(answer: &Answer) -> JsonWriter {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("streams");
    json.begin_array();
    if let Data::Streams(streams) = &answer.data {
        for stream in streams {
            json.begin_object();
            json.key("labels");
            json.string(&stream.labels.to_string());
            json.key("entries");
            json.begin_array();
            for entry in &stream.entries {
                json.begin_object();
                json.key("ts");
                json.string(&Rfc3339Nano(entry.timestamp_ns).to_string());
                json.key("line");
                json.bytes(&entry.line);
                json.end_object();
            }
            json.end_array();
            json.end_object();
        }
    }
    json.end_array();
    json.key("stats");
    super::encode::stats(&mut json, &answer.stats);
    json.end_object();
    json
}

/// `label`: label names.
pub async fn label_names(State(app): State<Arc<App>>, read: Read) -> Response {
    match labels::list_names(&app, &read).await {
        Ok(names) => respond::json(values(&names)),
        Err(error) => error.into_response(),
    }
}

/// `label/{name}/values`: label *names*, whatever the name. That is what the recorded server answers, and what the few
/// scripts that still ask have learnt to live with.
pub async fn label_values(State(app): State<Arc<App>>, Path(_): Path<String>, read: Read) -> Response {
    label_names(State(app), read).await
}

fn values(texts: &[String]) -> JsonWriter {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("values");
    json.begin_array();
    texts.iter().for_each(|text| json.string(text));
    json.end_array();
    json.end_object();
    json
}
