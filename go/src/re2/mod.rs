//! Regular expressions as LogQL users write them: Go's RE2 syntax with the Perl extensions, run by Rust's `regex`.
//!
//! ```text
//! pattern -> translate() -> the same language in Rust's syntax -> regex::bytes::Regex
//! ```
//!
//! [`translate`](translate()) reads the whole pattern itself, so that the two dialects cannot be confused and the errors read as
//! Go's do. Source: <https://pkg.go.dev/regexp/syntax>; contract: logql.md, 2.1.
//!
//! A text with invalid UTF-8 has to pass through [`repair`] before it is matched: there every bad byte counts as one
//! character, while Rust's `.` never matches one.

mod class;
mod error;
mod expand;
mod translate;

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};

pub use error::{Error, Reason};
pub use expand::expand;
pub use translate::{Flags, Translated, translate, translate_with};

/// Largest compiled program. `regex` refuses 10 MB programs by default, which a few repeated Unicode classes reach.
const PROGRAM_BYTES_MAX: usize = 64 << 20;
/// How deep groups may nest; Go stops at a height of 1000 too.
const NESTING_MAX: usize = 1000;

/// A compiled pattern whose groups have names.
///
/// `regex` allows neither two groups of one name nor a name that starts with a digit, so the groups of `regex` are
/// nameless and the names are here.
#[derive(Debug, Clone)]
pub struct NamedRegex {
    /// The program. Group 0 is the whole match.
    pub regex: Regex,
    /// `names[i]` is the name of group `i`; `names[0]` is `None`.
    pub names: Vec<Option<String>>,
}

/// Compiles `pattern` for an unanchored search: line filters, template functions.
///
/// # Errors
/// What is wrong with the pattern, in Go's words.
pub fn compile(pattern: &str) -> Result<Regex, Error> {
    build(pattern, &translate(pattern)?)
}

/// As [`compile`], with the names of the groups: the `regexp` stage, replacements.
///
/// # Errors
/// What is wrong with the pattern, in Go's words.
pub fn compile_named(pattern: &str) -> Result<NamedRegex, Error> {
    let translated = translate_with(pattern, Flags::default())?;
    Ok(NamedRegex { regex: build(pattern, &translated.text)?, names: translated.names })
}

/// Compiles `pattern` for whole values of stream labels: anchored at both ends, `.` matches a newline too.
///
/// # Errors
/// What is wrong with the pattern, in Go's words.
pub fn compile_anchored(pattern: &str) -> Result<Regex, Error> {
    build(pattern, &anchored_text(pattern)?)
}

/// Compiles `pattern` for whole values in label filters, `drop` and `keep`: anchored, `.` does not match a newline.
///
/// # Errors
/// What is wrong with the pattern, in Go's words.
pub fn compile_label_filter(pattern: &str) -> Result<Regex, Error> {
    let translated = translate(pattern)?;
    build(pattern, &format!("^(?:{translated})$"))
}

/// Compiles `pattern` for `label_replace`: anchored, with group names for the replacement.
///
/// # Errors
/// As Go words them; the fragment may be of the anchored pattern (``missing closing ): `^(?:()$` ``), as in Loki.
pub fn compile_label_replace(pattern: &str) -> Result<NamedRegex, Error> {
    compile_named(&format!("^(?:{pattern})$"))
}

/// The translation of an anchored selector pattern.
pub(crate) fn anchored_text(pattern: &str) -> Result<String, Error> {
    let translated = translate_with(pattern, Flags { dot_newline: true, ..Flags::default() })?;
    Ok(format!("^(?s:{})$", translated.text))
}

/// `text` as the patterns of this module expect it: each byte that is not part of valid UTF-8 becomes U+FFFD.
///
/// Go's matcher sees such a byte as that one character. Borrows when there is none, which is nearly always.
pub fn repair(text: &[u8]) -> Cow<'_, [u8]> {
    let Err(first) = std::str::from_utf8(text) else { return Cow::Borrowed(text) };
    let mut repaired = Vec::with_capacity(text.len() + 8);
    let (mut rest, mut valid_up_to) = (text, first.valid_up_to());
    loop {
        repaired.extend_from_slice(&rest[..valid_up_to]);
        if valid_up_to == rest.len() {
            return Cow::Owned(repaired);
        }
        repaired.extend_from_slice("\u{fffd}".as_bytes());
        // One byte at a time: Go does not take a cut-off sequence as one.
        rest = &rest[valid_up_to + 1..];
        valid_up_to = match std::str::from_utf8(rest) {
            Ok(valid) => valid.len(),
            Err(err) => err.valid_up_to(),
        };
    }
}

/// True when `regex` finds a match in `text`, a bad byte counting as one character.
pub fn is_match(regex: &Regex, text: &[u8]) -> bool {
    regex.is_match(&repair(text))
}

fn build(pattern: &str, translated: &str) -> Result<Regex, Error> {
    RegexBuilder::new(translated)
        .size_limit(PROGRAM_BYTES_MAX)
        // Each of our groups adds up to three levels.
        .nest_limit(4 * NESTING_MAX as u32)
        .build()
        .map_err(|err| {
            // The translation is valid syntax by construction, so what remains is its size.
            debug_assert!(matches!(err, regex::Error::CompiledTooBig(_)), "{pattern:?} became {translated:?}: {err}");
            Error::new(Reason::Large, pattern)
        })
}

#[cfg(test)]
mod tests;
