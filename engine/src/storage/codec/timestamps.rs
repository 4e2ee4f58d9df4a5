//! The timestamp column: differences to the row before, divided by what divides them all.
//!
//! ```text
//! encoding 0 := unit pco(u64)       unit: LEB128, ns; the numbers are (t[i] - t[i - 1]) / unit from the second row on
//! encoding 1 := unit difference*    the same, as LEB128: shorter below some 50 rows
//! ```
//!
//! The first timestamp is in the meta record. Collectors that stamp in milliseconds get a unit of 1,000,000.

use super::error::{Error, Result, damaged};
use crate::storage::wire::{Reader, put_varint};

/// Below this pco's own header outweighs what it saves.
const PCO_ROWS_MIN: usize = 48;

/// Appends the column of ascending `timestamps` and returns its encoding id.
pub(crate) fn encode(timestamps: &[i64], pco_level: usize, out: &mut Vec<u8>) -> u8 {
    // Ascending, so the difference fits a u64 even between the ends of i64.
    let mut deltas: Vec<u64> = timestamps.windows(2).map(|w| w[1].wrapping_sub(w[0]) as u64).collect();
    let unit = deltas.iter().fold(0, |unit, &delta| gcd(unit, delta)).max(1);
    put_varint(out, unit);
    if unit > 1 {
        for delta in &mut deltas {
            *delta /= unit;
        }
    }
    if deltas.len() >= PCO_ROWS_MIN {
        let config =
            pco::ChunkConfig::default().with_compression_level(pco_level).with_delta_spec(pco::DeltaSpec::NoOp);
        if let Ok(packed) = pco::standalone::simple_compress(&deltas, &config) {
            out.extend_from_slice(&packed);
            return 0;
        }
    }
    for delta in deltas {
        put_varint(out, delta);
    }
    1
}

/// Appends `rows` timestamps.
pub(crate) fn decode(encoding: u8, bytes: &[u8], first_ns: i64, rows: usize, out: &mut Vec<i64>) -> Result<()> {
    let mut reader = Reader::new(bytes);
    let unit = reader.varint()?;
    out.reserve(rows);
    out.push(first_ns);
    let mut last = first_ns;
    let mut push = |delta: u64| {
        last = last.wrapping_add(delta.wrapping_mul(unit) as i64);
        out.push(last);
    };
    match encoding {
        0 => {
            let mut deltas = vec![0_u64; rows - 1];
            let progress = pco::standalone::simple_decompress_into(reader.rest(), &mut deltas)
                .map_err(|_| damaged("timestamps do not decompress"))?;
            if progress.n_processed != deltas.len() {
                return Err(damaged("timestamps are missing"));
            }
            deltas.into_iter().for_each(push);
        }
        1 => {
            for _ in 1..rows {
                push(reader.varint()?);
            }
        }
        id => return Err(Error::Unknown { what: "timestamp encoding", id }),
    }
    Ok(())
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_come_back() {
        #[track_caller]
        fn check(timestamps: &[i64], bytes_max: usize) {
            let mut bytes = Vec::new();
            let encoding = encode(timestamps, 8, &mut bytes);
            let mut out = Vec::new();
            decode(encoding, &bytes, timestamps[0], timestamps.len(), &mut out).unwrap();
            assert_eq!(out, timestamps);
            assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
        }
        check(&[7], 1);
        check(&[i64::MIN, 0, i64::MAX], 21);
        check(&(0..10_000).map(|i| i * 1_000_000).collect::<Vec<_>>(), 64);
        check(&(0..10_000).map(|i| i * 977 + i % 7).collect::<Vec<_>>(), 10_000);
    }
}
