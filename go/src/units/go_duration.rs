//! Go durations: `1h30m`, `1.5s`, `-5us`, `0`.
//!
//! Source: Go, package time, `ParseDuration` and `Duration.String`, message texts included.

use std::fmt;

use super::{DurationFault, Error};

/// Parses `[-+]?([0-9]*(\.[0-9]*)?unit)+` with units `ns us µs ms s m h` in any order, or `0`. The result is in ns.
///
/// # Errors
/// [`Error::GoDuration`]: no number, no unit, an unknown unit, or more than 292 years.
pub fn parse_go_duration(text: &str) -> Result<i64, Error> {
    parse(text).map_err(|fault| Error::GoDuration { text: text.to_owned(), fault })
}

fn parse(text: &str) -> Result<i64, DurationFault> {
    use DurationFault::{MissingUnit, Range, Syntax, UnknownUnit};
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(Syntax);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(number_len);
        let whole = leading_int(whole).ok_or(Range)?;
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if number_len == 0 && fraction.is_empty() {
            return Err(Syntax);
        }
        let unit_len = after.bytes().take_while(|c| *c != b'.' && !c.is_ascii_digit()).count();
        if unit_len == 0 {
            return Err(MissingUnit);
        }
        let (unit_name, after) = after.split_at(unit_len);
        let unit = unit_ns(unit_name).ok_or_else(|| UnknownUnit(unit_name.to_owned()))?;
        let mut value = whole.checked_mul(unit).filter(|v| *v <= 1 << 63).ok_or(Range)?;
        value = value.saturating_add(scaled_fraction(fraction, unit));
        total = total.checked_add(value).filter(|t| *t <= 1 << 63).ok_or(Range)?;
        rest = after;
    }
    if negative {
        // 2^63 ns is the one magnitude that only the negative side has.
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| Range)
}

fn unit_ns(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        // U+00B5 micro sign, U+03BC Greek mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// At most 2^63; no digits are 0.
fn leading_int(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .try_fold(0_u64, |x, digit| x.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|x| *x <= 1 << 63))
}

/// `0.digits` units in ns, truncated. Digits beyond what a u64 holds do not matter.
fn scaled_fraction(digits: &str, unit: u64) -> u64 {
    let (mut fraction, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes() {
        let Some(longer) = fraction.checked_mul(10).and_then(|f| f.checked_add(u64::from(digit - b'0'))) else { break };
        if longer > 1 << 63 {
            break;
        }
        fraction = longer;
        scale *= 10.0;
    }
    // The f64 is accurate to the ns for fractions of hours; the order of operations is Go's.
    (fraction as f64 * (unit as f64 / scale)) as u64
}

/// Package time's own quotes: `"` and `\` escaped, bytes outside ASCII and control characters as `\xHH`.
pub(crate) struct HexQuoted<'a>(pub &'a str);

impl fmt::Display for HexQuoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", byte as char)?,
                b' '..=0x7f => write!(f, "{}", byte as char)?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Displays ns as Go prints a duration: `1h0m0s`, `2.5s`, `1.5µs`, `0s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoDuration(pub i64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        if ns == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match ns {
            0..1_000 => write!(f, "{ns}ns"),
            1_000..1_000_000 => write_decimal(f, ns, 1_000).and_then(|()| f.write_str("µs")),
            1_000_000..1_000_000_000 => write_decimal(f, ns, 1_000_000).and_then(|()| f.write_str("ms")),
            _ => {
                let minutes = ns / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write_decimal(f, ns % 60_000_000_000, 1_000_000_000)?;
                f.write_str("s")
            }
        }
    }
}

/// `value / unit` with as many decimals as it has. `unit` is a power of ten, at most 10^9.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, unit: u64) -> fmt::Result {
    write!(f, "{}", value / unit)?;
    let fraction = value % unit;
    if fraction == 0 {
        return Ok(());
    }
    let digits = format!("{:0width$}", fraction, width = unit.ilog10() as usize);
    write!(f, ".{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses() {
        #[track_caller]
        fn check(text: &str, want: Result<i64, &str>) {
            assert_eq!(parse_go_duration(text).map_err(|e| e.to_string()), want.map_err(str::to_owned), "{text:?}");
        }
        check("0", Ok(0));
        check("+0", Ok(0));
        check("1h30m", Ok(5_400_000_000_000));
        check("1.5s", Ok(1_500_000_000));
        check("-5us", Ok(-5_000));
        check("3µs4μs", Ok(7_000));
        check("1s1h", Ok(3_601_000_000_000));
        check(".5s", Ok(500_000_000));
        check("5.s", Ok(5_000_000_000));
        check("0.3333333333333333333h", Ok(1_200_000_000_000));
        check("9223372036854775807ns", Ok(i64::MAX));
        check("-9223372036854775808ns", Ok(i64::MIN));
        check("9223372036854775808ns", Err("time: invalid duration \"9223372036854775808ns\""));
        check("3000000h", Err("time: invalid duration \"3000000h\""));
        check("", Err("time: invalid duration \"\""));
        check("-", Err("time: invalid duration \"-\""));
        check(".s", Err("time: invalid duration \".s\""));
        check("nope", Err("time: invalid duration \"nope\""));
        check("5", Err("time: missing unit in duration \"5\""));
        check("1.5", Err("time: missing unit in duration \"1.5\""));
        check("1d", Err("time: unknown unit \"d\" in duration \"1d\""));
        check("1é\"", Err("time: unknown unit \"\\xc3\\xa9\\\"\" in duration \"1\\xc3\\xa9\\\"\""));
    }

    #[test]
    fn prints() {
        #[track_caller]
        fn check(ns: i64, want: &str) {
            assert_eq!(GoDuration(ns).to_string(), want);
        }
        check(0, "0s");
        check(1, "1ns");
        check(1_100, "1.1µs");
        check(2_200_000, "2.2ms");
        check(3_300_000_000, "3.3s");
        check(65_001_000_000, "1m5.001s");
        check(3_600_000_000_000, "1h0m0s");
        check(-3_456_060_000_000_000, "-960h1m0s");
        check(i64::MIN, "-2562047h47m16.854775808s");
    }

    proptest! {
        #[test]
        fn round_trips(ns in any::<i64>()) {
            prop_assert_eq!(parse_go_duration(&GoDuration(ns).to_string()), Ok(ns));
        }

        #[test]
        fn survives_any_text(text in "\\PC{0,12}|[-+0-9.a-zµ]{0,24}") {
            let _ = parse_go_duration(&text);
        }
    }
}
