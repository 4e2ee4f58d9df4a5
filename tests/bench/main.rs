//! Drives a log server with real lines and measures what it costs: ingest speed, CPU seconds a raw GB, bytes on disk
//! a raw byte, memory, and the latency of a set of queries.
//!
//! ```text
//! cargo bench --bench server -- --corpus FOLDER --target-bytes 1000000000 --json result.json
//! cargo bench --bench server -- --corpus FOLDER --url http://127.0.0.1:3101 --pid 4711 --disk /var/lib/other
//! cargo bench --bench server -- --corpus FOLDER growth --gigabytes 1,4,16 --svg growth.svg
//! cargo bench --bench server -- --corpus FOLDER soak --minutes 30 --svg soak.svg
//! cargo bench --bench server -- --corpus FOLDER worst --case random
//! ```
//!
//! `FOLDER` holds `*.jsonl` or `*.jsonl.zst`, a line each `{"ts": ns, "labels": {…}, "line": "…"}`. A small corpus is
//! repeated, shifted in time and with other ids, until there are `--target-bytes` of raw lines. Without `--url` the
//! `logstack` binary of this build is started on an empty folder. Any server with Loki's API can be measured with
//! `--url`; compare two servers as ratios, in one sitting.

mod amplify;
mod corpus;
mod growth;
mod load;
mod plot;
mod process;
mod queries;
mod report;
mod soak;
mod worst;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::corpus::Corpus;
use crate::load::Shipping;
use crate::process::Server;

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
    /// Only queries whose name contains this; `-` for none.
    #[arg(long, default_value = "")]
    only: String,
    /// Keep our server's data here instead of a temporary folder.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Write all figures here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Without one: push everything, settle, ask every query.
    #[command(subcommand)]
    what: Option<What>,
    /// Given by `cargo bench`, without a meaning here.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Pushes in steps and asks the same queries after each: what older data costs.
    Growth {
        /// GB of raw lines at which to ask, ascending.
        #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
        gigabytes: Vec<f64>,
        /// Where to draw the curves.
        #[arg(long)]
        svg: PathBuf,
    },
    /// Pushes present lines and asks for a long time.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
        /// MB of raw lines a second.
        #[arg(long, default_value_t = 8.0)]
        rate: f64,
        /// Retention by size of our own server, MB; small enough to be reached.
        #[arg(long, default_value_t = 300)]
        disk_mb: u64,
        /// Where to draw the curves.
        #[arg(long)]
        svg: PathBuf,
    },
    /// Measures an input made to hurt instead of the corpus.
    Worst {
        /// Which one.
        #[arg(long)]
        case: worst::Case,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let corpus = corpus::read(&args.corpus)?;
    eprintln!("corpus: {} lines, {} bytes, {} streams", corpus.records.len(), corpus.raw_bytes, corpus.streams.len());
    let temporary = tempfile::tempdir()?;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let more = match &args.what {
        Some(What::Soak { disk_mb, .. }) => format!("logstack: {{storage: {{max_disk_size: {disk_mb}MB}}}}\n"),
        _ => String::new(),
    };
    let server = match &args.url {
        Some(url) => Server::running(url, args.pid, args.disk.clone()),
        None => Server::start(&data_dir, &more)?,
    };
    let shipping = Shipping { batch_bytes: args.batch_bytes, connections: args.connections };
    match &args.what {
        None => {
            let plan = amplify::Plan::new(&corpus, args.target_bytes);
            measure(&args, &server, &corpus, &plan, shipping).await
        }
        Some(What::Growth { gigabytes, svg }) => growth::run(&server, &corpus, gigabytes, shipping, svg).await,
        Some(What::Soak { minutes, rate, svg, .. }) => {
            let soak = soak::Soak { length: Duration::from_secs_f64(minutes * 60.0), bytes_per_s: rate * 1e6 };
            soak::run(Arc::new(server), Arc::new(corpus), soak, svg).await
        }
        Some(What::Worst { case }) => {
            let corpus = case.corpus(&corpus, args.target_bytes);
            let plan = amplify::Plan::once(&corpus);
            measure(&args, &server, &corpus, &plan, shipping).await
        }
    }
}

/// Pushes everything, waits until it has settled, asks every query.
async fn measure(
    args: &Args,
    server: &Server,
    corpus: &Corpus,
    plan: &amplify::Plan,
    shipping: Shipping,
) -> Result<()> {
    let ingest = load::push(server, corpus, plan, 0..plan.repetitions, shipping).await?;
    report::print_ingest(&ingest);
    report::print_memory(server);
    let settled = server.settle().await.context("the server did not settle")?;
    report::print_settled(&ingest, &settled);
    let results = queries::run(server, plan, args.runs, &args.only).await?;
    report::print_queries(&results);
    report::print_memory(server);
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(&ingest, &settled, &results, server))?;
    }
    Ok(())
}
