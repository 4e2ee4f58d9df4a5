//! `detected_labels`, `detected_fields`, `detected_field/{name}/values`. Bare objects, empty ones without keys.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::app::{App, Read};
use super::json::JsonWriter;
use super::respond;
use crate::query::Error;
use crate::query::catalog::parse_selector;
use crate::query::detected::{Field, FieldsQuery};

/// Newest lines that are looked at where the request says nothing.
const LINES_DEFAULT: usize = 100;
/// Most fields or values where the request says nothing.
const FIELDS_DEFAULT: usize = 1000;

/// Index labels with the number of their values.
pub async fn labels(State(app): State<Arc<App>>, read: Read) -> Response {
    match list_labels(&app, &read).await {
        Ok(json) => respond::json(json),
        Err(error) => error.into_response(),
    }
}

async fn list_labels(app: &App, read: &Read) -> Result<JsonWriter, Error> {
    let range = read.params.bounds(read.caller.now_ns)?.range();
    let selector = parse_selector(read.params.get("query"))?;
    let (labels, _) = read.run(app, move |engine, caller, _| engine.detected_labels(caller, &selector, range)).await?;
    let mut json = JsonWriter::default();
    json.begin_object();
    if !labels.is_empty() {
        json.key("detectedLabels");
        json.begin_array();
        for (label, cardinality) in &labels {
            json.begin_object();
            json.key("label");
            json.string(label);
            json.key("cardinality");
            json.integer(*cardinality as u64);
            json.end_object();
        }
        json.end_array();
    }
    json.end_object();
    Ok(json)
}

/// Fields of the newest lines.
pub async fn fields(State(app): State<Arc<App>>, read: Read) -> Response {
    match list_fields(&app, &read).await {
        Ok(json) => respond::json(json),
        Err(error) => error.into_response(),
    }
}

async fn list_fields(app: &App, read: &Read) -> Result<JsonWriter, Error> {
    let query = fields_query(read)?;
    let limit = query.limit;
    let (fields, _) =
        read.run(app, move |engine, caller, control| engine.detected_fields(caller, &query, control)).await?;
    let mut json = JsonWriter::default();
    json.begin_object();
    if !fields.is_empty() {
        json.key("fields");
        json.begin_array();
        fields.iter().for_each(|field| write_field(&mut json, field));
        json.end_array();
        json.key("limit");
        json.integer(limit as u64);
    }
    json.end_object();
    Ok(json)
}

fn write_field(json: &mut JsonWriter, field: &Field) {
    json.begin_object();
    json.key("label");
    json.string(&field.label);
    json.key("type");
    json.string(field.kind.as_str());
    json.key("cardinality");
    json.integer(field.cardinality as u64);
    json.key("parsers");
    if field.parsers.is_empty() {
        // Not `[]`: clients tell "already a label" by it.
        json.null();
    } else {
        json.begin_array();
        field.parsers.iter().for_each(|parser| json.string(parser.as_str()));
        json.end_array();
    }
    if !field.json_path.is_empty() {
        json.key("jsonPath");
        json.begin_array();
        field.json_path.iter().for_each(|key| json.string(key));
        json.end_array();
    }
    json.end_object();
}

/// Values of one field of the newest lines.
pub async fn values(State(app): State<Arc<App>>, Path(name): Path<String>, read: Read) -> Response {
    match list_values(&app, &read, name).await {
        Ok(json) => respond::json(json),
        Err(error) => error.into_response(),
    }
}

async fn list_values(app: &App, read: &Read, name: String) -> Result<JsonWriter, Error> {
    let query = fields_query(read)?;
    let limit = query.limit;
    let (values, _) =
        read.run(app, move |engine, caller, control| engine.detected_values(caller, &name, &query, control)).await?;
    let mut json = JsonWriter::default();
    json.begin_object();
    if !values.is_empty() {
        json.key("limit");
        json.integer(limit as u64);
        json.key("values");
        json.begin_array();
        values.iter().for_each(|value| json.string(value));
        json.end_array();
    }
    json.end_object();
    Ok(json)
}

fn fields_query(read: &Read) -> Result<FieldsQuery, Error> {
    let params = &read.params;
    let bounds = params.bounds(read.caller.now_ns)?;
    let line_limit = params.count("line_limit", LINES_DEFAULT)?;
    let limit = match params.get("field_limit") {
        Some(_) => params.count("field_limit", FIELDS_DEFAULT)?,
        None => params.count("limit", FIELDS_DEFAULT)?,
    };
    Ok(FieldsQuery {
        text: params.get("query").unwrap_or_default().to_owned(),
        start_ns: bounds.start_ns,
        end_ns: bounds.end_ns,
        line_limit,
        limit,
    })
}
