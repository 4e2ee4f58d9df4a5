//! The templates of all streams, within bounds of memory.
//!
//! A few days are open: lines are counted in them. A day that is opened is read from its file, one that is closed is
//! written. So memory does not grow with time, and lines of any day may come.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use logstack_logql::Labels;
use logstack_logql::matcher::CompiledMatcher;

use super::collect::Collector;
use super::counts::{Counts, place};
use super::day_file::{DayFile, DayFolder, DayPattern, DayStream};
use super::stream::{Placed, StreamPatterns};
use super::tokens::Words;
use crate::model::{Batch, Stream, StreamId, TenantId};

/// Days that lines are counted in at once: today, yesterday around midnight, and what is sent late.
const DAYS_OPEN_MAX: usize = 3;
/// Memory of the templates of all streams. One has one to four kilobytes.
const TEMPLATE_BYTES_MAX: isize = 24 << 20;
/// Slots of all templates, 8 bytes each.
const SLOTS_MAX: isize = 2_000_000;
/// How far slots are joined when there are too many: to a minute, then to ten.
const WIDTHS: [u32; 2] = [6, 60];
/// Longer lines have no pattern that anybody would read.
const LINE_BYTES_MAX: usize = 3000;

/// Where [`crate::ingest`] keeps the level of an entry.
const LEVEL: &str = "detected_level";

/// See the module.
pub struct Miner {
    folder: DayFolder,
    streams: HashMap<StreamId, StreamPatterns>,
    days: BTreeMap<i32, OpenDay>,
    total: Placed,
    tick: u64,
    words: Words,
    unknown: Arc<str>,
}

#[derive(Debug, Default)]
struct OpenDay {
    /// Its file is behind.
    is_changed: bool,
    /// Of the last line.
    tick: u64,
}

impl Miner {
    /// Nothing in memory, files in `folder`.
    pub fn new(folder: DayFolder) -> Self {
        Self {
            folder,
            streams: HashMap::new(),
            days: BTreeMap::new(),
            total: Placed::default(),
            tick: 0,
            words: Words::default(),
            unknown: "unknown".into(),
        }
    }

    /// Templates in memory.
    pub fn templates(&self) -> usize {
        self.total.templates.max(0) as usize
    }

    /// Slots in memory.
    pub fn slots(&self) -> usize {
        self.total.slots.max(0) as usize
    }

    /// Counts every `stride`th of the rows of one stream, each `stride` times.
    pub fn add(&mut self, batch: &Batch, stream: &Arc<Stream>, rows: Range<usize>, stride: usize) {
        let mut words = std::mem::take(&mut self.words);
        for row in rows.step_by(stride) {
            let line = batch.rows.line(row);
            if line.len() > LINE_BYTES_MAX {
                continue;
            }
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let metadata = batch.rows.metadata.get(batch.rows.metadata_ids[row]);
            let level = metadata.iter().find(|(name, _)| **name == *LEVEL).map_or(&self.unknown, |(_, value)| value);
            let level = level.clone();
            let at = place(batch.rows.timestamps[row]);
            self.open(at.0);
            let may_grow = self.total.bytes < TEMPLATE_BYTES_MAX;
            let own = self.streams.entry(stream.id).or_insert_with(|| StreamPatterns::new(stream.clone()));
            let placed = own.add(line, &mut words, &level, at, stride as u32, may_grow);
            self.total += placed;
        }
        self.words = words;
        self.shrink();
    }

    /// Makes sure that `day` is open and changed.
    fn open(&mut self, day: i32) {
        self.tick += 1;
        let tick = self.tick;
        if !self.days.contains_key(&day) {
            self.restore(day);
            while self.days.len() >= DAYS_OPEN_MAX {
                let oldest = self.days.iter().min_by_key(|(_, open)| open.tick).map(|(day, _)| *day);
                let Some(oldest) = oldest else { break };
                self.close(oldest);
            }
        }
        *self.days.entry(day).or_default() = OpenDay { is_changed: true, tick };
    }

    /// Takes what is on disk of a day into memory.
    fn restore(&mut self, day: i32) {
        for DayStream { tenant, labels, patterns } in self.folder.read(day).streams {
            let (tenant, labels) = (TenantId::new(tenant), Labels::from_pairs(labels));
            let id = StreamId::of(&tenant, &labels);
            let own =
                self.streams.entry(id).or_insert_with(|| StreamPatterns::new(Arc::new(Stream { id, tenant, labels })));
            for DayPattern { template, level, counts } in patterns {
                let Some(counts) = Counts::new(counts) else { continue };
                self.total += own.restore(template, level, day, counts);
            }
        }
    }

    fn close(&mut self, day: i32) {
        if self.days.remove(&day).is_some_and(|open| open.is_changed) {
            self.folder.write(day, &self.day_file(day));
        }
        for stream in self.streams.values_mut() {
            self.total += stream.close_day(day);
        }
        self.streams.retain(|_, stream| !stream.is_empty());
    }

    /// Joins slots while there are too many, and in the end gives up the oldest day.
    fn shrink(&mut self) {
        for width in WIDTHS {
            if self.total.slots <= SLOTS_MAX {
                return;
            }
            let removed: usize = self.streams.values_mut().map(|stream| stream.coarsen(width)).sum();
            self.total.slots -= removed as isize;
        }
        if self.total.slots > SLOTS_MAX
            && let Some(&oldest) = self.days.keys().next()
        {
            self.close(oldest);
        }
    }

    fn day_file(&self, day: i32) -> DayFile {
        let mut file = DayFile::new();
        for stream in self.streams.values() {
            let own = stream.entries().filter_map(|entry| {
                let (_, counts) = entry.days.iter().find(|known| known.0 == day)?;
                Some(DayPattern {
                    template: entry.template.clone(),
                    level: entry.level.clone(),
                    counts: counts.iter().collect(),
                })
            });
            let patterns: Vec<DayPattern> = own.collect();
            if !patterns.is_empty() {
                let Stream { tenant, labels, .. } = &*stream.stream;
                let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                file.streams.push(DayStream { tenant: tenant.as_str().to_owned(), labels, patterns });
            }
        }
        file
    }

    /// The open days whose files are behind, with what belongs into them. They count as written.
    pub fn take_changes(&mut self) -> Vec<(i32, DayFile)> {
        let changed: Vec<i32> = self.days.iter().filter(|(_, open)| open.is_changed).map(|(day, _)| *day).collect();
        for day in &changed {
            if let Some(open) = self.days.get_mut(day) {
                open.is_changed = false;
            }
        }
        changed.into_iter().map(|day| (day, self.day_file(day))).collect()
    }

    /// Notes that a file is behind after all.
    pub fn not_written(&mut self, day: i32) {
        if let Some(open) = self.days.get_mut(&day) {
            open.is_changed = true;
        }
    }

    /// Gives the open days of the streams of `tenant` that match to `collector`. Answers the days that were open.
    pub fn collect(&self, tenant: &TenantId, matchers: &[CompiledMatcher], collector: &mut Collector) -> HashSet<i32> {
        for stream in self.streams.values() {
            if stream.stream.tenant != *tenant || !matches(matchers, &stream.stream.labels) {
                continue;
            }
            for entry in stream.entries() {
                for (day, counts) in &entry.days {
                    collector.add(&entry.template, &entry.level, *day, counts.iter());
                }
            }
        }
        self.days.keys().copied().collect()
    }
}

/// True when a stream with `labels` is chosen.
pub fn matches(matchers: &[CompiledMatcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BatchStream;
    use crate::patterns::collect::PatternQuery;
    use crate::storage::disk::RealDisk;

    const DAY_NS: i64 = 86_400_000_000_000;

    fn batch(day: i64, lines: usize) -> Batch {
        let (tenant, labels) = (TenantId::new("a"), Labels::from_pairs([("app", "x")]));
        let stream = Arc::new(Stream { id: StreamId::of(&tenant, &labels), tenant, labels });
        let mut batch = Batch::default();
        for line in 0..lines {
            batch.rows.push(day * DAY_NS + line as i64, format!("took {line} ms").as_bytes(), 0);
        }
        batch.streams.push(BatchStream { stream, rows: 0..lines });
        batch
    }

    fn add(miner: &mut Miner, day: i64, lines: usize, stride: usize) {
        let batch = batch(day, lines);
        miner.add(&batch, &batch.streams[0].stream.clone(), 0..lines, stride);
    }

    fn lines(miner: &Miner) -> Vec<u64> {
        let query = PatternQuery { start_ns: 0, end_ns: 100 * DAY_NS, step_s: 86_400 };
        let mut collector = Collector::new(query);
        miner.collect(&TenantId::new("a"), &[], &mut collector);
        let mut other = Collector::new(query);
        miner.collect(&TenantId::new("b"), &[], &mut other);
        assert_eq!(other.finish(), []);
        collector.finish().iter().map(|pattern| pattern.samples.iter().map(|sample| sample.1).sum()).collect()
    }

    #[test]
    fn days_open_and_close() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DayFolder::new(Arc::new(RealDisk), dir.path());
        let mut miner = Miner::new(folder.clone());
        for day in 0..10 {
            add(&mut miner, day, 40, 1);
        }
        assert_eq!(lines(&miner), [40 * DAYS_OPEN_MAX as u64]);
        assert_eq!(folder.days(), (0..7).collect::<Vec<_>>());
        add(&mut miner, 2, 40, 4);
        assert_eq!((miner.templates(), miner.slots()), (1, DAYS_OPEN_MAX));
        for (day, file) in miner.take_changes() {
            assert!(folder.write(day, &file));
        }
        assert!(miner.take_changes().is_empty());
        let mut miner = Miner::new(folder);
        add(&mut miner, 2, 1, 1);
        assert_eq!(lines(&miner), [81], "an earlier run's lines are there");
    }
}
