//! `logstack crds`: the custom resource definitions, generated from the types.
#![allow(clippy::print_stdout, reason = "the YAML is the output")]

use anyhow::{Context, Result};

/// Prints the definitions as YAML.
pub fn run() -> Result<()> {
    print!("{}", logstack_crds::yaml().context("cannot print the definitions")?);
    Ok(())
}
