//! Custom resources -> the files that engine and collector read. Pure: the same input gives the same output.
//!
//! ```text
//! LogStack --engine----> EngineConfig  (static file + runtime file, see [`split_runtime`])
//!          --collector-> CollectorConfig: clients, positions, system logs
//! LogScrape --job------> one ScrapeConfig each
//! ```
//!
//! The operator renders for a cluster, `logstack run` for one machine: [`Setting`] says which.

mod collector;
mod engine;
mod job;

use std::path::PathBuf;

use logstack_config::Finding;
use logstack_config::yaml::Document;

pub use collector::{CollectorFiles, render_collector, render_system_jobs};
pub use engine::{render_engine, render_tenants, split_runtime};
pub(crate) use job::standard_rules;
pub use job::{JobSource, render_default_job, render_job};

/// Where the rendered processes run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Address that the engine listens on; empty: all.
    pub listen_address: String,
    /// Port that the engine listens on.
    pub listen_port: u16,
    /// Folder of the engine's data.
    pub data_dir: PathBuf,
    /// URL of the engine as the collector sees it, without a path.
    pub engine_url: String,
    /// Bytes of memory that the engine may use; `None`: its defaults.
    pub memory_bytes: Option<u64>,
}

/// What is wrong with a rendered object. Paths are those of the custom resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `spec.engine.extraConfig.limits_config.x`.
    pub path: String,
    /// What is wrong, and the remedy.
    pub text: String,
    /// A single word for a condition.
    pub reason: Reason,
}

/// Why a rendering is refused, as conditions say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A value is wrong.
    Invalid,
    /// A key belongs to the operator.
    ProtectedKey,
    /// A password stands where a file must.
    InlineSecret,
    /// The engine cannot do it.
    Unsupported,
}

impl Reason {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::ProtectedKey => "ProtectedKey",
            Self::InlineSecret => "InlineSecret",
            Self::Unsupported => "Unsupported",
        }
    }
}

impl Problem {
    fn invalid(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), reason: Reason::Invalid }
    }

    /// A finding about a part of a rendered file, as a problem of the resource's field it came from.
    fn from_finding(prefix: &str, finding: &Finding) -> Self {
        let dot = if finding.path.is_empty() || finding.path.starts_with('[') { "" } else { "." };
        let remedy = finding.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        Self::invalid(format!("{prefix}{dot}{}", finding.path), format!("{}{remedy}", finding.reason))
    }

    /// The problem with its place in the resource's document.
    pub fn to_finding(&self, document: &Document) -> Finding {
        let severity = logstack_config::Severity::Error;
        Finding::new(severity, document.place_of(&self.path), self.path.clone(), &self.text)
    }
}
