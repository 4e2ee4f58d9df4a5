//! What counts as the same answer.
//!
//! * The status must be equal; for 400 and above nothing else decides, but how alike the texts are is counted.
//! * Streams and series: the same label sets in any order; entries of a stream in order of time, those of one
//!   timestamp in any order.
//! * Sample values within 1e-9 (or the case's `approx`); timestamps equal, save that of a scalar.
//! * `__error_details__` is worded by the parser in use: a different text counts as a message only.
//! * Lists of names and values as sets; an absent `data` equals an empty one; index statistics are estimates.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Relative tolerance of sample values.
const TOLERANCE: f64 = 1e-9;
const DETAILS: &str = "__error_details__";

/// An answer, or the recorded one.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON when it was JSON, else text.
    pub body: Value,
}

impl Answer {
    /// Reads `text` as JSON if it looks like it.
    pub fn new(status: u16, text: &str) -> Self {
        let looks_like_json = text.trim_start().starts_with(['{', '[']);
        let json = looks_like_json.then(|| serde_json::from_str(text).ok()).flatten();
        Self { status, body: json.unwrap_or_else(|| Value::String(text.to_owned())) }
    }
}

/// The outcome of one case.
pub struct Verdict {
    /// Why the answers differ; `None` when they are the same.
    pub difference: Option<String>,
    /// Whether the messages are alike, where there is one.
    pub message_alike: Option<bool>,
}

/// Holds `got` against the recorded answer and the further answers that the case accepts.
pub fn compare(case: &Value, got: &Answer) -> Verdict {
    let mut first_difference = None;
    let mut message_alike = None;
    let accepted = case.get("accept").and_then(Value::as_array).into_iter().flatten();
    for want in std::iter::once(&case["response"]).chain(accepted) {
        let want_status = want["status"].as_u64().expect("a recorded status") as u16;
        if want_status >= 400 {
            let alike =
                got.status >= 400 && message_like(&want["body"], &got.body, case.get("message_varies").is_some());
            message_alike = Some(message_alike.unwrap_or(false) || alike);
        }
        if want_status != got.status {
            first_difference.get_or_insert(format!(
                "status {want_status} expected, got {}: {}",
                got.status,
                short(&got.body)
            ));
            continue;
        }
        if want_status >= 400 {
            return Verdict { difference: None, message_alike };
        }
        let mut comparison = Comparison { case, details_alike: None };
        match comparison.body(&want["body"], &got.body) {
            Ok(()) => return Verdict { difference: None, message_alike: comparison.details_alike.or(message_alike) },
            Err(difference) => drop(first_difference.get_or_insert(difference)),
        }
    }
    Verdict { difference: first_difference, message_alike }
}

type Outcome = Result<(), String>;

struct Comparison<'a> {
    case: &'a Value,
    details_alike: Option<bool>,
}

impl Comparison<'_> {
    fn body(&mut self, want: &Value, got: &Value) -> Outcome {
        match (want, got) {
            (Value::String(w), Value::String(g)) => need(w.trim() == g.trim(), "body", want, got),
            (Value::Object(w), Value::Object(g)) => self.object_body(w, g),
            _ => any("body", &sorted_lists(want), &sorted_lists(got), TOLERANCE),
        }
    }

    fn object_body(&mut self, want: &Map<String, Value>, got: &Map<String, Value>) -> Outcome {
        let tolerance = self.case["approx"].as_f64().unwrap_or(TOLERANCE);
        let path = self.case["request"]["path"].as_str().unwrap_or_default();
        if path.ends_with("/index/stats") && want.contains_key("streams") {
            any("streams", &want["streams"], got.get("streams").unwrap_or(&Value::Null), TOLERANCE)?;
            for key in ["bytes", "entries"] {
                any(key, &want[key], got.get(key).unwrap_or(&Value::Null), tolerance)?;
            }
            return Ok(());
        }
        let (mut want, mut got) = (want.clone(), got.clone());
        for body in [&mut want, &mut got] {
            body.remove("stats");
            if let Some(Value::Object(data)) = body.get_mut("data") {
                data.remove("stats");
            }
        }
        // Loki leaves an empty list out, others may not.
        if is_empty(want.get("data")) && is_empty(got.get("data")) {
            want.remove("data");
            got.remove("data");
        }
        same_keys("top level keys", want.keys(), got.keys())?;
        for (key, w) in &want {
            let g = &got[key];
            if key == "data" && w.get("resultType").is_some() {
                self.data(w, g)?;
            } else if key == "fields" && w.is_array() {
                fields(w, g, tolerance)?;
            } else {
                any(key, &sorted_lists(w), &sorted_lists(g), tolerance)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, want: &Value, got: &Value) -> Outcome {
        let (Value::Object(w), Value::Object(g)) = (want, got) else { return differ("data", want, got) };
        same_keys("keys of data", w.keys(), g.keys())?;
        need(w["resultType"] == g["resultType"], "resultType", &w["resultType"], &g["resultType"])?;
        if let Some(flags) = w.get("encodingFlags") {
            any("encodingFlags", &sorted_lists(flags), &sorted_lists(&g["encodingFlags"]), TOLERANCE)?;
        }
        let (w, g, kind) = (&w["result"], &g["result"], w["resultType"].as_str().unwrap_or_default());
        match (kind, w, g) {
            ("streams", Value::Array(w), Value::Array(g)) => self.streams(w, g),
            ("matrix" | "vector", Value::Array(w), Value::Array(g)) => self.samples(w, g, kind),
            ("scalar", ..) => point("scalar", w, g, TOLERANCE, false),
            _ => differ("result", w, g),
        }
    }

    fn streams(&mut self, want: &[Value], got: &[Value]) -> Outcome {
        let mentions_details = want.iter().any(|stream| stream.to_string().contains(DETAILS));
        match same_streams(want, got) {
            Ok(()) => {
                self.details_alike = mentions_details.then_some(true);
                Ok(())
            }
            Err(_) if mentions_details => {
                self.details_alike = Some(false);
                same_streams(&without_details(want), &without_details(got))
            }
            Err(difference) => Err(difference),
        }
    }

    fn samples(&self, want: &[Value], got: &[Value], kind: &str) -> Outcome {
        let tolerance = self.case["approx"].as_f64().unwrap_or(TOLERANCE);
        let check_time = self.case.get("ignore_ts").is_none();
        if self.case.get("values_only").is_some() {
            return same_values(want, got, kind);
        }
        if self.case.get("ordered").is_some() && kind == "vector" {
            for (w, g) in want.iter().zip(got) {
                need(number_eq(&w["value"][1], &g["value"][1], TOLERANCE), "value in order", &w["value"], &g["value"])?;
            }
        }
        let (want, got) = (by_labels(want, "metric"), by_labels(got, "metric"));
        same_keys("series", want.keys(), got.keys())?;
        for (labels, w) in &want {
            let g = &got[labels];
            need(
                w.len() == g.len(),
                "number of series with one label set",
                &Value::from(w.len()),
                &Value::from(g.len()),
            )?;
            for (w, g) in w.iter().zip(g) {
                if kind == "vector" {
                    point(labels, &w["value"], &g["value"], tolerance, check_time)?;
                    continue;
                }
                let (Value::Array(w), Value::Array(g)) = (&w["values"], &g["values"]) else {
                    return differ(labels, w, g);
                };
                need(
                    w.len() == g.len(),
                    &format!("points of {labels}"),
                    &Value::from(w.clone()),
                    &Value::from(g.clone()),
                )?;
                for (w, g) in w.iter().zip(g) {
                    point(labels, w, g, tolerance, check_time)?;
                }
            }
        }
        Ok(())
    }
}

fn same_streams(want: &[Value], got: &[Value]) -> Outcome {
    let (want, got) = (by_labels(want, "stream"), by_labels(got, "stream"));
    same_keys("streams", want.keys(), got.keys())?;
    for (labels, w) in &want {
        let (w, g) = (entries_by_time(w), entries_by_time(&got[labels]));
        for (w, g) in w.iter().zip(&g) {
            if w != g {
                return Err(format!(
                    "entries of {labels}: expected {}, got {}",
                    short(&format!("{w:?}").into()),
                    short(&format!("{g:?}").into())
                ));
            }
        }
        if w.len() != g.len() {
            return Err(format!("timestamps of {labels}: {} expected, got {}", w.len(), g.len()));
        }
    }
    Ok(())
}

/// Runs of entries with one timestamp, in the order given; inside a run the order is free.
fn entries_by_time(streams: &[&Value]) -> Vec<(String, Vec<String>)> {
    let mut runs: Vec<(String, Vec<String>)> = Vec::new();
    for entry in streams.iter().flat_map(|s| s["values"].as_array().into_iter().flatten()) {
        let time = entry[0].as_str().unwrap_or_default().to_owned();
        let rest = entry.as_array().map(|e| canonical(&Value::from(&e[1.min(e.len())..]))).unwrap_or_default();
        match runs.last_mut() {
            Some((last, entries)) if *last == time => entries.push(rest),
            _ => runs.push((time, vec![rest])),
        }
    }
    for (_, entries) in &mut runs {
        entries.sort();
    }
    runs
}

/// Streams with the text of `__error_details__` hidden; streams that become equal are joined.
fn without_details(streams: &[Value]) -> Vec<Value> {
    fn hide(labels: &mut Value) {
        if let Some(details) = labels.get_mut(DETAILS) {
            *details = Value::from("*");
        }
    }
    let mut joined: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for stream in streams {
        let mut labels = stream["stream"].clone();
        hide(&mut labels);
        let (_, values) = joined.entry(canonical(&labels)).or_insert((labels, Vec::new()));
        for entry in stream["values"].as_array().into_iter().flatten() {
            let mut entry = entry.clone();
            for labels in entry.get_mut(2).and_then(Value::as_object_mut).into_iter().flat_map(|o| o.values_mut()) {
                hide(labels);
            }
            values.push(entry);
        }
    }
    let mut out = Vec::new();
    for (labels, mut values) in joined.into_values() {
        values.sort_by_key(|entry| entry[0].as_str().and_then(|ts| ts.parse::<i64>().ok()));
        out.push(serde_json::json!({"stream": labels, "values": values}));
    }
    out
}

/// `topk` with equal values at the cut: which series wins is free, the values are not.
fn same_values(want: &[Value], got: &[Value], kind: &str) -> Outcome {
    let points = |series: &[Value]| {
        let mut by_time: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for one in series {
            let values = if kind == "vector" {
                std::slice::from_ref(&one["value"]).to_vec()
            } else {
                one["values"].as_array().cloned().unwrap_or_default()
            };
            for value in values {
                by_time.entry(value[0].to_string()).or_default().push(number(&value[1]).unwrap_or(f64::NAN));
            }
        }
        by_time.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
        by_time
    };
    let (want, got) = (points(want), points(got));
    same_keys("timestamps", want.keys(), got.keys())?;
    for (time, w) in &want {
        let g = &got[time];
        if w.len() != g.len() || !w.iter().zip(g).all(|(w, g)| close(*w, *g, TOLERANCE)) {
            return Err(format!("values at {time}: expected {w:?}, got {g:?}"));
        }
    }
    Ok(())
}

fn point(what: &str, want: &Value, got: &Value, tolerance: f64, check_time: bool) -> Outcome {
    need(got.as_array().is_some_and(|p| p.len() == 2), what, want, got)?;
    if check_time {
        let (w, g) = (want[0].as_f64().unwrap_or(f64::NAN), got[0].as_f64().unwrap_or(f64::NAN));
        need((w - g).abs() < 5e-4, &format!("{what} time"), want, got)?;
    }
    need(got[1].is_string(), &format!("{what} value is a string"), want, got)?;
    need(number_eq(&want[1], &got[1], tolerance), &format!("{what} value"), want, got)
}

fn fields(want: &Value, got: &Value, tolerance: f64) -> Outcome {
    let by_name = |list: &Value| -> BTreeMap<String, Value> {
        list.as_array().into_iter().flatten().map(|f| (f["label"].to_string(), sorted_lists(f))).collect()
    };
    let (want, got) = (by_name(want), by_name(got));
    same_keys("fields", want.keys(), got.keys())?;
    want.iter().try_for_each(|(name, w)| any(&format!("field {name}"), w, &got[name], tolerance))
}

fn any(what: &str, want: &Value, got: &Value, tolerance: f64) -> Outcome {
    match (want, got) {
        (Value::Object(w), Value::Object(g)) => {
            same_keys(what, w.keys(), g.keys())?;
            w.iter().try_for_each(|(key, w)| any(&format!("{what}.{key}"), w, &g[key], tolerance))
        }
        (Value::Array(w), Value::Array(g)) => {
            need(w.len() == g.len(), what, want, got)?;
            w.iter().zip(g).try_for_each(|(w, g)| any(what, w, g, tolerance))
        }
        (Value::Number(_), Value::Number(_)) => need(number_eq(want, got, tolerance), what, want, got),
        _ => need(want == got, what, want, got),
    }
}

/// Lists below `value` as sorted lists; series (`value`, `values` pairs with a metric) are compared elsewhere.
fn sorted_lists(value: &Value) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(sorted_lists).collect();
            list.sort_by_key(canonical);
            Value::Array(list)
        }
        Value::Object(map) => {
            // A JSON path is a sequence, not a set.
            Value::Object(
                map.iter()
                    .map(|(k, v)| (k.clone(), if k == "jsonPath" { v.clone() } else { sorted_lists(v) }))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

fn by_labels<'v>(series: &'v [Value], field: &str) -> BTreeMap<String, Vec<&'v Value>> {
    let mut map: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for one in series {
        map.entry(canonical(&one[field])).or_default().push(one);
    }
    map
}

/// Text with object keys sorted (serde_json's map is sorted).
fn canonical(value: &Value) -> String {
    value.to_string()
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim_start_matches('+').parse().ok())
}

fn number_eq(want: &Value, got: &Value, tolerance: f64) -> bool {
    want == got || matches!((number(want), number(got)), (Some(w), Some(g)) if close(w, g, tolerance))
}

fn close(want: f64, got: f64, tolerance: f64) -> bool {
    if want.is_nan() || got.is_nan() {
        return want.is_nan() && got.is_nan();
    }
    // Estimates may be off by one unit, exact numbers by rounding noise only.
    let absolute = if tolerance <= TOLERANCE { 1e-12 } else { 1.0 };
    want == got || (want - got).abs() <= (tolerance * want.abs().max(got.abs())).max(absolute)
}

fn message_like(want: &Value, got: &Value, varies: bool) -> bool {
    let text = |body: &Value| {
        let text = match body {
            Value::String(text) => text.clone(),
            Value::Object(map) => match map.get("error").or(map.get("message")).and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => body.to_string(),
            },
            other => other.to_string(),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ").to_lowercase();
        if varies { text.chars().take(40).collect() } else { text }
    };
    let (want, got) = (text(want), text(got));
    want == got
        || (!want.is_empty() && got.contains(&want))
        || (got.len() > 12 && want.contains(&got))
        || likeness(&want, &got) >= 0.7
}

/// Twice the length of the longest common subsequence over the length of both texts.
fn likeness(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row = vec![0usize; b.len() + 1];
    for x in &a {
        let mut diagonal = 0;
        for (idx, y) in b.iter().enumerate() {
            let above = row[idx + 1];
            row[idx + 1] = if x == y { diagonal + 1 } else { above.max(row[idx]) };
            diagonal = above;
        }
    }
    2.0 * row[b.len()] as f64 / (a.len() + b.len()).max(1) as f64
}

fn same_keys<K: Ord + std::fmt::Display>(
    what: &str,
    want: impl Iterator<Item = K>,
    got: impl Iterator<Item = K>,
) -> Outcome {
    let (want, got): (std::collections::BTreeSet<K>, std::collections::BTreeSet<K>) = (want.collect(), got.collect());
    if want == got {
        return Ok(());
    }
    let list = |keys: Vec<&K>| keys.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(format!(
        "{what}: {} expected, {} got; missing: {}; unexpected: {}",
        want.len(),
        got.len(),
        list(want.difference(&got).collect()),
        list(got.difference(&want).collect())
    ))
}

fn need(holds: bool, what: &str, want: &Value, got: &Value) -> Outcome {
    if holds { Ok(()) } else { differ(what, want, got) }
}

fn differ(what: &str, want: &Value, got: &Value) -> Outcome {
    Err(format!("{what}: expected {}, got {}", short(want), short(got)))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 300 { text } else { text.chars().take(300).chain("…".chars()).collect() }
}
