//! Sample values in answers: shortest plain decimal, never an exponent.
//!
//! Source: contract logql.md, 11.3; Go `strconv.FormatFloat(value, 'f', -1, 64)`.

use std::fmt;

use super::number::{halfway_digits, split_scientific};

/// Displays `0.25`, `13333333333333334000000`, `NaN`, `+Inf`, `-Inf`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleValue(pub f64);

impl fmt::Display for SampleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            v if v.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            v if v.fract() == 0.0 && v.abs() < EXACT_BELOW && (v != 0.0 || v.is_sign_positive()) => {
                write!(f, "{}", v as i64)
            }
            v => match halfway_digits(v) {
                None => write!(f, "{v}"),
                Some(scientific) => write_plain(f, &scientific),
            },
        }
    }
}

/// `1.25e1` as `12.5`.
fn write_plain(f: &mut fmt::Formatter<'_>, scientific: &str) -> fmt::Result {
    let (mantissa, exponent) = split_scientific(scientific);
    let digits = mantissa.replace(['-', '.'], "");
    if mantissa.starts_with('-') {
        f.write_str("-")?;
    }
    match usize::try_from(exponent) {
        Ok(exponent) if exponent + 1 < digits.len() => {
            let (whole, fraction) = digits.split_at(exponent + 1);
            write!(f, "{whole}.{fraction}")
        }
        Ok(exponent) => write!(f, "{digits:0<width$}", width = exponent + 1),
        Err(_) => {
            let zeros = exponent.unsigned_abs() as usize - 1;
            write!(f, "0.{:0<zeros$}{digits}", "")
        }
    }
}

/// Whole numbers below this print alike as integers, which is several times cheaper: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// Appends the text of `value` to a JSON answer under construction.
pub fn write_sample(out: &mut Vec<u8>, value: f64) {
    use std::io::Write as _;

    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}", SampleValue(value));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_plain_decimals() {
        #[track_caller]
        fn check(value: f64, want: &str) {
            let mut out = Vec::new();
            write_sample(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        check(0.0, "0");
        check(-0.0, "-0");
        check(5.0, "5");
        check(-17.0, "-17");
        check(0.06666666666666667, "0.06666666666666667");
        check(13333333333333334000000.0, "13333333333333334000000");
        check(1e-7, "0.0000001");
        check(4665661186878661.0 / 4.0, "1166415296719665.2");
        check(-4665661186878661.0 / 4.0, "-1166415296719665.2");
        check(0.5_f64.powi(25), "0.000000029802322387695312");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    proptest! {
        #[test]
        fn reads_back(value in any::<f64>()) {
            let text = SampleValue(value).to_string();
            prop_assert!(!text.contains(['e', 'E']));
            prop_assert_eq!(super::super::parse_float(&text), Ok(value));
        }
    }
}
