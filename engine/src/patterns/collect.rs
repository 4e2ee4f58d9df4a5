//! The answer to a question about patterns: counts of templates, summed over streams and steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::counts::{SLOT_S, SLOTS_PER_DAY, slot_start_s};
use super::template::{Place, Template};

/// Patterns with fewer lines in the range are not shown: a template that two lines share by chance is none. The bound
/// is what the recorded answers show (category `patterns`: 34 lines are in, 25 are not).
const LINES_MIN: u64 = 30;

/// Most patterns of an answer, the most frequent ones.
const PATTERNS_MAX: usize = 1000;

/// Most templates of a shape that are held against each other.
const COMPARED_MAX: usize = 300;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct PatternQuery {
    /// Included.
    pub start_ns: i64,
    /// Excluded.
    pub end_ns: i64,
    /// Distance of the samples; at least a slot.
    pub step_s: i64,
}

impl PatternQuery {
    /// The days that have slots in the range; none when it is empty.
    pub fn days(&self) -> std::ops::RangeInclusive<i32> {
        let day = |ns: i64| ns.div_euclid(SLOTS_PER_DAY * SLOT_S * 1_000_000_000) as i32;
        day(self.start_ns)..=day(self.end_ns.saturating_sub(1))
    }

    /// The first second of the step that a slot is in; `None` when the slot begins outside of the range.
    fn step_of(&self, day: i32, slot: u32) -> Option<i64> {
        let at_s = slot_start_s(day, slot);
        // The slot in which the range starts counts, or a range shorter than a slot would have nothing.
        let first_s = self.start_ns.div_euclid(SLOT_S * 1_000_000_000) * SLOT_S;
        let is_in = first_s <= at_s && at_s.saturating_mul(1_000_000_000) < self.end_ns;
        is_in.then(|| at_s - at_s.rem_euclid(self.step_s))
    }
}

/// A pattern with its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Texts and placeholders.
    pub pattern: String,
    /// Level of the lines.
    pub level: Arc<str>,
    /// Unix seconds and lines, a step apart from the first to the last that has lines.
    pub samples: Vec<(i64, u64)>,
}

/// Counts by step.
type Steps = BTreeMap<i64, u64>;

/// Sums what it is given.
pub struct Collector {
    query: PatternQuery,
    /// By shape, and in it by template and level.
    shapes: HashMap<u64, HashMap<(Template, Arc<str>), Steps>>,
}

impl Collector {
    /// Nothing yet.
    pub fn new(query: PatternQuery) -> Self {
        Self { query, shapes: HashMap::new() }
    }

    /// Adds the lines that a template had on a day.
    pub fn add(&mut self, template: &Template, level: &Arc<str>, day: i32, slots: impl Iterator<Item = (u32, u32)>) {
        let mut steps = Steps::new();
        for (slot, count) in slots {
            if let Some(step_s) = self.query.step_of(day, slot) {
                *steps.entry(step_s).or_default() += u64::from(count);
            }
        }
        if steps.is_empty() {
            return;
        }
        let shape = self.shapes.entry(template.shape_hash(0)).or_default();
        let all = shape.entry((template.clone(), level.clone())).or_default();
        steps.into_iter().for_each(|(step_s, count)| *all.entry(step_s).or_default() += count);
    }

    /// The answer, the most frequent pattern first.
    pub fn finish(self) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for (_, shape) in self.shapes {
            for ((template, level), steps) in fold(shape) {
                let lines: u64 = steps.values().sum();
                if lines >= LINES_MIN {
                    patterns.push((lines, template.pattern(), level, steps));
                }
            }
        }
        patterns.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (&a.1, &a.2).cmp(&(&b.1, &b.2))));
        patterns.truncate(PATTERNS_MAX);
        let step_s = self.query.step_s;
        let pattern = |(_, pattern, level, steps)| Pattern { pattern, level, samples: fill(&steps, step_s) };
        patterns.into_iter().map(pattern).collect()
    }
}

/// Gives the lines of a template to a wider one of the same level, if there is one: which of the two a line went to was
/// a matter of which came first.
fn fold(shape: HashMap<(Template, Arc<str>), Steps>) -> Vec<((Template, Arc<str>), Steps)> {
    let texts = |template: &Template| template.places.iter().filter(|place| matches!(place, Place::Text(_))).count();
    let mut all: Vec<_> = shape.into_iter().collect();
    // The widest first; what is folded goes to the widest that covers it.
    all.sort_by_cached_key(|((template, level), _)| (texts(template), template.clone(), level.clone()));
    let mut kept: Vec<((Template, Arc<str>), Steps)> = Vec::new();
    for (key, steps) in all {
        let covers = |other: &&mut ((Template, Arc<str>), Steps)| other.0.1 == key.1 && other.0.0.covers(&key.0);
        match kept.iter_mut().take(COMPARED_MAX).find(covers) {
            Some((_, own)) => steps.into_iter().for_each(|(step, count)| *own.entry(step).or_default() += count),
            None => kept.push((key, steps)),
        }
    }
    kept
}

/// Samples from the first step to the last, those without lines included.
fn fill(steps: &Steps, step_s: i64) -> Vec<(i64, u64)> {
    let (Some((&first, _)), Some((&last, _))) = (steps.first_key_value(), steps.last_key_value()) else {
        return Vec::new();
    };
    let count = usize::try_from((last - first) / step_s).unwrap_or(0) + 1;
    (0..count as i64).map(|idx| first + idx * step_s).map(|at| (at, steps.get(&at).copied().unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns::tokens::Words;

    fn template(line: &str) -> Template {
        let mut words = Words::default();
        words.read(line);
        Template::of(line, &words)
    }

    fn query(start_s: i64, end_s: i64, step_s: i64) -> PatternQuery {
        PatternQuery { start_ns: start_s * 1_000_000_000, end_ns: end_s * 1_000_000_000, step_s }
    }

    #[test]
    fn sums_by_step_and_fills_gaps() {
        let mut collector = Collector::new(query(0, 86_400, 20));
        let (info, warn): (Arc<str>, Arc<str>) = ("info".into(), "warn".into());
        collector.add(&template("x 1"), &info, 0, [(1, 10), (2, 5), (3, 6), (9, 20)].into_iter());
        collector.add(&template("x 2"), &info, 0, [(3, 1)].into_iter());
        collector.add(&template("x 2"), &warn, 0, [(3, 29)].into_iter());
        let samples = vec![(0, 10), (20, 12), (40, 0), (60, 0), (80, 20)];
        assert_eq!(collector.finish(), [Pattern { pattern: "x <_>".to_owned(), level: info, samples }]);
    }

    #[test]
    fn narrow_templates_count_for_wide_ones() {
        let mut collector = Collector::new(query(0, 100, 10));
        let level: Arc<str> = "info".into();
        let mut wide = template("installed cmake ok");
        wide.places[1] = Place::Any;
        collector.add(&template("installed cmake ok"), &level, 0, [(0, 20)].into_iter());
        collector.add(&wide, &level, 0, [(0, 20)].into_iter());
        let found = collector.finish();
        assert_eq!((found.len(), found[0].pattern.as_str()), (1, "installed <_> ok"));
        assert_eq!(found[0].samples, [(0, 40)]);
    }

    #[test]
    fn the_end_is_not_in_the_range() {
        #[track_caller]
        fn check(start_s: i64, end_s: i64, want: &[(i64, u64)]) {
            let mut collector = Collector::new(query(start_s, end_s, 10));
            collector.add(&template("x"), &"info".into(), 0, [(0, 30), (1, 31), (2, 32)].into_iter());
            let found = collector.finish();
            assert_eq!(found.first().map_or(&[][..], |pattern| &pattern.samples), want, "{start_s}..{end_s}");
        }
        check(0, 20, &[(0, 30), (10, 31)]);
        check(5, 21, &[(0, 30), (10, 31), (20, 32)]);
        check(10, 10, &[]);
        check(20, 10, &[]);
        assert_eq!(query(86_399, 86_401, 10).days(), 0..=1);
        assert!(query(86_400, 0, 10).days().is_empty());
    }
}
