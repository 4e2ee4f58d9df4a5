//! Numbers as Go writes them.
//!
//! Source: Go, package strconv: `ParseFloat`, `ParseInt`, `Atoi`, `FormatFloat`, message texts included.

use super::{Error, NumberFault};

/// Parses Go's float syntax: decimal (`5`, `-1.5`, `.5`, `1e3`), hexadecimal with exponent (`0x1p4`), underscores
/// between digits where Go takes them, `inf`, `infinity`, `nan` in any letter case. No blanks.
///
/// # Errors
/// [`Error::Number`]: no such text (`0x10` lacks its exponent), or above the largest f64.
pub fn parse_float(text: &str) -> Result<f64, Error> {
    // The common case first: plain digits need no second look.
    if let Some(value) = parse_plain(text) {
        return Ok(value);
    }
    let value = parse_special(text).or_else(|| parse_hex_float(text)).or_else(|| parse_decimal(text));
    match value {
        None => Err(fault("ParseFloat", text, NumberFault::Syntax)),
        Some(value) if value.is_infinite() && !has_inf(text) => Err(fault("ParseFloat", text, NumberFault::Range)),
        Some(value) => Ok(value),
    }
}

/// Up to 15 digits are exact in an f64.
fn parse_plain(text: &str) -> Option<f64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let mut value = 0_u64;
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value as f64)
}

fn has_inf(text: &str) -> bool {
    text.as_bytes().iter().any(|c| matches!(c, b'i' | b'I'))
}

fn unsigned(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn parse_special(text: &str) -> Option<f64> {
    let (negative, rest) = unsigned(text);
    if rest.eq_ignore_ascii_case("inf") || rest.eq_ignore_ascii_case("infinity") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    // Go knows no signed NaN.
    text.eq_ignore_ascii_case("nan").then_some(f64::NAN)
}

fn parse_decimal(text: &str) -> Option<f64> {
    let (_, rest) = unsigned(text);
    // Rust's own parser takes all that Go's does, and "inf" and "nan" besides, handled before.
    if !rest.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-' | b'_')) {
        return None;
    }
    if !rest.contains('_') {
        return text.parse().ok();
    }
    underscores_ok(rest, false).then(|| text.replace('_', "").parse().ok())?
}

/// `0x1.8p4`: the exponent is required, and a power of two.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (negative, rest) = unsigned(text);
    let digits = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"))?;
    if digits.contains('_') && !underscores_ok(digits, true) {
        return None;
    }
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let (exponent_negative, exponent_digits) = unsigned(exponent);
    let exponent_digits = exponent_digits.replace('_', "");
    if exponent_digits.is_empty() || !exponent_digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // Any exponent beyond this is zero or infinite, whatever the mantissa of a sane text.
    let exponent: i64 = exponent_digits.parse().unwrap_or(i64::from(i32::MAX)).min(i64::from(i32::MAX));
    let mut exponent = if exponent_negative { -exponent } else { exponent };
    let (mut value, mut sticky, mut seen_digit, mut after_point) = (0_u128, false, false, false);
    for byte in mantissa.bytes() {
        match byte {
            b'_' => {}
            b'.' if !after_point => after_point = true,
            _ => {
                let digit = char::from(byte).to_digit(16)?;
                seen_digit = true;
                if value >> 120 == 0 {
                    value = value << 4 | u128::from(digit);
                    exponent -= if after_point { 4 } else { 0 };
                } else {
                    sticky |= digit != 0;
                    exponent += if after_point { 0 } else { 4 };
                }
            }
        }
    }
    if !seen_digit {
        return None;
    }
    let value = scale_by_power_of_two(value | u128::from(sticky), exponent);
    Some(if negative { -value } else { value })
}

/// `mantissa * 2^exponent`, rounded once to the nearest f64, ties to even.
fn scale_by_power_of_two(mantissa: u128, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let bits = 128 - i64::from(mantissa.leading_zeros());
    let top = exponent + bits; // the value lies in [2^(top-1), 2^top)
    if top > 1024 {
        return f64::INFINITY;
    }
    // A subnormal has fewer than 53 bits: everything below 2^-1074 is rounded away.
    let keep = if top >= -1021 { 53 } else { 53 - (-1021 - top) };
    if keep < 0 {
        return 0.0;
    }
    let drop = bits - keep;
    let (kept, exponent) = if drop <= 0 {
        (mantissa as u64, exponent)
    } else {
        let kept = if drop >= 128 { 0 } else { (mantissa >> drop) as u64 };
        let rest = if drop >= 128 { mantissa } else { mantissa & ((1 << drop) - 1) };
        let half = 1_u128 << (drop - 1);
        let round_up = rest > half || rest == half && kept & 1 == 1;
        (kept + u64::from(round_up), exponent + drop)
    };
    // Two steps keep each factor inside the range of f64; at most 53 bits remain, so neither step rounds.
    let first = exponent.max(-1000);
    kept as f64 * 2.0_f64.powi(first as i32) * 2.0_f64.powi((exponent - first) as i32)
}

/// Underscores separate digits only; one may follow a base prefix.
fn underscores_ok(text: &str, after_prefix: bool) -> bool {
    // '0' a digit, '_' an underscore, '!' anything else: as Go tells them apart.
    let mut before = if after_prefix { '0' } else { '^' };
    for byte in text.bytes() {
        let is_digit = byte.is_ascii_digit() || after_prefix && byte.is_ascii_hexdigit();
        if is_digit {
            before = '0';
        } else if byte == b'_' {
            if before != '0' {
                return false;
            }
            before = '_';
        } else {
            if before == '_' {
                return false;
            }
            before = '!';
        }
    }
    before != '_'
}

/// `strconv.ParseInt(text, 10, 64)`.
///
/// # Errors
/// [`Error::Number`]: not a decimal integer, or not an i64.
pub fn parse_int(text: &str) -> Result<i64, Error> {
    parse_signed("ParseInt", text)
}

/// `strconv.Atoi(text)`: as [`parse_int`], with its own name in the message.
///
/// # Errors
/// [`Error::Number`]: not a decimal integer, or not an i64.
pub fn parse_atoi(text: &str) -> Result<i64, Error> {
    parse_signed("Atoi", text)
}

fn parse_signed(function: &'static str, text: &str) -> Result<i64, Error> {
    text.parse::<i64>().map_err(|error| fault(function, text, kind(&error, text)))
}

/// `strconv.ParseUint(text, 10, 64)`.
///
/// # Errors
/// [`Error::Number`]: not decimal digits (a sign is none), or not a u64.
pub fn parse_uint(text: &str) -> Result<u64, Error> {
    if text.starts_with('+') {
        return Err(fault("ParseUint", text, NumberFault::Syntax));
    }
    text.parse::<u64>().map_err(|error| fault("ParseUint", text, kind(&error, text)))
}

fn kind(error: &std::num::ParseIntError, text: &str) -> NumberFault {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};

    if !matches!(error.kind(), PosOverflow | NegOverflow) {
        return NumberFault::Syntax;
    }
    // Go meets a bad character before it notices that the digits in front of it are too many for an i64.
    let (_, digits) = unsigned(text);
    let number = &digits[..digits.bytes().take_while(u8::is_ascii_digit).count()];
    let is_bad = number.len() < digits.len() && number.parse::<u64>().is_ok();
    if is_bad { NumberFault::Syntax } else { NumberFault::Range }
}

/// `strconv.ParseInt(text, 0, 64)`: prefixes `0x`, `0b`, `0o` and `0` choose the base, underscores may separate
/// digits.
///
/// # Errors
/// [`Error::Number`]: no such integer, or not an i64.
pub fn parse_int_any_base(text: &str) -> Result<i64, Error> {
    let syntax = || fault("ParseInt", text, NumberFault::Syntax);
    let (negative, rest) = unsigned(text);
    let prefixed = |n: usize| rest.get(..n).map(str::to_ascii_lowercase);
    let (base, digits) = match prefixed(2).as_deref() {
        Some("0x") => (16, &rest[2..]),
        Some("0b") => (2, &rest[2..]),
        Some("0o") => (8, &rest[2..]),
        _ if rest.len() > 1 && rest.starts_with('0') => (8, &rest[1..]),
        _ => (10, rest),
    };
    if digits.contains('_') && !underscores_ok(digits, base != 10) {
        return Err(syntax());
    }
    let digits = digits.replace('_', "");
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return Err(syntax());
    }
    let magnitude =
        u64::from_str_radix(&digits, base).map_err(|error| fault("ParseInt", text, kind(&error, &digits)))?;
    let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    value.ok_or_else(|| fault("ParseInt", text, NumberFault::Range))
}

fn fault(function: &'static str, text: &str, reason: NumberFault) -> Error {
    Error::Number { function, text: text.to_owned(), reason }
}

/// Go's `%v` of a float64 (`strconv.FormatFloat(value, 'g', -1, 64)`): shortest digits, with an exponent below 1e-4
/// and from 1e6 on: `0.5`, `123456`, `2e+06`, `NaN`, `+Inf`.
pub fn format_float(value: f64) -> String {
    if !value.is_finite() {
        return super::SampleValue(value).to_string();
    }
    let scientific = halfway_digits(value).unwrap_or_else(|| format!("{value:e}"));
    let (mantissa, exponent) = split_scientific(&scientific);
    if (-4..EXPONENT_FROM).contains(&exponent) {
        return super::SampleValue(value).to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `1.5e-7` as mantissa and exponent.
pub(super) fn split_scientific(text: &str) -> (&str, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

/// The shortest digits of a value that lies exactly between two of the shortest texts, where those of Rust differ:
/// Rust takes the larger, Go the even one. `None`: Rust's are right. The text is as of `{:e}`.
pub(super) fn halfway_digits(value: f64) -> Option<String> {
    // Only a value of at most 18 digits can be halfway between two of 17, and 5^26 has 19.
    if (value * f64::from(1 << 25)).fract() != 0.0 || value.abs() < 1e-8 {
        return None;
    }
    let up = format!("{value:e}");
    let (mantissa, exponent) = split_scientific(&up);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // With fewer digits the value is the text itself.
    if digits < 15 {
        return None;
    }
    let exact = format!("{value:.*e}", 1_100);
    let (exact, _) = split_scientific(&exact);
    let (down, rest) = exact.split_at(mantissa.len());
    let is_even = down.as_bytes()[down.len() - 1] % 2 == 0;
    let is_halfway = rest.starts_with('5') && rest[1..].bytes().all(|c| c == b'0');
    let down = format!("{down}e{exponent}");
    (is_even && is_halfway && down != up && down.parse() == Ok(value)).then_some(down)
}

/// With shortest digits Go decides as if six had been asked for.
const EXPONENT_FROM: i32 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_floats() {
        #[track_caller]
        fn check(text: &str, want: Option<f64>) {
            match want {
                Some(want) => assert_eq!(parse_float(text), Ok(want), "{text:?}"),
                None => assert_eq!(
                    parse_float(text).unwrap_err().to_string(),
                    format!("strconv.ParseFloat: parsing {}: invalid syntax", crate::quote::Quoted(text))
                ),
            }
        }
        check("5", Some(5.0));
        check("-1", Some(-1.0));
        check("+.5", Some(0.5));
        check("1.e3", Some(1000.0));
        check("-.5e-3", Some(-0.0005));
        check("1_000", Some(1000.0));
        check("0_1", Some(1.0));
        check("1e1_0", Some(1e10));
        check("inf", Some(f64::INFINITY));
        check("-Infinity", Some(f64::NEG_INFINITY));
        check("0x1p4", Some(16.0));
        check("0x_1p4", Some(16.0));
        check("0x1_0P+4", Some(256.0));
        check("-0x1.8p-1", Some(-0.75));
        check("0x1.fffffffffffff8p0", Some(2.0));
        check("0x1p-1074", Some(5e-324));
        check("0x1p-1075", Some(0.0));
        check("0x1.8p-1075", Some(5e-324));
        check("0x0.000000000000000000000000000000000001p144", Some(1.0));
        for bad in
            ["", " 5", "5 ", "0x10", "0x.p1", "-nan", "1_", "_1", "1__0", "1_.5", "1._5", ".", "e3", "1e", "١٢", "abc"]
        {
            check(bad, None);
        }
        assert!(parse_float("NaN").unwrap().is_nan());
        for big in ["1e400", "0x1p1024", "-1e999"] {
            let want = format!("strconv.ParseFloat: parsing \"{big}\": value out of range");
            assert_eq!(parse_float(big).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn parses_integers() {
        assert_eq!(parse_int("-12"), Ok(-12));
        assert_eq!(parse_atoi("+7"), Ok(7));
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        #[track_caller]
        fn check<T: std::fmt::Debug>(got: Result<T, Error>, want: &str) {
            assert_eq!(got.unwrap_err().to_string(), want);
        }
        check(parse_int("1e9"), "strconv.ParseInt: parsing \"1e9\": invalid syntax");
        check(parse_int(""), "strconv.ParseInt: parsing \"\": invalid syntax");
        check(
            parse_int("9223372036854775808"),
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        );
        check(
            parse_atoi("10781933999999999999wus"),
            "strconv.Atoi: parsing \"10781933999999999999wus\": invalid syntax",
        );
        check(parse_atoi("1.5"), "strconv.Atoi: parsing \"1.5\": invalid syntax");
        check(parse_uint("-1"), "strconv.ParseUint: parsing \"-1\": invalid syntax");
        check(parse_uint("+1"), "strconv.ParseUint: parsing \"+1\": invalid syntax");
    }

    #[test]
    fn parses_integers_of_any_base() {
        #[track_caller]
        fn check(text: &str, want: Option<i64>) {
            assert_eq!(parse_int_any_base(text).ok(), want, "{text:?}");
        }
        check("0", Some(0));
        check("0x1f", Some(31));
        check("007", Some(7));
        check("0b11", Some(3));
        check("0O17", Some(15));
        check("1_000", Some(1000));
        check("0_7", Some(7));
        check("0x_f", Some(15));
        check("-0x8000000000000000", Some(i64::MIN));
        for bad in ["", "08", "0x", "0_", "_1", "0x+5", " 5", "é", "0é", "9223372036854775808"] {
            check(bad, None);
        }
    }

    #[test]
    fn prints_floats() {
        #[track_caller]
        fn check(value: f64, want: &str) {
            assert_eq!(format_float(value), want);
        }
        check(0.0, "0");
        check(-0.0, "-0");
        check(5120.0, "5120");
        check(123456.0, "123456");
        check(1234567.0, "1.234567e+06");
        check(2e6, "2e+06");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(1e100, "1e+100");
        // Halfway between two texts: the even one.
        check(4665661186878661.0 / 4.0, "1.1664152967196652e+15");
        check(4665661186878663.0 / 4.0, "1.1664152967196658e+15");
        check(0.5_f64.powi(25), "2.9802322387695312e-08");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }

    proptest! {
        #[test]
        fn floats_round_trip(value in any::<f64>()) {
            prop_assert_eq!(parse_float(&format_float(value)), Ok(value));
            prop_assert_eq!(parse_float(&value.to_string().replace("inf", "Inf")), Ok(value));
        }

        #[test]
        fn integers_round_trip(value in any::<i64>()) {
            prop_assert_eq!(parse_int(&value.to_string()), Ok(value));
            prop_assert_eq!(parse_int_any_base(&value.to_string()), Ok(value));
        }

        #[test]
        fn survives_any_text(text in "\\PC{0,12}|[-+]?(0[xbo])?[0-9a-f_.]{0,40}[pe]?[-+]?[0-9_]{0,5}") {
            let _ = (parse_float(&text), parse_int_any_base(&text), parse_uint(&text));
        }
    }
}
