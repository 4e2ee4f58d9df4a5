//! Sources other than files: journal, syslog, push API, Docker, GELF.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::http::with_http_client;
use super::server::CollectorServer;
use crate::units::{ByteSize, GoDuration, PromDuration};

/// `journal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalConfig {
    /// Its folder; absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Oldest entry at a start without a cursor.
    pub max_age: GoDuration,
    /// The line is all fields as JSON, not the message.
    pub json: bool,
    /// Static labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `FIELD=value` pairs, separated by spaces.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub matches: String,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { path: None, max_age: GoDuration::hours(7), json: false, labels: BTreeMap::new(), matches: String::new() }
    }
}

/// `syslog`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyslogConfig {
    /// `host:port`.
    pub listen_address: String,
    /// Transport.
    pub listen_protocol: SyslogProtocol,
    /// Form of messages.
    pub syslog_format: SyslogFormat,
    /// A connection without messages is closed after this.
    pub idle_timeout: GoDuration,
    /// Longest message.
    pub max_message_length: usize,
    /// Structured data become labels.
    pub label_structured_data: bool,
    /// Static labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Take the message's time.
    pub use_incoming_timestamp: bool,
    /// The line is the whole message.
    pub use_rfc5424_message: bool,
    /// TLS for the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<SyslogTls>,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            listen_address: String::new(),
            listen_protocol: SyslogProtocol::Tcp,
            syslog_format: SyslogFormat::Rfc5424,
            idle_timeout: GoDuration::secs(120),
            max_message_length: 8192,
            label_structured_data: false,
            labels: BTreeMap::new(),
            use_incoming_timestamp: false,
            use_rfc5424_message: false,
            tls_config: None,
        }
    }
}

/// `listen_protocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogProtocol {
    /// Streams.
    #[default]
    #[serde(alias = "", alias = "tcp4", alias = "tcp6")]
    Tcp,
    /// Datagrams.
    #[serde(alias = "udp4", alias = "udp6")]
    Udp,
}

/// `syslog_format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogFormat {
    /// With year, zone and structured data.
    #[default]
    #[serde(alias = "")]
    Rfc5424,
    /// BSD.
    Rfc3164,
}

/// `syslog.tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyslogTls {
    /// Certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Authorities that sign client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// `loki_push_api`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PushApiConfig {
    /// Its own listener.
    pub server: CollectorServer,
    /// Static labels; they win over the sender's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Take the sender's time.
    pub use_incoming_timestamp: bool,
    /// Largest request.
    pub max_send_msg_size: ByteSize,
}

impl Default for PushApiConfig {
    fn default() -> Self {
        Self {
            server: CollectorServer::default(),
            labels: BTreeMap::new(),
            use_incoming_timestamp: false,
            max_send_msg_size: ByteSize::mib(100),
        }
    }
}

/// `gelf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GelfConfig {
    /// UDP `host:port`.
    pub listen_address: String,
    /// Static labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Take the message's time.
    pub use_incoming_timestamp: bool,
}

impl Default for GelfConfig {
    fn default() -> Self {
        Self { listen_address: ":12201".to_owned(), labels: BTreeMap::new(), use_incoming_timestamp: false }
    }
}

with_http_client! {
    /// One entry of `docker_sd_configs`.
    pub struct DockerSd {
        /// The daemon: `unix:///var/run/docker.sock`.
        pub host: String = String::new(),
        /// Port for containers without one.
        pub port: u16 = 80,
        /// Which containers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub filters: Vec<DockerFilter> = Vec::new(),
        /// Address of containers in host networks.
        pub host_networking_host: String = "localhost".to_owned(),
        /// How often containers are listed.
        pub refresh_interval: PromDuration = PromDuration::secs(60),
        /// Only the first network's address.
        pub match_first_network: bool = true,
    }
}

/// One filter of `docker_sd_configs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DockerFilter {
    /// What is compared.
    pub name: String,
    /// With what.
    pub values: Vec<String>,
}
