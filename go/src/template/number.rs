//! Constants: numbers that are of whatever type their place asks for, characters, quoted strings.
//!
//! Source: Go specification, "Integer literals" to "String literals"; packages text/template/parse and strconv.

use crate::quote::Quoted;
use crate::units::{Error, parse_float, parse_int_any_base};

/// A numeric constant under all the types that can hold it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Number {
    pub text: String,
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
    /// Real and imaginary part; set only for what is written as complex.
    pub complex: Option<(f64, f64)>,
}

/// The type that a constant has where any type will do.
pub(super) enum Ideal {
    Int(i64),
    Float(f64),
    Complex(f64, f64),
    /// It is an integer beyond `i64`.
    Overflow,
}

impl Number {
    /// `12`, `0x1f`, `1_000`, `1.5e3`, `2i`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut number = Self { text: text.to_owned(), ..Self::default() };
        if let Some(imaginary) = text.strip_suffix('i')
            && let Ok(imaginary) = parse_float(imaginary)
        {
            number.set_complex(0.0, imaginary);
            return Ok(number);
        }
        number.int = parse_int_any_base(text).ok();
        number.uint = match number.int {
            Some(int) if !text.starts_with(['+', '-']) || int == 0 => u64::try_from(int).ok(),
            Some(_) => None,
            None => parse_big_uint(text),
        };
        number.float = number.int.map(|int| int as f64).or(number.uint.map(|uint| uint as f64));
        if number.float.is_none()
            && let Ok(float) = parse_float(text)
        {
            if !text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", Quoted(text)));
            }
            number.set_float(float);
        }
        if number.float.is_none() {
            return Err(format!("illegal number syntax: {}", Quoted(text)));
        }
        Ok(number)
    }

    /// `1+2i`
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse_complex(text: &str) -> Result<Self, String> {
        let mut number = Self { text: text.to_owned(), ..Self::default() };
        // The sign in the middle may follow an exponent's own: take the last that does not.
        let splits = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
        let parts = splits.filter_map(|(at, _)| {
            let imaginary = text[at..].strip_suffix('i')?;
            Some((parse_float(&text[..at]).ok()?, parse_float(imaginary).ok()?))
        });
        let (real, imaginary) = parts.last().ok_or("syntax error scanning complex number")?;
        number.set_complex(real, imaginary);
        Ok(number)
    }

    /// `'a'`, `'\n'`
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse_char(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('\'').unwrap_or(text);
        let (value, rest) = unquote_char(inner, '\'').ok_or("invalid syntax")?;
        if rest != "'" {
            return Err(format!("malformed character constant: {text}"));
        }
        let code = match value {
            Unquoted::Char(c) => c as u32,
            Unquoted::Byte(byte) => u32::from(byte),
        };
        Ok(Self {
            text: text.to_owned(),
            int: Some(i64::from(code)),
            uint: Some(u64::from(code)),
            float: Some(f64::from(code)),
            complex: None,
        })
    }

    fn set_float(&mut self, float: f64) {
        self.float = Some(float);
        if float == float.trunc() && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float) {
            self.int = Some(float as i64);
        }
        if float == float.trunc() && (0.0..18_446_744_073_709_551_616.0).contains(&float) {
            self.uint = Some(float as u64);
        }
    }

    fn set_complex(&mut self, real: f64, imaginary: f64) {
        self.complex = Some((real, imaginary));
        if imaginary == 0.0 {
            self.set_float(real);
        }
    }

    /// Its value where any type will do.
    pub(super) fn ideal(&self) -> Ideal {
        if let Some((real, imaginary)) = self.complex {
            return Ideal::Complex(real, imaginary);
        }
        let text = &self.text;
        let is_hex = (text.starts_with("0x") || text.starts_with("0X")) && !text.contains(['p', 'P']);
        let is_char = text.starts_with('\'');
        match (self.float, self.int) {
            (Some(float), _) if !is_hex && !is_char && text.contains(['.', 'e', 'E', 'p', 'P']) => Ideal::Float(float),
            (_, Some(int)) => Ideal::Int(int),
            _ => Ideal::Overflow,
        }
    }
}

/// An integer between 2^63 and 2^64, in any base.
fn parse_big_uint(text: &str) -> Option<u64> {
    // Only what is an integer but too large for i64 is of interest, and its halves fit.
    if !matches!(parse_int_any_base(text), Err(Error::Number { reason: crate::units::NumberFault::Range, .. })) {
        return None;
    }
    if text.starts_with(['+', '-']) {
        return None;
    }
    let text = text.replace('_', "").to_ascii_lowercase();
    let (digits, base) = match text.get(..2) {
        Some("0x") => (&text[2..], 16),
        Some("0b") => (&text[2..], 2),
        Some("0o") => (&text[2..], 8),
        _ if text.starts_with('0') => (&text[1..], 8),
        _ => (&text[..], 10),
    };
    u64::from_str_radix(digits, base).ok()
}

/// What one character of a quoted text stands for.
enum Unquoted {
    Char(char),
    /// From `\x80` or `\377`: a byte, not a character.
    Byte(u8),
}

/// Go's `strconv.Unquote` of a `"…"` or `` `…` `` text, which may make invalid UTF-8. `None`: invalid syntax.
pub(super) fn unquote(text: &str) -> Option<Vec<u8>> {
    if let Some(raw) = text.strip_prefix('`') {
        // As in Go source: carriage returns vanish from raw strings.
        return Some(raw.strip_suffix('`')?.replace('\r', "").into_bytes());
    }
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (value, after) = unquote_char(rest, '"')?;
        match value {
            Unquoted::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unquoted::Byte(byte) => out.push(byte),
        }
        rest = after;
    }
    Some(out)
}

/// The first character of `text`, escapes resolved, and the rest. `None`: a bad escape, the bare quote, a newline.
fn unquote_char(text: &str, quote: char) -> Option<(Unquoted, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        return Some((Unquoted::Char(first), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let number = |len: usize, base: u32, rest: &'_ str| {
        let digits = rest.get(..len)?;
        if !digits.bytes().all(|c| char::from(c).is_digit(base)) {
            return None;
        }
        u32::from_str_radix(digits, base).ok()
    };
    let char = |c| Some((Unquoted::Char(c), rest));
    match escape {
        'a' => char('\x07'),
        'b' => char('\x08'),
        'f' => char('\x0c'),
        'n' => char('\n'),
        'r' => char('\r'),
        't' => char('\t'),
        'v' => char('\x0b'),
        '\\' => char('\\'),
        '\'' | '"' if escape == quote => char(escape),
        'x' => Some((Unquoted::Byte(number(2, 16, rest)? as u8), &rest[2..])),
        'u' => Some((Unquoted::Char(char::from_u32(number(4, 16, rest)?)?), &rest[4..])),
        'U' => Some((Unquoted::Char(char::from_u32(number(8, 16, rest)?)?), &rest[8..])),
        '0'..='7' => {
            let digits = &text[1..];
            let value = u8::try_from(number(3, 8, digits)?).ok()?;
            Some((Unquoted::Byte(value), &digits[3..]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_all_the_types_that_hold_them() {
        #[track_caller]
        fn check(text: &str, int: Option<i64>, uint: Option<u64>, float: Option<f64>) {
            let number = Number::parse(text).unwrap();
            assert_eq!((number.int, number.uint, number.float), (int, uint, float), "{text}");
        }
        check("12", Some(12), Some(12), Some(12.0));
        check("-12", Some(-12), None, Some(-12.0));
        check("-0", Some(0), Some(0), Some(0.0));
        check("0x1f", Some(31), Some(31), Some(31.0));
        check("0o17", Some(15), Some(15), Some(15.0));
        check("1_000", Some(1000), Some(1000), Some(1000.0));
        check("1e3", Some(1000), Some(1000), Some(1000.0));
        check("1.5", None, None, Some(1.5));
        check("0x1p4", Some(16), Some(16), Some(16.0));
        check("18446744073709551615", None, Some(u64::MAX), Some(u64::MAX as f64));
        check("0xffffffffffffffff", None, Some(u64::MAX), Some(u64::MAX as f64));
        check("0i", Some(0), Some(0), Some(0.0));
        check("2i", None, None, None);
        assert_eq!(Number::parse("2i").unwrap().complex, Some((0.0, 2.0)));
        assert_eq!(Number::parse_complex("1e+2-2i").unwrap().complex, Some((100.0, -2.0)));
        assert_eq!(Number::parse("99999999999999999999").unwrap_err(), "integer overflow: \"99999999999999999999\"");
        assert_eq!(Number::parse("0x").unwrap_err(), "illegal number syntax: \"0x\"");
        assert_eq!(Number::parse("1.2.3").unwrap_err(), "illegal number syntax: \"1.2.3\"");
    }

    #[test]
    fn characters_are_numbers() {
        #[track_caller]
        fn check(text: &str, want: Result<i64, &str>) {
            assert_eq!(Number::parse_char(text).map(|n| n.int.unwrap()), want.map_err(str::to_owned), "{text}");
        }
        check("'a'", Ok(97));
        check("'é'", Ok(233));
        check(r"'\n'", Ok(10));
        check(r"'\''", Ok(39));
        check(r"'\xff'", Ok(255));
        check("''", Err("invalid syntax"));
        check("'ab'", Err("malformed character constant: 'ab'"));
        check(r#"'\"'"#, Err("invalid syntax"));
    }

    #[test]
    fn unquotes_strings() {
        #[track_caller]
        fn check(text: &str, want: Option<&[u8]>) {
            assert_eq!(unquote(text).as_deref(), want, "{text}");
        }
        check(r#""a\tb\x41\101\u00e9\U0001F600\"\\""#, Some("a\tbAAé😀\"\\".as_bytes()));
        check(r#""\xff""#, Some(b"\xff"));
        check("`a\\n\r\n`", Some(b"a\\n\n"));
        check(r#""\w""#, None);
        check(r#""\'""#, None);
        check(r#""\400""#, None);
        check(r#""\ud800""#, None);
        check(r#""\u12""#, None);
        check(r#""\xé""#, None);
    }
}
