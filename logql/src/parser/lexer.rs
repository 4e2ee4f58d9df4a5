//! Query text to tokens.
//!
//! The base is Go's `text/scanner` (identifiers, numbers, strings, comments, and their error messages), on top of
//! which come `#` comments, two-character operators, durations, sizes and `[ranges]`. Contract: logql.md, 1 and 12.

use super::ParseError;
use super::number::scan_number;
use super::token::{Flag, Function, Kind, Token, Word};
use logstack_go::quote::unescape;
use logstack_go::units;

/// The operators and brackets of one and two characters. Longer ones first.
const SYMBOLS: [&str; 25] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "=", "{", "}", "(", ")", ",", ".", "|", "<", ">", "+",
    "-", "*", "/", "%",
];

/// Reads tokens one after the other.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // A leading byte order mark is no part of the query.
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0 }
    }

    /// True for a query of no characters at all.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next token; [`Kind::End`] at the end, again and again.
    pub(super) fn next_token(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_blanks()?;
        let start = self.at;
        let kind = self.kind()?;
        Ok(Token { kind, start })
    }

    /// Line and column of a token, as the error message shows them: characters count, from 1. The line is 0 for the
    /// tokens that Loki's lexer reads past the scanner.
    pub(super) fn position(&self, token: &Token<'_>) -> (usize, usize) {
        let (line, column) = self.position_of(token.start);
        let past_the_scanner = match &token.kind {
            Kind::Range(_) | Kind::Duration(_) | Kind::Bytes(_) | Kind::Flag(_) => true,
            Kind::Symbol(symbol) => symbol.len() == 2,
            _ => false,
        };
        (if past_the_scanner { 0 } else { line }, column)
    }

    fn position_of(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        let (line, column) = self.position_of(start);
        ParseError::Syntax { line, column, message: message.into() }
    }

    /// Blanks, `# …`, `// …` and `/* … */`.
    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
            let rest = self.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else { return Err(self.error(self.at, "comment not terminated")) };
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn kind(&mut self) -> Result<Kind<'a>, ParseError> {
        let rest = self.rest();
        let start = self.at;
        let Some(c) = rest.chars().next() else { return Ok(Kind::End) };
        match c {
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '[' => self.range(),
            '-' => Ok(self.flag().or_else(|| self.negative_duration()).unwrap_or_else(|| self.symbol("-"))),
            '\0' => Err(self.error(start, "invalid character NUL")),
            c if c.is_ascii_digit() => self.number(),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            c if c == '_' || c.is_alphabetic() => Ok(self.word()),
            '^' => Ok(self.symbol("^")),
            ']' => Ok(self.symbol("]")),
            c => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => Ok(self.symbol(symbol)),
                None => {
                    self.at += c.len_utf8();
                    Ok(Kind::Unknown(&rest[..c.len_utf8()]))
                }
            },
        }
    }

    fn symbol(&mut self, symbol: &'static str) -> Kind<'a> {
        self.at += symbol.len();
        Kind::Symbol(symbol)
    }

    /// The word that starts at `start`, as written.
    pub(super) fn word_at(&self, start: usize) -> &'a str {
        let rest = &self.text[start..];
        &rest[..rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len())]
    }

    fn word(&mut self) -> Kind<'a> {
        let text = self.word_at(self.at);
        self.at += text.len();
        let after = self.rest();
        if let Some(word) = Word::parse(text) {
            return Kind::Word(word);
        }
        match Function::parse(text) {
            Some(function) if is_call(after) => Kind::Function(function),
            _ => Kind::Identifier(text),
        }
    }

    /// `--strict`, `--keep-empty`; in lower case only.
    fn flag(&mut self) -> Option<Kind<'a>> {
        let name = self.rest().strip_prefix("--")?;
        let end = name.find(|c: char| c != '-' && c != '_' && !c.is_alphanumeric()).unwrap_or(name.len());
        let flag = match &name[..end] {
            "strict" => Flag::Strict,
            "keep-empty" => Flag::KeepEmpty,
            _ => return None,
        };
        self.at += end + 2;
        Some(Kind::Flag(flag))
    }

    /// `-5m`; not `- 5m`, and not `-0`, which Loki takes for a duration.
    fn negative_duration(&mut self) -> Option<Kind<'a>> {
        let (ns, len) = duration_prefix(&self.rest()[1..], 0)?;
        self.at += len + 1;
        Some(Kind::Duration(-ns))
    }

    fn number(&mut self) -> Result<Kind<'a>, ParseError> {
        let rest = self.rest();
        let len = scan_number(rest).map_err(|message| self.error(self.at, message))?;
        if let Some((ns, len)) = duration_prefix(rest, len) {
            self.at += len;
            return Ok(Kind::Duration(ns));
        }
        if let Some((bytes, len)) = bytes_prefix(rest, len) {
            self.at += len;
            return Ok(Kind::Bytes(bytes));
        }
        self.at += len;
        Ok(Kind::Number(&rest[..len]))
    }

    /// `[5m]`: what is between the brackets is a Prometheus duration, blanks included.
    fn range(&mut self) -> Result<Kind<'a>, ParseError> {
        let (_, column) = self.position_of(self.at);
        let fail = |message: String| ParseError::Syntax { line: 0, column, message };
        let Some((duration, _)) = self.rest()[1..].split_once(']') else {
            return Err(fail("missing closing ']' in duration".to_owned()));
        };
        let ns = units::parse_prometheus_duration(duration).map_err(|err| fail(err.to_string()))?;
        self.at += duration.len() + 2;
        Ok(Kind::Range(ns))
    }

    /// Loki reports a Go character literal as an identifier; with more than one character it is an error.
    fn character(&mut self) -> Result<Kind<'a>, ParseError> {
        let start = self.at;
        let (end, characters) = self.literal_end('\'')?;
        let text = &self.rest()[..end];
        self.at += end;
        if characters != 1 {
            return Err(self.error(start, "invalid char literal"));
        }
        Ok(Kind::Unknown(text))
    }

    fn quoted(&mut self) -> Result<Kind<'a>, ParseError> {
        let start = self.at;
        let (end, _) = self.literal_end('"')?;
        let inside = &self.rest()[1..end - 1];
        self.at += end;
        match unescape(inside) {
            Some(text) => Ok(Kind::String(text)),
            None => Err(self.error(start, "invalid syntax")),
        }
    }

    fn raw(&mut self) -> Result<Kind<'a>, ParseError> {
        let Some((inside, _)) = self.rest()[1..].split_once('`') else {
            return Err(self.error(self.at, "literal not terminated"));
        };
        self.at += inside.len() + 2;
        // As in Go source, carriage returns are not part of a raw string.
        Ok(Kind::String(if inside.contains('\r') { inside.replace('\r', "") } else { inside.to_owned() }))
    }

    /// The length of a quoted literal, quotes included, and how many characters it holds.
    fn literal_end(&self, quote: char) -> Result<(usize, usize), ParseError> {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        let mut count = 0;
        loop {
            match chars.next() {
                None | Some((_, '\n')) => return Err(self.error(self.at, "literal not terminated")),
                Some((at, c)) if c == quote => return Ok((at + c.len_utf8(), count)),
                Some((at, '\\')) => {
                    let len =
                        escape_len(&rest[at + 1..], quote).ok_or_else(|| self.error(self.at, "invalid char escape"))?;
                    for _ in 0..len {
                        chars.next();
                    }
                }
                Some((at, '\0')) => return Err(self.error(self.at + at, "invalid character NUL")),
                Some(_) => {}
            }
            count += 1;
        }
    }
}

/// True when a function name may stand in front of `rest`.
fn is_call(rest: &str) -> bool {
    let rest = rest.trim_start();
    if rest.starts_with('(') {
        return true;
    }
    ["by", "without"].iter().any(|word| {
        let head = rest.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word)) && rest[word.len()..].trim_start().starts_with('(')
    })
}

/// A duration at the start of `text`, whose first `number_len` bytes are a number: ns and length.
fn duration_prefix(text: &str, number_len: usize) -> Option<(i64, usize)> {
    let more = text[number_len..].find(|c: char| {
        !(c.is_ascii_digit() || matches!(c, '.' | 'n' | 'u' | 'µ' | 'μ' | 'm' | 's' | 'h' | 'd' | 'w' | 'y'))
    });
    let end = more.map_or(text.len(), |more| number_len + more);
    let duration = &text[..end];
    // Without a unit it is a number, though `0` alone would parse.
    if end == number_len || !duration.ends_with(|c: char| c.is_alphabetic()) {
        return None;
    }
    let ns = units::parse_prometheus_duration(duration).or_else(|_| units::parse_go_duration(duration)).ok()?;
    Some((ns, end))
}

/// A size at the start of `text`, whose first `number_len` bytes are a number: bytes and length.
fn bytes_prefix(text: &str, number_len: usize) -> Option<(u64, usize)> {
    let more = text[number_len..].find(|c: char| !matches!(c, 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T'));
    let end = more.map_or(text.len(), |more| number_len + more);
    Some((units::parse_bytes_literal(&text[..end])?, end))
}

/// How many characters follow the backslash in an escape sequence of a Go literal.
fn escape_len(text: &str, quote: char) -> Option<usize> {
    let digits = |skip: usize, count: usize, base: u32| {
        let digits: Vec<char> = text.chars().skip(skip).take(count).collect();
        (digits.len() == count && digits.iter().all(|c| c.is_digit(base))).then_some(skip + count)
    };
    match text.chars().next()? {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => Some(1),
        c if c == quote => Some(1),
        '0'..='7' => digits(0, 3, 8),
        'x' => digits(1, 2, 16),
        'u' => digits(1, 4, 16),
        'U' => digits(1, 8, 16),
        _ => None,
    }
}
