//! A JSON writer into bytes: keys in the order they are written, nothing built in memory first.
//!
//! Clients parse answers as a stream, so the order of keys is part of the interface (contract http-api.md, 1.5).

use std::io::Write as _;

use logstack_go::units::SampleValue;

/// Writes JSON, comma by comma. The caller keeps the grammar; the writer keeps commas, quotes and escapes.
#[derive(Debug, Default)]
pub struct JsonWriter {
    out: Vec<u8>,
}

impl JsonWriter {
    /// Starts an object.
    pub fn begin_object(&mut self) {
        self.comma();
        self.out.push(b'{');
    }

    /// Ends an object.
    pub fn end_object(&mut self) {
        self.out.push(b'}');
    }

    /// Starts an array.
    pub fn begin_array(&mut self) {
        self.comma();
        self.out.push(b'[');
    }

    /// Ends an array.
    pub fn end_array(&mut self) {
        self.out.push(b']');
    }

    /// A key; its value follows.
    pub fn key(&mut self, key: &str) {
        self.string(key);
        self.out.push(b':');
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.comma();
        self.out.push(b'"');
        escape(&mut self.out, text);
        self.out.push(b'"');
    }

    /// Bytes as a string; each byte that is not UTF-8 becomes U+FFFD.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.comma();
        self.out.push(b'"');
        match std::str::from_utf8(bytes) {
            Ok(text) => escape(&mut self.out, text),
            Err(_) => {
                for chunk in bytes.utf8_chunks() {
                    escape(&mut self.out, chunk.valid());
                    for _ in chunk.invalid() {
                        self.out.extend_from_slice("\u{fffd}".as_bytes());
                    }
                }
            }
        }
        self.out.push(b'"');
    }

    /// An integer.
    pub fn integer(&mut self, number: impl Into<i128>) {
        self.comma();
        let _ = write!(self.out, "{}", number.into());
    }

    /// An integer as a string: timestamps in ns do not fit the numbers of JavaScript.
    pub fn integer_string(&mut self, number: impl Into<i128>) {
        self.comma();
        let _ = write!(self.out, "\"{}\"", number.into());
    }

    /// A finite float.
    pub fn float(&mut self, number: f64) {
        self.comma();
        let _ = write!(self.out, "{}", if number.is_finite() { number } else { 0.0 });
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) {
        self.comma();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// `null`.
    pub fn null(&mut self) {
        self.comma();
        self.out.extend_from_slice(b"null");
    }

    /// Unix seconds with up to three decimals, cut off behind the milliseconds.
    pub fn seconds(&mut self, ts_ns: i64) {
        self.comma();
        let millis = ts_ns / 1_000_000;
        if millis < 0 {
            self.out.push(b'-');
        }
        let (secs, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
        let _ = write!(self.out, "{secs}");
        if rest > 0 {
            let text = format!(".{rest:03}");
            self.out.extend_from_slice(text.trim_end_matches('0').as_bytes());
        }
    }

    /// The value of a sample: a string in plain decimals.
    pub fn sample(&mut self, value: f64) {
        self.comma();
        let _ = write!(self.out, "\"{}\"", SampleValue(value));
    }

    /// An object of strings.
    pub fn labels<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.begin_object();
        for (name, value) in labels {
            self.key(name);
            self.string(value);
        }
        self.end_object();
    }

    /// Ready-made JSON.
    pub fn raw(&mut self, json: &str) {
        self.comma();
        self.out.extend_from_slice(json.as_bytes());
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True before anything was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The JSON.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A comma, unless this is the first of its container or the value of a key. An escaped string ends in `"`, so the
    /// last byte says which.
    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean_from = 0;
    for (idx, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean_from..idx]);
        clean_from = idx + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.extend_from_slice(&bytes[clean_from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut JsonWriter)) -> String {
        let mut json = JsonWriter::default();
        write(&mut json);
        String::from_utf8(json.finish()).unwrap()
    }

    #[test]
    fn keeps_order_and_commas() {
        let got = text(|json| {
            json.begin_object();
            json.key("b");
            json.begin_array();
            json.integer(1);
            json.begin_array();
            json.end_array();
            json.null();
            json.end_array();
            json.key("a");
            json.labels([("x", "1"), ("y", "")]);
            json.key("z:");
            json.boolean(true);
            json.end_object();
        });
        assert_eq!(got, r#"{"b":[1,[],null],"a":{"x":"1","y":""},"z:":true}"#);
    }

    #[test]
    fn escapes_and_repairs() {
        assert_eq!(text(|json| json.string("a\"b\\c\n\u{1}é<")), r#""a\"b\\c\n\u0001é<""#);
        assert_eq!(text(|json| json.bytes(b"a\xff\xfeb\xe2\x82")), "\"a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\"");
    }

    #[test]
    fn writes_times() {
        #[track_caller]
        fn check(ts_ns: i64, want: &str) {
            assert_eq!(text(|json| json.seconds(ts_ns)), want);
        }
        check(1_795_360_373_250_000_000, "1795360373.25");
        check(1_768_474_799_999_999_999, "1768474799.999");
        check(60_000_000_000, "60");
        check(-1_500_000_000, "-1.5");
        check(5_001_000_000, "5.001");
    }

    proptest! {
        #[test]
        fn any_text_reads_back(value in any::<String>()) {
            let json = text(|json| json.string(&value));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), value);
        }
    }
}
