//! Encodes real log files and says what came of it: ratio by kind of column, speeds, and times of searches.
//!
//! ```text
//! cargo run --release -p logstack-engine --example codec_report -- [--fresh | --settled | --quick] [--no-check] FILE...
//! ```
//!
//! Files hold a JSON object a line, `{"ts": "<ns>", "labels": {...}, "line": "..."}`, sorted by time, zstd or plain.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow_free::Result;
use bytes::Bytes;
use logstack_engine::model::Rows;
use logstack_engine::storage::BlockOptions;
use logstack_engine::storage::codec::section::SectionKind;
use logstack_engine::storage::codec::{
    BlockEncoder, BlockMeta, BlockReader, FilterIndex, FilterIndexBuilder, Level, LineSearch, PartSearch, RowSet,
    TemplateDict, Wanted,
};
use logstack_logql::ast::{LineFilter, LineFilterOp, LineMatch};
use logstack_logql::line_filter::CompiledLineFilter;
use serde_json::Value;

/// The error type of a program that only prints it.
mod anyhow_free {
    pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
}

/// CPU time of this thread, so that a busy machine does not change the figures.
struct Cpu(f64);

impl Cpu {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self(text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9)
    }

    fn elapsed(&self) -> f64 {
        Self::now().0 - self.0
    }
}

struct Stream {
    file: usize,
    rows: Rows,
}

struct Block {
    file: usize,
    meta: BlockMeta,
    bytes: Bytes,
    rows: Rows,
}

fn main() -> Result<()> {
    let mut level = Level::Fresh;
    let mut check = true;
    let mut files = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--fresh" => level = Level::Fresh,
            "--settled" => level = Level::Settled,
            "--quick" => level = Level::Quick,
            "--no-check" => check = false,
            _ => files.push(argument),
        }
    }
    let block_bytes = BlockOptions::default().line_bytes(level);
    let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        read(file, index, &mut streams)?;
    }

    let mut dict = TemplateDict::new();
    let mut encoder = BlockEncoder::new(level, BlockOptions::default().zstd(level));
    let mut index = FilterIndexBuilder::default();
    let mut blocks = Vec::new();
    let mut encode_s = 0.0;
    let mut raw_bytes = 0_u64;
    for stream in streams.into_values() {
        for rows in cut(&stream.rows, block_bytes) {
            raw_bytes += rows.bytes.len() as u64;
            let mut out = Vec::new();
            let start = Cpu::now();
            let encoded = encoder.encode(&rows, &mut dict, &mut out)?;
            encode_s += start.elapsed();
            index.push(encoded.filter);
            blocks.push(Block { file: stream.file, meta: encoded.meta, bytes: Bytes::from(out), rows });
        }
    }
    let mut dict_bytes = Vec::new();
    dict.write(&mut dict_bytes);

    let (mut header, mut matrix) = (Vec::new(), Vec::new());
    let put = |rows: &[u8]| {
        matrix.extend_from_slice(rows);
        Ok::<_, std::convert::Infallible>(())
    };
    index.finish(&mut header, put).expect("nothing can go wrong in memory");

    let mut by_file = vec![(0_u64, 0_u64); files.len()];
    let mut by_kind: BTreeMap<SectionKind, (u64, u64)> = BTreeMap::new();
    let (mut total, mut meta_bytes, mut rows) = ((dict_bytes.len() + header.len() + matrix.len()) as u64, 0_u64, 0_u64);
    for block in &blocks {
        let mut record = Vec::new();
        block.meta.write(&mut record);
        meta_bytes += record.len() as u64;
        total += record.len() as u64 + block.bytes.len() as u64;
        rows += u64::from(block.meta.rows);
        by_file[block.file].0 += block.rows.bytes.len() as u64;
        by_file[block.file].1 += block.bytes.len() as u64 + record.len() as u64;
        for section in &block.meta.sections {
            let entry = by_kind.entry(section.kind).or_default();
            entry.0 += u64::from(section.raw_bytes);
            entry.1 += u64::from(section.stored_bytes);
        }
    }
    let percent = |bytes: u64| bytes as f64 * 100.0 / raw_bytes as f64;
    println!("{level:?}: {rows} rows, {raw_bytes} bytes of lines, {} blocks", blocks.len());
    println!(
        "ratio {:.2}:1 ({total} bytes), encode {:.0} MB/s",
        raw_bytes as f64 / total as f64,
        mbs(raw_bytes, encode_s)
    );
    for (kind, (raw, stored)) in &by_kind {
        println!("  {:<14} {raw:>10} -> {stored:>9}  {:.3} %", format!("{kind:?}"), percent(*stored));
    }
    println!("  {:<14} {:>10} -> {meta_bytes:>9}  {:.3} %", "meta records", "", percent(meta_bytes));
    println!(
        "  {:<14} {:>10} -> {:>9}  {:.3} %  {} templates",
        "dictionary",
        "",
        dict_bytes.len(),
        percent(dict_bytes.len() as u64),
        dict.len()
    );
    let filter_bytes = (header.len() + matrix.len()) as u64;
    println!("  {:<14} {:>10} -> {filter_bytes:>9}  {:.3} %", "filter index", "", percent(filter_bytes));
    for (file, (raw, stored)) in files.iter().zip(&by_file) {
        let name = file.rsplit('/').next().unwrap_or(file);
        println!("  {name:<28} {raw:>10} -> {stored:>9}  {:.2}:1", *raw as f64 / *stored as f64);
    }

    let dict = TemplateDict::read(&dict_bytes)?;
    let mut decode_s = 0.0;
    let mut out = Rows::default();
    for block in &blocks {
        out.clear();
        let start = Cpu::now();
        let mut reader = BlockReader::new(&block.meta, &dict, &block.bytes);
        reader.render(&RowSet::full(block.rows.len()), Wanted::ALL, &mut out)?;
        decode_s += start.elapsed();
        if check {
            assert_eq!(out.timestamps, block.rows.timestamps);
            assert_eq!(out.ends, block.rows.ends);
            assert!(out.bytes == block.rows.bytes, "lines differ");
        }
    }
    println!("decode {:.0} MB/s", mbs(raw_bytes, decode_s));

    let index = FilterIndex::read(&header)?;
    let metas: Vec<BlockMeta> = blocks.iter().map(|block| block.meta.clone()).collect();
    let matrix = Bytes::from(matrix);
    println!(
        "{:<44} {:>8} {:>7} {:>9} {:>9} {:>8} {:>9}",
        "search", "lines", "blocks", "prepare", "prune", "rows", "GB/s"
    );
    for query in QUERIES {
        let filters = filters(query)?;
        // The best of a few: what is left is the work.
        let mut best = (f64::MAX, 0.0, 0.0);
        let (mut found, mut candidates) = (0, RowSet::empty(0));
        for _ in 0..5 {
            let start = Cpu::now();
            let search = PartSearch::new(&LineSearch::new(filters.clone()), &dict);
            let prepare_s = start.elapsed();
            candidates = RowSet::full(blocks.len());
            index.prune(&search, &metas, &matrix, &mut candidates)?;
            let prune_s = start.elapsed() - prepare_s;
            found = 0;
            for block in candidates.iter().map(|number| &blocks[number]) {
                let mut rows = RowSet::full(block.rows.len());
                BlockReader::new(&block.meta, &dict, &block.bytes).select(&search, &mut rows)?;
                found += rows.count();
            }
            let all_s = start.elapsed();
            if all_s < best.0 {
                best = (all_s, prepare_s, prune_s);
            }
        }
        let (all_s, prepare_s, prune_s) = best;
        println!(
            "{:<44} {found:>8} {:>7} {:>6.2} ms {:>6.2} ms {:>5.1} ms {:>6.1}",
            format!("{query:?}").trim_matches(['[', ']']),
            candidates.count(),
            prepare_s * 1e3,
            prune_s * 1e3,
            (all_s - prepare_s - prune_s) * 1e3,
            raw_bytes as f64 / 1e9 / all_s
        );
        if check {
            let lines = blocks.iter().flat_map(|block| (0..block.rows.len()).map(|row| block.rows.line(row)));
            let want = lines.filter(|line| filters.iter().all(|filter| filter.matches(line))).count();
            assert_eq!(found, want, "{query:?}");
        }
    }
    Ok(())
}

/// Filters of the searches that are timed, in LogQL's operators.
const QUERIES: &[&[&str]] = &[
    &["|= ERROR"],
    &["|= deadlock"],
    &["|= 29d0b338-e859-4086-8def-e2dfe142fbe7"],
    &["|= a9ed5f1ef4832d3370d351143d64f428"],
    &["|= @user024:matrix.example.test"],
    &["|= /_matrix/client/v3/sync"],
    &["|= Processed request"],
    &["|= \"status\":500"],
    &["|= level=error"],
    &["|= Traceback"],
    &["|= serialization failure"],
    &["|= xylophone"],
    &["|= panic"],
    &["|=  500 "],
    &["|= 127.0.0.1:57216"],
    &["|= 15:27"],
    &["|~ (?i)error"],
    &["|~ (?i)(error|fatal|critical)"],
    &["|~ took [0-9]+ ms"],
    &["|~ duration: [0-9]{3,}\\.[0-9]+ ms"],
    &["|~ [45][0-9]{2} .*POST"],
    &["!= Processed request"],
    &["|= ERROR", "!= deadlock"],
    &["|= GET", "|= sync", "!~ since=s[0-4]"],
];

fn filters(query: &[&str]) -> Result<Vec<Arc<CompiledLineFilter>>> {
    let parse = |text: &&str| {
        let op = match &text[..2] {
            "|=" => LineFilterOp::Contains,
            "!=" => LineFilterOp::NotContains,
            "|~" => LineFilterOp::Regex,
            _ => LineFilterOp::NotRegex,
        };
        let items = vec![LineMatch::Text(text[3..].to_owned())];
        Ok(Arc::new(CompiledLineFilter::new(&LineFilter { op, items })?))
    };
    query.iter().map(parse).collect()
}

fn mbs(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e6 / seconds
}

fn read(file: &str, index: usize, streams: &mut BTreeMap<String, Stream>) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let text = if file.ends_with(".zst") { zstd::decode_all(&bytes[..])? } else { bytes };
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let entry: Value = serde_json::from_slice(line)?;
        let labels = entry["labels"].to_string();
        let ts: i64 = entry["ts"].as_str().ok_or("no ts")?.parse()?;
        let line = entry["line"].as_str().ok_or("no line")?;
        let stream = streams.entry(labels).or_insert_with(|| Stream { file: index, rows: Rows::default() });
        stream.rows.push(ts, line.as_bytes(), 0);
    }
    Ok(())
}

/// The rows in blocks of about so many bytes.
fn cut(rows: &Rows, block_bytes: usize) -> Vec<Rows> {
    let mut blocks = Vec::new();
    let mut block = Rows::default();
    for row in 0..rows.len() {
        if block.len() == 128 << 10 || block.bytes.len() + rows.line(row).len() > block_bytes && !block.is_empty() {
            blocks.push(std::mem::take(&mut block));
        }
        block.push(rows.timestamps[row], rows.line(row), 0);
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}
