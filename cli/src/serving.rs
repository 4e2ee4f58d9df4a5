//! What the long-running commands share: when to stop, and how a refused configuration is told.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM (Kubernetes, systemd) or SIGINT (Ctrl-C).
pub async fn stop_signal() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// A configuration that was refused: wrong usage, not a failure.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not usable:\n{0}")]
pub struct BadConfiguration(logstack_config::Errors);

/// Arguments that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// Marks `errors` as wrong usage, so that the exit code says so.
pub fn configuration_error(errors: logstack_config::Errors) -> anyhow::Error {
    BadConfiguration(errors).into()
}
