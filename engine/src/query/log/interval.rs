//! Log queries with an `interval`: an entry is in the answer if it is far enough from the last one that is.
//!
//! That takes a walk in order over all streams together. Units are opened when the walk reaches them, and each open one
//! holds a chunk of rows; the nearest row over all of them is next. One thread does it: the walk is short, because it
//! ends at the limit, and most rows are passed over without a look.
//!
//! The walk starts anew at each full hour, because the reference server cuts a range there and answers the parts apart.
//!
//! Source: contract logql.md, 11.2; golden answers of category `log_ranges`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use logstack_logql::pipeline::{Entry, Scratch};

use super::labels::LabelCache;
use super::{Candidate, Place, Plan};
use crate::model::Rows;
use crate::query::evaluation::Evaluation;
use crate::query::request::Stats;
use crate::query::{Control, Error};
use crate::storage::Scan;

/// The entries of the answer, in its order.
pub fn run(evaluation: &Evaluation, plan: &Arc<Plan>) -> Result<Vec<Candidate>, Error> {
    let control = evaluation.control.clone();
    let (shared, make) = (plan.clone(), plan.clone());
    let walks =
        evaluation.pool.run(1, &evaluation.control, || Walk::new(&make), move |walk, _| walk.run(&shared, &control))?;
    let mut kept = Vec::new();
    for walk in walks {
        evaluation.add_stats(&walk.stats);
        kept.extend(walk.kept);
    }
    Ok(kept)
}

/// Where the walk starts anew.
const HOUR_NS: i64 = 3_600_000_000_000;

struct Walk {
    scratch: Scratch,
    labels: LabelCache,
    open: Vec<Option<Cursor>>,
    /// The place of each open unit's next row, and the index in `open`.
    next: BinaryHeap<Reverse<(Place, usize)>>,
    kept: Vec<Candidate>,
    stats: Stats,
}

/// An open unit.
struct Cursor {
    unit: usize,
    scan: Scan,
    rows: Rows,
    /// Rows of the chunk that were passed.
    passed: usize,
    /// Rows of the unit that were passed before the chunk.
    before: u64,
    charged_bytes: u64,
}

impl Cursor {
    /// The row that is next, if the chunk has one.
    fn row(&self, plan: &Plan) -> Option<usize> {
        plan.walk(self.rows.len()).nth(self.passed)
    }

    /// The place of the next row; reads on when the chunk is used up. `None` at the end of the unit.
    fn advance(&mut self, plan: &Plan, control: &Control, stats: &mut Stats) -> Result<Option<Place>, Error> {
        while self.row(plan).is_none() {
            control.check()?;
            self.before += self.rows.len() as u64;
            self.passed = 0;
            if !self.scan.next(&mut self.rows)? {
                control.release(self.charged_bytes);
                return Ok(None);
            }
            stats.lines += self.rows.len() as u64;
            stats.lines_matched += self.rows.len() as u64;
            stats.bytes += self.rows.bytes.len() as u64;
            let bytes = (self.rows.bytes.len() + self.rows.len() * 16) as u64;
            control.charge(bytes.saturating_sub(self.charged_bytes))?;
            self.charged_bytes = self.charged_bytes.max(bytes);
        }
        Ok(self.row(plan).map(|idx| Place {
            distance: plan.distance(self.rows.timestamps[idx]),
            unit: self.unit as u32,
            row: self.before + self.passed as u64,
        }))
    }
}

impl Walk {
    fn new(plan: &Plan) -> Self {
        Self {
            scratch: plan.pipeline.scratch(),
            labels: LabelCache::new(plan.categorize),
            open: Vec::new(),
            next: BinaryHeap::new(),
            kept: Vec::new(),
            stats: Stats { used_metadata: true, ..Stats::default() },
        }
    }

    fn run(&mut self, plan: &Plan, control: &Control) -> Result<(), Error> {
        let mut unopened = 0..plan.units.len();
        while self.kept.len() < plan.limit {
            // Open all that could hold the next row.
            while !unopened.is_empty() {
                let reach = self.next.peek().map_or(i64::MAX, |Reverse((place, _))| place.distance);
                if plan.unit_distance(unopened.start) > reach {
                    break;
                }
                let unit = unopened.next().unwrap_or_default();
                self.open(unit, plan, control)?;
            }
            let Some(Reverse((place, at))) = self.next.pop() else { break };
            self.visit(place, at, plan, control)?;
        }
        Ok(())
    }

    fn open(&mut self, unit: usize, plan: &Plan, control: &Control) -> Result<(), Error> {
        let scan = plan.units[unit].open(&plan.pipeline, &plan.request, plan.direction)?;
        self.stats.units_opened += 1;
        let mut cursor = Cursor { unit, scan, rows: Rows::default(), passed: 0, before: 0, charged_bytes: 0 };
        if let Some(place) = cursor.advance(plan, control, &mut self.stats)? {
            self.next.push(Reverse((place, self.open.len())));
            self.open.push(Some(cursor));
        }
        Ok(())
    }

    /// Takes or passes over the row at `place`, and lines up the next one of its unit.
    fn visit(&mut self, place: Place, at: usize, plan: &Plan, control: &Control) -> Result<(), Error> {
        let Some(cursor) = &mut self.open[at] else { return Ok(()) };
        let hour = |place: Place| plan.distance(place.distance).div_euclid(HOUR_NS);
        let is_far_enough = self.kept.last().is_none_or(|last: &Candidate| {
            place.distance.saturating_sub(last.place.distance) >= plan.interval_ns || hour(place) != hour(last.place)
        });
        if is_far_enough && let Some(row) = cursor.row(plan) {
            let metadata_id = cursor.rows.metadata_ids[row];
            let entry = Entry {
                timestamp_ns: cursor.rows.timestamps[row],
                line: cursor.rows.line(row),
                metadata: cursor.rows.metadata.get(metadata_id),
            };
            // Rows of different units take turns: what the cache knows by metadata set is of another chunk.
            self.labels.begin_chunk(cursor.rows.metadata.len());
            if let Some(output) = plan.pipeline.run(&plan.units[cursor.unit].stream, &entry, &mut self.scratch) {
                let candidate =
                    Candidate { place, line: output.line().into(), labels: self.labels.of(&output, metadata_id) };
                control.charge(candidate.bytes())?;
                self.kept.push(candidate);
            }
        }
        cursor.passed += 1;
        match cursor.advance(plan, control, &mut self.stats)? {
            Some(place) => self.next.push(Reverse((place, at))),
            None => self.open[at] = None,
        }
        Ok(())
    }
}
