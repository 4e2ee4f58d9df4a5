//! Durations in the two dialects of the configurations that we read.
//!
//! [`PromDuration`] is Prometheus' form (`30d1h`), used in `limits_config`; [`GoDuration`] is Go's (`1h30m0s`), used
//! everywhere else. Both hold a span of at most some 292 years, so that nanoseconds fit an `i64`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as Span;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use logstack_go::units::{DurationFault, Error, GoDuration as GoText, PrometheusDuration as PromText};
use logstack_go::units::{parse_go_duration, parse_prometheus_duration};

use super::{UnitError, split_number};

/// 292 years, so that nanoseconds fit an `i64`.
const LONGEST: Span = Span::from_nanos(i64::MAX as u64);

/// A span in Prometheus' form: `30d1h`, `720h`, `1w`, `90s`; `0` alone needs no unit. Whole milliseconds.
///
/// Source: Prometheus, `model.ParseDuration`; we also take the units in any order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromDuration(Span);

/// A span in Go's form: `1h30m`, `1.5s`, `250ms`; `0` alone needs no unit. A number without quotes is nanoseconds.
///
/// Source: Go, `time.ParseDuration`. Negative spans have no meaning in a configuration and are refused.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Span);

macro_rules! common {
    ($name:ident, $dialect:literal, $example:literal) => {
        impl $name {
            /// No time at all; in most limits: switched off.
            pub const ZERO: Self = Self(Span::ZERO);

            /// So many whole seconds.
            pub const fn secs(count: u64) -> Self {
                Self(Span::from_secs(count))
            }

            /// So many whole milliseconds.
            pub const fn millis(count: u64) -> Self {
                Self(Span::from_millis(count))
            }

            /// So many minutes.
            pub const fn minutes(count: u64) -> Self {
                Self::secs(count * 60)
            }

            /// So many hours.
            pub const fn hours(count: u64) -> Self {
                Self::secs(count * 3600)
            }

            /// The span.
            pub const fn get(self) -> Span {
                self.0
            }

            /// The span in nanoseconds.
            pub fn as_nanos(self) -> i64 {
                i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
            }

            /// True for zero.
            pub const fn is_zero(self) -> bool {
                self.0.is_zero()
            }
        }

        impl From<$name> for Span {
            fn from(from: $name) -> Span {
                from.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl<'de> Visitor<'de> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a duration such as ", $example))
                    }

                    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<$name, D::Error> {
                        inner.deserialize_any(self)
                    }

                    fn visit_unit<E: de::Error>(self) -> Result<$name, E> {
                        Ok($name::ZERO)
                    }

                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<$name, E> {
                        $name::from_number(i64::try_from(value).unwrap_or(i64::MAX)).map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, value: i64) -> Result<$name, E> {
                        $name::from_number(value).map_err(E::custom)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                // The name tells our own deserializer which dialect is expected, for its warnings.
                deserializer.deserialize_newtype_struct(stringify!($name), Text)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $name::schema()
            }
        }
    };
}

common!(PromDuration, "Prometheus", "30d or 720h");
common!(GoDuration, "Go", "1h30m or 250ms");

impl PromDuration {
    /// What the schema of a custom resource demands of the text.
    pub const PATTERN: &'static str = "^(0|([0-9]+(ms|s|m|h|d|w|y))+)$";

    fn schema() -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": Self::PATTERN })
    }

    /// So many days.
    pub const fn days(count: u64) -> Self {
        Self::secs(count * 86_400)
    }

    fn from_number(value: i64) -> Result<Self, UnitError> {
        match value {
            0 => Ok(Self::ZERO),
            _ => Err(no_unit(value, &format!("write {value}d or {}h", value.saturating_mul(24)))),
        }
    }
}

impl GoDuration {
    /// What the schema of a custom resource demands of the text.
    pub const PATTERN: &'static str = "^\\+?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$";

    fn schema() -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": Self::PATTERN })
    }

    fn from_number(value: i64) -> Result<Self, UnitError> {
        u64::try_from(value)
            .map(|ns| Self(Span::from_nanos(ns)))
            .map_err(|_| UnitError::new(format!("{value} is negative"), "write a span such as 5s"))
    }
}

fn no_unit(value: impl fmt::Display, hint: &str) -> UnitError {
    UnitError::new(format!("\"{value}\" has no unit"), hint)
}

impl FromStr for PromDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let mut rest = text;
        let mut total = Span::ZERO;
        while !rest.is_empty() || text.is_empty() {
            let (digits, after) = split_number(rest, false);
            if digits.is_empty() || after.starts_with('.') {
                return Err(UnitError::new(
                    format!("{text:?} is not a duration"),
                    "write whole numbers with units y, w, d, h, m, s, ms, as in 30d or 1h30m",
                ));
            }
            let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            if unit.is_empty() {
                return Err(no_unit(text, &format!("write {text}d or {text}h")));
            }
            if parse_prometheus_duration(&format!("1{unit}")).is_err() {
                return Err(UnitError::new(
                    format!("{text:?} has the unknown unit {unit:?}"),
                    "the units are y, w, d, h, m, s, ms",
                ));
            }
            // Too long is as long as it gets: what a custom resource's schema admits must be readable.
            let part = parse_prometheus_duration(&rest[..digits.len() + unit_end]).unwrap_or(i64::MAX);
            total = total.saturating_add(Span::from_nanos(part.unsigned_abs())).min(LONGEST);
            rest = next;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PromText(self.as_nanos()).fmt(f)
    }
}

impl FromStr for GoDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.starts_with('-') {
            return Err(UnitError::new(format!("{text:?} is negative"), "write a span such as 5s"));
        }
        let fault = match parse_go_duration(text) {
            Ok(ns) => return Ok(Self(Span::from_nanos(ns.unsigned_abs()))),
            Err(Error::GoDuration { fault, .. }) => fault,
            Err(_) => DurationFault::Syntax,
        };
        Err(match fault {
            // Too long is as long as it gets, if it is a duration at all: with numbers of one digit it parses.
            DurationFault::Range => return Self::from_str(&with_short_numbers(text)).map(|_| Self(LONGEST)),
            DurationFault::Syntax => UnitError::new(
                format!("{text:?} is not a duration"),
                "write numbers with units h, m, s, ms, as in 1h30m",
            ),
            DurationFault::MissingUnit => no_unit(text, &format!("write {text}s or {text}ms")),
            DurationFault::UnknownUnit(unit) if matches!(unit.as_str(), "d" | "w" | "y") => UnitError::new(
                format!("{text:?} has the unit {unit:?}, which this setting does not know"),
                "write hours: 24h is a day, 168h a week, 8760h a year",
            ),
            DurationFault::UnknownUnit(unit) => {
                UnitError::new(format!("{text:?} has the unknown unit {unit:?}"), "the units are h, m, s, ms, us, ns")
            }
        })
    }
}

/// `text` with one digit left of each run of digits.
fn with_short_numbers(text: &str) -> String {
    let mut before = None;
    let mut short = text.to_owned();
    short.retain(|c| {
        let repeats = c.is_ascii_digit() && before.is_some_and(|b: char| b.is_ascii_digit());
        before = Some(c);
        !repeats
    });
    short
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        GoText(self.as_nanos()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_prometheus_durations() {
        #[track_caller]
        fn check(text: &str, want: Result<u64, &str>) {
            let got = text.parse::<PromDuration>().map(|d| d.get().as_millis() as u64).map_err(|e| e.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
        }
        check("0", Ok(0));
        check("0s", Ok(0));
        check("1w", Ok(7 * 86_400_000));
        check("30d1h", Ok(721 * 3_600_000));
        check("5m30s250ms", Ok(330_250));
        check("1y", Ok(365 * 86_400_000));
        check("30", Err("\"30\" has no unit (hint: write 30d or 30h)"));
        check("5x", Err("\"5x\" has the unknown unit \"x\" (hint: the units are y, w, d, h, m, s, ms)"));
        let hint = "write whole numbers with units y, w, d, h, m, s, ms, as in 30d or 1h30m";
        check("", Err(&format!("\"\" is not a duration (hint: {hint})")));
        check("1.5h", Err(&format!("\"1.5h\" is not a duration (hint: {hint})")));
        check("-1h", Err(&format!("\"-1h\" is not a duration (hint: {hint})")));
        check("99999999999y", Ok(LONGEST.as_millis() as u64));
    }

    #[test]
    fn prints_prometheus_durations() {
        #[track_caller]
        fn check(duration: PromDuration, want: &str) {
            assert_eq!(duration.to_string(), want);
        }
        check(PromDuration::ZERO, "0s");
        check(PromDuration::hours(721), "30d1h");
        check(PromDuration::days(7), "1w");
        check(PromDuration::days(8), "8d");
        check(PromDuration::days(365), "1y");
        check(PromDuration::millis(1500), "1s500ms");
        check(PromDuration::minutes(10), "10m");
    }

    #[test]
    fn reads_go_durations() {
        #[track_caller]
        fn check(text: &str, want: Result<u64, &str>) {
            let got = text.parse::<GoDuration>().map(|d| d.get().as_nanos() as u64).map_err(|e| e.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
        }
        check("0", Ok(0));
        check("1h30m", Ok(5_400 * 1_000_000_000));
        check("1.5s", Ok(1_500 * 1_000_000));
        check(".5s", Ok(500 * 1_000_000));
        check("1.0000000005s", Ok(1_000_000_000)); // truncated, as Go does
        check("250ms", Ok(250 * 1_000_000));
        check("3\u{b5}s", Ok(3_000));
        check("+2m", Ok(120 * 1_000_000_000));
        check(
            "1d",
            Err(
                "\"1d\" has the unit \"d\", which this setting does not know (hint: write hours: 24h is a day, 168h a week, 8760h a year)",
            ),
        );
        check("5", Err("\"5\" has no unit (hint: write 5s or 5ms)"));
        check("-5s", Err("\"-5s\" is negative (hint: write a span such as 5s)"));
        check("", Err("\"\" is not a duration (hint: write numbers with units h, m, s, ms, as in 1h30m)"));
        check("999999999999h", Ok(LONGEST.as_nanos() as u64));
        check("999999999999h1x", Err("\"9h1x\" has the unknown unit \"x\" (hint: the units are h, m, s, ms, us, ns)"));
        check("99999999999999999999999h1ns", Ok(LONGEST.as_nanos() as u64));
    }

    #[test]
    fn prints_go_durations() {
        #[track_caller]
        fn check(ns: u64, want: &str) {
            assert_eq!(GoDuration(Span::from_nanos(ns)).to_string(), want);
        }
        check(0, "0s");
        check(5_400 * 1_000_000_000, "1h30m0s");
        check(1_500 * 1_000_000, "1.5s");
        check(250 * 1_000_000, "250ms");
        check(2_200, "2.2\u{b5}s");
        check(61 * 1_000_000_000, "1m1s");
        check(3_600_000_000_000, "1h0m0s");
    }

    proptest! {
        #[test]
        fn prometheus_reads_what_it_prints(ms in 0u64..1 << 43) {
            prop_assert_eq!(PromDuration::millis(ms).to_string().parse(), Ok(PromDuration::millis(ms)));
        }

        #[test]
        fn go_reads_what_it_prints(ms in 0u64..1 << 43) {
            prop_assert_eq!(GoDuration::millis(ms).to_string().parse(), Ok(GoDuration::millis(ms)));
        }

        #[test]
        fn survives_any_text(text in "[-+.0-9a-zµ ]{0,16}") {
            let _ = (text.parse::<PromDuration>(), text.parse::<GoDuration>());
        }
    }
}
