//! What the consumer of a pipeline reads after a line has passed.

use smallvec::SmallVec;

use super::state::Env;
use super::{Category, Pipeline, Scratch};

/// A line that passed, with its labels. Borrowed from the scratch: read it, then run the next line.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) scratch: &'a Scratch,
    pub(super) env: Env<'a>,
    pub(super) value: Option<f64>,
}

/// More labels than this are sorted on the heap.
const LABELS_INLINE: usize = 24;

impl<'a> Output<'a> {
    /// The line after the stages.
    pub fn line(&self) -> &'a [u8] {
        self.scratch.line.bytes(&self.env)
    }

    /// All labels, sorted by name. With [`Wanted::Only`](super::Wanted::Only) parsed labels that nobody asked for
    /// are absent; with [`Wanted::None`](super::Wanted::None) nothing is promised.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str, Category)> + use<'a> {
        let mut labels: SmallVec<[(&str, &str, Category); LABELS_INLINE]> = SmallVec::new();
        self.scratch.labels.visit(&self.env, |_, name, value, category| labels.push((name, value, category)));
        labels.sort_unstable_by(|a, b| a.0.cmp(b.0));
        labels.into_iter()
    }

    /// The value of the `idx`th label of [`Wanted::Only`](super::Wanted::Only), without a search by name.
    pub fn wanted(&self, idx: usize) -> Option<&'a str> {
        self.scratch.labels.get(self.pipeline.wanted[idx], &self.env)
    }

    /// The value of a label, error labels included.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let name = self.scratch.labels.names.find(name)?;
        self.scratch.labels.get(name, &self.env)
    }

    /// The unwrapped value. With an error (see [`Self::error`]) it is 0.
    pub fn value(&self) -> Option<f64> {
        self.value
    }

    /// `__error__`, set by a stage or by a line that brought such a label.
    pub fn error(&self) -> Option<&'a str> {
        let labels = &self.scratch.labels;
        labels.get(super::names::ERROR, &self.env)
    }

    /// The error that fails a metric query when this line becomes a sample: [`Self::error`], except that a parser's
    /// error is an answer like others when the query names `__error__` in its grouping or filters and groups at all
    /// (the pipeline was compiled with [`Wanted::Only`](super::Wanted::Only) or
    /// [`Wanted::None`](super::Wanted::None)).
    pub fn fatal_error(&self) -> Option<&'a str> {
        if self.scratch.labels.error_is_wanted() { None } else { self.error() }
    }

    /// No stage touched the labels: they are those of the stream and the metadata, so that callers may remember the
    /// result by (stream, metadata set).
    pub fn labels_unchanged(&self) -> bool {
        !self.scratch.labels.is_changed()
    }
}
