//! The CEL rules in Rust, for `logstack check` and `logstack run`, and what CEL cannot see.

use std::collections::BTreeMap;

use logstack_config::collector::{Stage, check_relabelings, check_stages, is_label_name};
use logstack_config::yaml::Report;
use logstack_config::{PromDuration, check_tenant};

use crate::quantity::bytes;
use crate::scrape::{LogScrapeSpec, NodePath, Relabeling};
use crate::stack::{
    AuthType, ClientAuthSpec, CollectorSpec, EngineSpec, LimitsSpec, LogStackSpec, ServiceType, TenancyMode,
};

/// The label that is set from the file: a host file has no pod, so the labels of one may be given.
const FILE_LABELS: [&str; 1] = ["filename"];

/// Labels that are set from the pod.
const POD_LABELS: [&str; 6] = ["namespace", "pod", "container", "node", "stream", "filename"];

/// Prefixes of labels that belong to tools.
const RESERVED_PREFIXES: [&str; 3] = ["app.kubernetes.io/", "logstack.dev/", "argocd.argoproj.io/"];

/// The engine refuses a shorter retention of single streams.
const STREAM_RETENTION_MIN: PromDuration = PromDuration::hours(24);

/// Checks a LogStack.
pub(crate) fn check_stack(name: &str, spec: &LogStackSpec, report: &mut Report<'_>) {
    check_stack_name(name, report);
    for label in spec.common_labels.iter().flatten().map(|(label, _)| label) {
        if RESERVED_PREFIXES.iter().any(|prefix| label.starts_with(prefix)) {
            report.error("spec.commonLabels", format!("{label:?} belongs to a tool (hint: choose another prefix)"));
        }
    }
    if spec.tenancy.mode == TenancyMode::Single && spec.engine.limits.tenants.is_some() {
        report.error("spec.engine.limits.tenants", "needs tenancy.mode: Multi");
    }
    if spec.tenancy.mode == TenancyMode::Multi && spec.tenancy.default_tenant.is_none() && spec.collector.enabled {
        let hint = "(hint: write the tenant of logs whose LogScrape names none)";
        report
            .warning("spec.tenancy", format!("has no defaultTenant: the engine refuses logs without a tenant {hint}"));
    }
    if let Some(tenant) = &spec.tenancy.default_tenant {
        check_tenant(tenant, "spec.tenancy.defaultTenant", report);
    }
    if spec.auth.kind != AuthType::None && spec.auth.secret_name.is_none() {
        report.error("spec.auth", "needs the key secretName unless type is None");
    }
    if let Some(tls) = &spec.tls {
        if tls.client_auth != ClientAuthSpec::None && tls.client_ca_secret_name.is_none() {
            report.error("spec.tls", "needs the key clientCASecretName unless clientAuth is None");
        }
        if !matches!(tls.min_version.as_str(), "1.2" | "1.3") {
            report.error("spec.tls.minVersion", format!("{:?} is not 1.2 or 1.3", tls.min_version));
        }
    }
    if spec.grafana.enabled && spec.grafana.labels.is_empty() {
        report.error("spec.grafana.labels", "is empty (hint: use enabled: false to have no data source)");
    }
    if spec.rules.enabled {
        report.error("spec.rules.enabled", "is not supported: the engine has no ruler (hint: use Grafana's alerting)");
    }
    check_engine(&spec.engine, report);
    check_collector(&spec.collector, report);
}

fn check_stack_name(name: &str, report: &mut Report<'_>) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(allowed);
    if !name.is_empty() && !fits {
        report.error("metadata.name", format!("{name:?} is not at most 40 of a-z 0-9 -, a letter first"));
    }
}

fn check_engine(engine: &EngineSpec, report: &mut Report<'_>) {
    if !(0..=1).contains(&engine.replicas) {
        report.error("spec.engine.replicas", format!("{} is not 0 or 1", engine.replicas));
    }
    if let Some(external) = &engine.external {
        check_url(&external.url, "spec.engine.external.url", report);
        if engine.cold_storage.is_some() {
            report.error("spec.engine.coldStorage", "stands beside external: an external engine keeps its own data");
        }
    }
    let size = bytes(&engine.storage.size);
    if size.is_none_or(|size| size == 0) {
        let text = format!("{:?} is not a quantity above 0 (hint: write 50Gi)", engine.storage.size.0);
        report.error("spec.engine.storage.size", text);
    }
    if let Some(max) = &engine.retention.max_size {
        match (bytes(max), size) {
            (None, _) => {
                let text = format!("{:?} is not a quantity (hint: write 40Gi)", max.0);
                report.error("spec.engine.retention.maxSize", text);
            }
            (Some(max), Some(size)) if max > size => {
                report.error("spec.engine.retention.maxSize", "is above storage.size");
            }
            _ => {}
        }
    }
    for (idx, rule) in engine.retention.streams.iter().enumerate() {
        let path = format!("spec.engine.retention.streams[{idx}]");
        if !(rule.selector.starts_with('{') && rule.selector.ends_with('}')) {
            let text = format!("{:?} is not a stream selector (hint: write '{{app=\"x\"}}')", rule.selector);
            report.error(format!("{path}.selector"), text);
        }
        if rule.period < STREAM_RETENTION_MIN {
            report.error(format!("{path}.period"), format!("{} is shorter than 24h", rule.period));
        }
    }
    check_limits(&engine.limits, report);
    let service = &engine.service;
    if service.kind == ServiceType::ClusterIP && service.node_port.is_some() {
        report.error("spec.engine.service.nodePort", "needs type NodePort or LoadBalancer");
    }
    if service.kind != ServiceType::LoadBalancer && service.load_balancer_class.is_some() {
        report.error("spec.engine.service.loadBalancerClass", "needs type LoadBalancer");
    }
}

fn check_limits(limits: &LimitsSpec, report: &mut Report<'_>) {
    let at = "spec.engine.limits";
    if limits.ingestion_burst_size_mb < limits.ingestion_rate_mb {
        report.error(format!("{at}.ingestionBurstSizeMb"), "is below ingestionRateMb");
    }
    for (key, value, low, high) in [
        ("ingestionRateMb", limits.ingestion_rate_mb, 1, 10_240),
        ("ingestionBurstSizeMb", limits.ingestion_burst_size_mb, 1, 10_240),
        ("maxEntriesPerQuery", limits.max_entries_per_query, 1, 1_000_000),
        ("maxLabelNamesPerSeries", limits.max_label_names_per_series, 1, 200),
        ("maxStreamsPerTenant", limits.max_streams_per_tenant, 0, i32::MAX),
        ("maxQuerySeries", limits.max_query_series, 1, i32::MAX),
        ("maxConcurrentTails", limits.max_concurrent_tails, 0, i32::MAX),
    ] {
        if !(low..=high).contains(&value) {
            report.error(format!("{at}.{key}"), format!("{value} is not between {low} and {high}"));
        }
    }
    for (key, quantity) in [
        ("maxLineSize", &limits.max_line_size),
        ("perStreamRateLimit", &limits.per_stream_rate_limit),
        ("perStreamRateLimitBurst", &limits.per_stream_rate_limit_burst),
    ] {
        if bytes(quantity).is_none() {
            report.error(format!("{at}.{key}"), format!("{:?} is not a quantity (hint: write 256Ki)", quantity.0));
        }
    }
    for tenant in limits.tenants.iter().flatten().map(|(tenant, _)| tenant) {
        check_tenant(tenant, &format!("{at}.tenants.{tenant}"), report);
    }
}

fn check_collector(collector: &CollectorSpec, report: &mut Report<'_>) {
    check_absolute(&collector.host_paths.pod_logs, "spec.collector.hostPaths.podLogs", report);
    if let Some(state) = &collector.host_paths.state {
        check_absolute(state, "spec.collector.hostPaths.state", report);
    }
    for (idx, extra) in collector.host_paths.extra.iter().enumerate() {
        check_absolute(&extra.path, &format!("spec.collector.hostPaths.extra[{idx}].path"), report);
    }
    if let Some(path) = &collector.system_logs.journal.path {
        check_absolute(path, "spec.collector.systemLogs.journal.path", report);
    }
    let mut names: Vec<&str> = Vec::new();
    for (idx, file) in collector.system_logs.files.iter().enumerate() {
        let path = format!("spec.collector.systemLogs.files[{idx}]");
        check_readable(&file.path, &format!("{path}.path"), report);
        if names.contains(&file.name.as_str()) {
            report.error(format!("{path}.name"), format!("{:?} is the name of another entry", file.name));
        }
        names.push(&file.name);
    }
    check_stages(&collector.pipeline_stages, "spec.collector.pipelineStages", report);
    check_rules(&collector.relabelings, "spec.collector.relabelings", report);
    check_labels(Some(&collector.labels), &POD_LABELS, "spec.collector.labels", report);
    let mut names: Vec<&str> = Vec::new();
    for (idx, client) in collector.clients.iter().enumerate() {
        let path = format!("spec.collector.clients[{idx}]");
        check_url(&client.url, &format!("{path}.url"), report);
        if client.name == "engine" || names.contains(&client.name.as_str()) {
            report.error(format!("{path}.name"), format!("{:?} is the name of another client", client.name));
        }
        names.push(&client.name);
    }
}

/// Checks a LogScrape.
pub(crate) fn check_scrape(spec: &LogScrapeSpec, report: &mut Report<'_>) {
    check_labels(spec.labels.as_ref(), &POD_LABELS, "spec.labels", report);
    if spec.node_paths.is_some() && (spec.selector.is_some() || spec.namespace_selector.is_some()) {
        report.error("spec.nodePaths", "stands beside selector or namespaceSelector (hint: make two LogScrapes)");
    }
    for (idx, node_path) in spec.node_paths.iter().flatten().enumerate() {
        let NodePath { path, labels, .. } = node_path;
        let at = format!("spec.nodePaths[{idx}]");
        check_readable(path, &format!("{at}.path"), report);
        check_labels(labels.as_ref(), &FILE_LABELS, &format!("{at}.labels"), report);
    }
    if let Some(namespaces) = &spec.namespace_selector {
        let given = [namespaces.any == Some(true), namespaces.match_names.is_some(), namespaces.match_labels.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            report.error("spec.namespaceSelector", "has more than one of any, matchNames, matchLabels");
        }
    }
    if !(0..=1000).contains(&spec.priority) {
        report.error("spec.priority", format!("{} is not between 0 and 1000", spec.priority));
    }
    if let Some(tenant) = &spec.tenant {
        check_tenant(tenant, "spec.tenant", report);
    }
    if let Some(rate) = &spec.rate_limit {
        if rate.lines_per_second < 1 {
            report.error("spec.rateLimit.linesPerSecond", format!("{} is not above 0", rate.lines_per_second));
        }
        if rate.burst < rate.lines_per_second {
            report.error("spec.rateLimit.burst", "is below linesPerSecond");
        }
    }
    if let Some(size) = spec.max_line_size.as_ref().filter(|size| bytes(size).is_none_or(|bytes| bytes == 0)) {
        report.error("spec.maxLineSize", format!("{:?} is not a quantity above 0 (hint: write 256Ki)", size.0));
    }
    if let Some(rate) = &spec.sampling
        && !rate.parse::<f64>().is_ok_and(|rate| (0.0..=1.0).contains(&rate))
    {
        report.error("spec.sampling", format!("{rate:?} is not between 0 and 1 (hint: write \"0.1\" to keep a tenth)"));
    }
    check_rules(&spec.relabelings, "spec.relabelings", report);
    check_stages(&spec.pipeline_stages, "spec.pipelineStages", report);
    if spec.pipeline_stages.iter().filter(|stage| is_format(stage)).count() > 1 {
        report.warning(
            "spec.pipelineStages",
            "takes the container's format apart twice (hint: cri comes first by itself)",
        );
    }
}

/// True for stages that take the container runtime's format apart.
pub(crate) fn is_format(stage: &Stage) -> bool {
    matches!(stage, Stage::Cri(_) | Stage::Docker(_) | Stage::Container(_))
}

fn check_rules(rules: &[Relabeling], path: &str, report: &mut Report<'_>) {
    let rules: Vec<_> = rules.iter().map(Relabeling::to_config).collect();
    check_relabelings(&rules, path, report);
}

fn check_labels(labels: Option<&BTreeMap<String, String>>, reserved: &[&str], path: &str, report: &mut Report<'_>) {
    for name in labels.into_iter().flatten().map(|(name, _)| name) {
        if !is_label_name(name) || name.starts_with("__") {
            report.error(
                path,
                format!("{name:?} is not a label name (hint: letters, digits and _, no digit or __ first)"),
            );
        } else if reserved.contains(&name.as_str()) {
            report.error(path, format!("{name:?} is set by the collector (hint: choose another name)"));
        }
    }
}

fn check_absolute(path: &str, at: &str, report: &mut Report<'_>) {
    if !path.starts_with('/') || path.contains("..") {
        report.error(at, format!("{path:?} is not an absolute path without .."));
    }
}

/// Paths of files to read. `logstack run` also takes paths relative to the document's folder; an API server does not.
fn check_readable(path: &str, at: &str, report: &mut Report<'_>) {
    if path.is_empty() {
        report.error(at, "is empty");
    } else if path.contains("..") {
        report.error(at, format!("{path:?} contains .."));
    }
}

fn check_url(url: &str, at: &str, report: &mut Report<'_>) {
    let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
        report.error(at, format!("{url:?} is not a URL (hint: write http://host:3100)"));
    }
}
