//! The input: real lines, in order of time.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// All lines of a folder.
pub struct Corpus {
    /// In order of time.
    pub records: Vec<Record>,
    /// Label text of each stream, `{a="b"}`.
    pub streams: Vec<String>,
    /// Bytes of all lines.
    pub raw_bytes: u64,
}

/// One line.
pub struct Record {
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// Index into [`Corpus::streams`].
    pub stream: usize,
    /// The line.
    pub line: String,
}

#[derive(Deserialize)]
struct Input {
    ts: Time,
    labels: BTreeMap<String, String>,
    line: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Number(i64),
    Text(String),
}

/// Reads every `*.jsonl` and `*.jsonl.zst` of `folder`.
pub fn read(folder: &Path) -> Result<Corpus> {
    let mut corpus = Corpus { records: Vec::new(), streams: Vec::new(), raw_bytes: 0 };
    let mut stream_ids: HashMap<String, usize> = HashMap::new();
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("{}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = std::fs::File::open(&path)?;
        let reader: Box<dyn Read> = match name {
            name if name.ends_with(".jsonl") => Box::new(file),
            name if name.ends_with(".jsonl.zst") => Box::new(zstd::Decoder::new(file)?),
            _ => continue,
        };
        for (number, line) in BufReader::new(reader).lines().enumerate() {
            let at = || format!("{}:{}", path.display(), number + 1);
            let input: Input = serde_json::from_str(&line.with_context(at)?).with_context(at)?;
            let timestamp_ns = match input.ts {
                Time::Number(ns) => ns,
                Time::Text(text) => text.parse().with_context(at)?,
            };
            let pairs: Vec<String> = input.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let labels = format!("{{{}}}", pairs.join(", "));
            let stream = *stream_ids.entry(labels.clone()).or_insert_with(|| {
                corpus.streams.push(labels);
                corpus.streams.len() - 1
            });
            corpus.raw_bytes += input.line.len() as u64;
            corpus.records.push(Record { timestamp_ns, stream, line: input.line });
        }
    }
    ensure!(!corpus.records.is_empty(), "no *.jsonl or *.jsonl.zst in {}", folder.display());
    corpus.records.sort_by_key(|record| record.timestamp_ns);
    Ok(corpus)
}
