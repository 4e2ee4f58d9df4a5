//! Where a JSON line has the labels that the `json` parser makes of it.

use std::fmt;

use hashbrown::HashMap;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep objects may nest; the parser behind gives up earlier on anything sane.
const DEPTH_MAX: usize = 64;

/// The path, key by key, of each label: nested names joined by `_`, sanitised, the first of equal ones.
pub fn paths(line: &[u8]) -> HashMap<String, Vec<String>> {
    let mut walk = Walk { path: Vec::new(), name: String::new(), paths: HashMap::new() };
    walk.object(&String::from_utf8_lossy(line));
    walk.paths
}

struct Walk {
    path: Vec<String>,
    name: String,
    paths: HashMap<String, Vec<String>>,
}

impl Walk {
    fn found(&mut self) {
        if !self.paths.contains_key(&self.name) {
            self.paths.insert(self.name.clone(), self.path.clone());
        }
    }

    /// Walks the members of the object that `text` begins with, up to its end or a fault.
    fn object(&mut self, text: &str) {
        if self.path.len() < DEPTH_MAX {
            let mut json = serde_json::Deserializer::from_str(text);
            let _ = json.deserialize_map(Members(self));
        }
    }
}

/// The members of an object. Values are looked at by their first character only, so that a string that a stricter
/// reader would refuse (half a surrogate pair) is still found.
struct Members<'a>(&'a mut Walk);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let walk = self.0;
        let name_len = walk.name.len();
        while let Some(key) = map.next_key::<String>()? {
            append_sanitized(&mut walk.name, &key);
            walk.path.push(key);
            match map.next_value::<&RawValue>() {
                Ok(value) => match value.get().as_bytes().first() {
                    Some(b'{') => walk.object(value.get()),
                    Some(b'[' | b'n') | None => {}
                    Some(_) => walk.found(),
                },
                Err(fault) => {
                    // The parser of lines takes numbers that are none (`007`).
                    walk.found();
                    walk.path.pop();
                    walk.name.truncate(name_len);
                    return Err(fault);
                }
            }
            walk.path.pop();
            walk.name.truncate(name_len);
        }
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
        let half = super::paths(br#"{"bad":"\ud800","next":1}"#);
        assert!(half.contains_key("bad") && half.contains_key("next"));
    }
}
