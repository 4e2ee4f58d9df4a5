//! Line filters: `|=`, `!=`, `|~`, `!~`, `|>`, `!>` with their `or` chains, compiled once and run over millions of
//! lines.
//!
//! - `mod.rs`: [`CompiledLineFilter`], what storage and the pipeline call
//! - `literals.rs`: what every matching line must contain, so that whole blocks can be skipped
//! - `pattern.rs`: the `|>` matcher
//! - `regex.rs`: the `|~` matcher

mod literals;
pub(crate) mod pattern;
mod regex;

use std::fmt;

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;

use self::pattern::PatternMatcher;
use self::regex::RegexMatcher;
use crate::ast::{LineFilter, LineFilterOp, LineMatch};
use crate::stage::ip::{InvalidIpPattern, IpMatcher};
pub use literals::{Literals, Needle};
use logstack_go::re2;

/// Why a line filter cannot be compiled. Displays the reason alone; the pipeline puts the stage in front.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ip("…")` with another operator than `|=` and `!=`.
    #[error("ip: invalid operation")]
    IpOperation,
    /// The argument of `ip`.
    #[error(transparent)]
    Ip(#[from] InvalidIpPattern),
    /// A `|>` pattern.
    #[error(transparent)]
    Pattern(#[from] pattern::Error),
    #[error(transparent)]
    Regex(#[from] re2::Error),
}

/// A line filter, ready to run.
pub struct CompiledLineFilter {
    source: LineFilter,
    matcher: Matcher,
    /// True for `!=`, `!~`, `!>`.
    is_negative: bool,
    /// What a line must contain for an item to be found in it.
    found_literals: Option<Literals>,
    /// An item is found exactly where `found_literals` hold.
    literals_decide: bool,
}

/// What is looked for.
pub(crate) enum Matcher {
    Always,
    Literal(Finder<'static>),
    AnyLiteral(AhoCorasick),
    Regex(RegexMatcher),
    Pattern(PatternMatcher),
    Ip(IpMatcher),
    Any(Vec<Matcher>),
}

impl Matcher {
    fn is_match(&self, line: &[u8]) -> bool {
        match self {
            Self::Always => true,
            Self::Literal(finder) => finder.find(line).is_some(),
            Self::AnyLiteral(automaton) => automaton.is_match(line),
            Self::Regex(regex) => regex.is_match(line),
            Self::Pattern(pattern) => pattern.is_match(line),
            Self::Ip(ip) => ip.matches(line),
            Self::Any(matchers) => matchers.iter().any(|matcher| matcher.is_match(line)),
        }
    }

    /// Any of `texts`; an empty text is in every line.
    pub(crate) fn any_of(texts: &[&[u8]]) -> Self {
        match texts {
            texts if texts.iter().any(|text| text.is_empty()) => Self::Always,
            [text] => Self::Literal(Finder::new(text).into_owned()),
            // Needles come from a query of at most 128 KiB, far below what the automaton cannot hold.
            texts => match AhoCorasick::new(texts) {
                Ok(automaton) => Self::AnyLiteral(automaton),
                Err(_) => Self::Any(texts.iter().map(|text| Self::any_of(&[text])).collect()),
            },
        }
    }
}

impl CompiledLineFilter {
    /// Compiles `filter`.
    ///
    /// # Errors
    /// [`Error`]: a bad regular expression, pattern or address.
    pub fn new(filter: &LineFilter) -> Result<Self, Error> {
        let mut texts: Vec<String> = Vec::new();
        let mut matchers = Vec::new();
        let mut literals = Some(Literals::default());
        let mut literals_decide = true;
        for item in effective_items(filter) {
            let (matcher, required) = match (filter.op, item) {
                (LineFilterOp::Contains | LineFilterOp::NotContains, LineMatch::Text(text)) => {
                    let required = (!text.is_empty()).then(|| Needle::exact(text.as_bytes()));
                    texts.push(text);
                    literals = Literals::or(literals, Literals::all_of(required.into_iter().collect()));
                    continue;
                }
                (LineFilterOp::Contains | LineFilterOp::NotContains, LineMatch::Ip(pattern)) => {
                    literals_decide = false;
                    (Matcher::Ip(IpMatcher::parse(&pattern)?), None)
                }
                (_, LineMatch::Ip(_)) => return Err(Error::IpOperation),
                (LineFilterOp::Regex | LineFilterOp::NotRegex, LineMatch::Text(text)) => {
                    let (matcher, required, decide) = regex::compile(&text)?;
                    literals_decide &= decide;
                    (matcher, required)
                }
                (LineFilterOp::Pattern | LineFilterOp::NotPattern, LineMatch::Text(text)) => {
                    let pattern = PatternMatcher::parse(&text)?;
                    let required = pattern.literals();
                    literals_decide = false;
                    (Matcher::Pattern(pattern), required)
                }
            };
            matchers.push(matcher);
            literals = Literals::or(literals, required);
        }
        if !texts.is_empty() {
            let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            matchers.insert(0, Matcher::any_of(&texts));
        }
        let matcher = match matchers.len() {
            1 => matchers.remove(0),
            _ => Matcher::Any(matchers),
        };
        let is_negative =
            matches!(filter.op, LineFilterOp::NotContains | LineFilterOp::NotRegex | LineFilterOp::NotPattern);
        let found_literals = literals.filter(|literals| !literals.alternatives.is_empty());
        literals_decide &= found_literals.is_some();
        Ok(Self { source: filter.clone(), matcher, is_negative, found_literals, literals_decide })
    }

    /// True when the line passes.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.matcher.is_match(line) != self.is_negative
    }

    /// What every line that passes contains; `None` when nothing can be said (`!=`, `|~ ".*"`).
    pub fn literals(&self) -> Option<&Literals> {
        self.found_literals.as_ref().filter(|_| !self.is_negative)
    }

    /// What a line contains when an item of the chain is found in it: it then passes a positive filter and fails a
    /// negative one. `None` when nothing can be said.
    pub fn found_literals(&self) -> Option<&Literals> {
        self.found_literals.as_ref()
    }

    /// True when an item is found in every line that fulfils [`Self::found_literals`]: nobody needs to look again.
    pub fn literals_decide(&self) -> bool {
        self.literals_decide
    }

    /// True for `!=`, `!~`, `!>`.
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// What the filter says of every line, when it does not depend on the line: `|= ""` passes all.
    pub fn constant(&self) -> Option<bool> {
        matches!(self.matcher, Matcher::Always).then_some(!self.is_negative)
    }

    /// The filter as written.
    pub fn source(&self) -> &LineFilter {
        &self.source
    }
}

impl fmt::Debug for CompiledLineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompiledLineFilter").field(&self.source).finish()
    }
}

/// The items of a chain as the reference server treats them: in a positive chain `ip("x")` at either end looks for
/// the *text* x, and one in the middle is lost. The contract would rather do the sane thing, but recorded answers
/// (golden `ip_filters`) show it, and they decide.
fn effective_items(filter: &LineFilter) -> Vec<LineMatch> {
    if filter.op != LineFilterOp::Contains || filter.items.len() == 1 {
        return filter.items.clone();
    }
    let last = filter.items.len() - 1;
    let items = filter.items.iter().enumerate().filter_map(|(idx, item)| match item {
        LineMatch::Ip(_) if idx > 0 && idx < last => None,
        LineMatch::Ip(text) | LineMatch::Text(text) => Some(LineMatch::Text(text.clone())),
    });
    items.collect()
}

#[cfg(test)]
mod tests;
