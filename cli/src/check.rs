//! `logstack check`: every mistake of configuration files at once.
#![allow(clippy::print_stdout, reason = "the verdicts are the output")]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use logstack_config::{FileKind, Options, Severity, check_file, detect};

use crate::run::yaml_files;

/// Validates configuration: an engine's file, a collector's file, or LogStack and LogScrape documents.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a line for each finding: file, line, key, reason, remedy. Exits with 1 when there is a mistake.

Examples:
  logstack check loki.yaml promtail.yaml
  logstack check deploy/samples/
  logstack check --query 'sum by (app) (rate({namespace=\"matrix\"}[5m]))'     prints its canonical form")]
pub struct CheckArgs {
    /// Files, or folders of `*.yaml`.
    #[arg(required_unless_present = "query")]
    files: Vec<PathBuf>,
    /// Replace `${NAME}` and `${NAME:-default}` by environment variables first.
    #[arg(long)]
    expand_env: bool,
    /// A LogQL query to check instead of files.
    #[arg(long, value_name = "LOGQL", conflicts_with = "files")]
    query: Option<String>,
}

/// Something is wrong with what was checked; the findings are printed.
#[derive(Debug, thiserror::Error)]
#[error("{0} mistake(s)")]
struct Mistakes(usize);

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<()> {
    if let Some(query) = &args.query {
        let parsed = logstack_logql::parse(query).map_err(|err| anyhow::anyhow!("{err}"))?;
        println!("{parsed}");
        return Ok(());
    }
    let mut mistakes = 0;
    for path in &args.files {
        for file in yaml_files(path)? {
            mistakes += check(&file, args.expand_env)?;
        }
    }
    if mistakes > 0 { Err(Mistakes(mistakes).into()) } else { Ok(()) }
}

/// Prints the findings of one file; the number of mistakes.
fn check(path: &Path, expand_env: bool) -> Result<usize> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = path.display().to_string();
    let kind = detect(&text, &file);
    let findings = match kind {
        FileKind::Objects => logstack_crds::check([(file.as_str(), text.as_str())]),
        _ => {
            let lookup = |name: &str| std::env::var(name).ok();
            check_file(&text, &file, kind, &Options { env: expand_env.then_some(&lookup), set: &[] })
        }
    };
    for finding in &findings {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        println!("{severity}: {finding}");
    }
    let mistakes = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if mistakes == 0 {
        println!("{file}: no mistakes ({})", kind.describe());
    }
    Ok(mistakes)
}
