//! Finds out, once per part, what a needle can have to do with each template.
//!
//! An occurrence lies in a piece, in one variable, or across several of both. The first makes every row of the template
//! a match, the second is a question to the block's strings or to one column of numbers, the third to a few columns that
//! have to hold certain parts of the needle. As a variable is never empty and is made of few sorts of bytes, nearly all
//! templates can have nothing to do with a needle. Positions of the needle are bits of a word: how a piece can meet the
//! needle is computed once per distinct piece, and walking a template is a handful of shifts per variable.

use hashbrown::HashMap;

use super::super::dict::{Pieces, Template, TemplateDict, Variable};
use super::super::lines::charset::Charsets;
use super::super::lines::clock::Format;
use super::super::lines::token::Kind;
use super::needle::{Pattern, bits, positions};

/// More ways to lie across variables are not told apart: the rows are rendered instead.
const ALIGNMENTS_MAX: usize = 64;

/// What a column has to hold, where `from..to` are bytes of the needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The whole needle somewhere.
    Inside,
    /// A value that ends with them.
    End,
    /// Exactly them.
    All,
    /// A value that begins with them.
    Start,
}

/// A condition on one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) column: u16,
    pub(crate) holds: Holds,
    pub(crate) from: u8,
    pub(crate) to: u8,
    /// The column's strings are text of the vocabulary, and so in the block's filter.
    pub(crate) is_text: bool,
}

/// A way for a needle to lie in a template: all conditions hold.
pub(crate) type Alignment = Vec<Condition>;

/// What a needle has to do with the templates of a part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Classes {
    /// By template: a piece contains the needle.
    pub(crate) everywhere: Vec<bool>,
    /// By template: a variable of strings could contain the needle, in the vocabulary of text or of packed digits.
    pub(crate) in_strings: Vec<bool>,
    /// Other ways, for templates that have some and are not `everywhere`. Empty: too many to tell.
    pub(crate) alignments: HashMap<u32, Vec<Alignment>>,
}

/// How a distinct piece meets the needle. Bit `p` stands for the needle's position `p`.
#[derive(Clone, Copy, Default)]
struct Meets {
    /// The whole piece is the needle's bytes from `p` on, and the needle goes on.
    through: u64,
    /// The needle's bytes from `p` on end in the piece.
    ends: u64,
    /// The piece ends with the needle's first `p` bytes, and the needle goes on.
    begins: u64,
    len: u8,
    contains: bool,
}

/// How all distinct pieces meet the needle. Most do not.
struct AllMeets {
    /// By piece: its place in `met`, where the first one is of all pieces that do not meet it.
    places: Vec<u32>,
    met: Vec<Meets>,
    /// The empty piece, through which every longer needle goes, and which says nothing at the ends of a template.
    empty: Option<u32>,
}

/// Classifies all templates.
pub(crate) fn classify(pattern: &Pattern, dict: &TemplateDict) -> Classes {
    let pieces = dict.pieces();
    let meets = AllMeets::of(pattern, pieces);
    let mut classes = Classes {
        everywhere: vec![false; dict.len()],
        in_strings: vec![false; dict.len()],
        alignments: HashMap::new(),
    };
    let mut first = 0;
    for (number, charsets) in pieces.charsets.iter().enumerate() {
        let behind = dict.first_piece(number + 1);
        let ids = &pieces.ids[first..behind];
        first = behind;
        let fitting = charsets.and(pattern.charsets);
        let inside_strings = fitting.and(Charsets::OF_STRINGS);
        if !meets.any(ids) && fitting == inside_strings {
            classes.in_strings[number] = !inside_strings.is_empty();
            continue;
        }
        if ids.iter().any(|&id| meets.of_piece(id).contains) {
            classes.everywhere[number] = true;
            continue;
        }
        let (in_strings, elsewhere) = walk(pattern, dict.variables(number), ids, &meets);
        classes.in_strings[number] = in_strings;
        if elsewhere && let Some(template) = dict.get(number) {
            let alignments = align(pattern, template);
            if !alignments.as_ref().is_some_and(Vec::is_empty) {
                classes.alignments.insert(number as u32, alignments.unwrap_or_default());
            }
        }
    }
    classes
}

impl AllMeets {
    fn of(pattern: &Pattern, pieces: &Pieces) -> Self {
        let text = if pattern.ignore_case { &pieces.folded } else { &pieces.text };
        let mut all = Self { places: vec![0; pieces.ends.len()], met: vec![Meets::default()], empty: None };
        let (mut start, mut found) = (0, pattern.finder.find(text));
        for (&end, place) in pieces.ends.iter().zip(&mut all.places) {
            let end = end as usize;
            let mut meets = meets(pattern, &text[start..end]);
            // One search of all text: it also finds what goes on in the next piece.
            while let Some(at) = found.filter(|&at| at < end) {
                meets.contains |= at + pattern.len() <= end;
                let next = if meets.contains { end } else { at + 1 };
                found = pattern.finder.find(&text[next..]).map(|at| next + at);
            }
            if meets.contains || meets.through | meets.ends | meets.begins != 0 {
                *place = all.met.len() as u32;
                all.met.push(meets);
            }
            start = end;
        }
        let starts = std::iter::once(&0).chain(&pieces.ends);
        all.empty = starts.zip(&pieces.ends).position(|(start, end)| start == end).map(|id| id as u32);
        all
    }

    fn of_piece(&self, id: u32) -> &Meets {
        &self.met[self.places[id as usize] as usize]
    }

    /// True when the needle can have to do with one of a template's pieces.
    fn any(&self, ids: &[u32]) -> bool {
        let meets = |id: &u32| self.places[*id as usize];
        let at_end = |id: &u32| if Some(*id) == self.empty { 0 } else { meets(id) };
        match ids {
            [first, between @ .., last] => {
                // No early end: most templates meet nothing and are looked through anyway.
                between.iter().fold(at_end(first) | at_end(last), |any, id| any | meets(id)) != 0
            }
            [only] => at_end(only) != 0,
            [] => false,
        }
    }
}

/// But for whether the piece contains it.
fn meets(pattern: &Pattern, piece: &[u8]) -> Meets {
    let len = pattern.len();
    let mut meets = Meets { len: piece.len().min(usize::from(u8::MAX)) as u8, ..Meets::default() };
    let inner = positions(1, len - 1);
    let (Some(&first), Some(&last)) = (piece.first(), piece.last()) else {
        meets.through = inner;
        return meets;
    };
    // Most pieces are punctuation, which most needles have little of.
    for at in bits(pattern.places(first) & inner) {
        let rest = &pattern.bytes[at..];
        let shared = rest.len().min(piece.len());
        if is_equal(&rest[..shared], &piece[..shared]) {
            let met = if piece.len() < rest.len() { &mut meets.through } else { &mut meets.ends };
            *met |= 1 << at;
        }
    }
    for at in bits(pattern.places(last) << 1 & inner) {
        let is_met = piece.len() >= at && is_equal(&piece[piece.len() - at..], &pattern.bytes[..at]);
        meets.begins |= u64::from(is_met) << at;
    }
    meets
}

/// Of the same length and short, and different soon: a call costs more than the comparison.
#[inline]
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.iter().zip(right).all(|(left, right)| left == right)
}

/// Whether the needle can be inside a string of the template, and whether it can be there in another way.
fn walk(pattern: &Pattern, variables: &[Variable], ids: &[u32], meets: &AllMeets) -> (bool, bool) {
    let len = pattern.len();
    let (mut in_strings, mut elsewhere) = (false, false);
    // Positions that the needle has reached where the variable begins; never 0 and never its end.
    let mut reached = meets.of_piece(ids[0]).begins;
    for (variable, id) in variables.iter().zip(&ids[1..]) {
        let charset = variable.charset();
        // Positions that it can have reached where the variable ends.
        let mut left = 0_u64;
        let inside = pattern.run_end(charset, 0);
        if inside == len {
            if charset.is_of_strings() { in_strings = true } else { elsewhere = true }
        }
        left |= positions(1, inside.min(len - 1));
        for at in bits(reached) {
            let end = pattern.run_end(charset, at);
            elsewhere |= end == len;
            left |= positions(at + 1, end.min(len - 1));
        }
        let piece = meets.of_piece(*id);
        elsewhere |= left & piece.ends != 0;
        if elsewhere && in_strings {
            break;
        }
        let through = left & piece.through;
        let moved = if piece.len < 64 { through << piece.len } else { 0 };
        reached = moved | piece.begins;
    }
    (in_strings, elsewhere)
}

/// All ways for the needle to lie in the template, other than inside a piece or inside a string; `None` if too many.
fn align(pattern: &Pattern, template: Template<'_>) -> Option<Vec<Alignment>> {
    let mut aligner = Aligner { pattern, template, conditions: Vec::new(), found: Vec::new() };
    let len = pattern.len();
    for (column, variable) in template.variables.iter().enumerate() {
        let charset = variable.charset();
        let inside = pattern.run_end(charset, 0);
        if inside == len && !charset.is_of_strings() {
            aligner.with(column, Holds::Inside, 0, len, |aligner| aligner.done());
        }
        for to in 1..=inside.min(len - 1) {
            aligner.with(column, Holds::End, 0, to, |aligner| aligner.piece(column + 1, to));
        }
        let piece = template.piece(column);
        for at in 1..len.min(piece.len() + 1) {
            if pattern.equals(0, at, &piece[piece.len() - at..]) {
                aligner.enter(column, at);
            }
        }
        if aligner.found.len() > ALIGNMENTS_MAX {
            return None;
        }
    }
    Some(aligner.found)
}

struct Aligner<'a> {
    pattern: &'a Pattern,
    template: Template<'a>,
    conditions: Alignment,
    found: Vec<Alignment>,
}

impl Aligner<'_> {
    fn done(&mut self) {
        self.found.push(self.conditions.clone());
    }

    fn with(&mut self, column: usize, holds: Holds, from: usize, to: usize, then: impl FnOnce(&mut Self)) {
        if self.found.len() > ALIGNMENTS_MAX {
            return;
        }
        let variable = self.template.variables[column];
        if let (Kind::Time, Some(format)) = (variable.kind, Format::from_id(variable.format)) {
            let part = &self.pattern.bytes[from..to];
            let at_start = matches!(holds, Holds::Start | Holds::All);
            let at_end = matches!(holds, Holds::End | Holds::All);
            if !format.may_have(part, at_start, at_end) {
                return;
            }
        }
        let is_text = matches!(variable.kind, Kind::Word | Kind::Text | Kind::Phrase);
        self.conditions.push(Condition { column: column as u16, holds, from: from as u8, to: to as u8, is_text });
        then(self);
        self.conditions.pop();
    }

    /// The needle's position `at` is where variable `column` begins.
    fn enter(&mut self, column: usize, at: usize) {
        let Some(variable) = self.template.variables.get(column) else { return };
        let len = self.pattern.len();
        let end = self.pattern.run_end(variable.charset(), at);
        if end == len {
            self.with(column, Holds::Start, at, len, Self::done);
        }
        for to in at + 1..=end.min(len - 1) {
            self.with(column, Holds::All, at, to, |aligner| aligner.piece(column + 1, to));
        }
    }

    /// The needle's position `at` is where piece `index` begins.
    fn piece(&mut self, index: usize, at: usize) {
        let piece = self.template.piece(index);
        let rest = self.pattern.len() - at;
        if piece.len() >= rest {
            if self.pattern.equals(at, at + rest, &piece[..rest]) {
                self.done();
            }
        } else if self.pattern.equals(at, at + piece.len(), piece) {
            self.enter(index, at + piece.len());
        }
    }
}
