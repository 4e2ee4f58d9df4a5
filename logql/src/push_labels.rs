//! The labels of a pushed stream, as clients write them: `` {app="web", env='prod', pod=`x`,} ``.
//!
//! A Prometheus metric selector with `=` only. It is read once per stream and push, so names and values are borrowed
//! from the text; only a value with escape sequences is copied.
//!
//! Source: Prometheus, `ParseMetric`; contract: http-api.md, 2.2.

use std::borrow::Cow;

use memchr::memchr3;
use smallvec::SmallVec;

use logstack_go::quote::{Quoted, unescape};

/// A name and its value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);
/// The pairs of a stream. Most streams have fewer than sixteen labels.
pub type Pairs<'a> = SmallVec<[Pair<'a>; 16]>;

/// What is wrong with a label text. Displays `1:3: parse error: unexpected character inside braces: '-'`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// In the words of Prometheus.
    pub message: String,
}

/// Reads a label text: its pairs in order, also those of equal name and those of empty value.
///
/// `name{…}` and `{"name", …}` give a pair `__name__`.
///
/// # Errors
/// The first mistake and where it is.
pub fn parse(text: &str) -> Result<Pairs<'_>, Error> {
    let mut reader = Reader { text, at: 0 };
    let mut pairs = Pairs::new();
    reader.skip_blanks();
    let name_len = reader.rest().bytes().take_while(|b| is_name_byte(*b) || *b == b':').count();
    if name_len > 0 && !reader.rest().as_bytes()[0].is_ascii_digit() {
        pairs.push((Cow::Borrowed("__name__"), Cow::Borrowed(&reader.rest()[..name_len])));
        reader.at += name_len;
        reader.skip_blanks();
        if reader.peek().is_none() {
            return Ok(pairs);
        }
    }
    if reader.peek() != Some(b'{') {
        return Err(reader.unexpected(""));
    }
    reader.at += 1;
    loop {
        reader.skip_blanks();
        if reader.peek() == Some(b'}') {
            break;
        }
        reader.pair(&mut pairs)?;
        reader.skip_blanks();
        match reader.peek() {
            Some(b',') => reader.at += 1,
            Some(b'}') => break,
            _ => return Err(reader.unexpected(" in label set, expected \",\" or \"}\"")),
        }
    }
    reader.at += 1;
    reader.skip_blanks();
    if reader.peek().is_some() { Err(reader.unexpected("")) } else { Ok(pairs) }
}

/// True for `[a-zA-Z_][a-zA-Z0-9_]*`, the names that need no quotes.
pub fn is_label_name(name: &str) -> bool {
    name.bytes().all(is_name_byte) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn is_name_byte(b: u8) -> bool {
    b == b'_' || b.is_ascii_alphanumeric()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn pair(&mut self, pairs: &mut Pairs<'a>) -> Result<(), Error> {
        let quoted = matches!(self.peek(), Some(b'"' | b'\'' | b'`'));
        let name = if quoted { self.string()? } else { Cow::Borrowed(self.name()?) };
        self.skip_blanks();
        match self.peek() {
            Some(b'=') if !matches!(self.text.as_bytes().get(self.at + 1), Some(b'~' | b'=')) => self.at += 1,
            Some(b',' | b'}') if quoted => {
                pairs.push((Cow::Borrowed("__name__"), name));
                return Ok(());
            }
            _ => return Err(self.unexpected(" in label set, expected \"=\"")),
        }
        self.skip_blanks();
        if !matches!(self.peek(), Some(b'"' | b'\'' | b'`')) {
            return Err(self.unexpected(" in label set, expected string"));
        }
        pairs.push((name, self.string()?));
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, Error> {
        let rest = self.rest();
        let len = rest.bytes().take_while(|b| is_name_byte(*b)).count();
        if len == 0 || rest.as_bytes()[0].is_ascii_digit() {
            return Err(self.unexpected(" in label set, expected identifier or \"}\""));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// A quoted string; the next byte is its quote.
    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        let rest = self.rest();
        let quote = rest.as_bytes()[0];
        let inside = &rest[1..];
        if quote == b'`' {
            let Some(end) = inside.find('`') else { return Err(self.error(self.at, "unterminated raw string")) };
            self.at += end + 2;
            return Ok(Cow::Borrowed(&inside[..end]));
        }
        let mut end = 0;
        let mut escaped = false;
        loop {
            match memchr3(quote, b'\\', b'\n', &inside.as_bytes()[end..]) {
                Some(found) if inside.as_bytes()[end + found] == quote => {
                    end += found;
                    break;
                }
                Some(found) if inside.as_bytes()[end + found] == b'\\' && end + found + 1 < inside.len() => {
                    escaped = true;
                    // The escaped byte, or the first one of a character, which is then no escape.
                    end += found + 2;
                }
                _ => return Err(self.error(self.at, "unterminated quoted string")),
            }
        }
        let raw = &inside[..end];
        let value = if escaped {
            let Some(value) = unescape(raw) else { return Err(self.error(self.at, "unknown escape sequence")) };
            Cow::Owned(value)
        } else {
            Cow::Borrowed(raw)
        };
        self.at += end + 2;
        Ok(value)
    }

    /// What stands here and should not; `context` says where that is and what should.
    fn unexpected(&self, context: &str) -> Error {
        let rest = self.rest();
        let in_braces = context.contains("label set");
        let Some(c) = rest.chars().next() else {
            let message = if in_braces { "unexpected end of input inside braces" } else { "unexpected end of input" };
            return self.error(self.at, message);
        };
        let message = match c {
            c if c == '_' || c.is_ascii_alphabetic() => {
                let len = rest.bytes().take_while(|b| is_name_byte(*b)).count();
                format!("unexpected identifier \"{}\"{context}", &rest[..len])
            }
            '"' | '\'' | '`' => {
                let mut reader = Reader { text: self.text, at: self.at };
                match reader.string() {
                    Ok(_) => format!("unexpected string {}{context}", Quoted(&self.text[self.at..reader.at])),
                    Err(error) => return error,
                }
            }
            '=' | '!' => {
                let len = 1 + usize::from(matches!(rest.as_bytes().get(1), Some(b'=' | b'~')));
                format!("unexpected \"{}\"{context}", &rest[..len])
            }
            ',' | '}' => format!("unexpected \"{c}\"{context}"),
            '{' if in_braces => "unexpected left brace '{'".to_owned(),
            c if in_braces => format!("unexpected character inside braces: {c:?}"),
            c => format!("unexpected character: {c:?}"),
        };
        self.error(self.at, message)
    }

    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Error { line: before.matches('\n').count() + 1, column: at - line_start + 1, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_label_texts() {
        #[track_caller]
        fn check(text: &str, want: &[(&str, &str)]) {
            let pairs = parse(text).unwrap();
            let got: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(got, want, "{text:?}");
        }
        check("{}", &[]);
        check(" { } ", &[]);
        check(r#"{a="b"}"#, &[("a", "b")]);
        check("{a=\"b\", c='x', d=`y\\n`,}", &[("a", "b"), ("c", "x"), ("d", "y\\n")]);
        check("{ a =\t\"b\"\n,b=\"\" }", &[("a", "b"), ("b", "")]);
        check(r#"{b="1",a="2",b="3"}"#, &[("b", "1"), ("a", "2"), ("b", "3")]);
        check(r#"{a="q\"\\\n\u00fc\x41", b='it\'s "x"'}"#, &[("a", "q\"\\\nüA"), ("b", "it's \"x\"")]);
        check(r#"up:rate{a="b"}"#, &[("__name__", "up:rate"), ("a", "b")]);
        check("up", &[("__name__", "up")]);
        check(r#"{"a.b"="x", "m"}"#, &[("a.b", "x"), ("__name__", "m")]);
        check(r#"{__x__="é😀"}"#, &[("__x__", "é😀")]);
    }

    #[test]
    fn borrows_what_has_no_escapes() {
        let pairs = parse(r#"{a="b", c="d\n"}"#).unwrap();
        assert!(matches!(pairs[0], (Cow::Borrowed(_), Cow::Borrowed(_))));
        assert!(matches!(pairs[1].1, Cow::Owned(_)));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(parse(text).unwrap_err().to_string(), want, "{text:?}");
        }
        check(r#"{bad-name="x"}"#, "1:5: parse error: unexpected character inside braces: '-'");
        check(r#"{1bad="x"}"#, "1:2: parse error: unexpected character inside braces: '1'");
        check(r#"{bad name="x"}"#, "1:6: parse error: unexpected identifier \"name\" in label set, expected \"=\"");
        check("", "1:1: parse error: unexpected end of input");
        check("{", "1:2: parse error: unexpected end of input inside braces");
        check(r#"{a="b""#, "1:7: parse error: unexpected end of input inside braces");
        check("{a=b}", "1:4: parse error: unexpected identifier \"b\" in label set, expected string");
        check(r#"{a=~"b"}"#, "1:3: parse error: unexpected \"=~\" in label set, expected \"=\"");
        check(r#"{a!="b"}"#, "1:3: parse error: unexpected \"!=\" in label set, expected \"=\"");
        check(r#"{,}"#, "1:2: parse error: unexpected \",\" in label set, expected identifier or \"}\"");
        check(
            r#"{a="b" c="d"}"#,
            "1:8: parse error: unexpected identifier \"c\" in label set, expected \",\" or \"}\"",
        );
        check(
            r#"{a="b" "c"}"#,
            "1:8: parse error: unexpected string \"\\\"c\\\"\" in label set, expected \",\" or \"}\"",
        );
        check("{a=\"b}", "1:4: parse error: unterminated quoted string");
        check("{a=\"b\\", "1:4: parse error: unterminated quoted string");
        check("{a=`b}", "1:4: parse error: unterminated raw string");
        check(r#"{a="\q"}"#, "1:4: parse error: unknown escape sequence");
        check("{a=\"b\",\n {", "2:2: parse error: unexpected left brace '{'");
        check(r#"{a="b"} x"#, "1:9: parse error: unexpected identifier \"x\"");
        check("-", "1:1: parse error: unexpected character: '-'");
    }

    proptest! {
        #[test]
        fn survives_any_text(text in "\\PC*|[{}a1_=~!,\"'`\\\\\n é-]*") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_what_labels_print(pairs in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,5}", ".{0,12}", 0..6)) {
            let labels = crate::Labels::from_pairs(pairs);
            let text = labels.to_string();
            let read = crate::Labels::from_pairs(parse(&text).unwrap().into_iter());
            prop_assert_eq!(read, labels);
        }
    }
}
