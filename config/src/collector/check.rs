//! What holds for a collector's configuration beyond its types.

use std::collections::HashMap;

use super::http::HttpClient;
use super::stage::check_stages;
use super::{
    ClientConfig, CollectorConfig, JobsFile, KubernetesSd, MetadataSource, RelabelAction, RelabelConfig, Role,
    ScrapeConfig, Source,
};
use crate::load::Root;
use crate::yaml::{Report, Rules};

impl Root for CollectorConfig {
    fn rules() -> &'static Rules {
        &super::known::RULES
    }

    fn check(&self, report: &mut Report<'_>) {
        self.check_clients(report);
        check_jobs(&self.scrape_configs, self.collector.skip_unsupported_jobs, report);
        if self.limits_config.readline_rate_enabled && self.limits_config.readline_rate <= 0.0 {
            report.error("limits_config.readline_rate", "is not above 0");
        }
        if self.wal.enabled && self.wal.dir.is_none() && self.collector.disk_buffer.dir.is_none() {
            report.error("wal.dir", "is needed with wal.enabled: true");
        }
        let in_memory = "has no effect: entries of receivers wait in memory, senders are told to wait";
        if self.wal.enabled {
            report.warning("wal.enabled", in_memory);
        }
        if self.collector.disk_buffer.dir.is_some() {
            report.warning("collector.disk_buffer.dir", in_memory);
        }
        if self.collector.metadata_source == MetadataSource::Kubelet {
            report.warning("collector.metadata_source", "has no effect: the API server is asked");
        }
        if self.server.http_tls_config != Default::default() {
            report.warning("server.http_tls_config", "has no effect: the collector's own pages are served without TLS");
        }
        let rate = self.collector.per_container_rate.as_ref();
        if rate.is_some_and(|rate| rate.lines == 0 && rate.bytes.is_zero()) {
            report.error("collector.per_container_rate", "needs one of the keys lines, bytes");
        }
    }
}

impl Root for JobsFile {
    fn rules() -> &'static Rules {
        &super::known::RULES
    }

    fn check(&self, report: &mut Report<'_>) {
        check_jobs(&self.scrape_configs, false, report);
    }
}

impl CollectorConfig {
    fn check_clients(&self, report: &mut Report<'_>) {
        if self.all_clients().next().is_none() {
            report.error(
                "clients",
                "names nobody to send to (hint: clients: [{url: http://host:3100/loki/api/v1/push}])",
            );
        }
        let legacy = self.client.iter().map(|client| ("client".to_owned(), client));
        let listed = self.clients.iter().enumerate().map(|(idx, client)| (format!("clients[{idx}]"), client));
        let mut names: HashMap<&str, String> = HashMap::new();
        for (path, client) in legacy.chain(listed) {
            check_client(client, &path, report);
            if client.name.is_empty() {
                continue;
            }
            if let Some(other) = names.insert(&client.name, path.clone()) {
                report.error(format!("{path}.name"), format!("{:?} is also the name of {other}", client.name));
            }
        }
    }
}

fn check_jobs(jobs: &[ScrapeConfig], skip_unsupported: bool, report: &mut Report<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (idx, job) in jobs.iter().enumerate() {
        let path = format!("scrape_configs[{idx}]");
        if job.job_name.is_empty() {
            report.error(&path, "needs the key job_name");
        } else if let Some(other) = names.insert(&job.job_name, idx) {
            let text = format!("{:?} is also the name of scrape_configs[{other}]", job.job_name);
            report.error(format!("{path}.job_name"), text);
        }
        check_source(job, &path, skip_unsupported, report);
        check_relabelings(&job.relabel_configs, &format!("{path}.relabel_configs"), report);
        check_stages(&job.pipeline_stages, &format!("{path}.pipeline_stages"), report);
        for (idx, sd) in job.kubernetes_sd_configs.iter().enumerate() {
            check_kubernetes(sd, &format!("{path}.kubernetes_sd_configs[{idx}]"), report);
        }
        if let Some(syslog) = job.syslog.as_ref().filter(|syslog| syslog.listen_address.is_empty()) {
            debug_assert!(syslog.listen_address.is_empty());
            report.error(format!("{path}.syslog"), "needs the key listen_address");
        }
        if let Some(decompression) = job.decompression.as_ref().filter(|d| d.enabled)
            && !matches!(decompression.format.as_str(), "gz" | "z")
        {
            let text = format!("{:?} is not one of gz, z", decompression.format);
            report.error(format!("{path}.decompression.format"), text);
        }
        check_path(job, &path, report);
    }
}

fn check_source(job: &ScrapeConfig, path: &str, skip_unsupported: bool, report: &mut Report<'_>) {
    let sources = job.sources();
    let Some(&(chosen, source)) = sources.first() else {
        report.warning(path, "has no source and reads nothing (hint: add static_configs)");
        return;
    };
    for (key, other) in &sources[1..] {
        if *other != source {
            report.warning(format!("{path}.{key}"), format!("is ignored: the job reads {chosen}"));
        }
    }
    let unsupported = match source {
        Source::Unsupported(key) => Some(key),
        Source::Docker => Some(chosen),
        _ => None,
    };
    if let Some(key) = unsupported {
        let hint = match key {
            "docker_sd_configs" => {
                "read /var/lib/docker/containers/*/*-json.log with static_configs and the docker stage"
            }
            "windows_events" => "this collector runs on Linux",
            _ if key.ends_with("_sd_configs") => {
                "a node's collector finds files and pods; list files in file_sd_configs"
            }
            _ => "run it elsewhere: one puller per node would multiply reads",
        };
        let text = format!("is no source of a node's collector (hint: {hint})");
        match skip_unsupported {
            true => report.warning(format!("{path}.{key}"), text),
            false => report.error(format!("{path}.{key}"), text),
        }
    }
}

fn check_client(client: &ClientConfig, path: &str, report: &mut Report<'_>) {
    if client.url.is_empty() {
        report.error(path, "needs the key url");
    } else if !["http://", "https://"].iter().any(|scheme| client.url.starts_with(scheme)) {
        let text = format!("{:?} is not a URL (hint: write http://host:3100/loki/api/v1/push)", client.redacted_url());
        report.error(format!("{path}.url"), text);
    }
    check_http(client.http_client(), path, report);
    if client.backoff_config.min_period > client.backoff_config.max_period {
        report.error(format!("{path}.backoff_config.min_period"), "is longer than max_period");
    }
    if client.backoff_config.min_period.is_zero() {
        report.warning(format!("{path}.backoff_config.min_period"), "is 0: retries do not wait (hint: write 500ms)");
    }
}

fn check_http(http: HttpClient<'_>, path: &str, report: &mut Report<'_>) {
    let ways = http.authentications();
    if ways.len() > 1 {
        report.error(path, format!("authenticates in {} ways: {} (hint: keep one)", ways.len(), ways.join(", ")));
    }
    if let Some(basic) = http.basic_auth {
        let both = [
            ("username", !basic.username.is_empty() && basic.username_file.is_some()),
            ("password", !basic.password.is_empty() && basic.password_file.is_some()),
        ];
        for (key, _) in both.into_iter().filter(|(_, both)| *both) {
            report.error(format!("{path}.basic_auth.{key}"), format!("stands beside {key}_file (hint: keep one)"));
        }
    }
    if let Some(oauth) = http.oauth2
        && (oauth.client_id.is_empty() || oauth.token_url.is_empty())
    {
        report.error(format!("{path}.oauth2"), "needs the keys client_id and token_url");
    }
    if let Some(authorization) = http.authorization
        && authorization.kind.eq_ignore_ascii_case("basic")
    {
        report.error(format!("{path}.authorization.type"), "cannot be basic (hint: use basic_auth)");
    }
    let tls = http.tls_config;
    let has_cert = tls.cert_file.is_some() || !tls.cert.is_empty();
    let has_key = tls.key_file.is_some() || !tls.key.is_empty();
    if has_cert != has_key {
        report.error(format!("{path}.tls_config"), "names a certificate or a key alone (hint: TLS needs both)");
    }
}

fn check_kubernetes(sd: &KubernetesSd, path: &str, report: &mut Report<'_>) {
    match sd.role {
        None => report.error(path, "needs the key role (hint: role: pod)"),
        Some(Role::Pod) => {}
        Some(_) => {
            report.warning(format!("{path}.role"), "finds nothing: no local file belongs to it (hint: role: pod)")
        }
    }
    if sd.kubeconfig_file.is_some() && !sd.api_server.is_empty() {
        report.error(format!("{path}.kubeconfig_file"), "stands beside api_server (hint: keep one)");
    }
    let http = sd.http_client();
    if sd.api_server.is_empty() && !http.authentications().is_empty() {
        report.error(path, "authenticates without api_server (hint: the service account needs no keys)");
    }
    check_http(http, path, report);
    for (idx, selector) in sd.selectors.iter().enumerate() {
        if selector.role.is_none() {
            report.error(format!("{path}.selectors[{idx}]"), "needs the key role");
        }
    }
}

/// Warns of a file job whose targets can have no `__path__`.
fn check_path(job: &ScrapeConfig, path: &str, report: &mut Report<'_>) {
    let makes_path = |rule: &RelabelConfig| match rule.action {
        RelabelAction::LabelMap => true,
        _ => rule.target_label == "__path__" || rule.target_label.contains('$'),
    };
    if job.source() != Some(Source::Files) || job.relabel_configs.iter().any(makes_path) {
        return;
    }
    let text = "has no __path__ and reads nothing";
    for (idx, config) in job.static_configs.iter().enumerate() {
        if !config.labels.contains_key("__path__") {
            let hint = "(hint: labels: {__path__: /var/log/*.log})";
            report.warning(format!("{path}.static_configs[{idx}]"), format!("{text} {hint}"));
        }
    }
    if !job.kubernetes_sd_configs.is_empty() {
        let hint = "(hint: a rule must set it to /var/log/pods/*<pod uid>/<container>/*.log)";
        report.warning(format!("{path}.relabel_configs"), format!("{text} {hint}"));
    }
}

/// Checks relabelling rules that stand at `path`. Regular expressions are the collector's to compile.
pub fn check_relabelings(rules: &[RelabelConfig], path: &str, report: &mut Report<'_>) {
    for (idx, rule) in rules.iter().enumerate() {
        let at = format!("{path}[{idx}]");
        for text in relabel_mistakes(rule) {
            report.error(&at, text);
        }
    }
}

/// Source: collector contract, section 2.4, column "needs".
fn relabel_mistakes(rule: &RelabelConfig) -> Vec<&'static str> {
    use RelabelAction::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
    let mut mistakes = Vec::new();
    let needs_target = matches!(rule.action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
    if needs_target && rule.target_label.is_empty() {
        mistakes.push("needs the key target_label for this action");
    }
    let own_replacement = rule.replacement != RelabelConfig::REPLACEMENT;
    let own_regex = rule.regex != RelabelConfig::REGEX;
    let own_separator = rule.separator != RelabelConfig::SEPARATOR;
    match rule.action {
        HashMod if rule.modulus == 0 => mistakes.push("needs the key modulus, above 0, for this action"),
        Lowercase | Uppercase if own_replacement => mistakes.push("must not have a replacement for this action"),
        KeepEqual | DropEqual if own_regex || own_separator || own_replacement || rule.modulus != 0 => {
            mistakes.push("must have no other keys than source_labels and target_label for this action");
        }
        LabelDrop | LabelKeep => {
            let others = own_separator || own_replacement || rule.modulus != 0;
            if others || !rule.target_label.is_empty() || !rule.source_labels.is_empty() {
                mistakes.push("must have no other key than regex for this action");
            }
        }
        LabelMap if rule.replacement.is_empty() => mistakes.push("needs a replacement for this action"),
        _ => {}
    }
    mistakes
}

/// True for `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
