//! Sizes for people: `5KiB` is 5120, `5kB` and `5k` are 5000.
//!
//! Source: the behaviour of the Go package go-humanize (`ParseBytes`, `Bytes`, `IBytes`); contract: logql.md, 1 and 5.

use super::{Error, parse_float};

const LETTERS: [u8; 6] = *b"kmgtpe";

/// Parses `[digits . ,]` blanks, and a unit of any letter case, or none. Commas are ignored; a fraction of a byte
/// is cut off.
///
/// # Errors
/// [`Error::Number`] when no number leads (also for a sign), [`Error::SizeName`] for another unit,
/// [`Error::SizeTooLarge`] from 2^64 bytes on.
pub fn parse_bytes(text: &str) -> Result<u64, Error> {
    let number_len = text.bytes().take_while(|c| c.is_ascii_digit() || matches!(c, b'.' | b',')).count();
    let (number, unit) = text.split_at(number_len);
    let number = if number.contains(',') { parse_float(&number.replace(',', ""))? } else { parse_float(number)? };
    let unit = unit.trim();
    let Some(factor) = unit_bytes(unit) else { return Err(Error::SizeName(unit.to_lowercase())) };
    let size = number * factor as f64;
    if size >= u64::MAX as f64 {
        return Err(Error::SizeTooLarge(text.to_owned()));
    }
    Ok(size as u64)
}

/// Parses a size as LogQL writes it: decimals, then directly `B`, or `K k M G T` or `Ki Mi Gi Ti`, each with
/// optional `B`. `None`: not a size literal. No sign, no blank, and `1kb` is none.
pub fn parse_bytes_literal(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
    let prefix = unit.strip_suffix('B').unwrap_or(unit);
    let is_unit = matches!(prefix, "K" | "k" | "M" | "G" | "T" | "Ki" | "Mi" | "Gi" | "Ti") || unit == "B";
    if !is_unit || number.is_empty() {
        return None;
    }
    parse_bytes(text).ok()
}

/// The factor of a unit in any letter case: nothing, `b`, or a letter of k m g t p e, then optional `i`, optional `b`.
fn unit_bytes(unit: &str) -> Option<u64> {
    let (prefix, rest) = match unit.as_bytes() {
        [] => return Some(1),
        [prefix, rest @ ..] => (prefix.to_ascii_lowercase(), rest),
    };
    if prefix == b'b' {
        return rest.is_empty().then_some(1);
    }
    let power = LETTERS.iter().position(|letter| *letter == prefix)? as u32 + 1;
    let is = |text: &[u8]| rest.eq_ignore_ascii_case(text);
    if is(b"") || is(b"b") {
        Some(1000_u64.pow(power))
    } else if is(b"i") || is(b"ib") {
        Some(1024_u64.pow(power))
    } else {
        None
    }
}

/// `82854982` as `83 MB`: decimal units, one decimal below ten.
pub fn format_bytes(bytes: u64) -> String {
    humanize(bytes, 1000.0, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `82854982` as `79 MiB`: binary units, one decimal below ten.
pub fn format_ibytes(bytes: u64) -> String {
    humanize(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn humanize(bytes: u64, base: f64, units: [&str; 7]) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = ((bytes as f64).ln() / base.ln()).floor();
    // Rounded to one decimal first, then printed with one or none: 9.96 kB is "10 kB".
    let value = (bytes as f64 / base.powf(power) * 10.0 + 0.5).floor() / 10.0;
    let unit = units[(power as usize).min(6)];
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses() {
        #[track_caller]
        fn check(text: &str, want: Result<u64, &str>) {
            assert_eq!(parse_bytes(text).map_err(|e| e.to_string()), want.map_err(str::to_owned), "{text:?}");
        }
        check("42", Ok(42));
        check("5KiB", Ok(5120));
        check("5ki", Ok(5120));
        check("1.5 MB", Ok(1_500_000));
        check("5m", Ok(5_000_000));
        check("1,234.5 b", Ok(1234));
        check("0.0001 KB", Ok(0));
        check("16EB", Ok(16_000_000_000_000_000_000));
        check("16EiB", Err("too large: 16EiB"));
        check("7q", Err("unhandled size name: q"));
        check("7 KIBB", Err("unhandled size name: kibb"));
        check("", Err("strconv.ParseFloat: parsing \"\": invalid syntax"));
        check("nope", Err("strconv.ParseFloat: parsing \"\": invalid syntax"));
        check("-5KB", Err("strconv.ParseFloat: parsing \"\": invalid syntax"));
        check("1.2.3", Err("strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"));
    }

    #[test]
    fn parses_literals() {
        #[track_caller]
        fn check(text: &str, want: Option<u64>) {
            assert_eq!(parse_bytes_literal(text), want, "{text:?}");
        }
        for unit in ["K", "KB", "k", "kB"] {
            check(&format!("2{unit}"), Some(2000));
        }
        check("1.5KiB", Some(1536));
        check("1Mi", Some(1 << 20));
        check("7B", Some(7));
        check("5", None);
        check("1kb", None);
        check("1P", None);
        check("5 KB", None);
        check("-5KB", None);
        check("KB", None);
        check("1..5KB", None);
    }

    #[test]
    fn prints() {
        #[track_caller]
        fn check(bytes: u64, decimal: &str, binary: &str) {
            assert_eq!((format_bytes(bytes).as_str(), format_ibytes(bytes).as_str()), (decimal, binary));
        }
        check(0, "0 B", "0 B");
        check(10, "10 B", "10 B");
        check(82_854_982, "83 MB", "79 MiB");
        check(9_960, "10 kB", "9.7 KiB");
        check(u64::MAX, "18 EB", "16 EiB");
    }

    proptest! {
        #[test]
        fn survives_any_text(text in "\\PC{0,12}|[0-9.,]{0,9} ?[kmgtpeib]{0,4}") {
            let _ = (parse_bytes(&text), parse_bytes_literal(&text));
        }

        #[test]
        fn whole_numbers_are_themselves(bytes in 0..1_u64 << 53) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
        }
    }
}
