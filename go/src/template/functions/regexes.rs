//! `regexReplaceAll`, `regexReplaceAllLiteral`, `count`.
//!
//! Source: contract logql.md, 6.1: the value is the middle argument of the replacements.

use super::{Body, Call, CallError, Function, Param, check_size};
use crate::re2::{expand, repair};
use crate::template::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    regex_function("regexReplaceAll", &[Param::Str, Param::Str, Param::Str], |call| replace_all(call, true)),
    regex_function("regexReplaceAllLiteral", &[Param::Str, Param::Str, Param::Str], |call| replace_all(call, false)),
    regex_function("count", &[Param::Str, Param::Str], |call| {
        let text = call.take_str(1);
        let count = call.with_regex(call.str(0), |regex| regex.regex.find_iter(&repair(&text)).count())?;
        Ok(Value::int(count as i64))
    }),
];

const fn regex_function(
    name: &'static str,
    params: &'static [Param],
    body: for<'a> fn(&mut Call<'a>) -> Result<Value<'a>, CallError>,
) -> Function {
    Function { name, params, variadic: None, pattern: Some(0), body: Body::Call(body) }
}

fn replace_all<'a>(call: &mut Call<'a>, expands: bool) -> Result<Value<'a>, CallError> {
    let text = call.take_str(1);
    let replacement = String::from_utf8_lossy(call.str(2));
    let replaced = call.with_regex(call.str(0), |regex| -> Result<Option<Vec<u8>>, CallError> {
        let text = repair(&text);
        let (mut out, mut copied, mut found) = (Vec::new(), 0, false);
        let mut append = |range: std::ops::Range<usize>, out: &mut Vec<u8>| {
            out.extend_from_slice(&text[copied..range.start]);
            copied = range.end;
        };
        if expands && replacement.contains('$') {
            for captures in regex.regex.captures_iter(&text) {
                let Some(whole) = captures.get(0) else { continue };
                append(whole.range(), &mut out);
                expand(regex, &captures, &replacement, &mut out);
                check_size(out.len())?;
                found = true;
            }
        } else {
            for whole in regex.regex.find_iter(&text) {
                append(whole.range(), &mut out);
                out.extend_from_slice(replacement.as_bytes());
                check_size(out.len())?;
                found = true;
            }
        }
        out.extend_from_slice(&text[copied..]);
        Ok(found.then_some(out))
    })?;
    Ok(replaced?.map_or(Value::Str(text), Value::from))
}
