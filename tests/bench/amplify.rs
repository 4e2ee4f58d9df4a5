//! Makes a small corpus large without making it easy: every repetition lies later in time, times written inside the
//! lines move along, and ids and long numbers are replaced, the same token by the same token within a repetition. Short
//! numbers (status codes, line numbers) and words stay.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::corpus::Corpus;

/// A text planted in a few lines, to be found again.
pub const NEEDLE: &str = "7d1f3b52-4c1e-4f0e-9a55-0c2f5f6f1a11";
/// How often the needle is planted.
const NEEDLES: u64 = 3;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How a corpus is repeated.
pub struct Plan {
    /// Number of repetitions.
    pub repetitions: u64,
    /// Seconds between two repetitions.
    step_s: i64,
    /// Seconds added to every time, so that the newest line is a minute old.
    shift_s: i64,
    /// Time of the first line, ns.
    pub first_ns: i64,
    /// Time of the last line, ns.
    pub last_ns: i64,
    lines: u64,
}

impl Plan {
    /// Repeats until there are `target_bytes` of lines; the last line is a minute old.
    pub fn new(corpus: &Corpus, target_bytes: u64) -> Self {
        let first = corpus.records[0].timestamp_ns;
        let last = corpus.records[corpus.records.len() - 1].timestamp_ns;
        let repetitions = target_bytes.div_ceil(corpus.raw_bytes).max(1);
        let step_s = (last - first) / 1_000_000_000 + 1;
        let span_s = step_s * repetitions as i64;
        let shift_s = Timestamp::now().as_second() - 60 - (first / 1_000_000_000 + span_s);
        let first_ns = first + shift_s * 1_000_000_000;
        let last_ns = last + (shift_s + step_s * (repetitions as i64 - 1)) * 1_000_000_000;
        Self { repetitions, step_s, shift_s, first_ns, last_ns, lines: corpus.records.len() as u64 * repetitions }
    }

    /// As it is, once.
    pub fn once(corpus: &Corpus) -> Self {
        let times = || corpus.records.iter().map(|record| record.timestamp_ns);
        let (first_ns, last_ns) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        Self { repetitions: 1, step_s: 0, shift_s: 0, first_ns, last_ns, lines: corpus.records.len() as u64 }
    }

    /// Lines before a repetition.
    pub fn lines_before(&self, repetition: u64) -> u64 {
        self.lines / self.repetitions * repetition
    }

    /// Time of the last line of a repetition, ns.
    pub fn end_ns(&self, repetition: u64) -> i64 {
        self.last_ns - self.step_s * (self.repetitions - 1 - repetition) as i64 * 1_000_000_000
    }

    /// Seconds that the lines of a repetition are moved by.
    pub fn shift_s(&self, repetition: u64) -> i64 {
        self.shift_s + self.step_s * repetition as i64
    }

    /// True for the few lines that carry [`NEEDLE`].
    pub fn is_planted(&self, line_idx: u64) -> bool {
        (1..=NEEDLES).any(|k| line_idx == self.lines * k / (NEEDLES + 1))
    }
}

/// Writes `line` as it reads in `repetition` to `out`.
pub fn rewrite(line: &str, repetition: u64, shift_s: i64, out: &mut Vec<u8>) {
    out.clear();
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        if starts_word
            && bytes[at].is_ascii_digit()
            && let Some(used) = move_time(&line[at..], shift_s, out)
        {
            at += used;
            continue;
        }
        let len = bytes[at..].iter().take_while(|c| c.is_ascii_alphanumeric()).count();
        if len == 0 {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        replace_word(&bytes[at..at + len], repetition, out);
        at += len;
    }
}

/// Moves a time written at the start of `text` by `shift_s`; the bytes it takes, or `None` without a time.
fn move_time(text: &str, shift_s: i64, out: &mut Vec<u8>) -> Option<usize> {
    let moved = |time: DateTime| {
        let seconds = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() + shift_s;
        Some(TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).ok()?))
    };
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let clock =
        |at: usize| Some((number(at..at + 2)? as i8, number(at + 3..at + 5)? as i8, number(at + 6..at + 8)? as i8));
    let bytes = text.as_bytes();
    // 2026-11-22 15:19:24 or with a T
    if bytes.len() >= 19 && bytes[4] == b'-' && bytes[13] == b':' && matches!(bytes[10], b' ' | b'T') {
        let (h, m, s) = clock(11)?;
        let time = DateTime::new(number(0..4)?, number(5..7)? as i8, number(8..10)? as i8, h, m, s, 0).ok()?;
        let separator = bytes[10] as char;
        out.extend_from_slice(moved(time)?.strftime(&format!("%Y-%m-%d{separator}%H:%M:%S")).to_string().as_bytes());
        return Some(19);
    }
    // 22/Nov/2026:15:19:24
    if bytes.len() >= 20 && bytes[2] == b'/' && bytes[6] == b'/' && bytes[11] == b':' {
        let month = MONTHS.iter().position(|name| text.get(3..6) == Some(*name))? as i8 + 1;
        let (h, m, s) = clock(12)?;
        let time = DateTime::new(number(7..11)?, month, number(0..2)? as i8, h, m, s, 0).ok()?;
        out.extend_from_slice(moved(time)?.strftime("%d/%b/%Y:%H:%M:%S").to_string().as_bytes());
        return Some(20);
    }
    // 1795360764[.935] or with milliseconds, microseconds, nanoseconds behind
    let digits = bytes.iter().take_while(|c| c.is_ascii_digit()).count();
    if matches!(digits, 10 | 13 | 16 | 19) && matches!(&bytes[..2], b"16" | b"17" | b"18") {
        let seconds: i64 = text[..10].parse().ok()?;
        out.extend_from_slice((seconds + shift_s).to_string().as_bytes());
        out.extend_from_slice(&bytes[10..digits]);
        return Some(digits);
    }
    None
}

/// Replaces the digits (and the hex letters between them) of an id; keeps words and short numbers.
fn replace_word(word: &[u8], repetition: u64, out: &mut Vec<u8>) {
    let digits = word.iter().filter(|c| c.is_ascii_digit()).count();
    if repetition == 0 || digits == 0 || word.len() < 4 {
        return out.extend_from_slice(word);
    }
    let mut random = xxh3_64_with_seed(word, repetition);
    let is_hex = word.len() >= 8 && word.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let is_opaque = word.len() >= 16 && digits >= 2;
    for (idx, &c) in word.iter().enumerate() {
        if idx % 12 == 11 {
            random = xxh3_64_with_seed(word, random);
        }
        let draw = (random & 31) as u8;
        random >>= 5;
        out.push(match c {
            b'0'..=b'9' | b'a'..=b'f' if is_hex => b"0123456789abcdef"[usize::from(draw & 15)],
            // The leading digits of a number stay: sizes and durations keep their magnitude.
            b'0'..=b'9' if idx > 0 || is_opaque => b'0' + draw % 10,
            b'a'..=b'z' if is_opaque => b'a' + draw % 26,
            b'A'..=b'Z' if is_opaque => b'A' + draw % 26,
            other => other,
        });
    }
}
