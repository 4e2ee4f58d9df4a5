//! A JSON reader over a buffer that it may overwrite: strings are unescaped where they stand, so that every string is
//! a [`Span`] and nothing is allocated.
//!
//! Strings may hold any bytes and bare control characters, as the servers before us accepted them. Everything else is
//! RFC 8259.

use super::{Error, Span};

/// Arrays and objects within each other.
const DEPTH_MAX: usize = 128;

/// A place in a JSON text.
#[derive(Debug)]
pub struct Cursor<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    /// At the start of `bytes`, which are at most [`super::BODY_BYTES_MAX`].
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The error that `expected` is not what stands here.
    #[cold]
    pub fn error(&self, expected: &str) -> Error {
        let found = match self.bytes.get(self.at) {
            None => "the end".to_owned(),
            Some(&byte) if byte.is_ascii_graphic() => format!("{:?}", char::from(byte)),
            Some(byte) => format!("byte {byte:#04x}"),
        };
        Error::malformed(format!("invalid JSON at byte {}: expected {expected}, found {found}", self.at))
    }

    /// Skips blanks; the byte after them, `None` at the end.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes `byte` if it comes next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `null` if it comes next.
    pub fn take_null(&mut self) -> Result<bool, Error> {
        match self.peek() {
            Some(b'n') => self.scalar().map(|()| true),
            _ => Ok(false),
        }
    }

    /// Takes `byte`.
    #[inline]
    pub fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Error> {
        if self.take(byte) { Ok(()) } else { Err(self.error(expected)) }
    }

    /// Nothing may follow but blanks.
    pub fn end(&mut self) -> Result<(), Error> {
        if self.peek().is_none() { Ok(()) } else { Err(self.error("the end")) }
    }

    /// Calls `element` at the start of each element of an array; it takes the element.
    ///
    /// `what` is what should stand here.
    #[inline]
    pub fn array(&mut self, what: &str, mut element: impl FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.expect(b'[', what)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "',' or ']'")?;
        }
    }

    /// Calls `member` with the name of each member of an object, at the start of its value; it takes the value.
    #[inline]
    pub fn object(
        &mut self,
        what: &str,
        mut member: impl FnMut(&mut Self, Span) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(b'{', what)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string("a member name in quotes")?;
            self.expect(b':', "':'")?;
            member(self, name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "',' or '}'")?;
        }
    }

    /// Takes a string. Its span holds the unescaped bytes.
    #[inline]
    pub fn string(&mut self, what: &str) -> Result<Span, Error> {
        self.expect(b'"', what)?;
        let start = self.at;
        match memchr::memchr2(b'"', b'\\', &self.bytes[start..]) {
            Some(len) if self.bytes[start + len] == b'"' => {
                self.at = start + len + 1;
                Ok(Span::new(start..start + len))
            }
            Some(len) => self.escaped_string(start, start + len),
            None => Err(self.open_string()),
        }
    }

    #[cold]
    fn open_string(&mut self) -> Error {
        self.at = self.bytes.len();
        self.error("a closing quote")
    }

    /// The rest of a string whose first escape is at `at`. The text moves down over its own escapes.
    fn escaped_string(&mut self, start: usize, at: usize) -> Result<Span, Error> {
        let (mut write, mut read) = (at, at);
        loop {
            // At a backslash or at the closing quote.
            if self.bytes[read] == b'"' {
                self.at = read + 1;
                return Ok(Span::new(start..write));
            }
            self.at = read;
            let (len, character) = self.escape()?;
            read += len;
            let mut utf8 = [0; 4];
            let utf8 = character.encode_utf8(&mut utf8).as_bytes();
            self.bytes[write..write + utf8.len()].copy_from_slice(utf8);
            write += utf8.len();
            let Some(plain) = memchr::memchr2(b'"', b'\\', &self.bytes[read..]) else { return Err(self.open_string()) };
            self.bytes.copy_within(read..read + plain, write);
            write += plain;
            read += plain;
        }
    }

    /// Length and meaning of the escape here. Half a surrogate pair is U+FFFD.
    fn escape(&self) -> Result<(usize, char), Error> {
        let text = &self.bytes[self.at..];
        let simple = |c| Ok((2, c));
        match text.get(1) {
            Some(b'"') => simple('"'),
            Some(b'\\') => simple('\\'),
            Some(b'/') => simple('/'),
            Some(b'b') => simple('\u{8}'),
            Some(b'f') => simple('\u{c}'),
            Some(b'n') => simple('\n'),
            Some(b'r') => simple('\r'),
            Some(b't') => simple('\t'),
            Some(b'u') => {
                let high = hex4(text.get(2..6)).ok_or_else(|| self.error("\\u and four hexadecimal digits"))?;
                let low = text.get(6..8).filter(|&next| next == b"\\u").and_then(|_| hex4(text.get(8..12)));
                if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (high, low) {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    return Ok((12, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)));
                }
                Ok((6, char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)))
            }
            _ => Err(self.error("an escape")),
        }
    }

    /// Passes over a string, which must be one, without touching it.
    fn skip_quoted(&mut self, what: &str) -> Result<(), Error> {
        if self.peek() == Some(b'"') { self.skip_string() } else { Err(self.error(what)) }
    }

    /// Passes over the string here.
    fn skip_string(&mut self) -> Result<(), Error> {
        let mut at = self.at + 1;
        loop {
            match self.bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                Some(len) if self.bytes[at + len] == b'"' => {
                    self.at = at + len + 1;
                    return Ok(());
                }
                Some(len) => {
                    self.at = at + len;
                    at = self.at + self.escape()?.0;
                }
                None => return Err(self.open_string()),
            }
        }
    }

    /// Passes over an object whose members are strings; its text, untouched.
    pub fn string_object(&mut self, what: &str) -> Result<Span, Error> {
        self.peek();
        let start = self.at;
        self.expect(b'{', what)?;
        if !self.take(b'}') {
            loop {
                self.skip_quoted("a label name in quotes")?;
                self.expect(b':', "':'")?;
                self.skip_quoted("a label value in quotes")?;
                if self.take(b'}') {
                    break;
                }
                self.expect(b',', "',' or '}'")?;
            }
        }
        Ok(Span::new(start..self.at))
    }

    /// Passes over any value.
    pub fn skip_value(&mut self) -> Result<(), Error> {
        // Closing brackets that are owed.
        let mut open = [0_u8; DEPTH_MAX];
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => self.skip_string()?,
                Some(bracket @ (b'{' | b'[')) => {
                    let slot =
                        open.get_mut(depth).ok_or_else(|| Error::malformed("invalid JSON: nested too deeply"))?;
                    // `}` and `]` come two after `{` and `[`.
                    *slot = bracket + 2;
                    self.at += 1;
                    if !self.take(bracket + 2) {
                        depth += 1;
                        self.member_name(bracket)?;
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // After a value: close what it ends, or go on to the next one.
            loop {
                let Some(&close) = depth.checked_sub(1).and_then(|last| open.get(last)) else { return Ok(()) };
                if self.take(close) {
                    depth -= 1;
                } else {
                    self.expect(b',', "',' or a closing bracket")?;
                    self.member_name(close - 2)?;
                    break;
                }
            }
        }
    }

    /// In an object: the name and the colon before a value.
    fn member_name(&mut self, bracket: u8) -> Result<(), Error> {
        if bracket == b'{' {
            self.skip_quoted("a member name in quotes")?;
            self.expect(b':', "':'")?;
        }
        Ok(())
    }

    /// Passes over a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), Error> {
        self.peek();
        let rest = &self.bytes[self.at..];
        let is_end =
            |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'{' | b'[' | b':');
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        if !matches!(&rest[..len], b"true" | b"false" | b"null") && !is_number(&rest[..len]) {
            return Err(self.error("a value"));
        }
        self.at += len;
        Ok(())
    }

    /// The bytes of a span that was taken.
    pub fn text(&self, span: Span) -> &[u8] {
        span.of(self.bytes)
    }
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// RFC 8259, "Numbers".
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &mut &[u8]| {
        let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        *text = &text[len..];
        len > 0
    };
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    if rest.len() > 1 && rest[0] == b'0' && rest[1].is_ascii_digit() {
        return false;
    }
    let mut valid = digits(&mut rest);
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = fraction;
        valid &= digits(&mut rest);
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        valid &= digits(&mut rest);
    }
    valid && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unescapes_in_place() {
        #[track_caller]
        fn check(json: &str, want: Option<&str>) {
            let mut bytes = json.as_bytes().to_vec();
            let mut cursor = Cursor::new(&mut bytes);
            let got = cursor.string("a string").and_then(|span| {
                cursor.end()?;
                Ok(String::from_utf8(cursor.text(span).to_vec()).unwrap())
            });
            assert_eq!(got.ok().as_deref(), want, "{json}");
        }
        check(r#""""#, Some(""));
        check(r#"  "plain" "#, Some("plain"));
        check(r#""a\"b\\c\/d\n\r\t\b\f""#, Some("a\"b\\c/d\n\r\t\u{8}\u{c}"));
        check(r#""\u00e9\u20AC""#, Some("é€"));
        check(r#""x\ud83d\ude00y""#, Some("x😀y"));
        check(r#""\ud83d""#, Some("\u{fffd}"));
        check(r#""\ud83d\u0041""#, Some("\u{fffd}A"));
        check(r#""\ude00\ud83d\ude00""#, Some("\u{fffd}😀"));
        check("\"tab\tnewline\n\"", Some("tab\tnewline\n"));
        check(r#""open"#, None);
        check(r#""open\""#, None);
        check(r#""\x""#, None);
        check(r#""\u12""#, None);
        check(r#""\"#, None);
        check("5", None);
    }

    #[test]
    fn skips_values() {
        #[track_caller]
        fn check(json: &str, valid: bool) {
            let mut bytes = json.as_bytes().to_vec();
            let mut cursor = Cursor::new(&mut bytes);
            let got = cursor.skip_value().and_then(|()| cursor.end());
            assert_eq!(got.is_ok(), valid, "{json}: {got:?}");
            assert_eq!(bytes, json.as_bytes());
            assert_eq!(serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok(), valid, "serde agrees: {json}");
        }
        for json in
            ["{}", "[]", "[[],{}]", r#"{"a":[1,-2.5e+3,{"b":null}],"c":"\"}"}"#, " true ", "0", "-0.1E-5", r#""x""#]
        {
            check(json, true);
        }
        for json in [
            "",
            "{",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "[1 2]",
            "[}",
            "01",
            "1.",
            "nul",
            "-",
            "1e",
            "{1:2}",
            "]",
            "[1]]",
        ] {
            check(json, false);
        }
        let mut deep = "[".repeat(DEPTH_MAX + 1).into_bytes();
        assert!(Cursor::new(&mut deep).skip_value().is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_serde(text in "\\PC{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let mut bytes = json.clone().into_bytes();
            let mut cursor = Cursor::new(&mut bytes);
            let span = cursor.string("a string").unwrap();
            prop_assert_eq!(cursor.text(span), text.as_bytes());
        }

        #[test]
        fn survives_anything(mut bytes in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'['), Just(b','), Just(b':'), any::<u8>()], 0..60)) {
            let before = bytes.clone();
            let skipped = Cursor::new(&mut bytes).skip_value().is_ok();
            prop_assert_eq!(&bytes, &before);
            let _ = Cursor::new(&mut bytes).string("a string");
            // Whatever serde reads, we read; we are more lenient about bytes in strings.
            if serde_json::from_slice::<serde::de::IgnoredAny>(&before).is_ok() {
                prop_assert!(skipped);
            }
        }
    }
}
