//! `eq ne lt le gt ge`: values of one kind only.
//!
//! Source: Go, package text/template, "Functions"; the messages are its own.

use std::cmp::Ordering;

use super::{Call, CallError, Function, Param, function, variadic};
use crate::template::print::{sprint, sprintf};
use crate::template::value::{IntKind, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("eq", &[Param::Raw], Param::Raw, |call| {
        let [first, others @ ..] = call.args() else { return Err(NO_COMPARISON.into()) };
        if others.is_empty() {
            return Err(NO_COMPARISON.into());
        }
        for other in others {
            if equal(first, other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    function("ne", TWO, |call| Ok(Value::Bool(!equal(&call.args[0], &call.args[1])?))),
    function("lt", TWO, |call| Ok(Value::Bool(less(call)?))),
    function("le", TWO, |call| Ok(Value::Bool(less_or_equal(call)?))),
    function("gt", TWO, |call| Ok(Value::Bool(!less_or_equal(call)?))),
    function("ge", TWO, |call| Ok(Value::Bool(!less(call)?))),
];

const TWO: &[Param] = &[Param::Raw, Param::Raw];
const NO_COMPARISON: &str = "missing argument for comparison";
const BAD_TYPE: &str = "invalid type for comparison";

/// Types that compare with each other.
#[derive(PartialEq, Eq)]
enum Kind {
    Bool,
    Complex,
    Int,
    Uint,
    Float,
    String,
}

fn kind(value: &Value<'_>) -> Option<Kind> {
    Some(match value {
        Value::Bool(_) => Kind::Bool,
        Value::Complex(..) => Kind::Complex,
        Value::Int(IntKind::Uint8, _) => Kind::Uint,
        Value::Int(..) => Kind::Int,
        Value::Float(_) => Kind::Float,
        Value::Str(_) => Kind::String,
        Value::Nil | Value::List(_) | Value::Map(_) | Value::Data(_) | Value::Time(_) => return None,
    })
}

fn incompatible(a: &Value<'_>, b: &Value<'_>) -> CallError {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()).into()
}

fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, CallError> {
    match (a, b) {
        (Value::Int(_, a), Value::Int(_, b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Complex(..), Value::Complex(..)) => match (a, b) {
            (Value::Complex(a, c), Value::Complex(b, d)) => Ok(a == b && c == d),
            _ => Ok(false),
        },
        (Value::Str(a), Value::Str(b)) => Ok(a == b),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Time(a), Value::Time(b)) => Ok(a.timestamp() == b.timestamp() && a.offset_s() == b.offset_s()),
        (Value::List(_), Value::List(_)) | (Value::Map(_) | Value::Data(_), Value::Map(_) | Value::Data(_)) => {
            let shown = sprintf(b"%s", std::slice::from_ref(b))?;
            Err(format!("non-comparable type {}: {}", String::from_utf8_lossy(&shown), b.type_name()).into())
        }
        _ if kind(a) == kind(b) => {
            let (shown_a, shown_b) = (sprintf(b"%s", std::slice::from_ref(a))?, sprint(std::slice::from_ref(b))?);
            let (shown_a, shown_b) = (String::from_utf8_lossy(&shown_a), String::from_utf8_lossy(&shown_b));
            let (type_a, type_b) = (a.type_name(), b.type_name());
            Err(format!("non-comparable types {shown_a}: {type_a}, {type_b}: {shown_b}").into())
        }
        _ => Err(incompatible(a, b)),
    }
}

fn less(call: &Call<'_>) -> Result<bool, CallError> {
    let (a, b) = (&call.args[0], &call.args[1]);
    let (Some(kind_a), Some(kind_b)) = (kind(a), kind(b)) else { return Err(BAD_TYPE.into()) };
    let order = match (a, b) {
        (Value::Int(_, a), Value::Int(_, b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        _ if kind_a == kind_b => return Err(BAD_TYPE.into()),
        _ => return Err(incompatible(a, b)),
    };
    Ok(order == Some(Ordering::Less))
}

fn less_or_equal(call: &Call<'_>) -> Result<bool, CallError> {
    Ok(less(call)? || equal(&call.args[0], &call.args[1])?)
}
