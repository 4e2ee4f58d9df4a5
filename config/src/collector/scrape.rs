//! `scrape_configs`: a job, its source, its rules.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::kubernetes::KubernetesSd;
use super::relabel::RelabelConfig;
use super::sources::{DockerSd, GelfConfig, JournalConfig, PushApiConfig, SyslogConfig};
use super::stage::Stage;
use crate::units::{GoDuration, PromDuration};

/// A job. It has one source; of several, the first in the order of [`Source`] counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrapeConfig {
    /// Unique.
    pub job_name: String,
    /// What is done to each entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pipeline_stages: Vec<Stage>,
    /// What is done to the labels of each target (files) or entry (the rest).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relabel_configs: Vec<RelabelConfig>,
    /// IANA name; empty: UTF-8.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encoding: String,
    /// Read compressed files once, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decompression: Option<Decompression>,

    /// Files by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_configs: Vec<StaticConfig>,
    /// Files by the Kubernetes API.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_sd_configs: Vec<KubernetesSd>,
    /// Files by lists in files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_sd_configs: Vec<FileSd>,
    /// journald.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalConfig>,
    /// Syslog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<SyslogConfig>,
    /// Loki's push API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loki_push_api: Option<PushApiConfig>,
    /// GELF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gelf: Option<GelfConfig>,
    /// Docker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_sd_configs: Vec<DockerSd>,

    // Sources that a node agent does not have. Parsed to be refused by name.
    /// Central puller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Opaque>,
    /// Central puller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_event_hubs: Option<Opaque>,
    /// Central puller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcplog: Option<Opaque>,
    /// Central puller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloudflare: Option<Opaque>,
    /// Central receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heroku_drain: Option<Opaque>,
    /// Windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows_events: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consulagent_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ec2_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gce_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openstack_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digitalocean_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerswarm_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triton_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marathon_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nerve_sd_configs: Option<Opaque>,
    /// Infrastructure discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serverset_sd_configs: Option<Opaque>,
}

/// The source of a job, in the order in which Promtail chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `static_configs`, `kubernetes_sd_configs`, `file_sd_configs`, together.
    Files,
    /// `journal`.
    Journal,
    /// `syslog`.
    Syslog,
    /// `loki_push_api`.
    PushApi,
    /// `gelf`.
    Gelf,
    /// `docker_sd_configs`.
    Docker,
    /// A source that a node agent does not have, by its key.
    Unsupported(&'static str),
}

impl ScrapeConfig {
    /// All sources that are given, the one that counts first.
    pub fn sources(&self) -> Vec<(&'static str, Source)> {
        use Source::{Docker, Files, Gelf, Journal, PushApi, Syslog, Unsupported};
        let files = [
            ("static_configs", !self.static_configs.is_empty()),
            ("kubernetes_sd_configs", !self.kubernetes_sd_configs.is_empty()),
            ("file_sd_configs", !self.file_sd_configs.is_empty()),
        ];
        let infrastructure = [
            ("dns_sd_configs", &self.dns_sd_configs),
            ("consul_sd_configs", &self.consul_sd_configs),
            ("consulagent_sd_configs", &self.consulagent_sd_configs),
            ("ec2_sd_configs", &self.ec2_sd_configs),
            ("gce_sd_configs", &self.gce_sd_configs),
            ("azure_sd_configs", &self.azure_sd_configs),
            ("openstack_sd_configs", &self.openstack_sd_configs),
            ("digitalocean_sd_configs", &self.digitalocean_sd_configs),
            ("dockerswarm_sd_configs", &self.dockerswarm_sd_configs),
            ("triton_sd_configs", &self.triton_sd_configs),
            ("marathon_sd_configs", &self.marathon_sd_configs),
            ("nerve_sd_configs", &self.nerve_sd_configs),
            ("serverset_sd_configs", &self.serverset_sd_configs),
        ];
        let rest = [
            ("journal", Journal, self.journal.is_some()),
            ("syslog", Syslog, self.syslog.is_some()),
            ("gcplog", Unsupported("gcplog"), self.gcplog.is_some()),
            ("loki_push_api", PushApi, self.loki_push_api.is_some()),
            ("windows_events", Unsupported("windows_events"), self.windows_events.is_some()),
            ("kafka", Unsupported("kafka"), self.kafka.is_some()),
            ("azure_event_hubs", Unsupported("azure_event_hubs"), self.azure_event_hubs.is_some()),
            ("gelf", Gelf, self.gelf.is_some()),
            ("cloudflare", Unsupported("cloudflare"), self.cloudflare.is_some()),
            ("docker_sd_configs", Docker, !self.docker_sd_configs.is_empty()),
            ("heroku_drain", Unsupported("heroku_drain"), self.heroku_drain.is_some()),
        ];
        let files = files.into_iter().filter(|(_, given)| *given).map(|(key, _)| (key, Files));
        let infrastructure =
            infrastructure.into_iter().filter(|(_, given)| given.is_some()).map(|(key, _)| (key, Unsupported(key)));
        let rest = rest.into_iter().filter(|(_, _, given)| *given).map(|(key, source, _)| (key, source));
        files.chain(infrastructure).chain(rest).collect()
    }

    /// The source that counts.
    pub fn source(&self) -> Option<Source> {
        self.sources().first().map(|(_, source)| *source)
    }
}

/// A block that is read and not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Opaque {}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self {})
    }
}

/// One entry of `static_configs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StaticConfig {
    /// `localhost`; has no meaning for files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// `__path__`, `__path_exclude__` and static labels.
    pub labels: BTreeMap<String, String>,
}

/// One entry of `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileSd {
    /// JSON or YAML lists of targets; the last part of a path may hold one `*`.
    pub files: Vec<String>,
    /// How often they are read.
    pub refresh_interval: PromDuration,
}

impl Default for FileSd {
    fn default() -> Self {
        Self { files: Vec::new(), refresh_interval: PromDuration::minutes(5) }
    }
}

/// `decompression`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decompression {
    /// On.
    pub enabled: bool,
    /// Wait before the one pass.
    pub initial_delay: GoDuration,
    /// `gz`, `bz2` or `z`.
    pub format: String,
}
