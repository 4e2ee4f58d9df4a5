//! `| pattern "<ip> - <_> <rest>"`: text between literals as labels.

use memchr::memmem::Finder;

use crate::line_filter::pattern::{Part, consecutive_captures, split};
use crate::pipeline::Context;
use crate::pipeline::names::{NameId, Names};
use crate::pipeline::state::Flow;

/// Why a pattern cannot be used. Displays as in Loki's answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing would be extracted.
    #[error("at least one capture is required")]
    NoCapture,
    /// Nothing would say where the first ends.
    #[error("found consecutive capture '{0}': invalid expression")]
    ConsecutiveCaptures(String),
    /// A name is used twice.
    #[error("duplicate capture name ({0}): invalid expression")]
    DuplicateName(String),
}

/// Checks what the `pattern` stage accepts.
///
/// # Errors
/// [`Error`]. The reference server puts `invalid pattern parser: ` in front.
pub(crate) fn check(pattern: &str) -> Result<(), Error> {
    let parts = split(pattern);
    let names = || parts.iter().filter_map(|part| if let Part::Capture(name) = part { Some(*name) } else { None });
    if names().all(|name| name == "_") {
        return Err(Error::NoCapture);
    }
    if let Some(captures) = consecutive_captures(&parts) {
        return Err(Error::ConsecutiveCaptures(captures));
    }
    let is_repeated = |(idx, name): (usize, &str)| name != "_" && names().take(idx).any(|earlier| earlier == name);
    match names().enumerate().find(|&(idx, name)| is_repeated((idx, name))) {
        Some((_, name)) => Err(Error::DuplicateName(name.to_owned())),
        None => Ok(()),
    }
}

/// A capture and the literal behind it.
struct Capture {
    /// `None`: `<_>`.
    name: Option<NameId>,
    /// `None`: the capture ends the pattern and takes the rest.
    until: Option<Finder<'static>>,
}

pub(crate) struct Pattern {
    /// What the line must start with; often empty.
    prefix: Box<[u8]>,
    captures: Vec<Capture>,
}

impl Pattern {
    pub(crate) fn new(pattern: &str, names: &mut Names) -> Result<Self, Error> {
        check(pattern)?;
        let parts = split(pattern);
        let mut prefix = "";
        let mut captures: Vec<Capture> = Vec::new();
        for part in parts {
            match (part, captures.last_mut()) {
                (Part::Capture(name), _) => {
                    let name = (name != "_").then(|| names.intern(name));
                    captures.push(Capture { name, until: None });
                }
                (Part::Literal(text), Some(capture)) => capture.until = Some(Finder::new(text).into_owned()),
                (Part::Literal(text), None) => prefix = text,
            }
        }
        Ok(Self { prefix: prefix.as_bytes().into(), captures })
    }

    /// False: the line is dropped.
    pub(crate) fn run(&self, cx: &mut Context<'_>) -> bool {
        if cx.labels.needs.is_empty() {
            return true;
        }
        let env = cx.env;
        let source = cx.line.source(&env, cx.is_text);
        if source.bytes.is_empty() || !source.bytes.starts_with(&self.prefix) {
            return true;
        }
        let mut at = self.prefix.len();
        for capture in &self.captures {
            let rest = &source.bytes[at..];
            let found = capture.until.as_ref().and_then(|literal| Some((literal.find(rest)?, literal.needle().len())));
            let len = found.map_or(rest.len(), |(len, _)| len);
            if let Some(name) = capture.name.and_then(|name| cx.labels.claim(name)) {
                let value = cx.labels.cut(source, at..at + len, &env);
                match cx.labels.set_found(name, value, &env) {
                    Flow::Continue => {}
                    Flow::Complete => break,
                    Flow::Drop => return false,
                }
            }
            match found {
                Some((len, literal_len)) => at += len + literal_len,
                // Without the literal the capture took the rest of the line.
                None => break,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_useless_patterns() {
        #[track_caller]
        fn refuses(pattern: &str, want: &str) {
            assert_eq!(check(pattern).unwrap_err().to_string(), want);
        }
        refuses("foo", "at least one capture is required");
        refuses("<_>", "at least one capture is required");
        refuses("<a><b>", "found consecutive capture '<a><b>': invalid expression");
        refuses("<a> <a>", "duplicate capture name (a): invalid expression");
        assert_eq!(check("<_> <a> <_>"), Ok(()));
    }
}
