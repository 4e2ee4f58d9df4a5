//! One of Promtail's jobs -> a LogScrape that gives the same labels, or the job itself in `extraScrapeConfigs`.
//!
//! A LogScrape begins with the chart's labels. A job that has them as the chart writes them loses its rules; any other
//! job keeps all of them, after one that removes what the LogScrape would add. The gate and a list of namespaces
//! become fields, so that the operator can count what they leave out.

use logstack_config::collector::{RelabelAction, RelabelConfig, Role, ScrapeConfig, Source, Stage};
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::promtail::POD_LOGS;
use super::source::{At, Ledger};
use crate::render::standard_rules;

/// The gate that a relabelling label can be turned back into an annotation for.
const GATE_LABEL: &str = "__meta_kubernetes_pod_annotation_prometheus_io_scrape";
const GATE_KEY: &str = "prometheus.io/scrape";

const NAMESPACE: &str = "__meta_kubernetes_namespace";

/// Labels that every LogScrape of pods begins with.
const STANDARD_LABELS: &str = "node_name|namespace|app|instance|component|job|pod|container|__tmp_controller_name";

/// Rules that a LogScrape may have.
const RULES_MAX: usize = 64;

/// Carries one job over.
pub(super) fn carry(job: &ScrapeConfig, at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    if let Some(Source::Unsupported(key)) = job.source() {
        let reason = format!(
            "{key} is read by one process for all nodes, not by an agent on each: run Promtail or Alloy for it, pushing to the stack"
        );
        return ledger.left(at, reason);
    }
    if is_pods(job) && job.relabel_configs.len() < RULES_MAX && job.pipeline_stages.len() <= RULES_MAX {
        let name = pods(job, at, draft, ledger);
        ledger.carried(at, format!("LogScrape {name}"));
    } else if is_files(job) {
        let name = files(job, draft);
        ledger.carried(at, format!("LogScrape {name}"));
    } else {
        for path in folders(job) {
            let folders = draft.get("collector.hostPaths.extra").and_then(Value::as_array).cloned().unwrap_or_default();
            if !folders.iter().any(|folder| folder["path"] == *path) {
                draft.push("collector.hostPaths.extra", json!({ "path": path }));
            }
        }
        draft.push("collector.extraScrapeConfigs", at.value());
        ledger.carried(at, "spec.collector.extraScrapeConfigs");
    }
}

/// Folders of the node that a verbatim job reads.
fn folders(job: &ScrapeConfig) -> Vec<String> {
    let Some(journal) = &job.journal else { return Vec::new() };
    match &journal.path {
        Some(path) => vec![path.display().to_string()],
        None => vec!["/var/log/journal".to_owned(), "/run/log/journal".to_owned()],
    }
}

/// True for a job of pods that a LogScrape can say.
fn is_pods(job: &ScrapeConfig) -> bool {
    let [sd] = job.kubernetes_sd_configs.as_slice() else { return false };
    // Which client it uses and what else it fetches is the collector's own business, unless someone asked.
    let namespaces = sd.namespaces.clone();
    let plain = logstack_config::collector::KubernetesSd { role: Some(Role::Pod), namespaces, ..Default::default() };
    *sd == plain
        && !sd.namespaces.own_namespace
        && job.static_configs.is_empty()
        && job.file_sd_configs.is_empty()
        && job.sources().len() == 1
        && job.encoding.is_empty()
        && job.decompression.is_none()
}

/// The LogScrape of a job of pods; its name.
pub(super) fn pods(job: &ScrapeConfig, at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) -> String {
    let mut spec = Map::new();
    let standard = standard_rules(POD_LOGS);
    // A rule that writes what discovery says would change what the lifted rules see.
    let may_lift = !job.relabel_configs.iter().any(|rule| {
        rule.target_label.starts_with("__meta_")
            || matches!(rule.action, RelabelAction::LabelMap if rule.replacement.starts_with("__"))
    });
    let mut gate = None;
    let mut namespaces: Option<Vec<String>> = match job.kubernetes_sd_configs.first() {
        Some(sd) if !sd.namespaces.names.is_empty() => Some(sd.namespaces.names.clone()),
        _ => None,
    };
    let mut rules: Vec<RelabelConfig> = Vec::new();
    for rule in &job.relabel_configs {
        let is_keep = may_lift && rule.action == RelabelAction::Keep;
        match rule.source_labels.as_slice() {
            [label] if is_keep && label == GATE_LABEL && gate.is_none() && is_literal(&rule.regex) => {
                gate = Some(rule.regex.clone());
            }
            [label] if is_keep && label == NAMESPACE && namespaces.is_none() && words(&rule.regex).is_some() => {
                namespaces = words(&rule.regex);
            }
            // Each agent sees the pods of its own node only.
            [label] if rule.target_label == "__host__" && label == "__meta_kubernetes_pod_node_name" => {}
            _ => rules.push(rule.clone()),
        }
    }
    // The agents decide themselves whose files they are; the chart does not always say so.
    if !rules.iter().any(|rule| rule.target_label == "__path__") {
        ledger.remark(
            at,
            format!(
                "job {}: has no rule for __path__, so Promtail reads nothing; the LogScrape reads the pods' logs",
                job.job_name
            ),
        );
    }
    spec.insert(
        "annotationGate".to_owned(),
        match &gate {
            Some(value) => json!({ "enabled": true, "key": GATE_KEY, "value": value }),
            None => json!({ "enabled": false }),
        },
    );
    spec.insert(
        "namespaceSelector".to_owned(),
        match namespaces {
            Some(names) => json!({ "matchNames": names }),
            None => json!({ "any": true }),
        },
    );
    // The standard rules come first, in their order, so what is left may follow them.
    let begins_standard = rules.len() >= standard.len()
        && rules.iter().filter(|rule| standard.contains(rule)).count() == standard.len()
        && {
            let first: Vec<&RelabelConfig> = rules.iter().filter(|rule| standard.contains(rule)).collect();
            first.iter().zip(&standard).all(|(a, b)| *a == b) && {
                let last = rules.iter().rposition(|rule| standard.contains(rule)).unwrap_or_default();
                // Filters and constants between them touch none of what they read.
                rules[..last].iter().all(|rule| standard.contains(rule) || is_harmless(rule))
            }
        };
    let kept: Vec<RelabelConfig> = if begins_standard {
        rules.into_iter().filter(|rule| !standard.contains(rule)).collect()
    } else {
        let path = standard.iter().find(|rule| rule.target_label == "__path__");
        let rules = rules.into_iter().filter(|rule| Some(rule) != path);
        let reset = RelabelConfig {
            action: RelabelAction::LabelDrop,
            regex: STANDARD_LABELS.to_owned(),
            ..RelabelConfig::default()
        };
        let kept: Vec<RelabelConfig> = std::iter::once(reset).chain(rules).collect();
        if !sets_namespace(&kept) {
            draft.set("scrapePolicy.enforceNamespaceLabel", false);
            ledger.remark(at, format!("spec.scrapePolicy.enforceNamespaceLabel: false (job {} does not set the label namespace to the pod's)", job.job_name));
        }
        kept
    };
    if !kept.is_empty() {
        spec.insert("relabelings".to_owned(), kept.iter().map(relabeling).collect());
    }
    finish(job, spec, draft)
}

/// True when the last word on `namespace` is the pod's own.
fn sets_namespace(rules: &[RelabelConfig]) -> bool {
    let own = RelabelConfig {
        source_labels: vec![NAMESPACE.to_owned()],
        target_label: "namespace".to_owned(),
        ..RelabelConfig::default()
    };
    rules.iter().rev().find(|rule| rule.target_label == "namespace") == Some(&own)
}

fn is_harmless(rule: &RelabelConfig) -> bool {
    match rule.action {
        RelabelAction::Keep | RelabelAction::Drop => {
            rule.source_labels.iter().all(|label| label.starts_with("__meta_"))
        }
        RelabelAction::Replace => rule.source_labels.is_empty() && rule.target_label == "scrape_job",
        _ => false,
    }
}

fn is_literal(regex: &str) -> bool {
    !regex.is_empty() && regex.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ' '))
}

/// `a|b|c` and `(a|b|c)` as words, when they are namespaces.
fn words(regex: &str) -> Option<Vec<String>> {
    let inner = regex.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(regex);
    let inner = inner.strip_prefix("?:").unwrap_or(inner);
    let words: Vec<String> = inner.split('|').map(str::to_owned).collect();
    let is_name = |word: &String| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    (words.len() <= 100 && words.iter().all(is_name)).then_some(words)
}

/// A rule with what differs from the default.
fn relabeling(rule: &RelabelConfig) -> Value {
    let default = RelabelConfig::default();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value, is_default: bool| {
        if !is_default {
            out.insert(key.to_owned(), value);
        }
    };
    put("sourceLabels", rule.source_labels.clone().into(), rule.source_labels.is_empty());
    put("separator", rule.separator.clone().into(), rule.separator == default.separator);
    put("regex", rule.regex.clone().into(), rule.regex == default.regex);
    put("targetLabel", rule.target_label.clone().into(), rule.target_label.is_empty());
    put("replacement", rule.replacement.clone().into(), rule.replacement == default.replacement);
    put("modulus", rule.modulus.into(), rule.modulus == 0);
    put("action", serde_json::to_value(rule.action).unwrap_or_default(), rule.action == default.action);
    Value::Object(out)
}

/// True for a job of files of the node.
fn is_files(job: &ScrapeConfig) -> bool {
    let paths = || job.static_configs.iter().map(|config| config.labels.get("__path__"));
    let is_archive = |path: &String| [".gz", ".bz2", ".z"].iter().any(|suffix| path.ends_with(suffix));
    !job.static_configs.is_empty()
        && job.static_configs.len() <= 32
        && job.sources().len() == 1
        && job.decompression.is_none()
        && job.relabel_configs.len() < RULES_MAX
        && job.static_configs.iter().all(|config| {
            config
                .labels
                .keys()
                .all(|name| !name.starts_with("__") || matches!(name.as_str(), "__path__" | "__path_exclude__"))
        })
        && job.static_configs.iter().all(|config| config.labels.len() <= 15 && !config.labels.contains_key("filename"))
        && paths()
            .all(|path| path.is_some_and(|path| path.starts_with('/') && !path.contains("..") && !is_archive(path)))
}

fn files(job: &ScrapeConfig, draft: &mut Draft) -> String {
    let mut spec = Map::new();
    let mut has_job = true;
    let mut paths = Vec::new();
    for config in &job.static_configs {
        let mut labels = config.labels.clone();
        let mut path = json!({ "path": labels.remove("__path__").unwrap_or_default() });
        if let Some(exclude) = labels.remove("__path_exclude__") {
            path["exclude"] = exclude.into();
        }
        if !job.encoding.is_empty() {
            path["encoding"] = job.encoding.clone().into();
        }
        has_job &= labels.contains_key("job");
        if !labels.is_empty() {
            path["labels"] = serde_json::to_value(&labels).unwrap_or_default();
        }
        paths.push(path);
    }
    spec.insert("nodePaths".to_owned(), paths.into());
    let mut rules: Vec<Value> = Vec::new();
    if !has_job && job.static_configs.iter().all(|config| !config.labels.contains_key("job")) {
        // A LogScrape would add its own.
        rules.push(json!({ "action": "labeldrop", "regex": "job" }));
    }
    rules.extend(job.relabel_configs.iter().map(relabeling));
    if !rules.is_empty() {
        spec.insert("relabelings".to_owned(), rules.into());
    }
    finish(job, spec, draft)
}

/// Stages, order, name.
fn finish(job: &ScrapeConfig, mut spec: Map<String, Value>, draft: &mut Draft) -> String {
    let is_pods = !spec.contains_key("nodePaths");
    let mut stages = job.pipeline_stages.as_slice();
    if let [Stage::Cri(body), rest @ ..] = stages
        && is_pods
        && *body == Default::default()
    {
        stages = rest; // comes first by itself
    }
    if !stages.is_empty() {
        spec.insert("pipelineStages".to_owned(), serde_json::to_value(stages).unwrap_or_default());
    }
    // The first job that wants a file gets it, in the order of the source.
    let priority = 100_usize.saturating_sub(draft.scrape_count());
    if priority != 100 {
        spec.insert("priority".to_owned(), priority.into());
    }
    draft.scrape(&job.job_name, Value::Object(spec))
}
