//! `logstack query`: a terminal client for any Loki-compatible server.

mod client;
mod print;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use client::{Answer, Client};
use print::Printer;

/// Pause between two questions of `--follow`.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// Asks a LogQL query and prints the answer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logstack query '{app=\"synapse\"} |= \"ERROR\"'
  logstack query --since 24h --limit 20 '{namespace=\"matrix\"} | json | status >= 500'
  logstack query --since 6h 'sum by (app) (rate({namespace=\"matrix\"}[5m]))'
  logstack query --follow -o raw '{app=\"synapse\"}'")]
pub struct QueryArgs {
    /// The LogQL query: a selector with a pipeline, or a metric query.
    logql: String,
    /// Address of the server.
    #[arg(long, env = "LOGSTACK_ADDR", default_value = "http://127.0.0.1:3100")]
    addr: String,
    /// Tenant, sent as X-Scope-OrgID.
    #[arg(long, env = "LOGSTACK_TENANT")]
    tenant: Option<String>,
    /// How far to look back, as `90s`, `1h30m` or `7d`.
    #[arg(long, default_value = "1h")]
    since: String,
    /// Start instead of --since: RFC 3339 or Unix seconds.
    #[arg(long, conflicts_with = "since")]
    from: Option<String>,
    /// End, default now: RFC 3339 or Unix seconds.
    #[arg(long)]
    to: Option<String>,
    /// Most entries to print.
    #[arg(long, short = 'n', default_value_t = 100)]
    limit: u32,
    /// Oldest first within the limit, instead of the newest entries.
    #[arg(long)]
    forward: bool,
    /// Distance of the points of a metric query, as `30s`.
    #[arg(long)]
    step: Option<String>,
    /// Evaluate a metric query once, at the end, instead of over the range.
    #[arg(long)]
    instant: bool,
    /// Go on with new entries until interrupted.
    #[arg(long, short = 'f')]
    follow: bool,
    /// Draw how many entries there are over time, before the entries.
    #[arg(long)]
    histogram: bool,
    /// What to print.
    #[arg(long, short = 'o', value_enum, default_value_t = Output::Pretty)]
    output: Output,
    /// When to use colours.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Time, labels in columns, line.
    Pretty,
    /// The lines alone.
    Raw,
    /// One JSON object an entry or series.
    Jsonl,
    /// Every label in its own column.
    Table,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// Runs the command.
pub async fn run(args: QueryArgs) -> Result<()> {
    let client = Client::new(&args.addr, args.tenant.as_deref())?;
    let stdout = std::io::stdout();
    let colour = match args.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let printer = Printer { output: args.output, colour };
    let params = params_of(&args);
    if args.histogram {
        eprint!("{}", printer.histogram(&client.histogram(&args.logql, &params).await?));
    }
    let asking = client.query(&args.logql, args.instant, &params);
    let answer = with_progress(asking, std::io::stderr().is_terminal()).await?;
    for warning in &answer.warnings {
        eprintln!("warning: {warning}");
    }
    let mut newest_ns = answer.newest_ns();
    let mut out = stdout.lock();
    if !written(write!(out, "{}", printer.answer(&answer)))? {
        return Ok(());
    }
    if !args.follow {
        return Ok(());
    }
    let Answer { is_log: true, .. } = answer else {
        anyhow::bail!("--follow needs a log query: a metric query has no new lines");
    };
    loop {
        out.flush()?;
        tokio::time::sleep(FOLLOW_PAUSE).await;
        let start =
            newest_ns.map_or_else(|| vec![("since", args.since.clone())], |ns| vec![("start", (ns + 1).to_string())]);
        let mut params = vec![("direction", "forward".to_owned()), ("limit", "5000".to_owned())];
        params.extend(start);
        let answer = client.query(&args.logql, false, &params).await?;
        newest_ns = answer.newest_ns().or(newest_ns);
        if !written(write!(out, "{}", printer.answer(&answer)))? {
            return Ok(());
        }
    }
}

/// False when the reader has gone (`| head`): that is not an error of ours.
fn written(result: std::io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(err) => Err(err).context("cannot write to standard output"),
    }
}

fn params_of(args: &QueryArgs) -> Vec<(&'static str, String)> {
    let mut params = vec![("limit", args.limit.to_string())];
    params.push(("direction", if args.forward { "forward" } else { "backward" }.to_owned()));
    match &args.from {
        Some(from) => params.push(("start", from.clone())),
        None => params.push(("since", args.since.clone())),
    }
    params.extend(args.to.iter().map(|to| (if args.instant { "time" } else { "end" }, to.clone())));
    params.extend(args.step.iter().map(|step| ("step", step.clone())));
    params
}

/// Shows on stderr that a long scan is still running.
async fn with_progress<T>(asking: impl Future<Output = Result<T>>, visible: bool) -> Result<T> {
    let began = std::time::Instant::now();
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answer = &mut asking => {
                if visible && began.elapsed() > Duration::from_secs(1) {
                    eprint!("\r\x1b[K");
                }
                return answer;
            }
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                if visible && began.elapsed() > Duration::from_secs(1) {
                    eprint!("\rsearching for {} s …", began.elapsed().as_secs());
                }
            }
        }
    }
}
