//! The JSON push body, and the older one of `/api/prom/push`.
//!
//! ```text
//! {"streams": [{"stream": {"app": "web"}, "values": [["<ns>", "line", {"trace_id": "abc"}], …]}, …]}
//! {"streams": [{"labels": "{app=\"web\"}", "entries": [{"ts": "<RFC 3339>", "line": "line"}, …]}, …]}
//! ```
//!
//! Types are strict (timestamps and lines are strings, metadata is an object of strings), names are not: unknown
//! members are passed over. Only a stream in the older form sent to the newer address is refused, since it would
//! silently be empty.

use logstack_go::units::parse_rfc3339_nano;

use super::json::Cursor;
use super::{Decoded, Error, LabelSource, Span};
use crate::ingest::budget::Share;

/// Reads the body of `/loki/api/v1/push`.
///
/// # Errors
/// [`Error`] when it is not of this form, or takes more memory than `share` can get.
pub fn decode(body: Vec<u8>, share: Share) -> Result<Decoded, Error> {
    decode_streams(body, share, stream)
}

/// Reads the body of `/api/prom/push`.
///
/// # Errors
/// [`Error`] when it is not of this form, or takes more memory than `share` can get.
pub fn decode_legacy(body: Vec<u8>, share: Share) -> Result<Decoded, Error> {
    decode_streams(body, share, legacy_stream)
}

fn decode_streams(
    mut body: Vec<u8>,
    share: Share,
    mut stream: impl FnMut(&mut Cursor<'_>, &mut Decoded) -> Result<(), Error>,
) -> Result<Decoded, Error> {
    let mut out = Decoded::new(Vec::new(), share);
    let mut cursor = Cursor::new(&mut body);
    if cursor.peek().is_none() {
        return Err(Error::malformed("EOF"));
    }
    if !cursor.take_null()? {
        cursor.object("an object with the member \"streams\"", |cursor, name| {
            if cursor.text(name) != b"streams" {
                return cursor.skip_value();
            }
            if cursor.take_null()? {
                return Ok(());
            }
            cursor.array("an array of streams", |cursor| stream(cursor, &mut out))
        })?;
    }
    cursor.end()?;
    out.bytes = body;
    Ok(out)
}

fn stream(cursor: &mut Cursor<'_>, out: &mut Decoded) -> Result<(), Error> {
    const EMPTY: LabelSource = LabelSource::Pairs(0..0);
    out.push_stream(EMPTY)?;
    let mut older_member = None;
    cursor.object("a stream object", |cursor, name| {
        match cursor.text(name) {
            b"stream" => {
                let labels = cursor.string_object("an object of labels")?;
                out.streams.last_mut().expect("opened above").labels = LabelSource::Json(labels);
            }
            b"values" => {
                if !cursor.take_null()? {
                    cursor.array("an array of entries", |cursor| entry(cursor, out))?;
                }
            }
            other => {
                if matches!(other, b"labels" | b"entries") {
                    older_member = Some(String::from_utf8_lossy(other).into_owned());
                }
                cursor.skip_value()?;
            }
        }
        Ok(())
    })?;
    let stream = out.streams.last().expect("opened above");
    match older_member {
        Some(member) if stream.labels == EMPTY && stream.entries.is_empty() => Err(Error::malformed(format!(
            "unknown member \"{member}\" of a stream: write \"stream\" and \"values\", or push to /api/prom/push"
        ))),
        _ => Ok(()),
    }
}

/// `["<ns>", "line", {…}]`, where the line may be missing and more may follow.
fn entry(cursor: &mut Cursor<'_>, out: &mut Decoded) -> Result<(), Error> {
    let (mut timestamp_ns, mut line) = (None, Span::default());
    let pairs_start = out.pairs.len();
    let mut element = 0;
    cursor.array("an entry: [\"<timestamp in ns>\", \"<line>\"]", |cursor| {
        match element {
            0 => {
                let text = cursor.string("a timestamp: ns since the epoch in quotes")?;
                timestamp_ns = Some(parse_ns(cursor.text(text))?);
            }
            1 => line = cursor.string("a line in quotes")?,
            2 => cursor.object("an object of structured metadata", |cursor, name| {
                let value = cursor.string("a metadata value in quotes")?;
                out.push_pair(name, value)
            })?,
            _ => cursor.skip_value()?,
        }
        element += 1;
        Ok(())
    })?;
    let timestamp_ns = timestamp_ns.ok_or_else(|| cursor.error("an entry with a timestamp before this"))?;
    let pairs = pairs_start..out.pairs.len();
    out.push_entry(timestamp_ns, line, 0..0, pairs)
}

fn legacy_stream(cursor: &mut Cursor<'_>, out: &mut Decoded) -> Result<(), Error> {
    out.push_stream(LabelSource::Selector(Span::default()))?;
    cursor.object("a stream object", |cursor, name| match cursor.text(name) {
        b"labels" => {
            let labels = cursor.string("labels in quotes")?;
            out.streams.last_mut().expect("opened above").labels = LabelSource::Selector(labels);
            Ok(())
        }
        b"entries" => {
            if cursor.take_null()? {
                return Ok(());
            }
            cursor.array("an array of entries", |cursor| legacy_entry(cursor, out))
        }
        _ => cursor.skip_value(),
    })
}

fn legacy_entry(cursor: &mut Cursor<'_>, out: &mut Decoded) -> Result<(), Error> {
    let (mut timestamp_ns, mut line) = (None, Span::default());
    cursor.object("an entry object", |cursor, name| {
        match cursor.text(name) {
            b"ts" => {
                let text = cursor.string("an RFC 3339 timestamp in quotes")?;
                let text = String::from_utf8_lossy(cursor.text(text)).into_owned();
                let ns = parse_rfc3339_nano(&text).map_err(|error| Error::malformed(error.to_string()))?;
                timestamp_ns = Some(ns);
            }
            b"line" => line = cursor.string("a line in quotes")?,
            _ => cursor.skip_value()?,
        }
        Ok(())
    })?;
    let timestamp_ns = timestamp_ns.ok_or_else(|| cursor.error("an entry with the member \"ts\" before this"))?;
    out.push_entry(timestamp_ns, line, 0..0, 0..0)
}

/// A decimal 64-bit integer.
fn parse_ns(text: &[u8]) -> Result<i64, Error> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // ASCII by now; what is left to fail is the range.
    let number = std::str::from_utf8(text).ok().filter(|_| all_digits).and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let text = String::from_utf8_lossy(&text[..text.len().min(40)]);
        Error::malformed(format!("invalid timestamp \"{}\": expected ns since the epoch", text.escape_debug()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::decode::tests::{check_push, share, show};

    #[track_caller]
    fn check(json: &str, want: Result<&str, &str>) {
        check_push(decode(json.as_bytes().to_vec(), share()), want);
    }

    #[test]
    fn reads_a_push() {
        check("{}", Ok(""));
        check("null", Ok(""));
        check(r#"{"streams":[]}"#, Ok(""));
        check(r#"{"streams":null}"#, Ok(""));
        check(r#"{"streams":[{}]}"#, Ok("<>"));
        check(r#"{"streams":[{"stream":{"a":"1"},"values":null}]}"#, Ok(r#"<{"a":"1"}>"#));
        check(
            r#" {"x":[1,{}], "streams" : [ {"values":[["5","l\"1"],["-6","two",{"k\n":"v","b":"c"},7,null]],"y":0,"stream":{"a":"\u00e9"}}] } "#,
            Ok(r#"<{"a":"\u00e9"}> 5 l"1 [] -6 two [k
=v b=c]"#),
        );
        check(
            r#"{"streams":[{"stream":{},"values":[["1"]]},{"stream":{"a":"b"},"values":[["2","x"]]}]}"#,
            Ok(r#"<{}> 1  [] <{"a":"b"}> 2 x []"#),
        );
    }

    #[test]
    fn refuses_what_is_no_push() {
        #[track_caller]
        fn refused(json: &str, part: &str) {
            let error = decode(json.as_bytes().to_vec(), share()).expect_err(json).to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        check("", Err("EOF"));
        check(" \n", Err("EOF"));
        check("[]", Err("invalid JSON at byte 0: expected an object with the member \"streams\", found '['"));
        refused(r#"{"streams":{}}"#, "an array of streams");
        refused(r#"{"streams":[5]}"#, "a stream object");
        refused(r#"{"streams":[{"stream":"x"}]}"#, "an object of labels");
        refused(r#"{"streams":[{"stream":null}]}"#, "an object of labels");
        refused(r#"{"streams":[{"stream":{"a":5}}]}"#, "a label value in quotes");
        refused(r#"{"streams":[{"values":"x"}]}"#, "an array of entries");
        refused(r#"{"streams":[{"values":["x"]}]}"#, "an entry");
        refused(r#"{"streams":[{"values":[[]]}]}"#, "a timestamp");
        refused(r#"{"streams":[{"values":[[5,"x"]]}]}"#, "a timestamp");
        refused(r#"{"streams":[{"values":[["1",5]]}]}"#, "a line in quotes");
        refused(r#"{"streams":[{"values":[["1","x","y"]]}]}"#, "structured metadata");
        refused(r#"{"streams":[{"values":[["1","x",null]]}]}"#, "structured metadata");
        refused(r#"{"streams":[{"values":[["1","x",[]]]}]}"#, "structured metadata");
        refused(r#"{"streams":[{"values":[["1","x",{"a":5}]]}]}"#, "a metadata value");
        refused(r#"{"streams":[{"values":[["1","x",{"a":{}}]]}]}"#, "a metadata value");
        refused(r#"{"streams":[{"values":[["","x"]]}]}"#, "invalid timestamp \"\"");
        refused(r#"{"streams":[{"values":[["1.5","x"]]}]}"#, "invalid timestamp \"1.5\"");
        refused(r#"{"streams":[{"values":[["+1","x"]]}]}"#, "invalid timestamp \"+1\"");
        refused(r#"{"streams":[{"values":[["99999999999999999999","x"]]}]}"#, "invalid timestamp");
        refused(r#"{"streams":[{"values":[["2026-01-15T10:00:00Z","x"]]}]}"#, "invalid timestamp");
        refused(r#"{"streams":[{"stream":{"a":"1"},"values":[["1","x"]]}"#, "found the end");
        refused(r#"{"streams":[]} x"#, "expected the end");
        refused(r#"{"streams":[{"labels":"{a=\"b\"}","entries":[]}]}"#, "unknown member \"entries\"");
    }

    #[test]
    fn reads_the_older_form() {
        #[track_caller]
        fn check(json: &str, want: Result<&str, &str>) {
            check_push(decode_legacy(json.as_bytes().to_vec(), share()), want);
        }
        check(
            r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-01-15T10:00:00.5+01:00","line":"x","z":1}]}]}"#,
            Ok(r#"<{a="b"}> 1768467600500000000 x []"#),
        );
        check(r#"{"streams":[{"labels":"{}","entries":null}]}"#, Ok("<{}>"));
        assert!(decode_legacy(br#"{"streams":[{"entries":[{"line":"x"}]}]}"#.to_vec(), share()).is_err());
        assert!(decode_legacy(br#"{"streams":[{"entries":[{"ts":"yesterday"}]}]}"#.to_vec(), share()).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let body = format!("{{\"streams\":[{{\"values\":[{}[\"1\"]]}}]}}", "[\"1\"],".repeat(100_000));
        let error = decode(body.into_bytes(), share()).unwrap_err();
        assert!(matches!(error, Error::Memory(_)), "{error}");
    }

    proptest! {
        #[test]
        fn reads_what_serde_writes(entries in proptest::collection::vec((any::<i64>(), "\\PC{0,20}", "[a-z]{1,4}", "\\PC{0,8}"), 1..8)) {
            let values: Vec<_> = entries.iter().map(|(ts, line, name, value)| serde_json::json!([ts.to_string(), line, {name.as_str(): value}])).collect();
            let body = serde_json::json!({"streams": [{"stream": {}, "values": values}]}).to_string();
            let want = entries.iter().map(|(ts, line, name, value)| format!(" {ts} {line} [{name}={value}]")).collect::<String>();
            prop_assert_eq!(show(&decode(body.into_bytes(), share()).unwrap()).trim_end().to_owned(), format!("<{{}}>{want}").trim_end().to_owned());
        }
    }
}
