//! MB/s of stored lines through pipelines, on lines shaped as real ones.
//!
//! ```text
//! cargo bench -p logstack-logql --bench pipeline [-- FILTER]
//! ```

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logstack_logql::ast::{Expr, MetricExpr, VectorAggregation};
use logstack_logql::pipeline::{Entry, Pipeline, StreamContext, Wanted};
use logstack_logql::{Labels, parse};

const LINES: usize = 2000;

fn json_lines() -> Vec<String> {
    let line = |n: usize| {
        format!(
            r#"{{"time_iso8601":"2026-01-15T10:{:02}:{:02}+00:00","remote_addr":"10.1.{}.{}","request_method":"{}","request_uri":"/_matrix/client/v3/sync?since=s{}_{}&timeout=30000","status":{},"body_bytes_sent":{},"request_time":{}.{:03},"http_referer":"https://element.example.com/","http_user_agent":"Mozilla/5.0 (X11; Linux x86_64) \"quoted\" test/1","upstream":{{"addr":"10.0.0.{}:8008","status":{},"time":"0.{:03}"}},"host":"matrix.example.com","request_id":"{:032x}"}}"#,
            n / 60 % 60,
            n % 60,
            n % 7,
            n % 251,
            ["GET", "POST", "PUT"][n % 3],
            n * 7919,
            n * 31,
            [200, 200, 200, 404, 499, 500][n % 6],
            n * 37 % 100_000,
            n % 3,
            n % 1000,
            n % 9,
            [200, 502][n % 2],
            n % 1000,
            n * 0x9e37_79b9,
        )
    };
    (0..LINES).map(line).collect()
}

fn logfmt_lines() -> Vec<String> {
    let line = |n: usize| {
        format!(
            "ts=2026-01-15T10:{:02}:{:02}.{:03}Z level={} caller=handler.go:{} msg=\"{}\" method={} status={} duration={}ms size={}B tenant=t{} ip=192.168.4.{} ratio=0.{:04} retries={} err=\"connection refused: dial tcp\"",
            n / 60 % 60,
            n % 60,
            n % 1000,
            ["info", "debug", "warn", "error"][n % 4],
            n % 300,
            ["slow call", "retrying", "cache miss"][n % 3],
            ["GET", "POST", "DELETE"][n % 3],
            [200, 204, 404, 500, 503][n % 5],
            n % 2000,
            n * 37 % 100_000,
            n % 4,
            n % 250,
            n % 10_000,
            n % 4,
        )
    };
    (0..LINES).map(line).collect()
}

fn synapse_lines() -> Vec<String> {
    let line = |n: usize| {
        format!(
            "2026-01-15 10:{:02}:{:02},{:03} - synapse.access.http.8008 - {} - {} - {}-{} - 10.244.1.{} - 8008 - {{@user{}:example.com}} Processed request: 0.{:03}sec/0.001sec (0.002sec, 0.000sec) (0.003sec/0.010sec/{}) {}B {} \"GET /_matrix/client/v3/sync?timeout=30000&since=s{} HTTP/1.1\" \"Element/1.11\" [0 dbevts]",
            n / 60 % 60,
            n % 60,
            n % 1000,
            460 + n % 9,
            ["INFO", "INFO", "INFO", "INFO", "WARNING", "ERROR"][n % 6],
            ["GET", "PUT"][n % 2],
            n * 13,
            n % 250,
            n % 500,
            n % 1000,
            n % 9,
            n * 37 % 100_000,
            [200, 200, 401, 500][n % 4],
            n * 7919,
        )
    };
    (0..LINES).map(line).collect()
}

/// The pipeline of a query, compiled for what the query looks at.
fn compile(query: &str) -> Pipeline {
    let by = |sum: &VectorAggregation| match &sum.grouping {
        Some(grouping) if !grouping.labels.is_empty() => Wanted::Only(grouping.labels.clone()),
        _ => Wanted::None,
    };
    match parse(query).unwrap_or_else(|error| panic!("{query}: {error}")) {
        Expr::Log(log) => Pipeline::compile(&log.stages, None, &Wanted::All),
        Expr::Metric(MetricExpr::Vector(sum)) => {
            let MetricExpr::Range(range) = &*sum.inner else { panic!("{query}") };
            Pipeline::compile_without_line(&range.log.stages, range.unwrap.as_ref(), &by(&sum))
        }
        other => panic!("{query}: {other:?}"),
    }
    .expect("compiles")
}

fn run(pipeline: &Pipeline, stream: &StreamContext, lines: &[String], reads_labels: bool) -> usize {
    let mut scratch = pipeline.scratch();
    let mut passed = 0;
    for (idx, line) in lines.iter().enumerate() {
        let line = line.as_bytes();
        if !pipeline.pushed_down().iter().all(|filter| filter.matches(line)) {
            continue;
        }
        let entry = Entry { timestamp_ns: idx as i64, line, metadata: &[] };
        let Some(output) = pipeline.run(stream, &entry, &mut scratch) else { continue };
        // As a log query does, which tells series apart by their labels.
        passed += if reads_labels { output.labels().map(|(name, value, _)| name.len() + value.len()).sum() } else { 1 };
    }
    passed
}

/// Name, lines, and queries by name.
type Kind = (&'static str, Vec<String>, &'static [(&'static str, &'static str)]);

fn bench(c: &mut Criterion) {
    let labels = [("namespace", "matrix"), ("pod", "synapse-0"), ("app", "synapse"), ("stream", "stdout")];
    let stream = StreamContext::new(Labels::from_pairs(labels));
    let kinds: [Kind; 3] = [
        (
            "json",
            json_lines(),
            &[
                ("all", "{a=\"b\"} | json"),
                ("all_labels", "{a=\"b\"} | json"),
                ("filter", "{a=\"b\"} | json | status=\"500\""),
                ("number_filter", "{a=\"b\"} | json | status>=500"),
                ("sum_by", "sum by (status) (count_over_time({a=\"b\"} | json [1m]))"),
                ("sum_by_nested", "sum by (upstream_status) (count_over_time({a=\"b\"} | json [1m]))"),
                ("unwrap", "sum by (host) (sum_over_time({a=\"b\"} | json | unwrap request_time [1m]))"),
                ("paths", "{a=\"b\"} | json s=\"status\", u=\"upstream.addr\""),
                ("line_format", "{a=\"b\"} | json | line_format \"{{.request_method}} {{.request_uri}} {{.status}}\""),
            ],
        ),
        (
            "logfmt",
            logfmt_lines(),
            &[
                ("all", "{a=\"b\"} | logfmt"),
                ("filter", "{a=\"b\"} | logfmt | status=\"500\""),
                ("sum_by", "sum by (status) (count_over_time({a=\"b\"} | logfmt [1m]))"),
                ("named", "{a=\"b\"} | logfmt status, took=\"duration\""),
                ("unwrap", "sum by (tenant) (sum_over_time({a=\"b\"} | logfmt | unwrap duration(duration) [1m]))"),
            ],
        ),
        (
            "text",
            synapse_lines(),
            &[
                ("contains", "{a=\"b\"} |= \"ERROR\""),
                ("contains_rare", "{a=\"b\"} |= \"deadlock\""),
                ("contains_any", "{a=\"b\"} |= \"deadlock\" or \"panic\" or \"fatal\""),
                ("contains_not", "{a=\"b\"} != \"INFO\""),
                ("regex", "{a=\"b\"} |~ \"PUT-\\\\d+ .* 500 \""),
                ("regex_ignore_case", "{a=\"b\"} |~ \"(?i)deadlock\""),
                ("regex_alternatives", "{a=\"b\"} |~ \"WARN|ERR\""),
                ("pattern_filter", "{a=\"b\"} |> \"<_> - ERROR - <_>\""),
                ("ip", "{a=\"b\"} |= ip(\"10.244.1.7\")"),
                ("regexp", "{a=\"b\"} | regexp \"request: (?P<took>[0-9.]+)sec.* (?P<code>\\\\d{3}) \\\"\""),
                ("pattern", "{a=\"b\"} | pattern \"<_> - <logger> - <_> - <level> - <_>\" | level=\"ERROR\""),
            ],
        ),
    ];
    for (kind, lines, queries) in kinds {
        let mut group = c.benchmark_group(kind);
        group.throughput(Throughput::Bytes(lines.iter().map(|line| line.len() as u64).sum()));
        for (name, query) in queries {
            let pipeline = compile(query);
            group.bench_function(*name, |b| b.iter(|| run(&pipeline, &stream, &lines, name.ends_with("labels"))));
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
