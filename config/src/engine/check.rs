//! What the engine's types cannot say: ranges, and keys that need each other.

use super::{AuthKind, ClientAuth, EngineConfig};
use crate::limits::Limits;
use crate::load::Root;
use crate::units::{ByteSize, GoDuration, PromDuration};
use crate::yaml::{Report, Rules};

/// Loki refuses a shorter retention of single streams at start-up.
const STREAM_RETENTION_MIN: PromDuration = PromDuration::hours(24);

impl Root for EngineConfig {
    fn rules() -> &'static Rules {
        &super::known::RULES
    }

    fn check(&self, report: &mut Report<'_>) {
        check_tenant(&self.no_auth_tenant, "no_auth_tenant", report);
        self.check_server(report);
        check_limits(&self.limits_config, "limits_config", report);
        self.check_retention(report);
        self.check_own(report);
    }
}

impl EngineConfig {
    fn check_server(&self, report: &mut Report<'_>) {
        let tls = &self.server.http_tls_config;
        let has_key = tls.key_file.is_some() || !tls.key.is_empty();
        if tls.is_enabled() != has_key {
            report.error("server.http_tls_config", "names a certificate or a key alone (hint: TLS needs both)");
        }
        let needs_ca = matches!(
            tls.client_auth_type,
            ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert
        );
        if needs_ca && tls.client_ca_file.is_none() && tls.client_ca.is_empty() {
            report.error(
                "server.http_tls_config.client_auth_type",
                "verifies client certificates without an authority (hint: set client_ca_file)",
            );
        }
        if !matches!(self.server.tls_min_version.as_str(), "" | "VersionTLS12" | "VersionTLS13") {
            report.error(
                "server.tls_min_version",
                format!("{:?} is not VersionTLS12 or VersionTLS13", self.server.tls_min_version),
            );
        }
        let prefix = &self.server.http_path_prefix;
        if !prefix.is_empty() && !prefix.starts_with('/') {
            report.error("server.http_path_prefix", format!("{prefix:?} is not a path (hint: write /{prefix})"));
        }
    }

    fn check_retention(&self, report: &mut Report<'_>) {
        if self.retention_enabled() {
            return;
        }
        let hint = "has no effect without compactor.retention_enabled: true (hint: set it, or remove this key)";
        if !self.limits_config.retention_period.is_zero() {
            report.warning("limits_config.retention_period", hint);
        }
        if !self.limits_config.retention_stream.is_empty() {
            report.warning("limits_config.retention_stream", hint);
        }
    }

    fn check_own(&self, report: &mut Report<'_>) {
        let storage = &self.logstack.storage;
        if !(0.0..=1.0).contains(&storage.max_disk_share) {
            let text = format!("{} is not a share (hint: write 0.9 for 90 %)", storage.max_disk_share);
            report.error("logstack.storage.max_disk_share", text);
        }
        for (key, level) in [
            ("compression_level", storage.compression_level),
            ("merge_compression_level", storage.merge_compression_level),
        ] {
            if !(1..=19).contains(&level) {
                report.error(format!("logstack.storage.{key}"), format!("{level} is not between 1 and 19"));
            }
        }
        for (key, is_zero) in [
            ("memtable_size", storage.memtable_size.is_zero()),
            ("block_size", storage.block_size.is_zero()),
            ("block_rows", storage.block_rows == 0),
            ("wal.segment_size", storage.wal.segment_size.is_zero()),
        ] {
            if is_zero {
                report.error(format!("logstack.storage.{key}"), "must not be 0");
            }
        }
        if storage.block_size > ByteSize::mib(16) {
            report.error("logstack.storage.block_size", format!("{} is more than 16MB", storage.block_size));
        }
        if storage.block_rows > 131_072 {
            report.error("logstack.storage.block_rows", format!("{} is more than 131072", storage.block_rows));
        }
        if storage.merge.concurrency > 1 {
            let text =
                format!("{} merges at once are not possible (hint: 1, or 0 for none)", storage.merge.concurrency);
            report.error("logstack.storage.merge.concurrency", text);
        }
        if storage.merge.min_parts < 2 {
            report.error("logstack.storage.merge.min_parts", format!("{} is less than 2", storage.merge.min_parts));
        }
        if storage.wal.sync == super::WalSync::Interval && storage.wal.sync_interval.is_zero() {
            report
                .error("logstack.storage.wal.sync_interval", "must not be 0 with sync: interval (hint: sync: always)");
        }
        let query = &self.logstack.query;
        if query.memory_budget.is_zero() || query.memory_budget > query.total_memory_budget {
            let text =
                format!("is not between 1 and logstack.query.total_memory_budget ({})", query.total_memory_budget);
            report.error("logstack.query.memory_budget", text);
        }
        let auth = &self.logstack.auth;
        if auth.kind != AuthKind::None && auth.credentials_file.is_none() {
            report.error("logstack.auth", "needs credentials_file when type is not none");
        }
        if self.runtime_config.period < GoDuration::secs(1) && self.overrides_file().is_some() {
            report.error("runtime_config.period", "is shorter than a second (hint: write 10s)");
        }
    }
}

/// What holds for limits wherever they stand.
pub(crate) fn check_limits(limits: &Limits, path: &str, report: &mut Report<'_>) {
    for (idx, rule) in limits.retention_stream.iter().enumerate() {
        let rule_path = format!("{path}.retention_stream[{idx}]");
        if rule.period < STREAM_RETENTION_MIN {
            let was = GoDuration::millis(rule.period.get().as_millis() as u64);
            report.error(format!("{rule_path}.period"), format!("retention period must be >= 24h was {was}"));
        }
        if !(rule.selector.starts_with('{') && rule.selector.ends_with('}')) {
            let text = format!("{:?} is not a stream selector (hint: write '{{app=\"x\"}}')", rule.selector);
            report.error(format!("{rule_path}.selector"), text);
        }
    }
    for (key, value) in
        [("ingestion_rate_mb", limits.ingestion_rate_mb), ("ingestion_burst_size_mb", limits.ingestion_burst_size_mb)]
    {
        if !(value.is_finite() && value >= 0.0) {
            report.error(format!("{path}.{key}"), format!("{value} is not a number of mebibytes"));
        }
    }
    if !(100..=599).contains(&limits.block_ingestion_status_code) {
        let text = format!("{} is not an HTTP status", limits.block_ingestion_status_code);
        report.error(format!("{path}.block_ingestion_status_code"), text);
    }
    if limits.max_line_size_truncate
        && limits.max_line_size_truncate_identifier.len() as u64 > limits.max_line_size.bytes()
    {
        report.error(format!("{path}.max_line_size_truncate_identifier"), "is longer than max_line_size");
    }
}

/// Checks a tenant id that stands at `path`.
///
/// Source: HTTP contract, "Tenancy": 1 to 150 of the characters below, neither `.` nor `..`.
pub fn check_tenant(tenant: &str, path: &str, report: &mut Report<'_>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    if tenant.is_empty() || tenant.len() > 150 || matches!(tenant, "." | "..") || !tenant.chars().all(allowed) {
        let text = format!("{tenant:?} is not a tenant id (hint: 1 to 150 of A-Z a-z 0-9 ! - _ . * ' ( ))");
        report.error(path, text);
    }
}
