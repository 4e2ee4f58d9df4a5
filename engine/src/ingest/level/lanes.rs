//! Searches that look at many bytes at once, by comparisons that the compiler turns into vector instructions.

use super::LevelNames;

/// Bytes that are looked at together.
pub(super) const LANES: usize = 32;

/// True when `accept` takes one of the places where `end` stands behind the last letter of a level name.
///
/// Lines hold many quotes and equal signs and hardly a level key, so candidates are found before anything is compared.
pub(super) fn any_key_end(line: &[u8], end: u8, names: &LevelNames, accept: impl Fn(usize) -> bool) -> bool {
    let Some(letters) = names.last_letters() else {
        let may_end = |at: &usize| at.checked_sub(1).is_some_and(|last| names.may_end_in(line[last]));
        return memchr::memchr_iter(end, line).filter(may_end).any(accept);
    };
    // `at` is a place of `end`; the letter before it is at `at - 1`.
    let mut at = 1;
    while let Some(window) = line.get(at - 1..at + LANES) {
        let (Some(last), Some(here)) = (window.first_chunk::<LANES>(), window[1..].first_chunk::<LANES>()) else {
            break;
        };
        let mut hits = [0; LANES];
        for lane in 0..LANES {
            let letter = last[lane] | 0x20;
            let is_last = letters.iter().fold(0, |any, &known| any | u8::from(letter == known));
            hits[lane] = u8::from(here[lane] == end) & is_last;
        }
        let mut found = movemask(&hits);
        while found != 0 {
            if accept(at + found.trailing_zeros() as usize) {
                return true;
            }
            found &= found - 1;
        }
        at += LANES;
    }
    (at..line.len()).any(|at| line[at] == end && names.may_end_in(line[at - 1]) && accept(at))
}

/// Bit `i` is set when `hits[i]` is 1.
#[inline]
pub(super) fn movemask(hits: &[u8; LANES]) -> u32 {
    let mut mask = 0;
    for (idx, eight) in hits.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes([eight[0], eight[1], eight[2], eight[3], eight[4], eight[5], eight[6], eight[7]]);
        // Gathers the lowest bit of each byte in the top byte: each product term lands on a bit of its own.
        let bits = (word.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32;
        mask |= bits << (8 * idx);
    }
    mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gathers_bits() {
        let mut hits = [0; LANES];
        for lane in [0, 7, 8, 21, 31] {
            hits[lane] = 1;
        }
        assert_eq!(movemask(&hits), 1 | 1 << 7 | 1 << 8 | 1 << 21 | 1 << 31);
        assert_eq!(movemask(&[1; LANES]), u32::MAX);
    }

    proptest! {
        #[test]
        fn lanes_change_no_answer(line in "[lyt=a\"]{0,100}", many in any::<bool>()) {
            let mut names = vec!["level".to_owned(), "y".to_owned(), "t".to_owned()];
            if many {
                names.extend(["a", "b", "c", "d", "e"].map(str::to_owned));
            }
            let names = LevelNames::new(&names);
            let line = line.as_bytes();
            for end in [b'=', b'"'] {
                let want: Vec<usize> = (1..line.len()).filter(|&at| line[at] == end && names.may_end_in(line[at - 1])).collect();
                let got = std::cell::RefCell::new(Vec::new());
                any_key_end(line, end, &names, |at| { got.borrow_mut().push(at); false });
                prop_assert_eq!(got.into_inner(), want);
            }
        }
    }
}
