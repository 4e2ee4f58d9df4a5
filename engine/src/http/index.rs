//! `index/stats`, `index/volume`, `index/volume_range`, `index/shards`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use logstack_go::units::parse_bytes;
use logstack_logql::ast::Matcher;

use super::app::{App, Read};
use super::json::JsonWriter;
use super::{encode, respond};
use crate::query::catalog::{IndexStats, VolumeBy, VolumeQuery, Volumes, is_everything, parse_selector};
use crate::query::{Error, Stats};

/// How much a selector matches. A bare object, no envelope.
pub async fn stats(State(app): State<Arc<App>>, read: Read) -> Response {
    match index_stats(&app, &read).await {
        Ok(stats) => {
            let mut json = JsonWriter::default();
            write_stats(&mut json, &stats);
            respond::json(json)
        }
        Err(error) => error.into_response(),
    }
}

async fn index_stats(app: &App, read: &Read) -> Result<IndexStats, Error> {
    let range = read.params.bounds(read.caller.now_ns)?.range();
    let selector = required_selector(read)?;
    let (stats, _) = read.run(app, move |engine, caller, _| engine.index_stats(caller, &selector, range)).await?;
    Ok(stats)
}

fn required_selector(read: &Read) -> Result<Vec<Matcher>, Error> {
    // An absent query is an empty one, which is a syntax error.
    parse_selector(Some(read.params.get("query").unwrap_or_default()))
}

fn write_stats(json: &mut JsonWriter, stats: &IndexStats) {
    json.begin_object();
    for (key, value) in
        [("streams", stats.streams), ("chunks", stats.blocks), ("bytes", stats.bytes), ("entries", stats.entries)]
    {
        json.key(key);
        json.integer(value);
    }
    json.end_object();
}

/// Bytes by labels.
pub async fn volume(State(app): State<Arc<App>>, read: Read) -> Response {
    volume_response(&app, &read, false).await
}

/// Bytes by labels and time.
pub async fn volume_range(State(app): State<Arc<App>>, read: Read) -> Response {
    volume_response(&app, &read, true).await
}

async fn volume_response(app: &App, read: &Read, by_time: bool) -> Response {
    if !read.caller.limits.volume_enabled {
        return respond::error(StatusCode::NOT_FOUND, "not found");
    }
    match volumes(app, read, by_time).await {
        Ok(volumes) => respond::json(write_volumes(&volumes, by_time)),
        Err(error) => error.into_response(),
    }
}

async fn volumes(app: &App, read: &Read, by_time: bool) -> Result<Volumes, Error> {
    let params = &read.params;
    let bounds = params.bounds(read.caller.now_ns)?;
    let text = params.get("query").unwrap_or_default();
    let selector = if is_everything(text) { Vec::new() } else { required_selector(read)? };
    let targets: Vec<String> = params
        .all("targetLabels")
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let by = match params.get("aggregateBy") {
        Some("labels") => VolumeBy::LabelNames(targets),
        None | Some("series") if !targets.is_empty() => VolumeBy::Labels(targets),
        None | Some("series") if selector.is_empty() => VolumeBy::LabelSets,
        None | Some("series") => {
            let mut names: Vec<String> = selector.iter().map(|matcher| matcher.name.clone()).collect();
            names.sort();
            names.dedup();
            VolumeBy::Labels(names)
        }
        Some(_) => return Err(Error::refused("invalid aggregation option")),
    };
    let query = VolumeQuery {
        selector,
        start_ns: bounds.start_ns,
        end_ns: bounds.end_ns,
        step_ns: if by_time { Some(params.step(bounds)?) } else { None },
        limit: volume_limit(read)?,
        by,
    };
    let (volumes, _) = read.run(app, move |engine, caller, control| engine.volume(caller, &query, &control)).await?;
    Ok(volumes)
}

/// 100, also for 0.
fn volume_limit(read: &Read) -> Result<usize, Error> {
    match read.params.get("limit") {
        Some("0") => Ok(100),
        _ => read.params.limit(),
    }
}

fn write_volumes(volumes: &Volumes, by_time: bool) -> JsonWriter {
    let mut json = encode::begin(&[]);
    // As Loki: a matrix only when there is something to connect.
    let is_matrix = by_time && volumes.matrix.series.iter().any(|series| series.column.point_count() > 1);
    json.string(if is_matrix { "matrix" } else { "vector" });
    json.key("result");
    json.begin_array();
    for series in &volumes.matrix.series {
        json.begin_object();
        json.key("metric");
        json.labels(series.labels.iter());
        json.key(if is_matrix { "values" } else { "value" });
        if is_matrix {
            json.begin_array();
        }
        for (bucket, bytes) in series.column.points() {
            encode::point(&mut json, volumes.times_ns[bucket], bytes);
        }
        if is_matrix {
            json.end_array();
        }
        json.end_object();
    }
    json.end_array();
    let entries_returned = volumes.matrix.series.len() as u64;
    encode::end(json, &Stats { entries_returned, ..Stats::default() })
}

/// One shard over everything: nothing here needs more.
pub async fn shards(State(app): State<Arc<App>>, read: Read) -> Response {
    let target = read.params.get("targetBytesPerShard").map_or(Ok(0), parse_bytes);
    if !target.is_ok_and(|bytes| bytes > 0) {
        return Error::refused("targetBytesPerShard must be a positive value").into_response();
    }
    match index_stats(&app, &read).await {
        Ok(stats) => {
            let mut json = JsonWriter::default();
            json.begin_object();
            json.key("shards");
            json.begin_array();
            json.begin_object();
            json.key("bounds");
            json.begin_object();
            json.key("min");
            json.integer(0);
            json.key("max");
            json.integer(u64::MAX);
            json.end_object();
            json.key("stats");
            write_stats(&mut json, &stats);
            json.end_object();
            json.end_array();
            json.key("statistics");
            encode::stats(&mut json, &Stats::default());
            json.key("chunkGroups");
            json.begin_array();
            json.end_array();
            json.end_object();
            respond::json(json)
        }
        Err(error) => error.into_response(),
    }
}
