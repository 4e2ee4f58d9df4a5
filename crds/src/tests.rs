//! The definitions as an API server would look at them.

use serde_json::Value;

use super::*;

fn schemas() -> Vec<(String, Value)> {
    definitions()
        .unwrap()
        .into_iter()
        .map(|definition| {
            let kind = definition.spec.names.kind.clone();
            (
                kind,
                serde_json::to_value(definition).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
            )
        })
        .collect()
}

/// Calls `look` for each schema with its path and whether a list is around it.
fn walk(path: &str, schema: &Value, in_list: bool, look: &mut dyn FnMut(&str, &Value, bool)) {
    look(path, schema, in_list);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, in_list, look);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            walk(&format!("{path}{mark}"), inner, true, look);
        }
    }
}

#[test]
fn definitions_are_what_was_reviewed() {
    insta::assert_snapshot!("definitions", yaml().unwrap());
}

#[test]
fn schemas_are_structural() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, false, &mut |path, schema, in_list| {
            let typed = schema.get("type").is_some();
            let free = schema.get("x-kubernetes-preserve-unknown-fields").is_some()
                || schema.get("x-kubernetes-int-or-string").is_some();
            assert!(typed || free, "{path} has no type: {schema}");
            for forbidden in ["nullable", "$ref", "oneOf", "anyOf", "allOf", "definitions"] {
                assert!(schema.get(forbidden).is_none(), "{path} has {forbidden}");
            }
            assert!(!in_list || schema.get("default").is_none(), "{path} has a default inside a list");
            assert!(!schema.get("default").is_some_and(contains_null), "{path} has null in its default");
        });
    }
}

fn contains_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(contains_null),
        Value::Array(items) => items.iter().any(contains_null),
        _ => false,
    }
}

#[test]
fn definitions_fit_an_annotation() {
    // Client-side apply keeps the whole object in an annotation of at most 262144 bytes.
    for definition in definitions().unwrap() {
        let bytes = serde_json::to_string(&definition).unwrap().len();
        assert!(bytes < 150_000, "{}: {bytes} bytes", definition.spec.names.kind);
    }
}

#[test]
fn defaults_are_complete() {
    // A parent default must be the full object: a CEL rule on a defaulted child fails with "no such key" otherwise.
    let (_, stack) = schemas().remove(0);
    let spec = &stack["properties"]["spec"];
    let engine = &spec["properties"]["engine"];
    assert_eq!(engine["default"]["storage"]["size"], "50Gi");
    assert_eq!(engine["default"]["limits"]["ingestionRateMb"], 10);
    assert_eq!(engine["properties"]["retention"]["default"]["period"], "30d");
    assert_eq!(spec["properties"]["tenancy"]["default"]["mode"], "Single");
    assert_eq!(spec["properties"]["grafana"]["default"]["labels"]["grafana_datasource"], "1");
}

#[test]
fn an_empty_spec_is_the_defaults() {
    let stack: LogStack = serde_json::from_value(serde_json::json!({
        "apiVersion": "logstack.dev/v1alpha1", "kind": "LogStack", "metadata": {"name": "logs"}, "spec": {},
    }))
    .unwrap();
    assert_eq!(stack.spec, LogStackSpec::default());
    let scrape: LogScrapeSpec = serde_json::from_value(serde_json::json!({})).unwrap();
    assert_eq!(scrape, LogScrapeSpec::default());
}
