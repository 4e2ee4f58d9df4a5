//! Decimal numbers of any size: `addf 0.1 0.2` is 0.3.
//!
//! A float enters as its shortest decimal text; sums and products are exact, quotients have 16 decimals. Source:
//! behaviour of the Go package decimal (shopspring), which sprig's float functions go through.

use std::cmp::Ordering;

/// Decimals of a quotient.
const QUOTIENT_DECIMALS: usize = 16;
/// Beyond this many digits arithmetic gets slow; no sane template comes near.
const DIGITS_MAX: usize = 20_000;

/// `±digits * 10^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    /// Most significant first, each 0 to 9, without leading zeros: zero has none.
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// `None`: not finite.
    pub(super) fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{:e}", value.abs());
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.bytes().chain(fraction.bytes()).map(|c| c - b'0').collect();
        let exponent = exponent.parse::<i32>().ok()? - fraction.len() as i32;
        Some(Self::new(value < 0.0, digits, exponent))
    }

    fn new(is_negative: bool, digits: Vec<u8>, exponent: i32) -> Self {
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = digits[zeros..].to_vec();
        Self { is_negative: is_negative && !digits.is_empty(), digits, exponent }
    }

    pub(super) fn is_huge(&self) -> bool {
        self.digits.len() > DIGITS_MAX
    }

    pub(super) fn to_f64(&self) -> f64 {
        let sign = if self.is_negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        format!("{sign}0{digits}e{}", self.exponent).parse().unwrap_or(0.0)
    }

    /// The digits at a smaller exponent.
    fn at(&self, exponent: i32) -> Vec<u8> {
        let mut digits = self.digits.clone();
        if !digits.is_empty() {
            digits.resize(digits.len() + (self.exponent - exponent).max(0) as usize, 0);
        }
        digits
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.at(exponent), other.at(exponent));
        if self.is_negative == other.is_negative {
            return Self::new(self.is_negative, add(&a, &b), exponent);
        }
        match compare(&a, &b) {
            Ordering::Less => Self::new(other.is_negative, subtract(&b, &a), exponent),
            _ => Self::new(self.is_negative, subtract(&a, &b), exponent),
        }
    }

    pub(super) fn sub(&self, other: &Self) -> Self {
        self.add(&Self { is_negative: !other.is_negative, ..other.clone() })
    }

    pub(super) fn mul(&self, other: &Self) -> Self {
        let (a, b) = (&self.digits, &other.digits);
        // Column sums first, carries after: a column has at most DIGITS_MAX products of at most 81.
        let mut columns = vec![0_u32; a.len() + b.len()];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                columns[i + j + 1] += u32::from(*x) * u32::from(*y);
            }
        }
        let mut carry = 0;
        for column in columns.iter_mut().rev() {
            let sum = *column + carry;
            (*column, carry) = (sum % 10, sum / 10);
        }
        let digits = columns.into_iter().map(|digit| digit as u8).collect();
        Self::new(self.is_negative != other.is_negative, digits, self.exponent + other.exponent)
    }

    /// With 16 decimals, halves away from zero. `None`: division by zero.
    pub(super) fn div(&self, other: &Self) -> Option<Self> {
        if other.digits.is_empty() {
            return None;
        }
        // self / other = q * 10^-16 with integer q: bring both to integers first.
        let shift = self.exponent - other.exponent + QUOTIENT_DECIMALS as i32;
        let (mut dividend, mut divisor) = (self.digits.clone(), other.digits.clone());
        let grown = if shift >= 0 { &mut dividend } else { &mut divisor };
        grown.resize(grown.len() + shift.unsigned_abs() as usize, 0);
        let mut quotient = Vec::with_capacity(dividend.len() + 1);
        let mut rest: Vec<u8> = Vec::new();
        for digit in dividend {
            if !rest.is_empty() || digit != 0 {
                rest.push(digit);
            }
            let mut count = 0;
            while compare(&rest, &divisor) != Ordering::Less {
                rest = subtract(&rest, &divisor);
                let zeros = rest.iter().take_while(|digit| **digit == 0).count();
                rest.drain(..zeros);
                count += 1;
            }
            quotient.push(count);
        }
        if compare(&add(&rest, &rest), &divisor) != Ordering::Less {
            quotient = add(&quotient, &[1]);
        }
        Some(Self::new(self.is_negative != other.is_negative, quotient, -(QUOTIENT_DECIMALS as i32)))
    }
}

/// Compares numbers; leading zeros do not count.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn significant(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|digit| **digit == 0).count()..]
}

fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let len = a.len().max(b.len()) + 1;
    let mut sum = vec![0; len];
    let mut carry = 0;
    for place in 0..len {
        let digit = |digits: &[u8]| digits.len().checked_sub(place + 1).map_or(0, |idx| digits[idx]);
        let total = digit(a) + digit(b) + carry;
        sum[len - 1 - place] = total % 10;
        carry = total / 10;
    }
    sum
}

/// `a - b`, where `a` is not smaller.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let (a, b) = (significant(a), significant(b));
    let mut rest = a.to_vec();
    let mut borrow = 0;
    for place in 0..a.len() {
        let idx = a.len() - 1 - place;
        let taken = b.len().checked_sub(place + 1).map_or(0, |idx| b[idx]) + borrow;
        borrow = u8::from(rest[idx] < taken);
        rest[idx] = rest[idx] + borrow * 10 - taken;
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(value: f64) -> Decimal {
        Decimal::from_f64(value).unwrap()
    }

    #[test]
    fn calculates() {
        #[track_caller]
        fn check(got: Decimal, want: f64) {
            assert_eq!(got.to_f64(), want);
        }
        check(decimal(0.1).add(&decimal(0.2)), 0.3);
        check(decimal(1e20).add(&decimal(-1e-5)), 1e20);
        check(decimal(0.3).sub(&decimal(0.1)), 0.2);
        check(decimal(1.0).sub(&decimal(2.5)), -1.5);
        check(decimal(5.0).sub(&decimal(5.0)), 0.0);
        check(decimal(1.1).mul(&decimal(-1.1)), -1.21);
        check(decimal(1e308).mul(&decimal(1e-308)), 1.0);
        check(decimal(0.0).mul(&decimal(7.0)), 0.0);
        check(decimal(10.0).div(&decimal(3.0)).unwrap(), 3.3333333333333333);
        check(decimal(2.0).div(&decimal(-3.0)).unwrap(), -0.6666666666666667);
        check(decimal(1e-10).div(&decimal(3.0)).unwrap(), 0.0000000000333333);
        check(decimal(1.0).div(&decimal(1e20)).unwrap(), 0.0);
        check(decimal(1e300).div(&decimal(4.0)).unwrap(), 2.5e299);
        assert_eq!(decimal(1.0).div(&decimal(0.0)), None);
        assert_eq!(Decimal::from_f64(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn floats_pass_through(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(decimal(value).to_f64(), value);
        }

        #[test]
        fn integers_calculate_exactly(a in -1_000_000_i32..1_000_000, b in -1_000_000_i32..1_000_000) {
            let (x, y) = (f64::from(a), f64::from(b));
            prop_assert_eq!(decimal(x).add(&decimal(y)).to_f64(), x + y);
            prop_assert_eq!(decimal(x).sub(&decimal(y)).to_f64(), x - y);
            prop_assert_eq!(decimal(x).mul(&decimal(y)).to_f64(), x * y);
            if b != 0 {
                let whole = decimal(x * y).div(&decimal(y)).unwrap();
                prop_assert_eq!(whole.to_f64(), x);
            }
        }
    }
}
