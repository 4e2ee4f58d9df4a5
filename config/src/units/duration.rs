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

use super::{UnitError, split_number};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// 292 years, so that nanoseconds fit an `i64`.
const LONGEST_NS: u64 = i64::MAX as u64;

/// Prometheus' units, large to small, in nanoseconds.
const PROM_UNITS: [(&str, u64); 7] =
    [("y", 365 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MS)];

/// Go's units in nanoseconds. Both spellings of micro: U+00B5 and U+03BC.
const GO_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", MS),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
];

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
        let mut total: u64 = 0;
        while !rest.is_empty() || text.is_empty() {
            let (digits, after) = split_number(rest, false);
            if digits.is_empty() || after.starts_with('.') {
                return Err(UnitError::new(
                    format!("{text:?} is not a duration"),
                    "write whole numbers with units y, w, d, h, m, s, ms, as in 30d or 1h30m",
                ));
            }
            // The longest unit that fits: `ms` before `m`.
            let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            if unit.is_empty() {
                return Err(no_unit(text, &format!("write {text}d or {text}h")));
            }
            let Some((_, scale)) = PROM_UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(UnitError::new(
                    format!("{text:?} has the unknown unit {unit:?}"),
                    "the units are y, w, d, h, m, s, ms",
                ));
            };
            // Too long is as long as it gets: what a custom resource's schema admits must be readable.
            let count = digits.parse::<u64>().unwrap_or(u64::MAX);
            total = count.saturating_mul(*scale).saturating_add(total).min(LONGEST_NS);
            rest = next;
        }
        Ok(Self(Span::from_nanos(total)))
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = self.0.as_millis() as u64;
        if rest_ms == 0 {
            return f.write_str("0s");
        }
        for (unit, scale_ns) in PROM_UNITS {
            let scale_ms = scale_ns / MS;
            let count = rest_ms / scale_ms;
            // Prometheus prints years and weeks only where nothing smaller is left over: `8d`, not `1w1d`.
            let exact_only = matches!(unit, "y" | "w");
            if count > 0 && (!exact_only || rest_ms.is_multiple_of(scale_ms)) {
                write!(f, "{count}{unit}")?;
                rest_ms -= count * scale_ms;
            }
        }
        Ok(())
    }
}

impl FromStr for GoDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || {
            UnitError::new(format!("{text:?} is not a duration"), "write numbers with units h, m, s, ms, as in 1h30m")
        };
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        if unsigned == "0" {
            return Ok(Self::ZERO);
        }
        if unsigned.starts_with('-') {
            return Err(UnitError::new(format!("{text:?} is negative"), "write a span such as 5s"));
        }
        let mut rest = unsigned;
        let mut total: f64 = 0.0;
        let mut exact: u64 = 0;
        while !rest.is_empty() || unsigned.is_empty() {
            let (number, after) = split_number(rest, true);
            let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            if number.is_empty() || number == "." || number.matches('.').count() > 1 {
                return Err(wrong());
            }
            let Some((_, scale)) = GO_UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(match unit {
                    "" => no_unit(text, &format!("write {text}s or {text}ms")),
                    "d" | "w" | "y" => UnitError::new(
                        format!("{text:?} has the unit {unit:?}, which this setting does not know"),
                        "write hours: 24h is a day, 168h a week, 8760h a year",
                    ),
                    _ => UnitError::new(
                        format!("{text:?} has the unknown unit {unit:?}"),
                        "the units are h, m, s, ms, us, ns",
                    ),
                });
            };
            // Whole numbers stay exact; a fraction is good to the nanosecond at any sensible length.
            match number.parse::<u64>() {
                Ok(count) => exact = exact.saturating_add(count.saturating_mul(*scale)),
                Err(_) => total += number.parse::<f64>().map_err(|_| wrong())? * *scale as f64,
            }
            rest = next;
        }
        // A float turned into an integer saturates.
        Ok(Self(Span::from_nanos(exact.saturating_add(total.round() as u64).min(LONGEST_NS))))
    }
}

impl fmt::Display for GoDuration {
    /// Go's `Duration.String`: `1h30m0s`, `1.5s`, `250ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos() as u64;
        if ns == 0 {
            return f.write_str("0s");
        }
        if ns < SECOND {
            let (scale, unit) = match ns {
                0..1_000 => (1, "ns"),
                1_000..MS => (1_000, "\u{b5}s"),
                _ => (MS, "ms"),
            };
            return write_fraction(f, ns, scale, unit);
        }
        let (hours, minutes) = (ns / HOUR, ns % HOUR / MINUTE);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write_fraction(f, ns % MINUTE, SECOND, "s")
    }
}

/// Writes `ns / scale` without trailing zeros.
fn write_fraction(f: &mut fmt::Formatter<'_>, ns: u64, scale: u64, unit: &str) -> fmt::Result {
    write!(f, "{}", ns / scale)?;
    if !ns.is_multiple_of(scale) {
        let width = scale.ilog10() as usize;
        let fraction = format!("{:0width$}", ns % scale);
        write!(f, ".{}", fraction.trim_end_matches('0'))?;
    }
    f.write_str(unit)
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
        check("99999999999y", Ok(LONGEST_NS / MS));
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
        check("1h30m", Ok(5_400 * SECOND));
        check("1.5s", Ok(1_500 * MS));
        check(".5s", Ok(500 * MS));
        check("250ms", Ok(250 * MS));
        check("3\u{b5}s", Ok(3_000));
        check("+2m", Ok(120 * SECOND));
        check(
            "1d",
            Err(
                "\"1d\" has the unit \"d\", which this setting does not know (hint: write hours: 24h is a day, 168h a week, 8760h a year)",
            ),
        );
        check("5", Err("\"5\" has no unit (hint: write 5s or 5ms)"));
        check("-5s", Err("\"-5s\" is negative (hint: write a span such as 5s)"));
        check("", Err("\"\" is not a duration (hint: write numbers with units h, m, s, ms, as in 1h30m)"));
        check("999999999999h", Ok(LONGEST_NS));
        check("99999999999999999999999h1ns", Ok(LONGEST_NS));
    }

    #[test]
    fn prints_go_durations() {
        #[track_caller]
        fn check(ns: u64, want: &str) {
            assert_eq!(GoDuration(Span::from_nanos(ns)).to_string(), want);
        }
        check(0, "0s");
        check(5_400 * SECOND, "1h30m0s");
        check(1_500 * MS, "1.5s");
        check(250 * MS, "250ms");
        check(2_200, "2.2\u{b5}s");
        check(61 * SECOND, "1m1s");
        check(HOUR, "1h0m0s");
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
