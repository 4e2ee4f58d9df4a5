//! Times as Go's package time has them: printed and parsed by layouts, with named, fixed and fabricated zones.
//!
//! A layout shows how the reference time `Mon Jan 2 15:04:05 MST 2006` would look: templates (`date`, `toDate`) and the
//! collector's timestamp stage take them from users, who know Go's rules and rely on their odd corners.
//!
//! ```
//! use logstack_go::gotime::{Layout, Zone};
//!
//! let layout = Layout::new("02/Jan/2006:15:04:05 -0700");
//! let time = layout.parse("15/Jan/2026:12:30:00 +0200", &Zone::Utc).unwrap();
//! assert_eq!(time.to_string(), "2026-01-15 12:30:00 +0200 +0200");
//! assert_eq!(time.unix_ns(), Some(1_768_473_000_000_000_000));
//! ```
//!
//! Source: Go, package time: `Time.Format`, `Parse`, `ParseInLocation`, `LoadLocation`.

mod layout;
mod parse;

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

pub use layout::{Layout, named_layout};
pub(crate) use layout::{month_name, weekday_name_of};
pub use parse::ParseError;

/// An instant, and the zone in which it is shown.
#[derive(Debug, Clone)]
pub struct GoTime {
    timestamp: Timestamp,
    zone: Zone,
}

/// Where an instant is shown: Go's `*time.Location`.
#[derive(Debug, Clone)]
pub enum Zone {
    /// UTC.
    Utc,
    /// One offset for all times: what a parsed `+0200` or an unknown abbreviation leaves.
    Fixed {
        /// The abbreviation; empty: the offset is shown in its place.
        name: Arc<str>,
        /// Seconds east of UTC.
        offset_s: i32,
    },
    /// A zone of the IANA database, or the machine's own.
    Named(TimeZone),
}

impl Zone {
    /// The machine's zone: `TZ`, `/etc/localtime`, else UTC. Looked up once.
    pub fn local() -> Self {
        static LOCAL: OnceLock<TimeZone> = OnceLock::new();
        Self::Named(LOCAL.get_or_init(|| TimeZone::try_system().unwrap_or(TimeZone::UTC)).clone())
    }

    /// The zone called `name` in the IANA database; `""` and `"UTC"` are UTC, `"Local"` is the machine's. `None`:
    /// there is none.
    pub fn load(name: &str) -> Option<Self> {
        match name {
            "" | "UTC" => Some(Self::Utc),
            "Local" => Some(Self::local()),
            _ => TimeZone::get(name).ok().map(Self::Named),
        }
    }

    /// Seconds east of UTC at `timestamp`.
    fn offset_s(&self, timestamp: Timestamp) -> i32 {
        match self {
            Self::Utc => 0,
            Self::Fixed { offset_s, .. } => *offset_s,
            Self::Named(zone) => zone.to_offset(timestamp).seconds(),
        }
    }

    /// Seconds east of UTC when a clock in this zone shows `local_s`, seconds since the epoch as if they were UTC.
    ///
    /// Where a clock shows a time twice or never, this picks what Go picks.
    fn offset_s_of_local(&self, local_s: i64) -> i32 {
        let at = |seconds: i64| Timestamp::from_second(seconds).map_or(0, |timestamp| self.offset_s(timestamp));
        let first = at(local_s);
        at(local_s - i64::from(first))
    }

    /// Calls `f` with the abbreviation at `timestamp`; it is empty when the offset has to stand for it.
    fn with_abbreviation<T>(&self, timestamp: Timestamp, f: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Utc => f("UTC"),
            Self::Fixed { name, .. } => f(name),
            Self::Named(zone) => f(zone.to_offset_info(timestamp).abbreviation()),
        }
    }

    /// The offset that the abbreviation `name` means in this zone around `timestamp`, if it is used there.
    fn offset_s_of_abbreviation(&self, name: &str, timestamp: Timestamp) -> Option<i32> {
        let Self::Named(zone) = self else {
            return self
                .with_abbreviation(timestamp, |used| used == name)
                .then(|| self.offset_s(timestamp))
                .filter(|_| !name.is_empty());
        };
        let here = zone.to_offset_info(timestamp);
        if here.abbreviation() == name {
            return Some(here.offset().seconds());
        }
        // Summer and winter time alternate, so the neighbouring transitions show the other abbreviations in use.
        let neighbours = zone.preceding(timestamp).take(4).chain(zone.following(timestamp).take(4));
        neighbours.filter(|transition| transition.abbreviation() == name).map(|t| t.offset().seconds()).next()
    }
}

impl GoTime {
    /// The instant `timestamp`, shown in `zone`.
    pub fn new(timestamp: Timestamp, zone: Zone) -> Self {
        Self { timestamp, zone }
    }

    /// Year 1, January 1, 00:00:00 UTC: Go's zero value, and what a failed parse leaves.
    pub fn zero() -> Self {
        Self { timestamp: Timestamp::constant(-62_135_596_800, 0), zone: Zone::Utc }
    }

    /// `ns` since the epoch.
    pub fn from_unix_ns(ns: i64, zone: Zone) -> Self {
        // An i64 of ns spans 1677 to 2262, well inside a Timestamp.
        Self::new(Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default(), zone)
    }

    /// `seconds` since the epoch. `None`: beyond the year 9999.
    pub fn from_unix_s(seconds: i64, zone: Zone) -> Option<Self> {
        Some(Self::new(Timestamp::from_second(seconds).ok()?, zone))
    }

    /// The instant at which a clock in `zone` shows `civil`. `None`: beyond the year 9999.
    pub fn from_civil(civil: DateTime, zone: Zone) -> Option<Self> {
        let as_utc = Offset::UTC.to_timestamp(civil).ok()?;
        let offset_s = zone.offset_s_of_local(as_utc.as_second());
        let timestamp = as_utc.checked_sub(SignedDuration::from_secs(i64::from(offset_s))).ok()?;
        Some(Self { timestamp, zone })
    }

    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The zone in which it is shown.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The same instant in another zone.
    #[must_use]
    pub fn in_zone(&self, zone: Zone) -> Self {
        Self { timestamp: self.timestamp, zone }
    }

    /// Seconds since the epoch, rounded down.
    pub fn unix_s(&self) -> i64 {
        self.timestamp.as_nanosecond().div_euclid(1_000_000_000) as i64
    }

    /// ns since the epoch. `None`: outside the years 1678 to 2262.
    pub fn unix_ns(&self) -> Option<i64> {
        i64::try_from(self.timestamp.as_nanosecond()).ok()
    }

    /// What calendar and clock show in the time's zone.
    pub fn civil(&self) -> DateTime {
        Offset::from_seconds(self.offset_s()).unwrap_or(Offset::UTC).to_datetime(self.timestamp)
    }

    /// Seconds east of UTC.
    pub fn offset_s(&self) -> i32 {
        self.zone.offset_s(self.timestamp)
    }

    /// The abbreviation of the zone at this time (`CET`), or its offset (`+02`) where there is none.
    pub fn zone_name(&self) -> String {
        self.zone.with_abbreviation(self.timestamp, str::to_owned)
    }

    /// Shows the time by `layout`.
    pub fn format(&self, layout: &str) -> String {
        let mut out = String::with_capacity(layout.len() + 8);
        Layout::new(layout).format_to(self, &mut out);
        out
    }

    /// The time `ns` later. `None`: beyond the year 9999.
    pub fn checked_add_ns(&self, ns: i64) -> Option<Self> {
        let timestamp = self.timestamp.checked_add(SignedDuration::from_nanos(ns)).ok()?;
        Some(Self { timestamp, zone: self.zone.clone() })
    }
}

/// As Go's `Time.String`: `2026-01-15 10:00:00.5 +0000 UTC`.
impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

/// Parses `value` by `layout`; without zone in the layout it is read in `zone`. See [`Layout::parse`].
///
/// # Errors
/// [`ParseError`]: the value has another form, or a field out of its range.
pub fn parse<'a>(layout: &'a str, value: &'a str, zone: &Zone) -> Result<GoTime, ParseError<'a>> {
    parse::parse(layout, value, zone)
}
