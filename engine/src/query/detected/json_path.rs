//! Where a JSON line has the labels that the `json` parser makes of it.

use std::fmt;

use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How deep objects may nest; the parser behind gives up earlier on anything sane.
const DEPTH_MAX: usize = 64;

/// The path, key by key, of each label: nested names joined by `_`, sanitised, the first of equal ones.
pub fn paths(line: &[u8]) -> HashMap<String, Vec<String>> {
    let mut walk = Walk { path: Vec::new(), name: String::new(), paths: HashMap::new() };
    let mut json = serde_json::Deserializer::from_slice(line);
    // What stands before a fault has been found.
    let _ = Member(&mut walk).deserialize(&mut json);
    walk.paths
}

struct Walk {
    path: Vec<String>,
    name: String,
    paths: HashMap<String, Vec<String>>,
}

impl Walk {
    fn found(&mut self) {
        if !self.path.is_empty() && !self.paths.contains_key(&self.name) {
            self.paths.insert(self.name.clone(), self.path.clone());
        }
    }
}

/// A value at the present path.
struct Member<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let name_len = self.0.name.len();
        while let Some(key) = map.next_key::<String>()? {
            if self.0.path.len() >= DEPTH_MAX {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            append_sanitized(&mut self.0.name, &key);
            self.0.path.push(key);
            map.next_value_seed(Member(self.0))?;
            self.0.path.pop();
            self.0.name.truncate(name_len);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.found();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.found();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.found();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.found();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.found();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Contract logql.md, 4.1: blanks around go, other characters than letters, digits and `_` become `_`, and no name
/// begins with a digit.
fn append_sanitized(name: &mut String, key: &str) {
    let key = key.trim();
    if !name.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_paths() {
        let paths = paths(r#" {"a":{"b.c":1,"d":[{"x":1}]},"1x":"", "n":null,"é":true,"a_b_c":2} tail"#.as_bytes());
        let get = |name: &str| paths.get(name).map(|path| path.join("/"));
        assert_eq!(get("a_b_c").as_deref(), Some("a/b.c"));
        assert_eq!(get("_1x").as_deref(), Some("1x"));
        assert_eq!(get("_").as_deref(), Some("é"));
        assert_eq!((get("a_d"), get("n"), get("a")), (None, None, None));
    }
}
