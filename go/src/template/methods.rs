//! Methods of times, durations, months and weekdays: `{{ __timestamp__.Year }}`, `{{ (__timestamp__.UTC).Format "15:04" }}`.
//!
//! The receiver is argument 0 of the body; `params` are those behind it. Source: Go, package time.

use std::cmp::Ordering;

use jiff::civil::DateTime;
use jiff::{RoundMode, SignedDuration, Span};

use super::functions::{Call, CallError, Function, Param, function};
use super::value::{IntKind, Value};
use crate::gotime::{GoTime, Layout, Zone, month_name, weekday_name_of};
use crate::units::GoDuration;

/// The method `name` of `value`.
pub(super) fn find(value: &Value<'_>, name: &str) -> Option<&'static Function> {
    let methods = match value {
        Value::Time(_) => TIME,
        Value::Int(IntKind::Duration, _) => DURATION,
        Value::Int(IntKind::Month, _) => MONTH,
        Value::Int(IntKind::Weekday, _) => WEEKDAY,
        _ => return None,
    };
    methods.iter().find(|method| method.name == name)
}

const NS_PER_S: f64 = 1e9;

static TIME: &[Function] = &[
    function("Year", &[], |call| Ok(Value::int(i64::from(civil(call).year())))),
    function("Month", &[], |call| Ok(Value::Int(IntKind::Month, i64::from(civil(call).month())))),
    function("Day", &[], |call| Ok(Value::int(i64::from(civil(call).day())))),
    function("Hour", &[], |call| Ok(Value::int(i64::from(civil(call).hour())))),
    function("Minute", &[], |call| Ok(Value::int(i64::from(civil(call).minute())))),
    function("Second", &[], |call| Ok(Value::int(i64::from(civil(call).second())))),
    function("Nanosecond", &[], |call| Ok(Value::int(i64::from(civil(call).subsec_nanosecond())))),
    function("YearDay", &[], |call| Ok(Value::int(i64::from(civil(call).day_of_year())))),
    function("Weekday", &[], |call| {
        Ok(Value::Int(IntKind::Weekday, i64::from(civil(call).weekday().to_sunday_zero_offset())))
    }),
    function("Unix", &[], |call| Ok(Value::int64(call.time(0).unix_s()))),
    function("UnixMilli", &[], |call| Ok(Value::int64(divided_ns(call, 1_000_000)))),
    function("UnixMicro", &[], |call| Ok(Value::int64(divided_ns(call, 1_000)))),
    function("UnixNano", &[], |call| Ok(Value::int64(divided_ns(call, 1)))),
    function("IsZero", &[], |call| Ok(Value::Bool(call.time(0).timestamp() == GoTime::zero().timestamp()))),
    function("IsDST", &[], |call| {
        let time = call.time(0);
        let is_dst = match time.zone() {
            Zone::Named(zone) => zone.to_offset_info(time.timestamp()).dst().is_dst(),
            Zone::Utc | Zone::Fixed { .. } => false,
        };
        Ok(Value::Bool(is_dst))
    }),
    function("UTC", &[], |call| Ok(Value::from(call.time(0).in_zone(Zone::Utc)))),
    function("Local", &[], |call| Ok(Value::from(call.time(0).in_zone(call.data().zone())))),
    function("String", &[], |call| Ok(Value::from(call.time(0).to_string()))),
    function("Format", &[Param::Str], |call| {
        let mut out = String::new();
        Layout::new(&String::from_utf8_lossy(call.str(1))).format_to(call.time(0), &mut out);
        Ok(Value::from(out))
    }),
    function("Add", &[Param::Duration], |call| added(call, call.int(1))),
    function("AddDate", &[Param::Int, Param::Int, Param::Int], add_date),
    function("Sub", &[Param::Time], |call| {
        let ns = call.time(0).timestamp().as_nanosecond() - call.time(1).timestamp().as_nanosecond();
        let ns = i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX });
        Ok(Value::Int(IntKind::Duration, ns))
    }),
    function("Before", &[Param::Time], |call| Ok(Value::Bool(order(call) == Ordering::Less))),
    function("After", &[Param::Time], |call| Ok(Value::Bool(order(call) == Ordering::Greater))),
    function("Equal", &[Param::Time], |call| Ok(Value::Bool(order(call) == Ordering::Equal))),
    function("Compare", &[Param::Time], |call| Ok(Value::int(order(call) as i64))),
    function("Truncate", &[Param::Duration], |call| rounded(call, RoundMode::Trunc)),
    function("Round", &[Param::Duration], |call| rounded(call, RoundMode::HalfExpand)),
];

fn civil(call: &Call<'_>) -> DateTime {
    call.time(0).civil()
}

fn order(call: &Call<'_>) -> Ordering {
    call.time(0).timestamp().cmp(&call.time(1).timestamp())
}

/// Whole units of `unit_ns` since the epoch, rounded down; beyond i64 it wraps, as in Go.
fn divided_ns(call: &Call<'_>, unit_ns: i128) -> i64 {
    call.time(0).timestamp().as_nanosecond().div_euclid(unit_ns) as i64
}

fn added<'a>(call: &Call<'a>, ns: i64) -> Result<Value<'a>, CallError> {
    call.time(0).checked_add_ns(ns).map(Value::from).ok_or_else(|| BEYOND.into())
}

const BEYOND: &str = "time is beyond the year 9999";

/// Overflowing days and months carry over: October 32 is November 1.
fn add_date<'a>(call: &mut Call<'a>) -> Result<Value<'a>, CallError> {
    let time = call.time(0);
    let civil = time.civil();
    let months = i64::from(civil.year()) * 12 + i64::from(civil.month()) - 1;
    let months =
        call.int(1).checked_mul(12).and_then(|m| m.checked_add(call.int(2))?.checked_add(months)).ok_or(BEYOND)?;
    let (year, month) = (i16::try_from(months.div_euclid(12)).map_err(|_| BEYOND)?, months.rem_euclid(12) as i8 + 1);
    let first = jiff::civil::Date::new(year, month, 1).map_err(|_| BEYOND)?;
    let days = call.int(3).checked_add(i64::from(civil.day()) - 1).ok_or(BEYOND)?;
    let span = Span::new().try_days(days).map_err(|_| BEYOND)?;
    let date = first.checked_add(span).map_err(|_| BEYOND)?;
    let moved = GoTime::from_civil(date.to_datetime(civil.time()), time.zone().clone());
    moved.map(Value::from).ok_or_else(|| BEYOND.into())
}

/// To a multiple of the duration since the zero time.
fn rounded<'a>(call: &Call<'a>, mode: RoundMode) -> Result<Value<'a>, CallError> {
    let unit = i128::from(call.int(1));
    let time = call.time(0);
    if unit <= 0 {
        return Ok(Value::from(time.clone()));
    }
    let since_zero = time.timestamp().as_nanosecond() - GoTime::zero().timestamp().as_nanosecond();
    let over = since_zero.rem_euclid(unit);
    let ns = match mode {
        RoundMode::HalfExpand if over * 2 >= unit => unit - over,
        _ => -over,
    };
    added(call, ns as i64)
}

static DURATION: &[Function] = &[
    function("Hours", &[], |call| Ok(Value::Float(call.int(0) as f64 / (3_600.0 * NS_PER_S)))),
    function("Minutes", &[], |call| Ok(Value::Float(call.int(0) as f64 / (60.0 * NS_PER_S)))),
    function("Seconds", &[], |call| Ok(Value::Float(call.int(0) as f64 / NS_PER_S))),
    function("Milliseconds", &[], |call| Ok(Value::int64(call.int(0) / 1_000_000))),
    function("Microseconds", &[], |call| Ok(Value::int64(call.int(0) / 1_000))),
    function("Nanoseconds", &[], |call| Ok(Value::int64(call.int(0)))),
    function("Abs", &[], |call| Ok(Value::Int(IntKind::Duration, call.int(0).saturating_abs()))),
    function("String", &[], |call| Ok(Value::from(GoDuration(call.int(0)).to_string()))),
    function("Truncate", &[Param::Duration], |call| {
        let (ns, unit) = (call.int(0), call.int(1));
        Ok(Value::Int(IntKind::Duration, if unit <= 0 { ns } else { ns - ns % unit }))
    }),
    function("Round", &[Param::Duration], |call| {
        let (ns, unit) = (SignedDuration::from_nanos(call.int(0)), call.int(1));
        let (ns, unit) = (ns.as_nanos(), i128::from(unit));
        if unit <= 0 {
            return Ok(Value::Int(IntKind::Duration, call.int(0)));
        }
        // Halves go away from zero; beyond the range the end of it.
        let over = ns % unit;
        let mut rounded = ns - over;
        if over.abs() * 2 >= unit {
            rounded += unit * over.signum();
        }
        let end = if ns < 0 { i64::MIN } else { i64::MAX };
        Ok(Value::Int(IntKind::Duration, i64::try_from(rounded).unwrap_or(end)))
    }),
];

static MONTH: &[Function] =
    &[function("String", &[], |call| Ok(Value::from(month_name(call.int(0).clamp(1, 12) as i8))))];

static WEEKDAY: &[Function] =
    &[function("String", &[], |call| Ok(Value::from(weekday_name_of(call.int(0).clamp(0, 6) as usize))))];
