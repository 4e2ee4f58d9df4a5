//! Prometheus durations: integers with units `y w d h m s ms`, largest first, each at most once.
//!
//! Source: Prometheus, "Querying basics", time durations; message texts of its `model.ParseDuration`.

use std::fmt;

use super::Error;
use crate::quote::Quoted;

const MS: u64 = 1_000_000;
const DAY: u64 = 24 * 60 * 60 * 1_000 * MS;

/// Units in the only order they may have, with their length in ns.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", 3_600_000 * MS),
    ("m", 60_000 * MS),
    ("s", 1_000 * MS),
    ("ms", MS),
];

/// Parses `1w2d`, `5m`, `0`. The result is in ns and never negative.
///
/// # Errors
/// [`Error::PrometheusDuration`]: empty, no number, no unit, an unknown unit, units out of order, above 292 years.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, Error> {
    let fail = |message: String| Err(Error::PrometheusDuration(message));
    let invalid = || fail(format!("not a valid duration string: {}", Quoted(text)));
    match text {
        "0" => return Ok(0),
        "" => return fail("empty duration string".to_owned()),
        _ => {}
    }
    let (mut rest, mut total_ns, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (name, after) = after.split_at(after.bytes().take_while(|c| !c.is_ascii_digit()).count());
        let Ok(count) = digits.parse::<u64>() else { return invalid() };
        if name.is_empty() {
            return invalid();
        }
        let Some(idx) = UNITS.iter().position(|unit| unit.0 == name) else {
            return fail(format!("unknown unit {} in duration {}", Quoted(name), Quoted(text)));
        };
        if idx < next_unit {
            return invalid();
        }
        next_unit = idx + 1;
        let sum = count.checked_mul(UNITS[idx].1).and_then(|ns| total_ns.checked_add(ns));
        match sum.filter(|ns| *ns <= i64::MAX as u64) {
            Some(ns) => total_ns = ns,
            None => return fail("duration out of range".to_owned()),
        }
        rest = after;
    }
    Ok(total_ns as i64)
}

/// Displays ns as Prometheus prints a duration: whole ms, years and weeks only when nothing remains, else days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrometheusDuration(pub i64);

impl fmt::Display for PrometheusDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ns = self.0.unsigned_abs() / MS * MS;
        if ns == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        for (name, unit) in UNITS {
            let only_if_exact = matches!(name, "y" | "w");
            if ns < unit || only_if_exact && !ns.is_multiple_of(unit) {
                continue;
            }
            write!(f, "{}{name}", ns / unit)?;
            ns %= unit;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses() {
        #[track_caller]
        fn check(text: &str, want_ms: Result<i64, &str>) {
            let got = parse_prometheus_duration(text).map_err(|e| e.to_string());
            assert_eq!(got, want_ms.map(|ms| ms * 1_000_000).map_err(str::to_owned), "{text:?}");
        }
        check("0", Ok(0));
        check("0s", Ok(0));
        check("5m", Ok(300_000));
        check("1w2d", Ok(9 * 86_400_000));
        check("1y1ms", Ok(365 * 86_400_000 + 1));
        check("", Err("empty duration string"));
        check("5", Err("not a valid duration string: \"5\""));
        check("5minutes", Err("unknown unit \"minutes\" in duration \"5minutes\""));
        check(" 5m ", Err("not a valid duration string: \" 5m \""));
        check("1.5h", Err("unknown unit \".\" in duration \"1.5h\""));
        check("1M", Err("unknown unit \"M\" in duration \"1M\""));
        check("1h1d", Err("not a valid duration string: \"1h1d\""));
        check("1h1h", Err("not a valid duration string: \"1h1h\""));
        check("-1h", Err("not a valid duration string: \"-1h\""));
        check("300y", Err("duration out of range"));
        check("99999999999999999999s", Err("not a valid duration string: \"99999999999999999999s\""));
    }

    #[test]
    fn prints() {
        #[track_caller]
        fn check(ms: i64, want: &str) {
            assert_eq!(PrometheusDuration(ms * 1_000_000).to_string(), want);
        }
        check(0, "0s");
        check(300_000, "5m");
        check(90 * 86_400_000, "90d");
        check(14 * 86_400_000, "2w");
        check(365 * 86_400_000, "1y");
        check(721 * 3_600_000, "30d1h");
        check(-1_001, "-1s1ms");
    }

    proptest! {
        #[test]
        fn round_trips(ms in 0..i64::MAX / 1_000_000) {
            let ns = ms * 1_000_000;
            prop_assert_eq!(parse_prometheus_duration(&PrometheusDuration(ns).to_string()), Ok(ns));
        }

        #[test]
        fn survives_any_text(text in "\\PC{0,12}|[0-9ywdhms]{0,16}") {
            let _ = parse_prometheus_duration(&text);
        }
    }
}
