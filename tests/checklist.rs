//! The checks that the API contract asks for, one test each.
//!
//! | check | where |
//! |---|---|
//! | 1 five encodings, 2 times, 3 key order, 4 grids, 5 empty answers, 7 limits, 10 partial pushes, 11 seams, 12 logcli | here |
//! | 6 every text of a refused entry | `engine/tests/push/` and the recorded answers (`errors_api`) |
//! | 8 tail | `tests/tail.rs` |
//! | 9 tenants | `tests/tenants.rs` |
//! | 11 context of a row | `tests/grafana.rs`, too |

mod common;

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use common::Process;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-22T12:00:00Z; old samples are let in.
const T: i64 = 1_795_348_800;
const OPEN: &str = "auth_enabled: false\nlimits_config: {reject_old_samples: false, max_query_length: 0, \
                    creation_grace_period: 87600h}\n";

struct Api {
    process: Process,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Api {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { process: Process::engine_with(dir.path(), OPEN), client: common::client(), _dir: dir }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
        let mut request = self.client.post(format!("{}{path}", self.process.url())).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn push(&self, labels: Value, values: Vec<Value>) -> (u16, String) {
        let body = json!({"streams": [{"stream": labels, "values": values}]}).to_string();
        self.post("/loki/api/v1/push", &[("Content-Type", "application/json")], body.into_bytes()).await
    }

    async fn get(&self, path: &str, params: &[(&str, &str)]) -> (u16, String) {
        self.get_with(path, params, &[]).await
    }

    async fn get_with(&self, path: &str, params: &[(&str, &str)], headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = self.client.get(format!("{}/loki/api/v1/{path}", self.process.url())).query(params);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn json(&self, path: &str, params: &[(&str, &str)]) -> Value {
        let (status, text) = self.get(path, params).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn ns(second: i64) -> String {
    (second * SECOND).to_string()
}

/// A protobuf field with bytes in it.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn protobuf_push(labels: &str, seconds: i64, line: &str) -> Vec<u8> {
    let mut timestamp = vec![1 << 3];
    varint(&mut timestamp, seconds as u64);
    let entry = [field(1, &timestamp), field(2, line.as_bytes())].concat();
    let stream = [field(1, labels.as_bytes()), field(2, &entry)].concat();
    snap::raw::Encoder::new().compress_vec(&field(1, &stream)).unwrap()
}

fn otlp(service: &str, seconds: i64, line: &str) -> Vec<u8> {
    let text = |text: &str| field(1, text.as_bytes());
    let attribute = [field(1, b"service.name"), field(2, &text(service))].concat();
    let mut record = vec![1 << 3 | 1];
    record.extend_from_slice(&((seconds * SECOND) as u64).to_le_bytes());
    record.extend(field(5, &text(line)));
    let scope = field(2, &record);
    field(1, &[field(1, &field(1, &attribute)), field(2, &scope)].concat())
}

#[tokio::test]
async fn check_1_five_encodings_of_one_line() {
    let api = Api::new();
    let body = |second: i64| {
        json!({"streams": [{"stream": {"service_name": "web"}, "values": [[ns(second), "a line"]]}]}).to_string()
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body(T + 1).as_bytes()).unwrap();
    let otlp_json = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
        "scopeLogs": [{"logRecords": [{"timeUnixNano": ns(T + 4), "body": {"stringValue": "a line"}}]}],
    }]});
    let (json, protobuf) = (("Content-Type", "application/json"), ("Content-Type", "application/x-protobuf"));
    for (path, headers, body) in [
        ("/loki/api/v1/push", vec![json], body(T).into_bytes()),
        ("/loki/api/v1/push", vec![json, ("Content-Encoding", "gzip")], gzip.finish().unwrap()),
        ("/loki/api/v1/push", vec![protobuf], protobuf_push("{service_name=\"web\"}", T + 2, "a line")),
        ("/otlp/v1/logs", vec![protobuf], otlp("web", T + 3, "a line")),
        ("/otlp/v1/logs", vec![json], otlp_json.to_string().into_bytes()),
    ] {
        assert_eq!(api.post(path, &headers, body).await, (204, String::new()), "{path} {headers:?}");
    }
    let (start, end) = (ns(T), ns(T + 10));
    let params = [("query", "{service_name=\"web\"}"), ("start", &*start), ("end", &end), ("direction", "forward")];
    let answer = api.json("query_range", &params).await;
    let want: Vec<Value> = (0..5).map(|n| json!([ns(T + n), "a line"])).collect();
    assert_eq!(
        answer["data"]["result"],
        json!([{
            "stream": {"service_name": "web", "detected_level": "unknown"},
            "values": want,
        }])
    );
}

#[tokio::test]
async fn check_2_instants() {
    let api = Api::new();
    let health = [("query", "vector(1)+vector(1)"), ("time", "4000000000")];
    assert_eq!(
        api.json("query", &health).await["data"]["result"],
        json!([{"metric": {}, "value": [4_000_000_000_i64, "2"]}])
    );
    api.push(json!({"app": "x"}), vec![json!(["1795348800000", "of 1970"])]).await;
    // Thirteen digits are nanoseconds.
    let millis = [("query", "{app=\"x\"}"), ("start", "1795348800000"), ("end", "1795348800001")];
    assert_eq!(
        api.json("query_range", &millis).await["data"]["result"][0]["values"],
        json!([["1795348800000", "of 1970"]])
    );
    let (status, text) = api.get("query_range", &[("query", "{app=\"x\"}"), ("start", "now-1h")]).await;
    assert_eq!((status, text.starts_with("could not parse 'start' parameter: ")), (400, true), "{text}");
}

#[tokio::test]
async fn check_3_order_of_keys() {
    let api = Api::new();
    api.push(json!({"app": "x"}), vec![json!([ns(T), "level=info", {"m": "1"}]), json!([ns(T + 1), "two"])]).await;
    let (start, end) = (ns(T), ns(T + 10));
    let params = [
        ("query", "{app=\"x\"} | drop detected_level, service_name"),
        ("start", &start),
        ("end", &end),
        ("direction", "forward"),
    ];
    let (_, plain) = api.get("query_range", &params).await;
    let head = |text: &str| text.split(r#","stats":{"summary":{"#).next().unwrap().to_owned();
    let t = ns(T);
    let t1 = ns(T + 1);
    assert_eq!(
        head(&plain),
        format!(
            r#"{{"status":"success","data":{{"resultType":"streams","result":[{{"stream":{{"app":"x","m":"1"}},"values":[["{t}","level=info"]]}},{{"stream":{{"app":"x"}},"values":[["{t1}","two"]]}}]"#
        )
    );
    assert!(plain.ends_with("}}}\n") || plain.ends_with("}}\n"));
    let flags = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let (_, categorized) = api.get_with("query_range", &params, &flags).await;
    assert_eq!(
        head(&categorized),
        format!(
            r#"{{"status":"success","data":{{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{{"stream":{{"app":"x"}},"values":[["{t}","level=info",{{"structuredMetadata":{{"m":"1"}}}}],["{t1}","two",{{}}]]}}]"#
        )
    );
}

#[tokio::test]
async fn check_4_grids() {
    let api = Api::new();
    let values = (0..100).map(|n| json!([ns(T + n), format!("line {n}")])).collect();
    api.push(json!({"app": "x"}), values).await;
    let times = async |start: i64, end: i64, step: &str| {
        let (start, end) = (start.to_string(), end.to_string());
        let query = ("query", "sum(count_over_time({app=\"x\"}[10m]))");
        let answer = api.json("query_range", &[query, ("start", &start), ("end", &end), ("step", step)]).await;
        let values = answer["data"]["result"][0]["values"].as_array().unwrap().clone();
        values.iter().map(|value| value[0].as_f64().unwrap() - T as f64).collect::<Vec<_>>()
    };
    assert_eq!(times(T + 51, T + 111, "30").await, [30.0, 60.0, 90.0, 120.0]);
    assert_eq!(times(T + 1, T + 4, "1500ms").await, [0.0, 1.5, 3.0, 4.5]);
    for query in ["{app=\"x\"}", "rate({app=\"x\"}[1m])"] {
        let (start, end) = (T.to_string(), (T + 11_001).to_string());
        let (status, text) =
            api.get("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "1")]).await;
        assert_eq!((status, text.starts_with("exceeded maximum resolution of 11,000 points")), (400, true), "{text}");
    }
}

#[tokio::test]
async fn check_5_empty_answers() {
    let api = Api::new();
    let selector = ("query", "{app=\"x\"}");
    for (path, params, want) in [
        ("labels", &[][..], "{\"status\":\"success\"}\n"),
        ("label/app/values", &[], "{\"status\":\"success\"}\n"),
        ("series", &[("match[]", "{app=\"x\"}")], "{\"status\":\"success\",\"data\":[]}\n"),
        ("detected_labels", &[selector], "{}\n"),
        ("detected_fields", &[selector], "{}\n"),
        ("detected_field/x/values", &[selector], "{}\n"),
        ("patterns", &[selector], "{\"status\":\"success\",\"data\":[]}\n"),
        ("index/stats", &[selector], "{\"streams\":0,\"chunks\":0,\"bytes\":0,\"entries\":0}\n"),
    ] {
        assert_eq!(api.get(path, params).await, (200, want.to_owned()), "{path}");
    }
    let volume = api.json("index/volume", &[selector]).await;
    assert_eq!((&volume["data"]["resultType"], &volume["data"]["result"]), (&json!("vector"), &json!([])));
}

#[tokio::test]
async fn check_7_limits() {
    let api = Api::new();
    let check = async |query: &str, limit: &str, want: (u16, &str)| {
        let (status, text) = api.get("query_range", &[("query", query), ("limit", limit)]).await;
        assert_eq!((status, text.starts_with(want.1)), (want.0, true), "{query} {limit}: {text}");
    };
    let too_many = "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)";
    check("{app=\"x\"}", "5001", (400, too_many)).await;
    check("rate({app=\"x\"}[1m])", "5001", (200, "{")).await;
    check("{app=\"x\"}", "0", (400, "limit must be a positive value")).await;
    check("rate({app=\"x\"}[1m])", "0", (400, "limit must be a positive value")).await;
}

#[tokio::test]
async fn check_10_a_push_with_something_good_is_never_422_or_413() {
    let api = Api::new();
    let long = "x".repeat(300_000);
    let (status, text) = api.push(json!({"app": "x"}), vec![json!([ns(T), long]), json!([ns(T + 1), "good"])]).await;
    assert_eq!(
        (status, text.ends_with('\n')),
        (400, true),
        "what Fluent Bit drops, and does not send for ever: {text}"
    );
    let (start, end) = (ns(T), ns(T + 10));
    let answer = api.json("query_range", &[("query", "{app=\"x\"}"), ("start", &start), ("end", &end)]).await;
    assert_eq!(answer["data"]["result"][0]["values"], json!([[ns(T + 1), "good"]]));
    assert_eq!(api.push(json!({"app": "y"}), Vec::new()).await.0, 204, "a stream without entries is a stream");
    let nothing =
        api.post("/loki/api/v1/push", &[("Content-Type", "application/json")], b"{\"streams\":[]}".to_vec()).await;
    assert_eq!(nothing, (422, "error at least one valid stream is required for ingestion\n".to_owned()));
}

#[tokio::test]
async fn check_12_what_logcli_and_the_canary_ask() {
    let api = Api::new();
    // Groups of seven lines share a timestamp, and pages end within them.
    let total = 5200;
    let values: Vec<Value> =
        (0..total).map(|n| json!([(T * SECOND + n / 7).to_string(), format!("line {n:04}")])).collect();
    api.push(json!({"job": "many"}), values).await;
    for direction in ["BACKWARD", "FORWARD"] {
        let (mut start, mut end) = (T * SECOND, T * SECOND + total);
        let mut all: Vec<(i64, String)> = Vec::new();
        loop {
            let (from, to) = (start.to_string(), end.to_string());
            let params = [
                ("direction", direction),
                ("end", &*to),
                ("limit", "1000"),
                ("query", "{job=\"many\"}"),
                ("start", &*from),
            ];
            let answer = api.json("query_range", &params).await;
            let page =
                answer["data"]["result"].as_array().unwrap().iter().flat_map(|s| s["values"].as_array().unwrap());
            let page =
                page.map(|v| (v[0].as_str().unwrap().parse::<i64>().unwrap(), v[1].as_str().unwrap().to_owned()));
            let new: Vec<_> = page.filter(|entry| !all.contains(entry)).collect();
            let Some(last) = new.last() else { break };
            // The page begins again at the last timestamp; what was seen is dropped.
            if direction == "BACKWARD" {
                end = last.0 + 1
            } else {
                start = last.0
            }
            all.extend(new);
        }
        let want: Vec<String> = (0..total).map(|n| format!("line {n:04}")).collect();
        let mut got: Vec<String> = all.iter().map(|entry| entry.1.clone()).collect();
        if direction == "BACKWARD" {
            got.reverse();
        }
        assert_eq!(got, want, "{direction}: each line once, equal timestamps in the order of arrival");
    }

    let (start, end) = (ns(T), ns(T + 3600));
    let range = [("start", &*start), ("end", &*end)];
    let series = api.json("series", &[&[("match", "{job=\"many\"}")], &range[..]].concat()).await;
    assert_eq!(series["data"], json!([{"job": "many", "service_name": "many"}]), "logcli says `match`");
    let stats = api.json("index/stats", &[&[("query", "{job=\"many\"}")], &range[..]].concat()).await;
    assert_eq!((&stats["streams"], &stats["entries"]), (&json!(1), &json!(total)));
    let volume = api
        .json(
            "index/volume_range",
            &[&[("query", "{job=\"many\"}"), ("step", "3600"), ("limit", "30")], &range[..]].concat(),
        )
        .await;
    assert!(volume["data"]["result"][0]["metric"]["job"] == "many");

    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let canary = json!({"name": "loki-canary", "stream": "stdout"});
    for n in 0..5 {
        let at = now_ns - n * SECOND;
        assert_eq!(api.push(canary.clone(), vec![json!([at.to_string(), format!("{at} ppppp")])]).await.0, 204);
    }
    let time = (now_ns + 1).to_string();
    let query = "count_over_time({stream=\"stdout\",name=\"loki-canary\"}[60s])";
    for headers in [&[][..], &[("Cache-Control", "no-cache")]] {
        let params = [("query", query), ("time", &*time), ("limit", "1000")];
        let (status, text) = api.get_with("query", &params, headers).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, answer["data"]["result"].as_array().unwrap().len()), (200, 1), "exactly one series");
        assert_eq!(answer["data"]["result"][0]["value"][1], "5");
    }
}
