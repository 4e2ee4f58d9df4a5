//! The stages of a pipeline, a file each, named as in LogQL. A stage is compiled once and then sees every line.

pub(crate) mod decolorize;
pub(crate) mod drop_keep;
pub mod ip;
pub(crate) mod label_filter;
pub(crate) mod unwrap;

use std::sync::Arc;

use crate::line_filter::CompiledLineFilter;
use crate::pipeline::Context;

/// A compiled stage.
pub(crate) enum Step {
    LineFilter(Arc<CompiledLineFilter>),
    LabelFilter(label_filter::LabelFilter),
    Decolorize,
    Drop(drop_keep::Drop),
    Keep(drop_keep::Keep),
}

impl Step {
    /// Runs the stage. False: the line is dropped.
    pub(crate) fn run(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::LineFilter(filter) => filter.matches(cx.line.bytes(&cx.env)),
            Self::LabelFilter(filter) => filter.run(cx.labels, &cx.env),
            Self::Decolorize => {
                decolorize::run(cx);
                true
            }
            Self::Drop(stage) => {
                stage.run(cx);
                true
            }
            Self::Keep(stage) => {
                stage.run(cx);
                true
            }
        }
    }
}
