//! The templates of one stream, and which of them a line belongs to.

use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::counts::Counts;
use super::template::Template;
use super::tokens::Words;
use crate::model::Stream;

/// Most templates of a stream; one more, and the one that was longest without a line goes.
pub const TEMPLATES_MAX: usize = 300;

/// Remembered answers, so that a line that looks like an earlier one is placed without a comparison.
const KNOWN_MAX: usize = 128;

/// Share of a template's texts that a line must have, in percent, by the number of templates of its shape: a crowd of
/// look-alikes says that a word varies.
const SHARES: [(usize, usize); 4] = [(16, 70), (64, 60), (128, 40), (usize::MAX, 0)];

/// A template with its lines.
#[derive(Debug)]
pub struct Entry {
    /// What they have in common.
    pub template: Template,
    /// Their level.
    pub level: Arc<str>,
    /// How many there were, by day.
    pub days: Vec<(i32, Counts)>,
    shape: u64,
    /// Of the template, when it was new.
    bytes: usize,
    /// Of the last line.
    tick: u64,
}

impl Entry {
    /// The lines of a day.
    pub fn day_mut(&mut self, day: i32) -> &mut Counts {
        let at = match self.days.iter().position(|known| known.0 == day) {
            Some(at) => at,
            None => {
                self.days.push((day, Counts::default()));
                self.days.len() - 1
            }
        };
        &mut self.days[at].1
    }

    /// Slots of all days.
    pub fn slots(&self) -> usize {
        self.days.iter().map(|(_, counts)| counts.len()).sum()
    }
}

/// See the module.
#[derive(Debug)]
pub struct StreamPatterns {
    /// Whose lines.
    pub stream: Arc<Stream>,
    entries: Vec<Option<Entry>>,
    shapes: HashMap<u64, Vec<u32>>,
    known: HashMap<u64, u32>,
    count: usize,
    tick: u64,
}

/// Where a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placed {
    /// Slots that were added and removed by it.
    pub slots: isize,
    /// Templates that were added and removed by it.
    pub templates: isize,
    /// Their memory.
    pub bytes: isize,
}

impl std::ops::AddAssign for Placed {
    fn add_assign(&mut self, other: Self) {
        self.slots += other.slots;
        self.templates += other.templates;
        self.bytes += other.bytes;
    }
}

impl StreamPatterns {
    /// A stream without lines.
    pub fn new(stream: Arc<Stream>) -> Self {
        Self { stream, entries: Vec::new(), shapes: HashMap::new(), known: HashMap::new(), count: 0, tick: 0 }
    }

    /// All templates.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// Number of templates.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without templates.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts `line` as `weight` lines of `level`. `may_grow`: there may be one more template of it.
    pub fn add(
        &mut self,
        line: &str,
        words: &mut Words,
        level: &Arc<str>,
        (day, slot): (i32, u32),
        weight: u32,
        may_grow: bool,
    ) -> Placed {
        let mut placed = Placed::default();
        words.read(line);
        if words.words.is_empty() {
            return placed;
        }
        let shape = words.shape_hash(line, xxh3_64(level.as_bytes()));
        let text = words.text_hash(line, shape);
        let idx = match self.known.get(&text) {
            Some(&idx) => idx,
            None => {
                let Some(idx) = self.find(line, words, shape, level, may_grow, &mut placed) else { return placed };
                if self.known.len() >= KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(text, idx);
                idx
            }
        };
        self.tick += 1;
        let tick = self.tick;
        if let Some(Some(entry)) = self.entries.get_mut(idx as usize) {
            entry.tick = tick;
            placed.slots += isize::from(entry.day_mut(day).add(slot, weight));
        }
        placed
    }

    /// The best template for a line, or a new one.
    fn find(
        &mut self,
        line: &str,
        words: &Words,
        shape: u64,
        level: &Arc<str>,
        may_grow: bool,
        placed: &mut Placed,
    ) -> Option<u32> {
        let alike = self.shapes.get(&shape).map_or(&[][..], Vec::as_slice);
        // Of templates that fit equally well the one with more texts says more.
        let mut best: Option<((usize, usize), u32)> = None;
        for &idx in alike {
            let Some(entry) = &self.entries[idx as usize] else { continue };
            let (same, texts) = entry.template.compare(line, words);
            let fit = (same * 100).checked_div(texts).unwrap_or(100);
            if best.is_none_or(|(known, _)| (fit, texts) > known) {
                best = Some(((fit, texts), idx));
            }
        }
        let share = SHARES.iter().find(|(count, _)| alike.len() < *count).map_or(0, |(_, share)| *share);
        if let Some(((fit, _), idx)) = best
            && fit >= share
        {
            if let Some(Some(entry)) = self.entries.get_mut(idx as usize).filter(|_| fit < 100) {
                entry.template.widen(line, words);
            }
            return Some(idx);
        }
        if self.count >= TEMPLATES_MAX || !may_grow {
            *placed = self.forget_oldest()?;
        }
        Some(self.insert(Template::of(line, words), level.clone(), shape, placed))
    }

    fn insert(&mut self, template: Template, level: Arc<str>, shape: u64, placed: &mut Placed) -> u32 {
        let bytes = template.bytes();
        *placed += Placed { slots: 0, templates: 1, bytes: bytes as isize };
        let entry = Some(Entry { template, level, days: Vec::new(), shape, bytes, tick: self.tick });
        let idx = match self.entries.iter().position(Option::is_none) {
            Some(idx) => {
                self.entries[idx] = entry;
                idx
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        } as u32;
        self.shapes.entry(shape).or_default().push(idx);
        self.count += 1;
        idx
    }

    /// Removes the template that was longest without a line.
    fn forget_oldest(&mut self) -> Option<Placed> {
        let entries = self.entries.iter().enumerate();
        let (_, idx) = entries.filter_map(|(idx, entry)| entry.as_ref().map(|entry| (entry.tick, idx))).min()?;
        Some(self.forget(idx))
    }

    fn forget(&mut self, idx: usize) -> Placed {
        let Some(entry) = self.entries[idx].take() else { return Placed::default() };
        self.count -= 1;
        self.known.retain(|_, known| *known as usize != idx);
        if let Some(alike) = self.shapes.get_mut(&entry.shape) {
            alike.retain(|other| *other as usize != idx);
            if alike.is_empty() {
                self.shapes.remove(&entry.shape);
            }
        }
        Placed { slots: -(entry.slots() as isize), templates: -1, bytes: -(entry.bytes as isize) }
    }

    /// Takes a template of an earlier run, with its lines of a day.
    pub fn restore(&mut self, template: Template, level: Arc<str>, day: i32, counts: Counts) -> Placed {
        let shape = template.shape_hash(xxh3_64(level.as_bytes()));
        let mut placed = Placed::default();
        let alike = self.shapes.get(&shape).map_or(&[][..], Vec::as_slice);
        let same = alike.iter().copied().find(|&idx| {
            self.entries[idx as usize].as_ref().is_some_and(|entry| entry.template == template && entry.level == level)
        });
        let idx = match same {
            Some(idx) => idx,
            None if self.count >= TEMPLATES_MAX => return placed,
            None => self.insert(template, level, shape, &mut placed),
        };
        if let Some(Some(entry)) = self.entries.get_mut(idx as usize) {
            let own = entry.day_mut(day);
            for (slot, count) in counts.iter() {
                placed.slots += isize::from(own.add(slot, count));
            }
        }
        placed
    }

    /// Forgets a day, and the templates that have no other.
    pub fn close_day(&mut self, day: i32) -> Placed {
        let mut placed = Placed::default();
        for idx in 0..self.entries.len() {
            let Some(entry) = &mut self.entries[idx] else { continue };
            let before = entry.slots();
            entry.days.retain(|known| known.0 != day);
            placed.slots -= (before - entry.slots()) as isize;
            if entry.days.is_empty() {
                placed += self.forget(idx);
            }
        }
        placed
    }

    /// Joins the slots of all templates, see [`Counts::coarsen`].
    pub fn coarsen(&mut self, width: u32) -> usize {
        let days = self.entries.iter_mut().flatten().flat_map(|entry| &mut entry.days);
        days.map(|(_, counts)| counts.coarsen(width)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StreamId, TenantId};
    use logstack_logql::Labels;

    fn stream() -> StreamPatterns {
        let (tenant, labels) = (TenantId::new("a"), Labels::from_pairs([("app", "x")]));
        StreamPatterns::new(Arc::new(Stream { id: StreamId::of(&tenant, &labels), tenant, labels }))
    }

    fn patterns(stream: &StreamPatterns) -> Vec<(String, u64)> {
        let lines = |entry: &Entry| entry.days.iter().flat_map(|(_, c)| c.iter().map(|s| u64::from(s.1))).sum();
        let mut all: Vec<_> = stream.entries().map(|entry| (entry.template.pattern(), lines(entry))).collect();
        all.sort();
        all
    }

    fn mine<'a>(lines: impl IntoIterator<Item = &'a str>) -> StreamPatterns {
        let (mut stream, mut words, level) = (stream(), Words::default(), "info".into());
        for line in lines {
            stream.add(line, &mut words, &level, (0, 0), 1, true);
        }
        stream
    }

    #[test]
    fn joins_lines_that_share_most_words() {
        #[track_caller]
        fn check(lines: &[&str], want: &[(&str, u64)]) {
            let want: Vec<_> = want.iter().map(|(pattern, count)| ((*pattern).to_owned(), *count)).collect();
            assert_eq!(patterns(&mine(lines.iter().copied())), want);
        }
        check(&["GET /sync 200", "GET /sync 404", "POST /sync 200"], &[("GET /sync <_>", 2), ("POST /sync <_>", 1)]);
        check(&["user ann logged in", "user bob logged in"], &[("user <_> logged in", 2)]);
        check(
            &["level=info msg=\"started ok\"", "level=info msg=\"ended badly\""],
            &[("level=info msg=\"ended badly\"", 1), ("level=info msg=\"started ok\"", 1)],
        );
        check(&["", "  "], &[]);
    }

    #[test]
    fn a_crowd_of_one_shape_becomes_one_template() {
        let lines: Vec<String> = (0..200)
            .map(|n| format!("login {}", (0..6).map(|i| (b'a' + (n >> i & 1) as u8 + i) as char).collect::<String>()))
            .chain((0..400).map(|n: u32| {
                let name: String = (0..10).map(|bit| if n >> bit & 1 == 1 { 'x' } else { 'y' }).collect();
                format!("hello {name}")
            }))
            .collect();
        let stream = mine(lines.iter().map(String::as_str));
        assert!(stream.len() <= 130, "{}", stream.len());
        assert!(patterns(&stream).iter().any(|(pattern, _)| pattern.contains("<_>")));
    }

    #[test]
    fn templates_are_bounded() {
        let lines: Vec<String> =
            (0..1000).map(|n| format!("a{}b", " x=y".repeat(n % 128) + &" ".repeat(n / 128))).collect();
        let stream = mine(lines.iter().map(String::as_str));
        assert_eq!((stream.len(), stream.entries().count()), (TEMPLATES_MAX, TEMPLATES_MAX));
    }

    #[test]
    fn templates_come_back() {
        let mut first = mine(["took 5 ms for ann", "took 6 ms for bob", "took 7 ms for eve"]);
        let mut second = stream();
        for entry in first.entries() {
            for (day, counts) in &entry.days {
                second.restore(entry.template.clone(), entry.level.clone(), *day, counts.clone());
            }
        }
        assert_eq!(patterns(&first), patterns(&second));
        second.add("took 8 ms for mia", &mut Words::default(), &"info".into(), (0, 5), 1, true);
        assert_eq!(second.len(), first.len(), "the line is one of the template's");
        let closed = first.close_day(0);
        assert_eq!((closed.slots, closed.templates), (-1, -1));
        assert!(first.is_empty());
    }
}
