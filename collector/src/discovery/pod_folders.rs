//! Pods by the names of their folders, while the API server does not answer.
//!
//! ```text
//! ROOT/NAMESPACE_POD_UID/CONTAINER/0.log        neither namespace nor pod has `_` in its name
//! ```
//!
//! A folder tells namespace, pod, uid and container; a job stands in for itself only when its rules ask for nothing else.
//! Others wait: their bytes stay on disk. As soon as the API server tells of pods, what it says counts.
//!
//! Source: contract of the collector, section 2.2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use super::discover;
use super::kubernetes::{Answered, PREFIX, PodJob};
use super::relabel::{Action, LabelMap};
use super::targets::Targets;

/// How often folders are looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// What a folder's name tells, without the prefix.
const KNOWN: [&str; 5] = ["namespace", "pod_name", "pod_uid", "pod_container_name", "pod_node_name"];

/// Where the kubelet keeps the logs of pods.
#[derive(Debug, Clone)]
pub struct PodFolders {
    /// The kubelet's `podLogsDir`.
    pub root: PathBuf,
    /// So long the API server has the word.
    pub patience: Duration,
}

impl PodFolders {
    /// Makes targets of folders from the end of the patience until the API server has answered.
    pub async fn stand_in(self, jobs: &[PodJob], targets: &Targets, node: &str, answered: &Answered) {
        tokio::time::sleep(self.patience).await;
        let mut is_told = false;
        loop {
            let found = find(&self.root, node);
            {
                let answered = answered.0.lock();
                if *answered {
                    return;
                }
                for job in jobs {
                    if !is_told && asks_for_more(job) {
                        warn!(
                            job = job.job_idx,
                            "pods are not known and the rules need more than folders tell: waiting"
                        );
                    }
                    if !asks_for_more(job) {
                        let is_wanted = |labels: &&LabelMap| is_in_scope(job, labels);
                        let of_job = found.iter().filter(is_wanted);
                        let of_job = of_job.map(|labels| discover(job.job_idx, &job.rules, labels.clone(), node));
                        targets.set(job.key(), of_job.collect());
                    }
                }
            }
            if !std::mem::replace(&mut is_told, true) {
                info!(containers = found.len(), "the Kubernetes API has not answered, folders tell of pods");
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// True when a rule, a selector or `attach_metadata` needs what no folder tells.
fn asks_for_more(job: &PodJob) -> bool {
    let attach = &job.sd.attach_metadata;
    if !job.sd.selectors.is_empty() || job.sd.namespaces.own_namespace || *attach != Default::default() {
        return true;
    }
    job.rules.iter().any(|rule| {
        let is_unknown = |name: &String| {
            let meta = name.strip_prefix(PREFIX);
            meta.is_some_and(|name| !KNOWN.contains(&name)) || name == "__address__"
        };
        // A labelmap of pods' labels would silently find none.
        rule.action == Action::LabelMap || rule.source_labels.iter().any(is_unknown)
    })
}

fn is_in_scope(job: &PodJob, labels: &LabelMap) -> bool {
    let names = &job.sd.namespaces.names;
    let namespace = labels.get(&format!("{PREFIX}namespace"));
    names.is_empty() || namespace.is_some_and(|namespace| names.contains(namespace))
}

/// The labels of each container that has a folder, in the order of their names.
fn find(root: &Path, node: &str) -> Vec<LabelMap> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    };
    let mut found = Vec::new();
    for folder in names(root) {
        let mut parts = folder.rsplitn(3, '_');
        let (Some(uid), Some(pod), Some(namespace)) = (parts.next(), parts.next(), parts.next()) else { continue };
        for container in names(&root.join(&folder)) {
            let values = [namespace, pod, uid, &container, node];
            let pairs = KNOWN.iter().zip(values).map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned()));
            found.push(pairs.collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logstack_config::CollectorConfig;

    use super::*;

    fn job(rules: &str, sd: &str) -> PodJob {
        let text = format!(
            "clients: [{{url: 'http://x/push'}}]\nscrape_configs: [{{job_name: a, kubernetes_sd_configs: [{{role: pod{sd}}}], relabel_configs: [{rules}]}}]"
        );
        let (config, _) = logstack_config::load::<CollectorConfig>(&text, "test").unwrap_or_else(|err| panic!("{err}"));
        let job = &config.scrape_configs[0];
        let rules = Arc::new(crate::settings::rules(job, 0).unwrap());
        PodJob { job_idx: 0, sd_idx: 0, rules, sd: job.kubernetes_sd_configs[0].clone() }
    }

    const PATH: &str = "{source_labels: [__meta_kubernetes_pod_uid, __meta_kubernetes_pod_container_name], separator: /, replacement: '/var/log/pods/*$1/*.log', target_label: __path__}";

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in ["default_web-0_u1/app", "default_web-0_u1/sidecar", "kube-system_dns_u2/dns", "nonsense/x"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        root
    }

    #[test]
    fn jobs_that_ask_for_more_wait() {
        #[track_caller]
        fn check(rules: &str, sd: &str, want: bool) {
            assert_eq!(asks_for_more(&job(rules, sd)), want, "{rules} {sd}");
        }
        check(PATH, "", false);
        check("{source_labels: [__meta_kubernetes_namespace], target_label: namespace}", "", false);
        check("{source_labels: [namespace, __tmp_x], target_label: job}", "", false);
        check("{source_labels: [__meta_kubernetes_pod_label_app], target_label: app}", "", true);
        check("{source_labels: [__meta_kubernetes_pod_annotation_a], action: keep, regex: true}", "", true);
        check("{regex: __meta_kubernetes_pod_label_(.+), action: labelmap}", "", true);
        check(PATH, ", selectors: [{role: pod, label: a=b}]", true);
        check(PATH, ", attach_metadata: {node: true}", true);
        check(PATH, ", namespaces: {names: [default]}", false);
    }

    #[test]
    fn folders_name_pods() {
        let root = root();
        let found = find(root.path(), "n1");
        let text = |labels: &LabelMap| labels.values().cloned().collect::<Vec<_>>().join(" ");
        let all: Vec<String> = found.iter().map(text).collect();
        assert_eq!(all, ["default app web-0 n1 u1", "default sidecar web-0 n1 u1", "kube-system dns dns n1 u2"]);
    }

    #[tokio::test]
    async fn they_stand_in_until_the_api_server_answers() {
        let (root, targets, answered) = (root(), Targets::default(), Answered::default());
        let job = job(PATH, ", namespaces: {names: [default]}");
        let folders = PodFolders { root: root.path().to_owned(), patience: Duration::ZERO };
        let standing_in = folders.clone().stand_in(std::slice::from_ref(&job), &targets, "n1", &answered);
        let patience = tokio::time::timeout(Duration::from_millis(300), standing_in);
        assert!(patience.await.is_err(), "it goes on until there is an answer");
        let paths: Vec<String> = targets.active().iter().map(|target| target.path.pattern().to_owned()).collect();
        assert_eq!(paths, ["/var/log/pods/*u1/app/*.log", "/var/log/pods/*u1/sidecar/*.log"]);
        *answered.0.lock() = true;
        folders.stand_in(&[job], &targets, "n1", &answered).await;
    }
}
