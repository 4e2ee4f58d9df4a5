//! Names of metrics in what asks for them.

#![allow(dead_code, reason = "each test uses its own part of this module")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

/// A key of jobs that looks like one.
const NO_METRIC: &str = "loki_push_api";

/// Names of metrics in a PromQL expression: known prefixes, outside of braces and quotes.
pub fn metrics(expr: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut depth, mut in_quotes, mut word) = (0, false, String::new());
    for c in expr.chars().chain(" ".chars()) {
        if c == '"' {
            in_quotes = !in_quotes;
        }
        if in_quotes {
            continue;
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        let is_metric = ["logstack_", "loki_", "promtail_", "kubelet_"].iter().any(|prefix| word.starts_with(prefix));
        if depth == 0 && is_metric {
            found.insert(word.clone());
        }
        word.clear();
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// Every metric of ours that dashboards, alerts and pages name, and where.
pub fn named(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for folder in ["deploy/monitoring", "deploy/monitoring/dashboards", "docs"] {
        for file in std::fs::read_dir(root.join(folder)).expect("a folder").flatten() {
            let path = file.path();
            let mut expressions = Vec::new();
            let text = || std::fs::read_to_string(&path).expect("a file");
            match path.extension().and_then(|extension| extension.to_str()) {
                // JSON is YAML.
                Some("json" | "yaml") => {
                    for document in serde_yaml::Deserializer::from_str(&text()) {
                        find_expressions(&Value::deserialize(document).expect("YAML"), &mut expressions);
                    }
                }
                Some("md") => expressions.extend(text().lines().map(str::to_owned)),
                _ => continue,
            }
            let names = expressions.iter().flat_map(|expression| metrics(expression));
            // What ends so is a prefix of many.
            let ours = names.filter(|name| !name.starts_with("kubelet_") && !name.ends_with('_') && name != NO_METRIC);
            found.extend(ours.map(|name| (name, path.clone())));
        }
    }
    found
}

/// The texts below keys `expr`, at any depth.
fn find_expressions(value: &Value, out: &mut Vec<String>) {
    for item in value.as_sequence().into_iter().flatten() {
        find_expressions(item, out);
    }
    for (key, value) in value.as_mapping().into_iter().flatten() {
        match value.as_str().filter(|_| key == "expr") {
            Some(expression) => out.push(expression.to_owned()),
            None => find_expressions(value, out),
        }
    }
}

/// True for those that the operator's process has.
pub fn is_operators(metric: &str) -> bool {
    let prefixes = ["logstack_operator_", "logstack_ready", "logstack_condition", "logstack_scrapes"];
    prefixes.iter().any(|prefix| metric.starts_with(prefix))
}

/// True when a page of metrics has this one, be it without a value yet.
pub fn is_on(metric: &str, page: &str) -> bool {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix)).unwrap_or(metric);
    page.contains(&format!("# TYPE {metric} ")) || page.contains(&format!("# TYPE {base} histogram"))
}
