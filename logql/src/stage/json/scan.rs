//! Finding one's way in JSON text without building values.
//!
//! The tolerance is that of the reference server's scanner, not of RFC 8259: numbers may look like anything that
//! starts as one, a comma may stand before a closing brace, text behind the object is ignored.

use memchr::{memchr2, memchr3};

/// Why the text cannot be read as the object it should be. Displays as `__error_details__`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("Value looks like object, but can't find closing '}}' symbol")]
    Object,
    #[error("Value is array, but can't find closing ']' symbol")]
    Array,
    #[error("Value is string, but can't find closing '\"' symbol")]
    String,
    #[error("Unknown value type")]
    Value,
    #[error("Malformed JSON error")]
    Malformed,
    #[error("Encountered an invalid escape sequence in a string")]
    Escape,
}

/// Where a value lies, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Between the quotes; `end` is the closing quote.
    String {
        start: usize,
        end: usize,
        is_escaped: bool,
    },
    /// A number, `true` or `false`.
    Scalar {
        start: usize,
        end: usize,
    },
    Null {
        end: usize,
    },
    /// The braces or brackets included.
    Object {
        start: usize,
        end: usize,
    },
    Array {
        start: usize,
        end: usize,
    },
}

impl Token {
    /// Where reading goes on.
    pub(crate) fn next(self) -> usize {
        match self {
            Self::String { end, .. } => end + 1,
            Self::Scalar { end, .. } | Self::Null { end } | Self::Object { end, .. } | Self::Array { end, .. } => end,
        }
    }
}

/// The next byte from `at` on that is no blank.
pub(crate) fn skip_blanks(text: &[u8], at: usize) -> Option<usize> {
    let skipped = text.get(at..)?.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t'))?;
    Some(at + skipped)
}

/// The closing quote of a string whose first byte is at `at`, and whether it has escapes.
pub(crate) fn string_end(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut from = at;
    let mut is_escaped = false;
    loop {
        let found = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[found] == b'"' {
            return Some((found, is_escaped));
        }
        is_escaped = true;
        from = found + 2;
    }
}

/// Behind the closing `close` of the block that opens at `at`. Only this kind of bracket is counted.
fn block_end(text: &[u8], at: usize, open: u8, close: u8) -> Option<usize> {
    let mut level = 0;
    let mut from = at;
    loop {
        let found = from + memchr3(b'"', open, close, text.get(from..)?)?;
        from = found + 1;
        match text[found] {
            b'"' => from = string_end(text, from)?.0 + 1,
            b if b == open => level += 1,
            _ => {
                level -= 1;
                if level == 0 {
                    return Some(from);
                }
            }
        }
    }
}

/// The value at `at`, which is no blank.
pub(crate) fn value(text: &[u8], at: usize) -> Result<Token, Fault> {
    match text[at] {
        b'"' => {
            let (end, is_escaped) = string_end(text, at + 1).ok_or(Fault::String)?;
            Ok(Token::String { start: at + 1, end, is_escaped })
        }
        b'{' => Ok(Token::Object { start: at, end: block_end(text, at, b'{', b'}').ok_or(Fault::Object)? }),
        b'[' => Ok(Token::Array { start: at, end: block_end(text, at, b'[', b']').ok_or(Fault::Array)? }),
        first => {
            let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
            let end = text[at..].iter().position(is_end).map_or(text.len(), |len| at + len);
            match (first, &text[at..end]) {
                (b'0'..=b'9' | b'-', _) | (_, b"true" | b"false") => Ok(Token::Scalar { start: at, end }),
                (_, b"null") => Ok(Token::Null { end }),
                _ => Err(Fault::Value),
            }
        }
    }
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    /// As it stands in the text, without quotes.
    pub key: &'a [u8],
    /// The key has escapes.
    pub is_escaped: bool,
    /// Where the value begins.
    pub at: usize,
}

/// Walks over the members of an object.
pub(crate) struct Members<'a> {
    text: &'a [u8],
    at: usize,
    is_first: bool,
}

impl<'a> Members<'a> {
    /// Starts in front of the object, blanks allowed.
    pub(crate) fn open(text: &'a [u8], at: usize) -> Result<Self, Fault> {
        let at = skip_blanks(text, at).filter(|&at| text[at] == b'{').ok_or(Fault::Object)?;
        Ok(Self { text, at: at + 1, is_first: true })
    }

    /// The next member; `None` behind the closing brace. Whoever reads the value calls [`Self::resume`].
    pub(crate) fn next(&mut self) -> Result<Option<Member<'a>>, Fault> {
        let text = self.text;
        if self.is_first {
            self.is_first = false;
            self.at = skip_blanks(text, self.at).ok_or(Fault::Malformed)?;
        } else {
            self.at = skip_blanks(text, self.at).ok_or(Fault::Array)?;
            match text[self.at] {
                b'}' => {}
                b',' => self.at = skip_blanks(text, self.at + 1).ok_or(Fault::Array)?,
                _ => return Err(Fault::Object),
            }
        }
        match text[self.at] {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b'"' => {}
            _ => return Err(Fault::Object),
        }
        let start = self.at + 1;
        let (end, is_escaped) = string_end(text, start).ok_or(Fault::Malformed)?;
        let colon = skip_blanks(text, end + 1).filter(|&at| text[at] == b':').ok_or(Fault::Malformed)?;
        let value = skip_blanks(text, colon + 1).ok_or(Fault::Malformed)?;
        Ok(Some(Member { key: &text[start..end], is_escaped, at: value }))
    }

    /// Goes on behind a value.
    pub(crate) fn resume(&mut self, at: usize) {
        self.at = at;
    }

    /// Behind what has been read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What is read, from its start.
    pub(crate) fn text(&self) -> &'a [u8] {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_values() {
        #[track_caller]
        fn check(text: &str, want: Result<&str, Fault>) {
            let got = value(text.as_bytes(), 0).map(|token| match token {
                Token::String { start, end, .. } | Token::Scalar { start, end } => &text[start..end],
                Token::Object { start, end } | Token::Array { start, end } => &text[start..end],
                Token::Null { .. } => "NULL",
            });
            assert_eq!(got, want, "{text:?}");
        }
        check(r#""a\"b" x"#, Ok(r#"a\"b"#));
        check(r#""a\\" x"#, Ok(r#"a\\"#));
        check(r#""a"#, Err(Fault::String));
        check(r#""a\"#, Err(Fault::String));
        check("1.50,", Ok("1.50"));
        check("01}", Ok("01"));
        check("-", Ok("-"));
        check("true", Ok("true"));
        check("tru}", Err(Fault::Value));
        check("NaN", Err(Fault::Value));
        check("null]", Ok("NULL"));
        check(r#"{"a":"}"}}"#, Ok(r#"{"a":"}"}"#));
        check(r#"{"a":{}"#, Err(Fault::Object));
        check("[[1],[2]],", Ok("[[1],[2]]"));
        check("[", Err(Fault::Array));
    }
}
