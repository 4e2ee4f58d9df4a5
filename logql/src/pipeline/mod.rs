//! A query's pipeline: compiled once, then run over every line that storage finds.
//!
//! ```text
//! storage: line filters that stand before anything else (`Pipeline::pushed_down`) drop most lines unopened
//!    |  Entry: timestamp, line, metadata
//!    v
//! Pipeline::run(stream, entry, scratch): stage after stage over a LabelState
//!    |
//!    v
//! Output: line, labels with categories, unwrapped value, error
//! ```
//!
//! - `mod.rs`: what callers see
//! - `compile.rs`: syntax tree to steps, which labels anybody needs
//! - `order.rs`: what is evaluated before the stages: pushed-down filters, label filters on metadata
//! - `hints.rs`: text that a line must contain to pass label filters behind parsers
//! - `fields.rs`: the test on a value that drops a line, for a storage that knows where values lie; `between.rs`: where
//!   `regexp` finds them
//! - `state.rs`: the labels of one line
//! - `names.rs`, `needs.rs`: label names as numbers; the names that somebody looks at
//! - `output.rs`: what the consumer reads
//!
//! The stages themselves are in [`crate::stage`]. Nothing is compiled per line, and nothing is allocated once the
//! scratch has grown to the size of the lines.

mod between;
mod compile;
mod fields;
mod hints;
pub(crate) mod keys;
pub(crate) mod names;
pub(crate) mod needs;
mod order;
mod output;
pub(crate) mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::bytes::CaptureLocations;

use crate::ast;
use crate::labels::Labels;
use crate::line_filter::CompiledLineFilter;
use crate::stage::Step;
use crate::stage::early::EarlyFilters;
use crate::stage::unwrap::Unwrap;
pub use between::Between;
pub use fields::{FieldParser, FieldTest, FieldValue, Fields};
pub use hints::FieldHint;
use names::{NameId, Names};
use needs::Needs;
pub use output::Output;
pub use state::ErrorKind;
use state::{Env, LabelState, Source};

/// The labels that the consumer of a pipeline looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of them: log queries, series that keep their labels.
    All,
    /// `sum by (a, b)` and the like. `__error__` may be among them.
    Only(Vec<String>),
    /// None: `sum(…)`.
    None,
}

/// Where a label comes from, as `categorize-labels` tells clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Indexed label of the stream.
    Stream,
    /// Structured metadata of the entry.
    Metadata,
    /// Set by a stage.
    Parsed,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Nanoseconds since the epoch.
    pub timestamp_ns: i64,
    /// The stored line; may be empty when [`Pipeline::needs_line`] is false.
    pub line: &'a [u8],
    /// Structured metadata, in any order. A later pair wins over an earlier one of the same name.
    pub metadata: &'a [(Arc<str>, Arc<str>)],
}

/// A stream's labels, prepared for any pipeline.
#[derive(Debug, Clone)]
pub struct StreamContext {
    /// Tells streams apart without comparing labels; unique in the process, never 0.
    id: u64,
    labels: Labels,
}

impl StreamContext {
    /// Prepares `labels`. Make one per stream and query and keep it for all the stream's lines.
    pub fn new(labels: Labels) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), labels }
    }

    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    fn value(&self, idx: u32) -> &str {
        self.labels.iter().nth(idx as usize).map_or("", |(_, value)| value)
    }
}

/// `stage '| json x=".a"' : cannot parse …`: a stage that parses as LogQL but cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("stage '{stage}' : {reason}")]
pub struct Error {
    /// The stage in its normal form.
    pub stage: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled pipeline. Shared by all threads of a query; each has its own [`Scratch`].
pub struct Pipeline {
    /// Unique in the process; a scratch knows the pipeline it was made for.
    id: u64,
    steps: Vec<Step>,
    unwrap: Option<Unwrap>,
    pushed_down: Vec<Arc<CompiledLineFilter>>,
    /// So many label filters stand in front of everything that reads the line or changes a label.
    prefix_len: usize,
    hints: Vec<FieldHint>,
    field_test: Option<Arc<FieldTest>>,
    names: Names,
    needs: Arc<Needs>,
    early: Arc<EarlyFilters>,
    /// The labels of [`Wanted::Only`], in its order.
    wanted: Vec<NameId>,
    needs_line: bool,
    /// Some step or the consumer looks at labels.
    uses_labels: bool,
}

impl Pipeline {
    /// Compiles stages for a consumer that looks at the `wanted` labels and may look at the line.
    ///
    /// # Errors
    /// [`Error`] of the first stage that cannot be built.
    pub fn compile(stages: &[ast::Stage], unwrap: Option<&ast::Unwrap>, wanted: &Wanted) -> Result<Self, Error> {
        compile::compile(stages, unwrap, wanted)
    }

    /// As [`Self::compile`], for a consumer that never looks at the line (all range aggregations but `bytes_rate` and
    /// `bytes_over_time`): a `line_format` whose line no later stage reads is left out, and its template is not even
    /// compiled, as the reference server does.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_without_line(
        stages: &[ast::Stage],
        unwrap: Option<&ast::Unwrap>,
        wanted: &Wanted,
    ) -> Result<Self, Error> {
        let stages = order::without_unread_line_formats(stages);
        compile::compile(&stages, unwrap, wanted)
    }

    /// Line filters on the stored line. Storage evaluates them; [`Self::run`] does not.
    pub fn pushed_down(&self) -> &[Arc<CompiledLineFilter>] {
        &self.pushed_down
    }

    /// True when [`Self::passes_prefix`] may drop something.
    pub fn has_prefix(&self) -> bool {
        self.prefix_len > 0
    }

    /// Evaluates the label filters that stand before every stage that reads the line or changes a label. They see
    /// stream and metadata labels only, so a scan may ask before it opens lines, and remember the answer by stream
    /// and metadata set. [`Self::run`] repeats them.
    pub fn passes_prefix(
        &self,
        stream: &StreamContext,
        metadata: &[(Arc<str>, Arc<str>)],
        scratch: &mut Scratch,
    ) -> bool {
        let entry = Entry { timestamp_ns: 0, line: b"", metadata };
        let env = Env { stream, entry, text: "" };
        self.prepare(scratch);
        scratch.labels.begin(&env);
        let mut cx = scratch.context(env, true);
        self.steps[..self.prefix_len].iter().all(|step| step.run(&mut cx))
    }

    /// Text that lines must contain because of label filters behind parsers (`| json | level="ERROR"`), beside the
    /// [`Literals`](crate::line_filter::Literals) of [`Self::pushed_down`]. All of them must hold. [`Self::run`] looks
    /// at them itself; a storage that knows of them may skip blocks.
    pub fn field_hints(&self) -> &[FieldHint] {
        &self.hints
    }

    /// What decides about a line by a single value in it, if something does. A storage may ask before it rebuilds the
    /// line; [`Self::run`] does not need it.
    pub fn field_test(&self) -> Option<&Arc<FieldTest>> {
        self.field_test.as_ref()
    }

    /// False when no stage looks at the line. The consumer may still want it (log queries, `bytes_over_time`).
    pub fn needs_line(&self) -> bool {
        self.needs_line
    }

    /// True when [`Self::run`] would pass every entry as it is: the labels are those of stream and metadata.
    pub fn is_passthrough(&self) -> bool {
        self.steps.is_empty() && self.unwrap.is_none()
    }

    /// Room for the lines of one thread.
    pub fn scratch(&self) -> Scratch {
        let locations = self.steps.iter().filter_map(|step| match step {
            Step::Regexp(regexp) => Some(regexp.locations()),
            _ => None,
        });
        Scratch {
            pipeline_id: self.id,
            labels: LabelState::new(self.names.clone(), self.needs.clone(), self.early.clone()),
            line: Line::default(),
            locations: locations.collect(),
        }
    }

    /// Runs an entry through the stages. `None`: a filter dropped it, or there was nothing to unwrap.
    ///
    /// A `scratch` of another pipeline is made anew first.
    pub fn run<'a>(
        &'a self,
        stream: &'a StreamContext,
        entry: &Entry<'a>,
        scratch: &'a mut Scratch,
    ) -> Option<Output<'a>> {
        if self.hints.iter().any(|hint| hint.excludes(stream, entry)) {
            return None;
        }
        self.prepare(scratch);
        scratch.line.is_rewritten = false;
        let text = if self.needs_line { std::str::from_utf8(entry.line) } else { Ok("") };
        let env = Env { stream, entry: *entry, text: text.unwrap_or("") };
        if self.uses_labels {
            scratch.labels.begin(&env);
        }
        let mut cx = scratch.context(env, text.is_ok());
        if !self.steps.iter().all(|step| step.run(&mut cx)) {
            return None;
        }
        let value = match &self.unwrap {
            Some(unwrap) => Some(unwrap.run(&mut cx)?),
            None => None,
        };
        Some(Output { pipeline: self, scratch, env, value })
    }

    fn prepare(&self, scratch: &mut Scratch) {
        if scratch.pipeline_id != self.id || scratch.labels.is_overgrown() {
            *scratch = self.scratch();
        }
    }
}

/// What the stages of one line work on.
pub(crate) struct Context<'a> {
    pub env: Env<'a>,
    /// The stored line is UTF-8, and `env.text` is it.
    pub is_text: bool,
    pub labels: &'a mut LabelState,
    pub line: &'a mut Line,
    /// Of the `regexp` stages, in order.
    pub locations: &'a mut [CaptureLocations],
}

/// The line, once a stage has rewritten it.
#[derive(Default)]
pub(crate) struct Line {
    pub is_rewritten: bool,
    pub text: Vec<u8>,
    /// Where a stage writes the next line while it reads this one.
    pub next: Vec<u8>,
}

/// What one rewritten line may take before its memory is given back.
const LINE_BYTES_KEPT: usize = 1 << 20;

impl Line {
    /// The line as the next stage sees it.
    pub(crate) fn bytes<'b>(&'b self, env: &Env<'b>) -> &'b [u8] {
        if self.is_rewritten { &self.text } else { env.entry.line }
    }

    /// The line, to cut labels from.
    pub(crate) fn source<'b>(&'b self, env: &Env<'b>, is_text: bool) -> Source<'b> {
        let bytes = self.bytes(env);
        Source { bytes, is_stored_text: is_text && !self.is_rewritten, is_ascii: bytes.is_ascii() }
    }

    /// Makes `next` the line.
    pub(crate) fn replace(&mut self) {
        std::mem::swap(&mut self.text, &mut self.next);
        self.is_rewritten = true;
        if self.next.capacity() > LINE_BYTES_KEPT {
            self.next = Vec::new();
        }
    }
}

/// What the lines of one thread share: arenas and tables that keep their capacity.
pub struct Scratch {
    pipeline_id: u64,
    labels: LabelState,
    line: Line,
    locations: Vec<CaptureLocations>,
}

impl Scratch {
    fn context<'a>(&'a mut self, env: Env<'a>, is_text: bool) -> Context<'a> {
        Context { env, is_text, labels: &mut self.labels, line: &mut self.line, locations: &mut self.locations }
    }
}

#[cfg(test)]
mod tests;
