//! Times: the entry's, parsing, printing, unix epochs.
//!
//! Source: contract logql.md, 6.1; sprig, "Date Functions".

use super::{Call, CallError, Function, Param, function};
use crate::gotime::{GoTime, Layout, Zone};
use crate::template::value::{IntKind, Value};
use crate::units::parse_int;

const S: Param = Param::Str;

pub(super) const FUNCTIONS: &[Function] = &[
    function("__line__", &[], |call| Ok(Value::bytes(call.data.line()))),
    function("__timestamp__", &[], |call| {
        Ok(Value::from(GoTime::from_unix_ns(call.data.timestamp_ns(), call.data.zone())))
    }),
    function("now", &[], |call| Ok(Value::from(GoTime::new(call.data.now(), call.data.zone())))),
    function("date", &[S, Param::Any], |call| {
        let time = match &call.args[1] {
            Value::Time(time) => time.in_zone(call.data.zone()),
            Value::Int(IntKind::Int | IntKind::Int64, seconds) => {
                GoTime::from_unix_s(*seconds, call.data.zone()).ok_or(BEYOND)?
            }
            // Anything else, also a string, means now.
            _ => GoTime::new(call.data.now(), call.data.zone()),
        };
        let mut out = String::new();
        Layout::new(&String::from_utf8_lossy(call.str(0))).format_to(&time, &mut out);
        Ok(Value::from(out))
    }),
    function("toDate", &[S, S], |call| Ok(parsed(call.str(0), call.str(1), &call.data.zone()))),
    function("toDateInZone", &[S, S, S], |call| {
        let zone = match call.str(1) {
            b"Local" => call.data.zone(),
            name => Zone::load(&String::from_utf8_lossy(name)).unwrap_or(Zone::Utc),
        };
        Ok(parsed(call.str(0), call.str(2), &zone))
    }),
    function("unixEpoch", &[Param::Time], |call| Ok(epoch(call, 1_000_000_000))),
    function("unixEpochMillis", &[Param::Time], |call| Ok(epoch(call, 1_000_000))),
    function("unixEpochNanos", &[Param::Time], |call| Ok(epoch(call, 1))),
    function("unixToTime", &[S], unix_to_time),
];

const BEYOND: &str = "time is beyond the year 9999";

/// The time, or the zero time if there is none.
fn parsed<'a>(layout: &[u8], text: &[u8], zone: &Zone) -> Value<'a> {
    let (layout, text) = (String::from_utf8_lossy(layout), String::from_utf8_lossy(text));
    Value::from(Layout::new(&layout).parse(&text, zone).unwrap_or_else(|_| GoTime::zero()))
}

/// Whole units since the epoch, as text.
fn epoch<'a>(call: &Call<'a>, unit_ns: i128) -> Value<'a> {
    let ns = call.time(0).timestamp().as_nanosecond();
    Value::from((ns.div_euclid(unit_ns) as i64).to_string())
}

/// The number of digits tells the unit.
fn unix_to_time<'a>(call: &mut Call<'a>) -> Result<Value<'a>, CallError> {
    let text = String::from_utf8_lossy(call.str(0));
    let number = parse_int(&text).map_err(|error| format!("unable to parse time '{text}': {error}"))?;
    let zone = call.data.zone();
    let ns = |factor: i64| number.checked_mul(factor).map(|ns| GoTime::from_unix_ns(ns, zone.clone()));
    let time = match text.len() {
        5 => number.checked_mul(86_400).and_then(|seconds| GoTime::from_unix_s(seconds, zone)),
        10 => GoTime::from_unix_s(number, zone),
        13 => ns(1_000_000),
        16 => ns(1_000),
        19 => ns(1),
        len => {
            let units = "5 (days), 10 (s), 13 (ms), 16 (µs) or 19 (ns)";
            return Err(format!("unable to parse time '{text}': {len} digits, want {units}").into());
        }
    };
    time.map(Value::from).ok_or_else(|| BEYOND.into())
}
