//! `logstack storage`: what a data directory holds, what it costs, and whether it can be trusted.
#![allow(clippy::print_stdout, reason = "the tables are the output")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use logstack_engine::storage::disk::RealDisk;
use logstack_engine::storage::inspect::{Inspection, PartReport, inspect};
use logstack_engine::storage::part::Depth;

/// Looks into a data directory, read-only: a running engine may have it open.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logstack storage verify --data-dir /data             every checksum; exits with 1 on damage
  logstack storage verify --data-dir /data --decode    decodes every line, too
  logstack storage inspect --data-dir /data --blocks   log segments, parts and their blocks
  logstack storage stats --data-dir /data              what each stream and each kind of data costs")]
pub struct StorageArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks every checksum; exits with 1 when something does not hold.
    Verify {
        #[command(flatten)]
        dir: DataDir,
        /// Decode every line, too: finds what was wrong before it was written. Costs the CPU of reading all data.
        #[arg(long)]
        decode: bool,
    },
    /// Prints log segments, parts, and what is in quarantine.
    Inspect {
        #[command(flatten)]
        dir: DataDir,
        /// Print the blocks of each part, too.
        #[arg(long)]
        blocks: bool,
    },
    /// Prints bytes before and after compression by tenant, stream, level and kind of data.
    Stats {
        #[command(flatten)]
        dir: DataDir,
        /// Streams to print, those with most bytes first; 0: all.
        #[arg(long, default_value_t = 20)]
        streams: usize,
    },
}

#[derive(Debug, Args)]
struct DataDir {
    /// Folder of all data, as `logstack engine` has it.
    #[arg(long = "data-dir", value_name = "DIR")]
    path: PathBuf,
}

impl DataDir {
    fn inspect(&self, depth: Depth) -> Result<Inspection> {
        let dir = &self.path;
        if !dir.join("manifest").exists() && !dir.join("days").exists() {
            bail!("{} is no data directory: it has neither a manifest nor days", dir.display());
        }
        inspect(&RealDisk, dir, depth).with_context(|| format!("cannot read {}", dir.display()))
    }
}

/// Runs the command.
pub fn run(args: &StorageArgs) -> Result<()> {
    match &args.command {
        Command::Verify { dir, decode } => {
            verify(&dir.inspect(if *decode { Depth::Rows } else { Depth::Checksums })?, *decode)
        }
        Command::Inspect { dir, blocks } => {
            let found = dir.inspect(Depth::Records)?;
            print_overview(&found);
            print_parts(&found, *blocks);
            print_problems(&found);
            Ok(())
        }
        Command::Stats { dir, streams } => {
            let found = dir.inspect(Depth::Records)?;
            print_stats(&found, *streams);
            print_problems(&found);
            Ok(())
        }
    }
}

fn verify(found: &Inspection, decode: bool) -> Result<()> {
    print_overview(found);
    print_problems(found);
    let what = if decode { "every checksum holds and every line decodes" } else { "every checksum holds" };
    match found.problems.len() {
        0 => println!("{what}"),
        count => bail!(
            "{count} problem(s): the engine leaves damaged blocks out of answers and merges; `quarantine/` keeps what \
             it has set aside"
        ),
    }
    Ok(())
}

fn print_problems(found: &Inspection) {
    for problem in &found.problems {
        println!("damaged: {problem}");
    }
}

fn print_overview(found: &Inspection) {
    match &found.state {
        Some(state) => println!("manifest    {} parts, log starts at segment {}", state.parts.len(), state.wal_first),
        None => println!("manifest    none that can be relied on: every part found counts"),
    }
    let records: u64 = found.segments.iter().map(|segment| segment.records).sum();
    let bytes: u64 = found.segments.iter().map(|segment| segment.file_bytes).sum();
    println!("log         {} segments, {} records, {}", found.segments.len(), records, Bytes(bytes));
    let rows: u64 = found.parts.iter().map(|part| part.footer.rows).sum();
    let sizes = Sizes::of(found.parts.iter());
    println!("parts       {} readable, {rows} rows, {sizes}", found.parts.len());
    println!("deletes     {} requests", found.delete_requests);
    println!("quarantine  {} files", found.quarantined.len());
    if !found.leftovers.is_empty() {
        println!("leftovers   {} files that the next start removes", found.leftovers.len());
    }
}

fn print_parts(found: &Inspection, blocks: bool) {
    for segment in &found.segments {
        let torn = match segment.torn_bytes {
            0 => String::new(),
            bytes => format!(", {} at the end not whole", Bytes(bytes)),
        };
        let (number, records, bytes) = (segment.number, segment.records, Bytes(segment.file_bytes));
        println!("segment {number}: {records} records, {bytes}{torn}");
    }
    for part in &found.parts {
        let footer = &part.footer;
        let count: usize = part.streams.iter().map(|(_, blocks)| blocks.len()).sum();
        println!(
            "part {}/{:016x}: {:?}, {} rows, {}, {} streams, {count} blocks, {} to {}, memtables {} to {}",
            footer.day,
            part.id.0,
            footer.level,
            footer.rows,
            Sizes::of([part]),
            part.streams.len(),
            Time(footer.time.first_ns),
            Time(footer.time.last_ns),
            footer.generations.0,
            footer.generations.1,
        );
        if !blocks {
            continue;
        }
        for (stream, blocks) in &part.streams {
            println!("  {} {}", stream.tenant, stream.labels);
            for block in blocks {
                let sizes = Sizes { raw: block.line_bytes, stored: block.stored_bytes };
                let (first, last) = (Time(block.time.first_ns), Time(block.time.last_ns));
                println!("    at {}: {} rows, {sizes}, {first} to {last}", block.offset, block.rows);
            }
        }
    }
    for (name, len) in &found.quarantined {
        println!("quarantine/{name}: {}", Bytes(*len));
    }
    for path in &found.leftovers {
        println!("leftover {}", path.display());
    }
}

fn print_stats(found: &Inspection, streams_max: usize) {
    println!("{:<12} {}", "all", Sizes::of(found.parts.iter()));
    for level in ["Quick", "Fresh", "Settled"] {
        let parts: Vec<&PartReport> =
            found.parts.iter().filter(|part| format!("{:?}", part.footer.level) == level).collect();
        if !parts.is_empty() {
            println!("{level:<12} {} in {} parts", Sizes::of(parts.iter().copied()), parts.len());
        }
    }
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut tenants: BTreeMap<String, (u64, Sizes)> = BTreeMap::new();
    let mut streams: BTreeMap<(String, String), (u64, Sizes)> = BTreeMap::new();
    for part in &found.parts {
        for (kind, (stored, _)) in &part.sections {
            *kinds.entry(format!("{kind:?}")).or_default() += stored;
        }
        let frames = &part.footer.frames;
        let filters = frames.filter.stored_bytes + frames.filter_rows.stored_bytes;
        let records = frames.metas.stored_bytes + frames.directory.stored_bytes + frames.streams.stored_bytes;
        for (kind, bytes) in [("filters", filters), ("templates", frames.dict.stored_bytes), ("records", records)] {
            *kinds.entry(kind.to_owned()).or_default() += bytes;
        }
        for (stream, blocks) in &part.streams {
            let rows: u64 = blocks.iter().map(|block| u64::from(block.rows)).sum();
            let sizes = Sizes {
                raw: blocks.iter().map(|block| block.line_bytes).sum(),
                stored: blocks.iter().map(|block| block.stored_bytes).sum(),
            };
            let key = (stream.tenant.to_string(), stream.labels.to_string());
            for sum in [tenants.entry(key.0.clone()).or_default(), streams.entry(key).or_default()] {
                sum.0 += rows;
                sum.1.raw += sizes.raw;
                sum.1.stored += sizes.stored;
            }
        }
    }
    let total: u64 = kinds.values().sum();
    let mut kinds: Vec<(String, u64)> = kinds.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    kinds.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    println!("\nby kind of data");
    for (kind, bytes) in kinds {
        println!("  {kind:<16} {:>10} {:>5.1} %", Bytes(bytes).to_string(), share(bytes, total));
    }
    println!("\nby tenant (without filters and templates, which streams share)");
    for (tenant, (rows, sizes)) in tenants {
        println!("  {tenant}: {rows} rows, {sizes}");
    }
    let mut streams: Vec<_> = streams.into_iter().collect();
    streams.sort_by_key(|(_, (_, sizes))| std::cmp::Reverse(sizes.stored));
    println!("\nby stream, of {}", streams.len());
    let shown = if streams_max == 0 { streams.len() } else { streams_max };
    for ((tenant, labels), (rows, sizes)) in streams.into_iter().take(shown) {
        println!("  {rows} rows, {sizes}: {tenant} {labels}");
    }
}

fn share(bytes: u64, total: u64) -> f64 {
    bytes as f64 * 100.0 / total.max(1) as f64
}

/// Bytes of lines, and of what holds them.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    raw: u64,
    stored: u64,
}

impl Sizes {
    fn of<'a>(parts: impl IntoIterator<Item = &'a PartReport>) -> Self {
        parts.into_iter().fold(Self::default(), |sum, part| Self {
            raw: sum.raw + part.footer.line_bytes,
            stored: sum.stored + part.file_bytes,
        })
    }
}

/// `1.0 GB in 60.1 MB (17.4:1)`
impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ratio = self.raw as f64 / self.stored.max(1) as f64;
        write!(f, "{} in {} ({ratio:.1}:1)", Bytes(self.raw), Bytes(self.stored))
    }
}

/// Decimal units, as disks have them.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

/// An instant, as people write it.
struct Time(i64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", logstack_go::units::Rfc3339Nano(self.0))
    }
}
