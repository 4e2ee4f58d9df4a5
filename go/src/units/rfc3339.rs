//! RFC 3339 timestamps to and from ns since the epoch, fast enough for every line of a container log.

use std::fmt;

use super::Error;

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// Parses `2026-01-15T10:00:00[.fraction](Z|±hh:mm)` to ns since the epoch. Digits of the fraction beyond the ninth
/// are cut off; a comma is taken for the point and a one-digit hour is accepted, as Go does.
///
/// # Errors
/// [`Error::Timestamp`]: another form, a field out of its range, or outside the years 1678 to 2262.
pub fn parse_rfc3339_nano(text: &str) -> Result<i64, Error> {
    parse(text.as_bytes()).map_err(|reason| Error::Timestamp { text: text.to_owned(), reason })
}

fn parse(text: &[u8]) -> Result<i64, &'static str> {
    const FORM: &str = "not of that form";
    let mut rest = text;
    let year = number(&mut rest, 4).ok_or(FORM)?;
    expect(&mut rest, b'-').ok_or(FORM)?;
    let month = number(&mut rest, 2).ok_or(FORM)?;
    expect(&mut rest, b'-').ok_or(FORM)?;
    let day = number(&mut rest, 2).ok_or(FORM)?;
    expect(&mut rest, b'T').ok_or(FORM)?;
    let hour_width = if rest.get(1) == Some(&b':') { 1 } else { 2 };
    let hour = number(&mut rest, hour_width).ok_or(FORM)?;
    expect(&mut rest, b':').ok_or(FORM)?;
    let minute = number(&mut rest, 2).ok_or(FORM)?;
    expect(&mut rest, b':').ok_or(FORM)?;
    let second = number(&mut rest, 2).ok_or(FORM)?;
    let mut fraction_ns = 0;
    if let [b'.' | b',', after @ ..] = rest {
        let digits = after.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 {
            return Err(FORM);
        }
        let kept = &after[..digits.min(9)];
        fraction_ns = kept.iter().fold(0, |ns, c| ns * 10 + i64::from(c - b'0')) * 10_i64.pow(9 - kept.len() as u32);
        rest = &after[digits..];
    }
    let offset_s = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), after @ ..] => {
            let mut after = after;
            let hours = number(&mut after, 2).ok_or(FORM)?;
            expect(&mut after, b':').ok_or(FORM)?;
            let minutes = number(&mut after, 2).ok_or(FORM)?;
            if !after.is_empty() {
                return Err(FORM);
            }
            if hours > 24 || minutes > 60 {
                return Err("time zone offset out of range");
            }
            let offset_s = hours * 3_600 + minutes * 60;
            if *sign == b'-' { -offset_s } else { offset_s }
        }
        _ => return Err(FORM),
    };
    if !(1..=12).contains(&month) {
        return Err("month out of range");
    }
    if day < 1 || day > days_in_month(year, month) {
        return Err("day out of range");
    }
    if hour > 23 {
        return Err("hour out of range");
    }
    if minute > 59 {
        return Err("minute out of range");
    }
    if second > 59 {
        return Err("second out of range");
    }
    let seconds = days_from_civil(year, month, day) * S_PER_DAY + hour * 3_600 + minute * 60 + second - offset_s;
    let ns = i128::from(seconds) * i128::from(NS_PER_S) + i128::from(fraction_ns);
    i64::try_from(ns).map_err(|_| "outside the years 1678 to 2262")
}

fn number(rest: &mut &[u8], width: usize) -> Option<i64> {
    let (digits, after) = rest.split_at_checked(width)?;
    let mut value = 0;
    for c in digits {
        if !c.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(c - b'0');
    }
    *rest = after;
    Some(value)
}

fn expect(rest: &mut &[u8], byte: u8) -> Option<()> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    (*first == byte).then_some(())
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a day in the proleptic Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years start in March, so that the leap day
/// is the last one, and 400 years always have 146097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Displays ns since the epoch in UTC, as Go's `time.RFC3339Nano`: `2026-01-15T10:00:00.5Z`, without trailing zeros
/// of the fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339Nano(pub i64);

impl fmt::Display for Rfc3339Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, mut fraction) = (self.0.div_euclid(NS_PER_S), self.0.rem_euclid(NS_PER_S));
        let (year, month, day) = civil_from_days(seconds.div_euclid(S_PER_DAY));
        let second = seconds.rem_euclid(S_PER_DAY);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if fraction > 0 {
            let mut width = 9;
            while fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses() {
        #[track_caller]
        fn check(text: &str, want: Option<i64>) {
            assert_eq!(parse_rfc3339_nano(text).ok(), want, "{text:?}");
        }
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-01-15T10:00:00Z", Some(1_768_471_200_000_000_000));
        check("2026-01-15T10:00:00.5Z", Some(1_768_471_200_500_000_000));
        check("2026-01-15T10:00:00,123456789123Z", Some(1_768_471_200_123_456_789));
        check("2026-01-15T12:30:00.000000001+02:30", Some(1_768_471_200_000_000_001));
        check("2026-01-15T5:00:00-05:00", Some(1_768_471_200_000_000_000));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000_000));
        for bad in [
            "",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-15",
            "2026-01-15 10:00:00",
            "2026-01-15T10:00:00",
            "2026-01-15T24:00:00Z",
            "2026-01-15T10:60:00Z",
            "2026-01-15T10:00:60Z",
            "2026-01-15T10:00:00.Z",
            "2026-01-15T10:00:00Zx",
            "2026-01-15T10:00:00+0100",
            "2026-01-15T10:00:00+25:00",
            "1500-01-01T00:00:00Z",
            "2026-01-15T10:00:00é",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn prints() {
        #[track_caller]
        fn check(ns: i64, want: &str) {
            assert_eq!(Rfc3339Nano(ns).to_string(), want);
        }
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59.999999999Z");
        check(1_768_471_200_500_000_000, "2026-01-15T10:00:00.5Z");
        check(1_709_164_800_000_010_000, "2024-02-29T00:00:00.00001Z");
        check(i64::MIN, "1677-09-21T00:12:43.145224192Z");
        check(i64::MAX, "2262-04-11T23:47:16.854775807Z");
    }

    proptest! {
        #[test]
        fn round_trips(ns in any::<i64>()) {
            prop_assert_eq!(parse_rfc3339_nano(&Rfc3339Nano(ns).to_string()), Ok(ns));
        }

        #[test]
        fn survives_any_text(text in "\\PC{0,12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,12}[-+Z]?[0-9:]{0,5}") {
            let _ = parse_rfc3339_nano(&text);
        }
    }
}
