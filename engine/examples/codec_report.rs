//! Encodes real log files and says what came of it: ratio by kind of column, speeds, and times of searches.
//!
//! ```text
//! cargo run --release -p logstack-engine --example codec_report -- [--fresh | --settled | --quick] [--no-check] FILE...
//! ```
//!
//! Files hold a JSON object a line, `{"ts": "<ns>", "labels": {...}, "line": "..."}`, sorted by time, zstd or plain.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow_free::Result;
use bytes::Bytes;
use logstack_engine::model::Rows;
use logstack_engine::storage::codec::section::SectionKind;
use logstack_engine::storage::codec::{BlockEncoder, BlockMeta, BlockReader, Level, RowSet, TemplateDict, Wanted};
use serde_json::Value;

/// The error type of a program that only prints it.
mod anyhow_free {
    pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
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
    let block_bytes = if level == Level::Settled { 16 << 20 } else { 4 << 20 };
    let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        read(file, index, &mut streams)?;
    }

    let mut dict = TemplateDict::new();
    let mut encoder = BlockEncoder::new(level);
    let mut blocks = Vec::new();
    let mut encode_s = 0.0;
    let mut raw_bytes = 0_u64;
    for stream in streams.into_values() {
        for rows in cut(&stream.rows, block_bytes) {
            raw_bytes += rows.bytes.len() as u64;
            let mut out = Vec::new();
            let start = Instant::now();
            let encoded = encoder.encode(&rows, &mut dict, &mut out)?;
            encode_s += start.elapsed().as_secs_f64();
            blocks.push(Block { file: stream.file, meta: encoded.meta, bytes: Bytes::from(out), rows });
        }
    }
    let mut dict_bytes = Vec::new();
    dict.write(&mut dict_bytes);

    let mut by_file = vec![(0_u64, 0_u64); files.len()];
    let mut by_kind: BTreeMap<SectionKind, (u64, u64)> = BTreeMap::new();
    let (mut total, mut meta_bytes, mut rows) = (dict_bytes.len() as u64, 0_u64, 0_u64);
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
    for (file, (raw, stored)) in files.iter().zip(&by_file) {
        let name = file.rsplit('/').next().unwrap_or(file);
        println!("  {name:<28} {raw:>10} -> {stored:>9}  {:.2}:1", *raw as f64 / *stored as f64);
    }

    let dict = TemplateDict::read(&dict_bytes)?;
    let mut decode_s = 0.0;
    let mut out = Rows::default();
    for block in &blocks {
        out.clear();
        let start = Instant::now();
        let mut reader = BlockReader::new(&block.meta, &dict, &block.bytes);
        reader.render(&RowSet::full(block.rows.len()), Wanted::ALL, &mut out)?;
        decode_s += start.elapsed().as_secs_f64();
        if check {
            assert_eq!(out.timestamps, block.rows.timestamps);
            assert_eq!(out.ends, block.rows.ends);
            assert!(out.bytes == block.rows.bytes, "lines differ");
        }
    }
    println!("decode {:.0} MB/s", mbs(raw_bytes, decode_s));
    Ok(())
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
