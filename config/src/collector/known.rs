//! Keys of Promtail, present and past, that have no meaning here, each with its reason.
//!
//! Source: collector contract, sections 1.3 to 1.8; Prometheus, `http_config` for `*_ref`.

use crate::yaml::{Ignored, Nulls, Rules};

pub(super) const RULES: Rules =
    // The bodies of stages: Promtail decodes them by mapstructure, which knows neither case nor strictness.
    Rules { nulls: Nulls::Zero, ignored: IGNORED, refused: REFUSED, is_lenient: |block| block.ends_with("Stage") };

const GRPC: &str = "there is no gRPC port";
const REMOVED: &str = "removed from Promtail";
const LOG: &str = "requests are logged without addresses and headers";

#[rustfmt::skip] // a table: one block or reason a row
const IGNORED: &[Ignored] = &[
    of("CollectorConfig", "the collector writes logs and metrics, no traces", &["tracing"]),
    of("CollectorConfig", REMOVED, &["options"]),
    of("CollectorServer", GRPC, &["grpc_listen_network", "grpc_listen_address", "grpc_listen_port", "grpc_listen_conn_limit", "grpc_collect_max_streams_by_conn", "grpc_tls_config", "report_grpc_codes_in_instrumentation_label_enabled", "grpc_server_max_recv_msg_size", "grpc_server_max_send_msg_size", "grpc_server_max_concurrent_streams", "grpc_server_max_connection_idle", "grpc_server_max_connection_age", "grpc_server_max_connection_age_grace", "grpc_server_keepalive_time", "grpc_server_keepalive_timeout", "grpc_server_min_time_between_pings", "grpc_server_ping_without_stream_allowed", "grpc_server_num_workers", "grpc_server_stats_tracking_enabled", "grpc_server_recv_buffer_pools_enabled", "grpc_server_read_buffer_size", "grpc_server_write_buffer_size", "cluster_validation"]),
    of("CollectorServer", "the collector listens on TCP, IPv4 and IPv6", &["http_listen_network", "proxy_protocol_enabled"]),
    of("CollectorServer", "safe cipher suites are chosen for you", &["tls_cipher_suites"]),
    of("CollectorServer", LOG, &["log_source_ips_enabled", "log_source_ips_full", "log_source_ips_header", "log_source_ips_regex", "log_request_headers", "log_request_at_info_level_enabled", "log_request_exclude_headers_list", "http_log_closed_connections_without_response_enabled"]),
    of("CollectorServer", "the collector writes logs and metrics, no traces", &["trace_request_headers", "trace_request_exclude_headers_list", "create_new_traces"]),
    of("CollectorServer", "reloading is always on SIGHUP", &["reload"]),
    of("ScrapeConfig", "removed from Promtail: begin pipeline_stages with - docker: {} or - cri: {}", &["entry_parser"]),
    of("ScrapeConfig", "a file has no HTTP address", &["scrape_interval", "scrape_timeout", "metrics_path", "scheme"]),
    of("BackoffConfig", "removed from Promtail: write min_period, max_period, max_retries", &["minbackoff", "maxbackoff", "maxretries", "min_backoff", "max_backoff"]),
    of("ClientConfig", REMOVED, &["stream_lag_labels"]),
    of("WalConfig", "the disk buffer is read as it is written", &["watchConfig", "watch_config"]),
];

const REF: &str = "is not supported: there is no secret manager (hint: write the key that ends in _file)";

#[rustfmt::skip] // a table: one block a row
const REFUSED: &[Ignored] = &[
    of("BasicAuth", REF, &["username_ref", "password_ref"]),
    of("Authorization", REF, &["credentials_ref"]),
    of("OAuth2", REF, &["client_secret_ref", "client_certificate_key_ref"]),
    of("OAuth2", "is not supported (hint: use client_secret_file)", &["grant_type", "client_certificate_key", "client_certificate_key_file", "client_certificate_key_id", "signature_algorithm", "iss", "audience", "claims"]),
    of("ClientTls", REF, &["ca_ref", "cert_ref", "key_ref"]),
];

const fn of(block: &'static str, reason: &'static str, keys: &'static [&'static str]) -> Ignored {
    Ignored { block, reason, keys }
}
