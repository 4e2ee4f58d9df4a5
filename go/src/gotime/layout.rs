//! Layouts: how the reference time `Mon Jan 2 15:04:05 MST 2006` would look.

use std::fmt::Write as _;

use jiff::civil::Weekday;

use super::{GoTime, ParseError, Zone, parse};

/// A layout, taken apart once. Cheap to print with, and to parse with.
#[derive(Debug, Clone)]
pub struct Layout {
    text: Box<str>,
    items: Box<[Item]>,
}

/// Literal text, then an element. The last item of a layout has no element.
#[derive(Debug, Clone, Copy)]
struct Item {
    literal: (u32, u32),
    element: Option<Element>,
}

/// A part of the reference time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// `06`
    Year2,
    /// `2006`
    Year4,
    /// `Jan`
    MonthShort,
    /// `January`
    MonthLong,
    /// `1`
    Month,
    /// `01`
    MonthZero,
    /// `Mon`
    WeekdayShort,
    /// `Monday`
    WeekdayLong,
    /// `2`
    Day,
    /// `_2`
    DaySpace,
    /// `02`
    DayZero,
    /// `__2`
    YearDaySpace,
    /// `002`
    YearDayZero,
    /// `15`
    Hour24,
    /// `3`
    Hour12,
    /// `03`
    Hour12Zero,
    /// `4`
    Minute,
    /// `04`
    MinuteZero,
    /// `5`
    Second,
    /// `05`
    SecondZero,
    /// `PM`
    UpperPm,
    /// `pm`
    LowerPm,
    /// `MST`
    Abbreviation,
    /// `-0700` and its kin; `z`: the variants with `Z` for UTC.
    Offset { z: bool, form: OffsetForm },
    /// `.000`: as many digits as written. `separator` is `.` or `,`.
    FractionFixed { digits: u8, separator: u8 },
    /// `.999`: without trailing zeros.
    FractionTrimmed { digits: u8, separator: u8 },
}

/// How an offset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetForm {
    /// `-07`
    Hours,
    /// `-0700`
    Minutes,
    /// `-07:00`
    ColonMinutes,
    /// `-070000`
    Seconds,
    /// `-07:00:00`
    ColonSeconds,
}

/// Go's predefined layouts, by name; `None` for any other name.
pub fn named_layout(name: &str) -> Option<&'static str> {
    Some(match name {
        "Layout" => "01/02 03:04:05PM '06 -0700",
        "ANSIC" => "Mon Jan _2 15:04:05 2006",
        "UnixDate" => "Mon Jan _2 15:04:05 MST 2006",
        "RubyDate" => "Mon Jan 02 15:04:05 -0700 2006",
        "RFC822" => "02 Jan 06 15:04 MST",
        "RFC822Z" => "02 Jan 06 15:04 -0700",
        "RFC850" => "Monday, 02-Jan-06 15:04:05 MST",
        "RFC1123" => "Mon, 02 Jan 2006 15:04:05 MST",
        "RFC1123Z" => "Mon, 02 Jan 2006 15:04:05 -0700",
        "RFC3339" => "2006-01-02T15:04:05Z07:00",
        "RFC3339Nano" => "2006-01-02T15:04:05.999999999Z07:00",
        "Kitchen" => "3:04PM",
        "Stamp" => "Jan _2 15:04:05",
        "StampMilli" => "Jan _2 15:04:05.000",
        "StampMicro" => "Jan _2 15:04:05.000000",
        "StampNano" => "Jan _2 15:04:05.000000000",
        "DateTime" => "2006-01-02 15:04:05",
        "DateOnly" => "2006-01-02",
        "TimeOnly" => "15:04:05",
        _ => return None,
    })
}

impl Layout {
    /// Takes `layout` apart. There is no wrong layout: what is no element is literal text.
    pub fn new(layout: &str) -> Self {
        let mut items = Vec::new();
        let mut start = 0;
        loop {
            let chunk = next_chunk(&layout[start..]);
            let end = start + chunk.prefix_len;
            items.push(Item { literal: (start as u32, end as u32), element: chunk.element });
            if chunk.element.is_none() {
                return Self { text: layout.into(), items: items.into() };
            }
            start = end + chunk.element_len;
        }
    }

    /// The layout as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True when the layout shows a year. Without one a parsed time lies in the year 0.
    pub fn has_year(&self) -> bool {
        self.items.iter().any(|item| matches!(item.element, Some(Element::Year2 | Element::Year4)))
    }

    /// Parses `value`. Without zone in the layout it is read in `zone`; an offset or abbreviation that `zone` uses at
    /// that time is shown in `zone`, any other in a fabricated zone (an unknown abbreviation at offset 0).
    ///
    /// A fraction behind the seconds is accepted even if the layout has none; missing parts are year 0, January, 1st,
    /// 00:00:00.
    ///
    /// # Errors
    /// [`ParseError`]: the value has another form, or a field out of its range.
    pub fn parse<'a>(&'a self, value: &'a str, zone: &Zone) -> Result<GoTime, ParseError<'a>> {
        parse::parse(&self.text, value, zone)
    }

    /// Appends `time` as this layout shows it.
    pub fn format_to(&self, time: &GoTime, out: &mut String) {
        let civil = time.civil();
        let (date, clock) = (civil.date(), civil.time());
        let hour12 = if clock.hour() % 12 == 0 { 12 } else { clock.hour() % 12 };
        for item in &self.items {
            out.push_str(&self.text[item.literal.0 as usize..item.literal.1 as usize]);
            let Some(element) = item.element else { return };
            // Writing to a String cannot fail.
            let _ = match element {
                Element::Year2 => write!(out, "{:02}", date.year().unsigned_abs() % 100),
                Element::Year4 if date.year() < 0 => write!(out, "-{:04}", date.year().unsigned_abs()),
                Element::Year4 => write!(out, "{:04}", date.year()),
                Element::MonthShort => out.write_str(&month_name(date.month())[..3]),
                Element::MonthLong => out.write_str(month_name(date.month())),
                Element::Month => write!(out, "{}", date.month()),
                Element::MonthZero => write!(out, "{:02}", date.month()),
                Element::WeekdayShort => out.write_str(&weekday_name(date.weekday())[..3]),
                Element::WeekdayLong => out.write_str(weekday_name(date.weekday())),
                Element::Day => write!(out, "{}", date.day()),
                Element::DaySpace => write!(out, "{:2}", date.day()),
                Element::DayZero => write!(out, "{:02}", date.day()),
                Element::YearDaySpace => write!(out, "{:3}", date.day_of_year()),
                Element::YearDayZero => write!(out, "{:03}", date.day_of_year()),
                Element::Hour24 => write!(out, "{:02}", clock.hour()),
                Element::Hour12 => write!(out, "{hour12}"),
                Element::Hour12Zero => write!(out, "{hour12:02}"),
                Element::Minute => write!(out, "{}", clock.minute()),
                Element::MinuteZero => write!(out, "{:02}", clock.minute()),
                Element::Second => write!(out, "{}", clock.second()),
                Element::SecondZero => write!(out, "{:02}", clock.second()),
                Element::UpperPm => out.write_str(if clock.hour() >= 12 { "PM" } else { "AM" }),
                Element::LowerPm => out.write_str(if clock.hour() >= 12 { "pm" } else { "am" }),
                Element::Abbreviation => {
                    time.zone.with_abbreviation(time.timestamp, |name| {
                        if name.is_empty() {
                            write_offset(out, time.offset_s(), OffsetForm::Minutes);
                        } else {
                            out.push_str(name);
                        }
                    });
                    Ok(())
                }
                Element::Offset { z: true, .. } if time.offset_s() == 0 => out.write_str("Z"),
                Element::Offset { form, .. } => {
                    write_offset(out, time.offset_s(), form);
                    Ok(())
                }
                Element::FractionFixed { digits, separator } => {
                    write_fraction(out, clock.subsec_nanosecond(), digits, separator, false);
                    Ok(())
                }
                Element::FractionTrimmed { digits, separator } => {
                    write_fraction(out, clock.subsec_nanosecond(), digits, separator, true);
                    Ok(())
                }
            };
        }
    }
}

fn write_offset(out: &mut String, offset_s: i32, form: OffsetForm) {
    // The sign is that of the whole minutes: 30 seconds west are +00:00:30, as in Go.
    let minutes = offset_s / 60;
    let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
    let sign = if offset_s / 60 < 0 { '-' } else { '+' };
    let seconds = (offset_s % 60).abs();
    let _ = match form {
        OffsetForm::Hours => write!(out, "{sign}{hours:02}"),
        OffsetForm::Minutes => write!(out, "{sign}{hours:02}{minutes:02}"),
        OffsetForm::ColonMinutes => write!(out, "{sign}{hours:02}:{minutes:02}"),
        OffsetForm::Seconds => write!(out, "{sign}{hours:02}{minutes:02}{seconds:02}"),
        OffsetForm::ColonSeconds => write!(out, "{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    };
}

fn write_fraction(out: &mut String, ns: i32, digits: u8, separator: u8, trim: bool) {
    let digits = usize::from(digits.min(9));
    let all = format!("{ns:09}");
    let mut shown = &all[..digits];
    if trim {
        shown = shown.trim_end_matches('0');
        if shown.is_empty() {
            return;
        }
    }
    out.push(char::from(separator));
    out.push_str(shown);
}

/// `January` for 1. Months beyond December do not exist.
pub(crate) fn month_name(month: i8) -> &'static str {
    MONTHS[(month.clamp(1, 12) - 1) as usize]
}

/// `Sunday` and so on.
fn weekday_name(weekday: Weekday) -> &'static str {
    weekday_name_of(weekday.to_sunday_zero_offset() as usize)
}

/// `Sunday` for 0; `day` is at most 6.
pub(crate) fn weekday_name_of(day: usize) -> &'static str {
    WEEKDAYS[day]
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Literal text in front of the next element of a layout.
pub(super) struct Chunk {
    pub prefix_len: usize,
    /// `None`: the rest of the layout is literal.
    pub element: Option<Element>,
    pub element_len: usize,
}

/// Finds the first element of `layout`.
pub(super) fn next_chunk(layout: &str) -> Chunk {
    let bytes = layout.as_bytes();
    for start in 0..bytes.len() {
        if let Some((skipped, element, element_len)) = element_at(&bytes[start..]) {
            return Chunk { prefix_len: start + skipped, element: Some(element), element_len };
        }
    }
    Chunk { prefix_len: layout.len(), element: None, element_len: 0 }
}

/// The element at the start of `rest`: bytes that are literal after all, the element, its length.
fn element_at(rest: &[u8]) -> Option<(usize, Element, usize)> {
    use Element as E;
    use OffsetForm as O;

    let found = |element, len| Some((0, element, len));
    let not_lower = |at: usize| !rest.get(at).is_some_and(u8::is_ascii_lowercase);
    match rest {
        [b'J', b'a', b'n', b'u', b'a', b'r', b'y', ..] => found(E::MonthLong, 7),
        [b'J', b'a', b'n', ..] if not_lower(3) => found(E::MonthShort, 3),
        [b'M', b'o', b'n', b'd', b'a', b'y', ..] => found(E::WeekdayLong, 6),
        [b'M', b'o', b'n', ..] if not_lower(3) => found(E::WeekdayShort, 3),
        [b'M', b'S', b'T', ..] => found(E::Abbreviation, 3),
        [b'0', b'1', ..] => found(E::MonthZero, 2),
        [b'0', b'2', ..] => found(E::DayZero, 2),
        [b'0', b'3', ..] => found(E::Hour12Zero, 2),
        [b'0', b'4', ..] => found(E::MinuteZero, 2),
        [b'0', b'5', ..] => found(E::SecondZero, 2),
        [b'0', b'6', ..] => found(E::Year2, 2),
        [b'0', b'0', b'2', ..] => found(E::YearDayZero, 3),
        [b'1', b'5', ..] => found(E::Hour24, 2),
        [b'1', ..] => found(E::Month, 1),
        [b'2', b'0', b'0', b'6', ..] => found(E::Year4, 4),
        [b'2', ..] => found(E::Day, 1),
        // `_2006` is a literal `_` and the year.
        [b'_', b'2', b'0', b'0', b'6', ..] => Some((1, E::Year4, 4)),
        [b'_', b'2', ..] => found(E::DaySpace, 2),
        [b'_', b'_', b'2', ..] => found(E::YearDaySpace, 3),
        [b'3', ..] => found(E::Hour12, 1),
        [b'4', ..] => found(E::Minute, 1),
        [b'5', ..] => found(E::Second, 1),
        [b'P', b'M', ..] => found(E::UpperPm, 2),
        [b'p', b'm', ..] => found(E::LowerPm, 2),
        [sign @ (b'-' | b'Z'), after @ ..] => {
            let forms: [(&[u8], O); 5] = [
                (b"070000", O::Seconds),
                (b"07:00:00", O::ColonSeconds),
                (b"0700", O::Minutes),
                (b"07:00", O::ColonMinutes),
                (b"07", O::Hours),
            ];
            let (text, form) = forms.into_iter().find(|(text, _)| after.starts_with(text))?;
            found(E::Offset { z: *sign == b'Z', form }, 1 + text.len())
        }
        [separator @ (b'.' | b','), digit @ (b'0' | b'9'), ..] => {
            let digits = rest[1..].iter().take_while(|c| *c == digit).count();
            if rest.get(1 + digits).is_some_and(u8::is_ascii_digit) {
                return None; // a number, not a fraction of a second
            }
            // More digits than ns are all alike.
            let (separator, len) = (*separator, digits.min(255) as u8);
            let element = match digit {
                b'0' => E::FractionFixed { digits: len, separator },
                _ => E::FractionTrimmed { digits: len, separator },
            };
            found(element, 1 + digits)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_by_layout() {
        // 2026-01-05 03:04:05.0067 UTC, a Monday.
        let time = |zone: Zone| GoTime::new("2026-01-05T03:04:05.0067Z".parse().unwrap(), zone);
        #[track_caller]
        fn check(time: &GoTime, layout: &str, want: &str) {
            assert_eq!(time.format(layout), want, "{layout}");
        }
        let utc = time(Zone::Utc);
        check(&utc, "Mon Jan _2 15:04:05 MST 2006", "Mon Jan  5 03:04:05 UTC 2026");
        check(&utc, "Monday, January 2, '06 3:4:5 PM pm", "Monday, January 5, '26 3:4:5 AM am");
        check(&utc, "01/02 03:04:05 1 002 __2", "01/05 03:04:05 1 005   5");
        check(&utc, "05.000 05.999 05,000000 05.999999999 .00", "05.006 05.006 05,006700 05.0067 .00");
        check(&utc, "Z0700 Z07:00 Z07 -0700 -07:00 -07 -070000 -07:00:00", "Z Z Z +0000 +00:00 +00 +000000 +00:00:00");
        check(&utc, "_2006 Janet Month 20060102", "_2026 Janet Month 20260105");
        check(&utc, "5.0001", "5.0001"); // no fraction: another digit follows
        check(&utc, "", "");
        check(&utc, "é15ü", "é03ü");
        let new_york = time(Zone::load("America/New_York").unwrap());
        check(&new_york, "Mon 15:04 MST -0700 Z07:00", "Sun 22:04 EST -0500 -05:00");
        let nameless = time(Zone::Fixed { name: "".into(), offset_s: 5 * 3600 + 1800 });
        check(&nameless, "15:04 MST Z070000 -07:00:00", "08:34 +0530 +053000 +05:30:00");
        let west = time(Zone::Fixed { name: "X".into(), offset_s: -3661 });
        check(&west, "15:04:05 MST -07:00:00", "02:03:04 X -01:01:01");
        check(&GoTime::zero(), "2006-01-02 15:04:05 -0700 MST", "0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(utc.to_string(), "2026-01-05 03:04:05.0067 +0000 UTC");
    }

    #[test]
    fn knows_whether_it_has_a_year() {
        assert!(Layout::new("Jan 2 06").has_year());
        assert!(!Layout::new("Jan _2 15:04:05").has_year());
    }
}
