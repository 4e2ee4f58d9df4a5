//! Go's own functions, save the comparisons: `and or not len index slice print printf println html js urlquery call`.
//!
//! Source: Go, package text/template, "Functions"; the messages are its own, also those of its run-time panics.

use std::io::Write as _;

use super::encoding::query_escape;
use super::{Body, Call, CallError, Function, Param, function, part, variadic};
use crate::quote::Quoted;
use crate::template::print::{sprint, sprintf, sprintln};
use crate::template::value::{Elements, IntKind, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "and", params: &[Param::Raw], variadic: Some(Param::Raw), pattern: None, body: Body::And },
    Function { name: "or", params: &[Param::Raw], variadic: Some(Param::Raw), pattern: None, body: Body::Or },
    Function { name: "call", params: &[Param::Raw], variadic: Some(Param::Raw), pattern: None, body: Body::CallValue },
    function("not", &[Param::Raw], |call| Ok(Value::Bool(!call.args[0].is_true()))),
    function("len", &[Param::Raw], |call| match &call.args[0] {
        Value::Nil => Err("len of nil pointer".into()),
        value => match value.len() {
            Some(len) => Ok(Value::int(len as i64)),
            None => Err(format!("len of type {}", value.type_name()).into()),
        },
    }),
    variadic("index", &[Param::Raw], Param::Raw, index),
    variadic("slice", &[Param::Raw], Param::Raw, slice),
    variadic("print", &[], Param::Any, |call| Ok(Value::from(sprint(call.args())?))),
    variadic("println", &[], Param::Any, |call| Ok(Value::from(sprintln(call.args())?))),
    variadic("printf", &[Param::Str], Param::Any, |call| Ok(Value::from(sprintf(call.str(0), &call.args()[1..])?))),
    variadic("html", &[], Param::Any, |call| Ok(Value::from(html_escape(&joined(call)?)))),
    variadic("js", &[], Param::Any, |call| Ok(Value::from(js_escape(&joined(call)?)))),
    variadic("urlquery", &[], Param::Any, |call| Ok(Value::from(query_escape(&joined(call)?)))),
];

fn index<'a>(call: &mut Call<'a>) -> Result<Value<'a>, CallError> {
    let mut item = call.take(0);
    if matches!(item, Value::Nil) {
        return Err("index of untyped nil".into());
    }
    for idx in 1..call.args.len() {
        let index = call.take(idx);
        item = match &item {
            Value::Nil => return Err("index of nil pointer".into()),
            Value::Str(text) => {
                let at = index_arg(&index, text.len())?;
                let byte = text.get(at).ok_or("reflect: string index out of range")?;
                Value::Int(IntKind::Uint8, i64::from(*byte))
            }
            Value::List(list) => {
                let at = index_arg(&index, list.values().len())?;
                list.values().get(at).cloned().ok_or("reflect: slice index out of range")?
            }
            Value::Map(_) | Value::Data(_) => {
                let key = match &index {
                    Value::Str(key) => key,
                    Value::Nil => return Err("value is nil; should be of type string".into()),
                    other => return Err(format!("value has type {}; should be string", other.type_name()).into()),
                };
                match item.at_key(key) {
                    Ok(Some(value)) => value,
                    _ if item.map_elements() == Some(Elements::Strings) => Value::from(""),
                    _ => Value::Nil,
                }
            }
            other => return Err(format!("can't index item of type {}", other.type_name()).into()),
        };
    }
    Ok(item)
}

/// The index as a number, `max` included.
fn index_arg(index: &Value<'_>, max: usize) -> Result<usize, CallError> {
    match index {
        Value::Int(_, at) => match usize::try_from(*at) {
            Ok(at) if at <= max => Ok(at),
            _ => Err(format!("index out of range: {at}").into()),
        },
        Value::Nil => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name()).into()),
    }
}

fn slice<'a>(call: &mut Call<'a>) -> Result<Value<'a>, CallError> {
    let item = call.take(0);
    let indexes = &call.args[1..];
    if matches!(item, Value::Nil) {
        return Err("slice of untyped nil".into());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()).into());
    }
    let len = match &item {
        Value::Str(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Str(text) => text.len(),
        Value::List(list) => list.values().len(),
        other => return Err(format!("can't slice item of type {}", other.type_name()).into()),
    };
    let mut bounds = [0, len, len];
    for (idx, index) in indexes.iter().enumerate() {
        bounds[idx] = index_arg(index, len)?;
    }
    for pair in bounds[..indexes.len().max(2)].windows(2) {
        if pair[0] > pair[1] {
            return Err(format!("invalid slice index: {} > {}", pair[0], pair[1]).into());
        }
    }
    let [from, to, _] = bounds;
    Ok(match item {
        Value::Str(text) => part(text, from..to),
        Value::List(list) => Value::List(list.cut(from, to)),
        other => other,
    })
}

/// The arguments printed together, as actions print.
fn joined(call: &mut Call<'_>) -> Result<Vec<u8>, CallError> {
    for arg in &mut call.args {
        if matches!(arg, Value::Nil) {
            *arg = Value::from("<no value>");
        }
    }
    sprint(call.args())
}

fn html_escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for byte in text {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            byte => out.push(*byte),
        }
    }
    out
}

fn js_escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Writing to a Vec cannot fail.
            let _ = match c {
                '\\' => out.write_all(b"\\\\"),
                '\'' => out.write_all(b"\\'"),
                '"' => out.write_all(b"\\\""),
                '<' | '>' | '&' | '=' => write!(out, "\\u{:04X}", c as u32),
                c if (c as u32) < 0x20 => write!(out, "\\u{:04X}", c as u32),
                c if c.is_ascii() || is_printable(c) => write!(out, "{c}"),
                c => write!(out, "\\u{:04X}", c as u32),
            };
        }
        for _ in chunk.invalid() {
            // The replacement character is printable.
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out
}

/// What needs no escape in Go's quotes.
fn is_printable(c: char) -> bool {
    !Quoted(c.encode_utf8(&mut [0; 4])).to_string().starts_with("\"\\")
}
