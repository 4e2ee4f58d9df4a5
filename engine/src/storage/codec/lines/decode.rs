//! Reads the lines of a block of templates: what is needed of them, when it is needed.

use bytes::Bytes;

use super::super::dict::TemplateDict;
use super::super::error::{Result, damaged};
use super::super::meta::BlockMeta;
use super::super::rowset::RowSet;
use super::super::section::{BlockSource, Section, SectionKind, read_section};
use super::clock::{Format, Writer, put_padded};
use super::column::{Column, List, Print, Values};
use super::ints::{Ints, Predictor};
use super::order::Order;
use super::strings::Strings;
use super::token::Kind;
use super::vocabulary::unpack;
use crate::storage::wire::Reader;

/// The directory of a block of templates, and the columns that were needed so far.
pub(crate) struct TemplateLines {
    /// For each row its place in `groups`.
    pub(crate) order: Order,
    /// The plain lines first, then the templates of the block.
    pub(crate) groups: Vec<Group>,
    numbers: Vec<(usize, Section, Option<Bytes>)>,
    lists: Option<Bytes>,
    text: Option<Strings>,
    packed: Option<Strings>,
}

/// Rows of one template, or those without.
pub(crate) struct Group {
    /// `None`: plain lines, which are one string each.
    pub(crate) template: Option<u32>,
    pub(crate) rows: usize,
    /// The variables; of plain lines the whole line.
    pub(crate) columns: Vec<PlacedColumn>,
    pub(crate) metadata: Option<PlacedColumn>,
}

/// A column and where its bytes are.
pub(crate) struct PlacedColumn {
    pub(crate) column: Column,
    /// First byte of its planes (and of its scales' planes) in the number stream.
    numbers_at: usize,
    scales_at: usize,
    /// First byte of its list in the list stream.
    list_at: usize,
    /// The first string that is new in this column.
    next_new: usize,
    /// Of the few columns that a query needs.
    decoded: Option<Box<Decoded>>,
}

/// What was decoded of a column so far.
#[derive(Default)]
struct Decoded {
    /// Values of all rows: numbers, or places in the list.
    values: Option<Vec<i64>>,
    scales: Option<Vec<i64>>,
    /// Vocabulary numbers of the list.
    list: Option<Vec<u32>>,
}

/// Where the block's bytes come from.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) meta: &'a BlockMeta,
    pub(crate) source: &'a dyn BlockSource,
}

impl PlacedColumn {
    /// The vocabulary numbers of its list, which [`TemplateLines::load_list`] has read.
    pub(crate) fn list(&self) -> &[u32] {
        self.decoded.as_ref().and_then(|decoded| decoded.list.as_deref()).unwrap_or_default()
    }

    /// Its values, which [`TemplateLines::load`] has read: numbers, or places in the list.
    pub(crate) fn values(&self) -> &[i64] {
        self.decoded.as_ref().and_then(|decoded| decoded.values.as_deref()).unwrap_or_default()
    }

    fn has_values(&self) -> bool {
        self.decoded.as_ref().is_some_and(|decoded| decoded.values.is_some())
    }

    fn decoded_mut(&mut self) -> &mut Decoded {
        self.decoded.get_or_insert_default()
    }

    /// The vocabulary numbers of its list, when they are known from the directory.
    pub(crate) fn new_strings(&self) -> Option<std::ops::Range<usize>> {
        match self.column.values {
            Values::Strings(List::New { count }, _) => Some(self.next_new..self.next_new + count),
            Values::ConstantString(back) => {
                let number = self.next_new.checked_sub(back)?;
                Some(number..number + 1)
            }
            _ => None,
        }
    }

    /// The value of all rows, when they have the same.
    pub(crate) fn constant(&self) -> Option<i64> {
        match self.column.values {
            Values::Constant(value) if self.column.scales.is_none() => Some(value),
            _ => None,
        }
    }

    /// A range that holds all numbers, as far as the directory tells.
    pub(crate) fn range(&self) -> std::ops::RangeInclusive<i64> {
        match &self.column.values {
            Values::Constant(value) => *value..=*value,
            Values::Numbers(ints) => ints.range(),
            _ => i64::MIN..=i64::MAX,
        }
    }
}

impl TemplateLines {
    /// Reads order and directory.
    pub(crate) fn read(dict: &TemplateDict, loader: &Loader<'_>) -> Result<Self> {
        let (meta, source) = (loader.meta, loader.source);
        let section = meta.sections(SectionKind::Directory).next().ok_or(damaged("directory is missing"))?;
        let directory = read_section(source, section)?;
        let rows = meta.rows as usize;
        let groups = read_directory(&directory, dict, rows)?;
        let section = meta.sections(SectionKind::Order).next().ok_or(damaged("row order is missing"))?;
        let planes = read_section(source, section)?;
        let group_rows: Vec<usize> = groups.iter().map(|group| group.rows).collect();
        let order = Order::read(section.encoding, planes, rows, group_rows)?;
        let mut numbers = Vec::new();
        let mut start = 0;
        for section in meta.sections(SectionKind::Numbers) {
            numbers.push((start, section.clone(), None));
            start += section.raw_bytes as usize;
        }
        Ok(Self { order, groups, numbers, lists: None, text: None, packed: None })
    }

    /// The planes `at..at + len` of the number stream; a column never goes on in the next section.
    fn planes(&mut self, at: usize, len: usize, loader: &Loader<'_>) -> Result<Bytes> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let index = self.numbers.partition_point(|frame| frame.0 <= at);
        let Some((start, section, loaded)) = index.checked_sub(1).and_then(|index| self.numbers.get_mut(index)) else {
            return Err(damaged("numbers are missing"));
        };
        let frame = match loaded {
            Some(frame) => frame,
            None => loaded.insert(read_section(loader.source, section)?),
        };
        let from = at - *start;
        if from + len > frame.len() {
            return Err(damaged("numbers are missing"));
        }
        Ok(frame.slice(from..from + len))
    }

    /// Decodes column `column` of group `group`: afterwards its `values` are there.
    pub(crate) fn load(&mut self, group: usize, column: usize, loader: &Loader<'_>) -> Result<()> {
        let rows = self.groups[group].rows;
        let placed = &self.groups[group].columns[column];
        if placed.has_values() {
            return Ok(());
        }
        let (scales_at, numbers_at) = (placed.scales_at, placed.numbers_at);
        let scales = placed.column.scales.clone();
        let ints = match &placed.column.values {
            Values::Constant(value) => Err(*value),
            Values::ConstantString(_) => Err(0),
            Values::Numbers(ints) | Values::Strings(_, ints) => Ok(ints.clone()),
        };
        if let Some(scales) = scales {
            let decoded = self.decode_ints(&scales, scales_at, group, rows, loader)?;
            if decoded.iter().any(|scale| !(0..=18).contains(scale)) {
                return Err(damaged("decimal has too many digits"));
            }
            self.groups[group].columns[column].decoded_mut().scales = Some(decoded);
        }
        let values = match ints {
            Err(constant) => vec![constant; rows],
            Ok(ints) => self.decode_ints(&ints, numbers_at, group, rows, loader)?,
        };
        if self.groups[group].columns[column].column.print.is_string() {
            self.load_strings(loader)?;
            self.load_list(group, column)?;
            let count = self.groups[group].columns[column].list().len() as i64;
            if values.iter().any(|place| !(0..count).contains(place)) {
                return Err(damaged("string is not in its list"));
            }
        }
        self.groups[group].columns[column].decoded_mut().values = Some(values);
        Ok(())
    }

    fn decode_ints(
        &mut self,
        ints: &Ints,
        at: usize,
        group: usize,
        rows: usize,
        loader: &Loader<'_>,
    ) -> Result<Vec<i64>> {
        let planes = self.planes(at, ints.plane_bytes(rows), loader)?;
        match ints.predictor {
            Predictor::Column(other) | Predictor::Context(other) => {
                // Reading the directory made sure that a column is predicted by one in front of it.
                self.load(group, other, loader)?;
                ints.decode(&planes, rows, Some(self.groups[group].columns[other].values()))
            }
            _ => ints.decode(&planes, rows, None),
        }
    }

    /// Decodes the list of a string column: afterwards its `list` is there.
    pub(crate) fn load_list(&mut self, group: usize, column: usize) -> Result<()> {
        let placed = &self.groups[group].columns[column];
        if placed.decoded.as_ref().is_some_and(|decoded| decoded.list.is_some()) {
            return Ok(());
        }
        let next_new = placed.next_new;
        let list = match &placed.column.values {
            Values::ConstantString(0) => vec![next_new as u32],
            Values::ConstantString(back) => vec![back_from(next_new, *back)?],
            Values::Strings(List::New { count }, _) => (next_new..next_new + count).map(|n| n as u32).collect(),
            Values::Strings(List::SameAs(other), _) => {
                let other = *other;
                self.load_list(group, other)?;
                self.groups[group].columns[other].list().to_vec()
            }
            Values::Strings(List::Written { count, bytes, .. }, _) => {
                let (count, range) = (*count, placed.list_at..placed.list_at + bytes);
                let lists = self.lists.clone().ok_or(damaged("lists are missing"))?;
                let mut reader = Reader::new(lists.get(range).ok_or(damaged("lists are missing"))?);
                let mut next = next_new;
                let mut list = Vec::with_capacity(count);
                for _ in 0..count {
                    match reader.size(u32::MAX as usize)? {
                        0 => {
                            list.push(next as u32);
                            next += 1;
                        }
                        back => list.push(back_from(next, back)?),
                    }
                }
                list
            }
            Values::Constant(_) | Values::Numbers(_) => Vec::new(),
        };
        let packed = self.groups[group].columns[column].column.print.is_packed();
        let known = self.strings(packed)?.len();
        if list.iter().any(|&number| number as usize >= known) {
            return Err(damaged("string is missing"));
        }
        self.groups[group].columns[column].decoded_mut().list = Some(list);
        Ok(())
    }

    /// One of the vocabularies, which [`TemplateLines::load_strings`] has read.
    pub(crate) fn strings(&self, packed: bool) -> Result<&Strings> {
        let strings = if packed { &self.packed } else { &self.text };
        strings.as_ref().ok_or(damaged("strings are missing"))
    }

    /// Reads vocabularies and lists, once.
    pub(crate) fn load_strings(&mut self, loader: &Loader<'_>) -> Result<()> {
        let (meta, source) = (loader.meta, loader.source);
        if self.text.is_none() {
            self.text = Some(Strings::read(meta, source, SectionKind::Lengths, SectionKind::Text)?);
            self.packed = Some(Strings::read(meta, source, SectionKind::PackedLengths, SectionKind::Packed)?);
            self.lists = Some(match meta.sections(SectionKind::Lists).next() {
                Some(section) => read_section(source, section)?,
                None => Bytes::new(),
            });
        }
        Ok(())
    }

    /// True when some row has metadata.
    pub(crate) fn has_metadata(&self) -> bool {
        self.groups.iter().any(|group| group.metadata.is_some())
    }

    /// Metadata ids of `rows`, ascending by row, all below `sets`.
    pub(crate) fn metadata_ids(&mut self, rows: &RowSet, sets: usize, loader: &Loader<'_>) -> Result<Vec<u32>> {
        let mut by_group: Vec<Vec<i64>> = Vec::with_capacity(self.groups.len());
        for (group, needed) in self.order.groups_of(rows).into_iter().enumerate() {
            let count = self.groups[group].rows;
            let Some(placed) = self.groups[group].metadata.as_ref().filter(|_| needed) else {
                by_group.push(Vec::new());
                continue;
            };
            let at = placed.numbers_at;
            let ids = match placed.column.values.clone() {
                Values::Numbers(ints) => self.decode_ints(&ints, at, group, count, loader)?,
                Values::Constant(value) => vec![value; count],
                _ => return Err(damaged("metadata is not a number")),
            };
            if ids.iter().any(|&id| usize::try_from(id).map_or(true, |id| id >= sets)) {
                return Err(damaged("metadata id has no set"));
            }
            by_group.push(ids);
        }
        let mut ids = Vec::with_capacity(rows.count());
        self.order.each(rows, |_, group, place| ids.push(by_group[group].get(place).map_or(0, |&id| id as u32)));
        Ok(ids)
    }

    /// The entries' timestamps of the rows of a group.
    pub(crate) fn times_of(&self, group: usize, timestamps: &[i64]) -> Vec<i64> {
        self.order.rows_of(group).map(|row| timestamps[row]).collect()
    }

    /// Calls `each` for the rows of `selected`, ascending, with the row and its line.
    pub(crate) fn render(
        &mut self,
        selected: &RowSet,
        timestamps: &[i64],
        dict: &TemplateDict,
        loader: &Loader<'_>,
        each: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<()> {
        let needed = self.order.groups_of(selected);
        self.load_strings(loader)?;
        for (group, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            for column in 0..self.groups[group].columns.len() {
                self.load(group, column, loader)?;
            }
        }
        let (Some(text), Some(packed)) = (&self.text, &self.packed) else { return Err(damaged("strings are missing")) };
        let mut programs = Vec::with_capacity(self.groups.len());
        for (group, needed) in self.groups.iter().zip(&needed) {
            programs.push(if *needed { Program::new(group, dict, text, packed)? } else { Program::default() });
        }
        let mut line = Vec::with_capacity(1024);
        self.order.each(selected, |row, group, place| {
            line.clear();
            programs[group].run(place, timestamps[row], text, packed, &mut line);
            each(row, &line);
        });
        Ok(())
    }
}

fn back_from(next: usize, back: usize) -> Result<u32> {
    next.checked_sub(back).map(|number| number as u32).ok_or(damaged("string is missing"))
}

fn read_directory(directory: &[u8], dict: &TemplateDict, rows: usize) -> Result<Vec<Group>> {
    let mut reader = Reader::new(directory);
    let template_count = reader.size(usize::from(u16::MAX))?;
    let plain_rows = reader.size(rows)?;
    let has_metadata = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(damaged("directory has an unknown flag")),
    };
    let mut groups = Vec::with_capacity(template_count + 1);
    groups.push(Group { template: None, rows: plain_rows, columns: Vec::new(), metadata: None });
    let mut number = 0_i64;
    for _ in 0..template_count {
        number = number.wrapping_add(reader.zigzag()?);
        let known = u32::try_from(number).ok().filter(|&number| (number as usize) < dict.len());
        let template = known.ok_or(damaged("template is missing"))?;
        let rows = reader.size(rows)?;
        if rows == 0 {
            return Err(damaged("template has no rows"));
        }
        groups.push(Group { template: Some(template), rows, columns: Vec::new(), metadata: None });
    }
    let mut places = Places::default();
    for group in &mut groups {
        if group.rows == 0 {
            continue;
        }
        match group.template.and_then(|number| dict.get(number as usize)) {
            None => group.columns.push(places.read(&mut reader, Some(Kind::Text), group.rows, &[])?),
            Some(template) => {
                group.columns.reserve_exact(template.variables.len());
                for variable in template.variables {
                    let column = places.read(&mut reader, Some(variable.kind), group.rows, &group.columns)?;
                    group.columns.push(column);
                }
            }
        }
        if has_metadata {
            group.metadata = Some(places.read(&mut reader, None, group.rows, &group.columns)?);
        }
    }
    Ok(groups)
}

/// Where the next column's bytes begin.
#[derive(Default)]
struct Places {
    numbers: usize,
    lists: usize,
    text: usize,
    packed: usize,
}

impl Places {
    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        kind: Option<Kind>,
        rows: usize,
        earlier: &[PlacedColumn],
    ) -> Result<PlacedColumn> {
        let column = Column::read(reader, kind, rows, earlier.len())?;
        let scales_at = self.numbers;
        self.numbers += column.scales.as_ref().map_or(0, |scales| scales.plane_bytes(rows));
        let numbers_at = self.numbers;
        let list_at = self.lists;
        let vocabulary = if column.print.is_packed() { &mut self.packed } else { &mut self.text };
        let next_new = *vocabulary;
        match &column.values {
            Values::Constant(_) => {}
            Values::Numbers(ints) => self.numbers += ints.plane_bytes(rows),
            Values::ConstantString(back) => *vocabulary += usize::from(*back == 0),
            Values::Strings(list, ints) => {
                self.numbers += ints.plane_bytes(rows);
                match list {
                    List::New { count } => *vocabulary += count,
                    List::Written { new_count, bytes, .. } => {
                        *vocabulary += new_count;
                        self.lists += bytes;
                    }
                    List::SameAs(other) => {
                        let other = earlier.get(*other).ok_or(damaged("list is missing"))?;
                        let same_kind = matches!(other.column.values, Values::Strings(..))
                            && other.column.print.is_packed() == column.print.is_packed();
                        if !same_kind {
                            return Err(damaged("list is of another kind"));
                        }
                    }
                }
            }
        }
        Ok(PlacedColumn { column, numbers_at, scales_at, list_at, next_new, decoded: None })
    }
}

/// How lines of one template are written: static text, constants folded in, and columns.
#[derive(Default)]
struct Program<'a> {
    text: Vec<u8>,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Static(std::ops::Range<usize>),
    Number(&'a [i64], usize),
    Decimal(&'a [i64], usize),
    DecimalScales(&'a [i64], &'a [i64]),
    Address(&'a [i64]),
    Time { values: &'a [i64], unit_ns: i64, absolute: bool, writer: Writer },
    Text(&'a [i64], &'a [u32]),
    Packed { values: &'a [i64], list: &'a [u32], dashes: bool },
}

impl<'a> Program<'a> {
    fn new(group: &'a Group, dict: &TemplateDict, text: &Strings, packed: &Strings) -> Result<Self> {
        let template = group.template.and_then(|number| dict.get(number as usize));
        let mut program = Self::default();
        let mut static_start = 0;
        for (index, placed) in group.columns.iter().enumerate() {
            if let Some(template) = template {
                program.text.extend_from_slice(template.piece(index));
            }
            let format = template.map_or(0, |template| template.variables[index].format);
            let step = Step::of(placed, format)?;
            let constant = matches!(placed.column.values, Values::Constant(_) | Values::ConstantString(_))
                && placed.column.print != Print::Time
                && placed.column.print != Print::DecimalScales;
            if constant {
                step.run_once(text, packed, &mut program.text);
                continue;
            }
            if program.text.len() > static_start {
                program.steps.push(Step::Static(static_start..program.text.len()));
                static_start = program.text.len();
            }
            program.steps.push(step);
        }
        if let Some(template) = template {
            program.text.extend_from_slice(template.piece(group.columns.len()));
        }
        if program.text.len() > static_start {
            program.steps.push(Step::Static(static_start..program.text.len()));
        }
        Ok(program)
    }

    /// Appends the line of row `index` of the template.
    fn run(&mut self, index: usize, entry_ns: i64, text: &Strings, packed: &Strings, out: &mut Vec<u8>) {
        for step in &mut self.steps {
            match step {
                Step::Static(range) => out.extend_from_slice(&self.text[range.clone()]),
                step => step.run(index, entry_ns, text, packed, out),
            }
        }
    }
}

impl<'a> Step<'a> {
    fn of(placed: &'a PlacedColumn, format: u8) -> Result<Self> {
        let decoded = placed.decoded.as_deref().ok_or(damaged("column is missing"))?;
        let values = decoded.values.as_deref().ok_or(damaged("column is missing"))?;
        let list = decoded.list.as_deref().unwrap_or_default();
        Ok(match placed.column.print {
            Print::Number(width) => Self::Number(values, width),
            Print::Decimal(scale) => Self::Decimal(values, scale),
            Print::DecimalScales => {
                Self::DecimalScales(values, decoded.scales.as_deref().ok_or(damaged("column is missing"))?)
            }
            Print::Address => Self::Address(values),
            print @ (Print::Time | Print::TimeAbsolute) => {
                let format = Format::from_id(format).ok_or(damaged("time has no format"))?;
                Self::Time {
                    values,
                    unit_ns: format.unit_ns(),
                    absolute: print == Print::TimeAbsolute,
                    writer: Writer::new(format),
                }
            }
            Print::Text => Self::Text(values, list),
            print @ (Print::Hex | Print::Uuid) => Self::Packed { values, list, dashes: print == Print::Uuid },
            Print::Metadata => return Err(damaged("metadata is not part of a line")),
        })
    }

    fn run_once(mut self, text: &Strings, packed: &Strings, out: &mut Vec<u8>) {
        self.run(0, 0, text, packed, out);
    }

    #[inline]
    fn run(&mut self, index: usize, entry_ns: i64, text: &Strings, packed: &Strings, out: &mut Vec<u8>) {
        match self {
            Self::Static(_) => {}
            Self::Number(values, width) => put_padded(out, values[index] as u64, *width),
            Self::Decimal(values, scale) => put_decimal(out, values[index], *scale),
            Self::DecimalScales(values, scales) => put_decimal(out, values[index], scales[index] as usize),
            Self::Address(values) => {
                let octets = (values[index] as u32).to_be_bytes();
                for (at, octet) in octets.into_iter().enumerate() {
                    if at > 0 {
                        out.push(b'.');
                    }
                    put_padded(out, u64::from(octet), 1);
                }
            }
            Self::Time { values, unit_ns, absolute, writer } => {
                let entry = if *absolute { 0 } else { entry_ns.div_euclid(*unit_ns) };
                writer.write(entry.wrapping_sub(values[index]), out);
            }
            Self::Text(values, list) => out.extend_from_slice(text.get(list[values[index] as usize] as usize)),
            Self::Packed { values, list, dashes } => {
                unpack(packed.get(list[values[index] as usize] as usize), *dashes, out);
            }
        }
    }
}

/// Writes single values of a column that is not made of strings.
pub(crate) struct ValueWriter<'a>(Step<'a>);

impl<'a> ValueWriter<'a> {
    /// For a column that is loaded.
    pub(crate) fn new(lines: &'a TemplateLines, dict: &TemplateDict, group: usize, column: usize) -> Result<Self> {
        let group = &lines.groups[group];
        let template = group.template.and_then(|number| dict.get(number as usize));
        let format = template.map_or(0, |template| template.variables[column].format);
        Step::of(&group.columns[column], format).map(Self)
    }

    /// Appends the value of row `index` of the template, an entry of time `entry_ns`.
    pub(crate) fn write(&mut self, index: usize, entry_ns: i64, out: &mut Vec<u8>) {
        let none = Strings::default();
        self.0.run(index, entry_ns, &none, &none, out);
    }
}

/// Appends `mantissa` with `scale` digits behind the dot.
fn put_decimal(out: &mut Vec<u8>, mantissa: i64, scale: usize) {
    let unit = 10_u64.pow(scale as u32);
    put_padded(out, mantissa as u64 / unit, 1);
    out.push(b'.');
    put_padded(out, mantissa as u64 % unit, scale);
}
