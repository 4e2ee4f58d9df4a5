//! Pieces of strings that a filter remembers.
//!
//! - of text: every 3 and every 4 bytes in a row, in lower case (ASCII), so that searches that ignore case use them too;
//! - of packed digits (hex strings, uuids): minimizers, the least of any 8 successive runs of 8 digits: a needle with 15
//!   digits or more shares one with every string it is in.
//!
//! One bit in a filter of about two bits a piece is a weak witness, but a needle has many pieces: eight bytes have eleven.

/// Pieces are numbered in `0..1 << GRAM_BITS` by their hash.
pub(crate) const GRAM_BITS: u32 = 20;

/// Digits of a run, and successive runs of which the least is kept.
const DIGITS: usize = 8;
const WINDOW: usize = 8;
/// A needle of this many digits has a minimizer of every string that contains it.
pub(crate) const DIGITS_MIN: usize = DIGITS + WINDOW - 1;

#[inline]
fn number_of(value: u64) -> u32 {
    (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - GRAM_BITS)) as u32
}

#[inline]
fn fold(byte: u8) -> u32 {
    u32::from(byte.to_ascii_lowercase())
}

/// Calls `each` with the numbers of the pieces of a text.
#[inline]
pub(crate) fn of_text(text: &[u8], mut each: impl FnMut(u32)) {
    let mut last = 0_u32;
    for (at, &byte) in text.iter().enumerate() {
        last = last << 8 | fold(byte);
        if at >= 2 {
            each(number_of(u64::from(last & 0xFF_FFFF)));
        }
        if at >= 3 {
            // Four bytes are kept apart from three behind a zero byte.
            each(number_of(u64::from(last) | 1 << 32));
        }
    }
}

/// Calls `each` with the numbers of the minimizers of a string's digits, given as values below 16.
pub(crate) fn of_digits(digits: &[u8], mut each: impl FnMut(u32)) {
    if digits.len() < DIGITS_MIN {
        return;
    }
    let mut hashes = [0_u64; WINDOW];
    let mut run = 0_u32;
    let mut least_before = None;
    for (at, &digit) in digits.iter().enumerate() {
        run = run << 4 | u32::from(digit);
        let Some(start) = (at + 1).checked_sub(DIGITS) else { continue };
        hashes[start % WINDOW] = u64::from(run).wrapping_add(1 << 33).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        if start + 1 >= WINDOW {
            let least = hashes.iter().copied().min().unwrap_or(0);
            if least_before != Some(least) {
                least_before = Some(least);
                each(number_of(least));
            }
        }
    }
}

/// The values of the hex digits of `text`, dashes left out; `None` when it has other bytes.
pub(crate) fn digits_of(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    for &byte in text {
        match byte {
            b'0'..=b'9' => out.push(byte - b'0'),
            b'a'..=b'f' => out.push(byte - b'a' + 10),
            b'-' => {}
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_shares_minimizers_with_what_contains_it() {
        let digits: Vec<u8> = (0..64_u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as u8).collect();
        let of = |digits: &[u8]| {
            let mut all = Vec::new();
            of_digits(digits, |gram| all.push(gram));
            all
        };
        let whole = of(&digits);
        assert!(whole.len() < 25, "{} minimizers of 64 digits", whole.len());
        for start in 0..digits.len() {
            for end in start..=digits.len() {
                let part = of(&digits[start..end]);
                assert_eq!(part.is_empty(), end - start < DIGITS_MIN);
                assert!(part.iter().all(|gram| whole.contains(gram)));
            }
        }
    }
}
