//! Go's double-quoted string form, as Loki prints label values and query texts (`strconv.Quote`), and its way back.

use std::fmt::{self, Write as _};

/// Displays a string as Go's `strconv.Quote` does.
///
/// Source: Go specification, "String literals"; `strconv.Quote` keeps printable runes and escapes the rest.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\x07' => f.write_str("\\a")?,
                '\x08' => f.write_str("\\b")?,
                '\x0c' => f.write_str("\\f")?,
                '\x0b' => f.write_str("\\v")?,
                c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\x{:02x}", c as u32)?,
                c if is_printable(c) => f.write_char(c)?,
                c if (c as u32) < 0x1_0000 => write!(f, "\\u{:04x}", c as u32)?,
                c => write!(f, "\\U{:08x}", c as u32)?,
            }
        }
        f.write_char('"')
    }
}

/// Go's `strconv.IsPrint`, near enough: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_printable(c: char) -> bool {
    c == ' ' || c == '\u{fffd}' || !(c.is_control() || c.is_whitespace() || is_format_or_private(c))
}

fn is_format_or_private(c: char) -> bool {
    matches!(c as u32, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff
        | 0xfff0..=0xfffb | 0xe0000..=0x10ffff)
}

/// The text of a quoted literal, as Go's `strconv.Unquote` reads it; `inside` comes without the quotes.
///
/// `None`: an unknown or cut-off escape sequence, or one that is no character (`\400`, `\ud800`). Bytes that are no
/// UTF-8 (`\xff`) become U+FFFD: our strings are text.
pub fn unescape(inside: &str) -> Option<String> {
    if !inside.contains('\\') {
        return Some(inside.to_owned());
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (len, base, skip) = match escape.chars().next()? {
            'x' => (3, 16, 1),
            'u' => (5, 16, 1),
            'U' => (9, 16, 1),
            '0'..='7' => (3, 8, 0),
            c => {
                bytes.push(match c {
                    'a' => 7,
                    'b' => 8,
                    'f' => 0xc,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 0xb,
                    '\\' | '"' | '\'' => c as u8,
                    _ => return None,
                });
                rest = &escape[1..];
                continue;
            }
        };
        let digits = escape.get(skip..len)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let code = u32::from_str_radix(digits, base).ok()?;
        if len == 3 {
            bytes.push(u8::try_from(code).ok()?);
        } else {
            bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = &escape[len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(String::from_utf8(bytes).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(Quoted(text).to_string(), want);
        }
        check("plain é", "\"plain é\"");
        check("a\"b\\c\n\t", r#""a\"b\\c\n\t""#);
        check("\x1b\x00\u{200b}", r#""\x1b\x00\u200b""#);
    }

    #[test]
    fn reads_escapes_as_go_does() {
        #[track_caller]
        fn check(inside: &str, want: Option<&str>) {
            assert_eq!(unescape(inside).as_deref(), want, "{inside:?}");
        }
        check("plain é", Some("plain é"));
        check(r#"a\"b\\c\n\t\'"#, Some("a\"b\\c\n\t'"));
        check(r"\x41\101\u00fc\U0001F600", Some("AAü😀"));
        check(r"\xc3\xa9", Some("é"));
        check(r"\xff!", Some("\u{fffd}!"));
        for wrong in [r"\q", r"\400", r"\ud800", r"\x4", r"\", r"\u12é", r"\U00110000", r"\08"] {
            check(wrong, None);
        }
    }
}
