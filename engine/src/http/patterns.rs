//! `patterns`: what lines have in common, and how often they come.
//!
//! Source: contract http-api.md, 1.11.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use logstack_logql::matcher::CompiledMatcher;

use super::app::{App, Read};
use super::json::JsonWriter;
use super::respond;
use crate::patterns::counts::SLOT_S;
use crate::patterns::{Pattern, PatternQuery, Patterns};
use crate::query::Error;
use crate::query::catalog::parse_selector;

const SECOND_NS: i64 = 1_000_000_000;

/// Patterns of the streams that a selector chooses.
pub async fn list(State(app): State<Arc<App>>, read: Read) -> Response {
    // Without a body, as Loki answers where the pattern ingester is off.
    let Some(patterns) = app.patterns.clone() else { return StatusCode::NOT_FOUND.into_response() };
    match find(&app, patterns, &read).await {
        Ok(found) => respond::json(encode(&found)),
        Err(error) => error.into_response(),
    }
}

async fn find(app: &App, patterns: Arc<Patterns>, read: &Read) -> Result<Vec<Pattern>, Error> {
    // An absent query is an empty one, which is a syntax error.
    let selector = parse_selector(Some(read.params.get("query").unwrap_or_default()))?;
    let compile = |matcher| CompiledMatcher::new(matcher).map_err(|err| Error::refused(format!("parse error : {err}")));
    let matchers = selector.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
    let bounds = read.params.bounds_unchecked(read.caller.now_ns)?;
    let step_ns = read.params.step(bounds)?;
    let retention_ns = read.caller.limits.retention_period.as_nanos();
    let kept_since_ns = if retention_ns > 0 { read.caller.now_ns.saturating_sub(retention_ns) } else { i64::MIN };
    let query = PatternQuery {
        start_ns: bounds.start_ns.max(kept_since_ns),
        end_ns: bounds.end_ns,
        step_s: (step_ns / SECOND_NS).max(SLOT_S),
    };
    let (found, _) = read.run(app, move |_, caller, _| Ok(patterns.query(&caller.tenants, &matchers, query))).await?;
    Ok(found)
}

fn encode(patterns: &[Pattern]) -> JsonWriter {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("status");
    json.string("success");
    json.key("data");
    json.begin_array();
    for pattern in patterns {
        json.begin_object();
        json.key("pattern");
        json.string(&pattern.pattern);
        json.key("level");
        json.string(&pattern.level);
        json.key("samples");
        json.begin_array();
        for &(at_s, count) in &pattern.samples {
            json.begin_array();
            json.integer(at_s);
            json.integer(count);
            json.end_array();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
    json.end_object();
    json
}
