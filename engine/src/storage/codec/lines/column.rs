//! What the directory says of a column: what its values are, and where.
//!
//! ```text
//! column  := form:u8 details
//! details := value:zigzag                                     constant number          form bit 0 clear
//!          | Ints                                             numbers                  form bit 0 set
//!          | back                                             constant string          form bit 0 clear, kind string
//!          | list Ints                                        strings                  form bit 0 set, kind string
//! list    := count                                            all new to the block     form bits 2-3 = 0
//!          | count new_count bytes                            as written in Lists      form bits 2-3 = 1
//!          | column                                           that column's list       form bits 2-3 = 2
//! back    := 0 for a string that is new, else how many numbers before the next new one
//! ```
//!
//! In front of the details stand what a kind needs to print: a number its least count of digits, a decimal its count of
//! digits behind the dot (form bit 4 clear) or the Ints of them (form bit 4 set). Form bit 1: kept as strings although
//! the kind is numeric (leading zeros without a rule); form bit 5: a time counted from the epoch instead of from its
//! entry.
//!
//! A string column's numbers are places in its list, a list's are numbers of the vocabulary, text and packed apart.

use super::super::error::{Result, damaged};
use super::ints::Ints;
use super::token::Kind;
use crate::storage::wire::{Reader, put_varint, put_zigzag};

/// How a column's numbers become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Print {
    /// Decimal digits, at least this many.
    Number(usize),
    /// A number with this many digits behind the dot.
    Decimal(usize),
    /// The same, with the digits behind the dot in a column of their own.
    DecimalScales,
    Address,
    /// Units before the entry's timestamp.
    Time,
    /// Units since the epoch.
    TimeAbsolute,
    /// Numbers into the vocabulary of text.
    Text,
    /// Numbers into the vocabulary of packed digits.
    Hex,
    Uuid,
    /// Ids of metadata sets; not part of the line.
    Metadata,
}

impl Print {
    pub(crate) fn is_string(self) -> bool {
        matches!(self, Self::Text | Self::Hex | Self::Uuid)
    }

    pub(crate) fn is_packed(self) -> bool {
        matches!(self, Self::Hex | Self::Uuid)
    }
}

/// Which strings a column has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List {
    /// The next new ones.
    New { count: usize },
    /// As written in the lists section, in so many bytes.
    Written { count: usize, new_count: usize, bytes: usize },
    /// The list of an earlier column of the template.
    SameAs(usize),
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    Constant(i64),
    Numbers(Ints),
    /// One string: 0 if it is new, else how far back.
    ConstantString(usize),
    Strings(List, Ints),
}

/// A column of one template in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) print: Print,
    pub(crate) values: Values,
    /// Digits behind the dot, for [`Print::DecimalScales`].
    pub(crate) scales: Option<Box<Ints>>,
}

const VARYING: u8 = 1;
const AS_TEXT: u8 = 2;
const SCALES: u8 = 16;
const ABSOLUTE: u8 = 32;

/// More digits behind a dot than a decimal has.
const SCALE_MAX: usize = 18;

impl Column {
    /// Appends the column of a variable of `kind` (`None`: metadata).
    pub(crate) fn write(&self, kind: Option<Kind>, out: &mut Vec<u8>) {
        let mut form = 0;
        match &self.values {
            Values::Constant(_) | Values::ConstantString(_) => {}
            Values::Numbers(_) => form |= VARYING,
            Values::Strings(list, _) => {
                form |= VARYING;
                form |= match list {
                    List::New { .. } => 0,
                    List::Written { .. } => 1 << 2,
                    List::SameAs(_) => 2 << 2,
                }
            }
        }
        let numeric_kind =
            matches!(kind, Some(Kind::Number | Kind::Decimal | Kind::Address | Kind::Time | Kind::Hex | Kind::Uuid));
        if numeric_kind && self.print == Print::Text {
            form |= AS_TEXT;
        }
        if self.scales.is_some() {
            form |= SCALES;
        }
        if self.print == Print::TimeAbsolute {
            form |= ABSOLUTE;
        }
        out.push(form);
        match self.print {
            Print::Number(width) => put_varint(out, width as u64),
            Print::Decimal(scale) => put_varint(out, scale as u64),
            _ => {}
        }
        if let Some(scales) = &self.scales {
            scales.write(out);
        }
        match &self.values {
            Values::Constant(value) => put_zigzag(out, *value),
            Values::Numbers(ints) => ints.write(out),
            Values::ConstantString(back) => put_varint(out, *back as u64),
            Values::Strings(list, ints) => {
                match list {
                    List::New { count } => put_varint(out, *count as u64),
                    List::Written { count, new_count, bytes } => {
                        for number in [count, new_count, bytes] {
                            put_varint(out, *number as u64);
                        }
                    }
                    List::SameAs(column) => put_varint(out, *column as u64),
                }
                ints.write(out);
            }
        }
    }

    /// Reads the column of a variable of `kind` (`None`: metadata) with `rows` values, behind `columns` others of its
    /// template.
    pub(crate) fn read(reader: &mut Reader<'_>, kind: Option<Kind>, rows: usize, columns: usize) -> Result<Self> {
        let form = reader.u8()?;
        if form & !(VARYING | AS_TEXT | 3 << 2 | SCALES | ABSOLUTE) != 0 {
            return Err(damaged("column has an unknown form"));
        }
        let mut scales = None;
        let print = match kind {
            _ if form & AS_TEXT != 0 => Print::Text,
            None => Print::Metadata,
            Some(Kind::Number) => Print::Number(reader.size(20)?),
            Some(Kind::Decimal) if form & SCALES != 0 => {
                scales = Some(Box::new(Ints::read(reader, columns)?));
                Print::DecimalScales
            }
            Some(Kind::Decimal) => Print::Decimal(reader.size(SCALE_MAX)?),
            Some(Kind::Address) => Print::Address,
            Some(Kind::Time) if form & ABSOLUTE != 0 => Print::TimeAbsolute,
            Some(Kind::Time) => Print::Time,
            Some(Kind::Hex) => Print::Hex,
            Some(Kind::Uuid) => Print::Uuid,
            Some(Kind::Word | Kind::Text | Kind::Phrase) => Print::Text,
        };
        let values = match (form & VARYING != 0, print.is_string()) {
            (false, false) => Values::Constant(reader.zigzag()?),
            (true, false) => Values::Numbers(Ints::read(reader, columns)?),
            (false, true) => Values::ConstantString(reader.size(u32::MAX as usize)?),
            (true, true) => {
                let list = match form >> 2 & 3 {
                    0 => List::New { count: reader.size(rows)? },
                    1 => {
                        let (count, new_count) = (reader.size(rows)?, reader.size(rows)?);
                        List::Written { count, new_count, bytes: reader.size(u32::MAX as usize)? }
                    }
                    2 => List::SameAs(reader.size(columns)?),
                    _ => return Err(damaged("column has an unknown list")),
                };
                Values::Strings(list, Ints::read(reader, columns)?)
            }
        };
        Ok(Self { print, values, scales })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back() {
        let (mut planes, mut scratch) = (Vec::new(), Vec::new());
        let ints = Ints::encode(&[1, 5, 2], &[], &mut scratch, &mut planes);
        let check = |kind: Option<Kind>, print: Print, values: Values, scales: Option<Ints>| {
            let column = Column { print, values, scales: scales.map(Box::new) };
            let mut out = Vec::new();
            column.write(kind, &mut out);
            let mut reader = Reader::new(&out);
            assert_eq!(Column::read(&mut reader, kind, 3, 9).unwrap(), column);
            assert!(reader.rest().is_empty());
            assert!(Column::read(&mut Reader::new(&out[..out.len() - 1]), kind, 3, 9).is_err());
        };
        check(None, Print::Metadata, Values::Constant(0), None);
        check(Some(Kind::Number), Print::Number(3), Values::Constant(-7), None);
        check(Some(Kind::Number), Print::Text, Values::ConstantString(4), None);
        check(Some(Kind::Decimal), Print::Decimal(2), Values::Numbers(ints.clone()), None);
        check(Some(Kind::Decimal), Print::DecimalScales, Values::Numbers(ints.clone()), Some(ints.clone()));
        check(Some(Kind::Time), Print::TimeAbsolute, Values::Numbers(ints.clone()), None);
        check(Some(Kind::Word), Print::Text, Values::Strings(List::New { count: 2 }, ints.clone()), None);
        check(Some(Kind::Uuid), Print::Uuid, Values::Strings(List::SameAs(3), ints.clone()), None);
        let list = List::Written { count: 3, new_count: 1, bytes: 300 };
        check(Some(Kind::Hex), Print::Hex, Values::Strings(list, ints), None);
    }
}
