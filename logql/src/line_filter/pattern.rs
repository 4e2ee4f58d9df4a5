//! `|> "<_> ERROR <_>"`: literals with placeholders between them, without backtracking.

use memchr::memmem::Finder;

use super::{Literals, Needle};

/// Why a pattern filter cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A filter has nowhere to put a name.
    #[error("named captures are not allowed: found '<{0}>'")]
    NamedCapture(String),
    /// Nothing would say where the first ends.
    #[error("found consecutive capture '{0}': invalid expression")]
    ConsecutiveCaptures(String),
}

/// A part of a pattern: text, or a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Literal(&'a str),
    /// The name between `<` and `>`; `_` stands for none.
    Capture(&'a str),
}

/// Splits a pattern. `<…>` that is no identifier is text.
pub(crate) fn split(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut literal_from = 0;
    let mut at = 0;
    while let Some(found) = pattern[at..].find('<') {
        let start = at + found;
        let name_len = pattern[start + 1..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let name = &pattern[start + 1..start + 1 + name_len];
        let is_identifier = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if !is_identifier || pattern.as_bytes().get(start + 1 + name_len) != Some(&b'>') {
            at = start + 1;
            continue;
        }
        if literal_from < start {
            parts.push(Part::Literal(&pattern[literal_from..start]));
        }
        parts.push(Part::Capture(name));
        at = start + name_len + 2;
        literal_from = at;
    }
    if literal_from < pattern.len() {
        parts.push(Part::Literal(&pattern[literal_from..]));
    }
    parts
}

/// Two captures side by side, as the error message shows them.
pub(crate) fn consecutive_captures(parts: &[Part<'_>]) -> Option<String> {
    parts.windows(2).find_map(|pair| match pair {
        [Part::Capture(first), Part::Capture(second)] => Some(format!("<{first}><{second}>")),
        _ => None,
    })
}

/// See the module's head.
pub(crate) struct PatternMatcher {
    literals: Vec<Finder<'static>>,
    starts_with_literal: bool,
    ends_with_placeholder: bool,
}

impl PatternMatcher {
    pub(crate) fn parse(pattern: &str) -> Result<Self, Error> {
        let parts = split(pattern);
        if let Some(name) = parts.iter().find_map(|part| match part {
            Part::Capture(name) if *name != "_" => Some(*name),
            _ => None,
        }) {
            return Err(Error::NamedCapture(name.to_owned()));
        }
        if let Some(captures) = consecutive_captures(&parts) {
            return Err(Error::ConsecutiveCaptures(captures));
        }
        let literals = parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(Finder::new(text).into_owned()),
            Part::Capture(_) => None,
        });
        Ok(Self {
            literals: literals.collect(),
            starts_with_literal: matches!(parts.first(), Some(Part::Literal(_))),
            ends_with_placeholder: matches!(parts.last(), Some(Part::Capture(_))),
        })
    }

    /// A leading literal is searched, not anchored; every other literal is taken where it occurs first, which must
    /// be behind at least one byte.
    pub(crate) fn is_match(&self, line: &[u8]) -> bool {
        let mut rest = line;
        for (idx, literal) in self.literals.iter().enumerate() {
            let Some(at) = literal.find(rest) else { return false };
            let may_be_at_once = idx == 0 && self.starts_with_literal;
            if at == 0 && !may_be_at_once {
                return false;
            }
            rest = &rest[at + literal.needle().len()..];
        }
        rest.is_empty() != self.ends_with_placeholder
    }

    pub(crate) fn literals(&self) -> Option<Literals> {
        Literals::all_of(self.literals.iter().map(|literal| Needle::exact(literal.needle())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_without_backtracking() {
        #[track_caller]
        fn check(pattern: &str, line: &str, want: bool) {
            let matcher = PatternMatcher::parse(pattern).expect(pattern);
            assert_eq!(matcher.is_match(line.as_bytes()), want, "{pattern:?} on {line:?}");
        }
        check("foo <_>", "xx foo bar", true);
        check("<_> bar", "a bar", true);
        check("<_> bar", "a bar bar", false);
        check("<_>level<_>", "level=info", false);
        check("<_>level<_>", " level=info", true);
        check("<_>level<_>", " level", false);
        check("<_>\t<_>\tcolumns", "\ttab\tseparated\tcolumns", false);
        check("", "", true);
        check("", "x", false);
        check("<_>", "x", true);
        check("<_>", "", false);
        check("foo", "foo", true);
        check("foo", "xfoo", true);
        check("foo", "foox", false);
        check("<html<_>", "<html>", true);
        check("a <b c> <_>", "a <b c> d", true);
    }

    #[test]
    fn refuses_names_and_neighbours() {
        #[track_caller]
        fn check(pattern: &str, want: &str) {
            assert_eq!(PatternMatcher::parse(pattern).err().map(|error| error.to_string()).as_deref(), Some(want));
        }
        check("<_> <foo> <_>", "named captures are not allowed: found '<foo>'");
        check("<_><_>", "found consecutive capture '<_><_>': invalid expression");
    }
}
