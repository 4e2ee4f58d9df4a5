//! Escapes in JSON strings.

use memchr::memchr;

use crate::pipeline::state::push_repaired;

/// Appends the text of a JSON string without its quotes. Invalid UTF-8 and U+FFFD become blanks. False, with `out` in
/// any state, for an unknown escape or an unpaired surrogate.
pub(crate) fn unescape(raw: &[u8], out: &mut String) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        push_repaired(out, &rest[..at]);
        let Some(&kind) = rest.get(at + 1) else { return false };
        let mut len = 2;
        let c = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let Some((c, escape_len)) = unicode(&rest[at..]) else { return false };
                len = escape_len;
                if c == char::REPLACEMENT_CHARACTER { ' ' } else { c }
            }
            _ => return false,
        };
        out.push(c);
        rest = &rest[at + len..];
    }
    push_repaired(out, rest);
    true
}

/// `\uXXXX`, or two of them for a character beyond U+FFFF; with its length.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = unit(text)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 6));
    }
    let second = unit(&text[6..])?;
    let c = char::decode_utf16([first as u16, second as u16]).next()?.ok()?;
    (c > '\u{ffff}').then_some((c, 12))
}

fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes() {
        #[track_caller]
        fn check(raw: &str, want: Option<&str>) {
            let mut out = String::new();
            let got = unescape(raw.as_bytes(), &mut out).then_some(&*out);
            assert_eq!(got, want, "{raw:?}");
        }
        check(r#"say \"hi\" a\/b\\"#, Some("say \"hi\" a/b\\"));
        check(r"\b\f\n\r\t", Some("\u{8}\u{c}\n\r\t"));
        check(r"caf\u00e9 \ud83d\ude00!", Some("café 😀!"));
        check(r"\ud800 lone", None);
        check(r"\udc00\ud800", None);
        check(r"\ud83d\u0041", None);
        check(r"\u12", None);
        check(r"\x", None);
        check("\\", None);
        check("\u{fffd} x", Some("  x"));
        check(r"\ufffd", Some(" "));
    }
}
