//! What a tail sends: entries, and which ones are missing.

use logstack_go::units::Rfc3339Nano;
use logstack_logql::Labels;

use crate::http::encode::extra_labels;
use crate::http::json::JsonWriter;
use crate::tail::TailEntry;

/// How a client wants its frames.
#[derive(Debug, Clone, Default)]
pub struct Form {
    /// The encoding flags that it sent.
    pub flags: Vec<String>,
    /// Structured metadata and parsed labels come apart.
    pub categorize: bool,
    /// As Loki 0.x.
    pub is_legacy: bool,
}

/// Entries that were dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dropped<'a> {
    /// Some of them.
    pub named: &'a [(i64, Labels)],
    /// All of them.
    pub count: u64,
}

/// One frame: `{"streams":[…],"dropped_entries":[…],"dropped_count":N,"encodingFlags":[…]}`.
///
/// `dropped_count` is ours. It is there when entries were dropped that `dropped_entries` does not name.
pub fn frame(form: &Form, entries: &[TailEntry], dropped: Dropped<'_>) -> String {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("streams");
    json.begin_array();
    for entry in entries {
        json.begin_object();
        if form.is_legacy {
            legacy_entry(&mut json, entry)
        } else {
            write_entry(&mut json, form, entry)
        }
        json.end_object();
    }
    json.end_array();
    if !dropped.named.is_empty() {
        json.key("dropped_entries");
        json.begin_array();
        for (timestamp_ns, labels) in dropped.named {
            json.begin_object();
            json.key("timestamp");
            json.integer_string(*timestamp_ns);
            json.key("labels");
            json.labels(labels.iter());
            json.end_object();
        }
        json.end_array();
    } else if form.is_legacy {
        json.key("dropped_entries");
        json.null();
    }
    if dropped.count > dropped.named.len() as u64 {
        json.key("dropped_count");
        json.integer(dropped.count);
    }
    if !form.flags.is_empty() {
        json.key("encodingFlags");
        json.begin_array();
        form.flags.iter().for_each(|flag| json.string(flag));
        json.end_array();
    }
    json.end_object();
    // The writer repairs what is no UTF-8.
    String::from_utf8(json.finish()).unwrap_or_default()
}

fn write_entry(json: &mut JsonWriter, form: &Form, entry: &TailEntry) {
    json.key("stream");
    json.labels(entry.labels.shown.iter());
    json.key("values");
    json.begin_array();
    json.begin_array();
    json.integer_string(entry.timestamp_ns);
    json.bytes(&entry.line);
    if form.categorize {
        extra_labels(json, &entry.labels.extra);
    }
    json.end_array();
    json.end_array();
}

fn legacy_entry(json: &mut JsonWriter, entry: &TailEntry) {
    json.key("labels");
    json.string(&entry.labels.shown.to_string());
    json.key("entries");
    json.begin_array();
    json.begin_object();
    json.key("ts");
    json.string(&Rfc3339Nano(entry.timestamp_ns).to_string());
    json.key("line");
    json.bytes(&entry.line);
    json.end_object();
    json.end_array();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::query::LineLabels;
    use crate::query::request::ExtraLabels;

    #[test]
    fn writes_what_clients_read() {
        let extra = ExtraLabels { metadata: vec![("m".into(), "1".into())], parsed: vec![] };
        let labels = LineLabels { shown: Labels::from_pairs([("a", "b")]), extra: Arc::new(extra), hash: 0 };
        let entry = TailEntry { timestamp_ns: 5, line: b"x\xff".as_slice().into(), labels: Arc::new(labels) };
        let entries = [entry];
        let named = [(7, Labels::from_pairs([("a", "c")]))];
        #[track_caller]
        fn check(got: String, want: &str) {
            assert_eq!(got, want);
        }
        let plain = Form::default();
        check(
            frame(&plain, &entries, Dropped::default()),
            "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"5\",\"x\u{fffd}\"]]}]}",
        );
        check(
            frame(&plain, &[], Dropped { named: &named, count: 1 }),
            r#"{"streams":[],"dropped_entries":[{"timestamp":"7","labels":{"a":"c"}}]}"#,
        );
        let flags = Form { flags: vec!["categorize-labels".into()], categorize: true, is_legacy: false };
        check(
            frame(&flags, &entries[..], Dropped { named: &named, count: 3 }),
            &[
                "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"5\",\"x\u{fffd}\",{\"structuredMetadata\":{\"m\":\"1\"}}]]}],",
                r#""dropped_entries":[{"timestamp":"7","labels":{"a":"c"}}],"dropped_count":3,"#,
                r#""encodingFlags":["categorize-labels"]}"#,
            ]
            .concat(),
        );
        let legacy = Form { is_legacy: true, ..Form::default() };
        check(
            frame(&legacy, &entries, Dropped::default()),
            "{\"streams\":[{\"labels\":\"{a=\\\"b\\\"}\",\"entries\":[{\"ts\":\"1970-01-01T00:00:00.000000005Z\",\
             \"line\":\"x\u{fffd}\"}]}],\"dropped_entries\":null}",
        );
    }
}
