//! The `logstack` binary: arguments, logging, exit codes. A file per subcommand, wiring only.
//!
//! Exit codes (scripts rely on them): 0 done, 1 failed, 2 wrong usage or configuration.

mod check;
mod collector;
mod crds;
mod engine;
mod logging;
mod migrate;
mod operator;
mod query;
mod run;
mod serving;
mod storage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Gives back what is freed: under a burst of pushes glibc's malloc holds a third more (docs/performance.md). Its settings
/// are compiled in, see `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    Run(run::RunArgs),
    Collector(collector::CollectorArgs),
    Engine(engine::EngineArgs),
    Operator(operator::OperatorArgs),
    Query(query::QueryArgs),
    Check(check::CheckArgs),
    Migrate(migrate::MigrateArgs),
    Storage(storage::StorageArgs),
    /// Prints the custom resource definitions as YAML.
    Crds,
}

fn main() -> ExitCode {
    // Clap prints usage errors itself and exits with 2.
    let cli = Cli::parse_from(collector::rewrite_go_flags(std::env::args()));
    logging::init(match &cli.command {
        Command::Operator(args) => args.log_format == operator::LogFormat::Json,
        Command::Collector(args) if args.log_format.is_some() => args.log_format.as_deref() == Some("json"),
        _ => std::env::var("LOGSTACK_LOG_FORMAT").is_ok_and(|format| format == "json"),
    });
    // One provider of cryptography for every client and server of the process; it is compiled in, so it can be installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("error: cannot start worker threads: {err}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Collector(args) => collector::run(args).await,
            Command::Engine(args) => engine::run(args).await,
            Command::Operator(args) => operator::run(args).await,
            Command::Query(args) => query::run(args).await,
            Command::Check(args) => check::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Storage(args) => storage::run(&args),
            Command::Crds => crds::run(),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::from(if err.is::<serving::BadConfiguration>() || err.is::<serving::WrongUsage>() { 2 } else { 1 })
        }
    }
}
