//! Text functions: case, trimming, cutting, padding, `default`.
//!
//! Source: contract logql.md, 6.1; Go, package strings; sprig, "String Functions".

use std::borrow::Cow;

use memchr::memmem;

use super::{Call, CallError, Function, Param, check_size, function, part, variadic};
use crate::template::value::Value;

const S: Param = Param::Str;
const I: Param = Param::Int;

pub(super) const FUNCTIONS: &[Function] = &[
    function("ToLower", &[S], |call| Ok(Value::Str(map_case(call.take_str(0), to_lower)))),
    function("lower", &[S], |call| Ok(Value::Str(map_case(call.take_str(0), to_lower)))),
    function("ToUpper", &[S], |call| Ok(Value::Str(map_case(call.take_str(0), to_upper)))),
    function("upper", &[S], |call| Ok(Value::Str(map_case(call.take_str(0), to_upper)))),
    function("title", &[S], |call| Ok(Value::from(title(call.str(0))))),
    function("TrimSpace", &[S], |call| Ok(trim(call.take_str(0), BOTH, char::is_whitespace))),
    function("trim", &[S], |call| Ok(trim(call.take_str(0), BOTH, char::is_whitespace))),
    function("trimAll", &[S, S], |call| trim_set(call, 1, 0, BOTH)),
    function("Trim", &[S, S], |call| trim_set(call, 0, 1, BOTH)),
    function("TrimLeft", &[S, S], |call| trim_set(call, 0, 1, LEFT)),
    function("TrimRight", &[S, S], |call| trim_set(call, 0, 1, RIGHT)),
    function("trimPrefix", &[S, S], |call| trim_prefix(call, 1, 0)),
    function("TrimPrefix", &[S, S], |call| trim_prefix(call, 0, 1)),
    function("trimSuffix", &[S, S], |call| trim_suffix(call, 1, 0)),
    function("TrimSuffix", &[S, S], |call| trim_suffix(call, 0, 1)),
    function("replace", &[S, S, S], |call| {
        let text = call.take_str(2);
        Ok(Value::Str(replace(text, call.str(0), call.str(1), -1)?))
    }),
    function("Replace", &[S, S, S, I], |call| {
        let text = call.take_str(0);
        Ok(Value::Str(replace(text, call.str(1), call.str(2), call.int(3))?))
    }),
    function("trunc", &[I, S], trunc),
    function("substr", &[I, I, S], substr),
    function("indent", &[I, S], |call| Ok(Value::from(indent(call.int(0), call.str(1), "")?))),
    function("nindent", &[I, S], |call| Ok(Value::from(indent(call.int(0), call.str(1), "\n")?))),
    function("repeat", &[I, S], |call| Ok(Value::from(repeat(call.int(0), call.str(1))?))),
    function("alignLeft", &[I, S], |call| align(call, false)),
    function("alignRight", &[I, S], |call| align(call, true)),
    function("contains", &[S, S], |call| Ok(Value::Bool(memmem::find(call.str(1), call.str(0)).is_some()))),
    function("hasPrefix", &[S, S], |call| Ok(Value::Bool(call.str(1).starts_with(call.str(0))))),
    function("hasSuffix", &[S, S], |call| Ok(Value::Bool(call.str(1).ends_with(call.str(0))))),
    variadic("default", &[Param::Any], Param::Any, |call| {
        let given = call.args.len() > 1 && call.args[1].is_true();
        Ok(call.take(usize::from(given)))
    }),
];

/// Characters as Go sees them: a byte that is no UTF-8 is one U+FFFD.
fn chars(text: &[u8]) -> impl Iterator<Item = char> + '_ {
    text.utf8_chunks().flat_map(|chunk| {
        chunk.valid().chars().chain(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()))
    })
}

fn collect(chars: impl Iterator<Item = char>, capacity: usize) -> String {
    let mut out = String::with_capacity(capacity);
    out.extend(chars);
    out
}

/// Maps character by character, in place where the text is ours already.
fn map_case(text: Cow<'_, [u8]>, map: fn(char) -> char) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        if text.iter().all(|c| map(char::from(*c)) as u32 == u32::from(*c)) {
            return text;
        }
        let mut text = text.into_owned();
        text.iter_mut().for_each(|c| *c = map(char::from(*c)) as u8);
        return text.into();
    }
    collect(chars(&text).map(map), text.len()).into_bytes().into()
}

/// Simple case mapping: one character for one, so `ß` stays.
fn to_upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        // Greek with a subscript iota has a capital of its own next to it.
        _ => match c as u32 {
            code @ (0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7) => char::from_u32(code + 8).unwrap_or(c),
            code @ (0x1fb3 | 0x1fc3 | 0x1ff3) => char::from_u32(code + 9).unwrap_or(c),
            _ => c,
        },
    }
}

fn to_lower(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    // The only character with a longer lower case is İ, and i is its simple one.
    c.to_lowercase().next().unwrap_or(c)
}

/// Capitals at the start of words are upper case, save for letters that are two in one.
fn to_title(c: char) -> char {
    match c as u32 {
        0x01c4..=0x01c6 => '\u{1c5}',
        0x01c7..=0x01c9 => '\u{1c8}',
        0x01ca..=0x01cc => '\u{1cb}',
        0x01f1..=0x01f3 => '\u{1f2}',
        // Georgian has capitals for whole words only.
        0x10d0..=0x10fa | 0x10fd..=0x10ff => c,
        _ => to_upper(c),
    }
}

fn title(text: &[u8]) -> String {
    let mut before = ' ';
    let mapped = chars(text).map(|c| {
        let starts_word = match before {
            '_' => false,
            before if before.is_ascii() => !before.is_ascii_alphanumeric(),
            before => !before.is_alphanumeric() && before.is_whitespace(),
        };
        before = c;
        if starts_word { to_title(c) } else { c }
    });
    collect(mapped, text.len())
}

/// Which ends to trim.
type Ends = (bool, bool);
const BOTH: Ends = (true, true);
const LEFT: Ends = (true, false);
const RIGHT: Ends = (false, true);

fn trim<'a>(text: Cow<'a, [u8]>, (left, right): Ends, is_trimmed: impl Fn(char) -> bool) -> Value<'a> {
    let (mut start, mut end) = (0, text.len());
    while left && start < end {
        let (c, len) = first_char(&text[start..end]);
        if !is_trimmed(c) {
            break;
        }
        start += len;
    }
    while right && start < end {
        let (c, len) = last_char(&text[start..end]);
        if !is_trimmed(c) {
            break;
        }
        end -= len;
    }
    part(text, start..end)
}

/// The first character of a text that is not empty, and its length.
fn first_char(text: &[u8]) -> (char, usize) {
    let start = &text[..text.len().min(4)];
    match start.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()) {
        Some(c) => (c, c.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// The last character of a text that is not empty, and its length.
fn last_char(text: &[u8]) -> (char, usize) {
    for len in 1..=text.len().min(4) {
        let tail = &text[text.len() - len..];
        if let Some(c) = std::str::from_utf8(tail).ok().and_then(|tail| tail.chars().next()) {
            return (c, len);
        }
    }
    (char::REPLACEMENT_CHARACTER, 1)
}

fn trim_set<'a>(call: &mut Call<'a>, text: usize, set: usize, ends: Ends) -> Result<Value<'a>, CallError> {
    let text = call.take_str(text);
    let set: Vec<char> = chars(call.str(set)).collect();
    Ok(trim(text, ends, |c| set.contains(&c)))
}

fn trim_prefix<'a>(call: &mut Call<'a>, text: usize, prefix: usize) -> Result<Value<'a>, CallError> {
    let text = call.take_str(text);
    let start = if text.starts_with(call.str(prefix)) { call.str(prefix).len() } else { 0 };
    let end = text.len();
    Ok(part(text, start..end))
}

fn trim_suffix<'a>(call: &mut Call<'a>, text: usize, suffix: usize) -> Result<Value<'a>, CallError> {
    let text = call.take_str(text);
    let cut = if text.ends_with(call.str(suffix)) { call.str(suffix).len() } else { 0 };
    let end = text.len() - cut;
    Ok(part(text, 0..end))
}

/// Replaces the first `limit` occurrences, all if it is negative. The empty text occurs before each character and at
/// the end.
fn replace<'a>(text: Cow<'a, [u8]>, old: &[u8], new: &[u8], limit: i64) -> Result<Cow<'a, [u8]>, CallError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let places: Vec<usize> = if old.is_empty() {
        let mut at = 0;
        let starts = std::iter::once(0).chain(chars(&text).map(|c| {
            // A bad byte counts as U+FFFD but is one byte long.
            at += if c == char::REPLACEMENT_CHARACTER { first_char(&text[at..]).1 } else { c.len_utf8() };
            at
        }));
        starts.take(limit).collect()
    } else {
        memmem::find_iter(&text, old).take(limit).collect()
    };
    if places.is_empty() || old == new {
        return Ok(text);
    }
    // Saturating: both factors are strings that exist, but their product need not.
    let len = (text.len() - places.len() * old.len()).saturating_add(places.len().saturating_mul(new.len()));
    check_size(len)?;
    let mut out = Vec::with_capacity(len);
    let mut copied = 0;
    for place in places {
        out.extend_from_slice(&text[copied..place]);
        out.extend_from_slice(new);
        copied = place + old.len();
    }
    out.extend_from_slice(&text[copied..]);
    Ok(out.into())
}

fn trunc<'a>(call: &mut Call<'a>) -> Result<Value<'a>, CallError> {
    let text = call.take_str(1);
    let len = text.len();
    let count = call.int(0).unsigned_abs() as usize;
    let range = match call.int(0) {
        ..0 if count < len => len - count..len,
        0.. if count < len => 0..count,
        _ => 0..len,
    };
    Ok(part(text, range))
}

fn substr<'a>(call: &mut Call<'a>) -> Result<Value<'a>, CallError> {
    let text = call.take_str(2);
    let (start, end, len) = (call.int(0), call.int(1), text.len() as i64);
    let (from, to) = match (start, end) {
        (..0, end) if end < 0 => return Err(format!("{OUT_OF_RANGE} [:{end}]").into()),
        (..0, end) if end > len => return Err(format!("{OUT_OF_RANGE} [:{end}] with length {len}").into()),
        (..0, end) => (0, end),
        (start, end) if end < 0 || end > len => (start, len),
        (start, end) => (start, end),
    };
    if from > to {
        return Err(format!("{OUT_OF_RANGE} [{from}:{to}]").into());
    }
    Ok(part(text, from as usize..to as usize))
}

const OUT_OF_RANGE: &str = "runtime error: slice bounds out of range";

fn times(count: i64, len: usize) -> Result<usize, CallError> {
    let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count")?;
    check_size(count.saturating_mul(len))?;
    Ok(count)
}

fn repeat(count: i64, text: &[u8]) -> Result<Vec<u8>, CallError> {
    Ok(text.repeat(times(count, text.len())?))
}

/// Blanks before each line, `start` before them all.
fn indent(count: i64, text: &[u8], start: &str) -> Result<Vec<u8>, CallError> {
    let lines = 1 + memchr::memchr_iter(b'\n', text).count();
    let pad = b" ".repeat(times(count, lines)?);
    check_size(text.len() + pad.len() * lines)?;
    let mut out = Vec::with_capacity(text.len() + pad.len() * lines + 1);
    out.extend_from_slice(start.as_bytes());
    out.extend_from_slice(&pad);
    for byte in text {
        out.push(*byte);
        if *byte == b'\n' {
            out.extend_from_slice(&pad);
        }
    }
    Ok(out)
}

/// Pads with blanks, or cuts, to as many characters; the text stays at its side.
fn align<'a>(call: &mut Call<'a>, right: bool) -> Result<Value<'a>, CallError> {
    let text = call.take_str(1);
    let len = chars(&text).count();
    let Ok(count) = usize::try_from(call.int(0)) else { return Ok(Value::Str(text)) };
    if count < len {
        let skipped = if right { len - count } else { 0 };
        return Ok(Value::from(collect(chars(&text).skip(skipped).take(count), text.len())));
    }
    check_size(count)?;
    let pad = b" ".repeat(count - len);
    Ok(match right {
        _ if pad.is_empty() => Value::Str(text),
        true => Value::from([&pad, &*text].concat()),
        false => Value::from([&*text, &pad].concat()),
    })
}
