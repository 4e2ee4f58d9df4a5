//! Cuts a line into static text, words and variables.
//!
//! | kind | what | example |
//! |---|---|---|
//! | word | letters; static where few differ at its place | `GET`, `duration` |
//! | number | up to 18 digits | `4393`, `007` |
//! | decimal | number, dot, number | `9.598` |
//! | address | IPv4 | `203.0.113.7` |
//! | hex | lower-case hex digits | `6b0307fe` |
//! | uuid | 8-4-4-4-12 lower-case hex digits | `29d0b338-e859-4086-8def-e2dfe142fbe7` |
//! | time | see [`super::clock`] | `2026-11-22 15:20:19,405` |
//! | text | ids behind a sigil, mixed words | `!k692RphhjCCpzfAUeB1a:example.org`, `m8vqz` |
//! | phrase | a quoted string that has few values at its place | a user agent |
//!
//! Everything between them (punctuation, spaces) is static. How a line is cut decides only how small the block gets
//! and how fast it is searched: every cut gives the line back.

use super::clock::{self, Format};
use super::phrase::Phrases;

/// What a token is. Numbers up to [`Kind::Phrase`] are on disk, in the template dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Word = 1,
    Number = 2,
    Decimal = 3,
    Address = 4,
    Hex = 5,
    Uuid = 6,
    Time = 7,
    Text = 8,
    Phrase = 9,
}

impl Kind {
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        [
            Self::Word,
            Self::Number,
            Self::Decimal,
            Self::Address,
            Self::Hex,
            Self::Uuid,
            Self::Time,
            Self::Text,
            Self::Phrase,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == id)
    }
}

/// A word or variable of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// First byte, from the start of the line.
    pub(crate) start: u16,
    /// Bytes, at least one.
    pub(crate) len: u16,
    pub(crate) kind: Kind,
    /// The id of a time's [`Format`], else 0.
    pub(crate) format: u8,
}

impl Token {
    pub(crate) fn end(self) -> usize {
        usize::from(self.start) + usize::from(self.len)
    }

    pub(crate) fn text(self, line: &[u8]) -> &[u8] {
        &line[usize::from(self.start)..self.end()]
    }
}

/// Longer lines are kept as they are: their tokens would cost more than they save. [`Token::start`] has room for it.
pub(crate) const LINE_BYTES_MAX: usize = 32 << 10;
/// Lines of more tokens are kept as they are.
pub(crate) const TOKENS_MAX: usize = 600;
/// Digits that always fit an i64.
const DIGITS_MAX: usize = 18;

const HEX: u8 = 1; // a-f
const LOWER: u8 = 2; // g-z
const UPPER: u8 = 4;
const DIGIT: u8 = 8;
const HIGH: u8 = 16; // beyond ASCII
const SIGIL: u8 = 32; // may begin an id or a phrase
const WORD: u8 = HEX | LOWER | UPPER | DIGIT | HIGH;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'a'..=b'f' => HEX,
            b'g'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'0'..=b'9' => DIGIT,
            0x80.. => HIGH,
            b'@' | b'!' | b'$' | b'#' | b'"' | b'{' => SIGIL,
            _ => 0,
        };
        byte += 1;
    }
    class
};

#[inline]
fn class(byte: u8) -> u8 {
    CLASS[byte as usize]
}

#[inline]
fn class_at(line: &[u8], at: usize) -> u8 {
    line.get(at).map_or(0, |&byte| class(byte))
}

/// Appends the tokens of `line`, ascending, without overlap, and returns the hash of its kinds and of all text that is
/// no variable, words included. `None`: the line is too long or has too many tokens; `tokens` then holds rubbish
/// behind its old end.
pub(crate) fn tokenize(line: &[u8], entry_ns: i64, phrases: &Phrases, tokens: &mut Vec<Token>) -> Option<u64> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let mut cutter = Cutter { line, hash: SEED, static_start: 0, first: tokens.len(), tokens };
    let mut at = 0;
    while at < line.len() {
        let class_here = class(line[at]);
        if class_here == 0 {
            at += 1;
            continue;
        }
        at = if class_here == SIGIL { cutter.sigil(at, phrases) } else { cutter.run(at, entry_ns) };
    }
    if cutter.tokens.len() - cutter.first > TOKENS_MAX {
        return None;
    }
    Some(mix(cutter.hash, hash_bytes(&line[cutter.static_start..])))
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value) * u128::from(0xD6E8_FEB8_6659_FD93_u64);
    (product as u64) ^ (product >> 64) as u64 ^ value.rotate_left(32)
}

/// A fast hash; who uses it compares the bytes too.
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        hash = mix(
            hash,
            u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]),
        );
    }
    let mut tail = 0_u64;
    for &byte in chunks.remainder() {
        tail = tail << 8 | u64::from(byte);
    }
    mix(hash, tail)
}

struct Cutter<'a> {
    line: &'a [u8],
    hash: u64,
    /// Start of the text since the last variable: hashed when the next one comes.
    static_start: usize,
    first: usize,
    tokens: &'a mut Vec<Token>,
}

impl Cutter<'_> {
    #[inline]
    fn word(&mut self, start: usize, end: usize) -> usize {
        self.tokens.push(Token { start: start as u16, len: (end - start) as u16, kind: Kind::Word, format: 0 });
        end
    }

    #[inline]
    fn variable(&mut self, start: usize, end: usize, kind: Kind, format: u8) -> usize {
        self.hash = mix(self.hash, hash_bytes(&self.line[self.static_start..start]));
        self.hash = mix(self.hash, kind as u64 | u64::from(format) << 8);
        self.static_start = end;
        self.tokens.push(Token { start: start as u16, len: (end - start) as u16, kind, format });
        end
    }

    fn time(&mut self, start: usize, len: usize, format: Format) -> usize {
        self.variable(start, start + len, Kind::Time, format.id())
    }

    /// A run of letters and digits that begins at `start`; returns where to go on.
    #[inline]
    fn run(&mut self, start: usize, entry_ns: i64) -> usize {
        let line = self.line;
        let mut seen = 0;
        let mut end = start;
        while end < line.len() {
            let here = class(line[end]);
            if here & WORD == 0 {
                break;
            }
            seen |= here;
            end += 1;
        }
        if seen & DIGIT == 0 {
            if end - start == 3
                && line[start].is_ascii_uppercase()
                && let Some(time) = clock::find_at_letters(&line[start..], entry_ns)
            {
                return self.time(start, time.len, time.format);
            }
            return self.word(start, end);
        }
        if end - start == 8 && line.get(end) == Some(&b'-') && is_uuid(&line[start..]) {
            return self.variable(start, start + 36, Kind::Uuid, 0);
        }
        if seen == DIGIT { self.digits(start, end, entry_ns) } else { self.mixed(start, end, seen, entry_ns) }
    }

    /// Digits `start..end`, not followed by a letter or digit, or the caller knows better.
    fn digits(&mut self, start: usize, end: usize, entry_ns: i64) -> usize {
        let line = self.line;
        let len = end - start;
        // Four digits and a space are a klog time only behind its letter.
        let may_be_time = match len {
            4 => line.get(end) != Some(&b' '),
            _ => matches!(len, 2 | 10 | 13 | 16 | 19),
        };
        if may_be_time && let Some(time) = clock::find_at_digits(&line[start..], len, entry_ns) {
            return self.time(start, time.len, time.format);
        }
        let after_dot = start > 0 && line[start - 1] == b'.';
        if !after_dot && line.get(end) == Some(&b'.') && class_at(line, end + 1) == DIGIT {
            if let Some(end) = end_of_address(line, start, end) {
                return self.variable(start, end, Kind::Address, 0);
            }
            let mut fraction_end = end + 1;
            while class_at(line, fraction_end) == DIGIT {
                fraction_end += 1;
            }
            let ends_here = line.get(fraction_end) != Some(&b'.') || class_at(line, fraction_end + 1) != DIGIT;
            let canonical = len == 1 || line[start] != b'0';
            if ends_here && canonical && fraction_end - start <= DIGITS_MAX {
                return self.variable(start, fraction_end, Kind::Decimal, 0);
            }
        }
        let kind = if len <= DIGITS_MAX { Kind::Number } else { Kind::Text };
        self.variable(start, end, kind, 0)
    }

    /// Letters and digits.
    fn mixed(&mut self, start: usize, end: usize, seen: u8, entry_ns: i64) -> usize {
        let line = self.line;
        let len = end - start;
        let mut changes = 0;
        let mut first_change = 0;
        for at in start + 1..end {
            if (class(line[at]) == DIGIT) != (class(line[at - 1]) == DIGIT) {
                changes += 1;
                if changes == 1 {
                    first_change = at;
                }
            }
        }
        let starts_with_digits = class(line[start]) == DIGIT;
        if starts_with_digits && first_change - start >= 10 {
            // An epoch that goes on with a letter: 1795360819s.
            let time = clock::find_at_digits(&line[start..], first_change - start, entry_ns);
            if let Some(time) = time {
                return self.time(start, time.len, time.format);
            }
        }
        if seen & !(DIGIT | HEX) == 0 && len >= 6 && (changes >= 2 || len >= 16) {
            return self.variable(start, end, Kind::Hex, 0);
        }
        if changes == 1 {
            return if starts_with_digits {
                let number_end = self.digits(start, first_change, entry_ns);
                debug_assert_eq!(number_end, first_change);
                self.word(first_change, end)
            } else {
                if matches!(line[start], b'I' | b'W' | b'E' | b'F')
                    && len == 5
                    && first_change == start + 1
                    && let Some(time) = clock::find_at_digits(&line[start + 1..], 4, entry_ns)
                {
                    self.word(start, start + 1);
                    return self.time(start + 1, time.len, time.format);
                }
                self.word(start, first_change);
                self.digits(first_change, end, entry_ns)
            };
        }
        // An id in base64url: goes on behind dashes and underscores.
        let is_id = len >= 12 || (len >= 8 && seen & UPPER != 0 && seen & (LOWER | HEX) != 0);
        let end = if is_id { end_of_id(line, end) } else { end };
        self.text(start, end)
    }

    fn text(&mut self, start: usize, end: usize) -> usize {
        self.variable(start, end.min(start + usize::from(u16::MAX)), Kind::Text, 0)
    }

    /// A byte that may begin an id or a phrase.
    fn sigil(&mut self, at: usize, phrases: &Phrases) -> usize {
        let line = self.line;
        let start = at + 1;
        match line[at] {
            b'"' | b'{' => {
                if let Some(end) = phrases.end_of(line, at) {
                    return self.variable(start, end, Kind::Phrase, 0);
                }
            }
            _ if at > 0 && class(line[at - 1]) & WORD != 0 => {}
            b'@' | b'#' => {
                // A name alone is no id: it has to be followed by a server.
                let name_end = run_end(line, start, |b| class(b) & WORD != 0 || b"_-=./+".contains(&b));
                if name_end > start
                    && let Some(end) = end_of_server(line, name_end)
                {
                    return self.text(start, end);
                }
            }
            _ => {
                let body_end = end_of_id(line, start);
                if body_end - start >= 10 {
                    return self.text(start, end_of_server(line, body_end).unwrap_or(body_end));
                }
            }
        }
        start
    }
}

fn run_end(line: &[u8], start: usize, mut is_in: impl FnMut(u8) -> bool) -> usize {
    let mut end = start;
    while end < line.len() && is_in(line[end]) {
        end += 1;
    }
    end
}

fn end_of_id(line: &[u8], start: usize) -> usize {
    run_end(line, start, |b| class(b) & (WORD ^ HIGH) != 0 || b == b'-' || b == b'_')
}

/// The end of `:server.name` at `colon`.
fn end_of_server(line: &[u8], colon: usize) -> Option<usize> {
    if line.get(colon) != Some(&b':') || class_at(line, colon + 1) & (WORD ^ HIGH) == 0 {
        return None;
    }
    let mut end = run_end(line, colon + 1, |b| class(b) & (WORD ^ HIGH) != 0 || b == b'-' || b == b'.');
    while matches!(line[end - 1], b'.' | b'-') {
        end -= 1;
    }
    Some(end)
}

/// The end of an IPv4 address whose first number is `start..dot`, written as an address is printed.
fn end_of_address(line: &[u8], start: usize, dot: usize) -> Option<usize> {
    let mut octet_start = start;
    let mut octet_end = dot;
    for octet in 0..4 {
        let digits = &line[octet_start..octet_end];
        let value = match digits {
            [] => return None,
            [b'0', _, ..] => return None,
            _ if digits.len() > 3 => return None,
            _ => digits.iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0')),
        };
        if value > 255 {
            return None;
        }
        if octet == 3 {
            break;
        }
        if line.get(octet_end) != Some(&b'.') {
            return None;
        }
        octet_start = octet_end + 1;
        octet_end = run_end(line, octet_start, |b| class(b) == DIGIT);
    }
    let goes_on = line.get(octet_end) == Some(&b'.') && class_at(line, octet_end + 1) == DIGIT;
    (!goes_on).then_some(octet_end)
}

/// A lower-case uuid at the start of `text`, not part of a longer word.
fn is_uuid(text: &[u8]) -> bool {
    if text.len() < 36 || class_at(text, 36) & WORD != 0 {
        return false;
    }
    text[..36].iter().enumerate().all(|(at, &byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => class(byte) & (DIGIT | HEX) != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: &str) {
        let mut tokens = Vec::new();
        tokenize(line.as_bytes(), 1_795_360_819_123_456_789, &Phrases::default(), &mut tokens).unwrap();
        let mut out = String::new();
        let mut end = 0;
        for token in tokens {
            out.push_str(&line[end..token.start as usize]);
            let letter = match token.kind {
                Kind::Word => "",
                Kind::Number => "n",
                Kind::Decimal => "d",
                Kind::Address => "a",
                Kind::Hex => "h",
                Kind::Uuid => "u",
                Kind::Time => "t",
                Kind::Text => "x",
                Kind::Phrase => "p",
            };
            let text = std::str::from_utf8(token.text(line.as_bytes())).unwrap();
            if letter.is_empty() {
                out.push_str(text)
            } else {
                out.push_str(&format!("<{letter}:{text}>"))
            }
            end = token.end();
        }
        out.push_str(&line[end..]);
        assert_eq!(out, want);
    }

    #[test]
    fn lines_are_cut() {
        check("a=1 b=007 9.598 ms 0.002sec", "a=<n:1> b=<n:007> <d:9.598> ms <d:0.002>sec");
        check("203.0.113.7:80 1.2.3 256.1.1.1", "<a:203.0.113.7>:<n:80> <n:1>.<n:2>.<n:3> <n:256>.<n:1>.<n:1>.<n:1>");
        check("2026-11-22 15:20:19,405 - x", "<t:2026-11-22 15:20:19,405> - x");
        check("ts=2026-11-22T15:20:19.123Z", "ts=<t:2026-11-22T15:20:19.123>Z");
        check("I1122 15:20:19.123456 1 a.go:3]", "I<t:1122 15:20:19.123456> <n:1> a.go:<n:3>]");
        check("Nov 22 15:20:19 host", "<t:Nov 22 15:20:19> host");
        check("\"time\":1795360816.28,", "\"time\":<t:1795360816.28>,");
        check("[29d0b338-e859-4086-8def-e2dfe142fbe7]", "[<u:29d0b338-e859-4086-8def-e2dfe142fbe7>]");
        check("id 6b0307fe.112f a9ed5f1ef4832d33", "id <h:6b0307fe>.<n:112>f <h:a9ed5f1ef4832d33>");
        check("@user024:matrix.example.test. a@b", "@<x:user024:matrix.example.test>. a@b");
        check("!ZnSO70o-AsIi3tIhRX_94Y15/x", "!<x:ZnSO70o-AsIi3tIhRX_94Y15>/x");
        check("GET-3163 user075 3948B m8vqz", "GET-<n:3163> user<n:075> <n:3948>B <x:m8vqz>");
        check("1.571µs 1234567890123456789012", "<d:1.571>µs <x:1234567890123456789012>");
        check("rooms/AFVRO2ug_WnG6xsuA-Vt/join", "rooms/<x:AFVRO2ug_WnG6xsuA-Vt>/join");
    }
}
