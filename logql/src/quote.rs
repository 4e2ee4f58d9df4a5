//! Go's double-quoted string form, as Loki prints label values and query texts (`strconv.Quote`).

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
}
