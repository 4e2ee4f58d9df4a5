//! Conformance: recorded requests and the answers of Grafana Loki 3.7.6, asked of the real binary.
//!
//! `tests/golden/` holds the data set, the cases, and `failing.txt`, the list of the cases that do not pass yet. The
//! test fails when a case outside the list fails, and when a listed case passes (strike it from the list).
//!
//! ```text
//! cargo test --test conformance -- --nocapture          the table per category
//! CONFORMANCE=unwrap cargo test --test conformance      one category, or one case id, each failure with its reason
//! UPDATE_GOLDEN=1 cargo test --test conformance         rewrites failing.txt; review the diff
//! ```

mod compare;

#[path = "../common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use compare::{Answer, Verdict};

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    messages: usize,
    messages_alike: usize,
}

#[tokio::test]
async fn answers_as_recorded() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/engine.yaml");
    let engine = common::Process::engine(data.path(), &["--config-file", config.to_str().expect("UTF-8 path")]);
    let client = common::client();
    load(&client, engine.url()).await;

    let only = std::env::var("CONFORMANCE").ok();
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    for line in common::golden("cases.jsonl.zst").lines() {
        let case: Value = serde_json::from_str(line).expect("a case is JSON");
        let (id, category) = (text(&case["id"]), text(&case["category"]));
        if only.as_deref().is_some_and(|only| only != id && only != category) {
            continue;
        }
        let answer = ask(&client, engine.url(), &case["request"]).await;
        let Verdict { difference, message_alike } = compare::compare(&case, &answer);
        let tally = tallies.entry(category.to_owned()).or_default();
        if let Some(alike) = message_alike {
            tally.messages += 1;
            tally.messages_alike += usize::from(alike);
            if !alike && only.is_some() {
                eprintln!("MESSAGE {id}\n     {}\n     {:?}", case["response"]["body"], answer.body);
            }
        }
        match difference {
            None => tally.passed += 1,
            Some(reason) => {
                tally.failed += 1;
                if only.is_some() {
                    eprintln!("FAIL {id} {}\n     {reason}", case["request"]);
                }
                failures.insert(id.to_owned(), reason);
            }
        }
    }
    print_table(&tallies);
    if only.is_none() {
        hold_against_list(&failures);
    } else {
        assert!(failures.is_empty(), "{} cases fail", failures.len());
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

async fn load(client: &reqwest::Client, url: &str) {
    for body in common::golden("pushes.jsonl.zst").lines() {
        let request = client.post(format!("{url}/loki/api/v1/push")).header("Content-Type", "application/json");
        let response = request.body(body.to_owned()).send().await.expect("the push is answered");
        assert_eq!(response.status(), 204, "{}", response.text().await.unwrap_or_default());
    }
}

/// Sends the recorded request as it was sent to Loki: parameters in the URL for GET, as a form else.
async fn ask(client: &reqwest::Client, url: &str, request: &Value) -> Answer {
    let method: reqwest::Method = text(&request["method"]).parse().expect("a method");
    let params: Vec<(&str, &str)> =
        request["params"].as_array().expect("parameters").iter().map(|p| (text(&p[0]), text(&p[1]))).collect();
    let mut builder = client.request(method.clone(), format!("{url}{}", text(&request["path"])));
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        builder = builder.header(name, text(value));
    }
    let form = method != reqwest::Method::GET && request.get("body").is_none();
    builder = match (form, request.get("body")) {
        (true, _) if !params.is_empty() => builder.form(&params),
        (_, Some(body)) => builder.query(&params).body(text(body).to_owned()),
        _ => builder.query(&params),
    };
    let response = builder.send().await.expect("the request is answered");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("the body arrives");
    Answer::new(status, &String::from_utf8_lossy(&body))
}

fn print_table(tallies: &BTreeMap<String, Tally>) {
    eprintln!("{:<24} {:>7} {:>7}   like messages", "category", "passed", "failed");
    let mut all = Tally::default();
    for (category, t) in tallies {
        eprintln!("{category:<24} {:>7} {:>7}   {}/{}", t.passed, t.failed, t.messages_alike, t.messages);
        all.passed += t.passed;
        all.failed += t.failed;
        all.messages += t.messages;
        all.messages_alike += t.messages_alike;
    }
    eprintln!("{:<24} {:>7} {:>7}   {}/{}", "all", all.passed, all.failed, all.messages_alike, all.messages);
}

/// Holds the failures against the checked-in list, or rewrites the list.
fn hold_against_list(failures: &BTreeMap<String, String>) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/failing.txt");
    let listed: BTreeSet<String> = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|id| !id.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut text = String::from("# Cases of cases.jsonl.zst that do not pass yet. Rewritten by UPDATE_GOLDEN=1.\n");
        for id in failures.keys() {
            text.push_str(id);
            text.push('\n');
        }
        std::fs::write(&path, text).expect("failing.txt can be written");
        return;
    }
    let broken: Vec<String> =
        failures.iter().filter(|(id, _)| !listed.contains(*id)).map(|(id, why)| format!("{id}: {why}")).collect();
    let mended: Vec<&String> = listed.iter().filter(|id| !failures.contains_key(*id)).collect();
    assert!(broken.is_empty(), "{} cases that passed before fail:\n{}", broken.len(), broken.join("\n"));
    assert!(mended.is_empty(), "these cases pass now, strike them from tests/golden/failing.txt: {mended:#?}");
}
