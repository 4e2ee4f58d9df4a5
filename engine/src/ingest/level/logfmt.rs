//! The level field of a logfmt line.

use super::LevelNames;
use super::lanes::any_key_end;

/// The value whose key is the best of `names`, in any letter case, among the pairs before the first fault.
///
/// Most lines with an `=` have no such key, so they are told apart first: without a name directly before an `=`
/// nothing needs parsing.
pub(super) fn find<'a>(line: &'a [u8], names: &LevelNames) -> Option<&'a [u8]> {
    any_key_end(line, b'=', names, |at| ends_in_name(&line[..at], names)).then(|| best(line, names))?
}

fn ends_in_name(text: &[u8], names: &LevelNames) -> bool {
    names.iter().any(|name| {
        text.len().checked_sub(name.len()).is_some_and(|start| {
            text[start..].eq_ignore_ascii_case(name) && start.checked_sub(1).is_none_or(|left| text[left] <= b' ')
        })
    })
}

fn best<'a>(line: &'a [u8], names: &LevelNames) -> Option<&'a [u8]> {
    let mut best: Option<(usize, &[u8])> = None;
    let mut rest = line;
    while let Some((key, value)) = next_pair(&mut rest) {
        let rank = names.rank(key);
        if let Some(rank) = rank.filter(|&rank| best.is_none_or(|(known, _)| rank < known)) {
            best = Some((rank, value));
            if rank == 0 {
                break;
            }
        }
    }
    best.map(|(_, value)| value)
}

/// Takes the next pair off `rest`; a key without `=` has an empty value. `None` at the end and at the first fault:
/// a pair without key, a quote in a key, a quote or `=` in a bare value, a quote that stays open.
fn next_pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = rest.iter().position(|&byte| byte > b' ')?;
    let text = &rest[start..];
    let key_len = token_len(text);
    let (key, text) = text.split_at(key_len);
    match text.first() {
        Some(b'"') => None,
        Some(b'=') if key.is_empty() => None,
        Some(b'=') => {
            let (value, text) = split_value(&text[1..])?;
            *rest = text;
            Some((key, value))
        }
        _ => {
            *rest = text;
            Some((key, &[]))
        }
    }
}

/// The value at the start of `text`, without its quotes and with its escapes, and what follows it.
fn split_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.first() == Some(&b'"') {
        let text = &text[1..];
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                return Some((&text[..at], &text[at + 1..]));
            }
            at += 2;
        }
    }
    let len = token_len(text);
    match text.get(len) {
        Some(b'=' | b'"') => None,
        _ => Some(text.split_at(len)),
    }
}

/// Bytes up to the next blank, `=` or quote.
#[inline]
fn token_len(text: &[u8]) -> usize {
    const IS_END: [bool; 256] = {
        let mut ends = [false; 256];
        let mut byte = 0;
        while byte <= b' ' as usize {
            ends[byte] = true;
            byte += 1;
        }
        ends[b'=' as usize] = true;
        ends[b'"' as usize] = true;
        ends
    };
    text.iter().position(|&byte| IS_END[usize::from(byte)]).unwrap_or(text.len())
}
