//! `| status >= 500 and app="x"`: predicates on labels.

use std::fmt;

use regex::bytes::Regex;

use super::ip::{InvalidIpPattern, IpMatcher};
use super::simplified;
use crate::ast::{self, CompareOp, MatchOp};
use crate::pipeline::ErrorKind;
use crate::pipeline::names::{ERROR, ERROR_DETAILS, NameId, Names};
use crate::pipeline::state::{Env, LabelState};
use logstack_go::re2;
use logstack_go::units::{format_bytes, parse_bytes, parse_float, parse_go_duration};

/// Why a label filter cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Regex(#[from] re2::Error),
    #[error(transparent)]
    Ip(#[from] InvalidIpPattern),
}

pub(crate) enum LabelFilter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Text { name: NameId, matcher: TextMatcher },
    Number { name: NameId, op: CompareOp, value: f64 },
    Duration { name: NameId, op: CompareOp, value_ns: i64 },
    Bytes { name: NameId, op: CompareOp, value: u64 },
    Ip { name: NameId, is_negative: bool, matcher: IpMatcher },
}

/// `=`, `!=`, `=~`, `!~` on text; an absent label is `""`.
pub(crate) struct TextMatcher {
    test: TextTest,
    is_negative: bool,
}

enum TextTest {
    Equal(Box<str>),
    OneOf(Vec<Box<str>>),
    Simplified(Vec<simplified::Test>),
    Regex(Regex),
}

impl TextMatcher {
    /// Compiles the matcher of a label filter: as [`Self::anchored`], except where the reference server forgets the
    /// anchors.
    pub(crate) fn new(matcher: &ast::Matcher) -> Result<Self, re2::Error> {
        let mut compiled = Self::anchored(matcher)?;
        if matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex)
            && let Some(tests) = simplified::simplify(&re2::translate(&matcher.value)?)
        {
            compiled.test = TextTest::Simplified(tests);
        }
        Ok(compiled)
    }

    /// Compiles a matcher. Anchored at both ends; unlike in selectors, `.` does not match a newline.
    pub(crate) fn anchored(matcher: &ast::Matcher) -> Result<Self, re2::Error> {
        let test = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => TextTest::Equal(matcher.value.as_str().into()),
            MatchOp::Regex | MatchOp::NotRegex => match plain_values(&matcher.value) {
                Some(values) => TextTest::OneOf(values),
                None => TextTest::Regex(re2::compile_label_filter(&matcher.value)?),
            },
        };
        Ok(Self { test, is_negative: matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex) })
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        let found = match &self.test {
            TextTest::Equal(text) => **text == *value,
            TextTest::OneOf(texts) => texts.iter().any(|text| **text == *value),
            TextTest::Simplified(tests) => tests.iter().any(|test| test.matches(value)),
            TextTest::Regex(regex) => regex.is_match(value.as_bytes()),
        };
        found != self.is_negative
    }
}

/// `a|b|c` without any special character.
fn plain_values(pattern: &str) -> Option<Vec<Box<str>>> {
    let is_plain = !pattern.bytes().any(|b| b"\\.+*?()[]{}^$".contains(&b));
    is_plain.then(|| pattern.split('|').map(Into::into).collect())
}

impl LabelFilter {
    /// Compiles a predicate, numbering its labels.
    pub(crate) fn new(filter: &ast::LabelFilter, names: &mut Names) -> Result<Self, Error> {
        Ok(match filter {
            ast::LabelFilter::And(left, right) => {
                Self::And(Box::new(Self::new(left, names)?), Box::new(Self::new(right, names)?))
            }
            ast::LabelFilter::Or(left, right) => {
                Self::Or(Box::new(Self::new(left, names)?), Box::new(Self::new(right, names)?))
            }
            ast::LabelFilter::Text(matcher) => {
                Self::Text { name: names.intern(&matcher.name), matcher: TextMatcher::new(matcher)? }
            }
            ast::LabelFilter::Number { name, op, value } => {
                Self::Number { name: names.intern(name), op: *op, value: *value }
            }
            ast::LabelFilter::Duration { name, op, value_ns } => {
                Self::Duration { name: names.intern(name), op: *op, value_ns: *value_ns }
            }
            ast::LabelFilter::Bytes { name, op, value } => {
                // The reference server prints the query and parses it again on its way, and prints sizes with two
                // digits: `>= 1MiB` acts as `>= 1.0MB`. Recorded in golden `label_filters`.
                let value = parse_bytes(&format_bytes(*value)).unwrap_or(*value);
                Self::Bytes { name: names.intern(name), op: *op, value }
            }
            ast::LabelFilter::Ip { name, op, pattern } => Self::Ip {
                name: names.intern(name),
                is_negative: matches!(op, MatchOp::NotEqual | MatchOp::NotRegex),
                matcher: IpMatcher::parse(pattern)?,
            },
        })
    }

    /// The label of a filter that is a single comparison.
    pub(crate) fn single_label(&self) -> Option<NameId> {
        match self {
            Self::And(..) | Self::Or(..) => None,
            Self::Text { name, .. }
            | Self::Number { name, .. }
            | Self::Duration { name, .. }
            | Self::Bytes { name, .. }
            | Self::Ip { name, .. } => Some(*name),
        }
    }

    /// True when the line stays. A value that cannot be converted sets an error and keeps the line.
    pub(crate) fn run(&self, labels: &mut LabelState, env: &Env<'_>) -> bool {
        match self {
            Self::And(left, right) => left.run(labels, env) && right.run(labels, env),
            Self::Or(left, right) => left.run(labels, env) || right.run(labels, env),
            Self::Text { name, matcher } => matcher.matches(text_of(*name, labels, env)),
            Self::Number { name, op, value } => {
                compare(labels, env, *name, parse_float, |label| float_matches(*op, label, *value))
            }
            Self::Duration { name, op, value_ns } => {
                compare(labels, env, *name, parse_go_duration, |label| matches(*op, label.cmp(value_ns)))
            }
            Self::Bytes { name, op, value } => {
                compare(labels, env, *name, parse_bytes, |label| matches(*op, label.cmp(value)))
            }
            Self::Ip { name, is_negative, matcher } => {
                if labels.error().is_some() {
                    return true;
                }
                match labels.get(*name, env) {
                    Some(value) => matcher.matches(value.as_bytes()) != *is_negative,
                    None => false,
                }
            }
        }
    }
}

/// The text that a string filter sees: of an error its type, whatever label of that name the line brought; of its
/// details nothing.
pub(crate) fn text_of<'a>(name: NameId, labels: &'a LabelState, env: &Env<'a>) -> &'a str {
    match name {
        ERROR => labels.error().map_or("", ErrorKind::as_str),
        ERROR_DETAILS => "",
        name => labels.get(name, env).unwrap_or(""),
    }
}

/// Drops the line when the label is absent, also for `!=`.
fn compare<T, E: fmt::Display>(
    labels: &mut LabelState,
    env: &Env<'_>,
    name: NameId,
    parse: impl Fn(&str) -> Result<T, E>,
    test: impl Fn(T) -> bool,
) -> bool {
    let Some(value) = labels.get(name, env) else { return false };
    match parse(value) {
        Ok(value) => test(value),
        Err(error) => {
            if labels.error().is_none() {
                labels.set_error_details(ErrorKind::LabelFilter, format_args!("{error}"));
            }
            true
        }
    }
}

fn matches(op: CompareOp, ordering: std::cmp::Ordering) -> bool {
    match op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::GreaterOrEqual => ordering.is_ge(),
        CompareOp::Less => ordering.is_lt(),
        CompareOp::LessOrEqual => ordering.is_le(),
    }
}

/// NaN is neither less, equal nor greater, hence only `!=` holds.
pub(crate) fn float_matches(op: CompareOp, left: f64, right: f64) -> bool {
    left.partial_cmp(&right).map_or(op == CompareOp::NotEqual, |ordering| matches(op, ordering))
}

/// True when the name is one of the two error labels.
pub(crate) fn is_error_name(name: NameId) -> bool {
    name == ERROR || name == ERROR_DETAILS
}
