//! `timestamp`: an extracted value becomes the entry's time.
//!
//! Named formats ignore `location`; layouts without a zone are read in it. A layout without a year means the current
//! one, except around New Year.

use std::collections::HashMap;

use jiff::civil::Date;
use logstack_config::collector::stage::{FailureAction, TimestampStage};
use logstack_go::gotime::{GoTime, Layout, Zone, named_layout};
use logstack_go::units::parse_rfc3339_nano;

use crate::pipeline::Context;
use crate::pipeline::compile::Error;
use crate::pipeline::entry::Entry;

/// Label sets whose last time is remembered.
const SETS_MAX: usize = 10_000;

/// The names that Promtail knows; other names of Go's are layouts there, and match only themselves.
const NAMED: [&str; 10] =
    ["ANSIC", "UnixDate", "RubyDate", "RFC822", "RFC822Z", "RFC850", "RFC1123", "RFC1123Z", "RFC3339", "RFC3339Nano"];

/// The stage.
#[derive(Debug)]
pub struct Timestamp {
    source: String,
    formats: Vec<Format>,
    zone: Zone,
    on_failure: FailureAction,
    last_times: HashMap<u64, i64>,
}

#[derive(Debug)]
enum Format {
    /// ns of the unit.
    Unix(i64),
    Rfc3339,
    Layout {
        layout: Layout,
        is_named: bool,
    },
}

impl Format {
    fn new(text: &str) -> Self {
        match text {
            "Unix" => Self::Unix(1_000_000_000),
            "UnixMs" => Self::Unix(1_000_000),
            "UnixUs" => Self::Unix(1_000),
            "UnixNs" => Self::Unix(1),
            "RFC3339" | "RFC3339Nano" => Self::Rfc3339,
            _ => {
                let named = named_layout(text).filter(|_| NAMED.contains(&text));
                Self::Layout { layout: Layout::new(named.unwrap_or(text)), is_named: named.is_some() }
            }
        }
    }

    fn parse(&self, text: &str, zone: &Zone, now_ns: i64) -> Option<i64> {
        match self {
            Self::Unix(unit_ns) => parse_unix(text, *unit_ns),
            Self::Rfc3339 => parse_rfc3339_nano(text).ok(),
            Self::Layout { layout, is_named } => {
                let zone = if *is_named { &Zone::Utc } else { zone };
                let time = layout.parse(text, zone).ok()?;
                if layout.has_year() { time.unix_ns() } else { with_year(&time, now_ns) }
            }
        }
    }
}

/// Digits since the epoch; seconds may have one fraction.
fn parse_unix(text: &str, unit_ns: i64) -> Option<i64> {
    let (whole, fraction_ns) = match text.split_once('.') {
        Some((whole, fraction)) if unit_ns == 1_000_000_000 => {
            if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let kept = &fraction[..fraction.len().min(9)];
            (whole, kept.parse::<i64>().ok()? * 10_i64.pow(9 - kept.len() as u32))
        }
        _ => (text, 0),
    };
    whole.parse::<i64>().ok()?.checked_mul(unit_ns)?.checked_add(fraction_ns)
}

/// A time of the year 0 in the year that is meant: a December that comes in January is last year's, and the reverse.
fn with_year(time: &GoTime, now_ns: i64) -> Option<i64> {
    let now = GoTime::from_unix_ns(now_ns, time.zone().clone()).civil();
    let civil = time.civil();
    let year = match (civil.month(), now.month()) {
        (12, 1) => now.year() - 1,
        (1, 12) => now.year() + 1,
        _ => now.year(),
    };
    // The 29th of February exists in year 0.
    let date = Date::new(year, civil.month(), civil.day()).ok()?;
    GoTime::from_civil(date.to_datetime(civil.time()), time.zone().clone())?.unix_ns()
}

impl Timestamp {
    /// Reads formats and zone.
    pub fn new(config: &TimestampStage) -> Result<Self, Error> {
        let location = config.location.as_deref().unwrap_or("UTC");
        let zone = Zone::load(location)
            .ok_or_else(|| Error::new("location", format!("{location:?} is not a zone of the IANA database")))?;
        let formats = std::iter::once(&config.format).chain(&config.fallback_formats).map(|f| Format::new(f)).collect();
        Ok(Self {
            source: config.source.clone(),
            formats,
            zone,
            on_failure: config.action_on_failure,
            last_times: HashMap::new(),
        })
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry, cx: &Context<'_>) {
        let parsed = entry
            .string(&self.source)
            .and_then(|text| self.formats.iter().find_map(|format| format.parse(text, &self.zone, cx.now_ns)));
        if self.on_failure == FailureAction::Skip {
            entry.timestamp_ns = parsed.unwrap_or(entry.timestamp_ns);
            return;
        }
        let labels = entry.labels.hash();
        let Some(timestamp_ns) = parsed.or_else(|| self.last_times.get(&labels).map(|last| last + 1)) else { return };
        entry.timestamp_ns = timestamp_ns;
        if self.last_times.len() >= SETS_MAX && !self.last_times.contains_key(&labels) {
            self.last_times.clear();
        }
        self.last_times.insert(labels, timestamp_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{check, check_error};

    /// Parses one text; `want` in ns.
    #[track_caller]
    fn check_format(format: &str, location: &str, text: &str, want: Option<i64>) {
        // 2026-01-15T00:00:00Z
        let now_ns = 1_768_435_200_000_000_000;
        let zone = Zone::load(location).unwrap();
        assert_eq!(Format::new(format).parse(text, &zone, now_ns), want, "{format} {text}");
    }

    #[test]
    fn reads_formats() {
        const S: i64 = 1_000_000_000;
        check_format("Unix", "", "1700000000", Some(1_700_000_000 * S));
        check_format("Unix", "", "1700000000.25", Some(1_700_000_000 * S + 250_000_000));
        check_format("Unix", "", "1700000000.2.5", None);
        check_format("UnixMs", "", "1700000000123", Some(1_700_000_000 * S + 123_000_000));
        check_format("UnixUs", "", "1", Some(1000));
        check_format("UnixNs", "", "7", Some(7));
        check_format("RFC3339Nano", "Asia/Tokyo", "2026-01-15T00:00:00.5Z", Some(1_768_435_200 * S + 500_000_000));
        check_format("2006-01-02 15:04:05", "Asia/Tokyo", "2026-01-15 09:00:00", Some(1_768_435_200 * S));
        // Fractions need not be in the layout; named formats ignore the location.
        check_format("2006-01-02 15:04:05", "", "2026-01-15 00:00:00.000000001", Some(1_768_435_200 * S + 1));
        check_format("ANSIC", "Asia/Tokyo", "Thu Jan 15 00:00:00 2026", Some(1_768_435_200 * S));
        check_format("02/Jan/2006:15:04:05 -0700", "", "15/Jan/2026:02:00:00 +0200", Some(1_768_435_200 * S));
        check_format("Jan _2 15:04:05", "", "Jan 15 00:00:00", Some(1_768_435_200 * S));
        check_format("Jan _2 15:04:05", "", "Dec 31 00:00:00", Some(1_767_139_200 * S));
        check_format("2006-01-02", "", "today", None);
    }

    #[test]
    fn fudges_or_skips() {
        let regex = "- regex: {expression: '^(?P<t>\\S+)'}";
        let lines = ["x", "5", "y", "9"];
        check(
            &format!("{regex}\n- timestamp: {{source: t, format: UnixNs}}"),
            &lines,
            &["{} 0 x", "{} 5 5", "{} 6 y", "{} 9 9"],
        );
        check(
            &format!("{regex}\n- timestamp: {{source: t, format: UnixNs, action_on_failure: skip}}"),
            &lines,
            &["{} 0 x", "{} 5 5", "{} 0 y", "{} 9 9"],
        );
        check(
            &format!("{regex}\n- timestamp: {{source: t, format: Unix, fallback_formats: ['2006', UnixNs]}}"),
            &["2000-x"],
            &["{} 0 2000-x"],
        );
        check_error("- timestamp: {source: t, format: Unix, location: Nowhere/Land}", "location");
    }
}
