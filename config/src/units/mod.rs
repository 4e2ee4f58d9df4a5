//! Units as users write them: sizes, durations in their two dialects, instants.
//!
//! Each type reads the text form, and numbers where the dialect has a meaning for them, and prints itself back in the
//! form that it was defined in, so that a rendered configuration reads like a written one.

mod bytes;
mod duration;
mod time;

pub use bytes::ByteSize;
pub use duration::{GoDuration, PromDuration};
pub use time::Time;

/// Why a text is not the unit it should be. Displays the reason and, in parentheses, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (hint: {hint})")]
pub struct UnitError {
    reason: String,
    hint: String,
}

impl UnitError {
    fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }
}

/// Splits the leading ASCII digits (and one decimal point, when `fraction`) off `text`.
fn split_number(text: &str, fraction: bool) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|&(_, c)| !(c.is_ascii_digit() || (fraction && c == '.')))
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}
