//! Arithmetic: on int64, on decimals, rounding.
//!
//! Source: contract logql.md, 6.1; sprig, "Math Functions".

use super::cast::{to_float64, to_int64};
use super::decimal::Decimal;
use super::{Call, CallError, Function, Param, function, variadic};
use crate::template::value::Value;
use crate::units::format_float;

const ANY: Param = Param::Any;

pub(super) const FUNCTIONS: &[Function] = &[
    function("int", &[ANY], |call| Ok(Value::int(to_int64(&call.args[0])))),
    function("float64", &[ANY], |call| Ok(Value::Float(to_float64(&call.args[0])))),
    variadic("add", &[], ANY, |call| Ok(Value::int64(call.args().iter().map(to_int64).fold(0, i64::wrapping_add)))),
    function("sub", &[ANY, ANY], |call| {
        Ok(Value::int64(to_int64(&call.args[0]).wrapping_sub(to_int64(&call.args[1]))))
    }),
    variadic("mul", &[ANY], ANY, |call| Ok(Value::int64(call.args().iter().map(to_int64).fold(1, i64::wrapping_mul)))),
    function("div", &[ANY, ANY], |call| divided(call, i64::wrapping_div)),
    function("mod", &[ANY, ANY], |call| divided(call, i64::wrapping_rem)),
    variadic("max", &[ANY], ANY, |call| Ok(Value::int64(call.args().iter().map(to_int64).max().unwrap_or(0)))),
    variadic("min", &[ANY], ANY, |call| Ok(Value::int64(call.args().iter().map(to_int64).min().unwrap_or(0)))),
    variadic("addf", &[], ANY, |call| {
        call.args.insert(0, Value::Float(0.0));
        decimals(call, |a, b| Ok(a.add(b)))
    }),
    variadic("subf", &[ANY], ANY, |call| decimals(call, |a, b| Ok(a.sub(b)))),
    variadic("mulf", &[ANY], ANY, |call| decimals(call, |a, b| Ok(a.mul(b)))),
    variadic("divf", &[ANY], ANY, |call| decimals(call, |a, b| a.div(b).ok_or("decimal division by 0".into()))),
    variadic("maxf", &[ANY], ANY, |call| Ok(Value::Float(extreme(call, |a, b| a > b)))),
    variadic("minf", &[ANY], ANY, |call| Ok(Value::Float(extreme(call, |a, b| a < b)))),
    function("ceil", &[ANY], |call| Ok(Value::Float(to_float64(&call.args[0]).ceil()))),
    function("floor", &[ANY], |call| Ok(Value::Float(to_float64(&call.args[0]).floor()))),
    variadic("round", &[ANY, Param::Int], Param::Float, |call| {
        let on = call.args.get(2).map_or(0.5, to_float64);
        Ok(Value::Float(round(to_float64(&call.args[0]), call.int(1), on)))
    }),
];

fn divided<'a>(call: &Call<'a>, divide: fn(i64, i64) -> i64) -> Result<Value<'a>, CallError> {
    let (a, b) = (to_int64(&call.args[0]), to_int64(&call.args[1]));
    if b == 0 {
        return Err("runtime error: integer divide by zero".into());
    }
    Ok(Value::int64(divide(a, b)))
}

fn decimals<'a>(
    call: &Call<'a>,
    operate: fn(&Decimal, &Decimal) -> Result<Decimal, CallError>,
) -> Result<Value<'a>, CallError> {
    let mut result: Option<Decimal> = None;
    for arg in call.args() {
        let float = to_float64(arg);
        let decimal =
            Decimal::from_f64(float).ok_or_else(|| format!("Cannot create a Decimal from {}", format_float(float)))?;
        result = Some(match &result {
            None => decimal,
            Some(result) => operate(result, &decimal)?,
        });
        if result.as_ref().is_some_and(Decimal::is_huge) {
            return Err("decimal has too many digits".into());
        }
    }
    Ok(Value::Float(result.map_or(0.0, |result| result.to_f64())))
}

/// The extreme argument; NaN wins over all.
fn extreme(call: &Call<'_>, is_better: fn(f64, f64) -> bool) -> f64 {
    let mut values = call.args().iter().map(to_float64);
    let first = values.next().unwrap_or(0.0);
    values.fold(first, |best, value| if value.is_nan() || is_better(value, best) { value } else { best })
}

/// Rounds to `digits` decimals; fractions from `on` on go up.
fn round(value: f64, digits: i64, on: f64) -> f64 {
    let power = power_of_ten(digits);
    let scaled = power * value;
    let rounded = if scaled.fract() >= on { scaled.ceil() } else { scaled.floor() };
    rounded / power
}

/// By repeated squaring of the mantissa, as Go's `math.Pow` does it: exact up to 10^22, and beyond with Go's errors.
fn power_of_ten(exponent: i64) -> f64 {
    // 10 = 0.625 * 2^4
    let (mut base, mut base_shift) = (0.625_f64, 4_i64);
    let (mut mantissa, mut shift) = (1.0_f64, 0_i64);
    let mut rest = exponent.unsigned_abs();
    while rest != 0 {
        if base_shift > 1 << 12 {
            shift += base_shift;
            break;
        }
        if rest & 1 == 1 {
            mantissa *= base;
            shift += base_shift;
        }
        base *= base;
        base_shift *= 2;
        if base < 0.5 {
            base += base;
            base_shift -= 1;
        }
        rest >>= 1;
    }
    if exponent < 0 {
        mantissa = 1.0 / mantissa;
        shift = -shift;
    }
    // Three steps keep each factor within the range of f64.
    let shift = shift.clamp(-3_000, 3_000) as i32;
    let third = shift / 3;
    mantissa * 2.0_f64.powi(third) * 2.0_f64.powi(third) * 2.0_f64.powi(shift - 2 * third)
}
