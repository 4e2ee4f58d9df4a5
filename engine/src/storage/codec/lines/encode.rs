//! Writes the lines of a block as templates and columns, and their metadata ids with them.
//!
//! ```text
//! Directory := template_count plain_rows metadata:u8 (template:zigzag-difference rows)*
//!              column? (column* column?)*        of the plain lines if there are any, then of each template: its
//!                                                variables, and its metadata ids if `metadata` is 1
//! Order     := plane{1 or 2}                     encoding = planes; 0 is a plain line, else 1 + place in Directory
//! ```
//!
//! Plain lines are those without a template: they are strings of the vocabulary. A template's metadata ids are a column
//! of it because lines of one template mostly have the same metadata: level, logger and so on follow from the text.

use super::super::dict::TemplateDict;
use super::super::meta::TemplateSet;
use super::super::section::{Section, SectionKind, SectionWriter};
use super::clock::Format;
use super::column::{Column, List, Print, Values};
use super::ints::{CONTEXTS, Earlier, Ints};
use super::shape::{Shaper, TemplateRows};
use super::token::Kind;
use super::vocabulary::Vocabulary;
use crate::model::Rows;
use crate::storage::wire::{put_varint, put_zigzag};

/// Planes of one section.
const FRAME_BYTES: usize = 256 << 10;
/// Columns of a template that are tried as predictors of another: the ones just in front of it.
const EARLIER_MAX: usize = 24;

/// Encodes lines; keeps its buffers between blocks.
#[derive(Default)]
pub(crate) struct LinesEncoder {
    shaper: Shaper,
    text: Vocabulary,
    packed: Vocabulary,
    /// For each string of a vocabulary the last column that had it, and its place in that column's list.
    text_places: Vec<(u32, u32)>,
    packed_places: Vec<(u32, u32)>,
    column_serial: u32,
    columns: Vec<ColumnValues>,
    scratch: Vec<i64>,
    scales: Vec<i64>,
}

/// Values of a column while its template is encoded.
#[derive(Default)]
struct ColumnValues {
    values: Vec<i64>,
    /// Vocabulary numbers of a string column, in order of appearance.
    list: Vec<u32>,
    packed: bool,
    /// May predict others.
    varies: bool,
    small: bool,
}

/// Where a block's sections go.
pub(crate) struct Output<'a> {
    pub(crate) writer: &'a mut SectionWriter,
    pub(crate) block_start: usize,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) sections: &'a mut Vec<Section>,
}

impl Output<'_> {
    pub(crate) fn put(&mut self, kind: SectionKind, encoding: u8, raw: &[u8]) {
        self.sections.push(self.writer.put(kind, encoding, raw, self.block_start, self.out));
    }
}

/// Bytes of columns on their way into sections.
#[derive(Default)]
struct Streams {
    directory: Vec<u8>,
    numbers: Vec<u8>,
    lists: Vec<u8>,
}

impl LinesEncoder {
    /// The strings of the last block: text, and hex digits.
    pub(crate) fn vocabularies(&self) -> (&Vocabulary, &Vocabulary) {
        (&self.text, &self.packed)
    }

    /// Appends the sections of `rows`, whose metadata ids are `metadata_ids` (`None`: all 0), and returns the
    /// templates used.
    pub(crate) fn encode(
        &mut self,
        rows: &Rows,
        metadata_ids: Option<&[u32]>,
        dict: &mut TemplateDict,
        output: &mut Output<'_>,
    ) -> TemplateSet {
        self.text.clear();
        self.packed.clear();
        self.text_places.clear();
        self.packed_places.clear();
        self.column_serial = 0;
        let mut plain = Vec::new();
        let mut templates = self.shaper.shape(rows, dict, &mut plain);
        // Frequent ones get small places, so that the high plane of the order is nearly always zero.
        templates.sort_by_key(|template| std::cmp::Reverse(template.rows.len()));

        let mut order = vec![0_u16; rows.len()];
        for (index, template) in templates.iter().enumerate() {
            for &row in &template.rows {
                order[row as usize] = (index + 1) as u16;
            }
        }
        let planes = if templates.len() < 256 { 1 } else { 2 };
        let mut bytes: Vec<u8> = order.iter().map(|&place| place as u8).collect();
        if planes == 2 {
            bytes.extend(order.iter().map(|&place| (place >> 8) as u8));
        }
        output.put(SectionKind::Order, planes, &bytes);

        let mut streams = Streams::default();
        put_varint(&mut streams.directory, templates.len() as u64);
        put_varint(&mut streams.directory, plain.len() as u64);
        streams.directory.push(u8::from(metadata_ids.is_some()));
        let mut last = 0;
        for template in &templates {
            put_zigzag(&mut streams.directory, i64::from(template.template) - last);
            last = i64::from(template.template);
            put_varint(&mut streams.directory, template.rows.len() as u64);
        }
        if !plain.is_empty() {
            self.begin_template(1);
            self.plain_column(rows, &plain, &mut streams);
            if let Some(ids) = metadata_ids {
                self.metadata_column(1, ids, &plain, &mut streams);
            }
            flush(&mut streams.numbers, output, FRAME_BYTES);
        }
        for template in &templates {
            let count = template.tokens.len();
            self.begin_template(count);
            for index in 0..count {
                self.variable_column(rows, template, index, &mut streams);
            }
            if let Some(ids) = metadata_ids {
                self.metadata_column(count, ids, &template.rows, &mut streams);
            }
            flush(&mut streams.numbers, output, FRAME_BYTES);
        }
        flush(&mut streams.numbers, output, 1);
        output.put(SectionKind::Directory, 0, &streams.directory);
        if !streams.lists.is_empty() {
            output.put(SectionKind::Lists, 0, &streams.lists);
        }
        self.text.write_text(&rows.bytes, output);
        self.packed.write_packed(&rows.bytes, output);
        let mut numbers: Vec<u32> = templates.iter().map(|template| template.template).collect();
        numbers.sort_unstable();
        numbers.dedup();
        TemplateSet { numbers, has_plain_lines: !plain.is_empty() }
    }

    fn begin_template(&mut self, columns: usize) {
        if self.columns.len() <= columns {
            self.columns.resize_with(columns + 1, ColumnValues::default);
        }
        for column in &mut self.columns {
            column.varies = false;
        }
    }

    /// The text of lines without a template.
    fn plain_column(&mut self, rows: &Rows, plain: &[u32], streams: &mut Streams) {
        let places = plain.iter().map(|&row| {
            let row = row as usize;
            let start = if row == 0 { 0 } else { rows.ends[row - 1] as usize };
            (start, rows.ends[row] as usize - start)
        });
        let column = self.string_column(0, Print::Text, &rows.bytes, places, streams);
        column.write(Some(Kind::Text), &mut streams.directory);
    }

    fn metadata_column(&mut self, at: usize, ids: &[u32], of: &[u32], streams: &mut Streams) {
        let mut values = std::mem::take(&mut self.columns[at].values);
        values.clear();
        values.extend(of.iter().map(|&row| i64::from(ids[row as usize])));
        self.columns[at].values = values;
        let values = self.numbers(at, streams);
        Column { print: Print::Metadata, values, scales: None }.write(None, &mut streams.directory);
    }

    fn variable_column(&mut self, rows: &Rows, template: &TemplateRows, at: usize, streams: &mut Streams) {
        let token_index = template.tokens[at] as usize;
        let kind = self.shaper.tokens(template.rows[0])[token_index].kind;
        let mut values = std::mem::take(&mut self.columns[at].values);
        values.clear();
        let print = self.numeric_values(rows, template, token_index, kind, &mut values);
        self.columns[at].values = values;
        let column = match print {
            Some(Print::DecimalScales) => {
                let mut scales = std::mem::take(&mut self.scales);
                let written = Ints::encode(&scales, &[], &mut self.scratch, &mut streams.numbers);
                scales.clear();
                self.scales = scales;
                let values = self.numbers(at, streams);
                Column { print: Print::DecimalScales, values, scales: Some(Box::new(written)) }
            }
            Some(print) => Column { print, values: self.numbers(at, streams), scales: None },
            None => {
                let shaper = std::mem::take(&mut self.shaper);
                let token = |row: u32| shaper.tokens(row)[token_index];
                let print = match kind {
                    Kind::Uuid => Print::Uuid,
                    Kind::Hex if template.rows.iter().all(|&row| token(row).len.is_multiple_of(2)) => Print::Hex,
                    _ => Print::Text,
                };
                let places = template.rows.iter().map(|&row| {
                    let line_start = if row == 0 { 0 } else { rows.ends[row as usize - 1] as usize };
                    (line_start + usize::from(token(row).start), usize::from(token(row).len))
                });
                let column = self.string_column(at, print, &rows.bytes, places, streams);
                self.shaper = shaper;
                column
            }
        };
        column.write(Some(kind), &mut streams.directory);
    }

    /// Fills `values` with the numbers of a numeric column; `None` when the column has to be kept as strings.
    fn numeric_values(
        &mut self,
        rows: &Rows,
        template: &TemplateRows,
        token_index: usize,
        kind: Kind,
        values: &mut Vec<i64>,
    ) -> Option<Print> {
        let texts = template.rows.iter().map(|&row| {
            let token = self.shaper.tokens(row)[token_index];
            (token, token.text(rows.line(row as usize)), rows.timestamps[row as usize])
        });
        match kind {
            Kind::Word | Kind::Hex | Kind::Uuid | Kind::Text | Kind::Phrase => None,
            Kind::Number => {
                // The shortest padded one tells the width; all others have to agree.
                let mut width = 1;
                for (_, text, _) in texts.clone() {
                    if text[0] == b'0' && text.len() > 1 {
                        width = text.len();
                        break;
                    }
                }
                for (_, text, _) in texts {
                    let padded = text[0] == b'0' && text.len() > 1;
                    if if padded { text.len() != width } else { text.len() < width } {
                        return None;
                    }
                    values.push(decimal(text));
                }
                Some(Print::Number(width))
            }
            Kind::Decimal => {
                self.scales.clear();
                for (_, text, _) in texts {
                    let dot = memchr::memchr(b'.', text)?;
                    self.scales.push((text.len() - dot - 1) as i64);
                    values.push(
                        decimal(&text[..dot]) * 10_i64.pow((text.len() - dot - 1) as u32) + decimal(&text[dot + 1..]),
                    );
                }
                let first = self.scales[0];
                if self.scales.iter().all(|&scale| scale == first) {
                    Some(Print::Decimal(first as usize))
                } else {
                    Some(Print::DecimalScales)
                }
            }
            Kind::Address => {
                for (_, text, _) in texts {
                    let mut value = 0_i64;
                    let mut octet = 0_i64;
                    for &byte in text {
                        if byte == b'.' {
                            value = value << 8 | octet;
                            octet = 0;
                        } else {
                            octet = octet * 10 + i64::from(byte - b'0');
                        }
                    }
                    values.push(value << 8 | octet);
                }
                Some(Print::Address)
            }
            Kind::Time => {
                for (token, text, entry_ns) in texts {
                    let format = Format::from_id(token.format)?;
                    let units = format.parse(text, entry_ns);
                    values.push(entry_ns.div_euclid(format.unit_ns()).wrapping_sub(units));
                }
                Some(Print::Time)
            }
        }
    }

    /// Writes the numbers of column `at`.
    fn numbers(&mut self, at: usize, streams: &mut Streams) -> Values {
        let column = &mut self.columns[at];
        let first = column.values[0];
        column.list.clear();
        if column.values.iter().all(|&value| value == first) {
            return Values::Constant(first);
        }
        column.varies = true;
        column.small = column.values.iter().all(|value| (0..CONTEXTS as i64).contains(value));
        Values::Numbers(self.ints(at, streams))
    }

    fn ints(&mut self, at: usize, streams: &mut Streams) -> Ints {
        let mut earlier = [Earlier { column: 0, values: &[], small: false }; EARLIER_MAX];
        let mut count = 0;
        for (column, other) in self.columns[..at].iter().enumerate().rev() {
            if count == EARLIER_MAX {
                break;
            }
            if other.varies {
                earlier[count] = Earlier { column, values: &other.values, small: other.small };
                count += 1;
            }
        }
        Ints::encode(&self.columns[at].values, &earlier[..count], &mut self.scratch, &mut streams.numbers)
    }

    /// Writes a column of strings at `places` (start and length in `bytes`).
    fn string_column(
        &mut self,
        at: usize,
        print: Print,
        bytes: &[u8],
        places: impl Iterator<Item = (usize, usize)>,
        streams: &mut Streams,
    ) -> Column {
        let packed = print.is_packed();
        let (vocabulary, seen) =
            if packed { (&mut self.packed, &mut self.packed_places) } else { (&mut self.text, &mut self.text_places) };
        self.column_serial += 1;
        let serial = self.column_serial;
        let new_from = vocabulary.len() as u32;
        let column = &mut self.columns[at];
        column.values.clear();
        column.list.clear();
        column.packed = packed;
        for (start, len) in places {
            let number = vocabulary.intern(bytes, start, len);
            if number as usize == seen.len() {
                seen.push((0, 0));
            }
            let place = &mut seen[number as usize];
            if place.0 != serial {
                *place = (serial, column.list.len() as u32);
                column.list.push(number);
            }
            column.values.push(i64::from(place.1));
        }
        let new_count = vocabulary.len() - new_from as usize;
        let count = column.list.len();
        if count == 1 {
            let back = if new_count == 1 { 0 } else { (new_from - column.list[0]) as usize };
            return Column { print, values: Values::ConstantString(back), scales: None };
        }
        column.varies = true;
        column.small = count <= CONTEXTS;
        let same = (0..at).find(|&other| {
            let other = &self.columns[other];
            other.varies && other.packed == packed && other.list == self.columns[at].list
        });
        let list = match same {
            Some(other) => List::SameAs(other),
            None if new_count == count => List::New { count },
            None => {
                let before = streams.lists.len();
                let mut next = new_from;
                for &number in &self.columns[at].list {
                    put_varint(&mut streams.lists, u64::from(next - number));
                    next += u32::from(number == next);
                }
                List::Written { count, new_count, bytes: streams.lists.len() - before }
            }
        };
        Column { print, values: Values::Strings(list, self.ints(at, streams)), scales: None }
    }
}

fn flush(numbers: &mut Vec<u8>, output: &mut Output<'_>, least: usize) {
    if numbers.len() >= least {
        output.put(SectionKind::Numbers, 0, numbers);
        numbers.clear();
    }
}

fn decimal(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}
