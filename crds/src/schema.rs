//! Schemas as an API server wants them: structural, small, without null, without defaults inside lists.

use k8s_openapi::api::core::v1::{Affinity, SecurityContext, Toleration, TopologySpreadConstraint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// An object of any shape: `podTemplate`, `extraConfig`.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of objects of any shape.
pub(crate) fn free_form_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// Kubernetes' own type without its descriptions: an Affinity is 32 KB with them, and `kubectl explain pod` has them.
fn bare<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value = T::json_schema(generator).to_value();
    strip_descriptions(&mut value);
    value.try_into().unwrap_or_default()
}

/// `affinity`.
pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    bare::<Affinity>(generator)
}

/// `tolerations`.
pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    bare::<Vec<Toleration>>(generator)
}

/// `topologySpreadConstraints`.
pub(crate) fn topology_spread(generator: &mut SchemaGenerator) -> Schema {
    bare::<Vec<TopologySpreadConstraint>>(generator)
}

/// `securityContext` of a container.
pub(crate) fn security_context(generator: &mut SchemaGenerator) -> Schema {
    bare::<SecurityContext>(generator)
}

/// `env`.
pub(crate) fn env(generator: &mut SchemaGenerator) -> Schema {
    bare::<Vec<k8s_openapi::api::core::v1::EnvVar>>(generator)
}

fn strip_descriptions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("description");
            map.values_mut().for_each(strip_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_descriptions),
        _ => {}
    }
}

/// `x-kubernetes-validations`: CEL rules, each with what it tells a user.
pub(crate) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| serde_json::json!({ "rule": rule, "message": message })).collect()
}

/// Makes a generated definition fit for an API server.
///
/// `root_rules` are CEL rules about the whole object, its name above all.
pub(crate) fn finish(
    definition: CustomResourceDefinition,
    root_rules: &[(&str, &str)],
) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(definition)?;
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                finish_schema(schema, Inside::Object);
                if let Some(root) = schema.as_object_mut().filter(|_| !root_rules.is_empty()) {
                    root.insert("x-kubernetes-validations".to_owned(), rules(root_rules));
                }
            }
        }
    }
    serde_json::from_value(value)
}

/// Whether the schema is that of list items or of something in them.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Object,
    List,
}

fn finish_schema(schema: &mut Value, inside: Inside) {
    let Value::Object(map) = schema else { return };
    // Absent is the only form of "not given": what is not nullable is dropped when it is null.
    map.remove("nullable");
    // API servers know `int32`, `int64` and `double`, and warn of others.
    if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        map.remove("format");
    }
    if inside == Inside::List {
        // Lists are compared whole by GitOps tools: a default inside an item is eternal drift.
        map.remove("default");
    } else if let Some(default) = map.get_mut("default") {
        strip_nulls(default);
    }
    for key in ["properties", "patternProperties"] {
        if let Some(Value::Object(properties)) = map.get_mut(key) {
            properties.values_mut().for_each(|property| finish_schema(property, inside));
        }
    }
    if let Some(items) = map.get_mut("items") {
        finish_schema(items, Inside::List);
    }
    if let Some(values) = map.get_mut("additionalProperties") {
        finish_schema(values, Inside::List);
    }
}

fn strip_nulls(value: &mut Value) {
    let Value::Object(map) = value else { return };
    map.retain(|_, value| !value.is_null());
    map.values_mut().for_each(strip_nulls);
}

/// Structs whose fields are all optional serialise to nothing; this says so for `skip_serializing_if`.
pub(crate) fn is_empty_object(map: &Map<String, Value>) -> bool {
    map.is_empty()
}
