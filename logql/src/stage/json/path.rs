//! `| json a="x.y[0]", b`: only what is named.

use smallvec::SmallVec;

use super::escape::unescape;
use super::scalar;
use super::scan::{Member, Members, Token, skip_blanks, value};
use crate::ast::Extraction;
use crate::pipeline::names::{NameId, Names};
use crate::pipeline::state::{Env, LabelState, Source};
use crate::pipeline::{Context, ErrorKind};

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Field(String),
    Index(usize),
}

/// `cannot parse expression [x..y]: syntax error: unexpected DOT, expecting FIELD`
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot parse expression [{expression}]: {reason}")]
pub(crate) struct Error {
    expression: String,
    reason: String,
}

/// A lexical unit of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lexeme {
    Field(String),
    Dot,
    OpenBracket,
    CloseBracket,
    String(String),
    Index(usize),
    End,
}

impl Lexeme {
    fn name(&self) -> &'static str {
        match self {
            Self::Field(_) => "FIELD",
            Self::Dot => "DOT",
            Self::OpenBracket => "LSB",
            Self::CloseBracket => "RSB",
            Self::String(_) => "STRING",
            Self::Index(_) => "INDEX",
            Self::End => "$end",
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
}

impl Lexer<'_> {
    /// The next lexeme. What cannot begin one, and is no plain character either, ends the expression, as in the
    /// reference server (`a[-1]`, `1a`).
    fn next(&mut self) -> Result<Lexeme, String> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let Some(first) = self.rest.chars().next() else { return Ok(Lexeme::End) };
        let take = |lexer: &mut Self, len: usize| {
            let (taken, rest) = lexer.rest.split_at(len);
            lexer.rest = rest;
            taken.to_owned()
        };
        let run = |accept: fn(char) -> bool, rest: &str| rest.find(|c| !accept(c)).unwrap_or(rest.len());
        match first {
            '.' => {
                take(self, 1);
                Ok(Lexeme::Dot)
            }
            '[' => {
                take(self, 1);
                Ok(Lexeme::OpenBracket)
            }
            ']' => {
                take(self, 1);
                Ok(Lexeme::CloseBracket)
            }
            '"' => {
                let end = self.rest[1..].find('"').ok_or("unexpected char \"")? + 1;
                let text = take(self, end + 1);
                Ok(Lexeme::String(text[1..end].to_owned()))
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let len = run(|c| c.is_ascii_alphanumeric() || c == '_', self.rest);
                Ok(Lexeme::Field(take(self, len)))
            }
            '0'..='9' if self.is_number() => {
                let len = run(|c| c.is_ascii_digit(), self.rest);
                // An index beyond any array is as good as one that does not fit.
                Ok(Lexeme::Index(take(self, len).parse().unwrap_or(usize::MAX)))
            }
            '0'..='9' => Ok(Lexeme::End),
            '-' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => Ok(Lexeme::End),
            c => Err(format!("unexpected char {c}")),
        }
    }

    fn is_number(&self) -> bool {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && !self.rest[digits..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }
}

/// Reads `x.y[0]["any key"]`.
fn parse(expression: &str) -> Result<Vec<Segment>, Error> {
    let fail = |reason: String| Error { expression: expression.to_owned(), reason };
    let unexpected =
        |found: &Lexeme, expected: &str| fail(format!("syntax error: unexpected {}{expected}", found.name()));
    let mut lexer = Lexer { rest: expression };
    let mut next = || lexer.next().map_err(fail);
    let mut segments = Vec::new();
    let mut lexeme = next()?;
    loop {
        match lexeme {
            Lexeme::Field(field) if segments.is_empty() => segments.push(Segment::Field(field)),
            Lexeme::Dot if !segments.is_empty() => match next()? {
                Lexeme::Field(field) => segments.push(Segment::Field(field)),
                other => return Err(unexpected(&other, ", expecting FIELD")),
            },
            Lexeme::OpenBracket => {
                match next()? {
                    Lexeme::String(key) => segments.push(Segment::Field(key)),
                    Lexeme::Index(index) => segments.push(Segment::Index(index)),
                    other => return Err(unexpected(&other, ", expecting STRING or INDEX")),
                }
                match next()? {
                    Lexeme::CloseBracket => {}
                    other => return Err(unexpected(&other, ", expecting RSB")),
                }
            }
            Lexeme::End if !segments.is_empty() => return Ok(segments),
            other if segments.is_empty() => return Err(unexpected(&other, ", expecting LSB or FIELD")),
            other => return Err(unexpected(&other, "")),
        }
        lexeme = next()?;
    }
}

struct Path {
    label: NameId,
    segments: Vec<Segment>,
}

/// The stage: labels and where their values lie.
pub(crate) struct Paths(Vec<Path>);

/// Paths that are followed at one place: indexes into [`Paths`].
type Active = SmallVec<[u16; 16]>;

/// Longer paths find nothing, so that the walk down is bounded.
const SEGMENTS_MAX: usize = 128;

impl Paths {
    pub(crate) fn new(extractions: &[Extraction], names: &mut Names) -> Result<Self, Error> {
        let path = |extraction: &Extraction| {
            Ok(Path { label: names.intern(&extraction.label), segments: parse(&extraction.expression)? })
        };
        extractions.iter().map(path).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn run(&self, cx: &mut Context<'_>) {
        let env = cx.env;
        let source = cx.line.source(&env, cx.is_text);
        let labels = &mut *cx.labels;
        if labels.needs.is_empty() {
            return;
        }
        match source.bytes.first() {
            None => return,
            Some(b'{' | b'[' | b'"') => {}
            Some(_) => return labels.set_parser_error(ErrorKind::JsonParser, None),
        }
        let active: Active =
            (0..self.0.len() as u16).filter(|&idx| self.0[idx as usize].segments.len() <= SEGMENTS_MAX).collect();
        let found = SmallVec::from_elem(false, self.0.len());
        let mut walk = Walk { paths: &self.0, source, found, missing: self.0.len(), labels, env };
        // What cannot be read ends the search, as does having found everything; what was found stays.
        let _ = walk.value(0, &active, 0);
        let Walk { found, labels, .. } = walk;
        for (path, found) in self.0.iter().zip(found) {
            if !found && labels.locate(path.label).is_none() {
                let empty = labels.copy_bytes(b"");
                labels.set(path.label, empty);
            }
        }
    }
}

struct Walk<'a> {
    paths: &'a [Path],
    source: Source<'a>,
    /// Per path. The first place that fits wins.
    found: SmallVec<[bool; 16]>,
    missing: usize,
    labels: &'a mut LabelState,
    env: Env<'a>,
}

impl Walk<'_> {
    /// Follows the `active` paths, of which `depth` segments are behind, into the value at `at`, and returns where
    /// the value ends. `None`: it cannot be read, or nothing is missing any more.
    fn value(&mut self, at: usize, active: &Active, depth: usize) -> Option<usize> {
        let text = self.source.bytes;
        let goes_deeper = active.iter().any(|&idx| self.paths[idx as usize].segments.len() > depth);
        match text[at] {
            b'{' if goes_deeper => {
                let mut members = Members::open(text, at).ok()?;
                let mut unescaped = String::new();
                while let Some(Member { key, is_escaped, at }) = members.next().ok()? {
                    let key = if is_escaped {
                        unescaped.clear();
                        if !unescape(key, &mut unescaped) {
                            return None;
                        }
                        unescaped.as_bytes()
                    } else {
                        key
                    };
                    let is_next = |segment: &Segment| matches!(segment, Segment::Field(f) if f.as_bytes() == key);
                    let end = self.step(at, active, depth, is_next)?;
                    members.resume(end);
                }
                Some(members.at())
            }
            b'[' if goes_deeper => {
                let mut at = skip_blanks(text, at + 1)?;
                let mut index = 0;
                while text[at] != b']' {
                    let is_next = |segment: &Segment| matches!(segment, Segment::Index(i) if *i == index);
                    let end = self.step(at, active, depth, is_next)?;
                    at = skip_blanks(text, end)?;
                    if text[at] == b',' {
                        at = skip_blanks(text, at + 1)?;
                    }
                    index += 1;
                }
                Some(at + 1)
            }
            _ => value(text, at).ok().map(Token::next),
        }
    }

    /// Takes the value at `at` for the paths whose next segment it is, and returns where it ends.
    fn step(&mut self, at: usize, active: &Active, depth: usize, is_next: impl Fn(&Segment) -> bool) -> Option<usize> {
        let fits = |idx: u16| {
            let segments = &self.paths[idx as usize].segments;
            !self.found[idx as usize] && segments.get(depth).is_some_and(&is_next)
        };
        if !active.iter().any(|&idx| fits(idx)) {
            return value(self.source.bytes, at).ok().map(Token::next);
        }
        let active: Active = active.iter().copied().filter(|&idx| fits(idx)).collect();
        for &idx in &active {
            if self.paths[idx as usize].segments.len() == depth + 1 {
                let token = value(self.source.bytes, at).ok()?;
                self.found[idx as usize] = true;
                self.missing -= 1;
                let label = self.labels.target(self.paths[idx as usize].label);
                let value = scalar(self.source, token, self.labels, &self.env);
                self.labels.set(label, value);
            }
        }
        if self.missing == 0 {
            return None;
        }
        self.value(at, &active, depth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_paths() {
        #[track_caller]
        fn check(expression: &str, want: &str) {
            let text = |segment: &Segment| match segment {
                Segment::Field(field) => field.clone(),
                Segment::Index(index) => format!("#{index}"),
            };
            let got = match parse(expression) {
                Ok(segments) => segments.iter().map(text).collect::<Vec<_>>().join("/"),
                Err(error) => error.to_string().replace(&format!("cannot parse expression [{expression}]: "), ""),
            };
            assert_eq!(got, want, "{expression:?}");
        }
        check("a", "a");
        check(" a ", "a");
        check("a.b[2].c", "a/b/#2/c");
        check("a[\"any key\"]", "a/any key");
        check("[\"ключ\"]", "ключ");
        check("[0]", "#0");
        check("", "syntax error: unexpected $end, expecting LSB or FIELD");
        check(".a", "syntax error: unexpected DOT, expecting LSB or FIELD");
        check("a.", "syntax error: unexpected $end, expecting FIELD");
        check("x..y", "syntax error: unexpected DOT, expecting FIELD");
        check("a[-1]", "syntax error: unexpected $end, expecting STRING or INDEX");
        check("a[x]", "syntax error: unexpected FIELD, expecting STRING or INDEX");
        check("1a", "syntax error: unexpected $end, expecting LSB or FIELD");
        check("a-b", "unexpected char -");
    }
}
