//! `| logfmt [--strict] [--keep-empty] [a="key", b]`: `key=value` pairs between blanks.

use memchr::memchr2;
use smallvec::SmallVec;

use super::json::escape::unescape;
use crate::ast::Extraction;
use crate::pipeline::keys::{LOGFMT, sanitize};
use crate::pipeline::names::{NameId, Names};
use crate::pipeline::state::{Env, Flow, LabelState, Source, Value};
use crate::pipeline::{Context, ErrorKind};

/// What is wrong with a line, for `--strict`. Displays as `__error_details__`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("logfmt syntax error at pos {at} : {reason}")]
struct Fault {
    /// Counts bytes from 1.
    at: usize,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("unexpected '='")]
    Equal,
    #[error("unexpected '\"'")]
    Quote,
    #[error("unterminated quoted value")]
    Unterminated,
    #[error("invalid quoted value")]
    Quoted,
    #[error("invalid key")]
    Key,
}

/// A pair: where key and value lie. The value's quotes are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    key: (usize, usize),
    value: (usize, usize),
    is_escaped: bool,
}

/// Walks over the pairs of a line.
struct Pairs<'a> {
    line: &'a [u8],
    at: usize,
}

impl Pairs<'_> {
    /// The next pair, `None` at the end of the line. After a fault the walk stands where it was found.
    fn next(&mut self) -> Option<Result<Pair, Fault>> {
        let line = self.line;
        self.at += line.get(self.at..)?.iter().position(|&b| b > b' ')?;
        let start = self.at;
        let end = token_end(line, start);
        self.at = end;
        let key = (start, end);
        match line.get(end) {
            Some(b'"') => return Some(self.fault(Reason::Quote)),
            Some(b'=') if end == start => return Some(self.fault(Reason::Equal)),
            _ => {}
        }
        if !is_valid_key(&line[start..end]) {
            return Some(self.fault(Reason::Key));
        }
        if line.get(end) != Some(&b'=') {
            return Some(Ok(Pair { key, value: (end, end), is_escaped: false }));
        }
        self.at = end + 1;
        if line.get(self.at) == Some(&b'"') {
            return Some(self.quoted(key));
        }
        let start = self.at;
        self.at = token_end(line, start);
        Some(match line.get(self.at) {
            Some(b'=') => self.fault(Reason::Equal),
            Some(b'"') => self.fault(Reason::Quote),
            _ => Ok(Pair { key, value: (start, self.at), is_escaped: false }),
        })
    }

    fn quoted(&mut self, key: (usize, usize)) -> Result<Pair, Fault> {
        let start = self.at + 1;
        let mut from = start;
        let mut is_escaped = false;
        loop {
            let Some(len) = self.line.get(from..).and_then(|rest| memchr2(b'"', b'\\', rest)) else {
                self.at = self.line.len();
                return self.fault(Reason::Unterminated);
            };
            let found = from + len;
            if self.line[found] == b'"' {
                self.at = found + 1;
                return Ok(Pair { key, value: (start, found), is_escaped });
            }
            is_escaped = true;
            from = found + 2;
        }
    }

    fn fault<T>(&self, reason: Reason) -> Result<T, Fault> {
        Err(Fault { at: self.at + 1, reason })
    }

    /// Goes to the next blank.
    fn skip_malformed(&mut self) {
        let rest = self.line.get(self.at..).unwrap_or(b"");
        self.at += rest.iter().position(|&b| b <= b' ').unwrap_or(rest.len());
    }
}

/// Bytes that end a key or a bare value: blanks, `=` and `"`.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut b = 0;
    while b <= b' ' as usize {
        ends[b] = true;
        b += 1;
    }
    ends[b'=' as usize] = true;
    ends[b'"' as usize] = true;
    ends
};

/// Where the key or bare value that starts at `start` ends.
fn token_end(line: &[u8], start: usize) -> usize {
    line[start..].iter().position(|&b| ENDS[b as usize]).map_or(line.len(), |len| start + len)
}

fn is_valid_key(key: &[u8]) -> bool {
    key.is_ascii() || std::str::from_utf8(key).is_ok_and(|key| !key.contains(char::REPLACEMENT_CHARACTER))
}

/// `cannot parse expression [a.b]: unexpected char .`
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot parse expression [{expression}]: {reason}")]
pub(crate) struct Error {
    expression: String,
    reason: String,
}

/// The key that an expression names: an identifier, or any text in double quotes.
fn parse_expression(expression: &str) -> Result<String, Error> {
    let fail = |reason: String| Err(Error { expression: expression.to_owned(), reason });
    let text = expression.trim();
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_key = |c: char| is_start(c) || c.is_ascii_digit();
    let (key, rest, kind) = match text.chars().next() {
        None => return fail("syntax error: unexpected $end, expecting STRING or KEY".to_owned()),
        Some('"') => match text[1..].split_once('"') {
            Some((key, rest)) => (key, rest, "STRING"),
            None => return fail("unexpected char \"".to_owned()),
        },
        Some(first) if is_start(first) => {
            let len = text.find(|c| !is_key(c)).unwrap_or(text.len());
            (&text[..len], &text[len..], "KEY")
        }
        Some(other) => return fail(format!("unexpected char {other}")),
    };
    match rest.trim_start().chars().next() {
        None => Ok(key.to_owned()),
        Some('"') => fail("syntax error: unexpected STRING".to_owned()),
        Some(c) if is_start(c) => fail(format!("syntax error: unexpected {kind}")),
        Some(c) => fail(format!("unexpected char {c}")),
    }
}

/// A named key: the label to set, and the key in sanitised form.
struct Named {
    label: NameId,
    key: Box<str>,
}

pub(crate) struct Logfmt {
    is_strict: bool,
    keeps_empty: bool,
    /// Empty: all pairs.
    named: Vec<Named>,
}

impl Logfmt {
    pub(crate) fn new(
        is_strict: bool,
        keeps_empty: bool,
        extractions: &[Extraction],
        names: &mut Names,
    ) -> Result<Self, Error> {
        let named = extractions.iter().map(|extraction| {
            let mut key = String::new();
            sanitize(&mut key, &parse_expression(&extraction.expression)?);
            Ok(Named { label: names.intern(&extraction.label), key: key.into() })
        });
        Ok(Self { is_strict, keeps_empty, named: named.collect::<Result<_, _>>()? })
    }

    /// False: the line is dropped.
    pub(crate) fn run(&self, cx: &mut Context<'_>) -> bool {
        if cx.labels.needs.is_empty() {
            return true;
        }
        let env = cx.env;
        let source = cx.line.source(&env, cx.is_text);
        let labels = &mut *cx.labels;
        let flow = if self.named.is_empty() { self.all(source, labels, &env) } else { self.some(source, labels, &env) };
        match flow {
            Ok(flow) => flow != Flow::Drop,
            Err(fault) => {
                labels.set_parser_error(ErrorKind::LogfmtParser, Some(format_args!("{fault}")));
                true
            }
        }
    }

    fn all(&self, source: Source<'_>, labels: &mut LabelState, env: &Env<'_>) -> Result<Flow, Fault> {
        let mut pairs = Pairs { line: source.bytes, at: 0 };
        let mut previous = None;
        while let Some(pair) = pairs.next() {
            let pair = match pair {
                Ok(pair) => pair,
                Err(fault) if self.is_strict => return Err(fault),
                Err(_) => {
                    pairs.skip_malformed();
                    continue;
                }
            };
            let is_empty = pair.value.0 == pair.value.1;
            if is_empty && !self.keeps_empty {
                continue;
            }
            let key = labels.find_key(LOGFMT, previous, &source.bytes[pair.key.0..pair.key.1], plain_text);
            previous = key;
            let name = key.and_then(|key| labels.key(key).label).and_then(|name| labels.claim(name));
            let Some(name) = name else {
                // A bad escape is a fault also where nobody wants the value.
                if pair.is_escaped && self.value(source, pair, pairs.at, labels, env)?.is_none() {
                    pairs.skip_malformed();
                }
                continue;
            };
            let Some(value) = self.value(source, pair, pairs.at, labels, env)? else {
                pairs.skip_malformed();
                continue;
            };
            let flow = labels.set_found(name, value, env);
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
        Ok(Flow::Continue)
    }

    fn some(&self, source: Source<'_>, labels: &mut LabelState, env: &Env<'_>) -> Result<Flow, Fault> {
        for named in &self.named {
            if labels.locate(named.label).is_none() {
                let empty = labels.copy_bytes(b"");
                labels.set(named.label, empty);
            }
        }
        // Per name: found already under another label than its own, where the first wins.
        let mut extracted: SmallVec<[bool; 16]> = SmallVec::from_elem(false, self.named.len());
        let mut name = String::new();
        let mut pairs = Pairs { line: source.bytes, at: 0 };
        while let Some(pair) = pairs.next() {
            let pair = match pair {
                Ok(pair) => pair,
                Err(fault) if self.is_strict => return Err(fault),
                Err(_) => {
                    pairs.skip_malformed();
                    continue;
                }
            };
            if pair.is_escaped && self.value(source, pair, pairs.at, labels, env)?.is_none() {
                pairs.skip_malformed();
                continue;
            }
            let raw = &source.bytes[pair.key.0..pair.key.1];
            for (idx, named) in self.named.iter().enumerate() {
                if !is_named(raw, &named.key, &mut name) {
                    continue;
                }
                let label = labels.target(named.label);
                if label != named.label && std::mem::replace(&mut extracted[idx], true) {
                    continue;
                }
                if let Some(value) = self.value(source, pair, pairs.at, labels, env)? {
                    labels.set(label, value);
                }
            }
        }
        Ok(Flow::Continue)
    }

    /// The value of a pair; `None` for a bad escape, which is a fault in strict mode.
    fn value(
        &self,
        source: Source<'_>,
        pair: Pair,
        at: usize,
        labels: &mut LabelState,
        env: &Env<'_>,
    ) -> Result<Option<Value>, Fault> {
        let (start, end) = pair.value;
        if !pair.is_escaped {
            return Ok(Some(labels.cut_repaired(source, start..end, env)));
        }
        let value = labels.write(|out| unquote(&source.bytes[start..end], out));
        if value.is_none() && self.is_strict {
            return Err(Fault { at: at + 1, reason: Reason::Quoted });
        }
        Ok(value)
    }
}

fn plain_text(raw: &[u8], text: &mut String) -> bool {
    text.push_str(&String::from_utf8_lossy(raw));
    true
}

/// Is `raw` in sanitised form `key`? `name` is room to work in.
fn is_named(raw: &[u8], key: &str, name: &mut String) -> bool {
    if raw == key.as_bytes() {
        return true;
    }
    let is_clean = raw.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if is_clean && !raw.first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    name.clear();
    sanitize(name, &String::from_utf8_lossy(raw));
    name == key
}

/// JSON-like escapes, and `\'`. An unpaired surrogate becomes a blank.
fn unquote(raw: &[u8], out: &mut String) -> bool {
    let start = out.len();
    if unescape(raw, out) {
        return true;
    }
    // Rare: take it apart at what JSON does not know.
    out.truncate(start);
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        crate::pipeline::state::push_repaired(out, &rest[..at]);
        let len = match rest.get(at + 1) {
            Some(b'\'') => {
                out.push('\'');
                2
            }
            Some(b'u') => {
                let pair = rest.get(at..at + 12).is_some_and(|pair| unescape(pair, out));
                let is_hex = || rest.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
                match (pair, is_hex()) {
                    (true, _) => 12,
                    (false, true) => {
                        if !unescape(&rest[at..at + 6], out) {
                            out.push(' ');
                        }
                        6
                    }
                    (false, false) => return false,
                }
            }
            Some(_) if unescape(&rest[at..at + 2], out) => 2,
            _ => return false,
        };
        rest = &rest[at + len..];
    }
    crate::pipeline::state::push_repaired(out, rest);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_pairs() {
        /// Pairs as `key=value`, faults as `!reason@pos`.
        #[track_caller]
        fn check(line: &str, want: &str) {
            let mut pairs = Pairs { line: line.as_bytes(), at: 0 };
            let mut got = Vec::new();
            while let Some(pair) = pairs.next() {
                match pair {
                    Ok(Pair { key, value, .. }) => {
                        got.push(format!("{}={}", &line[key.0..key.1], &line[value.0..value.1]))
                    }
                    Err(fault) => {
                        got.push(format!("!{}@{}", fault.reason, fault.at));
                        pairs.skip_malformed();
                    }
                }
            }
            assert_eq!(got.join(" | "), want, "{line:?}");
        }
        check("a=1 b=\"x y\" c", "a=1 | b=x y | c=");
        check("=nokey level=info", "!unexpected '='@1 | level=info");
        check("foo=\"unterminated level=error", "!unterminated quoted value@30");
        check("foo=bar\"baz level=warn", "!unexpected '\"'@8 | level=warn");
        check("a=1,b=2,c=3", "!unexpected '='@6");
        check("x=\"a\"\"b\" y=1", "x=a | !unexpected '\"'@6 | y=1");
        check("a==b c=d", "!unexpected '='@3 | c=d");
        check("tab=1\tsep=2  double=3   ", "tab=1 | sep=2 | double=3");
        check("crlf=1 end=2\r", "crlf=1 | end=2");
        check("trailing_eq= ", "trailing_eq=");
        check("single='quoted value' x=1", "single='quoted | value'= | x=1");
        check("", "");
        check("   ", "");
        check("a=", "a=");
    }

    #[test]
    fn parses_expressions() {
        #[track_caller]
        fn check(expression: &str, want: Result<&str, &str>) {
            let got = parse_expression(expression).map_err(|error| error.reason);
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{expression:?}");
        }
        check("key", Ok("key"));
        check("\"any key\"", Ok("any key"));
        check("", Err("syntax error: unexpected $end, expecting STRING or KEY"));
        check("a b", Err("syntax error: unexpected KEY"));
        check("a.b", Err("unexpected char ."));
    }

    #[test]
    fn unquotes() {
        #[track_caller]
        fn check(raw: &str, want: Option<&str>) {
            let mut out = String::new();
            let got = unquote(raw.as_bytes(), &mut out).then_some(&*out);
            assert_eq!(got, want, "{raw:?}");
        }
        check(r#"say \"hi\" C:\\x \u00e9"#, Some("say \"hi\" C:\\x é"));
        check(r"it\'s \ud83d\ude00", Some("it's 😀"));
        check(r"\' \ud800 x", Some("'   x"));
        check(r"\x", None);
        check(r"\u12", None);
    }
}
