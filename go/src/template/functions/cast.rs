//! Best-effort conversion of any value to a number: junk is 0.
//!
//! Source: behaviour of the Go package cast (`ToInt64`, `ToFloat64`), which sprig's arithmetic goes through.

use crate::template::value::Value;
use crate::units::{parse_float, parse_int_any_base};

/// To an integer: `"3.9"` is 3, `"0x1f"` 31, `"007"` 7, junk 0.
pub fn to_int64(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(_, value) => *value,
        Value::Float(value) => float_to_int(*value),
        Value::Bool(value) => i64::from(*value),
        Value::Str(text) => {
            std::str::from_utf8(text).map_or(0, |text| parse_int_any_base(&whole_part(text)).unwrap_or(0))
        }
        _ => 0,
    }
}

/// To a float; junk is 0.
pub fn to_float64(value: &Value<'_>) -> f64 {
    match value {
        Value::Int(_, value) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Str(text) => std::str::from_utf8(text).ok().and_then(|text| parse_float(text).ok()).unwrap_or(0.0),
        _ => 0.0,
    }
}

/// What precedes the point of a plain decimal; any other text as it is.
fn whole_part(text: &str) -> std::borrow::Cow<'_, str> {
    let Some((whole, fraction)) = text.split_once('.') else { return text.into() };
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let is_plain = digits.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit());
    match whole {
        _ if !is_plain => text.into(),
        "" => "0".into(),
        "+" | "-" => format!("{whole}0").into(),
        whole => whole.into(),
    }
}

/// As the processors that Loki runs on do it: what does not fit is the smallest integer.
fn float_to_int(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts() {
        #[track_caller]
        fn check(text: &str, int: i64, float: f64) {
            let value = Value::from(text);
            assert_eq!((to_int64(&value), to_float64(&value)), (int, float), "{text:?}");
        }
        check("3.9", 3, 3.9);
        check("-.5", 0, -0.5);
        check(".", 0, 0.0);
        check("0x1f", 31, 0.0);
        check("007", 7, 7.0);
        check("08", 0, 8.0);
        check("1e3", 0, 1000.0);
        check("1.5e3", 0, 1500.0);
        check("junk", 0, 0.0);
        check("", 0, 0.0);
        check(" 5", 0, 0.0);
        assert_eq!(to_int64(&Value::Float(-3.9)), -3);
        assert_eq!(to_int64(&Value::Float(1e300)), i64::MIN);
        assert_eq!(to_int64(&Value::Bool(true)), 1);
    }
}
