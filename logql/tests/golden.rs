//! Recorded answers to log queries, by this crate alone: selector, pipeline and a limit over the data set of
//! `tests/golden`, without storage and HTTP.
//!
//! `detected_level` is a matter of ingest and left out on both sides; queries that name it are not asked. Sums and
//! range aggregations at one instant are asked too, because they compile the pipeline for a consumer that looks at few
//! labels.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use logstack_go::units::parse_rfc3339_nano;
use logstack_logql::ast::{Expr, Grouping, LogExpr, MetricExpr, RangeOp, VectorOp};
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::pipeline::{Category, Entry, Pipeline, StreamContext, Wanted};
use logstack_logql::{Labels, parse};
use serde_json::{Map, Value, json};

const DETECTED_LEVEL: &str = "detected_level";
/// What `service_name` is taken from when it is absent.
const SERVICE_NAMES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

type Metadata = Vec<(Arc<str>, Arc<str>)>;

struct Stored {
    stream: StreamContext,
    /// Timestamp, line, metadata; in time order, no entry twice.
    entries: Vec<(i64, String, Metadata)>,
}

fn read_lines(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    let bytes = zstd::decode_all(std::fs::File::open(&path).expect("golden data")).expect("zstd");
    let text = String::from_utf8(bytes).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn load() -> Vec<Stored> {
    let mut streams: BTreeMap<Labels, Vec<(i64, String, Metadata)>> = BTreeMap::new();
    for push in read_lines("pushes.jsonl.zst") {
        for stream in push["streams"].as_array().expect("streams") {
            let mut labels: Vec<(String, String)> = pairs(&stream["stream"]);
            labels.retain(|(_, value)| !value.is_empty());
            let get = |name: &str| labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            if get("service_name").is_none() {
                let service = SERVICE_NAMES.iter().find_map(|name| get(name));
                labels.push(("service_name".into(), service.unwrap_or_else(|| "unknown_service".into())));
            }
            let entries = streams.entry(Labels::from_pairs(labels)).or_default();
            for value in stream["values"].as_array().expect("values") {
                let timestamp = value[0].as_str().and_then(|text| text.parse().ok()).expect("timestamp");
                let metadata = pairs(&value[2]).into_iter().filter(|(_, value)| !value.is_empty());
                let metadata = metadata.map(|(name, value)| (name.into(), value.into())).collect();
                entries.push((timestamp, value[1].as_str().expect("line").to_owned(), metadata));
            }
        }
    }
    let stored = |(labels, mut entries): (Labels, Vec<(i64, String, Metadata)>)| {
        entries.sort_by_key(|(timestamp, ..)| *timestamp);
        let mut unique: Vec<(i64, String, Metadata)> = Vec::new();
        for entry in entries {
            if !unique.iter().rev().take_while(|known| known.0 == entry.0).any(|known| *known == entry) {
                unique.push(entry);
            }
        }
        Stored { stream: StreamContext::new(labels), entries: unique }
    };
    streams.into_iter().map(stored).collect()
}

fn pairs(object: &Value) -> Vec<(String, String)> {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn param<'a>(case: &'a Value, name: &str) -> Option<&'a str> {
    let params = case["request"]["params"].as_array()?;
    params.iter().find(|param| param[0] == name).and_then(|param| param[1].as_str())
}

fn time(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(seconds) if text.len() <= 10 => Some(seconds * 1_000_000_000),
        Ok(ns) => Some(ns),
        Err(_) => parse_rfc3339_nano(text).ok(),
    }
}

fn selected<'a>(log: &LogExpr, stored: &'a [Stored]) -> impl Iterator<Item = &'a Stored> {
    let matchers: Vec<CompiledMatcher> =
        log.selector.iter().map(|matcher| CompiledMatcher::new(matcher).expect("matcher")).collect();
    stored.iter().filter(move |stored| {
        let value = |name: &str| stored.stream.labels().get(name).unwrap_or("").to_owned();
        matchers.iter().all(|matcher| matcher.matches(&value(matcher.name())))
    })
}

/// Timestamp, labels, value.
type Row = (i64, Value, Value);

/// The answer in a comparable form: label sets without `detected_level`, and values; order of streams aside.
fn answer_log(case: &Value, log: &LogExpr, stored: &[Stored]) -> Result<Vec<Value>, String> {
    let pipeline = Pipeline::compile(&log.stages, None, &Wanted::All).map_err(|error| error.to_string())?;
    let start = param(case, "start").and_then(time).ok_or("no start")?;
    let end = param(case, "end").and_then(time).ok_or("no end")?;
    let limit = param(case, "limit").map_or(Some(100), |limit| limit.parse().ok()).ok_or("limit")?;
    let is_forward = param(case, "direction").is_some_and(|direction| direction.eq_ignore_ascii_case("forward"));
    let categorizes = case["request"]["headers"].to_string().contains("categorize-labels");
    let mut scratch = pipeline.scratch();
    let mut rows: Vec<Row> = Vec::new();
    for Stored { stream, entries } in selected(log, stored) {
        let first_row = rows.len();
        for (timestamp_ns, line, metadata) in entries {
            if *timestamp_ns < start || *timestamp_ns >= end {
                continue;
            }
            let entry = Entry { timestamp_ns: *timestamp_ns, line: line.as_bytes(), metadata };
            if !pipeline.pushed_down().iter().all(|filter| filter.matches(entry.line)) {
                continue;
            }
            let passes_prefix = pipeline.passes_prefix(stream, metadata, &mut scratch);
            let Some(output) = pipeline.run(stream, &entry, &mut scratch) else { continue };
            assert!(passes_prefix, "the prefix drops what the pipeline keeps");
            for hint in pipeline.field_hints() {
                let is_elsewhere = stream.labels().get(&hint.label).is_some()
                    || metadata.iter().any(|(name, _)| **name == *hint.label);
                assert!(is_elsewhere || hint.literals.may_match(entry.line), "{hint:?} on {line:?}");
            }
            let mut labels = Map::new();
            let (mut metadata, mut parsed) = (Map::new(), Map::new());
            for (name, value, category) in output.labels() {
                let group = match category {
                    Category::Metadata if categorizes => &mut metadata,
                    Category::Parsed if categorizes => &mut parsed,
                    _ => &mut labels,
                };
                group.insert(name.to_owned(), value.into());
            }
            let mut value = vec![json!(timestamp_ns.to_string()), json!(String::from_utf8_lossy(output.line()))];
            if categorizes {
                let mut extra = Map::new();
                if !metadata.is_empty() {
                    extra.insert("structuredMetadata".to_owned(), metadata.into());
                }
                if !parsed.is_empty() {
                    extra.insert("parsed".to_owned(), parsed.into());
                }
                value.push(extra.into());
            }
            let row = (*timestamp_ns, Value::Object(labels), Value::Array(value));
            // Entries of one stream and time that the stages made equal are one.
            let of_stream = &rows[first_row..];
            if !of_stream.iter().rev().take_while(|known: &&Row| known.0 == row.0).any(|known| *known == row) {
                rows.push(row);
            }
        }
    }
    rows.sort_by_key(|(timestamp, ..)| *timestamp);
    if !is_forward {
        rows.reverse();
    }
    rows.truncate(limit);
    Ok(comparable(rows.into_iter().map(|(_, labels, value)| (labels, value))))
}

fn comparable(rows: impl Iterator<Item = (Value, Value)>) -> Vec<Value> {
    let mut rows: Vec<Value> = rows
        .map(|(mut labels, mut value)| {
            if let Some(labels) = labels.as_object_mut() {
                labels.remove(DETECTED_LEVEL);
                labels.remove("__error_details__");
            }
            if let Some(extra) = value.get_mut(2).and_then(Value::as_object_mut) {
                if let Some(metadata) = extra.get_mut("structuredMetadata").and_then(Value::as_object_mut) {
                    metadata.remove(DETECTED_LEVEL);
                }
                if let Some(parsed) = extra.get_mut("parsed").and_then(Value::as_object_mut) {
                    parsed.remove("__error_details__");
                }
                extra.retain(|_, group| group.as_object().is_some_and(|group| !group.is_empty()));
            }
            json!([labels, value])
        })
        .collect();
    rows.sort_by_key(Value::to_string);
    rows
}

fn recorded_log(case: &Value) -> Vec<Value> {
    let streams = case["response"]["body"]["data"]["result"].as_array().expect("result");
    comparable(streams.iter().flat_map(|stream| {
        let values = stream["values"].as_array().expect("values");
        values.iter().map(|value| (stream["stream"].clone(), value.clone()))
    }))
}

/// The labels of a series.
type Group = Vec<(String, String)>;

/// A range aggregation, or a sum over one, at one instant: series and values, or the error that fails the query.
/// `None`: something this test does not compute.
fn answer_metric(case: &Value, expr: &MetricExpr, stored: &[Stored]) -> Option<Result<Vec<Value>, String>> {
    let (range, sum) = match expr {
        MetricExpr::Range(range) => (range, None),
        MetricExpr::Vector(sum) if sum.op == VectorOp::Sum => match &*sum.inner {
            MetricExpr::Range(range) => (range, Some(sum)),
            _ => return None,
        },
        _ => return None,
    };
    // `sum` hands its grouping down to functions whose results add up; a grouping of the range aggregation counts
    // anyhow.
    let adds_up = matches!(
        range.op,
        RangeOp::CountOverTime | RangeOp::Rate | RangeOp::BytesOverTime | RangeOp::BytesRate | RangeOp::SumOverTime
    );
    let grouping = match (sum, &range.grouping) {
        (Some(sum), None) if adds_up => sum.grouping.clone().or(Some(Grouping { without: false, labels: Vec::new() })),
        (Some(_), _) => return None,
        (None, _) if range.op == RangeOp::AbsentOverTime => return None,
        (None, grouping) => grouping.clone(),
    };
    let wanted = match &grouping {
        Some(Grouping { without: false, labels }) if labels.is_empty() => Wanted::None,
        Some(Grouping { without: false, labels }) => Wanted::Only(labels.clone()),
        _ => Wanted::All,
    };
    let uses_line = matches!(range.op, RangeOp::BytesOverTime | RangeOp::BytesRate);
    let (stages, unwrap) = (&range.log.stages, range.unwrap.as_ref());
    let pipeline = match uses_line {
        true => Pipeline::compile(stages, unwrap, &wanted),
        false => Pipeline::compile_without_line(stages, unwrap, &wanted),
    };
    let pipeline = match pipeline {
        Ok(pipeline) => pipeline,
        Err(error) => return Some(Err(error.to_string())),
    };
    let at = param(case, "time").and_then(time)? - range.offset_ns;
    let mut scratch = pipeline.scratch();
    let mut series: BTreeMap<Group, Vec<(i64, f64)>> = BTreeMap::new();
    for Stored { stream, entries } in selected(&range.log, stored) {
        for (timestamp_ns, line, metadata) in entries {
            if *timestamp_ns <= at - range.range_ns || *timestamp_ns > at {
                continue;
            }
            let line = line.as_bytes();
            if !pipeline.pushed_down().iter().all(|filter| filter.matches(line)) {
                continue;
            }
            let line = if uses_line || pipeline.needs_line() { line } else { b"" };
            let entry = Entry { timestamp_ns: *timestamp_ns, line, metadata };
            let Some(output) = pipeline.run(stream, &entry, &mut scratch) else { continue };
            if let Some(error) = output.fatal_error() {
                return Some(Err(format!("pipeline error: '{error}' for series")));
            }
            let group: Group = match &grouping {
                Some(Grouping { without: false, labels }) => {
                    let value = |(idx, name): (usize, &String)| Some((name.clone(), output.wanted(idx)?.to_owned()));
                    labels.iter().enumerate().filter_map(value).collect()
                }
                grouping => {
                    let is_gone = |name: &str| {
                        let is_unwrapped = unwrap.is_some_and(|unwrap| unwrap.label == name);
                        let is_named = |grouping: &Grouping| grouping.labels.iter().any(|label| label == name);
                        is_unwrapped || name == DETECTED_LEVEL || grouping.as_ref().is_some_and(is_named)
                    };
                    let labels = output.labels().filter(|(name, ..)| !is_gone(name));
                    labels.map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect()
                }
            };
            let value = output.value().unwrap_or(if uses_line { output.line().len() as f64 } else { 1.0 });
            series.entry(group).or_default().push((*timestamp_ns, value));
        }
    }
    let aggregate = |mut samples: Vec<(i64, f64)>| {
        samples.sort_by_key(|(timestamp, _)| *timestamp);
        let values = || samples.iter().map(|(_, value)| *value);
        let sum: f64 = values().sum();
        let seconds = range.range_ns as f64 / 1e9;
        Some(match range.op {
            RangeOp::CountOverTime | RangeOp::BytesOverTime | RangeOp::SumOverTime => sum,
            RangeOp::Rate | RangeOp::BytesRate => sum / seconds,
            RangeOp::AvgOverTime => sum / samples.len() as f64,
            RangeOp::MinOverTime => values().fold(f64::NAN, f64::min),
            RangeOp::MaxOverTime => values().fold(f64::NAN, f64::max),
            RangeOp::FirstOverTime => values().next()?,
            RangeOp::LastOverTime => values().next_back()?,
            _ => return None,
        })
    };
    let series = series.into_iter().map(|(group, samples)| {
        let mut labels: Map<String, Value> = group.into_iter().map(|(name, value)| (name, value.into())).collect();
        labels.remove("__error_details__");
        Some(json!([labels, rounded(aggregate(samples)?)]))
    });
    Some(Ok(sorted(series.collect::<Option<_>>()?)))
}

/// Sums come in another order, so ten digits are compared.
fn rounded(value: f64) -> String {
    if value.is_finite() { format!("{value:.9e}") } else { value.to_string() }
}

fn recorded_metric(case: &Value) -> Vec<Value> {
    let series = case["response"]["body"]["data"]["result"].as_array().into_iter().flatten();
    let series = series.map(|series| {
        let mut labels = series["metric"].clone();
        if let Some(labels) = labels.as_object_mut() {
            labels.remove("__error_details__");
            labels.remove(DETECTED_LEVEL);
        }
        let value = series["value"][1].as_str().and_then(|text| text.trim_start_matches('+').parse().ok());
        json!([labels, rounded(value.unwrap_or(f64::NAN))])
    });
    sorted(series.collect())
}

fn sorted(mut series: Vec<Value>) -> Vec<Value> {
    series.sort_by_key(Value::to_string);
    series
}

#[test]
fn answers_as_recorded() {
    let stored = load();
    let only = std::env::var("GOLDEN").ok();
    let (mut asked, mut failed) = (0, Vec::new());
    for case in read_lines("cases.jsonl.zst") {
        let id = case["id"].as_str().expect("id").to_owned();
        let category = case["category"].as_str().expect("category").to_owned();
        let path = case["request"]["path"].as_str().expect("path");
        let Some(query) = param(&case, "query") else { continue };
        let is_skipped = query.contains(DETECTED_LEVEL)
            // All labels in the line, also the one that ingest detects.
            || query.contains("range $")
            || query.contains("{{ . }}")
            || category == "limits"
            || param(&case, "interval").is_some()
            || param(&case, "limit").is_some_and(|limit| limit.parse::<usize>().is_err())
            || !matches!(path, "/loki/api/v1/query_range" | "/loki/api/v1/query")
            || !case["accept"].is_null()
            || only.as_deref().is_some_and(|only| only != id && only != category);
        if is_skipped {
            continue;
        }
        let is_success = case["response"]["status"] == 200;
        let (got, want) = match parse(query) {
            Ok(Expr::Log(log)) => {
                let is_error = !is_success && !case["response"]["body"].to_string().contains("stage '");
                let has_range = param(&case, "start").and_then(time).is_some() && param(&case, "end").is_some();
                if is_error || path.ends_with("/query") || !has_range {
                    continue;
                }
                (answer_log(&case, &log, &stored), if is_success { recorded_log(&case) } else { Vec::new() })
            }
            Ok(Expr::Metric(expr)) if path.ends_with("/query") => {
                // Errors of parameters are no matter of this crate.
                let is_ours = case["response"]["body"].as_str().is_none_or(|body| body.contains("error"));
                let Some(got) = answer_metric(&case, &expr, &stored).filter(|_| is_ours) else { continue };
                let want = recorded_metric(&case);
                // Series that only the detected level tells apart.
                if want.windows(2).any(|pair| pair[0][0] == pair[1][0]) {
                    continue;
                }
                (got, want)
            }
            _ => continue,
        };
        asked += 1;
        let difference = match got {
            Ok(got) if !is_success => Some(format!("want an error, got {}", json!(got))),
            Ok(got) if got == want => None,
            Ok(got) => {
                let missing: Vec<_> = want.iter().filter(|row| !got.contains(row)).take(3).collect();
                let extra: Vec<_> = got.iter().filter(|row| !want.contains(row)).take(3).collect();
                Some(format!("missing {} extra {}", json!(missing), json!(extra)))
            }
            Err(error) if is_success => Some(format!("error {error}")),
            Err(error) if !case["response"]["body"].as_str().is_some_and(|body| body.contains(&error)) => {
                Some(format!("error {error}, want {}", case["response"]["body"]))
            }
            Err(_) => None,
        };
        if let Some(difference) = difference {
            failed.push(format!("{id} {query}\n    {difference:.1500}"));
        }
    }
    assert!(asked > 950 || only.is_some(), "only {asked} cases were asked");
    assert!(failed.is_empty(), "{} of {asked} differ\n{}", failed.len(), failed.join("\n"));
}
