//! `server`: listening, time limits, logging, TLS. The collector reads the same block with another port.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::units::GoDuration;

/// Loki's `server` block, as far as it has a meaning for one HTTP listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerConfig {
    /// Address to listen on; empty: all.
    pub http_listen_address: String,
    /// Port to listen on; 0: any free one.
    pub http_listen_port: u16,
    /// Most open connections; 0 = no limit.
    pub http_listen_conn_limit: u32,
    /// Time to read a request.
    pub http_server_read_timeout: GoDuration,
    /// Time to read a request's headers; 0: `http_server_read_timeout`.
    pub http_server_read_header_timeout: GoDuration,
    /// Time to answer. Does not cut websockets.
    pub http_server_write_timeout: GoDuration,
    /// Time an idle connection stays open.
    pub http_server_idle_timeout: GoDuration,
    /// Moves all routes below it: `/x`.
    pub http_path_prefix: String,
    /// TLS for the listener.
    pub http_tls_config: TlsConfig,
    /// Lowest TLS version: `VersionTLS12` or `VersionTLS13`; empty: TLS 1.2.
    pub tls_min_version: String,
    /// Time from SIGTERM to the end.
    pub graceful_shutdown_timeout: GoDuration,
    /// Serve `/metrics`.
    pub register_instrumentation: bool,
    /// Least severe own log that is printed.
    pub log_level: LogLevel,
    /// Form of own logs.
    pub log_format: LogFormat,
    /// Log each request at `info`, not `debug`.
    pub log_request_at_info_level_enabled: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            http_listen_address: String::new(),
            http_listen_port: 3100,
            http_listen_conn_limit: 0,
            http_server_read_timeout: GoDuration::secs(30),
            http_server_read_header_timeout: GoDuration::ZERO,
            http_server_write_timeout: GoDuration::secs(30),
            http_server_idle_timeout: GoDuration::minutes(2),
            http_path_prefix: String::new(),
            http_tls_config: TlsConfig::default(),
            tls_min_version: String::new(),
            graceful_shutdown_timeout: GoDuration::secs(30),
            register_instrumentation: true,
            log_level: LogLevel::Info,
            log_format: LogFormat::Logfmt,
            log_request_at_info_level_enabled: false,
        }
    }
}

/// `server.log_level`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Lifecycle.
    #[default]
    Info,
    /// What healed itself.
    Warn,
    /// What needs a person.
    Error,
}

impl LogLevel {
    /// The level as `tracing` and Loki's API spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// `server.log_format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `key=value`.
    #[default]
    Logfmt,
    /// An object a line.
    Json,
}

/// TLS of a listener. Files win over inline texts and are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// Private key, PEM.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// Authorities that sign client certificates, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ca: String,
    /// The same from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The same from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The same from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_auth_type: ClientAuth,
}

impl TlsConfig {
    /// True when the block says anything about a certificate.
    pub fn is_enabled(&self) -> bool {
        self.cert_file.is_some() || !self.cert.is_empty()
    }
}

/// Go's client authentication policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    #[serde(alias = "")]
    NoClientCert,
    /// Asked for, not needed, not verified.
    RequestClientCert,
    /// Needed, not verified.
    RequireAnyClientCert,
    /// Verified when given.
    VerifyClientCertIfGiven,
    /// Needed and verified.
    RequireAndVerifyClientCert,
}
