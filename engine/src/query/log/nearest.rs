//! The bound of a query that drops nothing: its first `limit` entries are known by their timestamps.
//!
//! Streams end at about the same time, so the newest entries of a selector are spread over the last blocks of all its
//! streams. Without the bound each of these blocks would rebuild a chunk of lines, of which a few stay.

use std::collections::BinaryHeap;

use super::Plan;
use crate::model::Rows;
use crate::query::Error;
use crate::query::evaluation::Evaluation;
use crate::query::request::Direction;
use crate::storage::ScanRequest;

/// Leaves out of `plan` what lies behind its first `limit` entries.
///
/// # Errors
/// A gone client, storage.
pub fn narrow(evaluation: &Evaluation, plan: &mut Plan) -> Result<(), Error> {
    if plan.limit == 0 {
        return Ok(());
    }
    let request = ScanRequest { need_lines: false, need_metadata: false, first_chunk_rows: 0, ..plan.request.clone() };
    // The `limit` smallest distances so far; the largest on top.
    let mut nearest = BinaryHeap::with_capacity(plan.limit.min(1 << 16));
    let mut rows = Rows::default();
    for unit in 0..plan.units.len() {
        evaluation.control.check()?;
        let is_beyond =
            |distance: i64, nearest: &BinaryHeap<i64>| nearest.len() >= plan.limit && nearest.peek() < Some(&distance);
        if is_beyond(plan.unit_distance(unit), &nearest) {
            // So are all units behind it.
            break;
        }
        let mut scan = plan.units[unit].unit.open(&request, plan.direction)?;
        'unit: while scan.next(&mut rows)? {
            for idx in plan.walk(rows.len()) {
                let distance = plan.distance(rows.timestamps[idx]);
                if is_beyond(distance, &nearest) {
                    break 'unit;
                }
                nearest.push(distance);
                if nearest.len() > plan.limit {
                    nearest.pop();
                }
            }
        }
    }
    if nearest.len() < plan.limit {
        return Ok(());
    }
    let Some(&last) = nearest.peek() else { return Ok(()) };
    // The mirror image of the mirror image.
    let bound_ns = plan.distance(last);
    let range = &mut plan.request.range;
    match plan.direction {
        Direction::Forward => range.last_ns = range.last_ns.min(bound_ns),
        Direction::Backward => range.first_ns = range.first_ns.max(bound_ns),
    }
    let range = plan.request.range;
    plan.units.retain(|planned| planned.unit.time.overlaps(&range));
    Ok(())
}
