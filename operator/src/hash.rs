//! Hashes of configuration: the same content gives the same text in every process and on every machine.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Hex digits that are kept: 64 bits are enough to tell two versions of one file apart.
const DIGITS: usize = 16;

/// Of a text.
pub fn of_text(text: &str) -> String {
    of_bytes([text.as_bytes()])
}

/// Of parts, each with its length, so that moving a byte from one to the next changes the hash.
pub fn of_bytes<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    finish(hasher)
}

/// Of a JSON value; the order of keys does not count.
pub fn of_value(value: &Value) -> String {
    let mut hasher = Sha256::new();
    feed(value, &mut hasher);
    finish(hasher)
}

fn finish(hasher: Sha256) -> String {
    let digest = hasher.finalize();
    let mut out = String::with_capacity(DIGITS);
    for byte in digest.iter().take(DIGITS / 2) {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

fn feed(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            hasher.update(b"{");
            for key in keys {
                hasher.update((key.len() as u64).to_le_bytes());
                hasher.update(key);
                feed(&map[key], hasher);
            }
            hasher.update(b"}");
        }
        Value::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| feed(item, hasher));
            hasher.update(b"]");
        }
        Value::String(text) => {
            hasher.update(b"\"");
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        scalar => hasher.update(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_does_not_count() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":{"d":"x","c":[1,2]},"a":1}"#).unwrap();
        assert_eq!(of_value(&one), of_value(&two));
        assert_ne!(of_value(&one), of_value(&json!({"a": 1, "b": {"c": [2, 1], "d": "x"}})));
        assert_ne!(of_value(&json!(["ab", "c"])), of_value(&json!(["a", "bc"])));
        assert_eq!(of_text("x").len(), DIGITS);
    }
}
