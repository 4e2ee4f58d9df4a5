//! Loki's configuration -> `spec.engine` and `spec.tenancy`.
//!
//! A limit that the spec has a field for goes there; other keys that the engine knows go to `extraConfig`; what the
//! engine would ignore or refuse is told with the engine's own words, since its own reader is asked.

use logstack_config::yaml::{Document, Key, Kind, Mark, Node};
use logstack_config::{ByteSize, EngineConfig, Finding, PromDuration, Severity, load_document};
use serde_json::{Value, json};

use super::draft::Draft;
use super::source::{At, Ledger};

/// How a limit is written.
#[derive(Clone, Copy)]
enum Shape {
    /// A whole number from the first to the second.
    Int(i64, i64),
    Duration,
    /// A size of Loki becomes a quantity.
    Size,
    Bool,
}

/// Limits with a field of their own in `spec.engine.limits`.
const TYPED: [(&str, &str, Shape); 14] = [
    ("ingestion_rate_mb", "ingestionRateMb", Shape::Int(1, 10_240)),
    ("ingestion_burst_size_mb", "ingestionBurstSizeMb", Shape::Int(1, 10_240)),
    ("query_timeout", "queryTimeout", Shape::Duration),
    ("max_entries_limit_per_query", "maxEntriesPerQuery", Shape::Int(1, 1_000_000)),
    ("max_line_size", "maxLineSize", Shape::Size),
    ("max_line_size_truncate", "maxLineSizeTruncate", Shape::Bool),
    ("max_label_names_per_series", "maxLabelNamesPerSeries", Shape::Int(1, 200)),
    ("max_global_streams_per_user", "maxStreamsPerTenant", Shape::Int(0, i32::MAX as i64)),
    ("max_query_series", "maxQuerySeries", Shape::Int(1, i32::MAX as i64)),
    ("max_query_length", "maxQueryLength", Shape::Duration),
    ("max_concurrent_tail_requests", "maxConcurrentTails", Shape::Int(0, i32::MAX as i64)),
    ("per_stream_rate_limit", "perStreamRateLimit", Shape::Size),
    ("per_stream_rate_limit_burst", "perStreamRateLimitBurst", Shape::Size),
    ("reject_old_samples_max_age", "rejectOldSamplesMaxAge", Shape::Duration),
];

/// Keys that the operator sets, with what it sets them to.
const SET_BY_OPERATOR: [(&str, &str); 16] = [
    ("server.http_listen_address", "the operator's Service decides"),
    ("server.http_tls_config", "use spec.tls"),
    ("server.http_path_prefix", "the API is at the root of the Service"),
    ("no_auth_tenant", "use spec.tenancy.defaultTenant"),
    ("common.path_prefix", "data lies on the stack's volume"),
    ("common.storage.filesystem.chunks_directory", "data lies on the stack's volume"),
    ("storage_config.filesystem.directory", "data lies on the stack's volume"),
    ("logstack.storage.path", "data lies on the stack's volume"),
    ("logstack.auth", "use spec.auth"),
    ("runtime_config", "the operator writes the file of overrides from spec.engine.limits"),
    ("limits_config.per_tenant_override_config", "the operator writes the file of overrides from spec.engine.limits"),
    ("limits_config.per_tenant_override_period", "the operator writes the file of overrides from spec.engine.limits"),
    ("compactor.retention_enabled", "spec.engine.retention says it"),
    ("compactor.delete_request_store", "delete requests are always taken"),
    ("table_manager.retention_deletes_enabled", "spec.engine.retention says it"),
    ("table_manager.retention_period", "spec.engine.retention says it"),
];

/// Blocks that only object stores have: their absence is missed.
const OBJECT_STORES: [&str; 14] = [
    "common.storage.s3",
    "common.storage.gcs",
    "common.storage.azure",
    "common.storage.swift",
    "common.storage.cos",
    "common.storage.alibabacloud",
    "storage_config.aws",
    "storage_config.gcs",
    "storage_config.azure",
    "storage_config.swift",
    "storage_config.cos",
    "storage_config.bos",
    "storage_config.alibabacloud",
    "storage_config.object_store",
];

const ON_THE_VOLUME: &str =
    "logs are kept on the volume, not in an object store: size spec.engine.storage for the whole retention";

/// A block of Loki's file and where it stands: `limits_config`.
pub(super) struct Section<'a> {
    /// Its name in Loki's file.
    pub key: String,
    /// Its value.
    pub at: At<'a>,
}

/// Carries the blocks of a Loki file over. `auth_enabled` is what an absent key means.
pub(super) fn carry(
    sections: &[Section<'_>],
    auth_enabled: bool,
    root: &At<'_>,
    draft: &mut Draft,
    ledger: &mut Ledger,
) {
    let mut is_multi = auth_enabled;
    for section in sections {
        match section.key.as_str() {
            "auth_enabled" => {
                is_multi = section.at.bool().unwrap_or(auth_enabled);
                ledger.carried(&section.at, "spec.tenancy.mode");
            }
            "limits_config" => limits(&section.at, draft, ledger),
            key => rest(&[key], &section.at, draft, ledger),
        }
    }
    if is_multi {
        draft.set("tenancy.mode", "Multi");
    }
    retention(sections, root, draft, ledger);
    // An engine that takes more a second than at once would be refused.
    let limit = |key: &str| draft.get(&format!("engine.limits.{key}")).and_then(Value::as_i64);
    let (rate, burst) = (limit("ingestionRateMb").unwrap_or(10), limit("ingestionBurstSizeMb"));
    if burst.unwrap_or(20) < rate {
        draft.set("engine.limits.ingestionBurstSizeMb", rate);
    } else if limit("ingestionRateMb").is_none() && burst.is_some_and(|burst| burst < 10) {
        draft.set("engine.limits.ingestionRateMb", burst);
    }
}

fn limits(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    for (key, at) in at.entries() {
        if matches!(key, "retention_period" | "retention_stream") {
            continue; // with the rest of retention
        }
        match typed(key, &at) {
            Some((field, value)) => {
                let path = format!("engine.limits.{field}");
                draft.set(&path, value);
                ledger.carried(&at, format!("spec.{path}"));
            }
            None => rest(&["limits_config", key], &at, draft, ledger),
        }
    }
}

/// The field of a limit and its value there, when it has one and can say this.
fn typed(key: &str, at: &At<'_>) -> Option<(&'static str, Value)> {
    let (_, field, shape) = TYPED.iter().find(|(name, ..)| *name == key)?;
    let value = match *shape {
        Shape::Int(low, high) => at.int().filter(|value| (low..=high).contains(value))?.into(),
        Shape::Duration => duration(at)?.into(),
        Shape::Size => quantity(at.text()?.parse().ok()?).into(),
        Shape::Bool => at.bool()?.into(),
    };
    Some((field, value))
}

/// A duration as the spec's pattern has it.
pub(super) fn duration(at: &At<'_>) -> Option<String> {
    let text = at.text()?.trim();
    let parsed: PromDuration = text.parse().ok()?;
    Some(if parsed.is_zero() { "0" } else { text }.to_owned())
}

/// Loki's 1024s as a quantity: `256KB` is `256Ki`.
pub(super) fn quantity(size: ByteSize) -> String {
    let units = [("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let exact = units.iter().find(|(_, bits)| size.0 > 0 && size.0.is_multiple_of(1 << bits));
    exact.map_or_else(|| size.0.to_string(), |(unit, bits)| format!("{}{unit}", size.0 >> bits))
}

/// A key without a field of its own: to `extraConfig`, or the engine's reason why not.
fn rest(keys: &[&str], at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    if at.is_empty() {
        return;
    }
    let path = keys.join(".");
    if path == "server.http_listen_port" {
        let Some(port) = at.int() else { return ledger.left(at, "is no port") };
        if port != 3100 {
            draft.set("engine.service.port", port);
        }
        return ledger.carried(at, "spec.engine.service.port");
    }
    if let Some((_, reason)) = SET_BY_OPERATOR.iter().find(|(key, _)| *key == path) {
        return ledger.not_needed(at, *reason);
    }
    if OBJECT_STORES.contains(&path.as_str()) {
        return ledger.left(at, ON_THE_VOLUME);
    }
    let findings = ask(keys, at.node);
    let exact = findings.iter().find(|finding| finding.path == path);
    if let Some(finding) = exact {
        let remedy = finding.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        let text = format!("{}{remedy}", finding.reason);
        return match finding.severity {
            Severity::Error => ledger.left(at, text),
            Severity::Warning => ledger.not_needed(at, text),
        };
    }
    let children = at.entries();
    let has_own = |key: &&str| key.starts_with(&path) && key.len() > path.len();
    let has_special = SET_BY_OPERATOR.iter().map(|(key, _)| key).chain(&OBJECT_STORES).any(has_own);
    if !children.is_empty() && (!findings.is_empty() || has_special) {
        for (key, child) in children {
            let keys: Vec<&str> = keys.iter().copied().chain([key]).collect();
            rest(&keys, &child, draft, ledger);
        }
        return;
    }
    if !findings.is_empty() {
        return ledger.left(at, findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    draft.set(&format!("engine.extraConfig.{path}"), at.value());
    ledger.carried(at, format!("spec.engine.extraConfig.{path}"));
}

/// What the engine says about `node` at `keys` of its file.
fn ask(keys: &[&str], node: &Node) -> Vec<Finding> {
    let wrap = |node: Node, key: &&str| {
        let key = Key { text: (*key).to_owned(), at: Mark::default() };
        Node { at: Mark::default(), kind: Kind::Mapping(vec![(key, node)]) }
    };
    let root = keys.iter().rev().fold(node.clone(), wrap);
    let path = keys.join(".");
    let findings = match load_document::<EngineConfig>(&Document::from_node(root, "")) {
        Ok((_, warnings)) => warnings.0,
        Err(errors) => errors.findings().to_vec(),
    };
    findings.into_iter().filter(|finding| finding.path.starts_with(&path)).collect()
}

/// Retention has three places in Loki's history, and each needs its switch.
fn retention(sections: &[Section<'_>], root: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    let find = |section: &str, key: &str| {
        sections.iter().find(|candidate| candidate.key == section).and_then(|section| section.at.get(key))
    };
    let is_on = |section: &str, key: &str| find(section, key).and_then(|at| at.bool()).unwrap_or_default();
    let compactor = is_on("compactor", "retention_enabled");
    let table_manager = is_on("table_manager", "retention_deletes_enabled");
    let field = "spec.engine.retention.period";
    let old = find("table_manager", "retention_period");
    let mut period = None;
    if let Some(at) = find("limits_config", "retention_period") {
        match duration(&at) {
            None => ledger.left(&at, "is no duration"),
            Some(value) => {
                if compactor || table_manager || value == "0" {
                    ledger.carried(&at, field);
                } else {
                    ledger.left(
                        &at,
                        format!("is carried to {field} and works there; Loki ignored it without compactor.retention_enabled (hint: write 0 to keep logs until the volume is full)"),
                    );
                }
                if let Some(old) = old.as_ref().filter(|old| table_manager && duration(old).as_ref() != Some(&value)) {
                    ledger.left(old, format!("differs from limits_config.retention_period, which {field} follows"));
                }
                period = Some(value);
            }
        }
    } else if let Some(at) = old.filter(|_| table_manager) {
        match duration(&at) {
            Some(value) => {
                ledger.carried(&at, field);
                period = Some(value);
            }
            None => ledger.left(&at, "is no duration"),
        }
    }
    let period = period.unwrap_or_else(|| {
        ledger.remark(
            root,
            format!("{field}: 0 (nothing in the file enables retention: logs stay until the volume is nearly full)"),
        );
        "0".to_owned()
    });
    draft.set("engine.retention.period", period);

    let Some(rules) = find("limits_config", "retention_stream") else { return };
    let mut carried = Vec::new();
    for rule in rules.items() {
        let selector = rule.get("selector").and_then(|at| at.text());
        match (selector, rule.get("period").and_then(|at| duration(&at))) {
            (Some(selector), Some(period)) => {
                let mut value = json!({ "selector": selector, "period": period });
                if let Some(priority) = rule.get("priority").and_then(|at| at.int()).filter(|&p| p != 0) {
                    value["priority"] = priority.into();
                }
                carried.push(value);
            }
            _ => ledger.left(&rule, "needs selector and period"),
        }
    }
    if !carried.is_empty() {
        draft.set("engine.retention.streams", carried);
        ledger.carried(&rules, "spec.engine.retention.streams");
    }
}

/// Limits of single tenants.
pub(super) fn overrides(at: &At<'_>, draft: &mut Draft, ledger: &mut Ledger) {
    if draft.get("tenancy.mode").is_none() {
        return ledger.left(at, "overrides are for tenants, and auth_enabled is false: write the limits of the one tenant into spec.engine.limits");
    }
    for (tenant, limits) in at.entries() {
        for (key, at) in limits.entries() {
            let found = match key {
                "retention_period" => duration(&at).map(|value| ("retentionPeriod", value.into())),
                key => typed(key, &at),
            };
            match found {
                Some((field, value)) => {
                    draft.set_key(&["engine", "limits", "tenants", tenant, field], value);
                    ledger.carried(&at, format!("spec.engine.limits.tenants.{tenant}.{field}"));
                }
                None => ledger
                    .left(&at, "has no field in spec.engine.limits.tenants: it holds for all tenants, or for none"),
            }
        }
    }
}
