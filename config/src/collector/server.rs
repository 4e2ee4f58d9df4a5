//! The collector's `server`: another port than the engine's, and Promtail's own switches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{LogFormat, LogLevel, TlsConfig};
use crate::units::GoDuration;

/// Promtail's `server` block, also that of `loki_push_api`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CollectorServer {
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
    /// Time to answer.
    pub http_server_write_timeout: GoDuration,
    /// Time an idle connection stays open.
    pub http_server_idle_timeout: GoDuration,
    /// Moves all routes below it.
    pub http_path_prefix: String,
    /// TLS for the listener.
    pub http_tls_config: TlsConfig,
    /// Lowest TLS version.
    pub tls_min_version: String,
    /// Time from SIGTERM to the end.
    pub graceful_shutdown_timeout: GoDuration,
    /// Serve `/metrics`.
    pub register_instrumentation: bool,
    /// Serve profiles.
    pub profiling_enabled: bool,
    /// Least severe own log that is printed.
    pub log_level: LogLevel,
    /// Form of own logs.
    pub log_format: LogFormat,
    /// Where users reach the pages from outside.
    pub external_url: String,
    /// Written `true`: ready only while a target is (Promtail's rule). Absent: ready without files too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_target: Option<bool>,
    /// No HTTP server at all.
    pub disable: bool,
    /// Serve `/reload`.
    pub enable_runtime_reload: bool,
}

impl Default for CollectorServer {
    fn default() -> Self {
        Self {
            http_listen_address: String::new(),
            http_listen_port: 80,
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
            profiling_enabled: false,
            log_level: LogLevel::Info,
            log_format: LogFormat::Logfmt,
            external_url: String::new(),
            health_check_target: None,
            disable: false,
            enable_runtime_reload: false,
        }
    }
}
