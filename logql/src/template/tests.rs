//! Tables of templates with their results.
//!
//! `testdata/recorded.jsonl` was recorded from Loki 3.7.6 over one entry.

use super::*;

/// The entry that the tables were recorded with.
struct Entry;

const LABELS: [(&str, &str); 6] = [
    ("app_kubernetes_io_name", "bounds"),
    ("detected_level", "unknown"),
    ("namespace", "bounds"),
    ("pod", "b-0"),
    ("service_name", "bounds"),
    ("stream", "stdout"),
];

impl Lookup for Entry {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        LABELS.iter().find(|label| label.0 == name).map(|label| Value::from(label.1))
    }

    fn entries(&self) -> Vec<(&str, Value<'_>)> {
        LABELS.iter().map(|(name, value)| (*name, Value::from(*value))).collect()
    }

    fn line(&self) -> &[u8] {
        b"bound start"
    }

    fn timestamp_ns(&self) -> i64 {
        1_768_471_200_000_000_000
    }
}

/// The result, or `parse: ` or `exec: ` and the message.
fn run(text: &str) -> String {
    let template = match Template::parse("line", text) {
        Ok(template) => template,
        Err(error) => return format!("parse: {error}"),
    };
    let mut out = Vec::new();
    match template.execute(&Entry, &mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(error) => format!("exec: {error}"),
    }
}

/// Runs the rows of a table; all that differ are shown.
fn check_table(table: &str) -> usize {
    let mut differing = Vec::new();
    let mut count = 0;
    for row in table.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = |key: &str| row.get(key).and_then(|value| value.as_str());
        let template = text("template").unwrap();
        let want = match (text("want"), text("error"), text("parse_error")) {
            (Some(want), ..) => want.to_owned(),
            (_, Some(error), _) => format!("exec: {error}"),
            (.., error) => format!("parse: {}", error.unwrap()),
        };
        let got = run(template);
        if got != want {
            differing.push(format!("{template}\n   got: {got}\n  want: {want}"));
        }
        count += 1;
    }
    assert!(differing.is_empty(), "{} of {count} differ:\n{}", differing.len(), differing.join("\n"));
    count
}

#[test]
fn answers_as_recorded() {
    assert!(check_table(include_str!("testdata/recorded.jsonl")) > 70);
}
