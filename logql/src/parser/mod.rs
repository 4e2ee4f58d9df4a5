//! Query text to syntax tree, with the error texts and positions of Loki.
//!
//! ```text
//! text -> lexer -> recursive descent: expr.rs (metrics), log.rs (selectors, stages, ranges), label_filter.rs
//!      -> check.rs: what is wrong although the syntax is right
//! ```
//!
//! Loki's parser is generated: behind `unexpected X` it lists the tokens that its state could shift, if there are at
//! most four. The lists here are those that the recorded answers show; `&[]` stands for a longer one. Contract:
//! logql.md, 1-3, 5, 7-10 and 12.

mod check;
mod expr;
mod label_filter;
mod lexer;
mod log;
mod number;
mod token;

use crate::ast::{Expr, LogExpr, Matcher};
use lexer::Lexer;
use token::{Kind, Token};

/// Queries of this size and more are refused.
pub(crate) const QUERY_BYTES_MAX: usize = 131_072;
/// How deep parentheses and functions may nest: each level costs stack, here and in what walks the tree.
const NESTING_MAX: usize = 200;
/// How many operators a query may have: a chain of them is as deep a tree as nested parentheses.
const OPERATORS_MAX: usize = 2_000;

/// Why a text is no query. Displays the text of Loki's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A token that cannot be there, or is none.
    #[error("parse error at line {line}, col {column}: {message}")]
    Syntax {
        /// From 1; 0 where Loki does not know it.
        line: usize,
        /// From 1, in characters.
        column: usize,
        message: String,
    },
    /// The syntax is right, the meaning is not.
    #[error("parse error : {0}")]
    Meaning(String),
    /// A pipeline or a metric where only `{…}` may be.
    #[error("only label matchers are supported")]
    NotASelector,
    /// A metric where only a log query may be.
    #[error("only log selector is supported")]
    NotALogQuery,
}

impl ParseError {
    /// The answer to a selector that would read every stream: `{}`, `{a=~".*"}`.
    pub fn not_selective() -> Self {
        Self::Meaning(check::NOT_SELECTIVE.to_owned())
    }
}

/// Parses a query.
///
/// Checked too: that selectors are selective, groupings, parameters and unwraps are allowed, and that the regular
/// expressions of selectors, label filters, `drop`, `keep` and `label_replace` and the arguments of `regexp` and
/// `pattern` are right. Line filters, templates and paths are checked when the pipeline is built.
///
/// # Errors
/// The first mistake; syntax comes before meaning.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let expr = parse_unchecked(text)?;
    check::selectivity(&expr)?;
    Ok(expr)
}

/// Parses a log query: endpoints that answer for lines and take a pipeline.
///
/// # Errors
/// As [`parse`]; [`ParseError::NotALogQuery`] for a metric.
pub fn parse_log_selector(text: &str) -> Result<LogExpr, ParseError> {
    match parse(text)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) | Expr::Variants(_) => Err(ParseError::NotALogQuery),
    }
}

/// Parses a log query that may select every stream, as `{app!="web"}`, and whose labels may be called like LogQL's
/// words, as `{json="true"}`: the collector's match stage, where a selector only sorts lines. Its grammar in Promtail is
/// older than those words.
///
/// # Errors
/// As [`parse`]; [`ParseError::NotALogQuery`] for a metric.
pub fn parse_any_log_selector(text: &str) -> Result<LogExpr, ParseError> {
    match parse_with(text, true)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) | Expr::Variants(_) => Err(ParseError::NotALogQuery),
    }
}

/// Parses a selector without pipeline: endpoints that answer for labels and streams.
///
/// `{}` gives no matchers. Where an endpoint refuses it, [`ParseError::not_selective`] is the answer.
///
/// # Errors
/// As [`parse`]; [`ParseError::NotASelector`] for a pipeline or a metric.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let expr = parse_unchecked(text)?;
    match expr {
        Expr::Log(log) if log.stages.is_empty() => {
            if !log.selector.is_empty() {
                check::selector_selectivity(&log.selector)?;
            }
            Ok(log.selector)
        }
        _ => Err(ParseError::NotASelector),
    }
}

fn parse_unchecked(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, false)
}

fn parse_with(text: &str, words_name_labels: bool) -> Result<Expr, ParseError> {
    if text.len() >= QUERY_BYTES_MAX {
        return Err(ParseError::Meaning(format!("input size too long ({} > {QUERY_BYTES_MAX})", text.len())));
    }
    let mut parser =
        Parser { lexer: Lexer::new(text), peeked: None, nesting: 0, operators: 0, fault: None, words_name_labels };
    let expr = parser.query()?;
    match parser.fault {
        Some(fault) => Err(fault),
        None => Ok(expr),
    }
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

struct Parser<'a> {
    lexer: Lexer<'a>,
    peeked: Option<Token<'a>>,
    nesting: usize,
    operators: usize,
    /// The first mistake in meaning. It is reported when the syntax turns out to be right.
    fault: Option<ParseError>,
    /// In selectors, reserved words are label names too.
    words_name_labels: bool,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Result<&Kind<'a>> {
        if self.peeked.is_none() {
            self.peeked = Some(self.lexer.next_token()?);
        }
        match &self.peeked {
            Some(token) => Ok(&token.kind),
            None => Ok(&Kind::End),
        }
    }

    fn next(&mut self) -> Result<Token<'a>> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.lexer.next_token(),
        }
    }

    /// Takes the next token if it is `kind`.
    fn take(&mut self, kind: &Kind<'static>) -> Result<bool> {
        let found = self.peek()? == kind;
        if found {
            self.peeked = None;
        }
        Ok(found)
    }

    fn take_symbol(&mut self, symbol: &'static str) -> Result<bool> {
        self.take(&Kind::Symbol(symbol))
    }

    fn expect_symbol(&mut self, symbol: &'static str, expected: &[&str]) -> Result<()> {
        if self.take_symbol(symbol)? { Ok(()) } else { self.unexpected(expected) }
    }

    fn identifier(&mut self, expected: &[&str]) -> Result<String> {
        let (Kind::Identifier(name) | Kind::Unknown(name)) = *self.peek()? else { return self.unexpected(expected) };
        let token = self.next()?;
        if let Kind::Unknown(_) = token.kind {
            // Loki takes it for a label name. It cannot be one, but what is wrong behind it is reported first.
            let error = self.unexpected_error(&token, &[]);
            self.fault.get_or_insert(error);
        }
        Ok(name.to_owned())
    }

    fn string(&mut self, expected: &[&str]) -> Result<String> {
        if !matches!(self.peek()?, Kind::String(_)) {
            return self.unexpected(expected);
        }
        match self.next()?.kind {
            Kind::String(text) => Ok(text),
            _ => Ok(String::new()),
        }
    }

    /// Reports the next token. An empty list stands for more than four possibilities.
    fn unexpected<T>(&mut self, expected: &[&str]) -> Result<T> {
        let token = self.next()?;
        Err(self.unexpected_error(&token, expected))
    }

    fn unexpected_error(&self, token: &Token<'_>, expected: &[&str]) -> ParseError {
        let mut message = format!("syntax error: unexpected {}", token.kind);
        for (idx, name) in expected.iter().enumerate() {
            message.push_str(if idx == 0 { ", expecting " } else { " or " });
            message.push_str(name);
        }
        if self.lexer.is_empty() {
            return ParseError::Meaning(message);
        }
        let (line, column) = self.lexer.position(token);
        ParseError::Syntax { line, column, message }
    }

    /// Remembers a mistake in meaning, unless one is known already.
    fn fault(&mut self, message: impl Into<String>) {
        self.fault.get_or_insert_with(|| ParseError::Meaning(message.into()));
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting == NESTING_MAX {
            return Err(ParseError::Meaning(format!("query nests deeper than {NESTING_MAX} levels")));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    fn operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return Err(ParseError::Meaning(format!("query has more than {OPERATORS_MAX} operators")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
