//! Delete requests over HTTP: what they hide, list, and give back.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::Process;
use reqwest::Method;
use serde_json::{Value, json};

const ON: &str = "auth_enabled: false\ncompactor: {retention_enabled: true, delete_request_store: filesystem}\n";

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

struct Api {
    process: Process,
    client: reqwest::Client,
}

impl Api {
    fn start(dir: &tempfile::TempDir, config: &str) -> Self {
        Self { process: Process::engine_with(dir.path(), config), client: common::client() }
    }

    async fn delete(&self, method: Method, params: &[(&str, &str)]) -> (u16, String, String) {
        let url = format!("{}/loki/api/v1/delete", self.process.url());
        let response = self.client.request(method, url).query(params).send().await.unwrap();
        let id = response.headers().get("x-delete-request-id").map(|id| id.to_str().unwrap().to_owned());
        (response.status().as_u16(), response.text().await.unwrap(), id.unwrap_or_default())
    }

    async fn lines(&self) -> Vec<String> {
        let url = format!("{}/loki/api/v1/query_range", self.process.url());
        let params = [("query", "{app=\"x\"}"), ("direction", "forward")];
        let answer: Value = self.client.get(url).query(&params).send().await.unwrap().json().await.unwrap();
        let streams = answer["data"]["result"].as_array().unwrap().iter();
        let mut lines: Vec<(String, String)> = streams
            .flat_map(|stream| stream["values"].as_array().unwrap())
            .map(|value| (value[0].as_str().unwrap().to_owned(), value[1].as_str().unwrap().to_owned()))
            .collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

#[tokio::test]
async fn entries_vanish_at_once_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::start(&dir, ON);
    let first_s = now_s() - 100;
    let values: Vec<Value> =
        (0..6).map(|n| json!([((first_s + n) as i64 * 1_000_000_000).to_string(), format!("line {n}")])).collect();
    let body = json!({"streams": [{"stream": {"app": "x"}, "values": values}]});
    let pushed = api.client.post(format!("{}/loki/api/v1/push", api.process.url())).json(&body).send().await.unwrap();
    assert_eq!(pushed.status(), 204);
    assert_eq!(api.delete(Method::GET, &[]).await, (200, "[]\n".to_owned(), String::new()));

    let (start, end) = ((first_s + 1).to_string(), (first_s + 2).to_string());
    let created = api.delete(Method::POST, &[("query", "{app=\"x\"}"), ("start", &start), ("end", &end)]).await;
    assert_eq!((created.0, created.1.as_str()), (204, ""));
    assert_eq!(api.lines().await, ["line 0", "line 3", "line 4", "line 5"], "both ends are deleted");
    let start = first_s.to_string();
    let filtered = api.delete(Method::PUT, &[("query", "{app=\"x\"} |= \"4\""), ("start", &start)]).await;
    assert_eq!(filtered.0, 204);
    assert_eq!(api.lines().await, ["line 0", "line 3", "line 5"]);

    let (_, list, _) = api.delete(Method::GET, &[]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((list[0]["request_id"].as_str(), list[1]["request_id"].as_str()), {
        (Some(created.2.as_str()), Some(filtered.2.as_str()))
    });
    assert_eq!(list[0]["start_time"], first_s + 1);
    assert_eq!(list[0]["end_time"], first_s + 2);
    assert_eq!((&list[0]["status"], &list[1]["query"]), (&json!("received"), &json!("{app=\"x\"} |= \"4\"")));
    assert!(list[1]["end_time"].is_u64() && list[1]["created_at"].is_u64(), "logcli decodes integers: {list}");

    assert_eq!(api.delete(Method::DELETE, &[]).await.0, 400, "not all of them, as in Loki");
    let unknown = api.delete(Method::DELETE, &[("request_id", "nope")]).await;
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "could not find delete request with given id\n"));
    assert_eq!(api.delete(Method::DELETE, &[("request_id", &created.2)]).await.0, 204);
    assert_eq!(api.lines().await, ["line 0", "line 1", "line 2", "line 3", "line 5"]);
}

#[tokio::test]
async fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::start(&dir, ON);
    let text = |(status, text, _): (u16, String, String)| (status, text);
    assert_eq!(text(api.delete(Method::POST, &[]).await), (400, "query not set\n".to_owned()));
    let bad = api.delete(Method::POST, &[("query", "{app="), ("start", "1")]).await;
    assert_eq!(text(bad), (400, "invalid query expression\n".to_owned()));

    let late = tempfile::tempdir().unwrap();
    let api =
        Api::start(&late, &ON.replace("store: filesystem", "store: filesystem, delete_request_cancel_period: 0s"));
    let (_, _, id) = api.delete(Method::POST, &[("query", "{app=\"x\"}"), ("start", "1000000000")]).await;
    let (status, refusal) = text(api.delete(Method::DELETE, &[("request_id", &id)]).await);
    assert!(status == 400 && refusal.ends_with('\n'), "{refusal}");

    for (config, want) in [
        ("auth_enabled: false\n", (404, "404 page not found\n")),
        (&format!("{ON}limits_config: {{deletion_mode: disabled}}\n"), {
            (403, "deletion is not available for this tenant\n")
        }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let api = Api::start(&dir, config);
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert_eq!(text(api.delete(method, &[]).await), (want.0, want.1.to_owned()));
        }
    }
}
