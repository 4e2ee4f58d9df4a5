//! The first word of a line that is a level.
//!
//! A word counts between bounds only: `[ERROR]` does, `errors` and `misc:error` do not. Lines without a level are the
//! common case and are read to their end, so candidates (a left bound and the first two letters of a level) are found
//! for 32 bytes at once by comparisons that the compiler turns into vector instructions; the few that remain are
//! checked one by one.

use super::Level;
use super::lanes::{LANES, movemask};

/// By first letter, longer words before their prefixes.
const WORDS: [(&[u8], Level); 9] = [
    (b"trace", Level::Trace),
    (b"debug", Level::Debug),
    (b"fatal", Level::Fatal),
    (b"critical", Level::Critical),
    (b"error", Level::Error),
    (b"err", Level::Error),
    (b"warning", Level::Warn),
    (b"warn", Level::Warn),
    (b"info", Level::Info),
];

/// Shortest word.
const WORD_BYTES_MIN: usize = 3;

/// The level that the leftmost level word of `line` names.
pub(super) fn find(line: &[u8]) -> Option<Level> {
    if let Some(level) = word(line) {
        return Some(level);
    }
    // `at` is where a word may start; its left neighbour is `at - 1`.
    let mut at = 1;
    while let Some(window) = line.get(at - 1..at + LANES + 1) {
        let mut found = candidates(window);
        while found != 0 {
            let lane = found.trailing_zeros() as usize;
            if let Some(level) = bounded_word(line, at + lane) {
                return Some(level);
            }
            found &= found - 1;
        }
        at += LANES;
    }
    (at..line.len().saturating_sub(WORD_BYTES_MIN - 1)).find_map(|at| bounded_word(line, at))
}

/// A bit per lane that may start a word: too many rather than too few. `window` is the lanes with a neighbour on
/// either side.
#[inline]
fn candidates(window: &[u8]) -> u32 {
    let (Some(left), Some(first), Some(second)) =
        (window.first_chunk::<LANES>(), window[1..].first_chunk::<LANES>(), window[2..].first_chunk::<LANES>())
    else {
        return u32::MAX;
    };
    let mut hits = [0_u8; LANES];
    for lane in 0..LANES {
        // Bit 5 is the letter case; it also makes `[` and `{` one.
        let (l, a, b) = (left[lane], first[lane] | 0x20, second[lane] | 0x20);
        let bound = u8::from(l <= b'(') | u8::from(l | 0x20 == b'{') | u8::from(l == b'=');
        let r = u8::from(b == b'r') & (u8::from(a == b'e') | u8::from(a == b't') | u8::from(a == b'c'));
        let a_ = u8::from(b == b'a') & (u8::from(a == b'w') | u8::from(a == b'f'));
        let e = u8::from(b == b'e') & u8::from(a == b'd');
        let n = u8::from(b == b'n') & u8::from(a == b'i');
        hits[lane] = bound & (r | a_ | e | n);
    }
    movemask(&hits)
}

#[inline]
fn bounded_word(line: &[u8], at: usize) -> Option<Level> {
    matches!(line[at - 1], b' ' | b'\t' | b'\n' | b'[' | b'(' | b'{' | b'"' | b'=').then(|| word(&line[at..]))?
}

/// The level word that `text` starts with, its right bound included.
fn word(text: &[u8]) -> Option<Level> {
    let (word, level) = WORDS.iter().find(|(word, _)| {
        text.len() >= word.len()
            && text[..word.len()].eq_ignore_ascii_case(word)
            && is_right_bound(text.get(word.len()))
    })?;
    debug_assert!(word.len() >= WORD_BYTES_MIN);
    Some(*level)
}

fn is_right_bound(byte: Option<&u8>) -> bool {
    matches!(
        byte,
        None | Some(b' ' | b'\t' | b'\n' | b'[' | b']' | b'(' | b')' | b'{' | b'}' | b':' | b',' | b'!' | b'"' | b'=')
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find_slowly(line: &[u8]) -> Option<Level> {
        (0..line.len()).find_map(|at| if at == 0 { word(line) } else { bounded_word(line, at) })
    }

    proptest! {
        #[test]
        fn lanes_change_no_answer(
            before in "[ \\[(=\"a-z:.]{0,80}", word in "(?i:trace|debug|fatal|critical|error|err|warning|warn|info|inform)", after in "[ \\])=\"a-z:.]{0,50}",
        ) {
            let line = format!("{before}{word}{after}");
            prop_assert_eq!(find(line.as_bytes()), find_slowly(line.as_bytes()));
        }

        #[test]
        fn any_bytes(line in proptest::collection::vec(any::<u8>(), 0..150)) {
            prop_assert_eq!(find(&line), find_slowly(&line));
        }
    }
}
