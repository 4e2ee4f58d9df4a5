//! `logstack migrate`: what an existing values file means, as LogStack and LogScrapes.
#![allow(clippy::print_stdout, reason = "the documents are the output")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use logstack_crds::migrate::{Fate, Options, migrate};

use crate::serving;

/// Prints the LogStack and LogScrapes that existing values of loki-stack, loki or promtail mean.
#[derive(Debug, Args)]
#[command(after_help = "\
Takes the values that you pass to helm with -f, and Loki's and Promtail's own files. The documents go to standard output;
what they do not say although the file did goes to standard error, with file, line, key, reason and what to do.

Examples:
  logstack migrate loki-values.yaml > stack.yaml
  logstack migrate --namespace logging loki.yaml promtail.yaml | kubectl apply -f -
  logstack migrate --all loki-values.yaml > /dev/null       what became of every single key")]
pub struct MigrateArgs {
    /// Values files of helm, or files of Loki and Promtail; those of one installation together.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the LogStack.
    #[arg(long, default_value = "logs")]
    name: String,
    /// Namespace to write into the objects.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Report every key: carried (+), not needed (-), left (!); otherwise only what was left.
    #[arg(long)]
    all: bool,
    /// Fail when something was left.
    #[arg(long)]
    strict: bool,
}

/// `--strict`, and something was left.
#[derive(Debug, thiserror::Error)]
#[error("{0} setting(s) could not be carried over")]
struct Left(usize);

/// Runs the command.
pub fn run(args: &MigrateArgs) -> Result<()> {
    let mut texts = Vec::new();
    for path in &args.files {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        texts.push((path.display().to_string(), text));
    }
    let files: Vec<(&str, &str)> = texts.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let options = Options { name: args.name.clone(), namespace: args.namespace.clone() };
    let migration = migrate(&files, &options).map_err(serving::configuration_error)?;
    print!("{}", migration.yaml().context("cannot print the documents")?);
    for note in &migration.notes {
        match note.fate {
            Fate::Left(_) => eprintln!("! {note}"),
            Fate::Carried(_) if args.all => eprintln!("+ {note}"),
            Fate::NotNeeded(_) if args.all => eprintln!("- {note}"),
            _ => {}
        }
    }
    let left = migration.left().count();
    let count = |fate: fn(&Fate) -> bool| migration.notes.iter().filter(|note| fate(&note.fate)).count();
    eprintln!(
        "{} carried over, {} not needed, {left} left for you",
        count(|fate| matches!(fate, Fate::Carried(_))),
        count(|fate| matches!(fate, Fate::NotNeeded(_))),
    );
    if args.strict && left > 0 { Err(Left(left).into()) } else { Ok(()) }
}
