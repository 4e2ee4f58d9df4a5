//! The table of valid queries with required results, over a fixture of ten entries, through a real store.
//!
//! `logql_contract.txt` has a query a line: `NNN KIND  query  ⇒  answer  — note`. Kinds: `L` log query over
//! `[T, T+60s)`, forward; `I` instant query at `T+60s`; `R` range query from `T` to `T+60s`. In metric answers `job`,
//! `service_name` and `detected_level` are left out unless the query groups by them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use logstack_config::Limits;
use logstack_config::engine::QueryConfig;
use logstack_engine::model::{Batch, BatchStream, MetadataSet, TenantId};
use logstack_engine::query::metric::series::Series;
use logstack_engine::query::{Answer, Caller, Control, Data, Direction, Engine, InstantQuery, RangeQuery};
use logstack_engine::storage::{StorageOptions, Store};
use logstack_logql::Labels;

/// A full minute, Unix seconds.
const T: i64 = 1_768_471_200;
const SECOND: i64 = 1_000_000_000;

struct Entry {
    id: &'static str,
    at: i64,
    stream: (&'static str, &'static str),
    metadata: &'static [(&'static str, &'static str)],
    line: &'static str,
}

const ENTRIES: [Entry; 10] = [
    entry(
        "a1",
        10,
        ("api", "prod"),
        &[("detected_level", "info")],
        "level=info method=GET path=/a status=200 dur=120ms size=1KB user=ann",
    ),
    entry(
        "a2",
        20,
        ("api", "prod"),
        &[("detected_level", "error")],
        "level=error method=POST path=/b status=500 dur=2.5s size=20KB user=bob msg=\"db timeout\"",
    ),
    entry(
        "a3",
        30,
        ("api", "prod"),
        &[("detected_level", "info")],
        "level=info method=GET path=/a status=200 dur=80ms size=2KB user=ann",
    ),
    entry(
        "a4",
        40,
        ("api", "prod"),
        &[("detected_level", "warn")],
        "level=warn method=PUT path=/c status=404 dur=300ms size=512B user=cid",
    ),
    entry(
        "w1",
        15,
        ("web", "prod"),
        &[("detected_level", "info")],
        r#"{"level":"info","req":{"method":"GET","path":"/x"},"code":200,"ms":12.5,"tags":["a","b"]}"#,
    ),
    entry(
        "w2",
        25,
        ("web", "prod"),
        &[("detected_level", "error")],
        r#"{"level":"error","req":{"method":"POST","path":"/y"},"code":503,"ms":250,"err":{"kind":"Timeout","ip":"10.1.2.3"}}"#,
    ),
    entry("w3", 35, ("web", "prod"), &[("detected_level", "unknown")], "not json at all"),
    entry(
        "d1",
        12,
        ("db", "dev"),
        &[("bytes", "100"), ("detected_level", "unknown"), ("trace_id", "t1")],
        "slow query took 900ms on host 192.168.7.9",
    ),
    entry(
        "d2",
        22,
        ("db", "dev"),
        &[("bytes", "300"), ("detected_level", "unknown"), ("trace_id", "t2")],
        "checkpoint complete",
    ),
    entry(
        "d3",
        32,
        ("db", "dev"),
        &[("detected_level", "unknown"), ("trace_id", "t1")],
        "\x1b[31mpanic\x1b[0m: bad thing",
    ),
];

const fn entry(
    id: &'static str,
    at: i64,
    stream: (&'static str, &'static str),
    metadata: &'static [(&'static str, &'static str)],
    line: &'static str,
) -> Entry {
    Entry { id, at, stream, metadata, line }
}

fn engine(dir: &std::path::Path) -> Engine {
    let store = Store::open(dir, StorageOptions::default()).unwrap();
    let mut batch = Batch::default();
    for entry in &ENTRIES {
        let (app, env) = entry.stream;
        let labels = Labels::from_pairs([("job", "fx"), ("app", app), ("env", env), ("service_name", app)]);
        let metadata: MetadataSet = entry.metadata.iter().map(|&(n, v)| (n.into(), v.into())).collect();
        let metadata = batch.rows.metadata.intern(metadata);
        let start = batch.rows.len();
        batch.rows.push((T + entry.at) * SECOND, entry.line.as_bytes(), metadata);
        let stream = store.stream(&TenantId::new("t"), &labels);
        batch.streams.push(BatchStream { stream, rows: start..start + 1 });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.append(batch)).unwrap();
    Engine::new(store, &QueryConfig::default(), 4)
}

fn caller() -> Caller {
    let limits = Arc::new(Limits::default());
    Caller { tenants: vec![TenantId::new("t")], limits, tags: Arc::default(), now_ns: (T + 60) * SECOND }
}

fn ask_range(engine: &Engine, text: &str, step: i64) -> Result<Answer, String> {
    let query = RangeQuery {
        text: text.to_owned(),
        start_ns: T * SECOND,
        end_ns: (T + 60) * SECOND,
        step_ns: step * SECOND,
        interval_ns: 0,
        limit: 100,
        direction: Direction::Forward,
        categorize_labels: false,
        partial_series: false,
        explain: false,
    };
    engine.query_range(&caller(), &query, Control::unbounded()).map_err(|error| error.to_string())
}

fn ask_instant(engine: &Engine, text: &str) -> Result<Answer, String> {
    let time_ns = (T + 60) * SECOND;
    let query = InstantQuery { text: text.to_owned(), time_ns, partial_series: false, explain: false };
    engine.query(&caller(), &query, Control::unbounded()).map_err(|error| error.to_string())
}

type LabelMap = BTreeMap<String, String>;

/// `a=1,b="",c=["x","y"]`: a comma ends a pair only if a name and `=` follow.
fn parse_pairs(text: &str) -> LabelMap {
    let mut pairs: Vec<String> = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let name = part.split_once('=').map_or("", |(name, _)| name);
        let is_pair = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match pairs.last_mut() {
            Some(last) if !is_pair => *last = format!("{last},{part}"),
            _ => pairs.push(part.to_owned()),
        }
    }
    pairs
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(n, v)| (n.to_owned(), if v == "\"\"" { String::new() } else { v.to_owned() }))
        .collect()
}

fn braces(text: &str) -> (LabelMap, &str) {
    let (inside, behind) = text.strip_prefix('{').unwrap().rsplit_once('}').unwrap();
    (parse_pairs(inside), behind.trim())
}

/// What an `L` line expects of an entry.
struct Want {
    id: String,
    labels: Option<LabelMap>,
    line: Option<String>,
}

fn parse_log_answer(text: &str) -> Vec<Want> {
    if text == "(none)" {
        return Vec::new();
    }
    if !text.contains([';', '{', '→']) {
        return text.split(' ').map(|id| Want { id: id.to_owned(), labels: None, line: None }).collect();
    }
    let items = text.split("; ").map(|item| {
        let (id, rest) = item.split_at(2);
        let line = rest.strip_prefix('→').map(|line| line.trim_matches('`').replace("\\e", "\x1b"));
        let labels = rest.starts_with('{').then(|| braces(rest).0);
        Want { id: id.to_owned(), labels, line }
    });
    items.collect()
}

fn check_log(engine: &Engine, query: &str, answer: &str) -> Result<(), String> {
    let Data::Streams(streams) = ask_range(engine, query, 30)?.data else { return Err("no streams".into()) };
    let mut got: Vec<(i64, Vec<u8>, LabelMap)> = Vec::new();
    for stream in &streams {
        let labels: LabelMap = stream.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        got.extend(stream.entries.iter().map(|e| (e.timestamp_ns / SECOND - T, e.line.to_vec(), labels.clone())));
    }
    got.sort_by_key(|entry| entry.0);
    let id_of = |at: i64| ENTRIES.iter().find(|entry| entry.at == at).map_or("?", |entry| entry.id);
    let wants = parse_log_answer(answer);
    let got_ids: Vec<&str> = got.iter().map(|entry| id_of(entry.0)).collect();
    let want_ids: Vec<&str> = wants.iter().map(|want| want.id.as_str()).collect();
    if got_ids != want_ids {
        return Err(format!("entries {got_ids:?}"));
    }
    // A label that the answer names for one entry is absent where it is not named.
    let named: BTreeSet<&String> =
        wants.iter().filter_map(|want| want.labels.as_ref()).flat_map(|l| l.keys()).collect();
    for (want, (_, line, labels)) in wants.iter().zip(&got) {
        if let Some(wanted) = &want.labels {
            for name in &named {
                if labels.get(*name) != wanted.get(*name) {
                    return Err(format!("{}: label {name} is {:?}", want.id, labels.get(*name)));
                }
            }
        }
        if want.line.as_ref().is_some_and(|want| want.as_bytes() != line) {
            return Err(format!("{}: line {:?}", want.id, String::from_utf8_lossy(line)));
        }
    }
    Ok(())
}

/// Labels as the table shows them.
fn shown(series: &Series, query: &str) -> LabelMap {
    let left_out = ["job", "service_name", "detected_level"];
    let is_shown = |name: &str| !left_out.contains(&name) || query.contains(&format!("by ({name})"));
    series.labels.iter().filter(|(name, _)| is_shown(name)).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

type Row = (LabelMap, Vec<(i64, f64)>);

fn check_rows(mut got: Vec<Row>, mut want: Vec<Row>, is_ordered: bool) -> Result<(), String> {
    if !is_ordered {
        let by_all = |a: &Row, b: &Row| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
        got.sort_by(by_all);
        want.sort_by(by_all);
    }
    let is_close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs().max(b.abs());
    let same_points = |a: &[(i64, f64)], b: &[(i64, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0 && is_close(x.1, y.1))
    };
    let same = got.len() == want.len() && got.iter().zip(&want).all(|(g, w)| g.0 == w.0 && same_points(&g.1, &w.1));
    if same { Ok(()) } else { Err(format!("got {got:?}")) }
}

fn check_instant(engine: &Engine, query: &str, answer: &str) -> Result<(), String> {
    let data = ask_instant(engine, query)?.data;
    if let Some(number) = answer.strip_prefix("scalar ") {
        return match data {
            Data::Scalar { value, .. } if value == number.parse::<f64>().unwrap() => Ok(()),
            other => Err(format!("{other:?}")),
        };
    }
    let Data::Vector { matrix, .. } = data else { return Err(format!("{data:?}")) };
    let got: Vec<Row> = matrix.series.iter().map(|s| (shown(s, query), vec![(60, s.column.get(0).unwrap())])).collect();
    if answer.starts_with("any two") {
        return if got.len() == 2 && got.iter().all(|row| row.1 == [(60, 1.0)]) {
            Ok(())
        } else {
            Err(format!("{got:?}"))
        };
    }
    let want = match answer {
        "(empty vector)" => Vec::new(),
        rows => rows
            .split("; ")
            .map(|row| {
                let (labels, value) = braces(row);
                (labels, vec![(60, value.parse().unwrap())])
            })
            .collect(),
    };
    check_rows(got, want, query.starts_with("sort"))
}

fn check_range(engine: &Engine, query: &str, answer: &str, step: i64) -> Result<(), String> {
    let Data::Matrix { grid, matrix } = ask_range(engine, query, step)?.data else { return Err("no matrix".into()) };
    let points = |s: &Series| s.column.points().map(|(step, v)| (grid.at(step) / SECOND - T, v)).collect();
    let got = matrix.series.iter().map(|series| (shown(series, query), points(series))).collect();
    let want = answer.split("; ").map(|row| {
        let (labels, points) = braces(row);
        let points = points.split(' ').map(|point| point.split_once(':').unwrap());
        (labels, points.map(|(at, v)| (at.parse().unwrap(), v.parse().unwrap())).collect())
    });
    check_rows(got, want.collect(), false)
}

#[test]
fn valid_queries_have_the_required_results() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let mut failures = Vec::new();
    let table = include_str!("logql_contract.txt");
    for row in table.lines() {
        let (query, rest) = row[6..].trim_start().split_once("  ⇒  ").unwrap();
        let (answer, note) = rest.split_once("  — ").unwrap_or((rest, ""));
        let result = match &row[4..5] {
            "L" => check_log(&engine, query, answer.trim()),
            "I" => check_instant(&engine, query, answer.trim()),
            _ => check_range(&engine, query, answer.trim(), if note.contains("step 20 s") { 20 } else { 30 }),
        };
        if let Err(failure) = result {
            failures.push(format!("{row}\n      {failure}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), table.lines().count(), failures.join("\n"));
}
