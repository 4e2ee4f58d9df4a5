//! `file_sd_configs`: targets from lists in JSON or YAML files, read again from time to time.
//!
//! Source: Prometheus, "file_sd_config".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::discover;
use super::glob::{Folders, PathGlob};
use super::relabel::Rule;
use super::targets::Targets;

/// A `file_sd_configs` entry of a job.
#[derive(Debug, Clone)]
pub struct FileLists {
    /// Index of the job.
    pub job_idx: usize,
    /// Its rules.
    pub rules: Arc<Vec<Rule>>,
    /// Paths; the last part may hold a `*`.
    pub files: Vec<PathGlob>,
    /// Time between two looks.
    pub refresh: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl FileLists {
    /// Reads the lists until cancelled. A list that cannot be read keeps what it said last.
    pub async fn run(self, targets: Arc<Targets>, node: String, cancelled: CancellationToken) {
        let mut known: BTreeMap<PathBuf, Vec<Group>> = BTreeMap::new();
        loop {
            let mut folders = Folders::default();
            let mut paths: Vec<PathBuf> = self.files.iter().flat_map(|glob| glob.files(&mut folders)).collect();
            drop(folders);
            paths.dedup();
            known.retain(|path, _| paths.contains(path));
            for path in paths {
                match read(&path) {
                    Ok(groups) => drop(known.insert(path, groups)),
                    Err(reason) => warn!(path = %path.display(), reason, "list of targets cannot be read"),
                }
            }
            for (path, groups) in &known {
                let found = groups.iter().flat_map(|group| {
                    let count = group.targets.len().max(1);
                    std::iter::repeat_n(&group.labels, count).zip(group.targets.iter().map(Some).chain([None]))
                });
                let found = found.map(|(labels, target)| {
                    let mut labels = labels.clone();
                    labels.insert("__meta_filepath".to_owned(), path.to_string_lossy().into_owned());
                    labels.extend(target.map(|target| ("__address__".to_owned(), target.clone())));
                    discover(self.job_idx, &self.rules, labels, &node)
                });
                targets.set((self.job_idx, format!("file_sd:{}", path.display())), found.collect());
            }
            tokio::select! {
                () = tokio::time::sleep(self.refresh) => {}
                () = cancelled.cancelled() => return,
            }
        }
    }
}

fn read(path: &std::path::Path) -> Result<Vec<Group>, String> {
    let text = std::fs::read_to_string(path).map_err(|err| err.to_string())?;
    // JSON is YAML.
    serde_yaml::from_str(&text).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_lists() {
        let folder = tempfile::tempdir().unwrap();
        let list = r#"[{"targets": ["localhost"], "labels": {"__path__": "/var/log/a.log", "app": "a"}}]"#;
        std::fs::write(folder.path().join("one.json"), list).unwrap();
        std::fs::write(folder.path().join("two.json"), "- labels: {__path__: /var/log/b.log}\n").unwrap();
        std::fs::write(folder.path().join("bad.json"), "{").unwrap();
        let targets = Arc::new(Targets::default());
        let lists = FileLists {
            job_idx: 0,
            rules: Arc::default(),
            files: vec![PathGlob::new(&format!("{}/*.json", folder.path().display())).unwrap()],
            refresh: Duration::from_secs(300),
        };
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        lists.run(targets.clone(), "node".to_owned(), cancelled).await;
        let active = targets.active();
        let paths: Vec<&str> = active.iter().map(|target| target.path.pattern()).collect();
        assert_eq!(paths, ["/var/log/a.log", "/var/log/b.log"]);
        assert_eq!(active[0].labels.to_string(), r#"{app="a"}"#);
    }
}
