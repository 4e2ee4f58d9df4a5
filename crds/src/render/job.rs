//! LogScrape -> one job of the collector.
//!
//! Selection is compiled to relabelling rules over what one pod watch per node sees, not to selectors of further
//! watches: a hundred LogScrapes cost the API server nothing.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use logstack_config::collector::stage::{DropStage, LimitStage, MultilineStage, SamplingStage, TenantStage};
use logstack_config::collector::{
    Decompression, KubernetesSd, RelabelAction, RelabelConfig, Role, ScrapeConfig, Stage, StaticConfig,
    check_relabelings, check_stages,
};
use logstack_config::yaml::{Document, Node, Report};
use logstack_config::{ByteSize, Severity};

use super::Problem;
use crate::document::namespace;
use crate::quantity::bytes;
use crate::rules::is_format;
use crate::scrape::{LogScrape, LogScrapeSpec, NamespaceSelector, Relabeling};
use crate::stack::{AnnotationGate, CollectorSpec, LogStackSpec};

/// What Kubernetes discovery prefixes its labels with.
const POD: &str = "__meta_kubernetes_pod_";
const NAMESPACE: &str = "__meta_kubernetes_namespace";

/// Which logs a job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSource {
    /// Pods, by the Kubernetes API.
    Pods,
    /// Files of the node.
    NodePaths,
}

impl JobSource {
    /// The source of a LogScrape.
    pub fn of(spec: &LogScrapeSpec) -> Self {
        if spec.node_paths.is_some() { Self::NodePaths } else { Self::Pods }
    }
}

/// The job of one LogScrape. Name: `<namespace>/<name>`.
///
/// # Errors
/// Every stage and rule that the collector would refuse.
pub fn render_job(scrape: &LogScrape, stack: &LogStackSpec) -> Result<ScrapeConfig, Vec<Problem>> {
    let own_namespace = namespace(&scrape.metadata);
    let name = scrape.metadata.name.as_deref().unwrap_or_default();
    let job_name = format!("{own_namespace}/{name}");
    let spec = &scrape.spec;
    let mut problems = check(spec);
    let job = match JobSource::of(spec) {
        JobSource::Pods => {
            let mut rules = gate_rules(&spec.annotation_gate);
            rules.extend(selector_rules(spec.selector.as_ref()));
            rules.extend(namespace_rules(spec.namespace_selector.as_ref(), own_namespace));
            rules.extend(container_rules(spec));
            rules.extend(standard_rules(&stack.collector.host_paths.pod_logs));
            rules.extend(own_rules(spec, &stack.collector));
            if stack.scrape_policy.enforce_namespace_label {
                rules.push(replace(&[NAMESPACE], "namespace"));
            }
            ScrapeConfig {
                job_name,
                kubernetes_sd_configs: vec![pods(spec.namespace_selector.as_ref())],
                relabel_configs: rules,
                pipeline_stages: pipeline(spec, &stack.collector, JobSource::Pods),
                ..ScrapeConfig::default()
            }
        }
        JobSource::NodePaths => ScrapeConfig {
            static_configs: node_paths(spec, &job_name),
            encoding: encoding(spec, &mut problems),
            decompression: decompression(spec, &mut problems),
            job_name,
            relabel_configs: own_rules(spec, &stack.collector),
            pipeline_stages: pipeline(spec, &stack.collector, JobSource::NodePaths),
            ..ScrapeConfig::default()
        },
    };
    if problems.is_empty() { Ok(job) } else { Err(problems) }
}

/// The built-in last job: pods that pass the gate and that no LogScrape took.
pub fn render_default_job(stack: &LogStackSpec) -> Option<ScrapeConfig> {
    let default = &stack.collector.default_scrape;
    if !default.enabled {
        return None;
    }
    let spec = LogScrapeSpec { annotation_gate: default.annotation_gate.clone(), ..LogScrapeSpec::default() };
    let mut rules = gate_rules(&default.annotation_gate);
    rules.extend(standard_rules(&stack.collector.host_paths.pod_logs));
    rules.extend(own_rules(&spec, &stack.collector));
    Some(ScrapeConfig {
        job_name: "default".to_owned(),
        kubernetes_sd_configs: vec![pods(None)],
        relabel_configs: rules,
        pipeline_stages: pipeline(&spec, &stack.collector, JobSource::Pods),
        ..ScrapeConfig::default()
    })
}

/// What the collector would refuse, found with its own code.
fn check(spec: &LogScrapeSpec) -> Vec<Problem> {
    let document = Document::from_node(Node::empty(Default::default()), "");
    let mut report = Report::new(&document);
    let rules: Vec<_> = spec.relabelings.iter().map(Relabeling::to_config).collect();
    check_relabelings(&rules, "spec.relabelings", &mut report);
    check_stages(&spec.pipeline_stages, "spec.pipelineStages", &mut report);
    let findings = report.into_findings();
    findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| Problem::from_finding("", finding))
        .collect()
}

fn pods(namespaces: Option<&NamespaceSelector>) -> KubernetesSd {
    let mut sd = KubernetesSd { role: Some(Role::Pod), ..KubernetesSd::default() };
    sd.attach_metadata.namespace = namespaces.is_some_and(|namespaces| namespaces.match_labels.is_some());
    sd
}

fn rule(action: RelabelAction, sources: &[&str], regex: String) -> RelabelConfig {
    RelabelConfig {
        source_labels: sources.iter().map(|&source| source.to_owned()).collect(),
        regex,
        action,
        ..RelabelConfig::default()
    }
}

fn replace(sources: &[&str], target: &str) -> RelabelConfig {
    let target_label = target.to_owned();
    RelabelConfig { target_label, ..rule(RelabelAction::Replace, sources, RelabelConfig::REGEX.to_owned()) }
}

/// Text as a regular expression that matches only it.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A glob of a name as a regular expression.
fn glob(text: &str) -> String {
    let part = |c: char| match c {
        '*' => ".*".to_owned(),
        '?' => ".".to_owned(),
        c => literal(c.encode_utf8(&mut [0; 4])),
    };
    text.chars().map(part).collect()
}

fn any_of(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join("|")
}

/// A label or annotation name as discovery writes it.
fn sanitised(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn gate_rules(gate: &AnnotationGate) -> Vec<RelabelConfig> {
    let source = format!("{POD}annotation_{}", sanitised(&gate.key));
    gate.enabled.then(|| rule(RelabelAction::Keep, &[&source], literal(&gate.value))).into_iter().collect()
}

/// Source: Kubernetes, "Labels and Selectors": `NotIn` and `DoesNotExist` also select objects without the label.
fn selector_rules(selector: Option<&LabelSelector>) -> Vec<RelabelConfig> {
    let Some(selector) = selector else { return Vec::new() };
    let label = |name: &str| format!("{POD}label_{}", sanitised(name));
    let present = |name: &str| format!("{POD}labelpresent_{}", sanitised(name));
    let mut rules: Vec<RelabelConfig> = Vec::new();
    for (name, value) in selector.match_labels.iter().flatten() {
        rules.push(rule(RelabelAction::Keep, &[&present(name), &label(name)], format!("true;{}", literal(value))));
    }
    for requirement in selector.match_expressions.iter().flatten() {
        let values = any_of(requirement.values.iter().flatten().map(|value| literal(value)));
        let (present, label) = (present(&requirement.key), label(&requirement.key));
        rules.push(match requirement.operator.as_str() {
            "In" => rule(RelabelAction::Keep, &[&present, &label], format!("true;({values})")),
            "NotIn" => rule(RelabelAction::Drop, &[&present, &label], format!("true;({values})")),
            "Exists" => rule(RelabelAction::Keep, &[&present], "true".to_owned()),
            _ => rule(RelabelAction::Drop, &[&present], "true".to_owned()),
        });
    }
    rules
}

fn namespace_rules(selector: Option<&NamespaceSelector>, own: &str) -> Vec<RelabelConfig> {
    let Some(selector) = selector else { return vec![rule(RelabelAction::Keep, &[NAMESPACE], literal(own))] };
    if selector.any == Some(true) {
        return Vec::new();
    }
    if let Some(labels) = &selector.match_labels {
        let keep = |(name, value): (&String, &String)| {
            let source = format!("{NAMESPACE}_label_{}", sanitised(name));
            rule(RelabelAction::Keep, &[&source], literal(value))
        };
        return labels.iter().map(keep).collect();
    }
    let names = match &selector.match_names {
        Some(names) => any_of(names.iter().map(|name| literal(name))),
        None => literal(own),
    };
    vec![rule(RelabelAction::Keep, &[NAMESPACE], names)]
}

fn container_rules(spec: &LogScrapeSpec) -> Vec<RelabelConfig> {
    let Some(containers) = &spec.containers else { return Vec::new() };
    let source = format!("{POD}container_name");
    let mut rules = Vec::new();
    if !containers.include.is_empty() {
        let names = any_of(containers.include.iter().map(|name| glob(name)));
        rules.push(rule(RelabelAction::Keep, &[&source], names));
    }
    if !containers.exclude.is_empty() {
        let names = any_of(containers.exclude.iter().map(|name| glob(name)));
        rules.push(rule(RelabelAction::Drop, &[&source], names));
    }
    rules
}

/// The labels and paths of the promtail chart, so that dashboards and queries go on working.
///
/// Source: collector contract, section 2.3.
pub(crate) fn standard_rules(pod_logs: &str) -> Vec<RelabelConfig> {
    // `$` would begin a group.
    let root = pod_logs.trim_end_matches('/').replace('$', "$$");
    let pod = |name: &str| format!("{POD}{name}");
    let first_of = |sources: [String; 2], target: &str| RelabelConfig {
        source_labels: sources.to_vec(),
        regex: "^;*([^;]+)(;.*)?$".to_owned(),
        target_label: target.to_owned(),
        ..RelabelConfig::default()
    };
    let path = |sources: Vec<String>, regex: &str| RelabelConfig {
        source_labels: sources,
        separator: "/".to_owned(),
        regex: regex.to_owned(),
        target_label: "__path__".to_owned(),
        replacement: format!("{root}/*$1/*.log"),
        ..RelabelConfig::default()
    };
    vec![
        RelabelConfig {
            regex: "([0-9a-z-.]+?)(-[0-9a-f]{8,10})?".to_owned(),
            ..replace(&[&pod("controller_name")], "__tmp_controller_name")
        },
        RelabelConfig {
            source_labels: vec![
                pod("label_app_kubernetes_io_name"),
                pod("label_app"),
                "__tmp_controller_name".to_owned(),
                pod("name"),
            ],
            ..first_of([String::new(), String::new()], "app")
        },
        first_of([pod("label_app_kubernetes_io_instance"), pod("label_instance")], "instance"),
        first_of([pod("label_app_kubernetes_io_component"), pod("label_component")], "component"),
        replace(&[&pod("node_name")], "node_name"),
        replace(&[NAMESPACE], "namespace"),
        RelabelConfig { separator: "/".to_owned(), ..replace(&["namespace", "app"], "job") },
        replace(&[&pod("name")], "pod"),
        replace(&[&pod("container_name")], "container"),
        path(vec![pod("uid"), pod("container_name")], RelabelConfig::REGEX),
        // Static pods: their folder is named after the hash of their configuration.
        path(
            vec![
                pod("annotationpresent_kubernetes_io_config_hash"),
                pod("annotation_kubernetes_io_config_hash"),
                pod("container_name"),
            ],
            "true/(.*)",
        ),
    ]
}

/// Constant labels and the user's rules: the stack's, then the LogScrape's.
fn own_rules(spec: &LogScrapeSpec, collector: &CollectorSpec) -> Vec<RelabelConfig> {
    let constant = |(name, value): (&String, &String)| RelabelConfig {
        target_label: name.clone(),
        // `$` would begin a group.
        replacement: value.replace('$', "$$"),
        ..RelabelConfig::default()
    };
    let mut rules: Vec<RelabelConfig> = spec.labels.iter().flatten().map(constant).collect();
    rules.extend(collector.relabelings.iter().chain(&spec.relabelings).map(Relabeling::to_config));
    rules
}

fn pipeline(spec: &LogScrapeSpec, collector: &CollectorSpec, source: JobSource) -> Vec<Stage> {
    let given = collector.pipeline_stages.iter().chain(&spec.pipeline_stages);
    let mut stages: Vec<Stage> = Vec::new();
    if source == JobSource::Pods && !given.clone().any(is_format) {
        stages.push(Stage::Cri(Default::default()));
    }
    if let Some(firstline) = &spec.multiline_hint {
        let body = MultilineStage {
            firstline: firstline.clone(),
            max_wait_time: logstack_config::GoDuration::secs(3),
            max_lines: 128,
        };
        stages.push(Stage::Multiline(body));
    }
    // A file's stages do not see the runtime's format.
    stages.extend(given.filter(|stage| source == JobSource::Pods || !is_format(stage)).cloned());
    if let Some(size) = spec.max_line_size.as_ref().and_then(bytes) {
        stages.push(Stage::Drop(DropStage {
            longer_than: Some(ByteSize(size)),
            drop_counter_reason: "line_too_long".to_owned(),
            ..DropStage::default()
        }));
    }
    if let Some(rate) = spec.sampling.as_ref().and_then(|rate| rate.parse().ok()) {
        stages.push(Stage::Sampling(SamplingStage { rate, drop_counter_reason: String::new() }));
    }
    if let Some(rate) = &spec.rate_limit {
        stages.push(Stage::Limit(LimitStage {
            rate: f64::from(rate.lines_per_second),
            burst: u64::try_from(rate.burst).unwrap_or(1),
            drop: rate.drop,
            // One bucket for each file, that is each container. Without dropping only the file waits.
            by_label_name: if rate.drop { "filename".to_owned() } else { String::new() },
            max_distinct_labels: 10_000,
        }));
    }
    // Last: `labelallow` removes a tenant that was set before it.
    if let Some(tenant) = &spec.tenant {
        stages.push(Stage::Tenant(TenantStage { value: tenant.clone(), ..TenantStage::default() }));
    }
    stages
}

fn node_paths(spec: &LogScrapeSpec, job_name: &str) -> Vec<StaticConfig> {
    let entries = spec.node_paths.iter().flatten().map(|node_path| {
        let mut labels: BTreeMap<String, String> = BTreeMap::from([("job".to_owned(), job_name.to_owned())]);
        labels.extend(node_path.labels.clone().unwrap_or_default());
        labels.insert("__path__".to_owned(), node_path.path.clone());
        if let Some(exclude) = &node_path.exclude {
            labels.insert("__path_exclude__".to_owned(), exclude.clone());
        }
        StaticConfig { targets: vec!["localhost".to_owned()], labels }
    });
    entries.collect()
}

/// A job has one encoding.
fn encoding(spec: &LogScrapeSpec, problems: &mut Vec<Problem>) -> String {
    let mut encodings = spec.node_paths.iter().flatten().map(|path| path.encoding.clone().unwrap_or_default());
    let first = encodings.next().unwrap_or_default();
    if encodings.any(|other| other != first) {
        let text = "have different encodings (hint: make a LogScrape for each)";
        problems.push(Problem::invalid("spec.nodePaths", text));
    }
    first
}

/// Archives are read once, whole; a job reads archives of one kind, or files that grow.
fn decompression(spec: &LogScrapeSpec, problems: &mut Vec<Problem>) -> Option<Decompression> {
    let kind = |path: &str| ["gz", "bz2", "z"].into_iter().find(|kind| path.ends_with(&format!(".{kind}")));
    let mut kinds = spec.node_paths.iter().flatten().map(|node_path| kind(&node_path.path));
    let first = kinds.next().flatten();
    if kinds.any(|other| other != first) {
        let text = "mix archives with other files (hint: make a LogScrape for each)";
        problems.push(Problem::invalid("spec.nodePaths", text));
    }
    first.map(|format| Decompression { enabled: true, format: format.to_owned(), ..Decompression::default() })
}
