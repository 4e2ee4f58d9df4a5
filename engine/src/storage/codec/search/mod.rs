//! Finding the rows whose lines pass a query's line filters, without looking at most of the bytes.
//!
//! 1. Once per query, [`LineSearch`]: the text that a line must contain to pass a filter.
//! 2. Once per part, [`PartSearch`]: what each such needle has to do with each template ([`classify`]).
//! 3. Once per block: does the filter index allow a match ([`PartSearch::may_match`])?
//! 4. In a block that is opened ([`block`]): rows of templates that contain the needle match unseen; the vocabulary is
//!    searched once for all string columns; columns of numbers are looked at only when the needle can lie in them.
//! 5. Filters that are more than their text (regular expressions, patterns) run over the lines that are left.
//!
//! The answer is that of a scan of all lines, always.

mod between;
pub(crate) mod block;
pub(crate) mod classify;
pub(crate) mod fields;
pub(crate) mod needle;

use std::sync::Arc;

use logstack_logql::line_filter::{CompiledLineFilter, Needle};

use self::classify::{Classes, Holds, classify};
use self::needle::Pattern;
use super::dict::TemplateDict;
use super::error::Result;
use super::filter::Lookup;
use super::lines::charset::Charset;
use super::meta::BlockMeta;

/// A filter of the query.
#[derive(Debug, Clone)]
struct Term {
    filter: Arc<CompiledLineFilter>,
    /// A line in which the filter's text is found fulfils one of these: all needles of it (places in
    /// [`Prepared::needles`]) are in the line. Empty: nothing is known.
    alternatives: Vec<Vec<usize>>,
    /// The text is found exactly where that holds.
    decides: bool,
}

#[derive(Debug, Default)]
struct Prepared {
    terms: Vec<Term>,
    needles: Vec<SearchedNeedle>,
    /// Some filter passes no line.
    passes_nothing: bool,
}

#[derive(Debug)]
struct SearchedNeedle {
    needle: Needle,
    /// `None`: too long for it.
    pattern: Option<Pattern>,
}

/// The line filters of a query, prepared once for all parts. A row is found when its line passes every filter.
#[derive(Debug, Clone, Default)]
pub struct LineSearch {
    prepared: Arc<Prepared>,
}

impl LineSearch {
    /// Prepares `filters`.
    pub fn new(filters: impl IntoIterator<Item = Arc<CompiledLineFilter>>) -> Self {
        let mut prepared = Prepared::default();
        for filter in filters {
            match filter.constant() {
                Some(true) => continue,
                Some(false) => prepared.passes_nothing = true,
                None => {}
            }
            let mut decides = filter.literals_decide();
            let mut alternatives = Vec::new();
            for all in filter.found_literals().map_or(&[][..], |literals| &literals.alternatives) {
                let needles = all.iter().map(|needle| {
                    // The head of a long needle finds its candidates.
                    let mut needle = needle.clone();
                    if needle.bytes.len() > needle::NEEDLE_BYTES_MAX {
                        needle.bytes = needle.bytes[..needle::NEEDLE_BYTES_MAX].into();
                        decides = false;
                    }
                    prepared.place_of(needle)
                });
                alternatives.push(needles.collect());
            }
            prepared.terms.push(Term { filter, alternatives, decides });
        }
        Self { prepared: Arc::new(prepared) }
    }
}

impl Prepared {
    fn place_of(&mut self, needle: Needle) -> usize {
        if let Some(place) = self.needles.iter().position(|known| known.needle == needle) {
            return place;
        }
        let pattern = Pattern::new(&needle);
        self.needles.push(SearchedNeedle { needle, pattern });
        self.needles.len() - 1
    }
}

/// The filters of a query, prepared for the templates of one part.
#[derive(Debug, Clone, Default)]
pub struct PartSearch {
    prepared: Arc<Prepared>,
    /// By needle.
    classes: Vec<Arc<Classes>>,
}

impl PartSearch {
    /// Prepares `search` for the part with the templates of `dict`: some microseconds per hundred templates.
    pub fn new(search: &LineSearch, dict: &TemplateDict) -> Self {
        let classes = search.prepared.needles.iter().map(|needle| {
            Arc::new(needle.pattern.as_ref().map_or_else(Classes::default, |pattern| classify(pattern, dict)))
        });
        Self { prepared: search.prepared.clone(), classes: classes.collect() }
    }

    /// True when every line passes: there is no filter.
    pub fn matches_all(&self) -> bool {
        self.prepared.terms.is_empty()
    }

    pub(crate) fn passes_nothing(&self) -> bool {
        self.prepared.passes_nothing
    }

    /// True when no block can be ruled out.
    pub(crate) fn excludes_nothing(&self) -> bool {
        !self.prepared.passes_nothing
            && self.prepared.terms.iter().all(|term| term.filter.is_negative() || term.alternatives.is_empty())
    }

    pub(crate) fn matches(&self, line: &[u8]) -> bool {
        self.prepared.terms.iter().all(|term| term.filter.matches(line))
    }

    /// False only when no line of the block passes. `number` is the block's in the filter index.
    pub(crate) fn may_match(&self, meta: &BlockMeta, number: usize, lookup: &mut Lookup<'_>) -> Result<bool> {
        if self.prepared.passes_nothing {
            return Ok(false);
        }
        if meta.is_plain() {
            return Ok(true);
        }
        let templates = meta.templates()?;
        for term in &self.prepared.terms {
            if term.filter.is_negative() || term.alternatives.is_empty() {
                continue;
            }
            let mut possible = false;
            for needles in &term.alternatives {
                let mut all = true;
                for &needle in needles {
                    all = all && self.may_contain(needle, &templates, number, lookup)?;
                }
                possible |= all;
                if possible {
                    break;
                }
            }
            if !possible {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// False only when no line of a block with these templates contains the needle.
    fn may_contain(
        &self,
        needle: usize,
        templates: &super::meta::TemplateSet,
        number: usize,
        lookup: &mut Lookup<'_>,
    ) -> Result<bool> {
        let Some(pattern) = &self.prepared.needles[needle].pattern else { return Ok(true) };
        let classes = &self.classes[needle];
        let has = |flags: &[bool], template: u32| flags.get(template as usize).copied().unwrap_or(true);
        if templates.numbers.iter().any(|&template| has(&classes.everywhere, template)) {
            return Ok(true);
        }
        let in_strings =
            templates.has_plain_lines || templates.numbers.iter().any(|&template| has(&classes.in_strings, template));
        if in_strings {
            let in_packed = pattern.fits(Charset::Uuid)
                && lookup.has_packed(number)
                && lookup.digits_may_contain(number, &pattern.bytes)?;
            if in_packed || lookup.text_may_contain(number, &pattern.bytes)? {
                return Ok(true);
            }
        }
        for template in &templates.numbers {
            let Some(alignments) = classes.alignments.get(template) else { continue };
            if alignments.is_empty() {
                return Ok(true);
            }
            for alignment in alignments {
                let mut possible = true;
                for condition in alignment.iter().filter(|condition| condition.is_text) {
                    let text = &pattern.bytes[usize::from(condition.from)..usize::from(condition.to)];
                    possible = possible && lookup.text_may_contain(number, text)?;
                }
                if possible {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The part of the needle that a condition is about, for messages and tests.
impl Holds {
    pub(crate) fn holds(self, pattern: &Pattern, from: usize, to: usize, value: &[u8], scratch: &mut Vec<u8>) -> bool {
        let len = to - from;
        match self {
            Self::Inside => pattern.is_in(value, scratch),
            Self::All => value.len() == len && pattern.equals(from, to, value),
            // A value that is all of it lies otherwise only when something precedes it: it is one of these too.
            Self::Start => value.len() >= len && pattern.equals(from, to, &value[..len]),
            Self::End => value.len() >= len && pattern.equals(from, to, &value[value.len() - len..]),
        }
    }
}
