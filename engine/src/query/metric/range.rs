//! Range aggregations: one pass over the samples of a selector, into series of panes.
//!
//! ```text
//! scan unit ── counted whole from metadata: no line is opened
//!         └── chunk of rows ── labels that depend on the metadata set alone: decided once per set, rows only counted
//!                           └── any other pipeline: row by row
//! ```
//!
//! Each thread has its own table of series; in the end the tables are merged.

use std::sync::Arc;

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::ast::{Grouping, LabelFormatSource, RangeAggregation, RangeOp, Stage};
use logstack_logql::pipeline::{Entry, Output, Pipeline, Scratch, Wanted};

use super::column::Column;
use super::grid::Grid;
use super::quantile::{Samples, quantile_over_time};
use super::series::{Matrix, Series};
use super::sliding::{Sparse, Summary};
use super::summary::{Counter, First, Last, Max, Min, Moments, Sum};
use super::windows::Windows;
use crate::model::Rows;
use crate::query::admission::equality_labels;
use crate::query::evaluation::Evaluation;
use crate::query::request::{Direction, Stats};
use crate::query::source::PlannedUnit;
use crate::query::{Control, Error};
use crate::storage::{ScanRequest, UnitCounts};

/// What a series costs beside its labels and panes.
const SERIES_BYTES: u64 = 160;
/// What a pane, or a sample that must be kept, costs.
const PANE_BYTES: u64 = 40;

/// Which labels tell series apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeriesBy {
    /// All but these.
    Without(Vec<String>),
    /// These, where an entry has them. None: one series.
    Only(Vec<String>),
}

impl SeriesBy {
    /// Of `range` itself: its grouping, or all labels but the one that was unwrapped.
    pub fn of(range: &RangeAggregation) -> Self {
        let unwrapped = range.unwrap.as_ref().map(|unwrap| unwrap.label.clone());
        match &range.grouping {
            Some(Grouping { without: false, labels }) => Self::Only(labels.clone()),
            Some(Grouping { without: true, labels }) => {
                Self::Without(labels.iter().cloned().chain(unwrapped).collect())
            }
            None => Self::Without(unwrapped.into_iter().collect()),
        }
    }

    /// Of `range` with the grouping of a `sum` around it taken in: sums of sums need not be kept apart.
    pub fn of_sum(range: &RangeAggregation, grouping: Option<&Grouping>) -> Self {
        let unwrapped = range.unwrap.as_ref().map(|unwrap| unwrap.label.clone());
        match grouping {
            None => Self::Only(Vec::new()),
            Some(Grouping { without: false, labels }) => Self::Only(labels.clone()),
            Some(Grouping { without: true, labels }) => {
                Self::Without(labels.iter().cloned().chain(unwrapped).collect())
            }
        }
    }

    fn wanted(&self) -> Wanted {
        match self {
            Self::Without(_) => Wanted::All,
            Self::Only(labels) if labels.is_empty() => Wanted::None,
            Self::Only(labels) => Wanted::Only(labels.clone()),
        }
    }
}

/// True when a `sum` around the function may be taken into it.
pub fn is_additive(range: &RangeAggregation) -> bool {
    let op_is_sum = matches!(
        range.op,
        RangeOp::CountOverTime | RangeOp::Rate | RangeOp::BytesOverTime | RangeOp::BytesRate | RangeOp::SumOverTime
    );
    op_is_sum && range.grouping.is_none()
}

/// Evaluates `range` at each step of `grid`.
///
/// # Errors
/// A pipeline that cannot be built, an entry with `__error__`, a limit, a gone client, storage.
pub fn evaluate(evaluation: &Evaluation, range: &RangeAggregation, by: SeriesBy, grid: &Grid) -> Result<Matrix, Error> {
    let is_absent = range.op == RangeOp::AbsentOverTime;
    let by = if is_absent { SeriesBy::Only(Vec::new()) } else { by };
    let plan = Arc::new(Plan::new(evaluation, range, by, grid)?);
    let control = evaluation.control.clone();
    let (shared, make) = (plan.clone(), plan.clone());
    let workers = evaluation.pool.run(
        plan.units.len(),
        &evaluation.control,
        || Worker::new(&make),
        move |worker, unit| worker.scan(&shared, &shared.units[unit], &control),
    )?;
    let mut table = Table::default();
    for worker in workers {
        evaluation.add_stats(&worker.stats);
        table.absorb(worker.table);
    }
    evaluation.control.check()?;
    let matrix = table.into_matrix(&plan, range, grid.len, &evaluation.control)?;
    Ok(if is_absent { absent(range, matrix, grid.len) } else { matrix })
}

/// A range aggregation, ready to scan.
struct Plan {
    pipeline: Arc<Pipeline>,
    request: ScanRequest,
    units: Vec<PlannedUnit>,
    windows: Windows,
    by: SeriesBy,
    sampling: Sampling,
    kind: Kind,
    /// What becomes of an entry depends on its stream and metadata set alone.
    is_decided_by_metadata: bool,
}

/// What the value of a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampling {
    One,
    LineBytes,
    Unwrapped,
}

/// What is kept of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Min,
    Max,
    Moments,
    First,
    Last,
    Samples,
}

impl Plan {
    fn new(evaluation: &Evaluation, range: &RangeAggregation, by: SeriesBy, grid: &Grid) -> Result<Self, Error> {
        let sampling = match range.op {
            _ if range.unwrap.is_some() => Sampling::Unwrapped,
            RangeOp::BytesOverTime | RangeOp::BytesRate => Sampling::LineBytes,
            _ => Sampling::One,
        };
        let kind = match range.op {
            RangeOp::CountOverTime
            | RangeOp::Rate
            | RangeOp::BytesOverTime
            | RangeOp::BytesRate
            | RangeOp::SumOverTime
            | RangeOp::AbsentOverTime => Kind::Sum,
            RangeOp::MinOverTime => Kind::Min,
            RangeOp::MaxOverTime => Kind::Max,
            RangeOp::AvgOverTime | RangeOp::StddevOverTime | RangeOp::StdvarOverTime => Kind::Moments,
            RangeOp::FirstOverTime => Kind::First,
            RangeOp::LastOverTime => Kind::Last,
            RangeOp::QuantileOverTime | RangeOp::RateCounter => Kind::Samples,
        };
        let (stages, unwrap) = (&range.log.stages, range.unwrap.as_ref());
        let pipeline = Arc::new(match sampling {
            Sampling::LineBytes => Pipeline::compile(stages, unwrap, &by.wanted())?,
            Sampling::One | Sampling::Unwrapped => Pipeline::compile_without_line(stages, unwrap, &by.wanted())?,
        });
        let windows = Windows::new(&grid.shifted(range.offset_ns), range.range_ns);
        let is_one_series = by == SeriesBy::Only(Vec::new());
        let mut request = ScanRequest {
            filters: pipeline.pushed_down().to_vec(),
            need_lines: pipeline.needs_line() || sampling == Sampling::LineBytes,
            need_metadata: !(pipeline.is_passthrough() && is_one_series),
            ..ScanRequest::default()
        };
        let units = match windows.range() {
            Some(time) => {
                request.range = time;
                evaluation.plan(&range.log.selector, &request)?
            }
            None => Vec::new(),
        };
        let is_decided_by_metadata = !pipeline.needs_line() && !stages.iter().any(looks_at_time);
        Ok(Self { pipeline, request, units, windows, by, sampling, kind, is_decided_by_metadata })
    }

    /// All entries of a unit are of one series: what tells series apart is in the labels of the stream, or nowhere.
    fn is_decided_by_stream(&self, planned: &PlannedUnit) -> Result<bool, Error> {
        let SeriesBy::Only(names) = &self.by else { return Ok(false) };
        let labels = planned.stream.labels();
        let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| labels.get(name).is_none()).collect();
        // Metadata with the name of a label of the stream is called otherwise.
        let is_renamed = others.iter().any(|name| name.ends_with("_extracted"));
        Ok(self.pipeline.is_passthrough()
            && !is_renamed
            && (others.is_empty() || planned.unit.lacks_metadata(&others)?))
    }
}

/// True for templates that may print the time of the entry, or the present one.
fn looks_at_time(stage: &Stage) -> bool {
    let in_template = |template: &str| template.contains("__timestamp__") || template.contains("now");
    match stage {
        Stage::LineFormat(template) => in_template(template),
        Stage::LabelFormat(formats) => formats.iter().any(|format| match &format.source {
            LabelFormatSource::Template(template) => in_template(template),
            LabelFormatSource::Rename(_) => false,
        }),
        _ => false,
    }
}

/// A thread's share of a range aggregation.
struct Worker {
    scratch: Scratch,
    rows: Rows,
    table: Table,
    /// By metadata set of the present chunk.
    verdicts: Vec<Verdict>,
    /// By metadata set of the present chunk, rows and bytes of the present pane; empty between panes.
    tally: Vec<UnitCounts>,
    charged_bytes: u64,
    stats: Stats,
}

/// What becomes of the entries with one metadata set.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Unknown,
    Dropped,
    Series { series: u32, value: f64 },
}

impl Worker {
    fn new(plan: &Plan) -> Self {
        Self {
            scratch: plan.pipeline.scratch(),
            rows: Rows::default(),
            table: Table::new(plan.kind),
            verdicts: Vec::new(),
            tally: Vec::new(),
            charged_bytes: 0,
            stats: Stats { used_metadata: plan.request.need_metadata, ..Stats::default() },
        }
    }

    fn scan(&mut self, plan: &Plan, planned: &PlannedUnit, control: &Control) -> Result<(), Error> {
        if self.count_unopened(plan, planned, control)? {
            return Ok(());
        }
        // The labels of the stream tell the series: its rows are counted by their times alone.
        let need_metadata = plan.request.need_metadata && !plan.is_decided_by_stream(planned)?;
        let request = ScanRequest { need_metadata, ..plan.request.clone() };
        let mut scan = planned.open(&plan.pipeline, &request, Direction::Forward)?;
        self.stats.units_opened += 1;
        self.stats.lines += planned.unit.rows;
        self.stats.bytes += planned.unit.bytes;
        while scan.next(&mut self.rows)? {
            control.check()?;
            self.stats.lines_matched += self.rows.len() as u64;
            self.verdicts.clear();
            self.verdicts.resize(self.rows.metadata.len(), Verdict::Unknown);
            self.tally.clear();
            self.tally.resize(self.rows.metadata.len(), UnitCounts::default());
            let mut row = 0;
            while row < self.rows.len() {
                let (pane, end_ns) = plan.windows.locate(self.rows.timestamps[row]);
                let end = row + self.rows.timestamps[row..].partition_point(|&ts| ts <= end_ns);
                if let Some(pane) = pane {
                    if plan.is_decided_by_metadata {
                        self.take_by_metadata(plan, planned, pane, row..end)?;
                    } else {
                        self.take_by_row(plan, planned, pane, row..end)?;
                    }
                }
                row = end;
            }
            let bytes = self.table.bytes;
            control.charge(bytes.saturating_sub(self.charged_bytes))?;
            self.charged_bytes = self.charged_bytes.max(bytes);
        }
        Ok(())
    }

    /// Counts a unit by its metadata, if that is exact.
    fn count_unopened(&mut self, plan: &Plan, planned: &PlannedUnit, control: &Control) -> Result<bool, Error> {
        if plan.sampling == Sampling::Unwrapped || plan.kind != Kind::Sum || !plan.request.filters.is_empty() {
            return Ok(false);
        }
        let Some(pane) = plan.windows.covering_pane(&planned.unit.time) else { return Ok(false) };
        if !plan.is_decided_by_stream(planned)? {
            return Ok(false);
        }
        let Some(counts) = planned.unit.count(&plan.request, || control.check())? else { return Ok(false) };
        let value = match plan.sampling {
            Sampling::LineBytes => counts.line_bytes,
            _ => counts.rows,
        };
        if counts.rows > 0 {
            let entry = Entry { timestamp_ns: planned.unit.time.first_ns, line: b"", metadata: &[] };
            let Some(output) = plan.pipeline.run(&planned.stream, &entry, &mut self.scratch) else { return Ok(false) };
            let series = self.table.series(&output, &plan.by);
            self.table.add(series, pane, planned.unit.time.first_ns, value as f64);
        }
        Ok(true)
    }

    /// Rows of one pane, whose fate their metadata set decides.
    fn take_by_metadata(
        &mut self,
        plan: &Plan,
        planned: &PlannedUnit,
        pane: u32,
        range: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let is_count = plan.kind == Kind::Sum && plan.sampling != Sampling::Unwrapped;
        if is_count && plan.sampling == Sampling::One && self.rows.metadata.len() == 1 {
            // One metadata set: its rows need not be looked at to be counted.
            if let Verdict::Series { series, .. } = self.verdict(plan, planned, range.start)? {
                self.table.add(series, pane, self.rows.timestamps[range.start], range.len() as f64);
            }
            return Ok(());
        }
        for row in range.clone() {
            let id = self.rows.metadata_ids[row] as usize;
            if is_count {
                let tally = &mut self.tally[id];
                tally.rows += 1;
                tally.line_bytes += self.rows.line(row).len() as u64;
                continue;
            }
            if let Verdict::Series { series, value } = self.verdict(plan, planned, row)? {
                self.table.add(series, pane, self.rows.timestamps[row], value);
            }
        }
        if !is_count {
            return Ok(());
        }
        for row in range {
            let id = self.rows.metadata_ids[row] as usize;
            // The first row of a metadata set stands for all, and leaves the tally empty for the next pane.
            let tally = std::mem::take(&mut self.tally[id]);
            if tally.rows == 0 {
                continue;
            }
            if let Verdict::Series { series, .. } = self.verdict(plan, planned, row)? {
                let value = if plan.sampling == Sampling::LineBytes { tally.line_bytes } else { tally.rows };
                self.table.add(series, pane, self.rows.timestamps[row], value as f64);
            }
        }
        Ok(())
    }

    fn verdict(&mut self, plan: &Plan, planned: &PlannedUnit, row: usize) -> Result<Verdict, Error> {
        let id = self.rows.metadata_ids[row];
        if !matches!(self.verdicts[id as usize], Verdict::Unknown) {
            return Ok(self.verdicts[id as usize]);
        }
        let entry = Entry {
            timestamp_ns: self.rows.timestamps[row],
            line: self.rows.line(row),
            metadata: self.rows.metadata.get(id),
        };
        let verdict = match plan.pipeline.run(&planned.stream, &entry, &mut self.scratch) {
            None => Verdict::Dropped,
            Some(output) => {
                refuse_error(&output)?;
                Verdict::Series { series: self.table.series(&output, &plan.by), value: output.value().unwrap_or(1.0) }
            }
        };
        self.verdicts[id as usize] = verdict;
        Ok(verdict)
    }

    /// Rows of one pane, each through the pipeline.
    fn take_by_row(
        &mut self,
        plan: &Plan,
        planned: &PlannedUnit,
        pane: u32,
        range: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        for row in range {
            let id = self.rows.metadata_ids[row];
            let entry = Entry {
                timestamp_ns: self.rows.timestamps[row],
                line: self.rows.line(row),
                metadata: self.rows.metadata.get(id),
            };
            let Some(output) = plan.pipeline.run(&planned.stream, &entry, &mut self.scratch) else { continue };
            refuse_error(&output)?;
            let value = match plan.sampling {
                Sampling::One => 1.0,
                Sampling::LineBytes => output.line().len() as f64,
                Sampling::Unwrapped => output.value().unwrap_or(0.0),
            };
            let series = match self.verdicts[id as usize] {
                Verdict::Series { series, .. } if output.labels_unchanged() => series,
                _ => {
                    let series = self.table.series(&output, &plan.by);
                    if output.labels_unchanged() {
                        self.verdicts[id as usize] = Verdict::Series { series, value };
                    }
                    series
                }
            };
            self.table.add(series, pane, self.rows.timestamps[row], value);
        }
        Ok(())
    }
}

/// A sample with an error fails the query.
///
/// Source: contract logql.md, 4.3; http-api.md, 1.5.
fn refuse_error(output: &Output<'_>) -> Result<(), Error> {
    let Some(error) = output.fatal_error() else { return Ok(()) };
    let labels = Labels::from_pairs(output.labels().map(|(name, value, _)| (name, value)));
    Err(Error::Refused(format!(
        "pipeline error: '{error}' for series: '{labels}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    )))
}

/// The series that one thread has seen.
#[derive(Default)]
struct Table {
    kind: Option<Kind>,
    /// By the encoded labels.
    places: HashMap<Box<[u8]>, u32>,
    labels: Vec<Labels>,
    series: Vec<Accumulator>,
    bytes: u64,
    key: Vec<u8>,
}

impl Table {
    fn new(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// The series that `output` belongs to, new or known.
    fn series(&mut self, output: &Output<'_>, by: &SeriesBy) -> u32 {
        self.key.clear();
        match by {
            SeriesBy::Only(names) => {
                for idx in 0..names.len() {
                    let value = output.wanted(idx);
                    // A length no label has says that it is absent, which is not the same as empty.
                    let len = value.map_or(u32::MAX, |value| value.len() as u32);
                    self.key.extend_from_slice(&len.to_le_bytes());
                    self.key.extend_from_slice(value.unwrap_or_default().as_bytes());
                }
            }
            SeriesBy::Without(names) => {
                for (name, value) in kept_labels(output, names) {
                    self.key.extend_from_slice(&(name.len() as u32).to_le_bytes());
                    self.key.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    self.key.extend_from_slice(name.as_bytes());
                    self.key.extend_from_slice(value.as_bytes());
                }
            }
        }
        if let Some(&place) = self.places.get(self.key.as_slice()) {
            return place;
        }
        let labels = match by {
            SeriesBy::Only(names) => Labels::from_pairs(
                names.iter().enumerate().filter_map(|(idx, name)| Some((name.as_str(), output.wanted(idx)?))),
            ),
            SeriesBy::Without(names) => Labels::from_pairs(kept_labels(output, names)),
        };
        let place = self.series.len() as u32;
        self.bytes += SERIES_BYTES + 2 * self.key.len() as u64;
        self.places.insert(self.key.as_slice().into(), place);
        self.labels.push(labels);
        self.series.push(Accumulator::new(self.kind.unwrap_or(Kind::Sum)));
        place
    }

    fn add(&mut self, series: u32, pane: u32, ts_ns: i64, value: f64) {
        if self.series[series as usize].add(pane, ts_ns, value) {
            self.bytes += PANE_BYTES;
        }
    }

    fn absorb(&mut self, other: Self) {
        if self.series.is_empty() {
            *self = other;
            return;
        }
        let mut accumulators: Vec<Option<Accumulator>> = other.series.into_iter().map(Some).collect();
        for (key, place) in other.places {
            let Some(accumulator) = accumulators[place as usize].take() else { continue };
            match self.places.get(&key) {
                Some(&known) => self.series[known as usize].absorb(accumulator),
                None => {
                    self.places.insert(key, self.series.len() as u32);
                    self.labels.push(other.labels[place as usize].clone());
                    self.series.push(accumulator);
                }
            }
        }
    }

    fn into_matrix(
        self,
        plan: &Plan,
        range: &RangeAggregation,
        steps: usize,
        control: &Control,
    ) -> Result<Matrix, Error> {
        control.charge((self.series.len() * Column::size_bytes(steps)) as u64)?;
        let mut series = Vec::with_capacity(self.series.len());
        for (idx, (labels, accumulator)) in self.labels.into_iter().zip(self.series).enumerate() {
            if idx % 1024 == 0 {
                control.check()?;
            }
            series.push(Series { labels, column: accumulator.finish(range, &plan.windows, steps) });
        }
        Ok(Matrix::new(series))
    }
}

fn kept_labels<'a>(output: &Output<'a>, without: &[String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    output.labels().filter(|(name, ..)| !without.iter().any(|w| w == name)).map(|(name, value, _)| (name, value))
}

/// What is known of a series so far.
enum Accumulator {
    Sum(Sparse<Sum>),
    Min(Sparse<Min>),
    Max(Sparse<Max>),
    Moments(Sparse<Moments>),
    First(Sparse<First>),
    Last(Sparse<Last>),
    Samples(Samples),
}

impl Accumulator {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sum => Self::Sum(Sparse::default()),
            Kind::Min => Self::Min(Sparse::default()),
            Kind::Max => Self::Max(Sparse::default()),
            Kind::Moments => Self::Moments(Sparse::default()),
            Kind::First => Self::First(Sparse::default()),
            Kind::Last => Self::Last(Sparse::default()),
            Kind::Samples => Self::Samples(Samples::default()),
        }
    }

    /// Adds a sample; true when that took memory.
    fn add(&mut self, pane: u32, ts_ns: i64, value: f64) -> bool {
        match self {
            Self::Sum(panes) => panes.add(pane, ts_ns, value),
            Self::Min(panes) => panes.add(pane, ts_ns, value),
            Self::Max(panes) => panes.add(pane, ts_ns, value),
            Self::Moments(panes) => panes.add(pane, ts_ns, value),
            Self::First(panes) => panes.add(pane, ts_ns, value),
            Self::Last(panes) => panes.add(pane, ts_ns, value),
            Self::Samples(samples) => {
                samples.push(ts_ns, value);
                true
            }
        }
    }

    /// Takes in another part of the same series.
    fn absorb(&mut self, other: Self) {
        match (self, other) {
            (Self::Sum(own), Self::Sum(other)) => own.absorb(other),
            (Self::Min(own), Self::Min(other)) => own.absorb(other),
            (Self::Max(own), Self::Max(other)) => own.absorb(other),
            (Self::Moments(own), Self::Moments(other)) => own.absorb(other),
            (Self::First(own), Self::First(other)) => own.absorb(other),
            (Self::Last(own), Self::Last(other)) => own.absorb(other),
            (Self::Samples(own), Self::Samples(other)) => own.absorb(other),
            _ => debug_assert!(false, "the tables of one aggregation hold one kind"),
        }
    }

    fn finish(self, range: &RangeAggregation, windows: &Windows, steps: usize) -> Column {
        let seconds = range.range_ns as f64 / 1e9;
        match self {
            Self::Sum(panes) => match range.op {
                RangeOp::Rate | RangeOp::BytesRate => slide(&panes, windows, steps, |sum| sum.0 / seconds),
                _ => slide(&panes, windows, steps, |sum| sum.0),
            },
            Self::Min(panes) => slide(&panes, windows, steps, |min| min.0),
            Self::Max(panes) => slide(&panes, windows, steps, |max| max.0),
            Self::Moments(panes) => match range.op {
                RangeOp::StdvarOverTime => slide(&panes, windows, steps, Moments::variance),
                RangeOp::StddevOverTime => slide(&panes, windows, steps, |moments| moments.variance().sqrt()),
                _ => slide(&panes, windows, steps, Moments::mean),
            },
            Self::First(panes) => slide(&panes, windows, steps, |first| first.value),
            Self::Last(panes) => slide(&panes, windows, steps, |last| last.value),
            Self::Samples(samples) if range.op == RangeOp::QuantileOverTime => {
                quantile_over_time(samples, range.param.unwrap_or(f64::NAN), windows, steps)
            }
            Self::Samples(samples) => {
                // A counter must be read in time order, and parts of a series come in any.
                let mut panes = Sparse::<Counter>::default();
                for (ts_ns, value) in samples.sorted() {
                    if let Some(pane) = windows.pane(ts_ns) {
                        panes.add(pane, ts_ns, value);
                    }
                }
                slide(&panes, windows, steps, |counter| counter.rate(range.range_ns))
            }
        }
    }
}

fn slide<S: Summary>(panes: &Sparse<S>, windows: &Windows, steps: usize, value: impl Fn(&S) -> f64) -> Column {
    let mut column = Column::absent(steps);
    panes.slide(windows, |step, summary| column.set(step, value(summary)));
    column
}

/// `absent_over_time`: 1 where `present` has no point.
fn absent(range: &RangeAggregation, present: Matrix, steps: usize) -> Matrix {
    let mut column = Column::filled(steps, 1.0);
    for series in &present.series {
        column.retain_where(series.column.presence(), false);
    }
    Matrix::new([Series { labels: Labels::from_pairs(equality_labels(&range.log.selector)), column }])
}
