//! Template text to tokens.
//!
//! Blanks are tokens: they separate the arguments of a command, and `.a .b` is not `.a.b`. The trim markers are gone
//! already: the text tokens beside them are trimmed.
//!
//! Source: Go, package text/template/parse; the messages are its own.

use std::fmt;

use crate::quote::Quoted;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    /// Byte offset in the template.
    pub pos: usize,
    /// As written; the message of an error.
    pub text: String,
    /// Line of its first character, from 1; 0 for no token at all.
    pub line: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// The text is the message; nothing follows.
    Error,
    /// `true`, `false`
    Bool,
    /// A printable ASCII character of no other meaning, above all the comma.
    Char,
    /// `'a'`
    CharConstant,
    /// `1+2i`
    Complex,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    Eof,
    /// `.name`
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    /// `$` or `$name`
    Variable,
    /// `.`
    Dot,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl TokenKind {
    fn of_word(word: &str) -> Self {
        match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "nil" => Self::Nil,
            "range" => Self::Range,
            "template" => Self::Template,
            "with" => Self::With,
            "true" | "false" => Self::Bool,
            _ => Self::Identifier,
        }
    }

    fn is_keyword(self) -> bool {
        use TokenKind as K;
        matches!(
            self,
            K::Block | K::Break | K::Continue | K::Dot | K::Define | K::Else | K::End | K::If | K::Nil | K::Range
        ) || matches!(self, K::Template | K::With)
    }
}

/// As error messages show a token.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TokenKind::Eof => f.write_str("EOF"),
            TokenKind::Error => f.write_str(&self.text),
            kind if kind.is_keyword() => write!(f, "<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                write!(f, "{}...", Quoted(&start))
            }
            _ => write!(f, "{}", Quoted(&self.text)),
        }
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Gives the tokens of a template one by one; after an error only `Eof`.
pub(super) struct Lexer<'t> {
    input: &'t str,
    /// Where the token under way starts, and where we are.
    start: usize,
    pos: usize,
    /// Line at `start`.
    start_line: usize,
    in_action: bool,
    paren_depth: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(input: &'t str) -> Self {
        Self { input, start: 0, pos: 0, start_line: 1, in_action: false, paren_depth: 0 }
    }

    pub(super) fn next_token(&mut self) -> Token {
        if self.in_action { self.lex_action() } else { self.lex_text() }
    }

    fn rest(&self) -> &'t str {
        &self.input[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    /// Forgets what was read since the last token.
    fn ignore(&mut self) {
        self.start_line += newlines(&self.input[self.start..self.pos]);
        self.start = self.pos;
    }

    fn emit(&mut self, kind: TokenKind) -> Token {
        let text = self.input[self.start..self.pos].to_owned();
        let token = Token { kind, pos: self.start, text, line: self.start_line };
        self.ignore();
        token
    }

    fn error(&mut self, message: String) -> Token {
        let token = Token { kind: TokenKind::Error, pos: self.start, text: message, line: self.start_line };
        (self.input, self.start, self.pos, self.in_action) = ("", 0, 0, false);
        token
    }

    /// Text up to the next action, without what a trim marker takes from it.
    fn lex_text(&mut self) -> Token {
        loop {
            let Some(len) = self.rest().find(LEFT) else {
                self.pos = self.input.len();
                return self.emit(if self.start < self.pos { TokenKind::Text } else { TokenKind::Eof });
            };
            let text = &self.rest()[..len];
            let after = &self.rest()[len + LEFT.len()..];
            let kept = if has_left_trim_marker(after) { text.trim_end_matches(SPACES) } else { text };
            let text_end = self.pos + len;
            self.pos += kept.len();
            let token = (!kept.is_empty()).then(|| self.emit(TokenKind::Text));
            self.pos = text_end;
            self.ignore();
            if let Some(token) = token {
                return token;
            }
            if let Some(token) = self.lex_left_delim() {
                return token;
            }
        }
    }

    /// `None`: it opened a comment, which is skipped.
    fn lex_left_delim(&mut self) -> Option<Token> {
        self.pos += LEFT.len();
        let marker = if has_left_trim_marker(self.rest()) { 2 } else { 0 };
        if self.rest()[marker..].starts_with("/*") {
            self.pos += marker;
            self.ignore();
            return self.lex_comment();
        }
        let token = self.emit(TokenKind::LeftDelim);
        self.in_action = true;
        self.pos += marker;
        self.ignore();
        self.paren_depth = 0;
        Some(token)
    }

    fn lex_comment(&mut self) -> Option<Token> {
        let Some(len) = self.rest()[2..].find("*/") else {
            return Some(self.error("unclosed comment".to_owned()));
        };
        self.pos += 2 + len + 2;
        let Some(trims) = self.at_right_delim() else {
            return Some(self.error("comment ends before closing delimiter".to_owned()));
        };
        self.skip_right_delim(trims);
        self.ignore();
        None
    }

    /// Whether a closing delimiter comes next, and whether it has a trim marker.
    fn at_right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if has_right_trim_marker(rest) && rest[2..].starts_with(RIGHT) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn skip_right_delim(&mut self, trims: bool) {
        if trims {
            self.pos += 2 + RIGHT.len();
            self.pos = self.input.len() - self.rest().trim_start_matches(SPACES).len();
        } else {
            self.pos += RIGHT.len();
        }
    }

    fn lex_right_delim(&mut self, trims: bool) -> Token {
        if trims {
            self.pos += 2;
            self.ignore();
        }
        self.pos += RIGHT.len();
        let token = self.emit(TokenKind::RightDelim);
        if trims {
            self.pos = self.input.len() - self.rest().trim_start_matches(SPACES).len();
            self.ignore();
        }
        self.in_action = false;
        token
    }

    fn lex_action(&mut self) -> Token {
        if let Some(trims) = self.at_right_delim() {
            if self.paren_depth == 0 {
                return self.lex_right_delim(trims);
            }
            return self.error("unclosed left paren".to_owned());
        }
        let Some(c) = self.bump() else { return self.error("unclosed action".to_owned()) };
        match c {
            c if is_space(c) => self.lex_space(),
            '=' => self.emit(TokenKind::Assign),
            ':' => match self.bump() {
                Some('=') => self.emit(TokenKind::Declare),
                _ => self.error("expected :=".to_owned()),
            },
            '|' => self.emit(TokenKind::Pipe),
            '"' => self.lex_quoted('"', TokenKind::String, "unterminated quoted string"),
            '\'' => self.lex_quoted('\'', TokenKind::CharConstant, "unterminated character constant"),
            '`' => match self.rest().find('`') {
                Some(len) => {
                    self.pos += len + 1;
                    self.emit(TokenKind::RawString)
                }
                None => self.error("unterminated raw quoted string".to_owned()),
            },
            '$' => self.lex_name(TokenKind::Variable),
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) && self.pos < self.input.len() => {
                self.lex_name(TokenKind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos -= 1;
                self.lex_number()
            }
            c if is_alphanumeric(c) => {
                while self.peek().is_some_and(is_alphanumeric) {
                    self.bump();
                }
                if !self.at_terminator() {
                    return self.bad_character();
                }
                self.emit(TokenKind::of_word(&self.input[self.start..self.pos]))
            }
            '(' => {
                self.paren_depth += 1;
                self.emit(TokenKind::LeftParen)
            }
            ')' => {
                if self.paren_depth == 0 {
                    return self.error("unexpected right paren".to_owned());
                }
                self.paren_depth -= 1;
                self.emit(TokenKind::RightParen)
            }
            ' '..='~' => self.emit(TokenKind::Char),
            c => self.error(format!("unrecognized character in action: {}", ShownChar(c))),
        }
    }

    /// A run of blanks; the last of them may belong to a closing ` -}}`.
    fn lex_space(&mut self) -> Token {
        while self.peek().is_some_and(is_space) {
            self.pos += 1;
        }
        if has_right_trim_marker(&self.input[self.pos - 1..]) && self.input[self.pos + 1..].starts_with(RIGHT) {
            self.pos -= 1;
            if self.pos == self.start {
                return self.lex_right_delim(true);
            }
        }
        self.emit(TokenKind::Space)
    }

    /// `.name`, `$name`, or the bare `.` or `$`, which is read already.
    fn lex_name(&mut self, kind: TokenKind) -> Token {
        if self.at_terminator() {
            return self.emit(if kind == TokenKind::Field { TokenKind::Dot } else { kind });
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.bump();
        }
        if !self.at_terminator() {
            return self.bad_character();
        }
        self.emit(kind)
    }

    fn bad_character(&mut self) -> Token {
        // A terminator includes the end, so there is a character.
        let c = self.peek().unwrap_or('\u{fffd}');
        self.error(format!("bad character {}", ShownChar(c)))
    }

    /// True where a name may end: `$x+2` is refused rather than taken for two words.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with(RIGHT),
        }
    }

    fn lex_quoted(&mut self, quote: char, kind: TokenKind, unterminated: &str) -> Token {
        loop {
            match self.bump() {
                Some('\\') if matches!(self.bump(), Some(c) if c != '\n') => {}
                Some(c) if c == quote => return self.emit(kind),
                Some(c) if c != '\n' && c != '\\' => {}
                _ => return self.error(unterminated.to_owned()),
            }
        }
    }

    /// Roughly a number; the parser looks closer.
    fn lex_number(&mut self) -> Token {
        let mut is_number = self.scan_number();
        let mut kind = TokenKind::Number;
        if is_number && matches!(self.peek(), Some('+' | '-')) {
            kind = TokenKind::Complex;
            is_number = self.scan_number() && self.input[..self.pos].ends_with('i');
        }
        if is_number {
            return self.emit(kind);
        }
        let message = format!("bad number syntax: {}", Quoted(&self.input[self.start..self.pos]));
        self.error(message)
    }

    fn scan_number(&mut self) -> bool {
        self.accept(|c| matches!(c, '+' | '-'));
        let mut base = 10;
        if self.accept(|c| c == '0') {
            if self.accept(|c| matches!(c, 'x' | 'X')) {
                base = 16;
            } else if self.accept(|c| matches!(c, 'o' | 'O')) {
                base = 8;
            } else if self.accept(|c| matches!(c, 'b' | 'B')) {
                base = 2;
            }
        }
        let is_digit = |c: char| c == '_' || c.is_digit(base);
        let is_decimal = |c: char| c == '_' || c.is_ascii_digit();
        while self.accept(is_digit) {}
        if self.accept(|c| c == '.') {
            while self.accept(is_digit) {}
        }
        let has_exponent = match base {
            10 => self.accept(|c| matches!(c, 'e' | 'E')),
            16 => self.accept(|c| matches!(c, 'p' | 'P')),
            _ => false,
        };
        if has_exponent {
            self.accept(|c| matches!(c, '+' | '-'));
            while self.accept(is_decimal) {}
        }
        self.accept(|c| c == 'i');
        if self.peek().is_some_and(is_alphanumeric) {
            self.bump();
            return false;
        }
        true
    }

    fn accept(&mut self, is_wanted: impl Fn(char) -> bool) -> bool {
        let wanted = self.peek().is_some_and(is_wanted);
        if wanted {
            self.bump();
        }
        wanted
    }
}

/// A character in a message: `U+002D '-'`.
struct ShownChar(char);

impl fmt::Display for ShownChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", self.0 as u32)?;
        // What needs an escape inside quotes is not printable.
        let mut buffer = [0; 4];
        let quoted = Quoted(self.0.encode_utf8(&mut buffer)).to_string();
        if !quoted.starts_with("\"\\") || matches!(self.0, '"' | '\\') {
            write!(f, " '{}'", self.0)?;
        }
        Ok(())
    }
}

fn newlines(text: &str) -> usize {
    memchr::memchr_iter(b'\n', text.as_bytes()).count()
}

fn is_space(c: char) -> bool {
    SPACES.contains(&c)
}

/// `_`, letters and decimal digits of any script.
pub(super) fn is_alphanumeric(c: char) -> bool {
    // Rust counts letter numbers and fractions among the numeric characters, Go's IsDigit does not; telling them apart
    // is not worth a table.
    c == '_' || c.is_alphanumeric()
}

fn has_left_trim_marker(text: &str) -> bool {
    matches!(text.as_bytes(), [b'-', space, ..] if is_space(char::from(*space)))
}

fn has_right_trim_marker(text: &str) -> bool {
    matches!(text.as_bytes(), [space, b'-', ..] if is_space(char::from(*space)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens as `kind:text`, blanks as `_`.
    fn tokens(input: &str) -> String {
        let mut lexer = Lexer::new(input);
        let mut out = Vec::new();
        loop {
            let token = lexer.next_token();
            match token.kind {
                TokenKind::Eof => return out.join(" "),
                TokenKind::Space => out.push("_".to_owned()),
                kind => out.push(format!("{kind:?}:{}", token.text)),
            }
        }
    }

    #[test]
    fn splits_templates() {
        #[track_caller]
        fn check(input: &str, want: &str) {
            assert_eq!(tokens(input), want, "{input:?}");
        }
        check("", "");
        check("a{{.b.c}}d", "Text:a LeftDelim:{{ Field:.b Field:.c RightDelim:}} Text:d");
        check("a \n{{- $x -}} \t b", "Text:a LeftDelim:{{ Variable:$x RightDelim:}} Text:b");
        check("{{.a  -}} x", "LeftDelim:{{ Field:.a _ RightDelim:}} Text:x");
        check("{{-3}}", "LeftDelim:{{ Number:-3 RightDelim:}}");
        check("a {{- /* c */ -}} b{{/**/}}", "Text:a Text:b");
        check(
            "{{f . $ `r` \"q\\\"\" 'a'}}",
            "LeftDelim:{{ Identifier:f _ Dot:. _ Variable:$ _ RawString:`r` _ String:\"q\\\"\" _ CharConstant:'a' RightDelim:}}",
        );
        check(
            "{{.5 1e3 0x1p-2 1+2i 0b1}}",
            "LeftDelim:{{ Number:.5 _ Number:1e3 _ Number:0x1p-2 _ Complex:1+2i _ Number:0b1 RightDelim:}}",
        );
        check(
            "{{(a).b,:=}}",
            "LeftDelim:{{ LeftParen:( Identifier:a RightParen:) Field:.b Char:, Declare::= RightDelim:}}",
        );
        check("{{", "LeftDelim:{{ Error:unclosed action");
        check("{{(a}}", "LeftDelim:{{ LeftParen:( Identifier:a Error:unclosed left paren");
        check("{{.a-b}}", "LeftDelim:{{ Error:bad character U+002D '-'");
        check("{{a\u{1}}}", "LeftDelim:{{ Error:bad character U+0001");
        check("{{é“}}", "LeftDelim:{{ Error:bad character U+201C '“'");
        check("{{“}}", "LeftDelim:{{ Error:unrecognized character in action: U+201C '“'");
        check("{{\"a\n\"}}", "LeftDelim:{{ Error:unterminated quoted string");
        check("{{\"a\\", "LeftDelim:{{ Error:unterminated quoted string");
        check("{{'a}}", "LeftDelim:{{ Error:unterminated character constant");
        check("{{`a}}", "LeftDelim:{{ Error:unterminated raw quoted string");
        check("{{3k}}", "LeftDelim:{{ Error:bad number syntax: \"3k\"");
        check("{{1+2}}", "LeftDelim:{{ Error:bad number syntax: \"1+2\"");
        check("{{a:b}}", "LeftDelim:{{ Identifier:a Error:expected :=");
        check("{{)}}", "LeftDelim:{{ Error:unexpected right paren");
        check("{{/*", "Error:unclosed comment");
        check("{{/* */ }}", "Error:comment ends before closing delimiter");
    }

    #[test]
    fn counts_lines() {
        let mut lexer = Lexer::new("a\n{{- \n.b\n}}{{/*\n*/}}c");
        let mut lines = Vec::new();
        while let Token { kind, line, .. } = lexer.next_token()
            && kind != TokenKind::Eof
        {
            lines.push(line);
        }
        assert_eq!(lines, [1, 2, 2, 3, 3, 4, 5]);
    }
}
