//! The targets of all jobs, as discovery sees them now. Discovery writes, the reader looks when the version has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Target;
use super::relabel::LabelMap;

/// Why a target is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// By a rule.
    Relabelled,
    /// `__host__` names another node.
    WrongHost,
    /// It has no `__path__`.
    NoPath,
    /// Another target is the same.
    Exists,
    /// Its path cannot be used.
    Error,
}

impl Dropped {
    /// As `promtail_targets_failed_total` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relabelled => "dropped",
            Self::WrongHost => "wrong_host",
            Self::NoPath => "no_path",
            Self::Exists => "exists",
            Self::Error => "error",
        }
    }
}

/// What a source of targets found, for the pages.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// Before relabelling.
    pub labels: LabelMap,
    /// The targets, or why there is none.
    pub outcome: Result<Target, Dropped>,
}

/// What one source (a job's `static_configs`, one `kubernetes_sd_configs` …) found.
pub type SourceKey = (usize, String);

/// All targets by their source.
#[derive(Debug, Default)]
pub struct Targets {
    version: AtomicU64,
    by_source: Mutex<BTreeMap<SourceKey, Arc<Vec<Discovered>>>>,
}

impl Targets {
    /// Changes with every change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Replaces what a source found.
    pub fn set(&self, source: SourceKey, found: Vec<Discovered>) {
        self.by_source.lock().insert(source, Arc::new(found));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Everything, for the pages.
    pub fn all(&self) -> Vec<(SourceKey, Arc<Vec<Discovered>>)> {
        self.by_source.lock().iter().map(|(key, found)| (key.clone(), found.clone())).collect()
    }

    /// What is read: by job, each target once.
    pub fn active(&self) -> Vec<Target> {
        let mut seen = std::collections::HashSet::new();
        let mut active = Vec::new();
        for found in self.by_source.lock().values() {
            for target in found.iter().filter_map(|discovered| discovered.outcome.as_ref().ok()) {
                if seen.insert((target.job_idx, target.path.pattern().to_owned(), target.labels.clone())) {
                    active.push(target.clone());
                }
            }
        }
        active
    }
}
