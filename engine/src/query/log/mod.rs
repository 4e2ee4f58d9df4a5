//! Log queries: the newest or oldest entries of a range, after a pipeline.
//!
//! Units are scanned in the order of time, on several threads. Each thread keeps the best `limit` entries it has seen;
//! once it has that many, nothing older (or younger) than the worst of them can be in the answer, and the bound is
//! told to the others. A unit beyond the bound is not opened, a scan that passes it stops.
//!
//! Storage has no two equal entries, but a pipeline may make entries of a stream equal: by timestamp, line and labels.
//! Those come once, as in the recorded answers (category `ties_dups`); entries of different streams never count as one.
//!
//! A query that drops nothing finds its bound from timestamps alone, before a line is rebuilt: [`nearest`].
//!
//! With an `interval` the walk must be in order over all streams: [`interval`].

mod interval;
pub mod labels;
mod nearest;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering as AtomicOrdering};

use hashbrown::{HashMap, HashSet};
use logstack_logql::Labels;
use logstack_logql::ast::LogExpr;
use logstack_logql::pipeline::{Entry, Pipeline, Scratch, Wanted};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use self::labels::{LabelCache, LineLabels};
use super::evaluation::Evaluation;
use super::request::{Direction, RangeQuery, ResultEntry, Stats, StreamResult};
use super::source::PlannedUnit;
use super::{Control, Error};
use crate::model::{Rows, TimeRange};
use crate::storage::{ScanRequest, UnitCounts};

/// What a candidate costs beside its line.
const CANDIDATE_BYTES: u64 = 96;

/// Runs a log query. Streams come sorted by their label text, entries in the asked direction; of equal timestamps in
/// a stream the order is that of arrival, or its reverse.
///
/// # Errors
/// A pipeline that cannot be built, a limit, a gone client, storage.
pub fn run(evaluation: &Evaluation, expr: &LogExpr, query: &RangeQuery) -> Result<Vec<StreamResult>, Error> {
    let mut plan = Plan::new(evaluation, expr, query)?;
    if plan.drops_nothing() && plan.interval_ns == 0 {
        nearest::narrow(evaluation, &mut plan)?;
    }
    let plan = Arc::new(plan);
    let candidates = if plan.interval_ns > 0 { interval::run(evaluation, &plan)? } else { best(evaluation, &plan)? };
    Ok(group(candidates, &plan))
}

/// A log query, ready to scan.
struct Plan {
    pipeline: Arc<Pipeline>,
    request: ScanRequest,
    /// In the order of the walk: the ones that can hold the first entries first.
    units: Vec<PlannedUnit>,
    limit: usize,
    direction: Direction,
    interval_ns: i64,
    categorize: bool,
    /// The pipeline may make entries equal that storage has apart.
    may_repeat: bool,
}

impl Plan {
    fn new(evaluation: &Evaluation, expr: &LogExpr, query: &RangeQuery) -> Result<Self, Error> {
        let pipeline = Arc::new(Pipeline::compile(&expr.stages, None, &Wanted::All)?);
        let request = ScanRequest {
            range: TimeRange { first_ns: query.start_ns, last_ns: query.end_ns.saturating_sub(1) },
            filters: pipeline.pushed_down().to_vec(),
            need_lines: true,
            need_metadata: true,
            first_chunk_rows: query.limit.max(1),
            ..ScanRequest::default()
        };
        let mut units = evaluation.plan(&expr.selector, &request)?;
        match query.direction {
            Direction::Forward => units.sort_by_key(|planned| planned.unit.time.first_ns),
            Direction::Backward => units.sort_by_key(|planned| std::cmp::Reverse(planned.unit.time.last_ns)),
        }
        Ok(Self {
            may_repeat: !pipeline.is_passthrough(),
            pipeline,
            request,
            units,
            limit: query.limit,
            direction: query.direction,
            interval_ns: query.interval_ns,
            categorize: query.categorize_labels,
        })
    }

    /// Every entry of the range is one of the answer, were there no limit.
    fn drops_nothing(&self) -> bool {
        self.pipeline.is_passthrough() && self.request.filters.is_empty()
    }

    /// A number that grows along the walk: the timestamp, or its mirror image.
    fn distance(&self, ts_ns: i64) -> i64 {
        match self.direction {
            Direction::Forward => ts_ns,
            Direction::Backward => !ts_ns,
        }
    }

    /// The distance of the unit's end that the walk reaches first.
    fn unit_distance(&self, unit: usize) -> i64 {
        let time = self.units[unit].unit.time;
        match self.direction {
            Direction::Forward => self.distance(time.first_ns.max(self.request.range.first_ns)),
            Direction::Backward => self.distance(time.last_ns.min(self.request.range.last_ns)),
        }
    }

    /// How many units at the front begin no later along the walk than the first one ends.
    fn units_beside_the_first(&self) -> usize {
        let Some(first) = self.units.first() else { return 0 };
        let end = match self.direction {
            Direction::Forward => self.distance(first.unit.time.last_ns),
            Direction::Backward => self.distance(first.unit.time.first_ns),
        };
        (0..self.units.len()).take_while(|&unit| self.unit_distance(unit) <= end).count()
    }

    /// Row numbers of a chunk in the order of the walk.
    fn walk(&self, rows: usize) -> impl Iterator<Item = usize> + use<> {
        let is_backward = self.direction == Direction::Backward;
        (0..rows).map(move |idx| if is_backward { rows - 1 - idx } else { idx })
    }
}

/// An entry that may be in the answer.
struct Candidate {
    place: Place,
    line: Box<[u8]>,
    labels: Arc<LineLabels>,
}

/// Where an entry stands in the walk. Total, so that an answer does not depend on which thread was faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// [`Plan::distance`].
    distance: i64,
    unit: u32,
    /// In the unit, along the walk.
    row: u64,
}

impl Candidate {
    /// Equal for entries of a stream and an instant that a reader could not tell apart.
    fn identity(&self) -> u128 {
        xxh3_128_with_seed(&self.line, self.labels.hash)
    }

    fn bytes(&self) -> u64 {
        self.line.len() as u64 + CANDIDATE_BYTES
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}
impl Eq for Candidate {}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

/// The first `limit` entries along the walk, in its order.
///
/// Units that the first one reaches into go first: where they fill the answer, a thread that went ahead to others would
/// have worked for nothing.
fn best(evaluation: &Evaluation, plan: &Arc<Plan>) -> Result<Vec<Candidate>, Error> {
    let bound = Arc::new(AtomicI64::new(i64::MAX));
    let mut candidates: Vec<Candidate> = Vec::new();
    let first = plan.units_beside_the_first();
    for wave in [0..first, first..plan.units.len()] {
        if wave.is_empty() || plan.unit_distance(wave.start) > bound.load(AtomicOrdering::Relaxed) {
            break;
        }
        let (shared, make, bound_of_all) = (plan.clone(), plan.clone(), bound.clone());
        let control = evaluation.control.clone();
        let workers = evaluation.pool.run(
            wave.len(),
            &evaluation.control,
            || Worker::new(&make),
            move |worker, unit| worker.scan(&shared, wave.start + unit, &bound_of_all, &control),
        )?;
        for worker in workers {
            evaluation.add_stats(&worker.stats);
            candidates.extend(worker.best);
        }
        candidates.sort_unstable();
        let dropped = candidates.drain(plan.limit.min(candidates.len())..);
        evaluation.control.release(dropped.map(|candidate| candidate.bytes()).sum());
        if candidates.len() == plan.limit
            && let Some(last) = candidates.last()
        {
            bound.fetch_min(last.place.distance, AtomicOrdering::Relaxed);
        }
    }
    Ok(candidates)
}

/// A thread's share of a log query.
struct Worker {
    scratch: Scratch,
    rows: Rows,
    labels: LabelCache,
    /// At most `limit`; the last along the walk on top.
    best: BinaryHeap<Candidate>,
    /// Of the entries of the present unit at the present instant, where they may repeat.
    identities: HashSet<u128>,
    held_bytes: u64,
    charged_bytes: u64,
    stats: Stats,
}

impl Worker {
    fn new(plan: &Plan) -> Self {
        Self {
            scratch: plan.pipeline.scratch(),
            rows: Rows::default(),
            labels: LabelCache::new(plan.categorize),
            best: BinaryHeap::new(),
            identities: HashSet::new(),
            held_bytes: 0,
            charged_bytes: 0,
            stats: Stats { used_metadata: true, ..Stats::default() },
        }
    }

    fn scan(&mut self, plan: &Plan, unit: usize, bound: &AtomicI64, control: &Control) -> Result<(), Error> {
        if plan.unit_distance(unit) > bound.load(AtomicOrdering::Relaxed) {
            return Ok(());
        }
        let planned = &plan.units[unit];
        let mut scan = planned.open(&plan.pipeline, &plan.request, plan.direction)?;
        self.stats.units_opened += 1;
        let mut row = 0;
        let mut seen = UnitCounts::default();
        let mut is_whole = true;
        let mut instant = None;
        while is_whole && scan.next(&mut self.rows)? {
            control.check()?;
            self.labels.begin_chunk(self.rows.metadata.len());
            seen.rows += self.rows.len() as u64;
            seen.line_bytes += self.rows.bytes.len() as u64;
            let nearest = bound.load(AtomicOrdering::Relaxed);
            for idx in plan.walk(self.rows.len()) {
                let place = Place { distance: plan.distance(self.rows.timestamps[idx]), unit: unit as u32, row };
                row += 1;
                let is_full = self.best.len() >= plan.limit;
                if place.distance > nearest || is_full && self.best.peek().is_some_and(|last| place > last.place) {
                    // Everything behind is further away still.
                    is_whole = false;
                    break;
                }
                let metadata_id = self.rows.metadata_ids[idx];
                let entry = Entry {
                    timestamp_ns: self.rows.timestamps[idx],
                    line: self.rows.line(idx),
                    metadata: self.rows.metadata.get(metadata_id),
                };
                let Some(output) = plan.pipeline.run(&planned.stream, &entry, &mut self.scratch) else { continue };
                let candidate =
                    Candidate { place, line: output.line().into(), labels: self.labels.of(&output, metadata_id) };
                if plan.may_repeat {
                    if instant != Some(place.distance) {
                        self.identities.clear();
                        instant = Some(place.distance);
                    }
                    if !self.identities.insert(candidate.identity()) {
                        continue;
                    }
                }
                self.held_bytes += candidate.bytes();
                self.best.push(candidate);
                if self.best.len() > plan.limit
                    && let Some(dropped) = self.best.pop()
                {
                    self.held_bytes -= dropped.bytes();
                }
            }
            if self.best.len() >= plan.limit
                && let Some(last) = self.best.peek()
            {
                bound.fetch_min(last.place.distance, AtomicOrdering::Relaxed);
            }
            let bytes = self.held_bytes + self.labels.bytes();
            control.charge(bytes.saturating_sub(self.charged_bytes))?;
            self.charged_bytes = self.charged_bytes.max(bytes);
        }
        self.stats.lines_matched += seen.rows;
        // A whole scan looked at all lines, also at those that a filter dropped.
        self.stats.lines += if is_whole { planned.unit.rows } else { seen.rows };
        self.stats.bytes += if is_whole { planned.unit.bytes } else { seen.line_bytes };
        Ok(())
    }
}

/// Entries with equal labels become a stream. `candidates` are in the order of the answer.
fn group(candidates: Vec<Candidate>, plan: &Plan) -> Vec<StreamResult> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut streams: Vec<StreamResult> = Vec::new();
    for candidate in candidates {
        let place = *places.entry(candidate.labels.shown.clone()).or_insert_with_key(|labels| {
            streams.push(StreamResult { labels: labels.clone(), entries: Vec::new() });
            streams.len() - 1
        });
        streams[place].entries.push(ResultEntry {
            // The mirror image of the mirror image.
            timestamp_ns: plan.distance(candidate.place.distance),
            line: candidate.line,
            extra: plan.categorize.then(|| candidate.labels.extra.clone()),
        });
    }
    streams.sort_by_cached_key(|stream| stream.labels.to_string());
    streams
}
