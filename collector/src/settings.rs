//! Promtail-shaped configuration to what the rooms of the collector work with.

use std::sync::Arc;
use std::time::Duration;

use logstack_config::CollectorConfig;
use logstack_config::collector::{
    self as config, BasicAuth, BufferSources, ClientConfig, FileWatch, RelabelAction, RelabelConfig, Role, ScrapeConfig,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use crate::buffer;
use crate::discovery::discover;
use crate::discovery::files::FileLists;
use crate::discovery::glob::PathGlob;
use crate::discovery::kubernetes::PodJob;
use crate::discovery::relabel::{Action, LabelMap, Rule, compile_regex};
use crate::discovery::targets::{Discovered, Targets};
use crate::pipeline::{Bucket, Counters, Pipeline};
use crate::ship::Limits;
use crate::ship::backoff::Backoff;
use crate::ship::client::ClientSettings;
use crate::ship::http::Http;
use crate::tail::file::Compression;
use crate::tail::{Archive, ContainerRate, Job, ReadFrom, TailSettings};

/// Pause between two looks at a file that grows …
const POLL_MIN: Duration = Duration::from_millis(100);
/// … and at one that has been quiet.
const POLL_MAX: Duration = Duration::from_secs(2);
/// No configuration makes lines longer than this.
const LINE_BYTES_CAP: usize = 8 << 20;
/// Time, stream and tags before a container's line.
const CRI_HEADER_BYTES_MAX: usize = 64;

/// A part of the configuration that cannot be used. Names the key and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Error {
    key: String,
    reason: String,
}

impl Error {
    pub(crate) fn new(key: impl Into<String>, reason: impl ToString) -> Self {
        Self { key: key.into(), reason: reason.to_string() }
    }
}

/// How files are read.
pub fn tail(config: &CollectorConfig) -> TailSettings {
    let own = &config.collector;
    let polling = &config.global.file_watch_config;
    // Promtail's default for both is 250 ms; who writes something else means it.
    let is_default = *polling == FileWatch::default();
    let positions = &config.positions.filename;
    let state = match (&own.data_dir, positions.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => positions.clone(),
    };
    let limits = &config.limits_config;
    TailSettings {
        sync_period: config.target_config.sync_period.get().max(Duration::from_millis(100)),
        poll_min: if is_default { POLL_MIN } else { polling.min_poll_frequency.get().max(Duration::from_millis(10)) },
        poll_max: if is_default { POLL_MAX } else { polling.max_poll_frequency.get().max(Duration::from_millis(10)) },
        line_bytes_max: own.max_line_bytes.as_usize().min(LINE_BYTES_CAP) + CRI_HEADER_BYTES_MAX,
        positions_file: Some(positions.clone()),
        state_file: Some(state),
        read_only: false,
        positions_period: config.positions.sync_period.get().max(Duration::from_millis(100)),
        read_from: match own.read_from {
            config::ReadFrom::Beginning => ReadFrom::Beginning,
            config::ReadFrom::End => ReadFrom::End,
            config::ReadFrom::Since(age) => ReadFrom::Since(age.get()),
        },
        pinned_bytes_max: (own.max_pinned_bytes.container.0, own.max_pinned_bytes.node.0),
        pod_logs_root: own.pod_logs_root.clone(),
        exclusive: own.exclusive_files,
        container_rate: own.per_container_rate.as_ref().map(ContainerRate::new),
        rate: limits
            .readline_rate_enabled
            .then(|| (Bucket::new(limits.readline_rate, limits.readline_burst), limits.readline_rate_drop)),
    }
}

/// Keys with another value than at the start that a reload does not change: they need a restart.
pub fn restart_keys(started: &CollectorConfig, now: &CollectorConfig) -> Vec<&'static str> {
    let (old, new) = (&started.collector, &now.collector);
    let changes = [
        ("server", started.server != now.server),
        ("positions.filename", started.positions.filename != now.positions.filename),
        ("wal", started.wal != now.wal),
        ("collector.data_dir", old.data_dir != new.data_dir),
        ("collector.disk_buffer", old.disk_buffer != new.disk_buffer),
        // Places in files are remembered in another way.
        ("collector.exclusive_files", old.exclusive_files != new.exclusive_files),
    ];
    changes.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key).collect()
}

/// Limits of what is sent.
pub fn limits(config: &CollectorConfig) -> Limits {
    let limits = &config.limits_config;
    Limits {
        line_bytes_max: limits.max_line_size.as_usize(),
        truncate: limits.max_line_size_truncate,
        streams_max: usize::try_from(limits.max_streams).unwrap_or(usize::MAX),
    }
}

/// The disk buffer, and whose entries it holds. Promtail's `wal` is for all of them.
pub fn buffer(config: &CollectorConfig) -> Option<(buffer::Settings, BufferSources)> {
    let own = &config.collector.disk_buffer;
    let (wal, is_wal) = (&config.wal, config.wal.enabled);
    let folder = own.dir.clone().or_else(|| wal.dir.clone().filter(|_| is_wal))?;
    let age_max = if own.dir.is_some() { own.max_age.get() } else { wal.clean_segments_older_than.get() };
    let sources = if is_wal { BufferSources::All } else { own.sources };
    Some((buffer::Settings { folder, bytes_max: own.max_bytes.0, age_max }, sources))
}

/// Where entries go.
pub fn clients(config: &CollectorConfig) -> Result<Vec<ClientSettings>, Error> {
    config.all_clients().enumerate().map(|(idx, client)| client_settings(idx, client)).collect()
}

fn client_settings(idx: usize, client: &ClientConfig) -> Result<ClientSettings, Error> {
    let key = |name: &str| format!("clients[{idx}].{name}");
    let mut url: reqwest::Url = client.url.parse().map_err(|err| Error::new(key("url"), err))?;
    let mut client = client.clone();
    if !url.username().is_empty() {
        // `user:password@` in the URL is basic authentication.
        let decode = |text: &str| percent_decode(text);
        client.basic_auth = Some(BasicAuth {
            username: decode(url.username()),
            password: decode(url.password().unwrap_or_default()).into(),
            ..BasicAuth::default()
        });
        // Cannot fail for a URL with a host, which one with a user name has.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &client.headers {
        let name: HeaderName = name.parse().map_err(|err| Error::new(key("headers"), err))?;
        let value: HeaderValue = value.parse().map_err(|err| Error::new(key("headers"), err))?;
        headers.insert(name, value);
    }
    let http = Http::new(&client, &url).map_err(|err| {
        let source = std::error::Error::source(&err).map(|source| format!(": {source}")).unwrap_or_default();
        Error::new(format!("clients[{idx}]"), format!("{err}{source}"))
    })?;
    // Promtail's ten attempts lose a batch after some minutes. Files wait, and so do senders over TCP.
    let attempts = client.backoff_config.max_retries;
    Ok(ClientSettings {
        name: if client.name.is_empty() { short_hash(&client) } else { client.name.clone() },
        url,
        tenant: (!client.tenant_id.is_empty()).then(|| client.tenant_id.clone()),
        headers,
        external_labels: client.external_labels.clone(),
        http,
        timeout: client.timeout.get(),
        backoff: Backoff {
            min: client.backoff_config.min_period.get().max(Duration::from_millis(1)),
            max: client.backoff_config.max_period.get(),
        },
        attempts_max: attempts.filter(|retries| *retries > 0),
        drop_rate_limited: client.drop_rate_limited_batches,
        best_effort: client.best_effort,
        batch_bytes: client.batchsize.as_usize(),
        batch_wait: client.batchwait.get(),
    })
}

/// Six hex digits that tell clients without a name apart.
fn short_hash(client: &ClientConfig) -> String {
    let text = serde_json::to_string(client).unwrap_or_default();
    format!("{:06x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()) & 0xff_ffff)
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match (bytes[at], hex()) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A job, compiled.
pub fn job(config: &ScrapeConfig, job_idx: usize, counters: &Counters) -> Result<Job, Error> {
    let encoding = match config.encoding.as_str() {
        "" => None,
        name => {
            let reason = || format!("{name:?} is not the name of an encoding (hint: utf-16le, windows-1252)");
            let found = encoding_rs::Encoding::for_label(name.as_bytes())
                .ok_or_else(|| Error::new(format!("scrape_configs[{job_idx}].encoding"), reason()))?;
            Some(found).filter(|found| *found != encoding_rs::UTF_8)
        }
    };
    let pipeline = Pipeline::compile(&config.pipeline_stages, counters)
        .map_err(|err| Error::new(format!("scrape_configs[{job_idx}].pipeline_stages{}", err.place), err.reason))?;
    let delay = config.decompression.as_ref().map_or(Duration::ZERO, |decompression| decompression.initial_delay.get());
    let archive = match config.decompression.as_ref().filter(|decompression| decompression.enabled) {
        None => None,
        Some(decompression) => Some(match decompression.format.as_str() {
            "gz" => Archive { compression: Compression::Gzip, delay },
            "z" => Archive { compression: Compression::Zlib, delay },
            "bz2" => Archive { compression: Compression::Bzip2, delay },
            other => {
                let key = format!("scrape_configs[{job_idx}].decompression.format");
                return Err(Error::new(key, format!("{other:?} is not one of gz, bz2, z")));
            }
        }),
    };
    Ok(Job { name: config.job_name.clone(), pipeline, archive, encoding })
}

/// All jobs, compiled.
pub fn jobs(config: &CollectorConfig, counters: &Counters) -> Result<Vec<Job>, Error> {
    config.scrape_configs.iter().enumerate().map(|(idx, scrape)| job(scrape, idx, counters)).collect()
}

/// Puts the static targets of all jobs into `targets`, and gives the lists of others that have to be followed.
pub fn targets(config: &CollectorConfig, targets: &Targets, node: &str) -> Result<Followed, Error> {
    let (mut lists, mut pods, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for (job_idx, job) in config.scrape_configs.iter().enumerate() {
        let rules = Arc::new(rules(job, job_idx)?);
        let groups = job.static_configs.iter().map(|group| {
            let labels: LabelMap = group.labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
            discover(job_idx, &rules, labels, node)
        });
        let found: Vec<Discovered> = groups.collect();
        for (idx, group) in job.static_configs.iter().enumerate() {
            let patterns = ["__path__", "__path_exclude__"].iter().filter_map(|name| group.labels.get(*name));
            for pattern in patterns {
                let key = format!("scrape_configs[{job_idx}].static_configs[{idx}].labels");
                PathGlob::new(pattern).map_err(|err| Error::new(key, err))?;
            }
        }
        if !found.is_empty() {
            targets.set((job_idx, "static".to_owned()), found);
        }
        for (sd_idx, sd) in job.kubernetes_sd_configs.iter().enumerate() {
            let of_sd = PodJob { job_idx, sd_idx, rules: rules.clone(), sd: sd.clone() };
            match sd.role {
                Some(Role::Pod) => pods.push(of_sd),
                Some(Role::Node) => nodes.push(of_sd),
                // A warning of the configuration says so, too.
                _ => warn!(job = job.job_name, role = ?sd.role, "only the roles pod and node find targets"),
            }
        }
        for (idx, sd) in job.file_sd_configs.iter().enumerate() {
            let key = format!("scrape_configs[{job_idx}].file_sd_configs[{idx}].files");
            let files = sd.files.iter().map(|path| PathGlob::new(path)).collect::<Result<_, _>>();
            lists.push(FileLists {
                job_idx,
                rules: rules.clone(),
                files: files.map_err(|err| Error::new(key, err))?,
                refresh: sd.refresh_interval.get(),
            });
        }
    }
    Ok(Followed { lists, pods, nodes })
}

/// Targets that change while the collector runs.
pub struct Followed {
    /// `file_sd_configs`
    pub lists: Vec<FileLists>,
    /// `kubernetes_sd_configs` with the role pod.
    pub pods: Vec<PodJob>,
    /// … and with the role node.
    pub nodes: Vec<PodJob>,
}

/// A job's rules, compiled.
pub fn rules(job: &ScrapeConfig, job_idx: usize) -> Result<Vec<Rule>, Error> {
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
