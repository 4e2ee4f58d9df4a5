//! Pushes over HTTP into a real engine: every encoding, every refusal, and what can be read afterwards.

mod client;
mod decoders;
mod encode;

use std::io::Write as _;

use client::{Engine, Reply};
use encode::{KeyValue, Record, any_string, otlp, push};
use logstack_go::gotime::{GoTime, Zone};
use serde_json::{Value, json};

const NS_PER_S: i64 = 1_000_000_000;

/// Old data is welcome, as in the recordings.
const ANY_TIME: &str = "reject_old_samples: false";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

/// A JSON push of one stream.
fn json_push(labels: Value, values: Value) -> Vec<u8> {
    json!({ "streams": [{ "stream": labels, "values": values }] }).to_string().into_bytes()
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROTO: (&str, &str) = ("Content-Type", "application/x-protobuf");
const PUSH: &str = "/loki/api/v1/push";

#[tokio::test]
async fn every_encoding_stores_the_same_line() {
    let engine = Engine::start(ANY_TIME).await;
    let ns = 1_768_471_260_000_000_000_i64;
    let values = |n: i64| json!([[(ns + n).to_string(), "level=warn hello", { "k": "v" }]]);
    let labels = json!({ "app": "web" });
    let proto = |n: i64| push(&[(r#"{app="web"}"#, &[(ns + n, "level=warn hello", &[("k", "v")])])]);
    let record = |n: i64| Record {
        time_ns: (ns + n) as u64,
        body: any_string("level=warn hello"),
        attributes: vec![KeyValue::new("k", any_string("v"))],
        ..Record::default()
    };
    // `service.name` would be another label; `app` is promoted by the configuration below.
    let otlp_json = |n: i64| {
        json!({ "resourceLogs": [{
            "resource": { "attributes": [{ "key": "app", "value": { "stringValue": "web" } }] },
            "scopeLogs": [{ "logRecords": [{
                "timeUnixNano": (ns + n).to_string(), "body": { "stringValue": "level=warn hello" },
                "attributes": [{ "key": "k", "value": { "stringValue": "v" } }],
            }] }],
        }] })
        .to_string()
        .into_bytes()
    };
    let resource = [KeyValue::new("app", any_string("web"))];
    let legacy = r#"{"streams":[{"labels":"{app=\"web\"}","entries":[{"ts":"2026-01-15T10:01:00.00000001Z","line":"level=warn hello"}]}]}"#;
    let requests = [
        (PUSH, vec![JSON], json_push(labels.clone(), values(0))),
        (
            PUSH,
            vec![("Content-Type", "application/json; charset=utf-8"), ("Content-Encoding", "gzip")],
            gzip(&json_push(labels.clone(), values(1))),
        ),
        (PUSH, vec![PROTO], snappy(&proto(2))),
        (
            PUSH,
            vec![("Content-Type", "application/octet-stream"), ("Content-Encoding", "gzip")],
            gzip(&snappy(&proto(3))),
        ),
        (PUSH, vec![PROTO, ("Content-Encoding", "snappy")], snappy(&proto(4))),
        ("/otlp/v1/logs", vec![PROTO], otlp(&resource, &[record(5)])),
        ("/otlp/v1/logs", vec![JSON], otlp_json(6)),
        ("/otlp/v1/logs", vec![JSON, ("Content-Encoding", "gzip")], gzip(&otlp_json(7))),
        (
            "/otlp/v1/logs",
            vec![PROTO, ("Content-Encoding", "zstd")],
            zstd::encode_all(&*otlp(&resource, &[record(8)]), 1).unwrap(),
        ),
        ("/api/prom/push", vec![PROTO], snappy(&proto(9))),
        ("/api/prom/push", vec![JSON], legacy.as_bytes().to_vec()),
    ];
    let count = requests.len();
    for (path, headers, body) in requests {
        let reply = engine.post(path, &headers, &body).await;
        assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{path} {headers:?}");
    }
    let streams = engine.streams(r#"{app="web"}"#, ns - NS_PER_S, ns + NS_PER_S).await;
    let with_metadata = json!({ "app": "web", "service_name": "web", "detected_level": "warn", "k": "v" });
    let without = json!({ "app": "web", "service_name": "web", "detected_level": "warn" });
    let entry = |n: i64| json!([(ns + n).to_string(), "level=warn hello"]);
    let all: Vec<Value> = (0..count as i64 - 1).map(entry).collect();
    assert_eq!(streams, [(without, vec![entry(10)]), (with_metadata, all)]);
}

#[tokio::test]
async fn recorded_refusals_are_answered_alike() {
    let engine = Engine::start(ANY_TIME).await;
    let cases = zstd::decode_all(&include_bytes!("../data/push_errors.jsonl.zst")[..]).unwrap();
    let mut count = 0;
    for line in cases.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let case: Value = serde_json::from_slice(line).unwrap();
        let (request, want) = (&case["request"], &case["response"]);
        if request["method"] != "POST" {
            continue;
        }
        let headers = request["headers"].as_object().unwrap();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect();
        let body = request["body"].as_str().unwrap();
        let reply = engine.post(request["path"].as_str().unwrap(), &headers, body.as_bytes()).await;
        let id = &case["id"];
        assert_eq!(u64::from(reply.status), want["status"], "{id}: {}", reply.text());
        assert_eq!(reply.header("content-type"), want["content_type"].as_str(), "{id}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{id}");
        let want_text = want["body"].as_str().unwrap();
        // What is wrong with JSON every parser words in its own way.
        if want_text.starts_with("loghttp.") || want_text.starts_with("readObjectStart") {
            assert!(reply.text().starts_with("invalid "), "{id}: {}", reply.text());
        } else {
            assert_eq!(reply.text(), want_text, "{id}");
        }
        count += 1;
    }
    assert_eq!(count, 19);
    let query = r#"{bad_values=~".+"}"#;
    assert_eq!(engine.streams(query, 1_768_471_200 * NS_PER_S, 1_768_478_400 * NS_PER_S).await, []);
}

#[tokio::test]
async fn refuses_what_is_no_push() {
    let engine =
        Engine::start(&format!("{ANY_TIME}\ndistributor: {{max_recv_msg_size: 2000, max_decompressed_size: 3000}}"))
            .await;
    let check = async |headers: &[(&str, &str)], body: &[u8], status: u16, text: &str| {
        let reply = engine.post(PUSH, headers, body).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{headers:?}");
    };
    check(&[JSON], b"{}", 422, "error at least one valid stream is required for ingestion\n").await;
    check(&[JSON], b"null", 422, "error at least one valid stream is required for ingestion\n").await;
    check(&[JSON], b"", 400, "EOF\n").await;
    check(&[PROTO], b"", 400, "snappy: corrupt input\n").await;
    check(&[PROTO], &snappy(b""), 422, "error at least one valid stream is required for ingestion\n").await;
    check(&[PROTO], &push(&[("{a=\"b\"}", &[])]), 400, "snappy: corrupt input\n").await;
    check(&[PROTO], &snappy(&push(&[("{a-=\"b\"}", &[])])), 204, "").await;
    check(&[], b"{}", 400, "mime: no media type\n").await;
    check(&[("Content-Type", "application/json; x")], b"{}", 400, "mime: invalid media parameter\n").await;
    check(&[JSON, ("Content-Encoding", "zstd")], b"{}", 400, "Content-Encoding \"zstd\" not supported\n").await;
    let too_large = "request body too large: message size too large than max (2001 vs 2000)\n";
    check(&[JSON], &[b' '; 2001], 413, too_large).await;
    check(&[PROTO], &[b' '; 2001], 413, too_large).await;
    // Much more than fits the buffers of a connection: the refusal still arrives.
    let huge = "request body too large: message size too large than max (20000000 vs 2000)\n";
    check(&[JSON], &vec![b' '; 20_000_000], 413, huge).await;
    let unpacked = "request body too large: message size too large than max (3001 vs 3000)\n";
    check(&[JSON, ("Content-Encoding", "gzip")], &gzip(&[b' '; 5000]), 413, unpacked).await;
    check(&[PROTO], &snappy(&[0; 3001]), 413, unpacked).await;

    let get = engine.request("GET", PUSH, &[], b"").await;
    assert_eq!((get.status, get.text().as_str()), (404, "404 page not found\n"));
    let put = engine.request("PUT", PUSH, &[JSON], b"{}").await;
    assert_eq!((put.status, put.text().as_str()), (405, ""));
    assert_eq!(engine.request("GET", "/otlp/v1/logs", &[], b"").await.status, 405);
    assert_eq!(engine.post("/v1/logs", &[PROTO], b"").await.status, 404);
}

/// Label text of the streams below.
const STREAM: &str = r#"{a="b", service_name="unknown_service"}"#;

#[tokio::test]
async fn limits_speak_lokis_words() {
    let engine = Engine::start(
        "max_label_names_per_series: 2\nmax_label_name_length: 12\nmax_label_value_length: 20\nmax_line_size: 20\n\
         max_structured_metadata_size: 20\nmax_structured_metadata_entries_count: 2\n\
         ingestion_rate_mb: 0.0001\ningestion_burst_size_mb: 0.001",
    )
    .await;
    let now = engine.now_ns();
    let check = async |labels: Value, values: Value, text: String| {
        let reply = engine.post(PUSH, &[JSON], &json_push(labels, values)).await;
        assert_eq!((reply.status, reply.text()), (400, format!("{text}\n")));
    };
    let ok = json!([[now.to_string(), "x"]]);
    let many = json!({ "a": "1", "b": "2", "c": "3" });
    check(
        many,
        ok.clone(),
        r#"entry for stream '{a="1", b="2", c="3", service_name="unknown_service"}' has 3 label names; limit 2"#
            .to_owned(),
    )
    .await;
    let long = "aaaaaaaaaaaaa";
    check(
        json!({ long: "1" }),
        ok.clone(),
        format!(r#"stream '{{{long}="1", service_name="unknown_service"}}' has label name too long: '{long}'"#),
    )
    .await;
    let value = "v".repeat(21);
    check(
        json!({ "a": value }),
        ok,
        format!(r#"stream '{{a="{value}", service_name="unknown_service"}}' has label value too long: '{value}'"#),
    )
    .await;

    let a = || json!({ "a": "b" });
    let line = "x".repeat(21);
    check(
        a(),
        json!([[now.to_string(), line]]),
        format!(
            "max entry size '20' bytes exceeded for stream '{STREAM}' while adding an entry with length '21' bytes"
        ),
    )
    .await;
    let pairs = json!({ "k": "v".repeat(20) });
    check(a(), json!([[now.to_string(), "x", pairs]]), format!("stream '{STREAM}' has structured metadata too large: '21' bytes, limit: '20' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it")).await;
    let pairs = json!({ "a": "1", "b": "2", "c": "3" });
    check(a(), json!([[now.to_string(), "x", pairs]]), format!("stream '{STREAM}' has too many structured metadata labels: '3', limit: '2'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it")).await;
    let future = now / NS_PER_S * NS_PER_S + 3600 * NS_PER_S;
    let reply = engine
        .post(
            PUSH,
            &[JSON],
            &json_push(a(), json!([["1000000000", "x"], [future.to_string(), "x"], ["1000000000", "y"]])),
        )
        .await;
    let text = reply.text();
    assert_eq!(reply.status, 400);
    assert!(text.starts_with(&format!("2 errors like: entry for stream '{STREAM}' has timestamp too old: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 20")), "{text}");
    assert!(text.contains(&format!("; 1 errors like: entry for stream '{STREAM}' has timestamp too new: ")), "{text}");

    // What is larger than the burst never passes; the limit is 104 bytes a second.
    let lines: Vec<Value> = (0..60).map(|n| json!([(now + n).to_string(), "x".repeat(20)])).collect();
    let reply = engine.post(PUSH, &[JSON], &json_push(a(), json!(lines))).await;
    let text = "ingestion rate limit exceeded for user fake (limit: 104 bytes/sec) while attempting to ingest '60' lines totaling '1200' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased\n";
    assert_eq!((reply.status, reply.text().as_str()), (429, text));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(engine.streams(r#"{a=~".+"}"#, now - NS_PER_S, future + 1).await, [], "nothing was stored");
}

#[tokio::test]
async fn valid_neighbours_are_stored() {
    let engine = Engine::start("max_line_size: 5").await;
    let now = engine.now_ns();
    let body = json!({ "streams": [
        { "stream": { "a": "b" }, "values": [[now.to_string(), "good"], [now.to_string(), "too long"], [(now + 1).to_string(), "fine"]] },
        { "stream": { "a-": "b" }, "values": [[now.to_string(), "x"]] },
        { "stream": { "a": "c" }, "values": [[now.to_string(), "x", { "ü": "nameless" }], [now.to_string(), "y"]] },
    ] });
    let reply = engine.post(PUSH, &[JSON], body.to_string().as_bytes()).await;
    let text = format!(
        "1 errors like: max entry size '5' bytes exceeded for stream '{STREAM}' while adding an entry with length '8' bytes; \
         1 errors like: couldn't parse labels: 1:3: parse error: unexpected character inside braces: '-'; \
         1 errors like: stream '{{a=\"c\", service_name=\"unknown_service\"}}' has structured metadata with a name that holds no letter or digit: rename it\n"
    );
    assert_eq!((reply.status, reply.text()), (400, text));
    let streams = engine.streams(r#"{a=~".+"}"#, now - NS_PER_S, now + NS_PER_S).await;
    let lines: Vec<&Value> = streams.iter().flat_map(|(_, values)| values.iter().map(|value| &value[1])).collect();
    assert_eq!(lines, ["good", "fine", "y"]);
}

#[tokio::test]
async fn streams_have_windows_rates_and_a_number() {
    let engine =
        Engine::start("max_global_streams_per_user: 1\nper_stream_rate_limit: 100\nper_stream_rate_limit_burst: 150")
            .await;
    let now = engine.now_ns() / NS_PER_S * NS_PER_S + 5;
    let send = async |labels: Value, values: Value| engine.post(PUSH, &[JSON], &json_push(labels, values)).await;
    let a = || json!({ "a": "b" });
    assert_eq!(send(a(), json!([[now.to_string(), "first"]])).await.status, 204);

    let old = now - 3700 * NS_PER_S;
    let reply = send(a(), json!([[old.to_string(), "old"], [now.to_string(), "second"]])).await;
    let utc = |ns: i64, layout: &str| GoTime::from_unix_ns(ns, Zone::Utc).format(layout);
    let rfc3339 = |ns| utc(ns, "2006-01-02T15:04:05Z07:00");
    let text = format!(
        "entry with timestamp {} +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {}',\nuser 'fake', total ignored: 1 out of 2 for stream: {STREAM}\n",
        utc(old, "2006-01-02 15:04:05.999999999"),
        rfc3339(old),
        rfc3339(now - 3600 * NS_PER_S)
    );
    assert_eq!((reply.status, reply.text()), (400, text));

    let reply = send(a(), json!([[now.to_string(), "x".repeat(149)]])).await;
    let text = reply.text();
    assert_eq!(reply.status, 429, "{text}");
    let reason = format!(
        "ignored, reason: 'Per stream rate limit exceeded (limit: 100B/sec) while attempting to ingest for stream '{STREAM}' totaling 149B, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased',\nuser 'fake', total ignored: 1 out of 1 for stream: {STREAM}\n"
    );
    assert!(text.ends_with(&reason), "{text}");

    let reply = send(json!({ "a": "c" }), json!([[now.to_string(), "x"]])).await;
    let text = "maximum active stream limit exceeded when trying to create stream {a=\"c\", service_name=\"unknown_service\"}, reduce the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: 'fake'\n";
    assert_eq!((reply.status, reply.text().as_str()), (429, text));
    let streams = engine.streams(r#"{a=~".+"}"#, now - 7200 * NS_PER_S, now + NS_PER_S).await;
    let lines: Vec<&Value> = streams.iter().flat_map(|(_, values)| values.iter().map(|value| &value[1])).collect();
    assert_eq!(lines, ["first", "second"]);
}

#[tokio::test]
async fn writes_can_be_blocked() {
    let engine = Engine::start("block_ingestion_until: 2100-01-01T00:00:00Z").await;
    let body = json_push(json!({ "a": "b" }), json!([[engine.now_ns().to_string(), "x"]]));
    let reply = engine.post(PUSH, &[JSON], &body).await;
    let text = "ingestion blocked for user 'fake' until '2100-01-01T00:00:00Z' with status code '260'\n";
    assert_eq!((reply.status, reply.text().as_str()), (260, text));
    let silent = Engine::start("block_ingestion_until: 2100-01-01T00:00:00Z\nblock_ingestion_status_code: 200").await;
    assert_eq!(silent.post(PUSH, &[JSON], &body).await.status, 204);
    assert_eq!(silent.streams(r#"{a="b"}"#, engine.now_ns() - 3600 * NS_PER_S, engine.now_ns()).await, []);
}

#[tokio::test]
async fn lines_are_cut_and_timestamps_spread() {
    let engine = Engine::start(
        "max_line_size: 8\nmax_line_size_truncate: true\nmax_line_size_truncate_identifier: '…'\nincrement_duplicate_timestamp: true",
    )
    .await;
    let now = engine.now_ns();
    let t = now.to_string();
    let body = json_push(json!({ "a": "b" }), json!([[t, "12345678"], [t, "12345678"], [t, "1234éé78"], [t, "z"]]));
    assert_eq!(engine.post(PUSH, &[JSON], &body).await.status, 204);
    let streams = engine.streams(r#"{a="b"}"#, now - 1, now + 100).await;
    let want = json!([[t, "12345678"], [(now + 1).to_string(), "1234…"], [(now + 2).to_string(), "z"]]);
    assert_eq!(json!(streams[0].1), want);
    let metrics = engine.request("GET", "/metrics", &[], b"").await.text();
    assert!(
        metrics.contains("loki_mutated_samples_total{reason=\"line_too_long\",truncated=\"true\",tenant=\"fake\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn tenants_are_apart() {
    let engine = Engine::start_with("auth_enabled: true\n").await;
    let now = engine.now_ns();
    let body = json_push(json!({ "a": "b" }), json!([[now.to_string(), "x"]]));
    let none = engine.post(PUSH, &[JSON], &body).await;
    assert_eq!((none.status, none.text().as_str()), (401, "no org id\n"));
    let two = engine.post(PUSH, &[JSON, ("X-Scope-OrgID", "a|b")], &body).await;
    assert_eq!((two.status, two.text().as_str()), (400, "multiple org IDs present\n"));
    let otlp = engine.post("/otlp/v1/logs", &[PROTO], b"").await;
    assert_eq!((otlp.status, otlp.header("content-type")), (401, Some("text/plain; charset=utf-8")));
    assert_eq!(engine.post(PUSH, &[JSON, ("X-Scope-OrgID", "one")], &body).await.status, 204);
    let metrics = engine.request("GET", "/metrics", &[], b"").await.text();
    let counted = "loki_distributor_lines_received_total{tenant=\"one\",is_internal_stream=\"false\",policy=\"\",format=\"loki\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

/// The message of a `google.rpc.Status`.
fn rpc_message(reply: &Reply) -> String {
    let mut fields = logstack_engine::ingest::decode::proto::Fields::new(&reply.body);
    let (number, value) = fields.next_field().unwrap().unwrap();
    assert_eq!(number, 2);
    String::from_utf8(value.bytes().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn otlp_records_become_entries() {
    let engine = Engine::start_with(&format!("auth_enabled: false\nlimits_config:\n  {ANY_TIME}\n")).await;
    let ns = 1_768_471_260_000_000_000_u64;
    let resource = [
        KeyValue::new("service.name", any_string("checkout")),
        KeyValue::new("k8s.pod.name", any_string("pod-1")),
        KeyValue::new("host.arch", any_string("arm")),
    ];
    let record = Record {
        time_ns: ns,
        observed_time_ns: ns + 7,
        severity_number: 17,
        severity_text: "Oops",
        body: encode::any_map(&[KeyValue::new("b", encode::any_int(1)), KeyValue::new("a", any_string("<x>"))]),
        attributes: vec![
            KeyValue::new("http.status", encode::any_int(500)),
            KeyValue::new("nested", encode::any_map(&[KeyValue::new("x.y", any_string("z"))])),
        ],
        trace_id: &[0xab; 16],
        flags: 1,
    };
    let plain = Record { observed_time_ns: ns + 1, severity_number: 9, body: any_string("plain"), ..Record::default() };
    let reply = engine.post("/otlp/v1/logs", &[PROTO], &otlp(&resource, &[record, plain])).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    let streams = engine.streams(r#"{service_name="checkout"}"#, ns as i64 - 1, ns as i64 + 10).await;
    let want = [
        (
            json!({ "service_name": "checkout", "k8s_pod_name": "pod-1", "host_arch": "arm", "detected_level": "info", "severity_number": "9", "scope_name": "scope" }),
            vec![json!([(ns + 1).to_string(), "plain"])],
        ),
        (
            json!({
                "service_name": "checkout", "k8s_pod_name": "pod-1", "host_arch": "arm", "detected_level": "Oops",
                "severity_number": "17", "severity_text": "Oops", "scope_name": "scope", "http_status": "500", "nested_x_y": "z",
                "trace_id": "abababababababababababababababab", "flags": "1", "observed_timestamp": (ns + 7).to_string(),
            }),
            vec![json!([ns.to_string(), "{\"a\":\"\\u003cx\\u003e\",\"b\":1}"])],
        ),
    ];
    assert_eq!(streams, want);

    let empty = engine.post("/otlp/v1/logs", &[PROTO], b"").await;
    assert_eq!((empty.status, empty.header("content-type")), (422, Some("application/octet-stream")));
    assert_eq!(rpc_message(&empty), "error at least one valid stream is required for ingestion");
    let xml = engine.post("/otlp/v1/logs", &[("Content-Type", "application/xml")], b"").await;
    assert_eq!(xml.status, 400);
    assert!(rpc_message(&xml).starts_with("content type: application/xml is not supported"));
    let broken = engine.post("/otlp/v1/logs", &[PROTO], b"\x0a\xff").await;
    assert_eq!((broken.status, rpc_message(&broken).as_str()), (400, "proto: unexpected EOF"));
}

#[tokio::test]
async fn recorded_levels_are_found_again() {
    let engine = Engine::start(ANY_TIME).await;
    let lines = zstd::decode_all(&include_bytes!("../data/levels.jsonl.zst")[..]).unwrap();
    let recorded: Vec<Value> = lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let ns = 1_768_471_260_000_000_000_i64;
    let streams: Vec<Value> = recorded
        .iter()
        .enumerate()
        .map(|(idx, row)| {
            let entry = json!([(ns + idx as i64).to_string(), row["line"], row["metadata"]]);
            json!({ "stream": row["stream"], "values": [entry] })
        })
        .collect();
    let reply = engine.post(PUSH, &[JSON], json!({ "streams": streams }).to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.text().as_str()), (204, ""));
    let mut found = vec![None; recorded.len()];
    for (labels, values) in engine.streams(r#"{service_name=~".+"}"#, ns - 1, ns + NS_PER_S).await {
        for value in values {
            let at: i64 = value[0].as_str().unwrap().parse().unwrap();
            found[(at - ns) as usize] = Some(labels["detected_level"].clone());
        }
    }
    for (row, found) in recorded.iter().zip(found) {
        assert_eq!(found.as_ref(), Some(&row["level"]), "{row}");
    }
}
