//! A column of integers: what is left of them after a prediction, in byte planes.
//!
//! ```text
//! description := head:u8 column? base:zigzag              head = predictor | width << 3; column for 2 and 3
//! planes      := u8{rows} per plane, lowest first         width planes, in the number stream; residual - base
//! ```
//!
//! | predictor | the value is the residual plus |
//! |---|---|
//! | 0 | nothing |
//! | 1 | the value of the row before (0 for the first) |
//! | 2 | the value of an earlier column of the template, same row |
//! | 3 | the value at the last row where that column had the value it has in this row (0 for the first) |
//! | 4 | one more than the largest value so far, 0 for the first (the residual is subtracted) |
//!
//! Predictor 4 is for numbers given out in order of first appearance: what is new costs nothing. Predictor 3 learns, say,
//! the user agent of each user; it is offered for columns of small numbers only.
//!
//! zstd packs the planes of many columns together: the high ones are mostly zero.

use super::super::error::{Error, Result, damaged};
use crate::storage::wire::{Reader, put_varint, put_zigzag, zigzag};

/// Rows that a predictor is chosen by.
const SAMPLE_ROWS: usize = 1024;
/// Rows that a predicting column must be promising in, to be looked at further.
const SCREEN_ROWS: usize = 48;
/// Different values up to which a column counts as made of few.
const FEW: usize = 64;

/// What a value is predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predictor {
    None,
    Previous,
    Column(usize),
    Context(usize),
    Newest,
}

/// A column that may predict another one.
#[derive(Clone, Copy)]
pub(crate) struct Earlier<'a> {
    pub(crate) column: usize,
    pub(crate) values: &'a [i64],
    /// All values are in `0..CONTEXTS`.
    pub(crate) small: bool,
}

/// Values up to which a column may be a context.
pub(crate) const CONTEXTS: usize = 4096;

/// How a column of integers is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ints {
    pub(crate) predictor: Predictor,
    base: i64,
    width: usize,
}

impl Ints {
    /// Chooses how to write `values`, not empty, and appends their planes to `numbers`. `earlier` are columns of the
    /// same rows that may serve as predictors.
    pub(crate) fn encode(
        values: &[i64],
        earlier: &[Earlier<'_>],
        scratch: &mut Vec<i64>,
        numbers: &mut Vec<u8>,
    ) -> Self {
        let predictor = choose(values, earlier, scratch);
        residuals(values, predictor, earlier, scratch);
        let (mut base, mut top) = (i64::MAX, i64::MIN);
        for &residual in scratch.iter() {
            base = base.min(residual);
            top = top.max(residual);
        }
        let span = top.wrapping_sub(base) as u64;
        let width = (64 - span.leading_zeros() as usize).div_ceil(8);
        for plane in 0..width {
            numbers.extend(scratch.iter().map(|r| (r.wrapping_sub(base) as u64 >> (plane * 8)) as u8));
        }
        Self { predictor, base, width }
    }

    /// Bytes of the planes.
    pub(crate) fn plane_bytes(&self, rows: usize) -> usize {
        self.width * rows
    }

    /// A range that holds all values.
    pub(crate) fn range(&self) -> std::ops::RangeInclusive<i64> {
        let span = if self.width >= 8 { u64::MAX } else { (1 << (self.width * 8)) - 1 };
        match (self.predictor, self.base.checked_add_unsigned(span)) {
            (Predictor::None, Some(top)) => self.base..=top,
            _ => i64::MIN..=i64::MAX,
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let (id, column) = match self.predictor {
            Predictor::None => (0, None),
            Predictor::Previous => (1, None),
            Predictor::Column(column) => (2, Some(column)),
            Predictor::Context(column) => (3, Some(column)),
            Predictor::Newest => (4, None),
        };
        out.push(id | (self.width as u8) << 3);
        if let Some(column) = column {
            put_varint(out, column as u64);
        }
        put_zigzag(out, self.base);
    }

    /// Reads a description; a column that predicts is one of the first `columns`.
    pub(crate) fn read(reader: &mut Reader<'_>, columns: usize) -> Result<Self> {
        let head = reader.u8()?;
        let width = usize::from(head >> 3);
        if width > 8 {
            return Err(damaged("number is too wide"));
        }
        let predictor = match head & 7 {
            0 => Predictor::None,
            1 => Predictor::Previous,
            4 => Predictor::Newest,
            id @ (2 | 3) => {
                let column = reader.size(columns.checked_sub(1).ok_or(damaged("column is missing"))?)?;
                if id == 2 { Predictor::Column(column) } else { Predictor::Context(column) }
            }
            id => return Err(Error::Unknown { what: "predictor", id }),
        };
        Ok(Self { predictor, base: reader.zigzag()?, width })
    }

    /// The values of `rows` rows from their planes. `reference` is the column that predicts, if one does.
    pub(crate) fn decode(&self, planes: &[u8], rows: usize, reference: Option<&[i64]>) -> Result<Vec<i64>> {
        if planes.len() != self.plane_bytes(rows) {
            return Err(damaged("numbers are missing"));
        }
        let mut values = match self.width {
            0 => vec![self.base; rows],
            1 => planes.iter().map(|&byte| self.base.wrapping_add(i64::from(byte))).collect(),
            2 => {
                let (low, high) = planes.split_at(rows);
                let pairs = low.iter().zip(high);
                pairs.map(|(&l, &h)| self.base.wrapping_add(i64::from(u16::from_le_bytes([l, h])))).collect()
            }
            _ => {
                let mut values = vec![0_u64; rows];
                for (plane, bytes) in planes.chunks_exact(rows).enumerate() {
                    for (value, &byte) in values.iter_mut().zip(bytes) {
                        *value |= u64::from(byte) << (plane * 8);
                    }
                }
                values.into_iter().map(|v| self.base.wrapping_add(v as i64)).collect::<Vec<_>>()
            }
        };
        let needed = || reference.filter(|r| r.len() == rows).ok_or(damaged("predicting column is missing"));
        match self.predictor {
            Predictor::None => {}
            Predictor::Previous => {
                let mut last = 0_i64;
                for value in &mut values {
                    last = last.wrapping_add(*value);
                    *value = last;
                }
            }
            Predictor::Column(_) => {
                for (value, reference) in values.iter_mut().zip(needed()?) {
                    *value = value.wrapping_add(*reference);
                }
            }
            Predictor::Context(_) => {
                let mut last = [0_i64; CONTEXTS];
                for (value, &reference) in values.iter_mut().zip(needed()?) {
                    let slot = usize::try_from(reference).ok().and_then(|context| last.get_mut(context));
                    let slot = slot.ok_or(damaged("predicting column is not small"))?;
                    *value = value.wrapping_add(*slot);
                    *slot = *value;
                }
            }
            Predictor::Newest => {
                let mut next = 0_i64;
                for value in &mut values {
                    *value = next.wrapping_sub(*value);
                    next = next.max(value.wrapping_add(1));
                }
            }
        }
        Ok(values)
    }
}

fn values_of<'a>(earlier: &[Earlier<'a>], column: usize) -> &'a [i64] {
    earlier.iter().find(|e| e.column == column).map_or(&[], |e| e.values)
}

/// Replaces `out` by what `predictor` leaves of `values`; the predicting column may be longer.
fn residuals(values: &[i64], predictor: Predictor, earlier: &[Earlier<'_>], out: &mut Vec<i64>) {
    out.clear();
    match predictor {
        Predictor::None => out.extend_from_slice(values),
        Predictor::Previous => {
            let mut last = 0_i64;
            out.extend(values.iter().map(|&value| {
                let residual = value.wrapping_sub(last);
                last = value;
                residual
            }));
        }
        Predictor::Column(column) => {
            let reference = values_of(earlier, column);
            out.extend(values.iter().zip(reference).map(|(value, other)| value.wrapping_sub(*other)));
        }
        Predictor::Context(column) => {
            let mut last = [0_i64; CONTEXTS];
            out.extend(values.iter().zip(values_of(earlier, column)).map(|(value, other)| {
                let slot = &mut last[*other as usize];
                let residual = value.wrapping_sub(*slot);
                *slot = *value;
                residual
            }));
        }
        Predictor::Newest => {
            let mut next = 0_i64;
            out.extend(values.iter().map(|&value| {
                let residual = next.wrapping_sub(value);
                next = next.max(value.wrapping_add(1));
                residual
            }));
        }
    }
}

/// The predictor that leaves the fewest bits in a sample.
fn choose(values: &[i64], earlier: &[Earlier<'_>], scratch: &mut Vec<i64>) -> Predictor {
    let sample = &values[..values.len().min(SAMPLE_ROWS)];
    if values.iter().all(|value| *value == values[0]) {
        return Predictor::None;
    }
    let screen = &sample[..sample.len().min(SCREEN_ROWS)];
    let mut best = (Predictor::None, cost_bits(sample, true));
    let screen_cost = cost_bits(screen, true);
    let mut consider = |predictor: Predictor, description_bits: f32, scratch: &mut Vec<i64>| {
        // The first residual of a difference is the value itself.
        let from = usize::from(predictor == Predictor::Previous);
        if matches!(predictor, Predictor::Column(_) | Predictor::Context(_)) {
            residuals(screen, predictor, earlier, scratch);
            if cost_bits(scratch, false) > screen_cost {
                return;
            }
        }
        residuals(sample, predictor, earlier, scratch);
        let cost = cost_bits(&scratch[from..], false) + description_bits;
        if cost < best.1 {
            best = (predictor, cost);
        }
    };
    consider(Predictor::Previous, 8.0, scratch);
    consider(Predictor::Newest, 8.0, scratch);
    for candidate in earlier {
        consider(Predictor::Column(candidate.column), 16.0, scratch);
        if candidate.small && sample.len() >= 16 {
            consider(Predictor::Context(candidate.column), 24.0, scratch);
        }
    }
    best.0
}

/// About the bits that `residuals` take: their entropy when they are few different ones, else their lengths.
fn cost_bits(residuals: &[i64], from_least: bool) -> f32 {
    let least = if from_least { residuals.iter().copied().min().unwrap_or(0) } else { 0 };
    let mut length_bits = 0_u32;
    let mut slots = [(0_i64, 0_u32); FEW * 4];
    let mut distinct = 0;
    for &residual in residuals {
        let bits = if from_least { residual.wrapping_sub(least) as u64 } else { zigzag(residual) };
        length_bits += 65 - bits.leading_zeros();
        if distinct <= FEW {
            let mut slot = ((residual as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize;
            loop {
                let entry = &mut slots[slot];
                if entry.1 == 0 {
                    distinct += 1;
                    *entry = (residual, 1);
                    break;
                }
                if entry.0 == residual {
                    entry.1 += 1;
                    break;
                }
                slot = (slot + 1) % slots.len();
            }
        }
    }
    if distinct > FEW {
        return length_bits as f32;
    }
    let total = residuals.len() as f32;
    let entropy: f32 = slots.iter().filter(|s| s.1 > 0).map(|s| s.1 as f32 * (total / s.1 as f32).log2()).sum();
    (entropy + distinct as f32 * 4.0).min(length_bits as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[i64], earlier: &[&[i64]], want: Predictor) {
        let earlier: Vec<_> = earlier
            .iter()
            .enumerate()
            .map(|(column, values)| Earlier { column, values, small: values.iter().all(|v| (0..4096).contains(v)) })
            .collect();
        let (mut numbers, mut scratch) = (Vec::new(), Vec::new());
        let ints = Ints::encode(values, &earlier, &mut scratch, &mut numbers);
        let mut description = Vec::new();
        ints.write(&mut description);
        let back = Ints::read(&mut Reader::new(&description), earlier.len()).unwrap();
        assert_eq!(back, ints);
        let reference = match ints.predictor {
            Predictor::Column(column) | Predictor::Context(column) => Some(earlier[column].values),
            _ => None,
        };
        assert_eq!(back.decode(&numbers, values.len(), reference).unwrap(), values);
        assert_eq!(ints.predictor, want);
    }

    #[test]
    fn columns_come_back_by_the_best_predictor() {
        let noise: Vec<i64> =
            (1..=500_u64).map(|i| ((i * i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as i64 % 1009).collect();
        let steps: Vec<i64> = (0..500).map(|i| 1_000_000 + i * 3 + i % 2).collect();
        let near: Vec<i64> = noise.iter().map(|n| n * 1000 + 1).collect();
        let shifted: Vec<i64> = near.iter().enumerate().map(|(i, n)| n + i64::from(i % 5 == 0)).collect();
        let keys: Vec<i64> = noise.iter().map(|n| n % 40).collect();
        let by_key: Vec<i64> = keys.iter().map(|k| k * k * 12_345_677 % 1_000_003).collect();
        let mostly_new: Vec<i64> = (0..500).map(|i| if i % 7 == 6 { i / 7 * 6 - 2 } else { i - i / 7 }).collect();
        check(&[5; 40], &[], Predictor::None);
        check(&noise, &[], Predictor::None);
        check(&steps, &[&noise], Predictor::Previous);
        check(&shifted, &[&noise, &near], Predictor::Column(1));
        check(&by_key, &[&keys], Predictor::Context(0));
        check(&mostly_new, &[], Predictor::Newest);
        for extremes in [[i64::MIN, i64::MAX, 0], [0, i64::MIN, 1], [-1, 1, i64::MAX]] {
            let (mut numbers, mut scratch) = (Vec::new(), Vec::new());
            let ints = Ints::encode(&extremes, &[], &mut scratch, &mut numbers);
            assert_eq!(ints.decode(&numbers, 3, None).unwrap(), extremes);
        }
    }
}
