//! LogStack -> the collector's base file: receivers, state, logs of the node itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use logstack_config::collector::{
    BackoffConfig, BasicAuth, ClientConfig, ClientTls, JournalConfig, ScrapeConfig, StaticConfig,
};
use logstack_config::yaml::{Document, Node};
use logstack_config::{CollectorConfig, GoDuration, PromDuration, Severity, load_document};
use serde_json::Value;

use super::{Problem, Reason, Setting};
use crate::stack::{AuthType, ClientSpec, LogStackSpec, TenancyMode};

/// Keys whose values must not stand in a ConfigMap.
const SECRET_KEYS: [&str; 4] = ["password", "bearer_token", "client_secret", "credentials"];

/// Folder of files of a Secret in the collector's pod.
fn secret_dir(name: &str) -> PathBuf {
    PathBuf::from("/etc/logstack/secrets").join(name)
}

/// Files of the collector.
#[derive(Debug, Clone)]
pub struct CollectorFiles {
    /// Promtail's positions file.
    pub positions: PathBuf,
    /// Port of the collector's own server; `None`: no server.
    pub http_port: Option<u16>,
}

/// The collector's file without jobs of LogScrapes; its jobs are the system logs and `extraScrapeConfigs`.
///
/// # Errors
/// Every key of `extraConfig` and `extraScrapeConfigs` that is wrong, and every inline secret.
pub fn render_collector(
    spec: &LogStackSpec,
    setting: &Setting,
    files: &CollectorFiles,
) -> Result<CollectorConfig, Vec<Problem>> {
    let mut config = CollectorConfig::default();
    match files.http_port {
        Some(port) => config.server.http_listen_port = port,
        None => config.server.disable = true,
    }
    config.positions.filename.clone_from(&files.positions);
    config.collector.pod_logs_root = PathBuf::from(&spec.collector.host_paths.pod_logs);
    // Overlapping LogScrapes must not send a line twice.
    config.collector.exclusive_files = true;
    config.clients.push(engine_client(spec, setting));
    config.clients.extend(spec.collector.clients.iter().map(further_client));
    config.scrape_configs = render_system_jobs(spec);
    let mut problems = Vec::new();
    extra_jobs(spec, &mut config, &mut problems);
    let config = overlay(config, spec, &mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

/// The stack's own engine, or the external one.
fn engine_client(spec: &LogStackSpec, setting: &Setting) -> ClientConfig {
    let base = spec.engine.external.as_ref().map_or(&setting.engine_url, |external| &external.url);
    let mut client = ClientConfig {
        name: "engine".to_owned(),
        url: format!("{}/loki/api/v1/push", base.trim_end_matches('/')),
        external_labels: spec.collector.labels.clone(),
        ..ClientConfig::default()
    };
    if spec.tenancy.mode == TenancyMode::Multi {
        client.tenant_id = spec.tenancy.default_tenant.clone().unwrap_or_default();
    }
    if let Some(secret) = &spec.auth.client_secret_name {
        let dir = secret_dir(secret);
        match spec.auth.kind {
            AuthType::None => {}
            AuthType::Basic => client.basic_auth = Some(basic_auth(&dir)),
            AuthType::Bearer => client.bearer_token_file = Some(dir.join("token")),
        }
    }
    if let Some(tls) = spec.tls.as_ref().filter(|_| spec.engine.external.is_none()) {
        client.tls_config.ca_file = Some(secret_dir(&tls.secret_name).join("ca.crt"));
    }
    client
}

fn basic_auth(dir: &std::path::Path) -> BasicAuth {
    BasicAuth {
        username_file: Some(dir.join("username")),
        password_file: Some(dir.join("password")),
        ..BasicAuth::default()
    }
}

fn further_client(spec: &ClientSpec) -> ClientConfig {
    let mut client = ClientConfig {
        name: spec.name.clone(),
        url: spec.url.clone(),
        tenant_id: spec.tenant.clone().unwrap_or_default(),
        headers: spec.headers.clone(),
        external_labels: spec.labels.clone(),
        ..ClientConfig::default()
    };
    client.basic_auth = spec.basic_auth_secret_name.as_deref().map(|secret| basic_auth(&secret_dir(secret)));
    client.bearer_token_file = spec.bearer_secret_name.as_deref().map(|secret| secret_dir(secret).join("token"));
    if let Some(secret) = &spec.tls_secret_name {
        let dir = secret_dir(secret);
        client.tls_config = ClientTls { ca_file: Some(dir.join("ca.crt")), ..ClientTls::default() };
    }
    if let Some(timeout) = spec.timeout {
        client.timeout = go(timeout);
    }
    if let Some(backoff) = &spec.backoff {
        let default = BackoffConfig::default();
        client.backoff_config = BackoffConfig {
            min_period: backoff.min_period.map_or(default.min_period, go),
            max_period: backoff.max_period.map_or(default.max_period, go),
            max_retries: backoff.max_retries.and_then(|retries| u32::try_from(retries).ok()),
        };
    }
    client
}

fn go(duration: PromDuration) -> GoDuration {
    GoDuration::millis(duration.get().as_millis() as u64)
}

/// Jobs for journald and files of the node.
pub fn render_system_jobs(spec: &LogStackSpec) -> Vec<ScrapeConfig> {
    let mut jobs = Vec::new();
    let journal = &spec.collector.system_logs.journal;
    if journal.enabled {
        let labels = BTreeMap::from([("job".to_owned(), "systemd-journal".to_owned())]);
        let label = |source: &str, target: &str| logstack_config::collector::RelabelConfig {
            source_labels: vec![source.to_owned()],
            // `(.+)`: a field that an entry lacks must not delete a label.
            regex: "(.+)".to_owned(),
            target_label: target.to_owned(),
            ..Default::default()
        };
        jobs.push(ScrapeConfig {
            job_name: "system/journal".to_owned(),
            journal: Some(JournalConfig {
                path: journal.path.as_ref().map(PathBuf::from),
                max_age: go(journal.max_age),
                labels,
                ..JournalConfig::default()
            }),
            relabel_configs: vec![
                label("__journal__systemd_unit", "unit"),
                label("__journal__hostname", "node_name"),
                label("__journal_priority_keyword", "level"),
            ],
            ..ScrapeConfig::default()
        });
    }
    for file in &spec.collector.system_logs.files {
        let mut labels = file.labels.clone();
        labels.entry("job".to_owned()).or_insert_with(|| file.name.clone());
        labels.insert("__path__".to_owned(), file.path.clone());
        if let Some(exclude) = &file.exclude {
            labels.insert("__path_exclude__".to_owned(), exclude.clone());
        }
        jobs.push(ScrapeConfig {
            job_name: format!("system/{}", file.name),
            static_configs: vec![StaticConfig { targets: vec!["localhost".to_owned()], labels }],
            ..ScrapeConfig::default()
        });
    }
    jobs
}

/// Parses `extraScrapeConfigs`, each alone, so that one mistake names its own index.
fn extra_jobs(spec: &LogStackSpec, config: &mut CollectorConfig, problems: &mut Vec<Problem>) {
    for (idx, job) in spec.collector.extra_scrape_configs.iter().enumerate() {
        let path = format!("spec.collector.extraScrapeConfigs[{idx}]");
        find_secrets(&Value::Object(job.clone()), &path, problems);
        let probe = serde_json::json!({ "clients": [{ "url": "http://engine" }], "scrape_configs": [job] });
        match serde_yaml::to_value(&probe) {
            Ok(value) => {
                match load_document::<CollectorConfig>(&Document::from_node(Node::from_value(&value), &path)) {
                    Ok((parsed, _)) => config.scrape_configs.extend(parsed.scrape_configs),
                    Err(errors) => problems.extend(errors.errors().map(|finding| {
                        let mut finding = finding.clone();
                        finding.path =
                            finding.path.trim_start_matches("scrape_configs[0]").trim_start_matches('.').to_owned();
                        Problem::from_finding(&path, &finding)
                    })),
                }
            }
            Err(error) => problems.push(Problem::invalid(&path, error.to_string())),
        }
    }
}

/// Names every password that stands in a ConfigMap.
fn find_secrets(value: &Value, path: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = format!("{path}.{key}");
                let is_given = value.as_str().is_some_and(|text| !text.is_empty());
                if SECRET_KEYS.contains(&key.as_str()) && is_given {
                    let text = format!("is a secret in a ConfigMap (hint: mount a Secret and write {key}_file)");
                    problems.push(Problem { path: at, text, reason: Reason::InlineSecret });
                } else {
                    find_secrets(value, &at, problems);
                }
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(idx, item)| find_secrets(item, &format!("{path}[{idx}]"), problems));
        }
        _ => {}
    }
}

/// Lays `extraConfig` over the rendered file.
fn overlay(config: CollectorConfig, spec: &LogStackSpec, problems: &mut Vec<Problem>) -> Option<CollectorConfig> {
    let extra = &spec.collector.extra_config;
    if extra.is_empty() {
        return Some(config);
    }
    let at = "spec.collector.extraConfig";
    find_secrets(&Value::Object(extra.clone()), at, problems);
    let mut extra = extra.clone();
    for key in ["clients", "client", "scrape_configs"] {
        if extra.remove(key).is_none() {
            continue;
        }
        problems.push(Problem {
            path: format!("{at}.{key}"),
            text: "belongs to the spec (hint: use collector.clients or collector.extraScrapeConfigs)".to_owned(),
            reason: Reason::ProtectedKey,
        });
    }
    let values = serde_yaml::to_value(&config).and_then(|base| Ok((base, serde_yaml::to_value(&extra)?)));
    let (base, over) = match values {
        Ok(values) => values,
        Err(error) => {
            problems.push(Problem::invalid(at, error.to_string()));
            return None;
        }
    };
    let mut root = Node::from_value(&base);
    root.overlay(Node::from_value(&over));
    match load_document::<CollectorConfig>(&Document::from_node(root, "extraConfig")) {
        Ok((config, _)) => Some(config),
        Err(errors) => {
            let errors = errors.findings().iter().filter(|finding| finding.severity == Severity::Error);
            problems.extend(errors.map(|finding| Problem::from_finding(at, finding)));
            None
        }
    }
}
