//! The pipeline: stages that a job runs over each line.
//!
//! ```text
//! line -> Entry -> stage -> stage -> … -> labels resolved, line made UTF-8 -> sink (the shipper)
//!                    |         '-- may keep the entry back (partial lines, multiline) and emit it later
//!                    '-- may drop it: its receipt is settled then
//! ```
//!
//! Compiled once per job and run on the reader's thread, line by line; entries of one source never overtake each other.
//! A job without stages costs no copy: its lines go from the file's buffer into the batch.
//!
//! Source: contract of the collector, sections 4 and 5.

mod compile;
mod counters;
mod entry;
mod extracted;
pub mod inspect;
pub mod jmespath;
mod mmdb;
mod stages;
#[cfg(test)]
mod testing;

use std::time::{Duration, Instant};

use logstack_config::collector::Stage as StageConfig;
use logstack_go::re2;
use logstack_logql::Labels;

pub use compile::Error;
use compile::Stage;
pub use counters::{Counters, CustomMetrics, DropCounter};
use entry::LabelCache;
pub use entry::{Entry, EntryLabels, SourceId, TENANT_LABEL};
use stages::Flow;
pub use stages::limit::Bucket;

use crate::receipt::Receipt;
use crate::ship;

/// What a line's run may know besides the line.
pub struct Context<'a> {
    /// For buffers that wait.
    pub now: Instant,
    /// The wall clock, ns since the epoch: the entry's time unless a stage sets it.
    pub now_ns: i64,
    /// Where the line comes from.
    pub source: SourceId,
    /// The receipt of the line's chunk; `None` where nothing is acknowledged.
    pub receipt: Option<&'a Receipt>,
    /// Where the line begins in its file.
    pub line_start: u64,
    /// Set by stages: so long the source should not be read (`limit`).
    pub wait: Duration,
}

/// An entry that has left the pipeline.
pub struct Outgoing<'a> {
    /// What is sent.
    pub entry: ship::Entry<'a>,
    /// Receipts of lines that were kept back; the sink takes them over.
    pub held: &'a mut Vec<Receipt>,
    /// The receipt of the current line's chunk, when the line is part of the entry.
    pub current: Option<&'a Receipt>,
}

/// Takes what leaves a pipeline.
pub type Sink<'s> = dyn FnMut(Outgoing<'_>) + 's;

/// Where a stage's output goes: the stages behind it.
type Next<'n> = dyn FnMut(&mut Entry, &mut Context<'_>) + 'n;

/// What is flushed out of stages that keep entries back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// What has waited long enough.
    Expired,
    /// All of one source: its writer has gone.
    Source(SourceId),
    /// Everything: there is no more input.
    All,
}

/// The labels of a source.
#[derive(Debug, Clone, Default)]
pub struct SourceLabels {
    /// Public labels of the target, `filename` included.
    pub labels: Labels,
    /// Differs for different labels of one pipeline.
    pub id: u64,
}

/// The compiled stages of a job, with what they remember.
pub struct Pipeline {
    stages: Vec<Stage>,
    entry: Entry,
    cache: LabelCache,
    keeps_back: bool,
}

impl Pipeline {
    /// Compiles `stages`; what they count goes to `counters`.
    ///
    /// # Errors
    /// A stage that cannot be used, by its place and reason.
    pub fn compile(stages: &[StageConfig], counters: &Counters) -> Result<Self, Error> {
        let stages = compile::stages(stages, counters)?;
        let keeps_back = stages.iter().any(Stage::keeps_back);
        Ok(Self { stages, entry: Entry::default(), cache: LabelCache::default(), keeps_back })
    }

    /// True without stages.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// True when [`Self::flush`] may have something to do.
    pub fn keeps_back(&self) -> bool {
        self.keeps_back
    }

    /// Runs one line.
    pub fn run(&mut self, source: &SourceLabels, line: &[u8], cx: &mut Context<'_>, sink: &mut Sink<'_>) {
        if self.stages.is_empty() {
            let line = re2::repair(line);
            let entry = ship::Entry {
                tenant: None,
                labels: &source.labels,
                timestamp_ns: cx.now_ns,
                line: &line,
                metadata: &[],
            };
            return sink(Outgoing { entry, held: &mut Vec::new(), current: cx.receipt });
        }
        self.entry.reset(&source.labels, source.id, line, cx.now_ns);
        self.run_entry(cx, sink);
    }

    /// Runs one line that has a time and structured metadata of its own.
    pub fn run_with(
        &mut self,
        source: &SourceLabels,
        (line, timestamp_ns): (&[u8], i64),
        metadata: &[(String, String)],
        cx: &mut Context<'_>,
        sink: &mut Sink<'_>,
    ) {
        self.entry.reset(&source.labels, source.id, line, timestamp_ns);
        self.entry.metadata.extend_from_slice(metadata);
        self.run_entry(cx, sink);
    }

    fn run_entry(&mut self, cx: &mut Context<'_>, sink: &mut Sink<'_>) {
        let Self { stages, entry, cache, .. } = self;
        run_stages(stages, entry, cx, &mut |entry, cx| emit(entry, cx, cache, sink));
    }

    /// `source` cannot be read for now: what is kept back of it waits on, as its rest may have been written long ago.
    pub fn keep_waiting(&mut self, source: SourceId, now: Instant) {
        if self.keeps_back {
            keep_stages_waiting(&mut self.stages, source, now);
        }
    }

    /// Emits what stages kept back.
    pub fn flush(&mut self, what: Flush, cx: &mut Context<'_>, sink: &mut Sink<'_>) {
        if !self.keeps_back {
            return;
        }
        let Self { stages, cache, .. } = self;
        flush_stages(stages, what, cx, &mut |entry, cx| emit(entry, cx, cache, sink));
    }
}

fn run_stages(stages: &mut [Stage], entry: &mut Entry, cx: &mut Context<'_>, next: &mut Next<'_>) {
    for idx in 0..stages.len() {
        let (done, rest) = stages.split_at_mut(idx + 1);
        let stage = &mut done[idx];
        let before = inspect::before(entry);
        if let Stage::Match(stage) = stage {
            match stage.decide(entry) {
                Flow::Gone => return,
                Flow::Next if stage.stages.is_empty() || !stage.matched => continue,
                Flow::Next => {
                    entry.extract_labels();
                    let inner = &mut stage.stages;
                    return run_stages(inner, entry, cx, &mut |entry, cx| run_stages(rest, entry, cx, next));
                }
            }
        }
        let flow = stage.run(entry, cx, &mut |entry, cx| run_stages(rest, entry, cx, next));
        inspect::after(before, stage.name(), entry, flow);
        if flow == Flow::Gone {
            return;
        }
    }
    next(entry, cx);
}

fn keep_stages_waiting(stages: &mut [Stage], source: SourceId, now: Instant) {
    for stage in stages {
        match stage {
            Stage::Container(stage) => stage.keep_waiting(source, now),
            Stage::Multiline(stage) => stage.keep_waiting(source, now),
            Stage::Match(stage) => keep_stages_waiting(&mut stage.stages, source, now),
            _ => {}
        }
    }
}

fn flush_stages(stages: &mut [Stage], what: Flush, cx: &mut Context<'_>, next: &mut Next<'_>) {
    for idx in 0..stages.len() {
        let (done, rest) = stages.split_at_mut(idx + 1);
        let forward: &mut Next<'_> = &mut |entry, cx| run_stages(rest, entry, cx, next);
        match &mut done[idx] {
            Stage::Container(stage) => stage.flush(what, cx, forward),
            Stage::Multiline(stage) => stage.flush(what, cx, forward),
            Stage::Match(stage) => flush_stages(&mut stage.stages, what, cx, forward),
            _ => {}
        }
    }
}

fn emit(entry: &mut Entry, cx: &mut Context<'_>, cache: &mut LabelCache, sink: &mut Sink<'_>) {
    let (labels, tenant) = cache.resolve(&entry.labels);
    let line = re2::repair(&entry.line);
    let outgoing = ship::Entry {
        tenant: tenant.as_deref(),
        labels: &labels,
        timestamp_ns: entry.timestamp_ns,
        line: &line,
        metadata: &entry.metadata,
    };
    let current = cx.receipt.filter(|_| entry.receipts.has_current);
    sink(Outgoing { entry: outgoing, held: &mut entry.receipts.held, current });
}
