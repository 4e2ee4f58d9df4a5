//! The rows of one block that contain a needle.

use super::super::dict::TemplateDict;
use super::super::error::Result;
use super::super::lines::charset::Charset;
use super::super::lines::column::Print;
use super::super::lines::decode::{Loader, TemplateLines, ValueWriter};
use super::super::lines::order::Order;
use super::super::lines::strings::Strings;
use super::super::lines::vocabulary::unpack;
use super::super::rowset::RowSet;
use super::classify::{Alignment, Classes, Condition, Holds};
use super::needle::Pattern;
use super::{PartSearch, Prepared};

/// What a search needs besides the lines.
pub(crate) struct BlockSearch<'a> {
    pub(crate) loader: Loader<'a>,
    pub(crate) dict: &'a TemplateDict,
    pub(crate) timestamps: &'a mut dyn FnMut() -> Result<std::sync::Arc<Vec<i64>>>,
}

/// The rows of a template that match.
pub(super) enum Matches {
    None,
    All,
    /// By row of the template.
    Some(RowSet),
}

impl Matches {
    pub(super) fn of(found: RowSet) -> Self {
        if found.is_empty() { Self::None } else { Self::Some(found) }
    }

    /// The rows of the block, given the matches of its groups.
    pub(super) fn in_block(matches: &[Self], order: &Order) -> RowSet {
        let mut rows = RowSet::empty(order.len());
        let marked: Vec<bool> = matches.iter().map(|matches| !matches!(matches, Self::None)).collect();
        order.each_of(&marked, |row, group, place| {
            let is_match = match &matches[group] {
                Self::None => false,
                Self::All => true,
                Self::Some(found) => found.contains(place),
            };
            if is_match {
                rows.insert(row);
            }
        });
        rows
    }
}

/// Strings of a block that contain the needle, ascending.
#[derive(Default)]
struct Hits {
    text: Vec<u32>,
    packed: Vec<u32>,
}

impl PartSearch {
    /// Removes rows that cannot pass. Returns the filters that have to look at the lines of those that are left.
    pub(crate) fn narrow(
        &self,
        lines: &mut TemplateLines,
        search: &mut BlockSearch<'_>,
        rows: &mut RowSet,
    ) -> Result<Vec<usize>> {
        let prepared: &Prepared = &self.prepared;
        let mut found_by_needle: Vec<Option<RowSet>> = vec![None; prepared.needles.len()];
        let mut open = Vec::new();
        for (index, term) in prepared.terms.iter().enumerate() {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            if term.alternatives.is_empty() {
                open.push(index);
                continue;
            }
            let mut found = RowSet::empty(rows.len());
            for needles in &term.alternatives {
                let mut all = RowSet::full(rows.len());
                for &needle in needles {
                    if all.is_empty() {
                        break;
                    }
                    let slot = &mut found_by_needle[needle];
                    let found = match slot {
                        Some(found) => found,
                        None => {
                            let pattern = prepared.needles[needle].pattern.as_ref();
                            slot.insert(rows_with(pattern, &self.classes[needle], lines, search)?)
                        }
                    };
                    all.intersect(found);
                }
                found.union(&all);
            }
            match (term.filter.is_negative(), term.decides) {
                (false, true) => rows.intersect(&found),
                (true, true) => rows.subtract(&found),
                (false, false) => {
                    rows.intersect(&found);
                    open.push(index);
                }
                (true, false) => {
                    // Rows without the text pass; only the others have to be looked at. When other filters look at
                    // lines anyway, this one sees more than it needs to, which changes nothing.
                    found.intersect(rows);
                    if !found.is_empty() {
                        open.push(index);
                    }
                }
            }
        }
        Ok(open)
    }

    /// True when the filters `open` let the line pass.
    pub(crate) fn passes(&self, open: &[usize], line: &[u8]) -> bool {
        open.iter().all(|&index| self.prepared.terms[index].filter.matches(line))
    }
}

/// All rows that contain the needle.
fn rows_with(
    pattern: Option<&Pattern>,
    classes: &Classes,
    lines: &mut TemplateLines,
    search: &mut BlockSearch<'_>,
) -> Result<RowSet> {
    let Some(pattern) = pattern else { return Ok(RowSet::full(lines.order.len())) };
    let mut hits: Option<Hits> = None;
    let mut matches = Vec::with_capacity(lines.groups.len());
    for group in 0..lines.groups.len() {
        matches.push(match lines.groups[group].template {
            _ if lines.groups[group].rows == 0 => Matches::None,
            Some(template) if classes.everywhere[template as usize] => Matches::All,
            template => {
                let mut found = RowSet::empty(lines.groups[group].rows);
                if template.is_none_or(|template| classes.in_strings[template as usize]) {
                    if hits.is_none() {
                        hits = Some(search_strings(pattern, lines, search)?);
                    }
                    if let Some(hits) = &hits {
                        in_strings(pattern, hits, group, lines, search, &mut found)?;
                    }
                }
                match template.and_then(|template| classes.alignments.get(&template)) {
                    Some(alignments) if alignments.is_empty() => {
                        in_rendered(pattern, group, lines, search, &mut found)?;
                    }
                    Some(alignments) => {
                        for alignment in alignments {
                            aligned(pattern, alignment, group, lines, search, &mut found)?;
                        }
                    }
                    None => {}
                }
                Matches::of(found)
            }
        });
    }
    Ok(Matches::in_block(&matches, &lines.order))
}

fn search_strings(pattern: &Pattern, lines: &mut TemplateLines, search: &BlockSearch<'_>) -> Result<Hits> {
    lines.load_strings(&search.loader)?;
    let mut hits = Hits { text: lines.strings(false)?.containing(pattern), packed: Vec::new() };
    if pattern.fits(Charset::Uuid) {
        hits.packed = packed_containing(lines.strings(true)?, pattern);
    }
    Ok(hits)
}

/// Packed strings whose digits contain those of the needle; dashes are looked at when the column is known.
fn packed_containing(strings: &Strings, pattern: &Pattern) -> Vec<u32> {
    let digits: Vec<u8> = pattern.bytes.iter().copied().filter(|byte| *byte != b'-').collect();
    let mut text = Vec::new();
    // Two digits a byte: a needle begins at a high digit or at a low one.
    let whole_bytes = |digits: &[u8]| -> Vec<u8> {
        let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
        digits.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
    };
    let contains = |number: usize, text: &mut Vec<u8>| {
        text.clear();
        unpack(strings.get(number), false, text);
        memchr::memmem::find(text, &digits).is_some()
    };
    if digits.len() < 6 {
        return (0..strings.len()).filter(|&n| contains(n, &mut text)).map(|n| n as u32).collect();
    }
    let mut found = Vec::new();
    for core in [whole_bytes(&digits), whole_bytes(&digits[1..])] {
        strings.find_each(&memchr::memmem::Finder::new(&core), false, |number| {
            if contains(number, &mut text) {
                found.push(number as u32);
            }
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Adds the rows of `group` that have one of the strings that were hit.
fn in_strings(
    pattern: &Pattern,
    hits: &Hits,
    group: usize,
    lines: &mut TemplateLines,
    search: &BlockSearch<'_>,
    found: &mut RowSet,
) -> Result<()> {
    for column in 0..lines.groups[group].columns.len() {
        let print = lines.groups[group].columns[column].column.print;
        let hit = match print {
            Print::Text => &hits.text,
            Print::Hex | Print::Uuid => &hits.packed,
            _ => continue,
        };
        if hit.is_empty()
            || lines.groups[group].columns[column].new_strings().is_some_and(|range| {
                let from = hit.partition_point(|&number| (number as usize) < range.start);
                hit.get(from).is_none_or(|&number| number as usize >= range.end)
            })
        {
            continue;
        }
        lines.load_list(group, column)?;
        let list = lines.groups[group].columns[column].list().to_vec();
        let mut text = Vec::new();
        let strings = lines.strings(print.is_packed())?;
        let places: Vec<bool> = list
            .iter()
            .map(|number| {
                let is_hit = hit.binary_search(number).is_ok();
                if !is_hit || print == Print::Text {
                    return is_hit;
                }
                text.clear();
                unpack(strings.get(*number as usize), print == Print::Uuid, &mut text);
                pattern.finder.find(&text).is_some()
            })
            .collect();
        add_rows_at(&places, group, column, lines, search, found)?;
    }
    Ok(())
}

/// Adds the rows of `group` whose value of string column `column` has a place in its list that is marked.
fn add_rows_at(
    places: &[bool],
    group: usize,
    column: usize,
    lines: &mut TemplateLines,
    search: &BlockSearch<'_>,
    found: &mut RowSet,
) -> Result<()> {
    if !places.contains(&true) {
        return Ok(());
    }
    lines.load(group, column, &search.loader)?;
    for (row, &place) in lines.groups[group].columns[column].values().iter().enumerate() {
        if places[place as usize] {
            found.insert(row);
        }
    }
    Ok(())
}

/// Adds the rows of `group` in which the needle lies as `alignment` says.
fn aligned(
    pattern: &Pattern,
    alignment: &Alignment,
    group: usize,
    lines: &mut TemplateLines,
    search: &mut BlockSearch<'_>,
    found: &mut RowSet,
) -> Result<()> {
    let mut left = RowSet::full(found.len());
    // Strings first: their lists are short, and tell most often that there is nothing.
    let is_string = |lines: &TemplateLines, c: &Condition| {
        lines.groups[group].columns[usize::from(c.column)].column.print.is_string()
    };
    for strings in [true, false] {
        for condition in alignment {
            if is_string(lines, condition) == strings {
                let holding = rows_holding(pattern, condition, group, lines, search)?;
                left.intersect(&holding);
                if left.is_empty() {
                    return Ok(());
                }
            }
        }
    }
    found.union(&left);
    Ok(())
}

/// The rows of `group` whose column holds what the condition says.
fn rows_holding(
    pattern: &Pattern,
    condition: &Condition,
    group: usize,
    lines: &mut TemplateLines,
    search: &mut BlockSearch<'_>,
) -> Result<RowSet> {
    let column = usize::from(condition.column);
    let rows = lines.groups[group].rows;
    let mut found = RowSet::empty(rows);
    let (from, to) = (usize::from(condition.from), usize::from(condition.to));
    let (mut scratch, mut text) = (Vec::new(), Vec::new());
    let print = lines.groups[group].columns[column].column.print;
    if print.is_string() {
        lines.load_strings(&search.loader)?;
        lines.load_list(group, column)?;
        let list = lines.groups[group].columns[column].list().to_vec();
        let strings = lines.strings(print.is_packed())?;
        let places: Vec<bool> = list
            .iter()
            .map(|&number| {
                let value = strings.get(number as usize);
                if !print.is_packed() {
                    return condition.holds.holds(pattern, from, to, value, &mut scratch);
                }
                text.clear();
                unpack(value, print == Print::Uuid, &mut text);
                condition.holds.holds(pattern, from, to, &text, &mut scratch)
            })
            .collect();
        add_rows_at(&places, group, column, lines, search, &mut found)?;
        return Ok(found);
    }
    if !may_hold(pattern, condition, group, lines) {
        return Ok(found);
    }
    lines.load(group, column, &search.loader)?;
    if let (Print::Number(width), Holds::All) = (print, condition.holds) {
        // A number that is all of it: compare numbers.
        if let Some(value) = number_printed_as(&pattern.bytes[from..to], width) {
            for (row, &other) in lines.groups[group].columns[column].values().iter().enumerate() {
                if other == value {
                    found.insert(row);
                }
            }
        }
        return Ok(found);
    }
    let is_time = matches!(print, Print::Time | Print::TimeAbsolute);
    let entry_times = if is_time { lines.times_of(group, &(search.timestamps)()?) } else { Vec::new() };
    let mut writer = ValueWriter::new(lines, search.dict, group, column)?;
    let constant = lines.groups[group].columns[column].constant().is_some() && !is_time;
    for row in 0..if constant { 1 } else { rows } {
        text.clear();
        writer.write(row, entry_times.get(row).copied().unwrap_or(0), &mut text);
        if condition.holds.holds(pattern, from, to, &text, &mut scratch) {
            if constant {
                return Ok(RowSet::full(rows));
            }
            found.insert(row);
        }
    }
    Ok(found)
}

/// False when the directory alone says that no value can be the one that is looked for.
fn may_hold(pattern: &Pattern, condition: &Condition, group: usize, lines: &TemplateLines) -> bool {
    let column = &lines.groups[group].columns[usize::from(condition.column)];
    let (Print::Number(width), Holds::All) = (column.column.print, condition.holds) else { return true };
    let text = &pattern.bytes[usize::from(condition.from)..usize::from(condition.to)];
    number_printed_as(text, width).is_some_and(|value| column.range().contains(&value))
}

/// The number that is printed as `digits` with at least `width` digits, if there is one.
fn number_printed_as(digits: &[u8], width: usize) -> Option<i64> {
    let padded = digits.len() > 1 && digits[0] == b'0';
    let fits = if padded { digits.len() == width } else { digits.len() >= width };
    if !fits || digits.len() > 18 {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

/// Adds the rows of `group` whose rendered line contains the needle.
fn in_rendered(
    pattern: &Pattern,
    group: usize,
    lines: &mut TemplateLines,
    search: &mut BlockSearch<'_>,
    found: &mut RowSet,
) -> Result<()> {
    let mut rows = RowSet::empty(lines.order.len());
    lines.order.rows_of(group).for_each(|row| rows.insert(row));
    let timestamps = (search.timestamps)()?;
    let (mut scratch, mut index) = (Vec::new(), 0);
    lines.render(&rows, &timestamps, search.dict, &search.loader, &mut |_, line| {
        if pattern.is_in(line, &mut scratch) {
            found.insert(index);
        }
        index += 1;
    })
}
