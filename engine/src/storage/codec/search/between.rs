//! The rows of one block that a test on the value between two texts may keep, found from templates and one column each.
//!
//! If the first text is found in a piece of the template, and nowhere before it whatever the variables are, then the value
//! begins behind it in all rows; it is the text there, or the variable that begins there if the piece behind that tells
//! where the value ends.

use logstack_logql::line_filter::Needle;
use logstack_logql::pipeline::{Between, FieldTest};

use super::super::dict::{Template, TemplateDict};
use super::super::error::{Result, damaged};
use super::super::lines::charset::Charset;
use super::super::lines::column::Print;
use super::super::lines::decode::{Loader, TemplateLines};
use super::block::Matches;
use super::fields::{keeps, of_column};
use super::needle::{Pattern, bits, positions};

/// Columns with more strings are taken to hold whatever strings of their kind can: looking at each of many would cost what
/// it may save.
const STRINGS_MAX: usize = 64;

/// Of each group the rows that may pass: all, where that cannot be told.
pub(super) fn kept(
    test: &FieldTest,
    between: &Between,
    lines: &mut TemplateLines,
    dict: &TemplateDict,
    loader: &Loader<'_>,
) -> Result<Vec<Matches>> {
    let groups = 0..lines.groups.len();
    match Pattern::new(&Needle::exact(between.before())) {
        Some(before) => groups.map(|group| kept_of(test, between, &before, lines, dict, loader, group)).collect(),
        // Too long for it.
        None => Ok(groups.map(|_| Matches::All).collect()),
    }
}

fn kept_of(
    test: &FieldTest,
    between: &Between,
    before: &Pattern,
    lines: &mut TemplateLines,
    dict: &TemplateDict,
    loader: &Loader<'_>,
    group: usize,
) -> Result<Matches> {
    let Some(number) = lines.groups[group].template else { return Ok(Matches::All) };
    let template = dict.get(number as usize).ok_or(damaged("template is missing"))?;
    let last = template.variables.len();
    let found = (0..=last).find_map(|index| Some((index, before.finder.find(template.piece(index))?)));
    let Some((index, at)) = found else { return Ok(Matches::All) };
    if may_occur_before(before, template, index, at, &[])
        && may_occur_before(before, template, index, at, &strings_of(lines, group, index, loader)?)
    {
        return Ok(Matches::All);
    }
    let is_kept = |text: &[u8]| between.value(text).is_none_or(|value| keeps(test, value));
    let text = &template.piece(index)[at + before.len()..];
    let len = text.iter().take_while(|byte| between.is_in_values(**byte)).count();
    if len < text.len() || index == last {
        let is_dropped = text[len..].starts_with(between.after()) && !is_kept(&text[..len]);
        return Ok(if is_dropped { Matches::None } else { Matches::All });
    }
    let behind = template.piece(index + 1);
    let is_end = behind.first().map_or(index + 1 == last, |byte| !between.is_in_values(*byte));
    if !text.is_empty() || !is_end || !behind.starts_with(between.after()) {
        return Ok(Matches::All);
    }
    of_column(&is_kept, lines, dict, loader, group, index)
}

/// The strings of the columns in front of piece `end`, where they are few.
fn strings_of(
    lines: &mut TemplateLines,
    group: usize,
    end: usize,
    loader: &Loader<'_>,
) -> Result<Vec<Option<Vec<Vec<u8>>>>> {
    lines.load_strings(loader)?;
    let mut known = Vec::with_capacity(end);
    for column in 0..end {
        if lines.groups[group].columns[column].column.print != Print::Text {
            known.push(None);
            continue;
        }
        lines.load_list(group, column)?;
        let list = lines.groups[group].columns[column].list();
        let strings = lines.strings(false)?;
        let texts = || list.iter().map(|&number| strings.get(number as usize).to_vec()).collect();
        known.push((list.len() <= STRINGS_MAX).then(texts));
    }
    Ok(known)
}

/// False when no line of the template has the needle in front of byte `at` of piece `end`, or beginning there. A column
/// holds its `strings`; any text of its kind, if they are not known.
fn may_occur_before(
    pattern: &Pattern,
    template: Template<'_>,
    end: usize,
    at: usize,
    strings: &[Option<Vec<Vec<u8>>>],
) -> bool {
    let mut walk = Walk { pattern, reached: 0, is_found: false };
    for index in 0..end {
        walk.one_of([template.piece(index)]);
        match strings.get(index).and_then(Option::as_ref) {
            Some(strings) => walk.one_of(strings.iter().map(Vec::as_slice)),
            None => walk.any_of(template.variables[index].charset()),
        }
    }
    // One that begins earlier than the one that was found ends earlier.
    walk.one_of([&template.piece(end)[..at + pattern.len() - 1]]);
    walk.is_found
}

/// A walk through text that is known in part.
struct Walk<'a> {
    pattern: &'a Pattern,
    /// Positions in the needle that have been reached here: bit `p` if the text so far may end with its first `p` bytes.
    reached: u64,
    is_found: bool,
}

impl Walk<'_> {
    /// Next comes one of `texts`.
    fn one_of<'t>(&mut self, texts: impl IntoIterator<Item = &'t [u8]>) {
        let needle = &self.pattern.bytes;
        let mut left = 0;
        for text in texts {
            self.is_found |= self.pattern.finder.find(text).is_some();
            for at in (1..needle.len()).filter(|&at| text.ends_with(&needle[..at])) {
                left |= 1 << at;
            }
            for at in bits(self.reached) {
                let rest = &needle[at..];
                if text.len() >= rest.len() {
                    self.is_found |= text.starts_with(rest);
                } else if rest.starts_with(text) {
                    left |= 1 << (at + text.len());
                }
            }
        }
        self.reached = left;
    }

    /// Next comes any text of these bytes, which is not empty.
    fn any_of(&mut self, charset: Charset) {
        let len = self.pattern.len();
        let mut left = 0;
        // It may begin in front of the needle, or anywhere the needle has got to.
        for at in std::iter::once(0).chain(bits(self.reached)) {
            let end = self.pattern.run_end(charset, at);
            self.is_found |= end == len;
            left |= positions(at + 1, end.min(len - 1));
        }
        self.reached = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec::dict::Variable;
    use crate::storage::codec::lines::token::Kind;

    #[test]
    fn texts_are_found_across_variables() {
        let mut dict = TemplateDict::new();
        // The last piece has the needle; may a line have it earlier?
        let mut check = |needle: &str, pieces: &[&str], kinds: &[Kind], strings: Option<&[&str]>, want: bool| {
            let mut ends = Vec::new();
            for piece in pieces {
                ends.push(ends.last().unwrap_or(&0) + piece.len() as u32);
            }
            let kinds: Vec<Variable> = kinds.iter().map(|&kind| Variable { kind, format: 0 }).collect();
            let number = dict.intern(pieces.concat().as_bytes(), &ends, &kinds).unwrap();
            let template = dict.get(number as usize).unwrap();
            let pattern = Pattern::new(&Needle::exact(needle.as_bytes())).unwrap();
            let last = pieces.len() - 1;
            let at = pieces[last].find(needle).unwrap();
            let strings =
                strings.map(|strings| strings.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
            let strings = vec![strings; last];
            assert_eq!(may_occur_before(&pattern, template, last, at, &strings), want, "{needle} {pieces:?}");
        };
        check("took ", &["", " took "], &[Kind::Number], None, false);
        check("took ", &["", " took "], &[Kind::Word], None, true);
        check("took ", &["", ": took "], &[Kind::Word], None, false);
        check("took ", &["", " took "], &[Kind::Word], Some(&["LOG", "WARN"]), false);
        check("took ", &["", " took "], &[Kind::Phrase], None, true);
        check("took ", &["to", "ok took "], &[Kind::Number], None, false);
        check("to1ok ", &["to", "ok to1ok "], &[Kind::Number], None, true);
        check("to1ok ", &["to", " to1ok "], &[Kind::Number], None, false);
        check("took ", &["", " took "], &[Kind::Text], None, true);
        check("took ", &["", ": took "], &[Kind::Text], None, false);
        check("took ", &["\"", "\" took "], &[Kind::Phrase], Some(&["it took", "a"]), false);
        check("took ", &["\"", "\" took "], &[Kind::Phrase], Some(&["it took 7", "a"]), true);
        check("took ", &["\"", "ok took "], &[Kind::Phrase], Some(&["a", "it to"]), true);
        check("aab", &["", "ab aab"], &[Kind::Phrase], Some(&["a"]), true);
        check("aab", &["", "aab"], &[Kind::Phrase], Some(&["a"]), false);
        check("1.2.3", &["", ".", ".3 1.2.3"], &[Kind::Number, Kind::Number], None, true);
    }
}
