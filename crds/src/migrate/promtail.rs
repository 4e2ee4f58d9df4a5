//! Values of the chart promtail, and Promtail's own file -> `spec.collector` and LogScrapes.

use logstack_config::CollectorConfig;
use logstack_config::collector::{ClientConfig, RelabelConfig, ScrapeConfig, Stage};
use logstack_config::yaml::{Document, Key, Kind, Mark, Node};
use logstack_config::{Severity, load_document};
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::job;
use super::loki::{self, TEMPLATE};
use super::source::{At, Ledger};
use super::template;
use crate::render::standard_rules;

/// Folder of the pods' logs in the charts.
pub(super) const POD_LOGS: &str = "/var/log/pods";

/// Where the entries go when nothing says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// The engine of this LogStack.
    OwnEngine,
    /// A server elsewhere: the file has no Loki.
    Elsewhere,
}

/// Carries the values of loki-stack's `promtail`, or of the chart promtail.
pub(super) fn values(at: &At<'_>, receiver: Receiver, draft: &mut Draft, ledger: &mut Ledger) {
    loki::pods(at, "collector", draft, ledger);
    loki::monitoring(at, draft, ledger);
    // The charts have no built-in gated job: what is collected is what the jobs say.
    draft.set("collector.defaultScrape.enabled", false);
    let Some(config) = at.get("config") else { return default_jobs(at, None, draft, ledger) };
    if config.text().is_some() {
        return ledger.left(&config, TEMPLATE);
    }
    if let Some(file) = config.get("file").filter(|file| !file.is_empty()) {
        // The whole file in the values: everything else is not used by the chart, unless the file's template does.
        if file.text().is_some_and(|text| text.contains(".Values.config.snippets.scrapeConfigs")) {
            ledger.not_needed(&file, "is the chart's own template, made of the values that are read here");
        } else if file.text().is_some() {
            ledger.left(&file, TEMPLATE);
        } else {
            own_file(&file, receiver, draft, ledger);
            return;
        }
    }
    for (key, reason) in [
        ("logLevel", "the collector's own log level: LOGSTACK_LOG in collector.env"),
        ("logFormat", "logs of the collector are JSON or text by the operator"),
        ("serverPort", "the operator chooses the port"),
        ("enabled", "a switch of the chart"),
        ("enableTracing", "the collector writes no traces"),
        ("positions", "positions lie in collector.hostPaths.state"),
    ] {
        if let Some(at) = config.get(key) {
            ledger.not_needed(&at, reason);
        }
    }
    if let Some(address) = config.get("lokiAddress").filter(|address| !address.is_empty()) {
        let client = json!({ "url": address.text().unwrap_or_default() });
        carry_client(&address, &client, receiver, draft, ledger);
    }
    carry_clients(&config, receiver, draft, ledger);
    let snippets = config.get("snippets");
    default_jobs(&config, snippets.as_ref(), draft, ledger);
    for key in ["extraScrapeConfigs", "scrape_configs"] {
        for from in snippets.iter().chain([&config]) {
            if let Some(extra) = from.get(key).filter(|extra| !extra.is_empty()) {
                jobs(&extra, draft, ledger);
            }
        }
    }
    if let Some(snippets) = &snippets {
        settings(snippets, draft, ledger);
    }
}

/// The jobs of the chart: the user's `scrapeConfigs`, or the chart's own with its snippets.
fn default_jobs(config: &At<'_>, snippets: Option<&At<'_>>, draft: &mut Draft, ledger: &mut Ledger) {
    let written = snippets.and_then(|at| at.get("scrapeConfigs")).or_else(|| config.get("scrapeConfigs"));
    let is_written = written.as_ref().is_some_and(|at| !at.is_empty());
    if let Some(written) = written.filter(|_| is_written) {
        let is_evaluated = evaluate(&written, snippets, draft, ledger);
        if !is_evaluated {
            jobs(&written, draft, ledger);
        }
        if let Some(snippets) = snippets.filter(|_| !is_evaluated) {
            for key in ["pipelineStages", "common", "extraRelabelConfigs", "addScrapeJobLabel"] {
                if let Some(at) = snippets.get(key).filter(|at| !at.is_empty()) {
                    ledger.not_needed(&at, "is used by the chart's own scrapeConfigs only, which are replaced");
                }
            }
        }
        return;
    }
    let get = |key: &str| snippets.and_then(|at| at.get(key)).filter(|at| !at.is_empty());
    // The chart's rules: four, then `common`, then the user's.
    let standard = standard_rules(POD_LOGS);
    let mut rules: Vec<RelabelConfig> = standard.iter().take(4).cloned().collect();
    let mut job = ScrapeConfig { job_name: "kubernetes-pods".to_owned(), ..ScrapeConfig::default() };
    if let Some(at) = get("addScrapeJobLabel") {
        if at.bool() == Some(true) {
            rules.push(RelabelConfig {
                target_label: "scrape_job".to_owned(),
                replacement: "kubernetes-pods".to_owned(),
                ..RelabelConfig::default()
            });
        }
        ledger.carried(&at, "LogScrape kubernetes-pods, spec.relabelings");
    }
    match get("common") {
        Some(at) => rules.extend(list::<RelabelConfig>(&at, "relabel_configs", ledger, |job| job.relabel_configs)),
        None => rules.extend(standard.iter().skip(4).cloned()),
    }
    if let Some(at) = get("extraRelabelConfigs") {
        rules.extend(list::<RelabelConfig>(&at, "relabel_configs", ledger, |job| job.relabel_configs));
    }
    job.relabel_configs = rules;
    job.pipeline_stages = match get("pipelineStages") {
        Some(at) => list::<Stage>(&at, "pipeline_stages", ledger, |job| job.pipeline_stages),
        None => vec![Stage::Cri(Default::default())],
    };
    let name = job::pods(&job, config, draft, ledger);
    ledger.remark(config, format!("LogScrape {name} (the chart's own job kubernetes-pods)"));
}

/// Carries the jobs of a template that is made of snippets, as the chart's own is; false: it is no such template.
fn evaluate(written: &At<'_>, snippets: Option<&At<'_>>, draft: &mut Draft, ledger: &mut Ledger) -> bool {
    const SNIPPETS: &str = "config.snippets.";
    let Some(text) = written.text().filter(|text| text.contains("{{")) else { return false };
    let value = |path: &str| {
        let key = path.strip_prefix(SNIPPETS).unwrap_or_default();
        match (snippets.and_then(|at| at.get(key)), key) {
            (Some(at), _) => at.value(),
            // What the chart has there unless told otherwise.
            (None, "pipelineStages") => json!([{ "cri": {} }]),
            (None, "common") => json!(standard_rules(POD_LOGS).get(4..)),
            (None, _) => Value::Null,
        }
    };
    // Values outside of the snippets are not all known here.
    let asks_for_others = text.split(".Values.").skip(1).any(|rest| !rest.starts_with(SNIPPETS));
    let Some(rendered) = template::render(text, &value).filter(|_| !asks_for_others) else { return false };
    let document = Document::parse(&rendered, &written.place().file);
    if !document.mistakes().is_empty() {
        return false;
    }
    for item in written.items_of(document.root()) {
        match read_job(item.node) {
            Ok(config) => job::carry(&config, &item, draft, ledger),
            Err(reasons) => ledger.left(&item, format!("is left out: {reasons}")),
        }
    }
    ledger.carried(written, "LogScrapes (the template, with the snippets put in)");
    for key in ["pipelineStages", "common", "extraRelabelConfigs", "addScrapeJobLabel"] {
        let Some(at) = snippets.and_then(|at| at.get(key)).filter(|at| !at.is_empty()) else { continue };
        match text.contains(&format!(".Values.{SNIPPETS}{key}")) {
            true => ledger.carried(&at, "where scrapeConfigs puts it in"),
            false => ledger.not_needed(&at, "is not put in by scrapeConfigs"),
        }
    }
    true
}

/// A list of rules or stages, read as a part of a job.
fn list<T>(at: &At<'_>, key: &str, ledger: &mut Ledger, take: fn(ScrapeConfig) -> Vec<T>) -> Vec<T> {
    let job = wrap("static_configs", Node { at: Mark::default(), kind: Kind::Sequence(Vec::new()) });
    let Kind::Mapping(mut entries) = job.kind else { return Vec::new() };
    entries.push((Key { text: key.to_owned(), at: Mark::default() }, at.node.clone()));
    let node = Node { at: Mark::default(), kind: Kind::Mapping(entries) };
    match read_job(&node) {
        Ok(job) => {
            ledger.carried(at, "LogScrape kubernetes-pods");
            take(job)
        }
        Err(reasons) => {
            ledger.left(at, reasons);
            Vec::new()
        }
    }
}

fn wrap(key: &str, node: Node) -> Node {
    let key = Key { text: key.to_owned(), at: Mark::default() };
    Node { at: Mark::default(), kind: Kind::Mapping(vec![(key, node)]) }
}

/// One job with the collector's own reader, or everything that is wrong with it. A name and a source are not missed.
fn read_job(node: &Node) -> Result<ScrapeConfig, String> {
    let jobs = wrap("scrape_configs", Node { at: node.at, kind: Kind::Sequence(vec![node.clone()]) });
    let Kind::Mapping(mut entries) = jobs.kind else { return Ok(ScrapeConfig::default()) };
    let client = Node::from_value(&serde_yaml::Value::Sequence(vec![serde_yaml::Value::Mapping(
        [("url".into(), "http://engine".into())].into_iter().collect(),
    )]));
    entries.push((Key { text: "clients".to_owned(), at: Mark::default() }, client));
    if let Some((_, Node { kind: Kind::Sequence(jobs), .. })) = entries.first_mut()
        && let Some(Node { kind: Kind::Mapping(job), .. }) = jobs.first_mut()
        && !job.iter().any(|(key, _)| key.text == "job_name")
    {
        let name = Node::from_value(&serde_yaml::Value::from("job"));
        job.push((Key { text: "job_name".to_owned(), at: Mark::default() }, name));
    }
    let document = Document::from_node(Node { at: Mark::default(), kind: Kind::Mapping(entries) }, "");
    match load_document::<CollectorConfig>(&document) {
        Ok((mut config, _)) => Ok(config.scrape_configs.pop().unwrap_or_default()),
        Err(errors) => {
            let text = |finding: &logstack_config::Finding| {
                let path = finding.path.trim_start_matches("scrape_configs[0]").trim_start_matches('.');
                let remedy = finding.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
                format!("{path}: {}{remedy}", finding.reason)
            };
            let errors = errors.findings().iter().filter(|finding| finding.severity == Severity::Error);
            Err(errors.map(text).collect::<Vec<_>>().join("; "))
        }
    }
}

/// Carries a list of jobs.
fn jobs(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    if at.text().is_some() {
        return ledger.left(at, TEMPLATE);
    }
    for item in at.items() {
        match read_job(item.node) {
            Ok(config) => job::carry(&config, &item, draft, ledger),
            Err(reasons) => ledger.left(&item, format!("is left out: {reasons}")),
        }
    }
}

/// Carries Promtail's own file.
pub(super) fn own_file(root: &At<'_>, receiver: Receiver, draft: &mut Draft, ledger: &mut Ledger) {
    draft.set("collector.defaultScrape.enabled", false);
    carry_clients(root, receiver, draft, ledger);
    if let Some(client) = root.get("client") {
        let value = client.value();
        carry_client(&client, &value, receiver, draft, ledger);
    }
    if let Some(at) = root.get("scrape_configs") {
        jobs(&at, draft, ledger);
    }
    for (key, reason) in [
        ("server", "the operator chooses the port; the collector's own log level: LOGSTACK_LOG in collector.env"),
        ("positions", "positions lie in collector.hostPaths.state"),
        ("tracing", "the collector writes no traces"),
    ] {
        if let Some(at) = root.get(key) {
            ledger.not_needed(&at, reason);
        }
    }
    for key in ["limits_config", "target_config", "global", "wal", "options", "collector"] {
        if let Some(at) = root.get(key).filter(|at| !at.is_empty()) {
            extra(key, &at, draft, ledger);
        }
    }
}

/// Snippets that are blocks of the file.
fn settings(snippets: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    if let Some(at) = snippets.get("extraLimitsConfig").filter(|at| !at.is_empty()) {
        if at.text().is_some() {
            ledger.left(&at, TEMPLATE);
        } else {
            extra("limits_config", &at, draft, ledger);
        }
    }
    if let Some(at) = snippets.get("extraServerConfigs").filter(|at| !at.is_empty()) {
        ledger.not_needed(
            &at,
            "the operator chooses the port; the collector's own log level: LOGSTACK_LOG in collector.env",
        );
    }
    if let Some(at) = snippets.get("extraClientConfigs").filter(|at| !at.is_empty()) {
        ledger.left(&at, "the chart puts it beside its clients: write it into collector.clients");
    }
}

/// A block of the file that has no field in the spec.
fn extra(key: &str, at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    let document = Document::from_node(wrap(key, at.node.clone()), "");
    let errors = match load_document::<CollectorConfig>(&document) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors().filter(|error| error.path.starts_with(key)).map(ToString::to_string).collect(),
    };
    if errors.is_empty() {
        let path = format!("collector.extraConfig.{key}");
        draft.set(&path, at.value());
        ledger.carried(at, format!("spec.{path}"));
    } else {
        ledger.left(at, errors.join("; "));
    }
}

fn carry_clients(config: &At<'_>, receiver: Receiver, draft: &mut Draft, ledger: &mut Ledger) {
    let Some(clients) = config.get("clients") else { return };
    if clients.text().is_some() {
        return ledger.left(&clients, TEMPLATE);
    }
    for client in clients.items() {
        let value = client.value();
        carry_client(&client, &value, receiver, draft, ledger);
    }
}

/// True for the URL of a Loki in the same cluster: the one that this LogStack takes the place of.
fn is_own_loki(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let name = host.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let is_local = !name.contains('.')
        || name.ends_with(".svc")
        || name.ends_with(".svc.cluster.local")
        || name.split('.').count() == 2;
    host.contains("{{") || (name.contains("loki") && is_local)
}

fn carry_client(at: &At<'_>, value: &Value, receiver: Receiver, draft: &mut Draft, ledger: &mut Ledger) {
    let url = value["url"].as_str().unwrap_or_default().to_owned();
    if url.is_empty() {
        return ledger.left(at, "has no url");
    }
    let is_first = draft.get("collector.clients").is_none() && draft.get("engine.external").is_none();
    if receiver == Receiver::Elsewhere && is_first {
        let base = url.trim_end_matches("/loki/api/v1/push").trim_end_matches("/api/prom/push");
        if base.contains("{{") {
            return ledger.left(at, "holds a Helm template: write the server's address into spec.engine.external.url");
        }
        draft.set("engine.external.url", base);
        return engine_client(at, value, "spec.engine.external.url", draft, ledger);
    }
    if receiver == Receiver::OwnEngine && is_own_loki(&url) {
        return engine_client(at, value, "the stack's own engine", draft, ledger);
    }
    let number = draft.get("collector.clients").and_then(Value::as_array).map_or(1, |clients| clients.len() + 1);
    let name = value["name"].as_str().map_or_else(|| format!("client-{number}"), str::to_owned);
    let mut client = Map::from_iter([("name".to_owned(), name.into()), ("url".to_owned(), url.into())]);
    let mut missed = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "url" | "name" => {}
            "tenant_id" => drop(client.insert("tenant".to_owned(), value.clone())),
            "external_labels" => drop(client.insert("labels".to_owned(), value.clone())),
            "headers" => drop(client.insert("headers".to_owned(), value.clone())),
            "timeout" => drop(client.insert("timeout".to_owned(), value.clone())),
            "backoff_config" => {
                let names = [("min_period", "minPeriod"), ("max_period", "maxPeriod"), ("max_retries", "maxRetries")];
                let backoff =
                    names.iter().filter_map(|(own, name)| Some(((*name).to_owned(), value.get(own)?.clone())));
                client.insert("backoff".to_owned(), backoff.collect::<Map<_, _>>().into());
            }
            key => missed.push(missed_key(key, value)),
        }
    }
    draft.push("collector.clients", client.into());
    said(at, "spec.collector.clients", missed, ledger);
}

/// The client whose place the stack's own takes: labels and tenant go on.
fn engine_client(at: &At<'_>, value: &Value, to: &str, draft: &mut Draft, ledger: &mut Ledger) {
    let mut missed = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "url" | "name" => {}
            "external_labels" if value.is_object() => draft.set("collector.labels", value.clone()),
            "tenant_id" => {
                draft.set("tenancy.mode", "Multi");
                draft.set("tenancy.defaultTenant", value.clone());
            }
            "batchwait" | "batchsize" | "timeout" | "backoff_config" if is_default(key, value) => {}
            key => missed.push(missed_key(key, value)),
        }
    }
    said(at, to, missed, ledger);
}

/// True when the collector would do the same unasked.
fn is_default(key: &str, value: &Value) -> bool {
    let given = serde_json::from_value::<ClientConfig>(json!({ "url": "http://engine", key: value }));
    let default = ClientConfig { url: "http://engine".to_owned(), ..ClientConfig::default() };
    given.is_ok_and(|given| given == default)
}

fn missed_key(key: &str, value: &Value) -> String {
    match key {
        "basic_auth" => "basic_auth (make a Secret with username and password, name it in basicAuthSecretName or auth.clientSecretName)".to_owned(),
        "bearer_token" | "bearer_token_file" | "authorization" => format!("{key} (make a Secret with token, name it in bearerSecretName or auth.clientSecretName)"),
        "tls_config" => "tls_config (make a Secret with ca.crt, name it in tlsSecretName or tls.secretName)".to_owned(),
        _ => format!("{key}: {value}"),
    }
}

fn said(at: &At<'_>, to: &str, missed: Vec<String>, ledger: &mut Ledger) {
    if missed.is_empty() {
        ledger.carried(at, to);
    } else {
        ledger.left(at, format!("goes to {to}, but without {}", missed.join(", ")));
    }
}
