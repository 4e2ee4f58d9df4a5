//! The `logstack` binary: arguments, logging, exit codes. A file per subcommand, wiring only.
//!
//! Exit codes (scripts rely on them): 0 done, 1 failed, 2 wrong usage.

mod query;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A log stack for Kubernetes in one binary: it takes Loki's and Promtail's place.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  logstack run -f config/samples/quickstart.yaml      engine and collector on this machine
  logstack engine --data-dir /var/lib/logstack        the log store alone, with Loki's API on port 3100
  logstack query '{namespace=\"matrix\"} |= \"ERROR\"'     ask it

Documentation: docs/ in the source tree."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Query(query::QueryArgs),
}

fn main() -> ExitCode {
    // Clap prints usage errors itself and exits with 2.
    let cli = Cli::parse();
    init_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("error: cannot start worker threads: {err}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Query(args) => query::run(args).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::from(1)
        }
    }
}

/// Events go to stderr: `LOGSTACK_LOG` filters (`info`, `engine=debug`), `LOGSTACK_LOG_FORMAT=json` is for machines.
fn init_logging() {
    let filter = EnvFilter::try_from_env("LOGSTACK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("LOGSTACK_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.compact().with_target(false).init();
    }
}
