//! The rows of one block that a test on a value may keep, found from templates and one column each; here of a JSON member,
//! in [`super::between`] of what stands between two texts.
//!
//! All lines of a template read the same but for its variables. So one line of it, with placeholders for these, is read as
//! the parser would; if every variable is (part of) a value there, the parser takes the same way through all of them, and
//! the tested member is the same piece of text or the same variable in all.

use hashbrown::HashMap;
use logstack_logql::pipeline::{FieldParser, FieldTest, FieldValue, Fields};

use super::super::dict::{Template, TemplateDict};
use super::super::error::{Result, damaged};
use super::super::lines::column::{Print, Values};
use super::super::lines::decode::{Loader, TemplateLines, ValueWriter};
use super::super::lines::token::Kind;
use super::super::rowset::RowSet;
use super::between;
use super::block::Matches;

/// A template's line in one block: with the strings that are the same in all of its rows (long names, as a rule), and
/// placeholders for the other variables.
#[derive(Default)]
struct Sample {
    line: Vec<u8>,
    placeholders: Vec<Placeholder>,
}

struct Placeholder {
    start: usize,
    end: usize,
    kind: Kind,
    column: usize,
}

impl Sample {
    fn new(lines: &mut TemplateLines, group: usize, template: Template<'_>) -> Result<Self> {
        let mut sample = Self::default();
        for (column, variable) in template.variables.iter().enumerate() {
            sample.line.extend_from_slice(template.piece(column));
            let start = sample.line.len();
            let placed = &lines.groups[group].columns[column].column;
            if placed.print == Print::Text && matches!(placed.values, Values::ConstantString(_)) {
                lines.load_list(group, column)?;
                let number = *lines.groups[group].columns[column].list().first().ok_or(damaged("string is missing"))?;
                sample.line.extend_from_slice(lines.strings(false)?.get(number as usize));
                continue;
            }
            sample.line.extend_from_slice(match variable.kind {
                Kind::Number => b"7",
                Kind::Decimal => b"7.5",
                _ => b"x",
            });
            sample.placeholders.push(Placeholder { start, end: sample.line.len(), kind: variable.kind, column });
        }
        sample.line.extend_from_slice(template.piece(template.variables.len()));
        Ok(sample)
    }

    /// Each placeholder lies in a value, in which any text of its kind leads the parser the same way, but for strings with
    /// quotes. The columns of strings are the answer.
    fn strings(&self, fields: &Fields) -> Option<Vec<usize>> {
        let mut strings = Vec::new();
        for placeholder in self.placeholders.iter().take_while(|placeholder| placeholder.start < fields.end) {
            let after = fields.values.partition_point(|value| value.start <= placeholder.start);
            let around = after.checked_sub(1).map(|at| fields.values[at])?;
            if placeholder.end > around.end {
                return None;
            }
            match placeholder.kind {
                Kind::Number | Kind::Decimal => {}
                _ if around.is_bare => return None,
                Kind::Address | Kind::Hex | Kind::Uuid | Kind::Time => {}
                Kind::Word | Kind::Text | Kind::Phrase => strings.push(placeholder.column),
            }
        }
        Some(strings)
    }
}

/// Removes from `rows` those whose lines `test` drops for certain.
pub(crate) fn narrow(
    test: &FieldTest,
    lines: &mut TemplateLines,
    dict: &TemplateDict,
    loader: &Loader<'_>,
    rows: &mut RowSet,
) -> Result<()> {
    let kept = match test.parser() {
        FieldParser::Json => kept(test, lines, dict, loader)?,
        FieldParser::Regexp(between) => between::kept(test, between, lines, dict, loader)?,
    };
    rows.intersect(&Matches::in_block(&kept, &lines.order));
    Ok(())
}

/// Of each group the rows that may pass: all, where that cannot be told.
fn kept(test: &FieldTest, lines: &mut TemplateLines, dict: &TemplateDict, loader: &Loader<'_>) -> Result<Vec<Matches>> {
    lines.load_strings(loader)?;
    // Seldom any: quotes separate words.
    let quoted = lines.strings(false)?.with_byte(b'"', b'\\');
    (0..lines.groups.len()).map(|group| kept_of(test, lines, dict, loader, &quoted, group)).collect()
}

fn kept_of(
    test: &FieldTest,
    lines: &mut TemplateLines,
    dict: &TemplateDict,
    loader: &Loader<'_>,
    quoted: &[u32],
    group: usize,
) -> Result<Matches> {
    let Some(number) = lines.groups[group].template else { return Ok(Matches::All) };
    let template = dict.get(number as usize).ok_or(damaged("template is missing"))?;
    let sample = Sample::new(lines, group, template)?;
    let Some(fields) = test.read(&sample.line) else { return Ok(Matches::All) };
    let Some(strings) = sample.strings(&fields) else { return Ok(Matches::All) };
    for column in strings {
        if has_any(lines, group, column, quoted)? {
            return Ok(Matches::All);
        }
    }
    let Some(FieldValue { start, end, .. }) = fields.tested.map(|at| fields.values[at]) else {
        return Ok(if test.keeps(None) { Matches::All } else { Matches::None });
    };
    if start == end {
        return Ok(Matches::All);
    }
    let first = sample.placeholders.partition_point(|placeholder| placeholder.end <= start);
    match sample.placeholders.get(first) {
        Some(placeholder) if (placeholder.start, placeholder.end) == (start, end) => {
            of_column(&|value| keeps(test, value), lines, dict, loader, group, placeholder.column)
        }
        // Text around a variable.
        Some(placeholder) if placeholder.start < end => Ok(Matches::All),
        _ => Ok(if keeps(test, &sample.line[start..end]) { Matches::All } else { Matches::None }),
    }
}

/// True when a string of the column is among `numbers` of the vocabulary, which ascend.
fn has_any(lines: &mut TemplateLines, group: usize, column: usize, numbers: &[u32]) -> Result<bool> {
    if numbers.is_empty() || lines.groups[group].columns[column].column.print != Print::Text {
        return Ok(false);
    }
    lines.load_list(group, column)?;
    Ok(lines.groups[group].columns[column].list().iter().any(|number| numbers.binary_search(number).is_ok()))
}

/// Asks about each value of a column once.
pub(super) fn of_column(
    keeps: &dyn Fn(&[u8]) -> bool,
    lines: &mut TemplateLines,
    dict: &TemplateDict,
    loader: &Loader<'_>,
    group: usize,
    column: usize,
) -> Result<Matches> {
    let print = lines.groups[group].columns[column].column.print;
    if !matches!(print, Print::Number(_) | Print::Decimal(_) | Print::Text) {
        return Ok(Matches::All);
    }
    lines.load(group, column, loader)?;
    let placed = &lines.groups[group].columns[column];
    let values = placed.values();
    let mut kept = RowSet::full(values.len());
    if print == Print::Text {
        let strings = lines.strings(false)?;
        let places: Vec<bool> = placed.list().iter().map(|&number| keeps(strings.get(number as usize))).collect();
        kept.retain(|row| places[values[row] as usize]);
    } else {
        let mut writer = ValueWriter::new(lines, dict, group, column)?;
        let mut known: HashMap<i64, bool> = HashMap::new();
        let mut text = Vec::new();
        let mut ask = |row: usize| {
            text.clear();
            writer.write(row, 0, &mut text);
            keeps(&text)
        };
        kept.retain(|row| *known.entry(values[row]).or_insert_with(|| ask(row)));
    }
    Ok(Matches::of(kept))
}

pub(super) fn keeps(test: &FieldTest, value: &[u8]) -> bool {
    match std::str::from_utf8(value) {
        // Parsers put a blank in place of it.
        Ok(text) => text.contains(char::REPLACEMENT_CHARACTER) || test.keeps(Some(text)),
        Err(_) => true,
    }
}
