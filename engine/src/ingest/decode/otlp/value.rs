//! Attribute values, and what they are as text.

use std::io::Write as _;

use super::Text;

/// A value of any type.
#[derive(Debug, Default, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// Text.
    Text(Text<'a>),
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Double(f64),
    /// Any bytes.
    Bytes(Text<'a>),
    /// A list.
    Array(Vec<Value<'a>>),
    /// Named values.
    Map(Vec<KeyValue<'a>>),
}

/// A named value.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct KeyValue<'a> {
    /// Its name.
    pub key: Text<'a>,
    /// Its value.
    pub value: Value<'a>,
}

impl Value<'_> {
    /// Appends the value as text: strings as they are, scalars as JSON has them, arrays and maps as JSON, bytes in
    /// base64, nothing for [`Value::Empty`].
    ///
    /// Source: OpenTelemetry Collector, `pcommon.Value.AsString`.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Text(text) => out.extend_from_slice(text),
            Self::Bytes(bytes) => write_base64(bytes, out),
            other => other.write_json(out),
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => out.extend_from_slice(b"null"),
            Self::Text(text) => write_json_string(text, out),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            // Writing to a Vec cannot fail, here and below.
            Self::Int(value) => drop(write!(out, "{value}")),
            Self::Double(value) => write_double(*value, out),
            Self::Bytes(bytes) => {
                out.push(b'"');
                write_base64(bytes, out);
                out.push(b'"');
            }
            Self::Array(values) => {
                out.push(b'[');
                for (idx, value) in values.iter().enumerate() {
                    if idx > 0 {
                        out.push(b',');
                    }
                    value.write_json(out);
                }
                out.push(b']');
            }
            Self::Map(members) => write_object(members, out),
        }
    }
}

/// Sorted by name, the last of equal names: as Go prints a map.
fn write_object(members: &[KeyValue<'_>], out: &mut Vec<u8>) {
    let mut sorted: Vec<&KeyValue<'_>> = members.iter().collect();
    // Stable, so that the last of equal names stays the last.
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    out.push(b'{');
    let mut first = true;
    for (idx, member) in sorted.iter().enumerate() {
        if sorted.get(idx + 1).is_some_and(|next| next.key == member.key) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_json_string(&member.key, out);
        out.push(b':');
        member.value.write_json(out);
    }
    out.push(b'}');
}

/// A JSON string with Go's escapes: also `<`, `>`, `&` and the line separators, so that lines equal Loki's.
fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Shortest digits; an exponent below 1e-6 and from 1e21 on, as in JavaScript and Go's JSON.
fn write_double(value: f64, out: &mut Vec<u8>) {
    let text = if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        let text = format!("{value:e}");
        // Go writes the sign of a positive exponent.
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        }
    } else {
        value.to_string()
    };
    out.extend_from_slice(text.as_bytes());
}

/// RFC 4648, with padding.
fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let at = |idx: usize| u32::from(chunk.get(idx).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for idx in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * idx) & 63) as usize];
            out.push(if idx <= chunk.len() { digit } else { b'=' });
        }
    }
}

/// Reads RFC 4648, either alphabet, padding optional; `None` when it is none.
pub(super) fn read_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text<'_> {
        text.as_bytes().into()
    }

    #[test]
    fn prints_as_text() {
        #[track_caller]
        fn check(value: Value<'_>, want: &str) {
            let mut out = Vec::new();
            value.write_text(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        let member = |key, value| KeyValue { key: text(key), value };
        check(Value::Empty, "");
        check(Value::Text(text("<a> \"b\"")), "<a> \"b\"");
        check(Value::Bool(true), "true");
        check(Value::Int(-5), "-5");
        check(Value::Double(1.0), "1");
        check(Value::Double(0.1), "0.1");
        check(Value::Double(1e21), "1e+21");
        check(Value::Double(-1.5e-7), "-1.5e-7");
        check(Value::Double(f64::NEG_INFINITY), "-Inf");
        check(Value::Bytes(text("any")), "YW55");
        check(Value::Bytes(text("a")), "YQ==");
        check(Value::Bytes(text("ab")), "YWI=");
        check(Value::Array(vec![Value::Text(text("a\n<")), Value::Empty, Value::Int(1)]), "[\"a\\n\\u003c\",null,1]");
        check(
            Value::Map(vec![
                member("b", Value::Int(1)),
                member("a", Value::Bytes(text("any"))),
                member("b", Value::Bool(false)),
            ]),
            "{\"a\":\"YW55\",\"b\":false}",
        );
        check(Value::Map(vec![]), "{}");
    }

    #[test]
    fn reads_base64() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc"] {
            let mut text = Vec::new();
            write_base64(bytes, &mut text);
            assert_eq!(read_base64(std::str::from_utf8(&text).unwrap()).as_deref(), Some(bytes));
        }
        assert_eq!(read_base64("a b"), None);
    }
}
