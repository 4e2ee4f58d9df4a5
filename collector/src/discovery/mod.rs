//! Discovery: which files belong to which labels. Later rooms never ask where a target came from.

pub mod files;
pub mod glob;
pub mod kubernetes;
pub mod nodes;
pub mod pod_folders;
pub mod relabel;
pub mod related;
pub mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use logstack_logql::Labels;

use glob::{Folders, PathGlob};
use relabel::{LabelMap, Rule, public_labels};
use targets::{Discovered, Dropped};

/// Files with one label set, of one job.
#[derive(Debug, Clone)]
pub struct Target {
    /// Index of the job in the configuration: a file belongs to the first job that claims it.
    pub job_idx: usize,
    /// Public labels; `filename` is added for each file.
    pub labels: Labels,
    /// `__path__`
    pub path: PathGlob,
    /// The same files under other names: a static pod's folder has its configuration's hash where others have the uid.
    pub aliases: Vec<PathGlob>,
    /// `__path_exclude__`
    pub exclude: Option<PathGlob>,
}

impl Target {
    /// The files that are there now, sorted.
    pub fn files(&self, folders: &mut Folders) -> Vec<PathBuf> {
        let mut files: BTreeSet<PathBuf> = self.path.files(folders).into_iter().collect();
        for alias in &self.aliases {
            files.extend(alias.files(folders));
        }
        files.retain(|path| !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(path)));
        files.into_iter().collect()
    }

    /// True when a file of that name would be one of [`Self::files`].
    pub fn wants(&self, path: &Path) -> bool {
        let is_wanted = self.path.matches(path) || self.aliases.iter().any(|alias| alias.matches(path));
        is_wanted && !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(path))
    }
}

/// What discovered labels become under a job's rules.
pub fn discover(job_idx: usize, rules: &[Rule], labels: LabelMap, node: &str) -> Discovered {
    let mut relabelled = labels.clone();
    let outcome = resolve(job_idx, rules, &mut relabelled, node);
    Discovered { labels, outcome }
}

fn resolve(job_idx: usize, rules: &[Rule], labels: &mut LabelMap, node: &str) -> Result<Target, Dropped> {
    labels.retain(|_, value| !value.is_empty());
    if !relabel::relabel(rules, labels) {
        return Err(Dropped::Relabelled);
    }
    if labels.get("__host__").is_some_and(|host| host != node) {
        return Err(Dropped::WrongHost);
    }
    let path = labels.get("__path__").filter(|path| !path.is_empty()).ok_or(Dropped::NoPath)?;
    let path = PathGlob::new(path).map_err(|_| Dropped::Error)?;
    let exclude = labels.get("__path_exclude__").map(|pattern| PathGlob::new(pattern)).transpose();
    let exclude = exclude.map_err(|_| Dropped::Error)?;
    Ok(Target { job_idx, labels: public_labels(labels), path, aliases: Vec::new(), exclude })
}

/// This node's name: `HOSTNAME`, which charts set from `spec.nodeName`, else the kernel's.
pub fn node_name() -> String {
    let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(from_kernel)
}
