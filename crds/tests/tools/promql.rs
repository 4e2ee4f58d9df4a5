//! Names of metrics in what asks for them.

use std::collections::BTreeSet;

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
