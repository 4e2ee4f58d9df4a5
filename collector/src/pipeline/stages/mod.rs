//! The stages, a file each, named as in the configuration.

pub mod container;
pub mod decolorize;
pub mod drop;
pub mod eventlog;
pub mod geoip;
pub mod json;
pub mod labels;
pub mod limit;
pub mod logfmt;
pub mod luhn;
pub mod matching;
pub mod metrics;
pub mod multiline;
pub mod output;
pub mod pack;
pub mod partial;
pub mod regex;
pub mod replace;
pub mod sampling;
pub mod sprig;
pub mod structured_metadata;
pub mod template;
pub mod tenant;
pub mod timestamp;

use std::borrow::Cow;

use super::entry::Entry;

/// What becomes of the entry that a stage was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Next,
    /// It was dropped, its receipts settled; or the stage keeps it.
    Gone,
}

/// Drops an entry: nothing of it will be sent.
fn dropped(entry: &mut Entry, counter: &super::DropCounter) -> Flow {
    counter.count();
    entry.receipts.settle();
    Flow::Gone
}

/// What a stage with an optional `source` looks at: the line, or an extracted value if there is one.
fn input<'e>(entry: &'e Entry, source: Option<&str>) -> Option<Cow<'e, str>> {
    match source {
        None => Some(entry.text()),
        Some(name) => entry.string(name).map(Cow::Borrowed),
    }
}
