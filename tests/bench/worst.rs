//! Inputs that a column store likes least: nothing repeats, or everything is spread thin, or out of order.

use clap::ValueEnum;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::amplify::{Plan, rewrite};
use crate::corpus::{Corpus, Record};

/// An input made to hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Lines of 200 random letters and digits: nothing to compress but six bits a byte.
    Random,
    /// 100,000 streams with ten lines each.
    Streams,
    /// Lines of 256 KB, made of the corpus' own.
    Long,
    /// A tenth of all entries comes 55 minutes late.
    Late,
}

impl Case {
    /// The input, about `target_bytes` of lines, in the order in which it is to be pushed.
    pub fn corpus(self, real: &Corpus, target_bytes: u64) -> Corpus {
        let now_ns = real_end_ns(real, target_bytes);
        match self {
            Self::Random => {
                let count = target_bytes / 200;
                let lines = (0..count).map(|idx| (idx as usize % 25, random_line(idx, 200)));
                of(stream_labels(25), lines, now_ns, 1_000_000)
            }
            Self::Streams => {
                let (streams, repetitions) = (100_000, 10);
                let records = &real.records;
                let lines =
                    (0..streams * repetitions).map(|idx| (idx % streams, records[idx % records.len()].line.clone()));
                of(stream_labels(streams), lines, now_ns, 1_000_000)
            }
            Self::Long => {
                let mut source = real.records.iter().cycle();
                let count = target_bytes / (256 << 10);
                let lines = (0..count).map(|idx| {
                    let mut line = String::with_capacity(256 << 10);
                    let mut rewritten = Vec::new();
                    while line.len() < (256 << 10) - 60_000 {
                        let record = source.next().map_or("", |record| record.line.as_str());
                        rewrite(record, idx, 0, &mut rewritten);
                        line.push_str(&String::from_utf8_lossy(&rewritten));
                        line.push(' ');
                    }
                    (idx as usize % 25, line)
                });
                of(stream_labels(25), lines, now_ns, 1_000_000_000)
            }
            Self::Late => late(real, target_bytes),
        }
    }
}

fn real_end_ns(real: &Corpus, target_bytes: u64) -> i64 {
    Plan::new(real, target_bytes).last_ns
}

fn stream_labels(count: usize) -> Vec<String> {
    (0..count).map(|idx| format!("{{namespace=\"worst\", pod=\"pod-{idx}\"}}")).collect()
}

/// Lines `step_ns` apart, the last one at `end_ns`.
fn of(streams: Vec<String>, lines: impl Iterator<Item = (usize, String)>, end_ns: i64, step_ns: i64) -> Corpus {
    let mut records: Vec<Record> = lines.map(|(stream, line)| Record { timestamp_ns: 0, stream, line }).collect();
    let count = records.len() as i64;
    for (idx, record) in records.iter_mut().enumerate() {
        record.timestamp_ns = end_ns - (count - idx as i64) * step_ns;
    }
    let raw_bytes = records.iter().map(|record| record.line.len() as u64).sum();
    Corpus { records, streams, raw_bytes }
}

fn random_line(idx: u64, len: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut line = String::with_capacity(len);
    for word in 0.. {
        let random = xxh3_64_with_seed(&idx.to_le_bytes(), word);
        for shift in 0..10 {
            if line.len() == len {
                return line;
            }
            line.push(LETTERS[(random >> (6 * shift)) as usize & 63] as char);
        }
    }
    line
}

fn late(real: &Corpus, target_bytes: u64) -> Corpus {
    // Loki, and so we, refuse what is an hour older than a stream's newest entry.
    const LATE_NS: i64 = 3_300_000_000_000;
    let plan = Plan::new(real, target_bytes);
    let mut arrivals: Vec<(i64, Record)> = Vec::new();
    let mut line = Vec::new();
    for repetition in 0..plan.repetitions {
        let shift_s = plan.shift_s(repetition);
        for record in &real.records {
            rewrite(&record.line, repetition, shift_s, &mut line);
            let timestamp_ns = record.timestamp_ns + shift_s * 1_000_000_000;
            let is_late = xxh3_64_with_seed(&line, timestamp_ns as u64).is_multiple_of(10);
            let record =
                Record { timestamp_ns, stream: record.stream, line: String::from_utf8_lossy(&line).into_owned() };
            arrivals.push((timestamp_ns + if is_late { LATE_NS } else { 0 }, record));
        }
    }
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    let records: Vec<Record> = arrivals.into_iter().map(|(_, record)| record).collect();
    let raw_bytes = records.iter().map(|record| record.line.len() as u64).sum();
    Corpus { records, streams: real.streams.clone(), raw_bytes }
}
