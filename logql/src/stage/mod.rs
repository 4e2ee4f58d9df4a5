//! The stages of a pipeline, a file each, named as in LogQL. A stage is compiled once and then sees every line.

pub(crate) mod decolorize;
pub(crate) mod drop_keep;
pub(crate) mod early;
pub(crate) mod ip;
pub(crate) mod json;
pub(crate) mod label_filter;
pub(crate) mod label_format;
pub(crate) mod line_format;
pub(crate) mod logfmt;
pub(crate) mod pattern;
pub(crate) mod regexp;
pub(crate) mod simplified;
pub(crate) mod unpack;
pub(crate) mod unwrap;

use crate::line_filter::CompiledLineFilter;
use crate::pipeline::Context;

pub(crate) enum Step {
    LineFilter(Box<CompiledLineFilter>),
    Json,
    JsonPaths(json::path::Paths),
    Logfmt(logfmt::Logfmt),
    Regexp(regexp::Regexp),
    Pattern(pattern::Pattern),
    Unpack,
    Decolorize,
    LabelFilter(label_filter::LabelFilter),
    LineFormat(line_format::LineFormat),
    LabelFormat(label_format::LabelFormat),
    Drop(drop_keep::Drop),
    Keep(drop_keep::Keep),
}

impl Step {
    /// Runs the stage. False: the line is dropped.
    pub(crate) fn run(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::LineFilter(filter) => return filter.matches(cx.line.bytes(&cx.env)),
            Self::Json => return json::run(cx),
            Self::Logfmt(stage) => return stage.run(cx),
            Self::Regexp(stage) => return stage.run(cx),
            Self::Pattern(stage) => return stage.run(cx),
            Self::Unpack => return unpack::run(cx),
            Self::LabelFilter(filter) => return filter.run(cx.labels, &cx.env),
            Self::JsonPaths(stage) => stage.run(cx),
            Self::Decolorize => decolorize::run(cx),
            Self::LineFormat(stage) => stage.run(cx),
            Self::LabelFormat(stage) => stage.run(cx),
            Self::Drop(stage) => stage.run(cx),
            Self::Keep(stage) => stage.run(cx),
        }
        true
    }

    /// Does the stage look at the line?
    pub(crate) fn reads_line(&self) -> bool {
        match self {
            Self::LineFormat(stage) => stage.template().references().line,
            Self::LabelFormat(stage) => stage.templates().any(|template| template.references().line),
            Self::LabelFilter(_) | Self::Drop(_) | Self::Keep(_) => false,
            _ => true,
        }
    }

    /// Does the stage look at labels, or change them?
    pub(crate) fn uses_labels(&self) -> bool {
        !matches!(self, Self::LineFilter(_) | Self::Decolorize)
    }
}
