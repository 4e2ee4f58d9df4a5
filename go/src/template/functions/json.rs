//! JSON text to a value tree.
//!
//! As Go's encoding/json does it: numbers are floats, the last of equal keys wins, an unpaired surrogate and bytes that
//! are no UTF-8 become U+FFFD, anything behind the value is a fault.

use std::borrow::Cow;
use std::rc::Rc;

use crate::template::value::{Elements, List, Map, Value};
use crate::units::parse_float;

/// How deep arrays and objects may nest: the parser recurses.
const NESTING_MAX: usize = 200;

/// The value of a text, `None` if it is no JSON.
pub(super) fn parse_json<'a>(text: &[u8]) -> Option<Value<'a>> {
    let mut parser = Parser { rest: text, depth: 0 };
    let value = parser.value()?;
    parser.skip_blanks();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'t> {
    rest: &'t [u8],
    depth: usize,
}

impl Parser<'_> {
    fn skip_blanks(&mut self) {
        let blanks = self.rest.iter().take_while(|c| matches!(c, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.rest = &self.rest[blanks..];
    }

    fn accept(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value<'a>(&mut self) -> Option<Value<'a>> {
        self.skip_blanks();
        match self.rest.first()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => Some(Value::from(self.string()?)),
            b't' => self.accept(b"true").then_some(Value::Bool(true)),
            b'f' => self.accept(b"false").then_some(Value::Bool(false)),
            b'n' => self.accept(b"null").then_some(Value::Nil),
            _ => self.number(),
        }
    }

    fn nested<'a>(&mut self, parse: fn(&mut Self) -> Option<Value<'a>>) -> Option<Value<'a>> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return None;
        }
        self.rest = &self.rest[1..];
        let value = parse(self)?;
        self.depth -= 1;
        Some(value)
    }

    fn object<'a>(&mut self) -> Option<Value<'a>> {
        let mut entries = Vec::new();
        self.skip_blanks();
        if !self.accept(b"}") {
            loop {
                self.skip_blanks();
                let key = self.string()?;
                self.skip_blanks();
                if !self.accept(b":") {
                    return None;
                }
                entries.push((Cow::Owned(key), self.value()?));
                self.skip_blanks();
                if self.accept(b"}") {
                    break;
                }
                if !self.accept(b",") {
                    return None;
                }
            }
        }
        Some(Value::Map(Rc::new(Map::new(entries, Elements::Any))))
    }

    fn array<'a>(&mut self) -> Option<Value<'a>> {
        let mut values = Vec::new();
        self.skip_blanks();
        if !self.accept(b"]") {
            loop {
                values.push(self.value()?);
                self.skip_blanks();
                if self.accept(b"]") {
                    break;
                }
                if !self.accept(b",") {
                    return None;
                }
            }
        }
        Some(Value::List(List::new(values, Elements::Any)))
    }

    fn number<'a>(&mut self) -> Option<Value<'a>> {
        let text = self.rest;
        let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        let mut len = usize::from(text.first() == Some(&b'-'));
        len += match text.get(len)? {
            b'0' => 1,
            b'1'..=b'9' => digits(&text[len..]),
            _ => return None,
        };
        if text.get(len) == Some(&b'.') {
            let fraction = digits(&text[len + 1..]);
            if fraction == 0 {
                return None;
            }
            len += 1 + fraction;
        }
        if matches!(text.get(len), Some(b'e' | b'E')) {
            len += 1;
            len += usize::from(matches!(text.get(len), Some(b'+' | b'-')));
            let exponent = digits(&text[len..]);
            if exponent == 0 {
                return None;
            }
            len += exponent;
        }
        self.rest = &text[len..];
        let text = std::str::from_utf8(&text[..len]).ok()?;
        // A number beyond f64 leaves nothing in its place, and the rest of the tree stands.
        Some(parse_float(text).map_or(Value::Nil, Value::Float))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        if !self.accept(b"\"") {
            return None;
        }
        let mut raw = Vec::new();
        loop {
            let plain = self.rest.iter().take_while(|c| !matches!(c, b'"' | b'\\' | 0..=0x1f)).count();
            raw.extend_from_slice(&self.rest[..plain]);
            self.rest = &self.rest[plain..];
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    break;
                }
                [b'\\', escape, rest @ ..] => {
                    self.rest = rest;
                    match escape {
                        b'"' | b'\\' | b'/' => raw.push(*escape),
                        b'b' => raw.push(0x08),
                        b'f' => raw.push(0x0c),
                        b'n' => raw.push(b'\n'),
                        b'r' => raw.push(b'\r'),
                        b't' => raw.push(b'\t'),
                        b'u' => raw.extend_from_slice(self.unicode_escape()?.encode_utf8(&mut [0; 4]).as_bytes()),
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
        if std::str::from_utf8(&raw).is_err() {
            return Some(crate::re2::repair(&raw).into_owned());
        }
        Some(raw)
    }

    /// The character of `\uXXXX`, of which the `\u` is read, and of the second half of a pair.
    fn unicode_escape(&mut self) -> Option<char> {
        let high = self.hex4()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let after_high = self.rest;
        if self.accept(b"\\u")
            && let low @ 0xdc00..0xe000 = self.hex4()?
        {
            return char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        }
        self.rest = after_high;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let value = digits.iter().try_fold(0, |value, c| Some(value << 4 | char::from(*c).to_digit(16)?))?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::print::sprint;

    #[test]
    fn parses() {
        #[track_caller]
        fn check(text: &[u8], want: Option<&str>) {
            let got = parse_json(text).map(|value| String::from_utf8(sprint(&[value]).unwrap()).unwrap());
            assert_eq!(got.as_deref(), want, "{}", String::from_utf8_lossy(text));
        }
        check(br#" {"b": [1, 2.5, "x", null, true], "a": {}} "#, Some("map[a:map[] b:[1 2.5 x <nil> true]]"));
        check(br#"{"a":1,"a":2}"#, Some("map[a:2]"));
        check(br#""\u00e9\ud83d\ude00\ud800x\n\/""#, Some("é😀\u{fffd}x\n/"));
        check(b"\"a\xffb\"", Some("a\u{fffd}b"));
        check(b"-0.5e+3", Some("-500"));
        check(b"[1e999]", Some("[<nil>]"));
        check(b"null", Some("<nil>"));
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "1e",
            "+1",
            "nul",
            "\"a\nb\"",
            "\"\\x\"",
            "1 2",
            "{a:1}",
            "\"\\ud83d\\u1\"",
        ] {
            check(bad.as_bytes(), None);
        }
        check("[".repeat(100_000).as_bytes(), None);
    }
}
