//! No route shows a tenant what is another's.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::Process;
use futures::StreamExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// In labels, values, lines, fields and metadata of tenant `a`, and nowhere else.
const SECRET: &str = "s3cr3t";

const CONFIG: &str = "auth_enabled: true\nquerier: {multi_tenant_queries_enabled: true}\n\
                      compactor: {retention_enabled: true, delete_request_store: filesystem}\n";

fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

async fn push(client: &reqwest::Client, process: &Process, tenant: &str, text: &str) {
    let lines: Vec<_> = (0..40)
        .map(|n| json!([(now_ns() + n).to_string(), format!("level=info {text}=1 n={n}"), {"trace": text}]))
        .collect();
    let body = json!({"streams": [{"stream": {"app": text, "env": "prod"}, "values": lines}]});
    let request = client.post(format!("{}/loki/api/v1/push", process.url())).header("X-Scope-OrgID", tenant);
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status(), 204);
}

#[tokio::test]
async fn no_route_shows_what_is_anothers() {
    let dir = tempfile::tempdir().unwrap();
    let (process, client) = (Process::engine_with(dir.path(), CONFIG), common::client());
    push(&client, &process, "a", SECRET).await;
    push(&client, &process, "b", "own").await;
    let delete = format!("{}/loki/api/v1/delete?query={{app=\"{SECRET}\"}} |= \"zzz\"&start=1000000000", process.url());
    let created = client.post(&delete).header("X-Scope-OrgID", "a").send().await.unwrap();
    assert_eq!(created.status(), 204);
    let id = created.headers()["x-delete-request-id"].to_str().unwrap().to_owned();

    let queries = [
        "{env=\"prod\"}".to_owned(),
        format!("{{app=\"{SECRET}\"}}"),
        "{app=~\".+\"}".to_owned(),
        "{app=~\".+\"} | logfmt".to_owned(),
        "{__tenant_id__=\"a\"}".to_owned(),
        "{__tenant_id__=~\".*\", app=~\".+\"}".to_owned(),
        "sum by (app) (count_over_time({env=\"prod\"}[5m]))".to_owned(),
        "count_over_time({app=~\".+\"} | logfmt [5m])".to_owned(),
        String::new(),
    ];
    let mut asked = 0;
    let mut own_seen = 0;
    for path in logstack_engine::http::paths() {
        // The first ends the process, tails have a part of their own below, and the last gives back what it is given.
        let is_other = matches!(path, "/ingester/shutdown" | "/loki/api/v1/tail" | "/api/prom/tail");
        if is_other || path == "/loki/api/v1/format_query" {
            continue;
        }
        for query in &queries {
            let mut url = reqwest::Url::parse(&format!("{}{}", process.url(), path.replace("{name}", "app"))).unwrap();
            // An empty query is none: routes that need none list everything.
            if !query.is_empty() {
                url.query_pairs_mut().append_pair("query", query).append_pair("match[]", query);
            }
            url.query_pairs_mut().append_pair("step", "60").append_pair("request_id", &id);
            for method in ["GET", "POST", "DELETE"] {
                // Refusals may repeat the query: what its author knows.
                let request = client.request(method.parse().unwrap(), url.clone()).header("X-Scope-OrgID", "b");
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                let text = response.text().await.unwrap();
                asked += 1;
                own_seen += usize::from(text.contains("own"));
                assert!(status != 200 || !text.contains(SECRET), "{method} {url}: {text}");
            }
        }
    }
    assert!(asked > 500 && own_seen > 50, "{asked} requests, {own_seen} with data of their own");

    let list = client.get(format!("{}/loki/api/v1/delete", process.url()));
    let list = list.header("X-Scope-OrgID", "a").send().await.unwrap().text().await.unwrap();
    assert!(list.contains(&id), "the other could not take it back: {list}");

    let url = format!("{}/loki/api/v1/tail?query=%7Benv%3D%22prod%22%7D", process.url().replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("x-scope-orgid", "b".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    push(&client, &process, "a", SECRET).await;
    push(&client, &process, "b", "last").await;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        assert!(!text.contains(SECRET), "{text}");
        if text.contains("last") {
            break;
        }
    }
}

#[tokio::test]
async fn several_tenants_are_read_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let (process, client) = (Process::engine_with(dir.path(), CONFIG), common::client());
    push(&client, &process, "a", "one").await;
    push(&client, &process, "b", "two").await;
    let ask = async |process: &Process, tenant: &str, path: &str| {
        let request = client.get(format!("{}{path}", process.url())).header("X-Scope-OrgID", tenant);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, text) = ask(&process, "a|b", "/loki/api/v1/query_range?query={env=\"prod\"}&limit=100").await;
    assert_eq!(status, 200);
    for part in ["\"__tenant_id__\":\"a\"", "\"__tenant_id__\":\"b\"", "one=1", "two=1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (_, text) = ask(&process, "a|b", "/loki/api/v1/patterns?query={env=\"prod\"}").await;
    assert!(text.contains("one=<_>") && text.contains("two=<_>"), "{text}");
    assert_eq!(ask(&process, "a/b", "/loki/api/v1/labels").await, {
        (400, "tenant ID 'a/b' contains unsupported character '/'\n".to_owned())
    });
    let without = client.get(format!("{}/loki/api/v1/labels", process.url())).send().await.unwrap();
    assert_eq!((without.status().as_u16(), without.text().await.unwrap()), (401, "no org id\n".to_owned()));
    let pushed = client.post(format!("{}/loki/api/v1/push", process.url())).header("X-Scope-OrgID", "a|b");
    let pushed = pushed.json(&json!({"streams": []})).send().await.unwrap();
    assert_eq!(
        (pushed.status().as_u16(), pushed.text().await.unwrap()),
        (400, "multiple org IDs present\n".to_owned())
    );

    let other = tempfile::tempdir().unwrap();
    let single = Process::engine_with(other.path(), "auth_enabled: true\n");
    assert_eq!(ask(&single, "a|b", "/loki/api/v1/labels").await, (400, "multiple org IDs present\n".to_owned()));
    let open = tempfile::tempdir().unwrap();
    let open = Process::engine_with(open.path(), "auth_enabled: false\n");
    assert_eq!(ask(&open, "a/b", "/loki/api/v1/labels").await.0, 200, "the header is not read");
}
