//! Promtail-shaped configuration to what the rooms of the collector work with.

use std::time::Duration;

use logstack_config::CollectorConfig;
use logstack_config::collector::{ClientConfig, RelabelAction, RelabelConfig, ScrapeConfig, StaticConfig};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::discovery::Target;
use crate::discovery::glob::PathGlob;
use crate::discovery::relabel::{Action, LabelMap, Rule, compile_regex, public_labels, relabel};
use crate::ship::backoff::Backoff;
use crate::ship::client::ClientSettings;
use crate::tail::TailSettings;

/// A part of the configuration that cannot be used. Names the key and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Error {
    key: String,
    reason: String,
}

impl Error {
    fn new(key: impl Into<String>, reason: impl ToString) -> Self {
        Self { key: key.into(), reason: reason.to_string() }
    }
}

/// How files are read.
pub fn tail(config: &CollectorConfig) -> TailSettings {
    TailSettings {
        sync_period: config.target_config.sync_period.get(),
        line_bytes_max: config.collector.max_line_bytes.as_usize(),
        positions_file: Some(config.positions.filename.clone()),
        positions_period: config.positions.sync_period.get(),
    }
}

/// Where entries go.
pub fn clients(config: &CollectorConfig) -> Result<Vec<ClientSettings>, Error> {
    config.all_clients().enumerate().map(|(idx, client)| client_settings(idx, client)).collect()
}

fn client_settings(idx: usize, client: &ClientConfig) -> Result<ClientSettings, Error> {
    let key = |name: &str| format!("clients[{idx}].{name}");
    let url = client.url.parse().map_err(|err| Error::new(key("url"), err))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &client.headers {
        let name: HeaderName = name.parse().map_err(|err| Error::new(key("headers"), err))?;
        let value: HeaderValue = value.parse().map_err(|err| Error::new(key("headers"), err))?;
        headers.insert(name, value);
    }
    Ok(ClientSettings {
        name: if client.name.is_empty() { idx.to_string() } else { client.name.clone() },
        url,
        tenant: (!client.tenant_id.is_empty()).then(|| client.tenant_id.clone()),
        headers,
        timeout: client.timeout.get(),
        backoff: Backoff {
            min: client.backoff_config.min_period.get().max(Duration::from_millis(1)),
            max: client.backoff_config.max_period.get(),
        },
        attempts_max: client.backoff_config.max_retries.filter(|retries| *retries > 0),
        batch_bytes: client.batchsize.as_usize(),
        batch_wait: client.batchwait.get(),
    })
}

/// The static targets of all jobs, relabelled.
pub fn static_targets(config: &CollectorConfig) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    for (job_idx, job) in config.scrape_configs.iter().enumerate() {
        let rules = rules(job, job_idx)?;
        for (idx, group) in job.static_configs.iter().enumerate() {
            let key = format!("scrape_configs[{job_idx}].static_configs[{idx}].labels");
            targets.extend(static_target(job, job_idx, group, &rules, &key)?);
        }
    }
    Ok(targets)
}

fn static_target(
    job: &ScrapeConfig,
    job_idx: usize,
    group: &StaticConfig,
    rules: &[Rule],
    key: &str,
) -> Result<Option<Target>, Error> {
    let mut labels: LabelMap = group.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if !relabel(rules, &mut labels) {
        return Ok(None);
    }
    let glob = |name: &str| match labels.get(name) {
        Some(pattern) => PathGlob::new(pattern).map(Some).map_err(|err| Error::new(format!("{key}.{name}"), err)),
        None => Ok(None),
    };
    let path = glob("__path__")?.ok_or_else(|| Error::new(key, "needs __path__, the files to read"))?;
    let exclude = glob("__path_exclude__")?;
    let archive = job.decompression.as_ref().is_some_and(|decompression| decompression.enabled);
    Ok(Some(Target { job_idx, labels: public_labels(&labels), path, exclude, archive }))
}

fn rules(job: &ScrapeConfig, job_idx: usize) -> Result<Vec<Rule>, Error> {
    let compile = |(idx, config): (usize, &RelabelConfig)| {
        let regex = compile_regex(&config.regex)
            .map_err(|err| Error::new(format!("scrape_configs[{job_idx}].relabel_configs[{idx}].regex"), err))?;
        Ok(Rule {
            source_labels: config.source_labels.clone(),
            separator: config.separator.clone(),
            regex,
            target_label: config.target_label.clone(),
            replacement: config.replacement.clone(),
            action: action(config),
        })
    };
    job.relabel_configs.iter().enumerate().map(compile).collect()
}

fn action(config: &RelabelConfig) -> Action {
    match config.action {
        RelabelAction::Replace => Action::Replace,
        RelabelAction::Keep => Action::Keep,
        RelabelAction::Drop => Action::Drop,
        RelabelAction::KeepEqual => Action::KeepEqual,
        RelabelAction::DropEqual => Action::DropEqual,
        RelabelAction::HashMod => Action::HashMod { modulus: config.modulus.max(1) },
        RelabelAction::LabelMap => Action::LabelMap,
        RelabelAction::LabelDrop => Action::LabelDrop,
        RelabelAction::LabelKeep => Action::LabelKeep,
        RelabelAction::Lowercase => Action::Lowercase,
        RelabelAction::Uppercase => Action::Uppercase,
    }
}
