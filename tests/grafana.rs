//! What Grafana asks, request by request, and what it does with the answers: data sources of 7.5, 9.4, 11 and 12, 13,
//! and Logs Drilldown.
//!
//! Source: contract http-api.md, section 4.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::Process;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const CATEGORIZE: (&str, &str) = ("X-Loki-Response-Encoding-Flags", "categorize-labels");

struct Grafana {
    process: Process,
    client: reqwest::Client,
    /// The newest line.
    now_ns: i64,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: u16,
    kind: String,
    text: String,
}

impl Reply {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        assert!(self.kind.starts_with("application/json"), "{}", self.kind);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The result of a query, of the type that Grafana expects; the order of keys, which its parser depends on.
    #[track_caller]
    fn result(&self, kind: &str) -> Vec<Value> {
        let answer = self.json();
        assert_eq!(answer["data"]["resultType"], kind);
        let at = |key: &str| self.text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {}", self.text));
        assert!(at("status") < at("data") && at("resultType") < at("result") && at("result") < at("stats"));
        if let Some(flags) = self.text.find("\"encodingFlags\":") {
            assert!(at("resultType") < flags && flags < at("result"));
        }
        for key in [
            "bytesProcessedPerSecond",
            "linesProcessedPerSecond",
            "totalBytesProcessed",
            "totalLinesProcessed",
            "execTime",
        ] {
            assert!(answer["data"]["stats"]["summary"][key].is_number(), "{key}");
        }
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

/// Lines of all streams with their timestamps, oldest first.
fn lines(result: &[Value]) -> Vec<(i64, String)> {
    let values = result.iter().flat_map(|stream| stream["values"].as_array().unwrap());
    let mut lines: Vec<(i64, String)> = values
        .map(|value| (value[0].as_str().unwrap().parse().unwrap(), value[1].as_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    lines
}

/// The number of points of all series, and their sum.
fn points(result: &[Value]) -> (usize, f64) {
    let values: Vec<f64> = result
        .iter()
        .flat_map(|series| series["values"].as_array().unwrap())
        .map(|point| {
            assert!(point[0].is_number());
            point[1].as_str().unwrap().parse::<f64>().unwrap()
        })
        .collect();
    (values.len(), values.iter().sum())
}

impl Grafana {
    /// An engine with an hour of lines of two services: logfmt of `web`, JSON of `api`, every ten seconds.
    async fn new() -> Self {
        let grafana = Self::empty().await;
        let mut web = Vec::new();
        let mut api = Vec::new();
        for n in 0..360 {
            let at = (grafana.now_ns - n * 10 * SECOND).to_string();
            let level = if n % 10 == 0 { "error" } else { "info" };
            web.push(json!([at, format!("level={level} method=GET path=/sync took={n}ms size={n}KB")]));
            let line = json!({"level": level, "http": {"status": 200 + n % 3}, "msg": "served"}).to_string();
            api.push(json!([at, line, {"trace_id": format!("t{}", n % 4)}]));
        }
        let body = json!({"streams": [
            {"stream": {"service_name": "web", "env": "prod", "pod": "web-0"}, "values": web},
            {"stream": {"service_name": "api", "env": "prod", "pod": "api-0"}, "values": api},
        ]});
        let request = grafana.client.post(format!("{}/loki/api/v1/push", grafana.process.url())).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 204);
        grafana
    }

    async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::engine_with(dir.path(), "auth_enabled: false\n");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self { process, client: common::client(), now_ns: now.as_nanos() as i64, _dir: dir }
    }

    async fn ask(&self, path: &str, params: &[(&str, &str)], headers: &[(&str, &str)]) -> Reply {
        let mut request = self.client.get(format!("{}{path}", self.process.url())).query(params);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        Reply { status, kind: kind.unwrap_or_default(), text: response.text().await.unwrap() }
    }

    async fn get(&self, path: &str, params: &[(&str, &str)]) -> Value {
        self.ask(path, params, &[]).await.json()
    }

    /// `start` and `end` of the last `minutes`.
    fn last(&self, minutes: i64) -> (String, String) {
        ((self.now_ns - minutes * MINUTE).to_string(), (self.now_ns + 1).to_string())
    }
}

#[tokio::test]
async fn version_7_5() {
    let grafana = Grafana::new().await;
    let (start, end) = grafana.last(10);
    // Save & test wants a list that is not empty.
    let labels = grafana.get("/loki/api/v1/label", &[("start", &start)]).await;
    assert!(labels["data"].as_array().unwrap().contains(&json!("env")));
    let values = grafana.get("/loki/api/v1/label/service_name/values", &[("start", &start), ("end", &end)]).await;
    assert_eq!(values["data"], json!(["api", "web"]));
    let series = grafana.get("/loki/api/v1/series", &[("match[]", "{env=\"prod\"}"), ("start", &start)]).await;
    assert_eq!(series["data"].as_array().unwrap().len(), 2);

    let range = [("start", start.as_str()), ("end", &end), ("direction", "BACKWARD"), ("limit", "1000")];
    let log = [&[("query", "{service_name=\"web\"}"), ("step", "0.25")], &range[..]].concat();
    let result = grafana.ask("/loki/api/v1/query_range", &log, &[]).await.result("streams");
    assert_eq!(lines(&result).len(), 61);
    for value in result.iter().flat_map(|stream| stream["values"].as_array().unwrap()) {
        assert_eq!(value.as_array().unwrap().len(), 2, "a third element breaks it");
    }
    let volume =
        [&[("query", "sum by (level) (count_over_time({env=\"prod\"} | logfmt [10s]))"), ("step", "10.5")], &range[..]];
    let result = grafana.ask("/loki/api/v1/query_range", &volume.concat(), &[]).await.result("matrix");
    assert!(points(&result).0 > 50);
}

#[tokio::test]
async fn version_9_4() {
    let empty = Grafana::empty().await;
    let (start, end) = empty.last(10);
    let labels = empty.get("/loki/api/v1/labels", &[("start", &start), ("end", &end)]).await;
    assert_eq!(labels, json!({"status": "success"}), "connected, and no labels");

    let grafana = Grafana::new().await;
    let (start, end) = grafana.last(10);
    let labels = grafana.get("/loki/api/v1/labels", &[("start", &start), ("end", &end)]).await;
    assert_eq!(labels["data"], json!(["env", "pod", "service_name"]));
    let matches = [("match[]", "{service_name=\"web\"}"), ("start", &start), ("end", &end)];
    assert_eq!(grafana.get("/loki/api/v1/series", &matches).await["data"][0]["pod"], "web-0");

    let range = [("start", start.as_str()), ("end", &end), ("direction", "backward"), ("step", "137ms")];
    let log = [&[("query", "{env=\"prod\"} |= \"error\""), ("limit", "1000")], &range[..]].concat();
    let result = grafana.ask("/loki/api/v1/query_range", &log, &[]).await.result("streams");
    assert_eq!(lines(&result).len(), 14, "two services, a tenth of 61 each");
    assert!(result.iter().flat_map(|s| s["values"].as_array().unwrap()).all(|v| v.as_array().unwrap().len() == 2));
    let query = "sum by (level) (count_over_time({service_name=\"web\"} | logfmt [5s]))";
    let volume = [("query", query), ("start", &start), ("end", &end), ("direction", "backward"), ("step", "5000ms")];
    let result = grafana.ask("/loki/api/v1/query_range", &volume, &[]).await.result("matrix");
    assert_eq!(result.iter().map(|series| &series["metric"]["level"]).collect::<Vec<_>>(), ["error", "info"]);
    assert!((points(&result).1 - 61.0).abs() < 2.0, "{:?}", points(&result));
    let instant = [("query", "count_over_time({service_name=\"web\"}[1m])"), ("time", &end), ("direction", "backward")];
    assert_eq!(grafana.ask("/loki/api/v1/query", &instant, &[]).await.result("vector").len(), 2);
}

/// Save & test since 10.2, Explore and dashboards as the backends of 11 to 13 ask.
async fn backend(grafana: &Grafana) {
    let health = [("direction", "backward"), ("query", "vector(1)+vector(1)"), ("time", "4000000000")];
    let result = grafana.ask("/loki/api/v1/query", &health, &[]).await.result("vector");
    assert_eq!(result, [json!({"metric": {}, "value": [4_000_000_000_i64, "2"]})]);

    let (start, end) = grafana.last(30);
    let range = [("start", start.as_str()), ("end", &end), ("direction", "backward"), ("step", "1500ms")];
    let log = [&[("query", "{service_name=\"api\"} | json"), ("limit", "1000")], &range[..]].concat();
    let headers = [
        CATEGORIZE,
        ("X-Query-Tags", "Source=datasample"),
        ("X-Dashboard-Uid", "d"),
        ("X-Panel-Id", "1"),
        ("X-Datasource-Uid", "logs"),
        ("X-Grafana-Org-Id", "1"),
    ];
    let reply = grafana.ask("/loki/api/v1/query_range", &log, &headers).await;
    let result = reply.result("streams");
    assert_eq!(reply.json()["data"]["encodingFlags"], json!(["categorize-labels"]));
    for stream in &result {
        assert_eq!(stream["stream"], json!({"env": "prod", "pod": "api-0", "service_name": "api"}));
        for value in stream["values"].as_array().unwrap() {
            assert!(value[2]["structuredMetadata"]["trace_id"].is_string() && value[2]["parsed"]["msg"] == "served");
        }
    }
    let plain = [&[("query", "{service_name=\"web\"}"), ("limit", "1")], &range[..]].concat();
    let result = grafana.ask("/loki/api/v1/query_range", &plain, &headers).await.result("streams");
    assert_eq!(result[0]["values"][0][2], json!({"structuredMetadata": {"detected_level": "error"}}));

    let stats =
        grafana.get("/loki/api/v1/index/stats", &[("query", "{env=\"prod\"}"), ("start", &start), ("end", &end)]).await;
    assert_eq!(stats["streams"], 2);
    assert!(["chunks", "bytes", "entries"].iter().all(|key| stats[key].as_u64().unwrap() > 0), "{stats}");

    let query = "sum by (level, detected_level) (count_over_time({env=\"prod\"} | drop __error__[10s]))";
    let volume = [("query", query), ("start", &start), ("end", &end), ("direction", "backward"), ("step", "10000ms")];
    let tags = [CATEGORIZE, ("X-Query-Tags", "Source=logvolhist")];
    let result = grafana.ask("/loki/api/v1/query_range", &volume, &tags).await.result("matrix");
    assert_eq!(result.iter().map(|s| &s["metric"]["detected_level"]).collect::<Vec<_>>(), ["error", "info"]);

    // Long ranges come in pieces, the newest first; an entry at a seam is in one of them.
    let middle = (grafana.now_ns - 15 * MINUTE).to_string();
    let piece = async |start: &str, end: &str| {
        let params =
            [("query", "{env=\"prod\"}"), ("start", start), ("end", end), ("limit", "1000"), ("step", "1000ms")];
        lines(&grafana.ask("/loki/api/v1/query_range", &params, &[CATEGORIZE]).await.result("streams"))
    };
    let (newer, older) = (piece(&middle, &end).await, piece(&start, &middle).await);
    let mut both = [older.clone(), newer.clone()].concat();
    both.sort();
    assert_eq!(both, piece(&start, &end).await);
    assert!(!older.iter().any(|line| newer.contains(line)));

    // The context of a row: both ways from it, and each neighbour once.
    let row = (grafana.now_ns - 10 * MINUTE).to_string();
    let context = async |start: &str, end: &str, direction: &str| {
        let params =
            [("query", "{pod=\"web-0\"}"), ("start", start), ("end", end), ("direction", direction), ("limit", "11")];
        lines(&grafana.ask("/loki/api/v1/query_range", &params, &[CATEGORIZE]).await.result("streams"))
    };
    let (before, after) = (context(&start, &row, "backward").await, context(&row, &end, "forward").await);
    assert_eq!((before.len(), after.len(), after[0].0.to_string()), (11, 11, row), "the start is in the range");
    assert!(!before.iter().any(|line| after.contains(line)));

    // Alerts: many small instant queries; nothing found is an empty vector.
    let alert = [("query", "sum(count_over_time({env=\"none\"}[1m])) > 5"), ("time", end.as_str())];
    assert_eq!(grafana.ask("/loki/api/v1/query", &alert, &[]).await.result("vector"), Vec::<Value>::new());
    let alert = [("query", "sum by (service_name) (count_over_time({env=\"prod\"}[5m])) > 5"), ("time", end.as_str())];
    assert_eq!(grafana.ask("/loki/api/v1/query", &alert, &[]).await.result("vector").len(), 2);
    // The text of an error is what the panel shows.
    let wrong = grafana.ask("/loki/api/v1/query_range", &[("query", "{env=")], &[]).await;
    assert_eq!((wrong.status, wrong.kind.as_str()), (400, "text/plain; charset=utf-8"));
    assert!(wrong.text.starts_with("parse error at line 1") && !wrong.text.ends_with('\n'));
}

#[tokio::test]
async fn versions_11_and_12() {
    let grafana = Grafana::new().await;
    backend(&grafana).await;
    let values = [("query", "{service_name=\"web\"}")];
    assert_eq!(grafana.get("/loki/api/v1/label/pod/values", &values).await["data"], json!(["web-0"]));
    // Whether there is a ruler, and what it has.
    let probe = grafana.ask("/api/prom/rules/test/test", &[], &[]).await;
    assert_eq!((probe.status, probe.text.as_str()), (404, "404 page not found\n"));
    assert_eq!(grafana.get("/prometheus/api/v1/rules", &[]).await["data"], json!({"groups": []}));
    assert_eq!(grafana.get("/prometheus/api/v1/alerts", &[]).await["data"], json!({"alerts": []}));
    assert!(grafana.get("/loki/api/v1/status/buildinfo", &[]).await["version"].as_str().unwrap().starts_with("3."));
}

#[tokio::test]
async fn version_13() {
    let grafana = Grafana::new().await;
    backend(&grafana).await;
    let (start, end) = grafana.last(60);
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let with = |more: &[(&'static str, &'static str)]| [more, &range[..]].concat();
    let names = grafana.get("/loki/api/v1/labels", &with(&[("query", "{service_name=\"web\"}")])).await;
    assert_eq!(names["data"], json!(["env", "pod", "service_name"]));
    // Shard splitting falls back where there are no shards; a label that is not there equals an empty one.
    assert_eq!(grafana.get("/loki/api/v1/label/__stream_shard__/values", &range).await, json!({"status": "success"}));
    let unsharded = with(&[("query", "{env=\"prod\", __stream_shard__=\"\"}"), ("limit", "5")]);
    let result = grafana.ask("/loki/api/v1/query_range", &unsharded, &[CATEGORIZE]).await.result("streams");
    assert_eq!(lines(&result).len(), 5);
    let fields = with(&[("query", "{env=\"prod\"}"), ("limit", "1000")]);
    let detected = grafana.get("/loki/api/v1/detected_fields", &fields).await;
    assert!(detected["fields"].as_array().unwrap().iter().any(|field| field["label"] == "took"));
    let values = grafana.get("/loki/api/v1/detected_field/method/values", &fields).await;
    assert_eq!(values["values"], json!(["GET"]));
    assert_eq!(grafana.ask("/loki/api/v2alpha/tail", &[("query", "{a=\"b\"}")], &[]).await.status, 404);
}

#[tokio::test]
async fn drilldown() {
    let grafana = Grafana::new().await;
    let app = [("X-Query-Tags", "Source=grafana-lokiexplore-app"), CATEGORIZE];
    // Times as the app writes them: RFC 3339 with milliseconds.
    let at = |ns: i64| jiff::Timestamp::from_millisecond(ns / 1_000_000).unwrap().to_string();
    let (start, end) = (at(grafana.now_ns - 61 * MINUTE), at(grafana.now_ns + SECOND));
    let ask = async |path: &str, params: &[(&str, &str)]| {
        let range = [("start", start.as_str()), ("end", end.as_str())];
        grafana.ask(path, &[params, &range[..]].concat(), &app).await
    };
    let limits = ask("/loki/api/v1/drilldown-limits", &[]).await.json();
    assert_eq!(
        (&limits["pattern_ingester_enabled"], &limits["limits"]["volume_enabled"]),
        (&json!(true), &json!(true))
    );
    assert!(limits["limits"]["retention_period"].is_string() && limits["limits"]["max_query_length"].is_string());

    let volume = ask("/loki/api/v1/index/volume", &[("query", "{service_name=~\".+\"}"), ("limit", "5000")]).await;
    let services: Vec<Value> =
        volume.result("vector").iter().map(|row| row["metric"]["service_name"].clone()).collect();
    assert_eq!(services.len(), 2);
    for service in services {
        let selector = format!("{{service_name={service}}}");
        let card = format!("sum by (detected_level) (count_over_time({selector} [60s]))");
        let result = ask("/loki/api/v1/query_range", &[("query", &card), ("step", "60s")]).await.result("matrix");
        assert_eq!(result.len(), 2, "{selector}");
        let logs = format!("{selector} | json | logfmt | drop __error__, __error_details__");
        let result = ask("/loki/api/v1/query_range", &[("query", &logs), ("limit", "100")]).await.result("streams");
        assert_eq!(lines(&result).len(), 100);

        let labels = ask("/loki/api/v1/detected_labels", &[("query", &selector)]).await.json();
        for label in labels["detectedLabels"].as_array().unwrap() {
            let name = label["label"].as_str().unwrap();
            let query = format!("sum(count_over_time({selector} | {name} != \"\" [60s])) by ({name})");
            assert!(
                points(&ask("/loki/api/v1/query_range", &[("query", &query), ("step", "60s")]).await.result("matrix"))
                    .0
                    > 0
            );
        }
        let fields = ask("/loki/api/v1/detected_fields", &[("query", &selector)]).await.json();
        let fields = fields["fields"].as_array().unwrap().clone();
        assert!(fields.len() >= 3, "{fields:?}");
        for field in fields {
            let name = field["label"].as_str().unwrap();
            let parsers: Vec<&str> =
                field["parsers"].as_array().map_or(Vec::new(), |p| p.iter().map(|p| p.as_str().unwrap()).collect());
            let mut stages: String = parsers.iter().map(|parser| format!(" | {parser}")).collect();
            if let Some(path) = field["jsonPath"].as_array() {
                let path: String = path.iter().map(|key| format!("[\\\"{}\\\"]", key.as_str().unwrap())).collect();
                stages = format!(" | json {name}=\"{path}\"");
            }
            stages += " | drop __error__, __error_details__";
            let query = match field["type"].as_str().unwrap() {
                kind @ ("duration" | "bytes") => format!(
                    "avg_over_time({selector}{stages} | {name} != \"\" | unwrap {kind}({name}) | __error__=\"\" [60s]) by ()"
                ),
                "float" => format!(
                    "avg_over_time({selector}{stages} | {name} != \"\" | unwrap {name} | __error__=\"\" [60s]) by ()"
                ),
                _ => format!("sum by ({name}) (count_over_time({selector}{stages} | {name} != \"\" [60s]))"),
            };
            let result = ask("/loki/api/v1/query_range", &[("query", &query), ("step", "60s")]).await.result("matrix");
            assert!(points(&result).0 > 0, "{query}");
            let values =
                ask(&format!("/loki/api/v1/detected_field/{name}/values"), &[("query", &selector)]).await.json();
            assert!(!values["values"].as_array().unwrap().is_empty(), "{name}");
        }

        let patterns = ask("/loki/api/v1/patterns", &[("query", &selector), ("step", "60s")]).await.json();
        let patterns = patterns["data"].as_array().unwrap().clone();
        assert!(!patterns.is_empty(), "{selector}");
        let mut total = 0;
        for pattern in patterns {
            let samples = pattern["samples"].as_array().unwrap();
            total += samples.iter().map(|sample| sample[1].as_u64().unwrap()).sum::<u64>();
            // Choosing one adds it as a filter: it must match.
            let text = serde_json::to_string(&pattern["pattern"]).unwrap();
            let query = format!("{selector} |> {text}");
            let result = ask("/loki/api/v1/query_range", &[("query", &query), ("limit", "10")]).await.result("streams");
            assert_eq!(lines(&result).len(), 10, "{query}");
        }
        assert_eq!(total, 360, "every line has a pattern");
    }
}
