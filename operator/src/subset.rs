//! Is what we want part of what is there?
//!
//! The API server fills in defaults, other controllers add labels, sidecars and ports: all that is theirs. Only a field
//! that we wrote and that has another value now is drift.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use logstack_crds::quantity::bytes;
use serde_json::Value;

/// Keys by which items of a list are the same item, as in the API's own merge keys.
const ITEM_KEYS: [&str; 5] = ["name", "mountPath", "uid", "containerPort", "port"];

/// The path of the first field of `desired` that `observed` lacks or has otherwise; `None`: nothing differs.
pub fn first_difference(desired: &Value, observed: &Value) -> Option<String> {
    let mut path = Vec::new();
    differs(desired, observed, &mut path)
        .then(|| path.iter().map(|part| part.as_ref()).collect::<Vec<&str>>().join("."))
}

/// True when they differ; `path` then leads to the place.
fn differs<'a>(desired: &'a Value, observed: &Value, path: &mut Vec<Cow<'a, str>>) -> bool {
    match (desired, observed) {
        (Value::Object(desired), Value::Object(observed)) => {
            for (key, value) in desired {
                path.push(Cow::Borrowed(key));
                let is_other = match observed.get(key) {
                    Some(seen) => differs(value, seen, path),
                    // What is empty or false the API server does not write down.
                    None => !is_zero(value),
                };
                if is_other {
                    return true;
                }
                path.pop();
            }
            false
        }
        (Value::Array(desired), Value::Array(observed)) => {
            let key = ITEM_KEYS.iter().find(|key| tells_apart(key, desired));
            if key.is_none() && desired.len() != observed.len() {
                return true;
            }
            for (idx, item) in desired.iter().enumerate() {
                let seen = match key {
                    Some(key) => observed.iter().find(|seen| seen.get(*key) == item.get(*key)),
                    None => observed.get(idx),
                };
                path.push(Cow::Owned(match key.and_then(|key| item.get(*key)) {
                    Some(Value::String(name)) => name.clone(),
                    _ => idx.to_string(),
                }));
                match seen {
                    Some(seen) if !differs(item, seen, path) => drop(path.pop()),
                    _ => return true,
                }
            }
            false
        }
        (desired, observed) => desired != observed && !is_same_quantity(desired, observed),
    }
}

/// True when every item has a value of its own there. Port 53 is one of UDP and one of TCP.
fn tells_apart(key: &str, items: &[Value]) -> bool {
    items.iter().enumerate().all(|(idx, item)| {
        let value = item.get(key);
        value.is_some() && items[..idx].iter().all(|other| other.get(key) != value)
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

/// `1024Mi` comes back as `1Gi`, and `0.1` as `100m`.
fn is_same_quantity(one: &Value, other: &Value) -> bool {
    let thousandths = |value: &Value| -> Option<u64> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        // In thousandths, so that `0.1` and `100m` are told from `1`.
        match text.strip_suffix('m') {
            Some(digits) => digits.parse().ok(),
            None => match text.parse::<f64>() {
                Ok(number) if number >= 0.0 => Some((number * 1000.0).round() as u64),
                _ => bytes(&Quantity(text)).and_then(|bytes| bytes.checked_mul(1000)),
            },
        }
    };
    match (thousandths(one), thousandths(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_our_fields_count() {
        #[track_caller]
        fn check(desired: Value, observed: Value, want: Option<&str>) {
            assert_eq!(first_difference(&desired, &observed).as_deref(), want, "{desired} in {observed}");
        }
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), None);
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), Some("a.b"));
        check(json!({"a": false, "b": {}, "c": 0}), json!({}), None);
        check(json!({"a": true}), json!({}), Some("a"));
        // sidecars and allocated ports
        check(
            json!({"containers": [{"name": "engine", "image": "x"}]}),
            json!({"containers": [{"name": "mesh"}, {"name": "engine", "image": "x", "tty": false}]}),
            None,
        );
        check(
            json!({"containers": [{"name": "engine", "image": "x"}]}),
            json!({"containers": [{"name": "engine", "image": "y"}]}),
            Some("containers.engine.image"),
        );
        check(json!({"ports": [{"port": 1}]}), json!({"ports": [{"port": 1, "nodePort": 30000}]}), None);
        let dns = json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]});
        check(dns.clone(), dns.clone(), None);
        check(dns, json!({"ports": [{"port": 53, "protocol": "UDP"}]}), Some("ports"));
        check(json!({"args": ["a"]}), json!({"args": ["a", "b"]}), Some("args"));
        check(json!({"args": ["a", "b"]}), json!({"args": ["a", "c"]}), Some("args.1"));
        // quantities
        check(json!({"memory": "1024Mi"}), json!({"memory": "1Gi"}), None);
        check(json!({"cpu": "0.1"}), json!({"cpu": "100m"}), None);
        check(json!({"cpu": 1}), json!({"cpu": "1"}), None);
        check(json!({"cpu": "1"}), json!({"cpu": "100m"}), Some("cpu"));
        check(json!({"text": "a"}), json!({"text": "b"}), Some("text"));
    }
}
