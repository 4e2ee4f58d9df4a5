//! The parts of a pattern that stand for characters: escapes, `[…]`, `\d`, `\p{…}`.
//!
//! Every function takes the rest of the pattern and returns what it read and what follows it.

use std::fmt::Write as _;

use super::error::{Error, Reason};

/// Matches nothing: what is left of a class that only held surrogates, which no text contains.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
/// Matches any character.
const ANYTHING: &str = r"[\x{0}-\x{10FFFF}]";

/// `pattern` without `rest`, which is its tail.
pub(super) fn before<'a>(pattern: &'a str, rest: &str) -> &'a str {
    &pattern[..pattern.len() - rest.len()]
}

/// Writes the literal character `code`, outside of a class.
pub(super) fn push_literal(out: &mut String, code: u32) {
    match char::from_u32(code) {
        Some(c) if c.is_ascii_alphanumeric() || !c.is_ascii() || matches!(c, ' ' | '"' | '\'' | '/' | '_' | ',') => {
            out.push(c);
        }
        Some(c) => push_hex(out, c as u32),
        None => out.push_str(NOTHING),
    }
}

fn push_hex(out: &mut String, code: u32) {
    let _ = write!(out, "\\x{{{code:x}}}");
}

/// Writes `lo-hi` inside a class, without the surrogates. False when nothing is left.
fn push_range(out: &mut String, lo: u32, hi: u32) -> bool {
    const SURROGATES: std::ops::RangeInclusive<u32> = 0xd800..=0xdfff;
    let lo = if SURROGATES.contains(&lo) { 0xe000 } else { lo };
    let hi = if SURROGATES.contains(&hi) { 0xd7ff } else { hi };
    if lo > hi {
        return false;
    }
    push_hex(out, lo);
    if hi > lo {
        out.push('-');
        push_hex(out, hi);
    }
    true
}

/// Reads an escape that stands for one character; `text` starts with the backslash. Returns its code point, which may
/// be a surrogate.
pub(super) fn escape(text: &str) -> Result<(u32, &str), Error> {
    let mut rest = text[1..].chars();
    let Some(c) = rest.next() else { return Err(Error::new(Reason::TrailingBackslash, "")) };
    let invalid = |rest: &str| Err(Error::new(Reason::InvalidEscape, before(text, rest)));
    let code = match c {
        // `\1` alone would be a back reference.
        '1'..='7' if !rest.as_str().starts_with(|c| matches!(c, '0'..='7')) => return invalid(rest.as_str()),
        '0'..='7' => {
            let mut code = c as u32 - '0' as u32;
            for _ in 0..2 {
                let Some(digit) = rest.as_str().chars().next().and_then(|c| c.to_digit(8)) else { break };
                code = code * 8 + digit;
                rest.next();
            }
            code
        }
        'x' => match hex_escape(&mut rest) {
            Some(code) => code,
            None => return invalid(rest.as_str()),
        },
        'a' => 7,
        'f' => 0xc,
        'n' => 0xa,
        'r' => 0xd,
        't' => 9,
        'v' => 0xb,
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c as u32,
        _ => return invalid(rest.as_str()),
    };
    Ok((code, rest.as_str()))
}

/// `41` or `{41}` behind `\x`. On failure `rest` stands behind the character that was wrong.
fn hex_escape(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    let first = rest.next()?;
    if first != '{' {
        // Both are read before either is judged: the error shows both.
        let second = rest.next();
        return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
    }
    let mut code = 0;
    for digit_count in 0.. {
        let c = rest.next()?;
        if c == '}' {
            return (digit_count > 0).then_some(code);
        }
        code = code * 16 + c.to_digit(16)?;
        if code > char::MAX as u32 {
            return None;
        }
    }
    None
}

/// `\d`, `\S` and so on: ASCII only. Returns the class in brackets, fit for use inside a class too.
pub(super) fn perl_class(text: &str) -> Option<(&'static str, &str)> {
    let class = match text.as_bytes().get(..2)? {
        b"\\d" => "[0-9]",
        b"\\D" => "[^0-9]",
        b"\\s" => r"[\t\n\f\r ]",
        b"\\S" => r"[^\t\n\f\r ]",
        b"\\w" => "[0-9A-Za-z_]",
        b"\\W" => "[^0-9A-Za-z_]",
        _ => return None,
    };
    Some((class, &text[2..]))
}

/// `\pN`, `\p{Greek}`, `\P{^Lu}`. `None` when `text` is something else.
pub(super) fn unicode_class(text: &str) -> Result<Option<(String, &str)>, Error> {
    let negated = match text.as_bytes().get(..2) {
        Some(b"\\p") => false,
        Some(b"\\P") => true,
        _ => return Ok(None),
    };
    let behind = &text[2..];
    let (name, rest) = match behind.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or_else(|| Error::new(Reason::InvalidCharRange, text))?,
        None => behind.split_at(behind.chars().next().map_or(0, char::len_utf8)),
    };
    let (negated, bare) = match name.strip_prefix('^') {
        Some(bare) => (!negated, bare),
        None => (negated, name),
    };
    let invalid = || Error::new(Reason::InvalidCharRange, before(text, rest));
    if !bare.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b' ')) {
        return Err(invalid());
    }
    if matches!(bare.to_ascii_lowercase().as_str(), "cs" | "surrogate") {
        return Ok(Some((if negated { ANYTHING } else { NOTHING }.to_owned(), rest)));
    }
    // A category, else a script. The binary properties that Rust knows too (`\p{Alphabetic}`) are not RE2.
    let letter = if negated { 'P' } else { 'p' };
    for property in ["gc", "sc"] {
        let class = format!("\\{letter}{{{property}={bare}}}");
        if regex_syntax::parse(&class).is_ok() {
            return Ok(Some((class, rest)));
        }
    }
    Err(invalid())
}

/// `[:alpha:]` inside a class. `None` when `text` is something else.
fn posix_class(text: &str) -> Result<Option<(&'static str, &str)>, Error> {
    if text.len() <= 2 || !text.starts_with("[:") {
        return Ok(None);
    }
    let Some(end) = text[2..].find(":]") else { return Ok(None) };
    let (name, rest) = text.split_at(end + 4);
    let inside = &name[2..name.len() - 2];
    const NAMES: &[(&str, &str, &str)] = &[
        ("alnum", "[[:alnum:]]", "[[:^alnum:]]"),
        ("alpha", "[[:alpha:]]", "[[:^alpha:]]"),
        ("ascii", "[[:ascii:]]", "[[:^ascii:]]"),
        ("blank", "[[:blank:]]", "[[:^blank:]]"),
        ("cntrl", "[[:cntrl:]]", "[[:^cntrl:]]"),
        ("digit", "[[:digit:]]", "[[:^digit:]]"),
        ("graph", "[[:graph:]]", "[[:^graph:]]"),
        ("lower", "[[:lower:]]", "[[:^lower:]]"),
        ("print", "[[:print:]]", "[[:^print:]]"),
        ("punct", "[[:punct:]]", "[[:^punct:]]"),
        ("space", "[[:space:]]", "[[:^space:]]"),
        ("upper", "[[:upper:]]", "[[:^upper:]]"),
        ("word", "[[:word:]]", "[[:^word:]]"),
        ("xdigit", "[[:xdigit:]]", "[[:^xdigit:]]"),
    ];
    let (negated, bare) = match inside.strip_prefix('^') {
        Some(bare) => (true, bare),
        None => (false, inside),
    };
    match NAMES.iter().find(|(known, ..)| *known == bare) {
        Some((_, class, opposite)) => Ok(Some((if negated { opposite } else { class }, rest))),
        None => Err(Error::new(Reason::InvalidCharRange, name)),
    }
}

/// `[…]`; `text` starts with the bracket. Writes the class and returns what follows it.
pub(super) fn bracket_class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, Error> {
    let inside = &text[1..];
    let (negated, mut rest) = match inside.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, inside),
    };
    let start = out.len();
    out.push_str(if negated { "[^" } else { "[" });
    let items_start = out.len();
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((class, after)) = posix_class(rest)? {
            out.push_str(class);
            rest = after;
            continue;
        }
        if let Some((class, after)) = unicode_class(rest)? {
            out.push_str(&class);
            rest = after;
            continue;
        }
        if let Some((class, after)) = perl_class(rest) {
            out.push_str(class);
            rest = after;
            continue;
        }
        let range = rest;
        let (lo, after) = class_char(rest, text)?;
        rest = after;
        let mut hi = lo;
        // In `[a-]` the dash is a character.
        if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
            (hi, rest) = class_char(&rest[1..], text)?;
            if hi < lo {
                return Err(Error::new(Reason::InvalidCharRange, before(range, rest)));
            }
        }
        push_range(out, lo, hi);
    }
    if out.len() == items_start {
        out.truncate(start);
        out.push_str(if negated { ANYTHING } else { NOTHING });
    } else {
        out.push(']');
    }
    Ok(&rest[1..])
}

fn class_char<'a>(text: &'a str, class: &str) -> Result<(u32, &'a str), Error> {
    let mut chars = text.chars();
    match chars.next() {
        None => Err(Error::new(Reason::MissingBracket, class)),
        Some('\\') => escape(text),
        Some(c) => Ok((c as u32, chars.as_str())),
    }
}
