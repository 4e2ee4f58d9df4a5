//! The objects while they are being written: only what the source says, so that defaults stay defaults.

use serde_json::{Map, Value, json};

use crate::{GROUP, VERSION};

/// A LogStack and LogScrapes in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    spec: Map<String, Value>,
    scrapes: Vec<(String, Value)>,
}

impl Draft {
    /// Writes a value of the LogStack's spec; `path` is dotted.
    pub(super) fn set(&mut self, path: &str, value: impl Into<Value>) {
        self.set_key(&path.split('.').collect::<Vec<_>>(), value);
    }

    /// The same, for keys that may hold dots.
    pub(super) fn set_key(&mut self, keys: &[&str], value: impl Into<Value>) {
        let Some((last, parents)) = keys.split_last() else { return };
        let mut map = &mut self.spec;
        for key in parents {
            let child = map.entry(*key).or_insert_with(|| json!({}));
            if !child.is_object() {
                *child = json!({});
            }
            let Value::Object(child) = child else { return };
            map = child;
        }
        map.insert((*last).to_owned(), value.into());
    }

    /// Adds an item to a list of the LogStack's spec.
    pub(super) fn push(&mut self, path: &str, item: Value) {
        let mut items = self.get(path).and_then(Value::as_array).cloned().unwrap_or_default();
        items.push(item);
        self.set(path, items);
    }

    /// A value of the LogStack's spec.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        let mut keys = path.split('.');
        let first = self.spec.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    }

    /// Adds a LogScrape; its name is made one that an API server takes, and unique. Returns it.
    pub(super) fn scrape(&mut self, job: &str, spec: Value) -> String {
        let mut name: String = job
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(200)
            .collect::<String>()
            .trim_matches('-')
            .to_owned();
        if name.is_empty() {
            "job".clone_into(&mut name);
        }
        let base = name.clone();
        for number in 2.. {
            if self.scrapes.iter().all(|(other, _)| *other != name) {
                break;
            }
            name = format!("{base}-{number}");
        }
        self.scrapes.push((name.clone(), spec));
        name
    }

    /// How many LogScrapes there are.
    pub(super) fn scrape_count(&self) -> usize {
        self.scrapes.len()
    }

    /// The objects, the LogStack first.
    pub(super) fn objects(&self, name: &str, namespace: Option<&str>) -> Vec<Value> {
        let object = |kind: &str, name: &str, spec: &Value| {
            let mut metadata = json!({ "name": name });
            if let Some(namespace) = namespace {
                metadata["namespace"] = namespace.into();
            }
            json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": metadata, "spec": spec })
        };
        let stack = object("LogStack", name, &Value::Object(self.spec.clone()));
        let scrapes = self.scrapes.iter().map(|(name, spec)| object("LogScrape", name, spec));
        std::iter::once(stack).chain(scrapes).collect()
    }
}
