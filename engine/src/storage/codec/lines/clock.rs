//! Times inside a line: recognised, turned into a count of their own unit since the epoch, and written back.
//!
//! A line mostly says when it was written, and so does its entry. The column holds the difference, which is nearly
//! always zero or small. A time is only recognised when writing it back gives the same bytes.

/// Which text a time has. One byte on disk: `layout * 21 + fraction`, where `fraction` is 0 without one, 1 to 9 for
/// that many digits behind a dot, 10 for nanoseconds behind a dot without trailing zeros (as Go prints them), and the
/// same plus 10 behind a comma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Format(u8);

const FRACTIONS: u8 = 21;
const TRIMMED: u8 = 10;

const ISO_SPACE: u8 = 0; // 2026-11-22 15:20:19
const ISO_T: u8 = 1; // 2026-11-22T15:20:19
const ISO_SLASH: u8 = 2; // 2026/11/22 15:20:19
const CLF: u8 = 3; // 22/Nov/2026:15:20:19
const DAY_FIRST: u8 = 4; // 22 Nov 2026 15:20:19
const SYSLOG: u8 = 5; // Nov 22 15:20:19, Nov  2 15:20:19
const KLOG: u8 = 6; // 1122 15:20:19
const EPOCH: u8 = 7; // 1795360819
const EPOCH_MS: u8 = 8; // 1795360819123, no fraction
const EPOCH_US: u8 = 9; // 1795360819123456, no fraction
const EPOCH_NS: u8 = 10; // 1795360819123456789, no fraction

pub(crate) const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAY_S: i64 = 86_400;
/// How far an epoch number may be from its entry's timestamp: farther ones are just numbers.
const EPOCH_DISTANCE_S: i64 = DAY_S;

/// A recognised time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) format: Format,
    /// Bytes of the text.
    pub(crate) len: usize,
}

impl Format {
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        let (layout, fraction) = (id / FRACTIONS, id % FRACTIONS);
        let known = layout < EPOCH || (layout == EPOCH && fraction <= TRIMMED) || (layout <= EPOCH_NS && fraction == 0);
        known.then_some(Self(id))
    }

    pub(crate) fn id(self) -> u8 {
        self.0
    }

    fn layout(self) -> u8 {
        self.0 / FRACTIONS
    }

    /// Digits of the fraction as counted in units, and whether trailing zeros are left out.
    fn digits(self) -> (u32, bool) {
        let fraction = self.0 % FRACTIONS;
        let digits = if fraction > TRIMMED { fraction - TRIMMED } else { fraction };
        if digits == TRIMMED { (9, true) } else { (u32::from(digits), false) }
    }

    fn separator(self) -> u8 {
        if self.0 % FRACTIONS > TRIMMED { b',' } else { b'.' }
    }

    /// Nanoseconds of a unit.
    pub(crate) fn unit_ns(self) -> i64 {
        match self.layout() {
            EPOCH_MS => 1_000_000,
            EPOCH_US => 1_000,
            EPOCH_NS => 1,
            _ => 10_i64.pow(9 - self.digits().0),
        }
    }

    /// Units since the epoch of a text that [`find_at_digits`] or [`find_at_letters`] recognised. `entry_ns` gives the
    /// year that a syslog or klog time leaves out.
    pub(crate) fn parse(self, text: &[u8], entry_ns: i64) -> i64 {
        let two = |at: usize| i64::from(text[at] - b'0') * 10 + i64::from(text[at + 1] - b'0');
        let four = |at: usize| two(at) * 100 + two(at + 2);
        let hms = |at: usize| two(at) * 3600 + two(at + 3) * 60 + two(at + 6);
        let (seconds, end) = match self.layout() {
            ISO_SPACE | ISO_T | ISO_SLASH => (days_of(four(0), two(5), two(8)) * DAY_S + hms(11), 19),
            CLF | DAY_FIRST => (days_of(four(7), month_of(&text[3..6]), two(0)) * DAY_S + hms(12), 20),
            SYSLOG => {
                let day = if text[4] == b' ' { i64::from(text[5] - b'0') } else { two(4) };
                (in_year_of(entry_ns, month_of(&text[..3]), day) * DAY_S + hms(7), 15)
            }
            KLOG => (in_year_of(entry_ns, two(0), two(2)) * DAY_S + hms(5), 13),
            EPOCH => (decimal(&text[..10]), 10),
            _ => return decimal(text),
        };
        let (digits, trimmed) = self.digits();
        let scale = 10_i64.pow(digits);
        if digits == 0 {
            return seconds;
        }
        let mut fraction = decimal(&text[end + 1..]);
        if trimmed {
            fraction *= 10_i64.pow(9 - (text.len() - end - 1) as u32);
        }
        seconds * scale + fraction
    }

    /// True when its texts have letters other than a T.
    pub(crate) fn has_month_name(self) -> bool {
        matches!(self.layout(), CLF | DAY_FIRST | SYSLOG)
    }

    /// What its texts look like: `d` a digit, `_` a digit or a space, `123` a month's letters, else itself.
    fn mask(self) -> Vec<u8> {
        let mut mask = match self.layout() {
            ISO_SPACE => b"dddd-dd-dd dd:dd:dd".to_vec(),
            ISO_T => b"dddd-dd-ddTdd:dd:dd".to_vec(),
            ISO_SLASH => b"dddd/dd/dd dd:dd:dd".to_vec(),
            CLF => b"dd/123/dddd:dd:dd:dd".to_vec(),
            DAY_FIRST => b"dd 123 dddd dd:dd:dd".to_vec(),
            SYSLOG => b"123 _d dd:dd:dd".to_vec(),
            KLOG => b"dddd dd:dd:dd".to_vec(),
            EPOCH => b"d".repeat(10),
            EPOCH_MS => b"d".repeat(13),
            EPOCH_US => b"d".repeat(16),
            _ => b"d".repeat(19),
        };
        let digits = self.digits().0 as usize;
        if digits > 0 {
            mask.push(self.separator());
            mask.resize(mask.len() + digits, b'd');
        }
        mask
    }

    /// True when some text has `part` in it; at its start or end if so asked.
    pub(crate) fn may_have(self, part: &[u8], at_start: bool, at_end: bool) -> bool {
        let mask = self.mask();
        let shortest = mask.len() - if self.digits().1 { 2 } else { 0 };
        (shortest..=mask.len()).any(|len| {
            let Some(last) = len.checked_sub(part.len()) else { return false };
            let first = if at_end { last } else { 0 };
            let last = if at_start { 0 } else { last };
            (first..=last).any(|at| part.iter().zip(&mask[at..]).all(|(&byte, &mask)| fits_mask(byte, mask)))
        })
    }
}

fn fits_mask(byte: u8, mask: u8) -> bool {
    let is_in = |letters: &[u8]| letters.iter().any(|letter| letter.eq_ignore_ascii_case(&byte));
    match mask {
        b'd' => byte.is_ascii_digit(),
        b'_' => byte == b' ' || byte.is_ascii_digit(),
        b'1' => is_in(b"JFMASOND"),
        b'2' => is_in(b"aepuco"),
        b'3' => is_in(b"nbrylgptvc"),
        _ => byte.eq_ignore_ascii_case(&mask),
    }
}

/// Writes times of one format; remembers the last second, which mostly is the next one too.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    format: Format,
    second: i64,
    text: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, second: i64::MIN, text: Vec::new() }
    }

    /// Appends the text of `units` since the epoch. Units that no text stands for give some text, never a panic.
    pub(crate) fn write(&mut self, units: i64, out: &mut Vec<u8>) {
        let format = self.format;
        let layout = format.layout();
        if layout > EPOCH {
            put_padded(out, units.unsigned_abs(), 1);
            return;
        }
        let (digits, trimmed) = format.digits();
        let scale = 10_i64.pow(digits);
        let (second, mut fraction) = (units.div_euclid(scale), units.rem_euclid(scale));
        if second != self.second {
            self.second = second;
            self.text.clear();
            write_second(layout, second, &mut self.text);
        }
        out.extend_from_slice(&self.text);
        if digits == 0 {
            return;
        }
        out.push(format.separator());
        let mut width = digits as usize;
        if trimmed {
            while width > 1 && fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
        }
        put_padded(out, fraction as u64, width);
    }
}

fn write_second(layout: u8, second: i64, out: &mut Vec<u8>) {
    if layout == EPOCH {
        put_padded(out, second.unsigned_abs(), 10);
        return;
    }
    let (year, month, day) = date_of(second.div_euclid(DAY_S));
    let in_day = second.rem_euclid(DAY_S) as u64;
    let (year, month, day) = (year.unsigned_abs(), month as u64, day as u64);
    let name = MONTHS[(month as usize - 1) % 12];
    let date_separator = if layout == ISO_SLASH { b'/' } else { b'-' };
    match layout {
        ISO_SPACE | ISO_T | ISO_SLASH => {
            put_padded(out, year, 4);
            out.push(date_separator);
            put_padded(out, month, 2);
            out.push(date_separator);
            put_padded(out, day, 2);
            out.push(if layout == ISO_T { b'T' } else { b' ' });
        }
        CLF | DAY_FIRST => {
            let (separator, end) = if layout == CLF { (b'/', b':') } else { (b' ', b' ') };
            put_padded(out, day, 2);
            out.push(separator);
            out.extend_from_slice(name);
            out.push(separator);
            put_padded(out, year, 4);
            out.push(end);
        }
        SYSLOG => {
            out.extend_from_slice(name);
            out.push(b' ');
            if day < 10 {
                out.push(b' ');
            }
            put_padded(out, day, 1);
            out.push(b' ');
        }
        _ => {
            put_padded(out, month, 2);
            put_padded(out, day, 2);
            out.push(b' ');
        }
    }
    put_padded(out, in_day / 3600, 2);
    out.push(b':');
    put_padded(out, in_day / 60 % 60, 2);
    out.push(b':');
    put_padded(out, in_day % 60, 2);
}

/// Appends `value` in decimal with at least `width` digits.
#[inline]
pub(crate) fn put_padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    at = at.min(digits.len().saturating_sub(width));
    out.extend_from_slice(&digits[at..]);
}

/// A time that begins with the digits at the start of `text`.
pub(crate) fn find_at_digits(text: &[u8], digit_count: usize, entry_ns: i64) -> Option<Time> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    match (digit_count, byte(digit_count)) {
        (4, separator @ (b'-' | b'/')) => {
            let layout = match (separator, byte(10)) {
                (b'-', b' ') => ISO_SPACE,
                (b'-', b'T') => ISO_T,
                (b'/', b' ') => ISO_SLASH,
                _ => return None,
            };
            let ok = byte(7) == separator
                && is_date(number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?)
                && is_clock(text, 11);
            ok.then(|| with_fraction(text, layout, 19))
        }
        (2, separator @ (b'/' | b' ')) => {
            let (layout, end) = if separator == b'/' { (CLF, b':') } else { (DAY_FIRST, b' ') };
            let ok = byte(6) == separator
                && byte(11) == end
                && is_date(number(text, 7, 4)?, month_named(text.get(3..6)?)?, number(text, 0, 2)?)
                && is_clock(text, 12);
            ok.then(|| with_fraction(text, layout, 20))
        }
        (4, b' ') => {
            // Only at a place where a klog header can be: the caller has seen its letter.
            let ok = is_clock(text, 5) && byte(13) == b'.' && {
                let (month, day) = (number(text, 0, 2)?, number(text, 2, 2)?);
                year_fits(entry_ns, month, day)
            };
            let time = ok.then(|| with_fraction(text, KLOG, 13))?;
            (time.len > 13).then_some(time)
        }
        (10, _) => {
            let seconds = decimal(&text[..10]);
            let near = (seconds - entry_ns.div_euclid(1_000_000_000)).abs() <= EPOCH_DISTANCE_S;
            (near && text[0] != b'0').then(|| {
                let time = with_fraction(text, EPOCH, 10);
                // "1795360819.12.3" is no number with a fraction.
                if byte(time.len) == b'.' && byte(time.len + 1).is_ascii_digit() {
                    Time { format: Format(EPOCH * FRACTIONS), len: 10 }
                } else {
                    time
                }
            })
        }
        (13 | 16 | 19, _) => {
            if text[0] == b'0' || text[..digit_count] > b"9223372036854775807"[..digit_count] {
                return None;
            }
            let (layout, per_second) = match digit_count {
                13 => (EPOCH_MS, 1_000),
                16 => (EPOCH_US, 1_000_000),
                _ => (EPOCH_NS, 1_000_000_000),
            };
            let seconds = decimal(&text[..digit_count]) / per_second;
            let near = (seconds - entry_ns.div_euclid(1_000_000_000)).abs() <= EPOCH_DISTANCE_S;
            near.then_some(Time { format: Format(layout * FRACTIONS), len: digit_count })
        }
        _ => None,
    }
}

/// A time that begins with the month name at the start of `text`.
pub(crate) fn find_at_letters(text: &[u8], entry_ns: i64) -> Option<Time> {
    let month = month_named(text.get(..3)?)?;
    let (padded, day) = (text.get(4).copied() == Some(b' '), text.get(5)?.wrapping_sub(b'0'));
    let day = if padded { (1..=9).contains(&day).then_some(i64::from(day))? } else { number(text, 4, 2)? };
    // A day below ten is padded with a space, or it would come back so.
    let ok = text[3] == b' '
        && text.get(6) == Some(&b' ')
        && (padded || day >= 10)
        && year_fits(entry_ns, month, day)
        && is_clock(text, 7);
    ok.then(|| with_fraction(text, SYSLOG, 15))
}

/// Adds the fraction behind the seconds, if there is one that comes back as it is.
fn with_fraction(text: &[u8], layout: u8, end: usize) -> Time {
    let whole = Time { format: Format(layout * FRACTIONS), len: end };
    let comma = match text.get(end) {
        Some(b'.') => 0,
        Some(b',') if layout != EPOCH => TRIMMED,
        _ => return whole,
    };
    let digits = text[end + 1..].iter().take(10).take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return whole;
    }
    let trimmed = digits >= 7 && text[end + digits] != b'0';
    let fraction = comma + if trimmed { TRIMMED } else { digits as u8 };
    Time { format: Format(layout * FRACTIONS + fraction), len: end + 1 + digits }
}

/// `hh:mm:ss` at `at`, not followed by a third digit of the seconds.
fn is_clock(text: &[u8], at: usize) -> bool {
    let fields = (number(text, at, 2), number(text, at + 3, 2), number(text, at + 6, 2));
    let (Some(hour), Some(minute), Some(second)) = fields else { return false };
    hour < 24
        && minute < 60
        && second < 60
        && text[at + 2] == b':'
        && text[at + 5] == b':'
        && !text.get(at + 8).is_some_and(u8::is_ascii_digit)
}

fn is_date(year: i64, month: i64, day: i64) -> bool {
    // The years that i64 nanoseconds since 1970 can express.
    (1970..=2261).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn number(text: &[u8], at: usize, len: usize) -> Option<i64> {
    let digits = text.get(at..at + len)?;
    digits.iter().all(u8::is_ascii_digit).then(|| decimal(digits))
}

fn decimal(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

fn month_named(name: &[u8]) -> Option<i64> {
    MONTHS.iter().position(|month| month[..] == *name).map(|index| index as i64 + 1)
}

fn month_of(name: &[u8]) -> i64 {
    month_named(name).unwrap_or(1)
}

/// Days since the epoch of a month and day in the entry's own year (UTC).
fn in_year_of(entry_ns: i64, month: i64, day: i64) -> i64 {
    days_of(year_of(entry_ns), month, day)
}

fn year_of(entry_ns: i64) -> i64 {
    date_of(entry_ns.div_euclid(DAY_S * 1_000_000_000)).0
}

fn year_fits(entry_ns: i64, month: i64, day: i64) -> bool {
    is_date(year_of(entry_ns), month, day)
}

/// Days since 1970-01-01. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Inverse of [`days_of`]: year, month, day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY_NS: i64 = 1_795_360_819_123_456_789; // 2026-11-22T15:20:19Z

    #[track_caller]
    fn check(text: &str, want: Option<(&str, i64)>) {
        let bytes = text.as_bytes();
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let found = if digits > 0 { find_at_digits(bytes, digits, ENTRY_NS) } else { find_at_letters(bytes, ENTRY_NS) };
        let got = found.map(|time| {
            let token = &bytes[..time.len];
            let units = time.format.parse(token, ENTRY_NS);
            let mut back = Vec::new();
            Writer::new(time.format).write(units, &mut back);
            assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(token));
            assert_eq!(Format::from_id(time.format.id()), Some(time.format));
            (&text[..time.len], ENTRY_NS.div_euclid(time.format.unit_ns()) - units)
        });
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn times_come_back() {
        check("2026-11-22 15:20:19,123 - x", Some(("2026-11-22 15:20:19,123", 0)));
        check("2026-11-22 15:20:19.120 UTC", Some(("2026-11-22 15:20:19.120", 3)));
        check("2026-11-22T15:20:19Z", Some(("2026-11-22T15:20:19", 0)));
        check("2026-11-22T15:20:18.123456789Z", Some(("2026-11-22T15:20:18.123456789", 1_000_000_000)));
        check("2026-11-22T15:20:19.1234567Z", Some(("2026-11-22T15:20:19.1234567", 89)));
        check("2026-11-22T15:20:19.1234500Z", Some(("2026-11-22T15:20:19.1234500", 67)));
        check("2026-11-22T15:20:19.1234567890Z", Some(("2026-11-22T15:20:19", 0)));
        check("2026/11/22 15:20:19 [error]", Some(("2026/11/22 15:20:19", 0)));
        check("22/Nov/2026:15:20:19 +0000", Some(("22/Nov/2026:15:20:19", 0)));
        check("22/Nov/2026:15:20:18.482]", Some(("22/Nov/2026:15:20:18.482", 641)));
        check("22 Nov 2026 15:20:19.123 * x", Some(("22 Nov 2026 15:20:19.123", 0)));
        check("Nov 22 15:20:19 host", Some(("Nov 22 15:20:19", 0)));
        check("Nov  2 15:20:19 host", Some(("Nov  2 15:20:19", 20 * DAY_S)));
        check("Nov 02 15:20:19 host", None);
        check("1122 15:20:19.123456 1 x", Some(("1122 15:20:19.123456", 0)));
        check("1795360819", Some(("1795360819", 0)));
        check("1795360819.12,", Some(("1795360819.12", 0)));
        check("1795360819.12.3", Some(("1795360819", 0)));
        check("1795360819123", Some(("1795360819123", 0)));
        check("1795360819123456789", Some(("1795360819123456789", 0)));
        check("9999999999999999999", None);
        check("1695360819", None);
        check("2026-02-29 15:20:19", None);
        check("2024-02-29 15:20:19", Some(("2024-02-29 15:20:19", 86_400 * 997)));
        check("2026-11-22 24:20:19", None);
        check("2026-11-22 15:20:191", None);
        check("2026-11-22", None);
    }

    #[test]
    fn parts_of_times_are_told_from_others() {
        #[track_caller]
        fn check(time: &str, part: &str, want: [bool; 3]) {
            let bytes = time.as_bytes();
            let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
            let found =
                if digits > 0 { find_at_digits(bytes, digits, ENTRY_NS) } else { find_at_letters(bytes, ENTRY_NS) };
            let format = found.unwrap().format;
            let part = part.as_bytes();
            let got = [(false, false), (true, false), (false, true)].map(|(s, e)| format.may_have(part, s, e));
            assert_eq!(got, want, "{time} {part:?}");
        }
        let iso = "2026-11-22 15:20:19,123";
        check(iso, "15:20", [true, false, false]);
        check(iso, "2026-1", [true, true, false]);
        check(iso, "9,12", [true, false, false]);
        check(iso, "9,123", [true, false, true]);
        check(iso, " 500 ", [false, false, false]);
        check("22/Nov/2026:15:20:19 +0000", "/Dec/", [true, false, false]);
        check("22/Nov/2026:15:20:19 +0000", "panic", [false, false, false]);
        check("2026-11-22T15:20:18.123456789Z", "18.1234567", [true, false, true]);
        check("2026-11-22T15:20:18.123456789Z", "18.123456", [true, false, false]);
        check("Nov 22 15:20:19 x", "Nov  2", [true, true, false]);
    }

    #[test]
    fn dates_come_back() {
        for days in (-200_000..200_000).step_by(37) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
    }
}
