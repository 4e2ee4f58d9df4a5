//! What holds for a collector's configuration beyond its types.

use std::collections::HashMap;

use super::http::HttpClient;
use super::stage::check_stages;
use super::{
    ClientConfig, CollectorConfig, CollectorServer, DiskBuffer, JobsFile, KubernetesSd, MetadataSource, RelabelAction,
    RelabelConfig, Role, ScrapeConfig, Source,
};
use crate::engine::{ClientAuth, LogFormat};
use crate::load::Root;
use crate::units::{ByteSize, GoDuration};
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
        self.check_buffer(report);
        if self.collector.metadata_source == MetadataSource::Kubelet {
            report.warning("collector.metadata_source", "has no effect: the API server is asked");
        }
        check_server(&self.server, "server", report);
        if self.server.log_format != LogFormat::Logfmt {
            report.warning(
                "server.log_format",
                "has no effect (hint: write --log-format json on the command line, or set LOGSTACK_LOG_FORMAT)",
            );
        }
        if self.server.profiling_enabled {
            report.warning("server.profiling_enabled", "has no effect: no profiles are served");
        }
        if self.target_config.stdin {
            report.warning("target_config.stdin", "has no effect (hint: run with --stdin)");
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
    fn check_buffer(&self, report: &mut Report<'_>) {
        let (own, is_wal) = (&self.collector.disk_buffer, self.wal.enabled);
        if is_wal && self.wal.dir.is_none() && own.dir.is_none() {
            report.error("wal.dir", "is needed with wal.enabled: true");
        }
        if is_wal && own.dir.is_some() && self.wal.dir.as_ref().is_some_and(|dir| own.dir.as_ref() != Some(dir)) {
            report.warning("wal.dir", "is ignored: collector.disk_buffer.dir names the folder");
        }
        if !is_wal && own.dir.is_none() {
            if *own != DiskBuffer::default() {
                report.error("collector.disk_buffer", "needs the key dir");
            }
            return;
        }
        if own.max_bytes < ByteSize::mib(1) {
            report.error("collector.disk_buffer.max_bytes", format!("{} is below 1MiB", own.max_bytes));
        }
        let (key, age) = match own.dir {
            Some(_) => ("collector.disk_buffer.max_age", own.max_age),
            None => ("wal.cleanSegmentsOlderThan", self.wal.clean_segments_older_than),
        };
        if age < GoDuration::minutes(1) {
            report.error(key, format!("{age} is shorter than 1m: entries would not outlive a restart of the server"));
        }
    }

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
        if let Some(push) = &job.loki_push_api {
            check_push_server(&push.server, &format!("{path}.loki_push_api.server"), report);
        }
        if let Some(decompression) = job.decompression.as_ref().filter(|d| d.enabled)
            && !matches!(decompression.format.as_str(), "gz" | "bz2" | "z")
        {
            let text = format!("{:?} is not one of gz, bz2, z", decompression.format);
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

/// A `server` block: the collector's own, or that of a push receiver.
fn check_server(server: &CollectorServer, path: &str, report: &mut Report<'_>) {
    let tls = &server.http_tls_config;
    let has_key = tls.key_file.is_some() || !tls.key.is_empty();
    if tls.is_enabled() != has_key {
        report.error(format!("{path}.http_tls_config"), "names a certificate or a key alone (hint: TLS needs both)");
    }
    let auth_at = format!("{path}.http_tls_config.client_auth_type");
    match tls.client_auth_type {
        ClientAuth::RequireAnyClientCert => {
            report.error(auth_at, "is not supported: it verifies nothing (hint: RequireAndVerifyClientCert)");
        }
        ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert
            if tls.client_ca_file.is_none() && tls.client_ca.is_empty() =>
        {
            report.error(auth_at, "verifies client certificates without an authority (hint: set client_ca_file)");
        }
        _ => {}
    }
    match server.tls_min_version.as_str() {
        "" | "VersionTLS12" | "VersionTLS13" => {}
        "VersionTLS10" | "VersionTLS11" => {
            report.warning(format!("{path}.tls_min_version"), "is raised to VersionTLS12: older ones are broken");
        }
        other => {
            report.error(format!("{path}.tls_min_version"), format!("{other:?} is not VersionTLS12 or VersionTLS13"))
        }
    }
    let defaults = CollectorServer::default();
    let reads = [
        ("http_server_read_timeout", server.http_server_read_timeout != defaults.http_server_read_timeout),
        (
            "http_server_read_header_timeout",
            server.http_server_read_header_timeout != defaults.http_server_read_header_timeout,
        ),
    ];
    for (key, _) in reads.into_iter().filter(|(_, is_given)| *is_given) {
        let text = "has no effect: a connection on which nothing comes for http_server_idle_timeout is closed";
        report.warning(format!("{path}.{key}"), text);
    }
}

/// Keys of a push receiver's `server` that only the collector's own has a use for.
fn check_push_server(server: &CollectorServer, path: &str, report: &mut Report<'_>) {
    check_server(server, path, report);
    let defaults = CollectorServer::default();
    let idle = [
        ("register_instrumentation", server.register_instrumentation != defaults.register_instrumentation),
        ("profiling_enabled", server.profiling_enabled != defaults.profiling_enabled),
        ("log_level", server.log_level != defaults.log_level),
        ("log_format", server.log_format != defaults.log_format),
        ("external_url", server.external_url != defaults.external_url),
        ("health_check_target", server.health_check_target.is_some()),
        ("disable", server.disable),
        ("enable_runtime_reload", server.enable_runtime_reload),
        ("graceful_shutdown_timeout", server.graceful_shutdown_timeout != defaults.graceful_shutdown_timeout),
    ];
    for (key, _) in idle.into_iter().filter(|(_, is_given)| *is_given) {
        report.warning(format!("{path}.{key}"), "has no effect here: it is the collector's own server's");
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
    let mut proxies = vec![(format!("{path}.proxy_connect_header"), http.proxy_connect_header)];
    if let Some(oauth) = http.oauth2 {
        proxies.push((format!("{path}.oauth2.proxy_connect_header"), &oauth.proxy_connect_header));
        if !oauth.no_proxy.is_empty() {
            report.warning(format!("{path}.oauth2.no_proxy"), "has no effect: proxy_url is for the one token server");
        }
        if oauth.proxy_from_environment {
            report.warning(format!("{path}.oauth2.proxy_from_environment"), "has no effect (hint: write proxy_url)");
        }
    }
    for (at, _) in proxies.into_iter().filter(|(_, header)| !header.is_empty()) {
        report.warning(at, "has no effect (hint: write user:password@ into proxy_url)");
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
    let versions = [("min_version", &tls.min_version), ("max_version", &tls.max_version)];
    for (key, version) in versions {
        if !matches!(version.as_str(), "" | "TLS10" | "TLS11" | "TLS12" | "TLS13") {
            let text = format!("{version:?} is not one of TLS10, TLS11, TLS12, TLS13");
            report.error(format!("{path}.tls_config.{key}"), text);
        }
    }
}

fn check_kubernetes(sd: &KubernetesSd, path: &str, report: &mut Report<'_>) {
    match sd.role {
        None => report.error(path, "needs the key role (hint: role: pod)"),
        Some(Role::Pod | Role::Node) => {}
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
