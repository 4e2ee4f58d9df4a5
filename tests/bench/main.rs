//! Drives a log server with real lines and measures what it costs: ingest speed, CPU seconds a raw GB, bytes on disk
//! a raw byte, memory, and the latency of a set of queries.
//!
//! ```text
//! cargo bench --bench server -- --corpus FOLDER --target-bytes 1000000000 --json result.json
//! cargo bench --bench server -- --corpus FOLDER --url http://127.0.0.1:3101 --pid 4711 --disk /var/lib/other
//! ```
//!
//! `FOLDER` holds `*.jsonl` or `*.jsonl.zst`, a line each `{"ts": ns, "labels": {…}, "line": "…"}`. A small corpus is
//! repeated, shifted in time and with other ids, until there are `--target-bytes` of raw lines. Without `--url` the
//! `logstack` binary of this build is started on an empty folder. Any server with Loki's API can be measured with
//! `--url`; compare two servers as ratios, in one sitting.

mod amplify;
mod corpus;
mod load;
mod process;
mod queries;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Folder of `*.jsonl` or `*.jsonl.zst` files.
    #[arg(long)]
    corpus: PathBuf,
    /// Raw bytes of lines to push in all; the corpus is repeated until there are as many.
    #[arg(long, default_value_t = 1_000_000_000)]
    target_bytes: u64,
    /// Raw bytes of lines a request.
    #[arg(long, default_value_t = 1_000_000)]
    batch_bytes: usize,
    /// Requests in flight.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Times each query runs; the first is reported apart.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// An already running server instead of our own.
    #[arg(long)]
    url: Option<String>,
    /// Its process id, for CPU and memory.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Its data folder, for bytes on disk.
    #[arg(long, requires = "url")]
    disk: Option<PathBuf>,
    /// Only queries whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Keep our server's data here instead of a temporary folder.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Write all figures here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by `cargo bench`, without a meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let corpus = corpus::read(&args.corpus)?;
    eprintln!("corpus: {} lines, {} bytes, {} streams", corpus.records.len(), corpus.raw_bytes, corpus.streams.len());
    let plan = amplify::Plan::new(&corpus, args.target_bytes);

    let temporary = tempfile::tempdir()?;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let server = match &args.url {
        Some(url) => process::Server::running(url, args.pid, args.disk.clone()),
        None => process::Server::start(&data_dir)?,
    };

    let ingest = load::push(&server, &corpus, &plan, args.batch_bytes, args.connections).await?;
    report::print_ingest(&ingest);
    let settled = server.settle().await.context("the server did not settle")?;
    report::print_settled(&ingest, &settled);
    let results = queries::run(&server, &plan, args.runs, &args.only).await?;
    report::print_queries(&results);
    report::print_memory(&server);
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(&ingest, &settled, &results, &server))?;
    }
    Ok(())
}
