//! Quoted strings that have few values at their place, such as user agents: kept as one variable.
//!
//! Cut into words, they would multiply the number of templates; as a whole they are one small dictionary.

use hashbrown::{HashMap, HashSet};

use super::token::hash_bytes;

/// Lines looked at in a block.
const SAMPLE_LINES: usize = 512;
/// Shorter strings are words and numbers like any other.
const LEN_MIN: usize = 8;
const LEN_MAX: usize = 1024;
/// A place needs this many strings in the sample to be judged.
const SEEN_MIN: usize = 16;
/// Bytes in front of the quote that name the place.
const CONTEXT: usize = 12;

/// The places where a block has phrases.
#[derive(Debug, Default)]
pub(crate) struct Phrases {
    places: HashSet<u64>,
}

impl Phrases {
    /// Looks for places in a sample of the lines.
    pub(crate) fn find<'a>(line_count: usize, line: impl Fn(usize) -> &'a [u8]) -> Self {
        let step = line_count.div_ceil(SAMPLE_LINES).max(1);
        let mut seen: HashMap<u64, (usize, HashSet<u64>)> = HashMap::new();
        for row in (0..line_count).step_by(step) {
            let line = line(row);
            let mut at = 0;
            while let Some(found) = memchr::memchr2(b'"', b'{', &line[at..]) {
                let open = at + found;
                let Some(end) = end_of_string(line, open) else {
                    at = open + 1;
                    continue;
                };
                let text = &line[open + 1..end];
                if is_phrase(text) {
                    let (count, values) = seen.entry(place(line, open)).or_default();
                    *count += 1;
                    values.insert(hash_bytes(text));
                }
                // A brace may hold quoted strings.
                at = if line[open] == b'"' { end + 1 } else { open + 1 };
            }
        }
        let places = seen
            .into_iter()
            .filter(|(_, (count, values))| *count >= SEEN_MIN && values.len() > 1 && values.len() * 8 <= *count)
            .map(|(place, _)| place)
            .collect();
        Self { places }
    }

    /// The end of the phrase that the quote or brace at `open` begins, if there is one.
    pub(crate) fn end_of(&self, line: &[u8], open: usize) -> Option<usize> {
        if self.places.is_empty() || !self.places.contains(&place(line, open)) {
            return None;
        }
        end_of_string(line, open).filter(|&end| is_phrase(&line[open + 1..end]))
    }
}

/// More than a word: it has letters and something between them.
fn is_phrase(text: &[u8]) -> bool {
    (LEN_MIN..=LEN_MAX).contains(&text.len())
        && text.iter().any(u8::is_ascii_alphabetic)
        && text.iter().any(|b| !b.is_ascii_alphanumeric())
}

/// The position of the closing quote or brace.
fn end_of_string(line: &[u8], open: usize) -> Option<usize> {
    let window = &line[open + 1..line.len().min(open + 2 + LEN_MAX)];
    if line[open] == b'{' {
        let end = memchr::memchr2(b'}', b'"', window)?;
        return (window[end] == b'}').then_some(open + 1 + end);
    }
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', &window[at..])?;
        if window[found] == b'"' {
            return Some(open + 1 + found);
        }
        at = found + 2;
        if at > window.len() {
            return None;
        }
    }
}

/// Names a place by the bytes in front of it: at most [`CONTEXT`], a run of digits counting as one, and no further back
/// than the quoted string before (which for JSON is the key).
fn place(line: &[u8], open: usize) -> u64 {
    let mut context = [0; CONTEXT];
    let mut len = 0;
    let mut quotes = if line[open] == b'"' { 2 } else { 1 };
    for &byte in line[..open].iter().rev() {
        let byte = if byte.is_ascii_digit() { b'0' } else { byte };
        if byte == b'0' && len > 0 && context[len - 1] == b'0' {
            continue;
        }
        context[len] = byte;
        len += 1;
        quotes -= u8::from(byte == b'"');
        if len == CONTEXT || quotes == 0 {
            break;
        }
    }
    hash_bytes(&context[..len]) ^ u64::from(line[open])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_make_a_phrase() {
        let lines: Vec<String> = (0..200)
            .map(|i| format!("{i} \"GET /a/{i}?x HTTP/1.1\" \"agent {} (x)\" {{subject {}}}", i % 7, i % 3))
            .collect();
        let phrases = Phrases::find(lines.len(), |row| lines[row].as_bytes());
        let line = b"77 \"GET /a/9?x HTTP/1.1\" \"agent \\\" 9\" {subject 12345} \"";
        let ends: Vec<_> = (0..line.len())
            .filter(|&at| matches!(line[at], b'"' | b'{'))
            .filter_map(|at| phrases.end_of(line, at).map(|end| std::str::from_utf8(&line[at + 1..end]).unwrap()))
            .collect();
        assert_eq!(ends, ["agent \\\" 9", "subject 12345"]);
    }
}
