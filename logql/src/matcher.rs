//! Label matchers, ready to run: `name="value"`, `name=~"regex"` and their opposites, on stream labels.

use std::fmt;

use regex::bytes::Regex;
use regex_syntax::hir::literal::Extractor;

use crate::ast::{MatchOp, Matcher};
use logstack_go::re2;

/// A matcher whose regular expression is compiled.
///
/// A missing label is the empty string. Regular expressions are anchored and their `.` matches a newline.
#[derive(Debug, Clone)]
pub struct CompiledMatcher {
    source: Matcher,
    test: Test,
    /// `!=`, `!~`
    negated: bool,
    accepts_empty: bool,
}

#[derive(Debug, Clone)]
enum Test {
    /// One of these values, sorted.
    OneOf(Vec<String>),
    Regex(Regex),
}

impl CompiledMatcher {
    /// Compiles `matcher`.
    ///
    /// # Errors
    /// What is wrong with its regular expression.
    pub fn new(matcher: &Matcher) -> Result<Self, re2::Error> {
        let test = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => Test::OneOf(vec![matcher.value.clone()]),
            MatchOp::Regex | MatchOp::NotRegex => match finite_values(&matcher.value)? {
                Some(values) => Test::OneOf(values),
                None => Test::Regex(re2::compile_anchored(&matcher.value)?),
            },
        };
        let negated = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex);
        let mut compiled = Self { source: matcher.clone(), test, negated, accepts_empty: false };
        compiled.accepts_empty = compiled.matches("");
        Ok(compiled)
    }

    /// True when `value` is accepted; an absent label is `""`.
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::OneOf(values) => values.binary_search_by(|known| known.as_str().cmp(value)).is_ok(),
            Test::Regex(regex) => regex.is_match(value.as_bytes()),
        };
        found != self.negated
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The matcher as written.
    pub fn source(&self) -> &Matcher {
        &self.source
    }

    /// True when streams without the label are accepted.
    pub fn accepts_empty(&self) -> bool {
        self.accepts_empty
    }

    /// All the values that are accepted, sorted, if they can be listed: of `=`, and of `=~` with plain alternatives
    /// (`"api|web"`). An index looks them up instead of trying each of its values.
    pub fn accepted_values(&self) -> Option<&[String]> {
        match &self.test {
            Test::OneOf(values) if !self.negated => Some(values),
            _ => None,
        }
    }

    /// All the values that are refused, sorted, if they can be listed: of `!=`, and of `!~` with plain alternatives.
    pub fn refused_values(&self) -> Option<&[String]> {
        match &self.test {
            Test::OneOf(values) if self.negated => Some(values),
            _ => None,
        }
    }
}

/// As in a query: `name=~"value"`.
impl fmt::Display for CompiledMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Matcher { name, op, value } = &self.source;
        write!(f, "{name}{}{}", op.symbol(), logstack_go::quote::Quoted(value))
    }
}

/// The values that an anchored `pattern` accepts, sorted and unique, if they are few and fixed.
fn finite_values(pattern: &str) -> Result<Option<Vec<String>>, re2::Error> {
    let flags = re2::Flags { dot_newline: true, ..re2::Flags::default() };
    let translated = re2::translate_with(pattern, flags)?;
    let Ok(hir) = regex_syntax::Parser::new().parse(&format!("(?s:{})", translated.text)) else { return Ok(None) };
    // The extractor takes assertions such as `\b` as empty, so what it lists would be too much.
    if !hir.properties().look_set().is_empty() || hir.properties().maximum_len().is_none() {
        return Ok(None);
    }
    let sequence = Extractor::new().extract(&hir);
    if !sequence.is_exact() {
        return Ok(None);
    }
    let Some(literals) = sequence.literals() else { return Ok(None) };
    let mut values = Vec::with_capacity(literals.len());
    for literal in literals {
        let Ok(value) = std::str::from_utf8(literal.as_bytes()) else { return Ok(None) };
        values.push(value.to_owned());
    }
    values.sort_unstable();
    values.dedup();
    Ok(Some(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(op: MatchOp, value: &str) -> CompiledMatcher {
        CompiledMatcher::new(&Matcher { name: "app".to_owned(), op, value: value.to_owned() }).unwrap()
    }

    #[test]
    fn matches_values_and_absence() {
        #[track_caller]
        fn check(op: MatchOp, pattern: &str, hits: &[&str], misses: &[&str]) {
            let matcher = compile(op, pattern);
            for value in hits {
                assert!(matcher.matches(value), "{matcher} {value:?}");
            }
            for value in misses {
                assert!(!matcher.matches(value), "{matcher} {value:?}");
            }
            assert_eq!(matcher.accepts_empty(), matcher.matches(""));
        }
        check(MatchOp::Equal, "api", &["api"], &["", "apis"]);
        check(MatchOp::Equal, "", &[""], &["api"]);
        check(MatchOp::NotEqual, "api", &["", "web"], &["api"]);
        check(MatchOp::NotEqual, "", &["web"], &[""]);
        check(MatchOp::Regex, "a.i|w.+", &["api", "a\ni", "web"], &["", "xapi", "apix", "w"]);
        check(MatchOp::Regex, "x|", &["x", ""], &["xx"]);
        check(MatchOp::Regex, "(?i)API", &["api", "Api"], &["apix"]);
        check(MatchOp::Regex, r"\bapi", &["api"], &["xapi"]);
        check(MatchOp::Regex, ".*", &["", "x\ny"], &[]);
        check(MatchOp::NotRegex, "api|web", &["", "db"], &["api", "web"]);
        check(MatchOp::NotRegex, ".+", &[""], &["a"]);
    }

    #[test]
    fn lists_values_where_they_are_few() {
        #[track_caller]
        fn check(op: MatchOp, pattern: &str, accepted: Option<&[&str]>, refused: Option<&[&str]>) {
            let matcher = compile(op, pattern);
            let list = |values: Option<&[String]>| values.map(<[String]>::to_vec);
            let want = |values: Option<&[&str]>| values.map(|v| v.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
            assert_eq!(list(matcher.accepted_values()), want(accepted), "{matcher}");
            assert_eq!(list(matcher.refused_values()), want(refused), "{matcher}");
        }
        check(MatchOp::Equal, "b", Some(&["b"]), None);
        check(MatchOp::NotEqual, "b", None, Some(&["b"]));
        check(MatchOp::Regex, "web|api|api", Some(&["api", "web"]), None);
        check(MatchOp::Regex, "api-(1|2)?", Some(&["api-", "api-1", "api-2"]), None);
        check(MatchOp::NotRegex, "a|b", None, Some(&["a", "b"]));
        check(MatchOp::Regex, "a.*", None, None);
        check(MatchOp::Regex, "^a$", None, None);
        check(MatchOp::Regex, "[a-z]+", None, None);
    }
}
