//! Merges: many parts of a day to one, with larger blocks and stronger encoding.
//!
//! ```text
//! Quick parts, flushed in a burst -> Fresh, a dozen at a time, or once the burst is over -> Settled, when they are many
//!                                                                                            or the day is over
//! ```
//!
//! Only neighbours in age are merged, so that rows with equal timestamps keep the order in which they arrived. Each row
//! is encoded about three times in its life: what is merged has to be a multiple of its largest input, and blocks that
//! are large and strongly encoded already are copied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::{error, info, warn};

use super::codec::{Level, RowSet, Wanted};
use super::deletes::due;
use super::error::{Error, Result};
use super::manifest::Edit;
use super::part::{Caches, CopySource, Day, NewPart, Part, PartId, PartWriter, Written};
use super::retention::Retention;
use super::scan::{BlockPiece, Direction, LeftOut, Piece, ScanUnit};
use super::shared::Shared;
use super::snapshot::ScanRequest;
use crate::model::{Rows, Stream, TenantId, TimeRange};

/// What decides a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartMeta {
    /// The part.
    pub id: PartId,
    /// Its day.
    pub day: Day,
    /// How it is encoded.
    pub level: Level,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes of its lines.
    pub line_bytes: u64,
    /// When it was written.
    pub created_ns: i64,
    /// A reader met damage in it.
    pub is_damaged: bool,
}

impl PartMeta {
    /// What is known of an open part.
    pub fn of(part: &Part) -> Self {
        Self {
            id: part.id,
            day: part.footer.day,
            level: part.footer.level,
            file_bytes: part.file_bytes(),
            line_bytes: part.footer.line_bytes,
            created_ns: part.footer.created_ns,
            is_damaged: part.is_damaged(),
        }
    }
}

/// When to merge.
#[derive(Debug, Clone)]
pub struct MergeLimits {
    /// So many neighbouring Quick parts become one Fresh part …
    pub quick_parts: usize,
    /// … or as many as have so many bytes of lines …
    pub quick_line_bytes: u64,
    /// … or all, when the oldest is so old …
    pub quick_age_ns: i64,
    /// … or all, when none came for so long: the burst is over.
    pub quick_idle_ns: i64,
    /// So many neighbouring Fresh parts of similar size become one.
    pub fresh_parts: usize,
    /// A merge of so many bytes of lines is encoded as Settled, even if the day is not over.
    pub settle_line_bytes: u64,
    /// A day settles when it is over, and nothing came for it, for so long.
    pub settle_after_ns: i64,
    /// Inputs of one merge.
    pub inputs_max: usize,
    /// Bytes of files that are merged into one, unless it is a single file.
    pub file_bytes_max: u64,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self {
            quick_parts: 24,
            quick_line_bytes: 256 << 20,
            quick_age_ns: 600_000_000_000,
            quick_idle_ns: 2_000_000_000,
            fresh_parts: 16,
            settle_line_bytes: 192 << 20,
            settle_after_ns: 3_600_000_000_000,
            inputs_max: 64,
            // Some 20 GB of lines. Filters of a part are in memory while it is written: about a twelfth of it.
            file_bytes_max: 1 << 30,
        }
    }
}

/// A merge to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// Neighbours, oldest first.
    pub inputs: Vec<PartId>,
    /// How to encode the output.
    pub level: Level,
}

/// Chooses the next merge. `parts` are in the order of a view: by day, then by age. Reads nothing, writes nothing.
pub fn plan_merge(parts: &[PartMeta], now_ns: i64, limits: &MergeLimits) -> Option<MergePlan> {
    if let Some(part) = parts.iter().find(|part| part.is_damaged) {
        return Some(MergePlan { inputs: vec![part.id], level: part.level });
    }
    let days = || parts.chunk_by(|a, b| a.day == b.day);
    // Newest day first: that is where queries look.
    let quick = || days().rev().find_map(|day| plan_quick(day, now_ns, limits));
    let settle = || days().find_map(|day| plan_settle(day, now_ns, limits));
    let tiered = || days().rev().find_map(|day| plan_tiered(day, limits));
    quick().or_else(settle).or_else(tiered)
}

fn plan(parts: &[PartMeta], level: Level) -> MergePlan {
    MergePlan { inputs: parts.iter().map(|part| part.id).collect(), level }
}

/// Where streams have enough lines for large blocks, what is written now may well stay as it is.
fn level_of_merge(parts: &[PartMeta], limits: &MergeLimits) -> Level {
    let line_bytes: u64 = parts.iter().map(|part| part.line_bytes).sum();
    if line_bytes >= limits.settle_line_bytes { Level::Settled } else { Level::Fresh }
}

/// Quick parts become Fresh, or Settled when they are many.
fn plan_quick(day: &[PartMeta], now_ns: i64, limits: &MergeLimits) -> Option<MergePlan> {
    let quick = day.iter().filter(|part| part.level == Level::Quick);
    let newest_ns = quick.map(|part| part.created_ns).max()?;
    for run in day.chunk_by(|a, b| (a.level == Level::Quick) == (b.level == Level::Quick)) {
        if run[0].level != Level::Quick {
            continue;
        }
        let run = first_bytes(run, limits, |part| part.line_bytes, limits.quick_line_bytes);
        let line_bytes: u64 = run.iter().map(|part| part.line_bytes).sum();
        let age_ns = now_ns.saturating_sub(run.iter().map(|part| part.created_ns).min().unwrap_or(now_ns));
        let idle_ns = now_ns.saturating_sub(newest_ns);
        let is_due = run.len() >= limits.quick_parts
            || line_bytes >= limits.quick_line_bytes
            || age_ns >= limits.quick_age_ns
            || idle_ns >= limits.quick_idle_ns;
        if is_due {
            return Some(plan(run, level_of_merge(run, limits)));
        }
    }
    None
}

/// A day that is over and quiet is encoded once more, for good.
fn plan_settle(day: &[PartMeta], now_ns: i64, limits: &MergeLimits) -> Option<MergePlan> {
    let last_ns = day.iter().map(|part| part.created_ns).max()?.max(day[0].day.range().last_ns);
    if now_ns.saturating_sub(last_ns) < limits.settle_after_ns {
        return None;
    }
    let bytes_of = |parts: &[PartMeta], level: Option<Level>| -> u64 {
        parts.iter().filter(|part| level.is_none_or(|level| part.level == level)).map(|part| part.file_bytes).sum()
    };
    // Latecomers join what is settled only when they are worth encoding all of it again.
    let settled_bytes = bytes_of(day, Some(Level::Settled));
    let late_bytes = bytes_of(day, None) - settled_bytes;
    let is_all = late_bytes >= settled_bytes / 4;
    let mut rest = day;
    while !rest.is_empty() {
        let skipped = rest.iter().take_while(|part| !is_all && part.level == Level::Settled).count();
        rest = &rest[skipped..];
        let len = if is_all { rest.len() } else { rest.iter().take_while(|p| p.level != Level::Settled).count() };
        let run = first_bytes(&rest[..len], limits, |part| part.file_bytes, limits.file_bytes_max);
        if run.iter().any(|part| part.level != Level::Settled) {
            return Some(plan(run, Level::Settled));
        }
        rest = &rest[run.len().max(1).min(rest.len())..];
    }
    None
}

/// Parts of similar size are merged when there are many, cheapest first.
fn plan_tiered(day: &[PartMeta], limits: &MergeLimits) -> Option<MergePlan> {
    let mut best: Option<(u64, &[PartMeta])> = None;
    for run in day.chunk_by(|a, b| a.level == b.level && a.level != Level::Quick) {
        for window in run.windows(limits.fresh_parts) {
            let total: u64 = window.iter().map(|part| part.file_bytes).sum();
            let largest = window.iter().map(|part| part.file_bytes).max().unwrap_or(0);
            // Most of the work must go into rows that gain from it.
            let is_worth_it = largest <= total / 2 && total <= limits.file_bytes_max;
            if is_worth_it && best.is_none_or(|(bytes, _)| total < bytes) {
                best = Some((total, window));
            }
        }
    }
    best.map(|(_, window)| plan(window, level_of_merge(window, limits).max(window[0].level)))
}

/// The first parts of `run` whose `size`s together reach `bytes`, at least one, within the limit for files.
fn first_bytes<'a>(
    run: &'a [PartMeta],
    limits: &MergeLimits,
    size: impl Fn(&PartMeta) -> u64,
    bytes: u64,
) -> &'a [PartMeta] {
    let (mut sum, mut file_bytes, mut len) = (0, 0, 0);
    for part in run.iter().take(limits.inputs_max) {
        if sum >= bytes || (len > 0 && file_bytes + part.file_bytes > limits.file_bytes_max) {
            break;
        }
        sum += size(part);
        file_bytes += part.file_bytes;
        len += 1;
    }
    &run[..len]
}

/// What became of the inputs.
pub struct Merged {
    /// The new part; `None` if no row is left.
    pub written: Option<Written>,
    /// Rows in blocks that could not be read.
    pub lost_rows: u64,
    /// Rows that retention by time no longer keeps.
    pub expired_rows: u64,
    /// Rows left out for other reasons.
    pub left_out: LeftOut,
    /// Rows in blocks that were copied as they are.
    pub copied_rows: u64,
}

/// Writes the part that the inputs become. `inputs` are neighbours of one day, oldest first. Rows that `retention` no
/// longer keeps are left out, and so are blocks that cannot be read.
///
/// # Errors
/// When the output cannot be written, or the store is closing; nothing has changed then.
pub fn write_merged(shared: &Shared, inputs: &[Arc<Part>], level: Level, retention: &Retention) -> Result<Merged> {
    let is_readable = check_damaged(inputs);
    match write(shared, inputs, level, retention, &is_readable) {
        // A block turned out to be damaged just now. What can be read is known only by reading all of it.
        Err(err) if err.is_damage() => {
            let is_readable = check_damaged(inputs);
            write(shared, inputs, level, retention, &is_readable)
        }
        other => other,
    }
}

fn write(
    shared: &Shared,
    inputs: &[Arc<Part>],
    level: Level,
    retention: &Retention,
    readable: &[RowSet],
) -> Result<Merged> {
    let now_ns = shared.clock.now_ns();
    let day = inputs[0].footer.day;
    let generations = (inputs[0].footer.generations.0, inputs[inputs.len() - 1].footer.generations.1);
    let blocks = shared.options.blocks;
    let new = NewPart { id: shared.take_part_id(), day, level, generations, created_ns: now_ns, blocks };
    // Queries' cache is not for rows that are read once: only what is open at one time is kept.
    let caches = Caches::new(32 << 20);
    // A part whose records are damaged has no readable block and needs none.
    let mut sources: BTreeMap<PartId, CopySource> =
        inputs.iter().filter_map(|part| Some((part.id, CopySource::open(part, &caches).ok()?))).collect();
    let mut writer = PartWriter::create(&*shared.disk, &shared.layout.days, new)?;
    let deletions = due(shared, retention);
    let (mut lost_rows, mut read_rows, mut copied_rows, mut left_out) = (0, 0, 0, LeftOut::default());
    let mut rows = Rows::default();
    let mut copy = || -> Result<()> {
        for (stream, places) in streams_by_key(inputs).into_values() {
            shared.check_open()?;
            let cutoff_ns = retention.cutoff_ns(&stream.tenant, &stream.labels, now_ns);
            let range = TimeRange { first_ns: cutoff_ns, last_ns: i64::MAX };
            let mut pieces = Vec::new();
            for (input, idx) in places {
                let part = &inputs[input];
                for idx in part.blocks_in(&part.streams()[idx], range) {
                    if readable[input].contains(idx) {
                        let (part, caches) = (part.clone(), caches.clone());
                        pieces.push(Piece::Block(BlockPiece { part, idx, caches, search: None }));
                    } else {
                        lost_rows += u64::from(part.blocks()[idx].rows);
                    }
                }
            }
            if pieces.is_empty() {
                continue;
            }
            writer.start_stream(&stream)?;
            let mut units = Vec::new();
            ScanUnit::group(&stream, cutoff_ns, pieces, &mut units);
            for mut unit in units {
                unit.hide(&deletions);
                if let Some(block) = unit.whole_block()
                    && writer.is_worth_copying(&block.part, &block.part.blocks()[block.idx])
                    && let Some(source) = sources.get_mut(&block.part.id)
                    && writer.copy(source, block.idx)?
                {
                    copied_rows += unit.rows;
                    continue;
                }
                let mut scan = unit.open(&ScanRequest::default(), Direction::Forward)?;
                while scan.next(&mut rows)? {
                    read_rows += rows.len() as u64;
                    writer.append(&rows)?;
                }
                left_out.duplicates += scan.left_out().duplicates;
                left_out.deleted += scan.left_out().deleted;
            }
        }
        Ok(())
    };
    match copy() {
        Ok(()) => {
            let all_rows: u64 = inputs.iter().map(|part| part.footer.rows).sum();
            let expired_rows = all_rows - read_rows - copied_rows - lost_rows - left_out.duplicates - left_out.deleted;
            Ok(Merged { written: writer.finish()?, lost_rows, expired_rows, left_out, copied_rows })
        }
        Err(err) => {
            writer.abandon();
            Err(err)
        }
    }
}

type StreamPlaces = BTreeMap<(TenantId, logstack_logql::Labels), (Arc<Stream>, Vec<(usize, usize)>)>;

/// All streams of `inputs` in the order of a part, with input and place in it.
fn streams_by_key(inputs: &[Arc<Part>]) -> StreamPlaces {
    let mut places = StreamPlaces::new();
    for (input, part) in inputs.iter().enumerate() {
        for (idx, own) in part.streams().iter().enumerate() {
            let key = (own.stream.tenant.clone(), own.stream.labels.clone());
            places.entry(key).or_insert_with(|| (own.stream.clone(), Vec::new())).1.push((input, idx));
        }
    }
    places
}

/// The blocks of each input that can be read. Parts in which nobody met damage are not looked at.
fn check_damaged(inputs: &[Arc<Part>]) -> Vec<RowSet> {
    let caches = Caches::new(1 << 20);
    let check = |part: &Arc<Part>| {
        let mut readable = RowSet::full(part.blocks().len());
        if part.is_damaged() {
            let mut rows = Rows::default();
            readable.retain(|idx| {
                rows.clear();
                let read = part.block(idx, &caches).and_then(|mut reader| {
                    let all = RowSet::full(reader.rows());
                    reader.render(&all, Wanted::ALL, &mut rows).map_err(|err| part.codec_error(err))
                });
                // A disk that fails now may work later; only wrong bytes stay wrong.
                !read.is_err_and(|err| err.is_damage())
            });
        }
        readable
    };
    inputs.iter().map(check).collect()
}

/// Does one merge, if one is due. False if there is nothing to do.
///
/// # Errors
/// When it cannot be done now; nothing has changed then.
pub fn merge_once(shared: &Shared) -> Result<bool> {
    let view = shared.view.load_full();
    let metas: Vec<PartMeta> = view.parts.iter().map(|part| PartMeta::of(part)).collect();
    let Some(plan) = plan_merge(&metas, shared.clock.now_ns(), &shared.options.merge) else { return Ok(false) };
    let inputs: Vec<Arc<Part>> = view.parts.iter().filter(|part| plan.inputs.contains(&part.id)).cloned().collect();
    drop(view);
    let input_bytes: u64 = inputs.iter().map(|part| part.file_bytes()).sum();
    let space =
        shared.disk.space(&shared.layout.days).map_err(Error::io("ask for the free space of", &shared.layout.days))?;
    // The output is smaller than its inputs, but for small ones; flushes need their room too.
    if space.free_bytes < input_bytes + (64 << 20) {
        warn!(input_bytes, free_bytes = space.free_bytes, "no room to merge parts");
        return Ok(false);
    }
    replace_parts(shared, &inputs, plan.level)?;
    Ok(true)
}

/// Merges `inputs` and makes the output what readers see.
pub fn replace_parts(shared: &Shared, inputs: &[Arc<Part>], level: Level) -> Result<()> {
    let started = Instant::now();
    let retention = shared.retention.load_full();
    let merged = write_merged(shared, inputs, level, &retention)?;
    let _pin = shared.registry.pin();
    let added = shared.open_parts(merged.written.as_slice())?;
    let removed: Vec<PartId> = inputs.iter().map(|part| part.id).collect();
    let edit = Edit {
        added: added.iter().map(|part| (part.id, part.footer.day)).collect(),
        removed: removed.clone(),
        ..Edit::default()
    };
    if let Err(err) = shared.commit(&edit, |view| view.with_parts(&removed, added.iter().cloned())) {
        // The output may go only when it is certain that no record names it.
        if shared.manifest.lock().settle().is_ok() {
            shared.remove_parts(&added);
        }
        return Err(err);
    }
    let (damaged, whole): (Vec<Arc<Part>>, Vec<Arc<Part>>) = inputs.iter().cloned().partition(|part| part.is_damaged());
    shared.remove_parts(&whole);
    damaged.iter().for_each(|part| shared.quarantine.take(&part.path));
    if merged.lost_rows > 0 {
        error!(rows = merged.lost_rows, "rows in damaged blocks are lost, the rest was kept");
    }
    let rows_in: u64 = inputs.iter().map(|part| part.footer.rows).sum();
    let counters = &shared.counters;
    counters.merges.fetch_add(1, Ordering::Relaxed);
    counters.merged_rows.fetch_add(rows_in, Ordering::Relaxed);
    for (counter, rows) in [
        (&counters.lost_rows, merged.lost_rows),
        (&counters.expired_rows, merged.expired_rows),
        (&counters.deleted_rows, merged.left_out.deleted),
        (&counters.duplicate_rows, merged.left_out.duplicates),
        (&counters.copied_rows, merged.copied_rows),
    ] {
        counter.fetch_add(rows, Ordering::Relaxed);
    }
    info!(
        parts = inputs.len(),
        rows = rows_in,
        copied_rows = merged.copied_rows,
        level = ?level,
        bytes_in = inputs.iter().map(|part| part.file_bytes()).sum::<u64>(),
        bytes_out = added.iter().map(|part| part.file_bytes()).sum::<u64>(),
        expired_rows = merged.expired_rows,
        deleted_rows = merged.left_out.deleted,
        duplicate_rows = merged.left_out.duplicates,
        elapsed_ms = started.elapsed().as_millis() as u64,
        "parts merged"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;
    const DAY: i64 = 1440 * MINUTE;

    /// `Q10` is a Quick part of 10 MB, `F` Fresh, `S` Settled, `!` damaged; `|` starts the next day. Parts were written
    /// a minute apart, the last one just before `now` minutes.
    fn parts(text: &str, now: i64) -> Vec<PartMeta> {
        let count = text.split_whitespace().filter(|word| *word != "|").count() as i64;
        let mut parts = Vec::new();
        let mut day = 0;
        for word in text.split_whitespace() {
            if word == "|" {
                day += 1;
                continue;
            }
            let level = match &word[..1] {
                "Q" => Level::Quick,
                "F" => Level::Fresh,
                _ => Level::Settled,
            };
            let megabytes: u64 = word[1..].trim_end_matches('!').parse().unwrap();
            let id = parts.len() as u64;
            parts.push(PartMeta {
                id: PartId(id),
                day: Day(day),
                level,
                file_bytes: megabytes << 20,
                line_bytes: megabytes << 20,
                created_ns: (now - count + id as i64) * MINUTE,
                is_damaged: word.ends_with('!'),
            });
        }
        parts
    }

    #[test]
    fn plans_merges() {
        let limits = MergeLimits {
            quick_parts: 4,
            quick_line_bytes: 100 << 20,
            quick_age_ns: 10 * MINUTE,
            quick_idle_ns: 5 * MINUTE,
            fresh_parts: 3,
            settle_line_bytes: 25 << 20,
            settle_after_ns: 60 * MINUTE,
            inputs_max: 6,
            file_bytes_max: 1000 << 20,
        };
        let check = |text: &str, now: i64, want: Option<(&[u64], Level)>| {
            let plan = plan_merge(&parts(text, now), now * MINUTE, &limits);
            let want = want.map(|(ids, level)| MergePlan { inputs: ids.iter().map(|id| PartId(*id)).collect(), level });
            assert_eq!(plan, want, "{text} at {now}");
        };
        let day = DAY / MINUTE;
        check("", 100, None);
        check("Q1 Q1 Q1", 100, None);
        check("Q1 Q1 Q1 Q1", 100, Some((&[0, 1, 2, 3], Level::Fresh)));
        check("F9 Q1 Q1 Q1 Q1", 100, Some((&[1, 2, 3, 4], Level::Fresh)));
        // Large ones do not wait for more, and are not all taken at once.
        check("Q60 Q60 Q60", 100, Some((&[0, 1], Level::Settled)));
        check("Q1 Q1 Q1 Q1 Q1 Q1 Q1 Q1", 100, Some((&[0, 1, 2, 3, 4, 5], Level::Fresh)));
        // Neighbours only.
        check("Q1 F5 Q1 Q1 F5 Q1", 100, None);
        // Old ones do not wait for company.
        check("Q1 F1 F9 F1 F9 F1 F99 F1 F9 F1 F9", 100, Some((&[0], Level::Fresh)));
        // After a burst all become Fresh.
        let mut idle = parts("F1 Q1 Q1", 100);
        idle.iter_mut().for_each(|part| part.created_ns -= 5 * MINUTE);
        let fresh = Some(MergePlan { inputs: vec![PartId(1), PartId(2)], level: Level::Fresh });
        assert_eq!(plan_merge(&idle, 100 * MINUTE, &limits), fresh);
        // Fresh ones of similar size, cheapest first.
        check("F9 F9 F9 F1 F1 F1", 100, Some((&[3, 4, 5], Level::Fresh)));
        check("F99 F9 F9", 100, None);
        check("F9 F9 F9", 100, Some((&[0, 1, 2], Level::Settled)));
        check("F900 F900 F900", 100, None);
        // The newest day goes first.
        check("Q1 Q1 Q1 Q1 | Q1 Q1 Q1 Q1", 100, Some((&[4, 5, 6, 7], Level::Fresh)));
        // A day settles an hour after it is over and quiet.
        check("F9 F5", day + 59, None);
        check("F9 F5", day + 62, None);
        check("F9 F5", day * 2, None);
        let mut quiet = parts("F9 F5", day * 2);
        quiet.iter_mut().for_each(|part| part.created_ns -= 61 * MINUTE);
        let settled = Some(MergePlan { inputs: vec![PartId(0), PartId(1)], level: Level::Settled });
        assert_eq!(plan_merge(&quiet, 2 * DAY, &limits), settled);
        assert_eq!(plan_merge(&quiet, DAY - 1, &limits), None);
        // Damage goes first.
        check("Q1 Q1 Q1 Q1 S1!", 100, Some((&[4], Level::Settled)));
    }

    #[test]
    fn latecomers_wait_until_they_are_many() {
        let limits = MergeLimits { fresh_parts: 3, file_bytes_max: 1000 << 20, ..MergeLimits::default() };
        let check = |text: &str, want: Option<&[u64]>| {
            let mut parts = parts(text, 0);
            parts.iter_mut().for_each(|part| part.created_ns = 0);
            let plan = plan_merge(&parts, 9 * DAY, &limits).map(|plan| plan.inputs);
            assert_eq!(plan, want.map(|ids| ids.iter().map(|id| PartId(*id)).collect()), "{text}");
        };
        check("S100", None);
        check("F100", Some(&[0]));
        check("S100 F1", Some(&[1]));
        check("S100 F30", Some(&[0, 1]));
        check("S100 S1 S1", None);
        check("S100 S1 S1 S1", Some(&[1, 2, 3]));
        check("S100 F1 S9 F1", Some(&[1]));
        check("F600 F600 F600", Some(&[0]));
        check("S600 F600 F300", Some(&[1, 2]));
        check("S900 S900", None);
    }
}
