//! `|~ "re"`: plain texts where the expression is nothing else, else a regular expression behind a cheap search for
//! text that must occur.

use memchr::memmem::Finder;
use regex_syntax::ParserBuilder;

use super::literals::{literals_decide, plain_alternatives, required_by};
use super::{Error, Literals, Matcher};
use logstack_go::re2;

/// Shorter texts are found too often to save the automaton's work.
const PREFILTER_BYTES_MIN: usize = 3;

/// See the module's head.
pub(crate) struct RegexMatcher {
    /// Occurs in every line that matches.
    prefilter: Option<Finder<'static>>,
    regex: ::regex::bytes::Regex,
}

impl RegexMatcher {
    pub(crate) fn is_match(&self, line: &[u8]) -> bool {
        self.prefilter.as_ref().is_none_or(|text| text.find(line).is_some()) && re2::is_match(&self.regex, line)
    }
}

/// Compiles an unanchored expression in RE2 syntax. Returns what a line must contain to match, and whether it then does.
pub(crate) fn compile(pattern: &str) -> Result<(Matcher, Option<Literals>, bool), Error> {
    // The reference server lower-cases a case-insensitive literal, and İ becomes i: recorded in golden `line_filters`.
    let folded = (pattern.starts_with("(?i)") && pattern.contains('İ')).then(|| pattern.replace('İ', "i"));
    let pattern = folded.as_deref().unwrap_or(pattern);
    let regex = re2::compile(pattern)?;
    let Ok(hir) = ParserBuilder::new().utf8(false).build().parse(regex.as_str()) else {
        return Ok((Matcher::Regex(RegexMatcher { prefilter: None, regex }), None, false));
    };
    let literals = required_by(&hir);
    if let Some(texts) = plain_alternatives(&hir) {
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        return Ok((Matcher::any_of(&texts), literals, true));
    }
    let decide = literals_decide(&hir);
    let prefilter = literals.as_ref().and_then(|literals| match &literals.alternatives[..] {
        [all] => {
            let exact = all.iter().filter(|needle| !needle.ignore_case && needle.bytes.len() >= PREFILTER_BYTES_MIN);
            exact.max_by_key(|needle| needle.bytes.len())
        }
        _ => None,
    });
    let prefilter = prefilter.map(|needle| Finder::new(&needle.bytes).into_owned());
    Ok((Matcher::Regex(RegexMatcher { prefilter, regex }), literals, decide))
}
