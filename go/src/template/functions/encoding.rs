//! Text in other forms: base64, URLs, JSON, sizes, durations.
//!
//! Source: contract logql.md, 6.1; Go, packages encoding/base64 and net/url.

use super::json::parse_json;
use super::{CallError, Function, Param, function};
use crate::quote::Quoted;
use crate::template::value::Value;
use crate::units::{parse_bytes, parse_go_duration};

const S: Param = Param::Str;

pub(super) const FUNCTIONS: &[Function] = &[
    function("b64enc", &[S], |call| Ok(Value::from(base64_encode(call.str(0))))),
    // A bad text gives the message as result, not an error.
    function("b64dec", &[S], |call| {
        Ok(match base64_decode(call.str(0)) {
            Ok(bytes) => Value::from(bytes),
            Err(at) => Value::from(format!("illegal base64 data at input byte {at}")),
        })
    }),
    function("urlencode", &[S], |call| Ok(Value::from(query_escape(call.str(0))))),
    function("urldecode", &[S], |call| Ok(Value::from(query_unescape(call.str(0))?))),
    function("fromJson", &[S], |call| Ok(parse_json(call.str(0)).unwrap_or(Value::Nil))),
    function("bytes", &[S], |call| {
        let size = parse_bytes(&String::from_utf8_lossy(call.str(0))).map_err(|error| error.to_string())?;
        Ok(Value::Float(size as f64))
    }),
    function("duration", &[S], |call| seconds(call.str(0))),
    function("duration_seconds", &[S], |call| seconds(call.str(0))),
];

fn seconds<'a>(text: &[u8]) -> Result<Value<'a>, CallError> {
    let ns = parse_go_duration(&String::from_utf8_lossy(text)).map_err(|error| error.to_string())?;
    Ok(Value::Float((ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() { digit } else { b'=' });
        }
    }
    out
}

/// Decodes padded base64; line breaks are ignored. `Err`: where the first fault is.
fn base64_decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut symbols = text.iter().copied().enumerate().filter(|(_, c)| !matches!(c, b'\n' | b'\r')).peekable();
    while symbols.peek().is_some() {
        let (mut bits, mut digits) = (0_u32, 0);
        while digits < 4 {
            let Some((at, symbol)) = symbols.next() else { return Err(text.len() - digits) };
            if let Some(value) = ALPHABET.iter().position(|known| *known == symbol) {
                bits = bits << 6 | value as u32;
                digits += 1;
                continue;
            }
            if symbol != b'=' || digits < 2 {
                return Err(at);
            }
            if digits == 2 {
                // The second padding; the fault is placed at whatever stands before the one in its stead.
                match symbols.next() {
                    Some((_, b'=')) => {}
                    Some((at, _)) => return Err(at - 1),
                    None => return Err(text.len()),
                }
            }
            if let Some((at, _)) = symbols.peek() {
                return Err(*at);
            }
            bits <<= 6 * (4 - digits);
            break;
        }
        let bytes = bits.to_be_bytes();
        out.extend_from_slice(&bytes[1..if digits == 4 { 4 } else { digits }]);
    }
    Ok(out)
}

/// Go's `url.QueryEscape`: blanks become `+`.
pub(super) fn query_escape(text: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            byte => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out
}

fn query_unescape(text: &[u8]) -> Result<Vec<u8>, CallError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'+' => {
                out.push(b' ');
                after
            }
            b'%' => {
                let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let value =
                    digits.filter(|digits| !digits.starts_with('+')).and_then(|d| u8::from_str_radix(d, 16).ok());
                let Some(value) = value else {
                    let shown = String::from_utf8_lossy(&rest[..rest.len().min(3)]).into_owned();
                    return Err(format!("invalid URL escape {}", Quoted(&shown)).into());
                };
                out.push(value);
                &after[2..]
            }
            byte => {
                out.push(*byte);
                after
            }
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_faults_are_placed_as_go_places_them() {
        #[track_caller]
        fn check(text: &str, want: Result<&str, usize>) {
            assert_eq!(base64_decode(text.as_bytes()), want.map(|text| text.as_bytes().to_vec()), "{text:?}");
        }
        check("", Ok(""));
        check("aGVs\nbG8=", Ok("hello"));
        check("aA==", Ok("h"));
        check("aA==\n", Ok("h"));
        check("!!!", Err(0));
        check("aGVs!", Err(4));
        check("aGVsb", Err(4));
        check("aG", Err(0));
        check("aGV", Err(0));
        check("a===", Err(1));
        check("aA=", Err(3));
        check("aA=x", Err(2));
        check("aA==x", Err(4));
        check("aGV=x", Err(4));
        check("====", Err(0));
    }

    proptest! {
        #[test]
        fn base64_round_trips(bytes: Vec<u8>) {
            prop_assert_eq!(base64_decode(&base64_encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn url_escapes_round_trip(bytes: Vec<u8>) {
            prop_assert_eq!(query_unescape(&query_escape(&bytes)), Ok(bytes));
        }
    }
}
