//! Reading a time by its layout.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::layout::{Chunk, Element, MONTHS, OffsetForm, WEEKDAYS, next_chunk};
use super::{GoTime, Zone};
use crate::units::go_duration::HexQuoted;

/// Why a text is no time of a layout. Displays Go's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError<'a> {
    layout: &'a str,
    value: &'a str,
    kind: Kind<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind<'a> {
    /// `at` does not start with `element` of the layout.
    Form { element: &'a str, at: &'a str },
    /// Something is left over.
    ExtraText(&'a str),
    /// A field is well formed, and impossible.
    Range(&'static str),
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = HexQuoted(self.value);
        match &self.kind {
            Kind::Form { element, at } => write!(
                f,
                "parsing time {value} as {}: cannot parse {} as {}",
                HexQuoted(self.layout),
                HexQuoted(at),
                HexQuoted(element)
            ),
            Kind::ExtraText(text) => write!(f, "parsing time {value}: extra text: {}", HexQuoted(text)),
            Kind::Range(what) => write!(f, "parsing time {value}: {what}"),
        }
    }
}

impl std::error::Error for ParseError<'_> {}

/// What the elements have said so far.
#[derive(Default)]
struct Fields {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    year_day: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    ns: i32,
    /// `Some(true)`: PM.
    pm: Option<bool>,
    is_utc: bool,
    offset_s: Option<i32>,
    abbreviation: String,
}

/// Why one element cannot be read.
enum Fault {
    Form,
    Range(&'static str),
}

pub(super) fn parse<'a>(layout: &'a str, value: &'a str, zone: &Zone) -> Result<GoTime, ParseError<'a>> {
    let fail = |kind| ParseError { layout, value, kind };
    let mut fields = Fields::default();
    let (mut layout_rest, mut rest) = (layout, value);
    loop {
        let Chunk { prefix_len, element, element_len } = next_chunk(layout_rest);
        let (prefix, after_prefix) = layout_rest.split_at(prefix_len);
        rest = skip(rest, prefix).map_err(|at| fail(Kind::Form { element: prefix, at }))?;
        let Some(element) = element else {
            if !rest.is_empty() {
                return Err(fail(Kind::ExtraText(rest)));
            }
            break;
        };
        let (element_text, after_element) = after_prefix.split_at(element_len);
        layout_rest = after_element;
        let hold = rest;
        rest = fields.read(element, rest, layout_rest).map_err(|fault| match fault {
            Fault::Form => fail(Kind::Form { element: element_text, at: hold }),
            Fault::Range(what) => fail(Kind::Range(what)),
        })?;
    }
    fields.resolve(zone).map_err(|what| fail(Kind::Range(what)))
}

/// Removes `prefix` from `value`; a run of blanks matches any run of blanks, also none at the end.
fn skip<'a>(mut value: &'a str, mut prefix: &str) -> Result<&'a str, &'a str> {
    while let Some(first) = prefix.as_bytes().first() {
        if *first == b' ' {
            if !value.is_empty() && !value.starts_with(' ') {
                return Err(value);
            }
            prefix = prefix.trim_start_matches(' ');
            value = value.trim_start_matches(' ');
            continue;
        }
        let literal = &prefix[..prefix.find(' ').unwrap_or(prefix.len())];
        match value.strip_prefix(literal) {
            Some(after) => value = after,
            None => {
                // The message shows the value from the first character that differs.
                let same = literal.chars().zip(value.chars()).take_while(|(a, b)| a == b);
                let same_len: usize = same.map(|(c, _)| c.len_utf8()).sum();
                return Err(&value[same_len..]);
            }
        }
        prefix = &prefix[literal.len()..];
    }
    Ok(value)
}

/// One or two digits, two if `fixed`, and the rest.
fn number(text: &str, fixed: bool) -> Result<(i8, &str), Fault> {
    match text.as_bytes() {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => Ok(((a - b'0') as i8 * 10 + (b - b'0') as i8, &text[2..])),
        [a @ b'0'..=b'9', ..] if !fixed => Ok(((a - b'0') as i8, &text[1..])),
        _ => Err(Fault::Form),
    }
}

/// The index of the name that `text` starts with, ignoring case, and the rest.
fn name<'a>(text: &'a str, names: &[&str], name_len: Option<usize>) -> Result<(i8, &'a str), Fault> {
    for (idx, name) in names.iter().enumerate() {
        let name = &name[..name_len.unwrap_or(name.len())];
        if text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            return Ok((idx as i8, &text[name.len()..]));
        }
    }
    Err(Fault::Form)
}

/// A separator and `digits` digits, of which nine count, as ns.
fn fraction_ns(text: &str, digits: usize) -> Result<(i32, &str), Fault> {
    let (text, rest) = text.split_at_checked(1 + digits).ok_or(Fault::Form)?;
    let digits = text.strip_prefix(['.', ',']).ok_or(Fault::Form)?;
    if !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Fault::Form);
    }
    let kept = &digits[..digits.len().min(9)];
    let ns = kept.bytes().fold(0, |ns, c| ns * 10 + i32::from(c - b'0'));
    Ok((ns * 10_i32.pow(9 - kept.len() as u32), rest))
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// How many digits of a fraction `text` starts with, behind its separator; 0: it is no fraction.
fn fraction_digits(text: &str) -> usize {
    text.strip_prefix(['.', ',']).map_or(0, leading_digits)
}

impl Fields {
    /// Reads `element` from the start of `text` and gives what follows it.
    fn read<'a>(&mut self, element: Element, text: &'a str, layout_rest: &str) -> Result<&'a str, Fault> {
        let in_range = |value: i8, max: i8, what| if value > max { Err(Fault::Range(what)) } else { Ok(value) };
        let rest;
        match element {
            Element::Year2 => {
                let (year, after) = number(text, true)?;
                self.year = i16::from(year) + if year >= 69 { 1900 } else { 2000 };
                rest = after;
            }
            Element::Year4 => {
                let (digits, after) = text.split_at_checked(4).ok_or(Fault::Form)?;
                if leading_digits(digits) != 4 {
                    return Err(Fault::Form);
                }
                self.year = digits.parse().map_err(|_| Fault::Form)?;
                rest = after;
            }
            Element::MonthShort | Element::MonthLong => {
                let (idx, after) = name(text, &MONTHS, (element == Element::MonthShort).then_some(3))?;
                self.month = Some(idx + 1);
                rest = after;
            }
            Element::Month | Element::MonthZero => {
                let (month, after) = number(text, element == Element::MonthZero)?;
                if month == 0 || month > 12 {
                    return Err(Fault::Range("month out of range"));
                }
                self.month = Some(month);
                rest = after;
            }
            // The day of the week is checked for its form only.
            Element::WeekdayShort => rest = name(text, &WEEKDAYS, Some(3))?.1,
            Element::WeekdayLong => rest = name(text, &WEEKDAYS, None)?.1,
            Element::Day | Element::DaySpace | Element::DayZero => {
                let text = if element == Element::DaySpace { text.strip_prefix(' ').unwrap_or(text) } else { text };
                let (day, after) = number(text, element == Element::DayZero)?;
                self.day = Some(day);
                rest = after;
            }
            Element::YearDaySpace | Element::YearDayZero => {
                let mut text = text;
                if element == Element::YearDaySpace {
                    text = text.strip_prefix(' ').unwrap_or(text);
                    text = text.strip_prefix(' ').unwrap_or(text);
                }
                let digits = leading_digits(text).min(3);
                if digits == 0 || element == Element::YearDayZero && digits != 3 {
                    return Err(Fault::Form);
                }
                self.year_day = Some(text[..digits].parse().map_err(|_| Fault::Form)?);
                rest = &text[digits..];
            }
            Element::Hour24 => {
                let (hour, after) = number(text, false)?;
                self.hour = in_range(hour, 23, "hour out of range")?;
                rest = after;
            }
            Element::Hour12 | Element::Hour12Zero => {
                let (hour, after) = number(text, element == Element::Hour12Zero)?;
                self.hour = in_range(hour, 12, "hour out of range")?;
                rest = after;
            }
            Element::Minute | Element::MinuteZero => {
                let (minute, after) = number(text, element == Element::MinuteZero)?;
                self.minute = in_range(minute, 59, "minute out of range")?;
                rest = after;
            }
            Element::Second | Element::SecondZero => {
                let (second, after) = number(text, element == Element::SecondZero)?;
                self.second = in_range(second, 59, "second out of range")?;
                // A fraction is taken even where the layout has none.
                let digits = fraction_digits(after);
                let next = if digits > 0 { next_chunk(layout_rest).element } else { None };
                let layout_has_one =
                    matches!(next, Some(Element::FractionFixed { .. } | Element::FractionTrimmed { .. }));
                if digits > 0 && !layout_has_one {
                    (self.ns, rest) = fraction_ns(after, digits)?;
                } else {
                    rest = after;
                }
            }
            Element::UpperPm | Element::LowerPm => {
                let upper = element == Element::UpperPm;
                self.pm = Some(match text.get(..2) {
                    Some("PM") if upper => true,
                    Some("AM") if upper => false,
                    Some("pm") if !upper => true,
                    Some("am") if !upper => false,
                    _ => return Err(Fault::Form),
                });
                rest = &text[2..];
            }
            Element::Offset { z: true, .. } if text.starts_with('Z') => {
                self.is_utc = true;
                rest = &text[1..];
            }
            Element::Offset { form, .. } => rest = self.read_offset(form, text)?,
            Element::Abbreviation => {
                if let Some(after) = text.strip_prefix("UTC") {
                    self.is_utc = true;
                    return Ok(after);
                }
                let len = abbreviation_len(text).ok_or(Fault::Form)?;
                self.abbreviation = text[..len].to_owned();
                rest = &text[len..];
            }
            Element::FractionFixed { digits, .. } => {
                (self.ns, rest) = fraction_ns(text, usize::from(digits))?;
            }
            Element::FractionTrimmed { .. } => match fraction_digits(text) {
                0 => rest = text, // left out
                digits => (self.ns, rest) = fraction_ns(text, digits)?,
            },
        }
        Ok(rest)
    }

    fn read_offset<'a>(&mut self, form: OffsetForm, text: &'a str) -> Result<&'a str, Fault> {
        let (len, minute_at, second_at) = match form {
            OffsetForm::Hours => (3, None, None),
            OffsetForm::Minutes => (5, Some(3), None),
            OffsetForm::ColonMinutes => (6, Some(4), None),
            OffsetForm::Seconds => (7, Some(3), Some(5)),
            OffsetForm::ColonSeconds => (9, Some(4), Some(7)),
        };
        let (offset, rest) = text.split_at_checked(len).ok_or(Fault::Form)?;
        let colon_at = |at: usize| offset.as_bytes().get(at) == Some(&b':');
        let colons_fit = match form {
            OffsetForm::ColonMinutes => colon_at(3),
            OffsetForm::ColonSeconds => colon_at(3) && colon_at(6),
            _ => true,
        };
        if !colons_fit {
            return Err(Fault::Form);
        }
        let part = |at: Option<usize>| -> Result<i32, Fault> {
            let Some(at) = at else { return Ok(0) };
            let digits = offset.get(at..at + 2).ok_or(Fault::Form)?;
            Ok(i32::from(number(digits, true)?.0))
        };
        let (hours, minutes, seconds) = (part(Some(1))?, part(minute_at)?, part(second_at)?);
        // Some people write offsets of 24 hours or 60 minutes, so those pass.
        if seconds > 60 {
            return Err(Fault::Range("time zone offset second out of range"));
        }
        if minutes > 60 {
            return Err(Fault::Range("time zone offset minute out of range"));
        }
        if hours > 24 {
            return Err(Fault::Range("time zone offset hour out of range"));
        }
        let offset_s = (hours * 60 + minutes) * 60 + seconds;
        self.offset_s = Some(match offset.as_bytes()[0] {
            b'+' => offset_s,
            b'-' => -offset_s,
            _ => return Err(Fault::Form),
        });
        Ok(rest)
    }

    /// The instant that the fields mean; on failure what is out of range.
    fn resolve(mut self, zone: &Zone) -> Result<GoTime, &'static str> {
        match self.pm {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        let date = self.date()?;
        let time = Time::new(self.hour, self.minute, self.second, self.ns).map_err(|_| "hour out of range")?;
        let civil = DateTime::from_parts(date, time);
        const BEYOND: &str = "year out of range";
        if self.is_utc {
            return GoTime::from_civil(civil, Zone::Utc).ok_or(BEYOND);
        }
        if self.offset_s.is_none() && self.abbreviation.is_empty() {
            return GoTime::from_civil(civil, zone.clone()).ok_or(BEYOND);
        }
        let as_utc = Offset::UTC.to_timestamp(civil).map_err(|_| BEYOND)?;
        let shifted =
            |offset_s: i32| as_utc.checked_sub(SignedDuration::from_secs(i64::from(offset_s))).map_err(|_| BEYOND);
        if let Some(offset_s) = self.offset_s {
            let timestamp = shifted(offset_s)?;
            let is_of_zone = zone.offset_s(timestamp) == offset_s
                && zone.with_abbreviation(timestamp, |name| self.abbreviation.is_empty() || name == self.abbreviation);
            let zone = match is_of_zone {
                true => zone.clone(),
                false => Zone::Fixed { name: self.abbreviation.into(), offset_s },
            };
            return Ok(GoTime::new(timestamp, zone));
        }
        if let Some(offset_s) = zone.offset_s_of_abbreviation(&self.abbreviation, as_utc) {
            return Ok(GoTime::new(shifted(offset_s)?, zone.clone()));
        }
        // Nobody knows the offset of an unknown abbreviation, so it is 0. GMT+3 tells its own, yet Go reads the clock as
        // UTC even there.
        let hours: i32 = self.abbreviation.strip_prefix("GMT").and_then(|h| h.parse().ok()).unwrap_or(0);
        Ok(GoTime::new(as_utc, Zone::Fixed { name: self.abbreviation.into(), offset_s: hours * 3600 }))
    }

    fn date(&self) -> Result<Date, &'static str> {
        let Some(year_day) = self.year_day else {
            let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
            return Date::new(self.year, month, day).map_err(|_| "day out of range");
        };
        let first = Date::new(self.year, 1, 1).map_err(|_| "year out of range")?;
        if year_day < 1 || year_day > first.days_in_year() {
            return Err("day-of-year out of range");
        }
        let date =
            first.checked_add(jiff::Span::new().days(i64::from(year_day) - 1)).map_err(|_| "year out of range")?;
        if self.month.is_some_and(|month| month != date.month()) {
            return Err("day-of-year does not match month");
        }
        if self.day.is_some_and(|day| day != date.day()) {
            return Err("day-of-year does not match day");
        }
        Ok(date)
    }
}

/// The length of a zone abbreviation at the start of `text`: three capitals, or up to five of which the last is T,
/// and a few that are built otherwise.
fn abbreviation_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.len() < 3 {
        return None;
    }
    if bytes.starts_with(b"ChST") || bytes.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(after) = text.strip_prefix("GMT") {
        return Some(3 + signed_hours_len(after));
    }
    if matches!(bytes[0], b'+' | b'-') {
        return Some(signed_hours_len(text)).filter(|len| *len > 0);
    }
    match bytes.iter().take(6).take_while(|c| c.is_ascii_uppercase()).count() {
        5 if bytes[4] == b'T' => Some(5),
        4 if bytes[3] == b'T' || bytes.starts_with(b"WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

/// The length of `+3` or `-11` at the start of `text`, at most 23 hours; 0: it is none.
fn signed_hours_len(text: &str) -> usize {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return 0 };
    let len = leading_digits(digits);
    match digits[..len].parse::<u64>() {
        Ok(0..=23) => 1 + len,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gotime::Layout;

    #[track_caller]
    fn check_in(zone: &str, layout: &str, value: &str, want: &str) {
        let zone = Zone::load(zone).unwrap();
        let got = match parse(layout, value, &zone) {
            Ok(time) => time.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{value:?} as {layout:?}");
    }

    #[test]
    fn parses_by_layout() {
        #[track_caller]
        fn check(layout: &str, value: &str, want: &str) {
            check_in("UTC", layout, value, want);
        }
        check("2006-01-02T15:04:05Z07:00", "2026-01-15T10:00:00.123Z", "2026-01-15 10:00:00.123 +0000 UTC");
        check("2006-01-02T15:04:05Z07:00", "2026-01-15T10:00:00+02:00", "2026-01-15 10:00:00 +0200 +0200");
        check("Jan _2 15:04:05", "Jan  5 03:04:05", "0000-01-05 03:04:05 +0000 UTC");
        check("Jan _2 15:04:05", "dec 15 3:04:05,5", "0000-12-15 03:04:05.5 +0000 UTC");
        check("Mon Jan 02 15:04:05 -0700 2006", "Sun Jan 15 10:00:00 -0330 2026", "2026-01-15 10:00:00 -0330 -0330");
        check("02/Jan/06 3:04PM", "15/Jan/69 12:30AM", "1969-01-15 00:30:00 +0000 UTC");
        check("02/Jan/06 3:04pm", "15/Jan/68 1:30pm", "2068-01-15 13:30:00 +0000 UTC");
        check("2006 002", "2024 060", "2024-02-29 00:00:00 +0000 UTC");
        check("2006 __2", "2023  60", "2023-03-01 00:00:00 +0000 UTC");
        check("15:04:05.000", "10:00:00.125", "0000-01-01 10:00:00.125 +0000 UTC");
        check("15:04:05.999", "10:00:00", "0000-01-01 10:00:00 +0000 UTC");
        check("15:04:05.9", "10:00:00.123456789123", "0000-01-01 10:00:00.123456789 +0000 UTC");
        check("a  b 2006", "a b 2026", "2026-01-01 00:00:00 +0000 UTC");
        check("2006 MST", "2026 CET", "2026-01-01 00:00:00 +0000 CET");
        check("2006 MST", "2026 GMT-3", "2025-12-31 21:00:00 -0300 GMT-3");
        check("2006 MST -0700", "2026 CEST +0200", "2026-01-01 00:00:00 +0200 CEST");
        check("2006-01-02 -07", "2026-01-15 -24", "2026-01-15 00:00:00 -2400 -2400");
        check("2006 -07:00:00", "2026 +01:02:03", "2026-01-01 00:00:00 +0102 +0102");
        // The message names what failed, as Go's does.
        check("2006-01-02", "2026-13-01", "parsing time \"2026-13-01\": month out of range");
        check("2006-01-02", "2026-02-29", "parsing time \"2026-02-29\": day out of range");
        check("15:04", "25:00", "parsing time \"25:00\": hour out of range");
        check("2006 002", "2023 366", "parsing time \"2023 366\": day-of-year out of range");
        check("2006-01 002", "2023-02 001", "parsing time \"2023-02 001\": day-of-year does not match month");
        check("2006-01-02", "2026-01-02x", "parsing time \"2026-01-02x\": extra text: \"x\"");
        check("2006-01-02", "abc", "parsing time \"abc\" as \"2006-01-02\": cannot parse \"abc\" as \"2006\"");
        check(
            "2006-01-02",
            "2026/01/02",
            "parsing time \"2026/01/02\" as \"2006-01-02\": cannot parse \"/01/02\" as \"-\"",
        );
        check(
            "15:04:05.000",
            "10:00:00",
            "parsing time \"10:00:00\" as \"15:04:05.000\": cannot parse \"\" as \".000\"",
        );
        check("2006", "é026", "parsing time \"\\xc3\\xa9026\" as \"2006\": cannot parse \"\\xc3\\xa9026\" as \"2006\"");
    }

    #[test]
    fn reads_in_a_zone() {
        #[track_caller]
        fn check(layout: &str, value: &str, want: &str) {
            check_in("America/New_York", layout, value, want);
        }
        check("2006-01-02 15:04", "2026-01-15 10:30", "2026-01-15 10:30:00 -0500 EST");
        check("2006-01-02 15:04", "2026-07-15 10:30", "2026-07-15 10:30:00 -0400 EDT");
        check("2006-01-02 15:04 MST", "2026-07-15 10:30 EST", "2026-07-15 11:30:00 -0400 EDT");
        check("2006-01-02 15:04 MST", "2026-01-15 10:30 UTC", "2026-01-15 10:30:00 +0000 UTC");
        check("2006-01-02 15:04 -0700", "2026-01-15 10:30 -0500", "2026-01-15 10:30:00 -0500 EST");
        // A clock that jumps from 2:00 to 3:00 never shows 2:30; one that falls back shows 1:30 twice.
        check("2006-01-02 15:04", "2026-03-08 02:30", "2026-03-08 01:30:00 -0500 EST");
        check("2006-01-02 15:04", "2026-11-01 01:30", "2026-11-01 01:30:00 -0400 EDT");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(seconds in -62_000_000_000_i64..250_000_000_000, ns in 0..1_000_000_000_i32,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])) {
            let time = GoTime::new(jiff::Timestamp::new(seconds, ns).unwrap(), Zone::load(zone).unwrap());
            for layout in ["2006-01-02T15:04:05.999999999Z07:00:00", "Mon, 02 January 2006 03:04:05.000000000 PM -070000",
                "2006 002 15:04:05,999999999 -07:00:00"] {
                let layout = Layout::new(layout);
                let mut text = String::new();
                layout.format_to(&time, &mut text);
                let back = layout.parse(&text, &Zone::Utc).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(back.timestamp(), time.timestamp(), "{}", text);
            }
        }

        #[test]
        fn survives_any_text(layout in "\\PC{0,20}|([A-Z]|2006|01|Jan|_2|Mon|02|15|04|05|\\.000|,999|-07:00|MST|[ :/-]){0,9}",
            value in "\\PC{0,30}|[0-9A-Za-z :/.,+-]{0,30}") {
            let layout = Layout::new(&layout);
            if let Ok(time) = layout.parse(&value, &Zone::Utc) {
                let _ = time.format(layout.as_str());
            }
        }
    }
}
