//! Queries against a naive evaluator: all rows in memory, each step evaluated from scratch, all entries sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use logstack_config::Limits;
use logstack_config::engine::QueryConfig;
use logstack_engine::model::{Batch, BatchStream, MetadataSet, TenantId};
use logstack_engine::query::{Caller, Control, Data, Direction, Engine, RangeQuery};
use logstack_engine::storage::{StorageOptions, Store};
use logstack_logql::Labels;
use logstack_logql::ast::{
    BinaryOp, CompareOp, Expr, Grouping, LabelFilter, LabelSelection, LineFilterOp, LogExpr, MatchOp, MetricExpr,
    RangeAggregation, RangeOp, Stage, VectorOp,
};
use logstack_logql::matcher::CompiledMatcher;
use proptest::prelude::*;

const SECOND: i64 = 1_000_000_000;
const APPS: [&str; 3] = ["api", "db", "web"];
const ENVS: [&str; 2] = ["dev", "prod"];
const LEVELS: [&str; 2] = ["error", "info"];

/// Labels as a map, and points by labels: order says nothing here.
type LabelMap = BTreeMap<String, String>;
type Vector = BTreeMap<LabelMap, f64>;

#[derive(Debug, Clone)]
struct Row {
    app: usize,
    env: usize,
    ts_ns: i64,
    line: String,
    level: usize,
    value: Option<i32>,
}

impl Row {
    fn stream(&self) -> Labels {
        Labels::from_pairs([("app", APPS[self.app]), ("env", ENVS[self.env])])
    }

    fn metadata(&self) -> MetadataSet {
        let mut set = MetadataSet::new();
        set.push(("level".into(), LEVELS[self.level].into()));
        if let Some(value) = self.value {
            set.push(("value".into(), value.to_string().into()));
        }
        set
    }

    fn labels(&self) -> LabelMap {
        let own = [("app", APPS[self.app]), ("env", ENVS[self.env]), ("level", LEVELS[self.level])];
        let mut labels: LabelMap = own.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        if let Some(value) = self.value {
            labels.insert("value".into(), value.to_string());
        }
        labels
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..3usize, 0..2usize, 0i64..200, "[ab]{0,6}", 0..2usize, prop::option::of(-3i32..6));
    prop::collection::vec(row, 0..60).prop_map(|rows| {
        let rows = rows.into_iter().enumerate().map(|(idx, (app, env, secs, line, level, value))| {
            // Distinct timestamps: which of two simultaneous samples is the first is nobody's promise.
            Row { app, env, ts_ns: secs * SECOND + idx as i64, line, level, value }
        });
        rows.collect()
    })
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(texts)
}

fn selector() -> impl Strategy<Value = &'static str> {
    one_of(&[
        r#"{env=~".+"}"#,
        r#"{app="api"}"#,
        r#"{app!="db", env=~"dev|prod"}"#,
        r#"{env=~".+"} |= "a""#,
        r#"{env=~".+"} | level="info""#,
        r#"{env=~".+"} | keep app, level, value"#,
        r#"{env="prod"} != "ab" | drop env"#,
    ])
}

fn grouping() -> impl Strategy<Value = &'static str> {
    one_of(&["", " by (app)", " by (app, level)", " by ()", " without (app)", " without ()", " by (nope)"])
}

fn range_aggregation() -> impl Strategy<Value = String> {
    let window = one_of(&["[1s]", "[7s]", "[10s]", "[30s]", "[1m]", "[3m]", "[10s] offset 20s", "[30s] offset -15s"]);
    let plain = one_of(&["count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"]);
    let ungrouped = one_of(&["sum_over_time(", "rate("]);
    let grouped = one_of(&[
        "min_over_time(",
        "max_over_time(",
        "avg_over_time(",
        "stdvar_over_time(",
        "first_over_time(",
        "last_over_time(",
        "quantile_over_time(0.3, ",
    ]);
    prop_oneof![
        (plain, selector(), window.clone()).prop_map(|(op, sel, window)| format!("{op}({sel} {window})")),
        (ungrouped, selector(), window.clone()).prop_map(|(op, sel, w)| format!("{op}{sel} | unwrap value {w})")),
        (grouped, selector(), window, grouping())
            .prop_map(|(op, sel, window, by)| format!("{op}{sel} | unwrap value {window}){by}")),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let aggregation = one_of(&["sum", "avg", "min", "max", "count", "stdvar"]);
    let vector = prop_oneof![
        range_aggregation(),
        (aggregation, grouping(), range_aggregation()).prop_map(|(op, by, inner)| format!("{op}{by} ({inner})")),
    ]
    .boxed();
    let op = one_of(&["+", "-", "*", ">", "> bool", "<=", "and", "or", "unless"]);
    let by_app = (one_of(&["sum", "max"]), range_aggregation());
    let by_app = by_app.prop_map(|(op, inner)| format!("{op} by (app) ({inner})")).boxed();
    prop_oneof![
        vector.clone(),
        (vector, one_of(&["* 2", "> 1", "- 0.5", "< bool 3"])).prop_map(|(v, op)| format!("({v}) {op}")),
        (by_app.clone(), op, by_app).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
    ]
}

/// `expr` at `t`. `rows` are in the order of time.
fn naive(rows: &[Row], expr: &MetricExpr, t: i64) -> Vector {
    match expr {
        MetricExpr::Range(range) => naive_range(rows, range, t),
        MetricExpr::Vector(vector) => {
            let mut groups: BTreeMap<LabelMap, Vec<f64>> = BTreeMap::new();
            for (labels, value) in naive(rows, &vector.inner, t) {
                groups.entry(group(&labels, vector.grouping.as_ref())).or_default().push(value);
            }
            let fold = |v: &[f64]| match vector.op {
                VectorOp::Sum => v.iter().sum(),
                VectorOp::Avg => mean(v),
                VectorOp::Min => v.iter().copied().fold(f64::INFINITY, f64::min),
                VectorOp::Max => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                VectorOp::Count => v.len() as f64,
                VectorOp::Stdvar => variance(v),
                op => panic!("{op:?} is not generated"),
            };
            groups.into_iter().map(|(labels, values)| (labels, fold(&values))).collect()
        }
        MetricExpr::Binary(binary) => {
            let left = naive(rows, &binary.left, t);
            let point = |labels, value, other| Some((labels, apply(binary.op, value, other, binary.return_bool)?));
            if let MetricExpr::Literal(number) = binary.right {
                return left.into_iter().filter_map(|(labels, value)| point(labels, value, number)).collect();
            }
            let right = naive(rows, &binary.right, t);
            let has_partner = |labels: &LabelMap| right.contains_key(labels);
            match binary.op {
                BinaryOp::And => left.into_iter().filter(|(labels, _)| has_partner(labels)).collect(),
                BinaryOp::Unless => left.into_iter().filter(|(labels, _)| !has_partner(labels)).collect(),
                BinaryOp::Or => right.into_iter().chain(left).collect(),
                _ => left
                    .into_iter()
                    .filter_map(|(labels, value)| {
                        let other = *right.get(&labels)?;
                        point(labels, value, other)
                    })
                    .collect(),
            }
        }
        other => panic!("{other:?} is not generated"),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    values.iter().map(|value| (value - mean(values)).powi(2)).sum::<f64>() / values.len() as f64
}

fn apply(op: BinaryOp, left: f64, right: f64, return_bool: bool) -> Option<f64> {
    let is_true = match op {
        BinaryOp::Add => return Some(left + right),
        BinaryOp::Sub => return Some(left - right),
        BinaryOp::Mul => return Some(left * right),
        BinaryOp::Compare(CompareOp::Greater) => left > right,
        BinaryOp::Compare(CompareOp::Less) => left < right,
        BinaryOp::Compare(CompareOp::LessOrEqual) => left <= right,
        op => panic!("{op:?} is not generated"),
    };
    if return_bool { Some(f64::from(u8::from(is_true))) } else { is_true.then_some(left) }
}

fn group(labels: &LabelMap, grouping: Option<&Grouping>) -> LabelMap {
    let Some(grouping) = grouping else { return LabelMap::new() };
    let kept = labels.iter().filter(|(name, _)| grouping.labels.contains(name) != grouping.without);
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn naive_range(rows: &[Row], range: &RangeAggregation, t: i64) -> Vector {
    let t = t - range.offset_ns;
    let mut samples: BTreeMap<LabelMap, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| t - range.range_ns < row.ts_ns && row.ts_ns <= t) {
        let Some(mut labels) = passes(row, &range.log) else { continue };
        let value = match (&range.unwrap, range.op) {
            (Some(_), _) => match row.value {
                Some(value) => f64::from(value),
                None => continue,
            },
            (None, RangeOp::BytesOverTime | RangeOp::BytesRate) => row.line.len() as f64,
            _ => 1.0,
        };
        if range.unwrap.is_some() && range.grouping.as_ref().is_none_or(|grouping| grouping.without) {
            labels.remove("value");
        }
        if let Some(grouping) = &range.grouping {
            labels = group(&labels, Some(grouping));
        }
        samples.entry(labels).or_default().push(value);
    }
    if range.op == RangeOp::AbsentOverTime {
        let equal = range.log.selector.iter().filter(|matcher| matcher.op == MatchOp::Equal);
        let labels = equal.map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
        return if samples.is_empty() { [(labels, 1.0)].into() } else { Vector::new() };
    }
    let seconds = range.range_ns as f64 / 1e9;
    let fold = |v: &[f64]| match range.op {
        RangeOp::CountOverTime | RangeOp::BytesOverTime | RangeOp::SumOverTime => v.iter().sum(),
        RangeOp::Rate | RangeOp::BytesRate => v.iter().sum::<f64>() / seconds,
        RangeOp::MinOverTime => v.iter().copied().fold(f64::INFINITY, f64::min),
        RangeOp::MaxOverTime => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        RangeOp::AvgOverTime => mean(v),
        RangeOp::StdvarOverTime => variance(v),
        RangeOp::FirstOverTime => v[0],
        RangeOp::LastOverTime => v[v.len() - 1],
        RangeOp::QuantileOverTime => {
            let mut v = v.to_vec();
            v.sort_by(f64::total_cmp);
            let rank = range.param.unwrap_or(f64::NAN) * (v.len() - 1) as f64;
            let upper = v[(rank.floor() as usize + 1).min(v.len() - 1)];
            v[rank.floor() as usize] * (1.0 - rank.fract()) + upper * rank.fract()
        }
        op => panic!("{op:?} is not generated"),
    };
    samples.into_iter().map(|(labels, values)| (labels, fold(&values))).collect()
}

/// The labels of a row behind one of the selectors above.
fn passes(row: &Row, log: &LogExpr) -> Option<LabelMap> {
    let mut labels = row.labels();
    let stream = row.stream();
    let matches = |matcher| CompiledMatcher::new(matcher).unwrap().matches(stream.get(&matcher.name).unwrap_or(""));
    if !log.selector.iter().all(matches) {
        return None;
    }
    for stage in &log.stages {
        let is_kept = match stage {
            Stage::LineFilter(filter) if filter.op == LineFilterOp::Contains => row.line.contains('a'),
            Stage::LineFilter(_) => !row.line.contains("ab"),
            Stage::LabelFilter(LabelFilter::Text(matcher)) => labels.get(&matcher.name) == Some(&matcher.value),
            Stage::Keep(items) => {
                labels.retain(|name, _| items.contains(&LabelSelection::Name(name.clone())));
                true
            }
            Stage::Drop(items) => {
                labels.retain(|name, _| !items.contains(&LabelSelection::Name(name.clone())));
                true
            }
            other => panic!("{other:?} is not generated"),
        };
        if !is_kept {
            return None;
        }
    }
    Some(labels)
}

/// A store with the rows, in two batches, the first of them flushed.
fn store(dir: &Path, rows: &[Row], flushed: usize) -> Arc<Store> {
    let store = Store::open(dir, StorageOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (first, second) = rows.split_at(flushed.min(rows.len()));
    for (part, is_flushed) in [(first, true), (second, false)] {
        let mut batch = Batch::default();
        for row in part {
            let stream = store.stream(&TenantId::new("t"), &row.stream());
            let start = batch.rows.len();
            let id = batch.rows.metadata.intern(row.metadata());
            batch.rows.push(row.ts_ns, row.line.as_bytes(), id);
            batch.streams.push(BatchStream { stream, rows: start..start + 1 });
        }
        runtime.block_on(store.append(batch)).unwrap();
        if is_flushed {
            store.flush().unwrap();
        }
    }
    store
}

fn caller() -> Caller {
    let limits = Limits { max_query_series: 0, ..Limits::default() };
    Caller { tenants: vec![TenantId::new("t")], limits: Arc::new(limits), tags: Arc::default(), now_ns: 300 * SECOND }
}

fn range_query(text: &str, start_ns: i64, end_ns: i64) -> RangeQuery {
    RangeQuery {
        text: text.to_owned(),
        start_ns,
        end_ns,
        step_ns: SECOND,
        interval_ns: 0,
        limit: 100,
        direction: Direction::Backward,
        categorize_labels: false,
        partial_series: false,
        explain: true,
    }
}

fn label_map(labels: &Labels) -> LabelMap {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The steps of the answer and what is in them.
fn ask(engine: &Engine, query: &str, start_ns: i64, end_ns: i64, step_ns: i64) -> Vec<(i64, Vector)> {
    let query = RangeQuery { step_ns, ..range_query(query, start_ns, end_ns) };
    let answer = engine.query_range(&caller(), &query, Control::unbounded()).unwrap();
    let Data::Matrix { grid, matrix } = answer.data else { panic!("not a matrix") };
    let mut steps: Vec<(i64, Vector)> = (0..grid.len).map(|step| (grid.at(step), Vector::new())).collect();
    let mut seen = BTreeSet::new();
    for series in matrix.series {
        let labels = label_map(&series.labels);
        assert!(seen.insert(labels.clone()), "{labels:?} comes twice");
        for (step, value) in series.column.points() {
            steps[step].1.insert(labels.clone(), value);
        }
    }
    steps
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0) || a.is_nan() && b.is_nan()
}

/// The entries that a log query must answer with, in its order.
fn naive_walk(rows: &[Row], log: &LogExpr, query: &RangeQuery) -> Vec<(i64, String, LabelMap)> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    if query.direction == Direction::Backward {
        rows.reverse();
    }
    let mut kept: Vec<(i64, String, LabelMap)> = Vec::new();
    for row in rows.into_iter().filter(|row| query.start_ns <= row.ts_ns && row.ts_ns < query.end_ns) {
        let is_far = kept.last().is_none_or(|last| (last.0 - row.ts_ns).abs() >= query.interval_ns);
        if is_far && let Some(labels) = passes(row, log) {
            kept.push((row.ts_ns, row.line.clone(), labels));
        }
        if kept.len() == query.limit {
            break;
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn metric_queries_equal_a_naive_evaluator(
        rows in rows(), queries in prop::collection::vec(query(), 1..6), flushed in 0usize..60,
        start in 0i64..200, length in 0i64..200, step in prop::sample::select(vec![1i64, 5, 10, 17, 60, 200]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(store(dir.path(), &rows, flushed), &QueryConfig::default(), 4);
        let mut rows = rows;
        rows.sort_by_key(|row| row.ts_ns);
        for text in &queries {
            let Expr::Metric(expr) = logstack_logql::parse(text).unwrap() else { panic!("{text} is no metric") };
            for (t, got) in ask(&engine, text, start * SECOND, (start + length) * SECOND, step * SECOND) {
                let want = naive(&rows, &expr, t);
                let same = got.len() == want.len()
                    && got.iter().zip(&want).all(|((l, v), (wl, w))| l == wl && is_close(*v, *w));
                prop_assert!(same, "{} at {}: {:?} and not {:?}", text, t, got, want);
            }
        }
    }

    #[test]
    fn log_queries_equal_a_naive_walk(
        rows in rows(), selector in selector(), flushed in 0usize..60, start in 0i64..200, length in 0i64..200,
        limit in 1usize..70, is_forward in any::<bool>(), interval in prop::sample::select(vec![0i64, 0, 1, 9, 50]),
        ties in any::<bool>(),
    ) {
        let mut rows = rows;
        if ties && interval == 0 {
            // Simultaneous rows, in one stream only: between streams their order is nobody's promise.
            for (idx, row) in rows.iter_mut().enumerate() {
                (row.app, row.env) = (0, 1);
                row.ts_ns = row.ts_ns / (10 * SECOND) * 10 * SECOND;
                row.line = format!("{}{idx}", row.line);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(store(dir.path(), &rows, flushed), &QueryConfig::default(), 4);
        rows.sort_by_key(|row| row.ts_ns);
        let Expr::Log(log) = logstack_logql::parse(selector).unwrap() else { panic!("{selector} is a metric") };
        let query = RangeQuery {
            limit,
            interval_ns: interval * SECOND,
            direction: if is_forward { Direction::Forward } else { Direction::Backward },
            ..range_query(selector, start * SECOND, (start + length) * SECOND)
        };
        let answer = engine.query_range(&caller(), &query, Control::unbounded()).unwrap();
        let Data::Streams(streams) = answer.data else { panic!("no streams") };
        let mut want: BTreeMap<LabelMap, Vec<(i64, String)>> = BTreeMap::new();
        for (ts_ns, line, labels) in naive_walk(&rows, &log, &query) {
            want.entry(labels).or_default().push((ts_ns, line));
        }
        let mut got: BTreeMap<LabelMap, Vec<(i64, String)>> = BTreeMap::new();
        for stream in &streams {
            let entries = stream.entries.iter().map(|e| (e.timestamp_ns, String::from_utf8_lossy(&e.line).into_owned()));
            prop_assert!(got.insert(label_map(&stream.labels), entries.collect()).is_none(), "a stream comes twice");
        }
        prop_assert_eq!(got, want, "{} {:?}", selector, query);
    }
}
