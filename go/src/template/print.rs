//! Values as text: what `{{…}}` prints, `print`, `println` and `printf`.
//!
//! Source: Go, package fmt: `Sprint`, `Sprintln`, `Sprintf`, their verbs, flags and complaints (`%!d(string=x)`).

use std::borrow::Cow;
use std::io::Write as _;

use super::functions::{CallError, STRING_BYTES_MAX};
use super::value::{IntKind, Value};
use crate::gotime;
use crate::quote::Quoted;
use crate::units::{GoDuration, SampleValue, format_float};

/// Widths and precisions beyond this are refused, as in Go.
const NUMBER_MAX: i64 = 1_000_000;

/// Appends `value` as an action prints it: no value at all is `<no value>`.
pub(super) fn write_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Nil => out.extend_from_slice(b"<no value>"),
        value => write_plain(out, value),
    }
}

/// Appends `%v` of `value`, as it is inside of lists.
pub(super) fn write_plain(out: &mut Vec<u8>, value: &Value<'_>) {
    // Writing to a Vec cannot fail.
    let _ = match value {
        Value::Nil => write!(out, "<nil>"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(IntKind::Int | IntKind::Int64 | IntKind::Uint8, value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{}", format_float(*value)),
        Value::Str(text) => {
            out.extend_from_slice(text);
            Ok(())
        }
        Value::List(list) => {
            out.push(b'[');
            for (idx, element) in list.values().iter().enumerate() {
                if idx > 0 {
                    out.push(b' ');
                }
                write_plain(out, element);
            }
            out.push(b']');
            Ok(())
        }
        Value::Map(_) | Value::Data(_) => {
            out.extend_from_slice(b"map[");
            for (idx, (key, element)) in value.map_entries().unwrap_or_default().iter().enumerate() {
                if idx > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(key);
                out.push(b':');
                write_plain(out, element);
            }
            out.push(b']');
            Ok(())
        }
        Value::Complex(..) => {
            Printer::new(out).value(value, 'v');
            Ok(())
        }
        Value::Int(..) | Value::Time(_) => write!(out, "{}", self_described(value).unwrap_or_default()),
    };
}

/// The text of the types that have their own.
fn self_described(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Time(time) => time.to_string(),
        Value::Int(IntKind::Duration, ns) => GoDuration(*ns).to_string(),
        Value::Int(IntKind::Month, month @ 1..=12) => gotime::month_name(*month as i8).to_owned(),
        Value::Int(IntKind::Month, month) => format!("%!Month({})", *month as u64),
        Value::Int(IntKind::Weekday, day @ 0..=6) => gotime::weekday_name_of(*day as usize).to_owned(),
        Value::Int(IntKind::Weekday, day) => format!("%!Weekday({})", *day as u64),
        _ => return None,
    })
}

/// `fmt.Sprint`: blanks only between arguments of which neither is a string.
pub(super) fn sprint(args: &[Value<'_>]) -> Result<Vec<u8>, CallError> {
    let mut out = Vec::new();
    let mut after_string = true;
    for (idx, arg) in args.iter().enumerate() {
        let is_string = matches!(arg, Value::Str(_));
        if idx > 0 && !is_string && !after_string {
            out.push(b' ');
        }
        write_plain(&mut out, arg);
        check(&out)?;
        after_string = is_string;
    }
    Ok(out)
}

/// `fmt.Sprintln`: blanks between all, a newline at the end.
pub(super) fn sprintln(args: &[Value<'_>]) -> Result<Vec<u8>, CallError> {
    let mut out = Vec::new();
    for (idx, arg) in args.iter().enumerate() {
        if idx > 0 {
            out.push(b' ');
        }
        write_plain(&mut out, arg);
        check(&out)?;
    }
    out.push(b'\n');
    Ok(out)
}

fn check(out: &[u8]) -> Result<(), CallError> {
    super::functions::check_size(out.len())
}

/// `fmt.Sprintf`
pub(super) fn sprintf(format: &[u8], args: &[Value<'_>]) -> Result<Vec<u8>, CallError> {
    let mut out = Vec::with_capacity(format.len() + 16);
    let mut cursor = Cursor { args, next: 0, reordered: false, good: true, after_index: false };
    let mut rest = format;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = directive(&mut out, &rest[at + 1..], &mut cursor);
        check(&out)?;
    }
    out.extend_from_slice(rest);
    if !cursor.reordered && cursor.next < args.len() {
        out.extend_from_slice(b"%!(EXTRA ");
        for (idx, arg) in args[cursor.next..].iter().enumerate() {
            if idx > 0 {
                out.extend_from_slice(b", ");
            }
            write_typed(&mut out, arg);
        }
        out.push(b')');
    }
    check(&out)?;
    Ok(out)
}

/// `int=5`, or `<nil>`.
fn write_typed(out: &mut Vec<u8>, value: &Value<'_>) {
    if !matches!(value, Value::Nil) {
        let _ = write!(out, "{}=", value.type_name());
    }
    write_plain(out, value);
}

/// Which argument comes next.
struct Cursor<'v, 'a> {
    args: &'v [Value<'a>],
    next: usize,
    /// An index was used, so arguments may be left over.
    reordered: bool,
    /// The directive under way has only good indexes.
    good: bool,
    /// `[n]` was read just now.
    after_index: bool,
}

impl Cursor<'_, '_> {
    /// Reads `[n]` if it comes next.
    fn index<'f>(&mut self, rest: &'f [u8]) -> &'f [u8] {
        self.after_index = false;
        if rest.first() != Some(&b'[') {
            return rest;
        }
        self.reordered = true;
        let Some(end) = memchr::memchr(b']', rest) else {
            self.good = false;
            return &rest[1..];
        };
        let (number, after_number) = parse_number(&rest[1..end]);
        let index = number.filter(|_| after_number.is_empty());
        match index {
            Some(index) if (1..=self.args.len() as i64).contains(&index) => {
                self.next = index as usize - 1;
                self.after_index = true;
            }
            _ => {
                self.good = false;
                self.after_index = index.is_some();
            }
        }
        &rest[end + 1..]
    }

    /// The next argument as a width or precision, if it can be one.
    fn int(&mut self) -> Option<i64> {
        let arg = self.args.get(self.next)?;
        self.next += 1;
        match arg {
            Value::Int(_, value) => Some(*value).filter(|value| (-NUMBER_MAX..=NUMBER_MAX).contains(value)),
            _ => None,
        }
    }
}

/// Leading digits as a number, `None` if there are none or too many, and the rest.
fn parse_number(text: &[u8]) -> (Option<i64>, &[u8]) {
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok().and_then(|text| text.parse().ok());
    (number.filter(|number| *number <= NUMBER_MAX), &text[digits..])
}

/// Prints one directive, of which the `%` is read, and gives what follows it.
fn directive<'f>(out: &mut Vec<u8>, mut rest: &'f [u8], cursor: &mut Cursor<'_, '_>) -> &'f [u8] {
    let mut printer = Printer::new(out);
    cursor.good = true;
    while let Some((flag, after)) = rest.split_first() {
        match flag {
            b'#' => printer.sharp = true,
            b'0' => printer.zero = true,
            b'+' => printer.plus = true,
            b'-' => printer.minus = true,
            b' ' => printer.space = true,
            _ => break,
        }
        rest = after;
    }
    rest = cursor.index(rest);
    if let Some(after) = rest.strip_prefix(b"*") {
        rest = after;
        match cursor.int() {
            Some(width) => {
                printer.minus |= width < 0;
                printer.width = Some(width.unsigned_abs() as usize);
            }
            None => printer.out.extend_from_slice(b"%!(BADWIDTH)"),
        }
        cursor.after_index = false;
    } else {
        let (width, after) = parse_number(rest);
        cursor.good &= !(cursor.after_index && width.is_some());
        printer.width = width.map(|width| width as usize);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(b".") {
        cursor.good &= !cursor.after_index;
        rest = cursor.index(after);
        if let Some(after) = rest.strip_prefix(b"*") {
            rest = after;
            printer.precision = cursor.int().and_then(|precision| usize::try_from(precision).ok());
            if printer.precision.is_none() {
                printer.out.extend_from_slice(b"%!(BADPREC)");
            }
            cursor.after_index = false;
        } else {
            let (precision, after) = parse_number(rest);
            printer.precision = Some(precision.unwrap_or(0) as usize);
            rest = after;
        }
    }
    if !cursor.after_index {
        rest = cursor.index(rest);
    }
    let Some((verb, after)) = first_char(rest) else {
        printer.out.extend_from_slice(b"%!(NOVERB)");
        return rest;
    };
    let complain = |printer: &mut Printer<'_>, text: &str| {
        let _ = write!(printer.out, "%!{verb}{text}");
    };
    match cursor.args.get(cursor.next) {
        _ if verb == '%' => printer.out.push(b'%'),
        _ if !cursor.good => complain(&mut printer, "(BADINDEX)"),
        None => complain(&mut printer, "(MISSING)"),
        Some(arg) => {
            cursor.next += 1;
            if verb == 'v' {
                printer.go_syntax = std::mem::take(&mut printer.sharp);
                // `%+v` adds field names of structs, which there are none of; it is no sign.
                printer.plus = false;
            }
            printer.value(arg, verb);
        }
    }
    after
}

fn first_char(text: &[u8]) -> Option<(char, &[u8])> {
    let chunk = text.utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(c) => Some((c, &text[c.len_utf8()..])),
        None => Some(('\u{fffd}', &text[1..])),
    }
}

/// Prints values by one directive.
struct Printer<'o> {
    out: &'o mut Vec<u8>,
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%#v`
    go_syntax: bool,
}

impl<'o> Printer<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            width: None,
            precision: None,
            minus: false,
            plus: false,
            sharp: false,
            space: false,
            zero: false,
            go_syntax: false,
        }
    }

    fn value(&mut self, value: &Value<'_>, verb: char) {
        if verb == 'T' {
            return match value {
                Value::Nil => self.pad(b"<nil>"),
                value => self.text(value.type_name().as_bytes()),
            };
        }
        if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
            && !self.go_syntax
            && let Some(text) = self_described(value)
        {
            return self.string(text.as_bytes(), verb, value);
        }
        match value {
            Value::Nil if verb == 'v' => self.pad(b"<nil>"),
            Value::Nil | Value::Time(_) => self.bad_verb(value, verb),
            Value::Bool(flag) if matches!(verb, 'v' | 't') => self.pad(if *flag { b"true" } else { b"false" }),
            Value::Bool(_) => self.bad_verb(value, verb),
            Value::Int(_, int) => self.integer(*int, verb, value),
            Value::Float(float) => self.float(*float, verb, value),
            Value::Complex(real, imaginary) => {
                if !"vbgGxXfFeE".contains(verb) {
                    return self.bad_verb(value, verb);
                }
                let plus = self.plus;
                self.out.push(b'(');
                self.float(*real, verb, value);
                self.plus = true;
                self.float(*imaginary, verb, value);
                self.plus = plus;
                self.out.extend_from_slice(b"i)");
            }
            Value::Str(text) => self.string(text, verb, value),
            Value::List(list) => {
                let (open, separator, close) = if self.go_syntax { ("{", ", ", "}") } else { ("[", " ", "]") };
                self.go_type(value);
                self.out.extend_from_slice(open.as_bytes());
                for (idx, element) in list.values().iter().enumerate() {
                    if idx > 0 {
                        self.out.extend_from_slice(separator.as_bytes());
                    }
                    self.element(element, verb);
                }
                self.out.extend_from_slice(close.as_bytes());
            }
            Value::Map(_) | Value::Data(_) => {
                let (open, separator, close) = if self.go_syntax { ("{", ", ", "}") } else { ("map[", " ", "]") };
                self.go_type(value);
                self.out.extend_from_slice(open.as_bytes());
                for (idx, (key, element)) in value.map_entries().unwrap_or_default().iter().enumerate() {
                    if idx > 0 {
                        self.out.extend_from_slice(separator.as_bytes());
                    }
                    self.string(key, verb, &Value::Str(Cow::Borrowed(key)));
                    self.out.push(b':');
                    self.element(element, verb);
                }
                self.out.extend_from_slice(close.as_bytes());
            }
        }
    }

    fn go_type(&mut self, value: &Value<'_>) {
        if self.go_syntax {
            self.out.extend_from_slice(value.type_name().as_bytes());
        }
    }

    fn element(&mut self, element: &Value<'_>, verb: char) {
        match element {
            Value::Nil if self.go_syntax => self.out.extend_from_slice(b"interface {}(nil)"),
            Value::Nil => self.out.extend_from_slice(b"<nil>"),
            element => self.value(element, verb),
        }
    }

    fn bad_verb(&mut self, value: &Value<'_>, verb: char) {
        let _ = write!(self.out, "%!{verb}(");
        if !matches!(value, Value::Nil) {
            let _ = write!(self.out, "{}=", value.type_name());
        }
        // Flags and width hold for the complaint, too.
        match value {
            Value::Nil => self.out.extend_from_slice(b"<nil>"),
            Value::Time(time) => self.pad(time.to_string().as_bytes()),
            value => self.value(value, 'v'),
        }
        self.out.push(b')');
    }

    /// Pads with blanks, or with zeros on the left.
    fn pad(&mut self, text: &[u8]) {
        let missing = self.width.unwrap_or(0).saturating_sub(count_chars(text));
        if self.minus {
            self.out.extend_from_slice(text);
            self.fill(b' ', missing);
        } else {
            self.fill(if self.zero { b'0' } else { b' ' }, missing);
            self.out.extend_from_slice(text);
        }
    }

    fn fill(&mut self, byte: u8, count: usize) {
        self.out.resize(self.out.len() + count, byte);
    }

    fn pad_without_zeros(&mut self, text: &[u8]) {
        let zero = std::mem::take(&mut self.zero);
        self.pad(text);
        self.zero = zero;
    }

    fn truncated<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let Some(chars) = self.precision else { return text };
        let mut rest = text;
        for _ in 0..chars {
            match first_char(rest) {
                Some((_, after)) => rest = after,
                None => return text,
            }
        }
        &text[..text.len() - rest.len()]
    }

    fn text(&mut self, text: &[u8]) {
        self.pad(self.truncated(text));
    }

    fn string(&mut self, text: &[u8], verb: char, value: &Value<'_>) {
        match verb {
            'v' if self.go_syntax => self.quoted(text),
            'v' | 's' => self.text(text),
            'q' => self.quoted(text),
            'x' | 'X' => self.hex(text, verb == 'X'),
            _ => self.bad_verb(value, verb),
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        if self.sharp && can_backquote(text) {
            return self.pad(&[b"`", text, b"`"].concat());
        }
        let quoted = quote(text);
        self.pad(&if self.plus { to_ascii(&quoted).into_bytes() } else { quoted.into_bytes() });
    }

    /// The bytes of a string in hex; `% x` separates them, `%#x` prefixes them.
    fn hex(&mut self, text: &[u8], upper: bool) {
        let bytes = &text[..self.precision.unwrap_or(text.len()).min(text.len())];
        let prefix = if upper { "0X" } else { "0x" };
        let mut shown = Vec::with_capacity(bytes.len() * 3 + 2);
        for (idx, byte) in bytes.iter().enumerate() {
            if idx > 0 && self.space {
                shown.push(b' ');
            }
            if self.sharp && (idx == 0 || self.space) {
                shown.extend_from_slice(prefix.as_bytes());
            }
            let _ = if upper { write!(shown, "{byte:02X}") } else { write!(shown, "{byte:02x}") };
        }
        self.pad(&shown);
    }

    fn integer(&mut self, int: i64, verb: char, value: &Value<'_>) {
        let magnitude = int.unsigned_abs();
        let (digits, prefix) = match verb {
            'v' if self.go_syntax && matches!(value, Value::Int(IntKind::Uint8, _)) => (format!("{magnitude:x}"), "0x"),
            'v' | 'd' => (magnitude.to_string(), ""),
            'b' => (format!("{magnitude:b}"), if self.sharp { "0b" } else { "" }),
            'o' => (format!("{magnitude:o}"), if self.sharp { "0" } else { "" }),
            'O' => (format!("{magnitude:o}"), if self.sharp { "0o0" } else { "0o" }),
            'x' => (format!("{magnitude:x}"), if self.sharp { "0x" } else { "" }),
            'X' => (format!("{magnitude:X}"), if self.sharp { "0X" } else { "" }),
            'c' => return self.pad(to_char(int).encode_utf8(&mut [0; 4]).as_bytes()),
            'q' => return self.quoted_char(to_char(int)),
            'U' => {
                let mut text =
                    format!("U+{:0width$X}", int as u64, width = self.precision.unwrap_or(0).clamp(4, 60_000));
                if self.sharp && u32::try_from(int).ok().and_then(char::from_u32).is_some_and(|c| !c.is_control()) {
                    text.push_str(&format!(" '{}'", to_char(int)));
                }
                return self.pad_without_zeros(text.as_bytes());
            }
            _ => return self.bad_verb(value, verb),
        };
        let sign = match int {
            ..0 => "-",
            _ if self.plus => "+",
            _ if self.space => " ",
            _ => "",
        };
        let zeros = match (self.precision, self.width) {
            // Nothing but padding.
            (Some(0), _) if int == 0 => return self.pad_without_zeros(b""),
            (Some(precision), _) => precision.saturating_sub(digits.len()),
            (None, Some(width)) if self.zero && !self.minus => width.saturating_sub(sign.len() + digits.len()),
            _ => 0,
        };
        // An octal number that starts with a zero anyway needs no other.
        let has_zero = zeros > 0 || digits.starts_with('0');
        let prefix = if has_zero { prefix.strip_suffix('0').unwrap_or(prefix) } else { prefix };
        let text = [sign, prefix, &"0".repeat(zeros), &digits].concat();
        self.pad_without_zeros(text.as_bytes());
    }

    fn quoted_char(&mut self, c: char) {
        let inner = match c {
            '\'' => "\\'".to_owned(),
            '"' => "\"".to_owned(),
            c => {
                let quoted = quote(c.encode_utf8(&mut [0; 4]).as_bytes());
                quoted[1..quoted.len() - 1].to_owned()
            }
        };
        let text = format!("'{inner}'");
        self.pad(&if self.plus { to_ascii(&text).into_bytes() } else { text.into_bytes() });
    }

    /// `%#g`: always a point, and trailing zeros up to the precision.
    fn with_point(&self, digits: &str, verb: char) -> String {
        let (mantissa, exponent) = digits.split_at(exponent_at(digits, verb));
        let mut missing = match verb {
            'v' | 'g' | 'G' | 'x' | 'X' => self.precision.unwrap_or(6),
            _ => 0,
        };
        let significant = mantissa.replace('.', "");
        missing = missing.saturating_sub(significant.trim_start_matches('0').len());
        let mut out = mantissa.to_owned();
        if !mantissa.contains('.') {
            missing = missing.saturating_sub(usize::from(mantissa == "0"));
            out.push('.');
        }
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(exponent);
        out
    }

    fn float(&mut self, float: f64, verb: char, value: &Value<'_>) {
        let magnitude = float.abs();
        let digits = match verb {
            _ if !float.is_finite() && "vgGeEfFxXb".contains(verb) => {
                let text = SampleValue(magnitude).to_string();
                let sign = match float {
                    f64::NEG_INFINITY => "-",
                    _ if self.space && !self.plus => " ",
                    _ if float.is_nan() && !self.plus => "",
                    // Infinity shows its sign unasked.
                    _ => "+",
                };
                return self.pad_without_zeros([sign, text.trim_start_matches('+')].concat().as_bytes());
            }
            'v' | 'g' => general(magnitude, self.precision),
            'G' => general(magnitude, self.precision).to_uppercase(),
            'e' => exponential(magnitude, self.precision.unwrap_or(6)),
            'E' => exponential(magnitude, self.precision.unwrap_or(6)).to_uppercase(),
            'f' | 'F' => fixed(magnitude, self.precision.unwrap_or(6)),
            'x' => hexadecimal(magnitude, self.precision),
            'X' => hexadecimal(magnitude, self.precision).to_uppercase(),
            'b' => binary_exponent(magnitude),
            _ => return self.bad_verb(value, verb),
        };
        let digits = if self.sharp && verb != 'b' { self.with_point(&digits, verb) } else { digits };
        let sign = match float.is_sign_negative() {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        let missing = self.width.unwrap_or(0).saturating_sub(sign.len() + digits.len());
        if self.zero && !self.minus && missing > 0 {
            // The sign goes before the zeros.
            self.out.extend_from_slice(sign.as_bytes());
            self.fill(b'0', missing);
            self.out.extend_from_slice(digits.as_bytes());
            return;
        }
        self.pad_without_zeros([sign, &digits].concat().as_bytes());
    }
}

/// Where the exponent starts.
fn exponent_at(digits: &str, verb: char) -> usize {
    let is_exponent = |c: char| matches!(c, 'p' | 'P') || matches!(c, 'e' | 'E') && !matches!(verb, 'x' | 'X');
    digits.find(is_exponent).unwrap_or(digits.len())
}

fn to_char(code: i64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Characters as Go counts them: each bad byte is one.
fn count_chars(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

/// Go's quotes around bytes: what is no UTF-8 becomes `\xHH`.
pub(super) fn quote(text: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        let quoted = Quoted(chunk.valid()).to_string();
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn to_ascii(quoted: &str) -> String {
    let escaped = quoted.chars().map(|c| match c as u32 {
        ..0x80 => c.to_string(),
        code @ ..0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    });
    escaped.collect()
}

fn can_backquote(text: &[u8]) -> bool {
    let is_good = |c: char| (c == '\t' || !c.is_control()) && c != '`' && c != '\u{feff}' && c != '\u{fffd}';
    std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_good))
}

/// More digits than any f64 has behind the point; Rust's own formatting refuses much larger precisions.
const DIGITS_MAX: usize = 1_100;

fn fixed(value: f64, precision: usize) -> String {
    let mut text = format!("{value:.*}", precision.min(DIGITS_MAX));
    text.extend(std::iter::repeat_n('0', precision.saturating_sub(DIGITS_MAX)));
    text
}

fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.*e}", precision.min(DIGITS_MAX));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let zeros = "0".repeat(precision.saturating_sub(DIGITS_MAX));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}{zeros}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%g`: `precision` significant digits without trailing zeros, with an exponent where that is shorter.
fn general(value: f64, precision: Option<usize>) -> String {
    let Some(precision) = precision else { return format_float(value) };
    let precision = precision.max(1);
    let text = format!("{value:.*e}", (precision - 1).min(DIGITS_MAX));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_end_matches('0').len().max(1);
    let point = exponent + 1; // digits before the point
    let mut exponent_from = precision as i32;
    if precision > digits && digits as i32 >= point {
        exponent_from = digits as i32;
    }
    if exponent < -4 || exponent >= exponent_from {
        return exponential(value, digits - 1);
    }
    fixed(value, (digits as i32 - point).max(0) as usize)
}

/// Mantissa with its leading bit as an integer, and the exponent that goes with it: `mantissa * 2^(exponent - 52)`.
fn mantissa(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match (bits >> 52) as i32 {
        0 => (fraction, -1022),
        biased => (fraction | 1 << 52, biased - 1023),
    }
}

/// `%b`: `6755399441055744p-52`.
fn binary_exponent(value: f64) -> String {
    let (mantissa, exponent) = mantissa(value);
    format!("{mantissa}p{:+}", exponent - 52)
}

/// `%x`: hexadecimal mantissa, as short as possible or with `precision` digits, and a binary exponent.
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = mantissa(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The leading bit of a subnormal goes to its place.
        let shift = mantissa.leading_zeros() - 11;
        mantissa <<= shift;
        exponent -= shift as i32;
    }
    let shown = precision.unwrap_or(13).min(13);
    let dropped = 4 * (13 - shown as u32);
    if dropped > 0 {
        // To nearest, ties to even.
        let (half, rest) = (1 << (dropped - 1), mantissa & ((1 << dropped) - 1));
        mantissa >>= dropped;
        mantissa += u64::from(rest > half || rest == half && mantissa & 1 == 1);
        mantissa <<= dropped;
        if mantissa >> 53 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(precision) => digits[..shown].to_owned() + &"0".repeat(precision.saturating_sub(13)),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{digits}p{sign}{:02}", mantissa >> 52, exponent.abs())
}

const _: () = assert!(STRING_BYTES_MAX > NUMBER_MAX as usize, "one padded value always fits");
