//! `docs/openapi.yaml` and the router say the same: paths and methods, both ways.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

fn description() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.yaml");
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn every_route_is_described_and_every_description_has_a_route() {
    let dir = tempfile::tempdir().unwrap();
    let config = "auth_enabled: false\ncompactor: {retention_enabled: true, delete_request_store: filesystem}\n";
    let process = common::Process::engine_with(dir.path(), config);
    let client = common::client();
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routed: BTreeSet<&str> = logstack_engine::http::paths().into_iter().collect();
    assert_eq!(described, routed);
    for path in routed {
        for method in METHODS {
            // What the parameters are good for: not to end the process.
            let url = format!("{}{}?terminate=false", process.url(), path.replace("{name}", "app"));
            let request = client.request(method.to_uppercase().parse().unwrap(), url);
            let response = request.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap();
            let status = response.status().as_u16();
            let is_absent = status == 405 || status == 404 && response.text().await.unwrap() == "404 page not found\n";
            let is_described = paths[path].get(method).is_some();
            assert_eq!(!is_absent, is_described, "{method} {path}: {status}");
            let is_listed = |code: &str| paths[path][method]["responses"].get(code).is_some();
            assert!(is_absent || is_listed(&status.to_string()), "{method} {path}: {status} is not described");
        }
    }
}

#[test]
fn references_lead_somewhere() {
    fn check(value: &Value, root: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(root.pointer(pointer).is_some(), "{reference}");
                }
                object.values().for_each(|value| check(value, root));
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, root)),
            _ => {}
        }
    }
    let root = description();
    check(&root, &root);
}
