//! Discovery: which files belong to which labels. Later rooms never ask where a target came from.

pub mod glob;
pub mod relabel;

use logstack_logql::Labels;

use glob::PathGlob;

/// Files with one label set, of one job.
#[derive(Debug, Clone)]
pub struct Target {
    /// Index of the job in the configuration: a file belongs to the first job that claims it.
    pub job_idx: usize,
    /// Public labels; `filename` is added for each file.
    pub labels: Labels,
    /// `__path__`
    pub path: PathGlob,
    /// `__path_exclude__`
    pub exclude: Option<PathGlob>,
    /// The files are whole compressed archives, read once.
    pub archive: bool,
}
