//! Read routes over a socket: status, content type, bodies, the order of keys.

use std::net::SocketAddr;
use std::path::Path;

use logstack_config::EngineConfig;
use logstack_engine::model::{Batch, BatchStream, MetadataSet, TenantId};
use logstack_engine::{Server, ServerOptions};
use logstack_logql::Labels;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SECOND: i64 = 1_000_000_000;
/// When the data begins, Unix seconds.
const T: i64 = 1_768_471_200;

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body up to the statistics.
    fn head(&self) -> String {
        self.text().split(r#","stats":"#).next().unwrap_or_default().to_owned()
    }
}

struct Client {
    address: SocketAddr,
}

impl Client {
    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Reply { status, headers, body: bytes[end + 4..].to_vec() }
    }

    async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], "").await
    }

    #[track_caller]
    fn check(reply: &Reply, status: u16, body: &str) {
        assert_eq!((reply.status, reply.text().as_str()), (status, body));
    }
}

async fn start(dir: &Path, yaml: &str) -> (Server, Client) {
    let (config, _) = logstack_config::load::<EngineConfig>(yaml, "test.yaml").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let server =
        Server::start(ServerOptions { config, listen, data_dir: dir.to_owned(), set_log_level: None }).await.unwrap();
    let client = Client { address: server.address() };
    (server, client)
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

async fn append(server: &Server, tenant: &str, labels: Pairs<'_>, rows: &[(i64, &str, Pairs<'_>)]) {
    let store = &server.app().store;
    let mut batch = Batch::default();
    for &(ts_ns, line, metadata) in rows {
        let set: MetadataSet = metadata.iter().map(|&(n, v)| (n.into(), v.into())).collect();
        let id = batch.rows.metadata.intern(set);
        batch.rows.push(ts_ns, line.as_bytes(), id);
    }
    let stream = store.stream(&TenantId::new(tenant), &Labels::from_pairs(labels.iter().copied()));
    batch.streams.push(BatchStream { stream, rows: 0..batch.rows.len() });
    store.append(batch).await.unwrap();
}

const OPEN: &str = "auth_enabled: false\nlimits_config: {max_query_length: 0}";

/// Ten lines, ten seconds apart, in `{app="web"}`; one with metadata.
async fn fill(server: &Server) {
    let lines: Vec<String> = (0..10).map(|i| format!("line {i}")).collect();
    let metadata: Pairs<'_> = &[("trace_id", "x")];
    let rows: Vec<_> = (0..10)
        .map(|i| ((T + 10 * i) * SECOND, lines[i as usize].as_str(), if i == 9 { metadata } else { &[] }))
        .collect();
    append(server, "fake", &[("app", "web"), ("env", "prod")], &rows).await;
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test]
async fn answers_what_grafana_asks_first() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path(), OPEN).await;
    let reply =
        client.get("/loki/api/v1/query?direction=backward&query=vector%281%29%2Bvector%281%29&time=4000000000").await;
    assert_eq!(reply.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(
        reply.head(),
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}]"#
    );
    assert!(reply.text().ends_with("}}\n"));
    Client::check(&client.get("/ready").await, 200, "ready\n");
    Client::check(&client.get("//ready").await, 200, "ready\n");
    server.shutdown().await.unwrap();
    assert!(TcpStream::connect(client.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn routes_and_methods() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path(), &format!("{OPEN}\npattern_ingester: {{enabled: false}}")).await;
    for unknown in ["/", "/loki/api/v1", "/ready/", "/ui/x", "/loki/api/v1/analyze-labels", "/loki/api/v1/rules"] {
        let reply = client.get(unknown).await;
        Client::check(&reply, 404, "404 page not found\n");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    }
    Client::check(&client.get("/loki/api/v1/patterns").await, 404, "");
    for (method, path) in [("DELETE", "/ready"), ("OPTIONS", "/loki/api/v1/query"), ("PUT", "/loki/api/v1/labels")] {
        Client::check(&client.send(method, path, &[], "").await, 405, "");
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let reply = client.send("POST", "/loki/api/v1/query", &form, "query=1%2B1&time=5").await;
    assert_eq!(reply.head(), r#"{"status":"success","data":{"resultType":"scalar","result":[5,"2"]"#);
    let reply = client.get("/prometheus/api/v1/rules").await;
    Client::check(&reply, 200, r#"{"status":"success","data":{"groups":[]},"errorType":"","error":""}"#);
    assert_eq!(client.get("/loki/api/v1/status/buildinfo").await.json()["version"], "3.7.6");
    let reply = client.get(&format!("/loki/api/v1/format_query?query={}", encode("sum( rate({a=\"b\"}[5m]))"))).await;
    assert_eq!(reply.json(), json!({"status": "success", "data": "sum(rate({a=\"b\"}[5m]))"}));
    let reply = client.get("/loki/api/v1/format_query?query=%7B").await;
    assert_eq!((reply.status, reply.json()["status"].clone()), (400, json!("invalid-query")));
    let metrics = client.get("/metrics").await.text();
    let sample =
        "loki_request_duration_seconds_count{method=\"GET\",route=\"loki_api_v1_patterns\",status_code=\"404\"";
    assert!(metrics.contains(sample), "{metrics}");
}

#[tokio::test]
async fn log_queries() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path(), OPEN).await;
    fill(&server).await;
    let ask = async |rest: &str| {
        client.get(&format!("/loki/api/v1/query_range?query={}&start={T}&{rest}", encode("{app=\"web\"}"))).await
    };
    // The end is not included, the newest come first, one metadata set is one stream.
    let reply = ask(&format!("end={}&limit=2", T + 90)).await;
    assert_eq!(
        reply.head(),
        format!(
            r#"{{"status":"success","data":{{"resultType":"streams","result":[{{"stream":{{"app":"web","env":"prod"}},"values":[["{}","line 8"],["{}","line 7"]]}}]"#,
            (T + 80) * SECOND,
            (T + 70) * SECOND
        )
    );
    let flags = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let target = format!("/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&start={}&end={}", T + 80, T + 91);
    let reply = client.send("GET", &target, &flags, "").await;
    assert_eq!(
        reply.head(),
        format!(
            concat!(
                r#"{{"status":"success","data":{{"resultType":"streams","encodingFlags":["categorize-labels"],"#,
                r#""result":[{{"stream":{{"app":"web","env":"prod"}},"values":["#,
                r#"["{}","line 9",{{"structuredMetadata":{{"trace_id":"x"}}}}],["{}","line 8",{{}}]]}}]"#
            ),
            (T + 90) * SECOND,
            (T + 80) * SECOND
        )
    );
    // Thirteen digits are nanoseconds of 1970.
    let reply =
        client.get(&format!("/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&start={T}000&end={T}999")).await;
    assert_eq!(reply.json()["data"]["result"], json!([]));
    // Adjacent ranges share no entry.
    let count = |reply: Reply| -> usize {
        let streams = reply.json()["data"]["result"].as_array().unwrap().clone();
        streams.iter().map(|stream| stream["values"].as_array().unwrap().len()).sum()
    };
    let first = count(ask(&format!("end={}", T + 50)).await);
    let second = client
        .get(&format!("/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&start={}&end={}", T + 50, T + 100))
        .await;
    assert_eq!((first, count(second)), (5, 5));
    // At most one entry in 25 seconds.
    let reply = ask(&format!("end={}&interval=25s&direction=FORWARD", T + 100)).await;
    let streams = reply.json()["data"]["result"].as_array().unwrap().clone();
    let lines: Vec<Value> =
        streams.iter().flat_map(|s| s["values"].as_array().unwrap().clone()).map(|v| v[1].clone()).collect();
    // Streams are in the order of their label text, where `, trace_id=…` comes before the brace.
    assert_eq!(json!(lines), json!(["line 9", "line 0", "line 3", "line 6"]));
}

#[tokio::test]
async fn metric_queries_are_aligned() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path(), OPEN).await;
    fill(&server).await;
    let query = encode("sum(count_over_time({app=\"web\"}[30s]))");
    let target = format!("/loki/api/v1/query_range?query={query}&start={}&end={}&step=30", T + 21, T + 82);
    let result = client.get(&target).await.json()["data"]["result"].clone();
    let want = json!([{"metric": {}, "values": [[T, "1"], [T + 30, "3"], [T + 60, "3"], [T + 90, "3"]]}]);
    assert_eq!(result, want);
    let target = format!("/loki/api/v1/query_range?query={query}&start={T}&end={}&step=1500ms", T + 3);
    let result = client.get(&target).await.json()["data"]["result"].clone();
    let base = T as f64;
    assert_eq!(result, json!([{"metric": {}, "values": [[T, "1"], [base + 1.5, "1"], [T + 3, "1"]]}]));
}

#[tokio::test]
async fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path(), OPEN).await;
    let log = encode("{app=\"web\"}");
    let metric = encode("rate({app=\"web\"}[1m])");
    for (target, text) in [
        (
            format!("query_range?query={log}&start=now-1h"),
            "could not parse 'start' parameter: strconv.ParseInt: parsing \"now-1h\": invalid syntax",
        ),
        (
            format!("query_range?query={log}&limit=5001"),
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)",
        ),
        (format!("query_range?query={metric}&limit=0"), "limit must be a positive value"),
        (
            format!("query_range?query={log}&start=0&end=11001&step=1"),
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ),
        ("query_range".to_owned(), "parse error : syntax error: unexpected $end"),
        (
            format!("query?query={log}"),
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ),
        (format!("label/app/values?query={}", encode("{app=\"web\"} |= \"x\"")), "only label matchers are supported"),
        (format!("series?match[]={metric}"), "only label matchers are supported"),
        (format!("index/volume?query={log}&aggregateBy=x"), "invalid aggregation option"),
    ] {
        let reply = client.get(&format!("/loki/api/v1/{target}")).await;
        Client::check(&reply, 400, text);
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(client.get(&format!("/loki/api/v1/query_range?query={metric}&limit=5001")).await.status, 200);
}

#[tokio::test]
async fn lists_and_their_empty_forms() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path(), OPEN).await;
    let range = format!("start={T}&end={}", T + 100);
    Client::check(&client.get(&format!("/loki/api/v1/labels?{range}")).await, 200, "{\"status\":\"success\"}\n");
    Client::check(
        &client.get(&format!("/loki/api/v1/series?{range}")).await,
        200,
        "{\"status\":\"success\",\"data\":[]}\n",
    );
    Client::check(&client.get(&format!("/loki/api/v1/detected_labels?{range}")).await, 200, "{}\n");
    let fields = format!("/loki/api/v1/detected_fields?query={}&{range}", encode("{app=\"web\"}"));
    Client::check(&client.get(&fields).await, 200, "{}\n");
    fill(&server).await;
    Client::check(
        &client.get(&format!("/loki/api/v1/label?{range}")).await,
        200,
        "{\"status\":\"success\",\"data\":[\"app\",\"env\"]}\n",
    );
    Client::check(
        &client.get(&format!("/loki/api/v1/label/a%70p/values?{range}")).await,
        200,
        "{\"status\":\"success\",\"data\":[\"web\"]}\n",
    );
    let slash = client.get(&format!("/loki/api/v1/label/a%2Fb/values?{range}")).await;
    Client::check(&slash, 200, "{\"status\":\"success\"}\n");
    for matcher in ["match", "match[]"] {
        let target = format!("/loki/api/v1/series?{matcher}={}&{range}", encode("{env=\"prod\"}"));
        let want = "{\"status\":\"success\",\"data\":[{\"app\":\"web\",\"env\":\"prod\"}]}\n";
        Client::check(&client.get(&target).await, 200, want);
    }
    let stats = client.get(&format!("/loki/api/v1/index/stats?query={}&{range}", encode("{env=\"prod\"}"))).await;
    let stats = stats.json();
    // 60 bytes of lines, an estimate of the metadata, in whole kilobytes.
    assert_eq!((&stats["streams"], &stats["entries"], &stats["bytes"]), (&json!(1), &json!(10), &json!(0)));
    let volume = client.get(&format!("/loki/api/v1/index/volume?query={}&{range}", encode("{env=\"prod\"}"))).await;
    assert_eq!(volume.json()["data"]["result"], json!([{"metric": {"env": "prod"}, "value": [T + 100, "140"]}]));
    let volume = client.get(&format!("/loki/api/v1/index/volume?query=%7B%7D&{range}")).await;
    let want = json!([{"metric": {"app": "web", "env": "prod"}, "value": [T + 100, "140"]}]);
    assert_eq!(volume.json()["data"]["result"], want);
    let fields = client.get(&fields).await.json();
    assert_eq!(fields["fields"][0], json!({"label": "trace_id", "type": "string", "cardinality": 1, "parsers": null}));
}

#[tokio::test]
async fn tenants_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "querier: {multi_tenant_queries_enabled: true}";
    let (server, client) = start(dir.path(), yaml).await;
    for tenant in ["a", "b"] {
        append(&server, tenant, &[("app", "web"), ("__tenant_id__", "own")], &[(T * SECOND, tenant, &[])]).await;
    }
    Client::check(&client.get("/loki/api/v1/labels").await, 401, "no org id\n");
    assert_eq!(client.get("/ready").await.status, 200);
    let as_tenant = async |tenant: &str, query: &str| {
        let target = format!("/loki/api/v1/query_range?query={}&start={T}&end={}", encode(query), T + 1);
        client.send("GET", &target, &[("X-Scope-OrgID", tenant)], "").await
    };
    Client::check(
        &as_tenant("a/b", "{app=\"web\"}").await,
        400,
        "tenant ID 'a/b' contains unsupported character '/'\n",
    );
    let values = |reply: Reply| reply.json()["data"]["result"].clone();
    let ts = (T * SECOND).to_string();
    assert_eq!(
        values(as_tenant("a", "{app=\"web\"}").await),
        json!([{"stream": {"__tenant_id__": "own", "app": "web"}, "values": [[ts, "a"]]}])
    );
    assert_eq!(
        values(as_tenant("a|b", "{app=\"web\", __tenant_id__=\"b\"}").await),
        json!([{"stream": {"__tenant_id__": "b", "app": "web", "original___tenant_id__": "own"}, "values": [[ts, "b"]]}])
    );
    let both = values(as_tenant("a|b", "{original___tenant_id__=\"own\"}").await);
    assert_eq!(both.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn large_answers_are_compressed_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path(), OPEN).await;
    fill(&server).await;
    let target = format!("/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&start={T}&end={}", T + 100);
    let plain = client.get(&target).await;
    let packed = client.send("GET", &target, &[("Accept-Encoding", "gzip")], "").await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut text).unwrap();
    assert_eq!(text.split(r#","stats":"#).next().unwrap(), plain.head());
    let small = client.send("GET", "/ready", &[("Accept-Encoding", "gzip")], "").await;
    Client::check(&small, 200, "ready\n");
}

#[tokio::test]
async fn says_why_an_answer_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path(), OPEN).await;
    fill(&server).await;
    let ask = async |query: &str, headers: &[(&str, &str)]| {
        let target = format!("/loki/api/v1/query_range?query={}&start={T}&end={}", encode(query), T + 100);
        client.send("GET", &target, headers, "").await.json()["warnings"].clone()
    };
    let grafana = [("X-Datasource-Uid", "logs")];
    // Nobody expects this one, so everybody is told.
    let warnings = ask("sum(rate({app=\"web\"} | unwrap bytes [1m]))", &[]).await;
    assert!(warnings[0].as_str().unwrap().contains("bytes_rate"), "{warnings}");
    assert_eq!(ask("sum(rate({app=\"web\"} | unwrap size [1m]))", &[]).await, Value::Null);
    assert_eq!(ask("{app=\"nope\"}", &[]).await, Value::Null);
    let reason = async |query: &str| ask(query, &grafana).await[0].as_str().unwrap_or_default().to_owned();
    assert!(reason("sum(rate({app=\"web\"} | unwrap size [1m]))").await.contains("no label `size`"));
    assert!(reason("{app=\"nope\"}").await.contains("no stream matches {app=\"nope\"}"));
    assert!(reason("{team=\"x\"}").await.contains("no stream has the label `team`"));
    assert!(reason("{app=\"web\"} | json | __error__=\"\"").await.contains("`| json` failed"));
    assert_eq!(ask("{app=\"web\"}", &grafana).await, Value::Null);
}

#[tokio::test]
async fn a_query_that_takes_too_much_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "auth_enabled: false\nlimits_config: {max_query_length: 0}\nlogstack: {query: {memory_budget: 1KB}}";
    let (server, client) = start(dir.path(), yaml).await;
    fill(&server).await;
    let log =
        client.get(&format!("/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&start={T}&end={}", T + 100)).await;
    assert_eq!(log.status, 400);
    assert!(log.text().contains("logstack.query.memory_budget"), "{}", log.text());
    let query = encode("sum(count_over_time({app=\"web\"}[1m]))");
    let metric = client.get(&format!("/loki/api/v1/query?query={query}&time={}", T + 100)).await;
    assert_eq!(metric.status, 200, "{}", metric.text());
    // What a failed query held is free again.
    assert_eq!(server.app().engine.memory_bytes(), 0);
}

#[tokio::test]
async fn credentials_are_checked_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "s3cret\n").unwrap();
    let auth = format!("logstack: {{auth: {{type: bearer, credentials_file: {:?}}}}}", file.display().to_string());
    let (_server, client) = start(&dir.path().join("data"), &format!("auth_enabled: false\n{auth}")).await;
    let reply = client.get("/loki/api/v1/labels").await;
    Client::check(&reply, 401, "unauthorized\n");
    assert_eq!(reply.header("www-authenticate"), "Bearer");
    let push = client.send("POST", "/loki/api/v1/push", &[("Content-Type", "application/json")], "{}").await;
    assert_eq!(push.status, 401);
    let headers = [("Authorization", "Bearer s3cret")];
    assert_eq!(client.send("GET", "/loki/api/v1/labels", &headers, "").await.status, 200);
    assert_eq!(client.get("/ready").await.status, 200);
    assert_eq!(client.get("/metrics").await.status, 200);
}
