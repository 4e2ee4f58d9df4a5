//! Counters of ingest, under the names that Loki's dashboards ask for.
//!
//! What comes in is stored, rejected or dropped, and the sums agree: `received` counts every entry of a request that
//! could be read, `discarded` those that a rule refused.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::model::TenantId;

/// Why entries were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the reasons")]
pub enum Reason {
    RateLimited,
    PerStreamRateLimit,
    StreamLimit,
    LineTooLong,
    GreaterThanMaxSampleAge,
    TooFarInFuture,
    TooFarBehind,
    OutOfOrder,
    MaxLabelNamesPerSeries,
    LabelNameTooLong,
    LabelValueTooLong,
    DuplicateLabelNames,
    InvalidLabels,
    MissingLabels,
    DisallowedStructuredMetadata,
    StructuredMetadataTooLarge,
    StructuredMetadataTooMany,
    MissingEnforcedLabels,
    BlockedIngestion,
    BlockedIngestionPolicy,
    RequestBodyTooLarge,
}

impl Reason {
    const NAMES: [&'static str; 21] = [
        "rate_limited",
        "per_stream_rate_limit",
        "stream_limit",
        "line_too_long",
        "greater_than_max_sample_age",
        "too_far_in_future",
        "too_far_behind",
        "out_of_order",
        "max_label_names_per_series",
        "label_name_too_long",
        "label_value_too_long",
        "duplicate_label_names",
        "invalid_labels",
        "missing_labels",
        "disallowed_structured_metadata",
        "structured_metadata_too_large",
        "structured_metadata_too_many",
        "missing_enforced_labels",
        "blocked_ingestion",
        "blocked_ingestion_policy",
        "request_body_too_large",
    ];

    /// Value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Which interface entries came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Loki's push, either address and encoding.
    Loki,
    /// OTLP.
    Otlp,
}

impl Format {
    const ALL: [Self; 2] = [Self::Loki, Self::Otlp];

    fn as_str(self) -> &'static str {
        match self {
            Self::Loki => "loki",
            Self::Otlp => "otlp",
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one tenant and format.
#[derive(Debug, Default)]
struct FormatMetrics {
    bytes: Counter,
    lines: Counter,
    metadata_bytes: Counter,
    discarded_samples: [Counter; Reason::NAMES.len()],
    discarded_bytes: [Counter; Reason::NAMES.len()],
}

/// Counters of one tenant.
#[derive(Debug, Default)]
pub struct TenantMetrics {
    formats: [FormatMetrics; Format::ALL.len()],
    truncated_lines: Counter,
    truncated_bytes: Counter,
    streams_created: Counter,
    streams_removed: Counter,
    /// Label `retention_hours`, which dashboards group by.
    retention_hours: AtomicU64,
}

impl TenantMetrics {
    /// Counts the entries of a readable request.
    pub fn received(&self, format: Format, lines: usize, line_bytes: u64, metadata_bytes: u64) {
        let counters = &self.formats[format as usize];
        counters.lines.add(lines as u64);
        counters.bytes.add(line_bytes + metadata_bytes);
        counters.metadata_bytes.add(metadata_bytes);
    }

    /// Counts refused entries.
    pub fn discarded(&self, format: Format, reason: Reason, lines: usize, bytes: u64) {
        let counters = &self.formats[format as usize];
        counters.discarded_samples[reason as usize].add(lines as u64);
        counters.discarded_bytes[reason as usize].add(bytes);
    }

    /// Counts a line that was cut by so many bytes.
    pub fn truncated(&self, bytes: u64) {
        self.truncated_lines.add(1);
        self.truncated_bytes.add(bytes);
    }

    /// Counts streams that became active.
    pub fn streams_created(&self, count: usize) {
        self.streams_created.add(count as u64);
    }

    /// Counts streams that are no longer active.
    pub fn streams_removed(&self, count: usize) {
        self.streams_removed.add(count as u64);
    }

    /// Sets the retention that bytes are labelled with.
    pub fn set_retention_hours(&self, hours: u64) {
        self.retention_hours.store(hours, Ordering::Relaxed);
    }
}

/// Upper bounds of `loki_bytes_per_line`.
const LINE_BYTES_BOUNDS: [u64; 8] = [1, 8, 64, 512, 4096, 32_768, 262_144, 2_097_152];

/// All counters of ingest.
#[derive(Debug, Default)]
pub struct IngestMetrics {
    tenants: RwLock<HashMap<TenantId, Arc<TenantMetrics>>>,
    append_failures: Counter,
    /// Lines of at most the bound, each line in one bucket; the last is for longer ones.
    line_bytes: [Counter; LINE_BYTES_BOUNDS.len() + 1],
    line_bytes_sum: Counter,
}

/// Lines by length; counted here first, so that a batch touches the shared counters once.
#[derive(Debug, Default)]
pub struct LineLengths {
    counts: [u64; LINE_BYTES_BOUNDS.len() + 1],
    sum: u64,
}

impl LineLengths {
    /// Counts a line.
    pub fn add(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.counts[LINE_BYTES_BOUNDS.partition_point(|&bound| bound < bytes)] += 1;
        self.sum += bytes;
    }
}

impl IngestMetrics {
    /// The counters of `tenant`.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        if let Some(known) = self.tenants.read().get(tenant) {
            return known.clone();
        }
        self.tenants.write().entry(tenant.clone()).or_default().clone()
    }

    /// Counts a batch that storage did not take.
    pub fn append_failed(&self) {
        self.append_failures.add(1);
    }

    /// Counts stored lines.
    pub fn lines(&self, lengths: &LineLengths) {
        self.line_bytes.iter().zip(lengths.counts).for_each(|(counter, count)| counter.add(count));
        self.line_bytes_sum.add(lengths.sum);
    }

    /// Appends everything in Prometheus' text form.
    pub fn render(&self, out: &mut String) {
        let mut tenants: Vec<_> = self.tenants.read().iter().map(|(id, m)| (id.clone(), m.clone())).collect();
        tenants.sort_by(|a, b| a.0.cmp(&b.0));
        let mut family = Family { out, tenants: &tenants };

        type Get = fn(&FormatMetrics) -> &Counter;
        let received: [(&str, &str, Get); 3] = [
            ("loki_distributor_bytes_received_total", "Bytes received, lines and structured metadata.", |m| &m.bytes),
            ("loki_distributor_lines_received_total", "Lines received.", |m| &m.lines),
            (
                "loki_distributor_structured_metadata_bytes_received_total",
                "Bytes of structured metadata received.",
                |m| &m.metadata_bytes,
            ),
        ];
        for (name, help, get) in received {
            let has_retention = !name.contains("_lines_");
            family.by_format(name, help, |tenant, metrics, format| {
                let hours = tenant.retention_hours.load(Ordering::Relaxed);
                let retention = if has_retention { format!("retention_hours=\"{hours}\",") } else { String::new() };
                let labels = format!("{retention}is_internal_stream=\"false\",policy=\"\",format=\"{format}\"");
                vec![(labels, get(metrics).get())]
            });
        }

        type GetAll = fn(&FormatMetrics) -> &[Counter; Reason::NAMES.len()];
        let discarded: [(&str, &str, GetAll); 2] = [
            ("loki_discarded_samples_total", "Lines refused.", |m| &m.discarded_samples),
            ("loki_discarded_bytes_total", "Bytes of refused lines.", |m| &m.discarded_bytes),
        ];
        for (name, help, get) in discarded {
            family.by_format(name, help, |tenant, metrics, format| {
                let hours = tenant.retention_hours.load(Ordering::Relaxed);
                let counted = Reason::NAMES.iter().zip(get(metrics)).filter(|(_, counter)| counter.get() > 0);
                let labels = |reason: &str| {
                    format!("reason=\"{reason}\",retention_hours=\"{hours}\",policy=\"\",format=\"{format}\"")
                };
                counted.map(|(reason, counter)| (labels(reason), counter.get())).collect()
            });
        }

        type Tenant = fn(&TenantMetrics) -> u64;
        let plain: [(&str, &str, &str, &str, Tenant); 5] = [
            ("loki_mutated_samples_total", "Lines changed.", "counter", CUT, |m| m.truncated_lines.get()),
            ("loki_mutated_bytes_total", "Bytes cut off lines.", "counter", CUT, |m| m.truncated_bytes.get()),
            ("loki_ingester_memory_streams", "Active streams.", "gauge", "", |m| {
                m.streams_created.get().saturating_sub(m.streams_removed.get())
            }),
            ("loki_ingester_streams_created_total", "Streams that became active.", "counter", "", |m| {
                m.streams_created.get()
            }),
            ("loki_ingester_streams_removed_total", "Streams that went idle.", "counter", "", |m| {
                m.streams_removed.get()
            }),
        ];
        for (name, help, kind, labels, get) in plain {
            family.by_tenant(name, help, kind, labels, get);
        }
        self.render_global(out);
    }

    fn render_global(&self, out: &mut String) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            out,
            "# HELP loki_distributor_ingester_append_failures_total Batches that storage did not take.\n\
             # TYPE loki_distributor_ingester_append_failures_total counter\n\
             loki_distributor_ingester_append_failures_total {}\n\
             # HELP loki_bytes_per_line Length of stored lines.\n\
             # TYPE loki_bytes_per_line histogram\n",
            self.append_failures.get()
        );
        let mut count = 0;
        for (idx, counter) in self.line_bytes.iter().enumerate() {
            count += counter.get();
            let _ = match LINE_BYTES_BOUNDS.get(idx) {
                Some(bound) => writeln!(out, "loki_bytes_per_line_bucket{{le=\"{bound}\"}} {count}"),
                None => writeln!(out, "loki_bytes_per_line_bucket{{le=\"+Inf\"}} {count}"),
            };
        }
        let sum = self.line_bytes_sum.get();
        let _ = writeln!(out, "loki_bytes_per_line_sum {sum}\nloki_bytes_per_line_count {count}");
    }
}

/// Labels of a line that was cut.
const CUT: &str = "reason=\"line_too_long\",truncated=\"true\",";

/// Writes metric families.
struct Family<'a> {
    out: &'a mut String,
    tenants: &'a [(TenantId, Arc<TenantMetrics>)],
}

impl Family<'_> {
    fn header(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn by_format(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Fn(&TenantMetrics, &FormatMetrics, &str) -> Vec<(String, u64)>,
    ) {
        self.header(name, help, "counter");
        for (id, tenant) in self.tenants {
            for format in Format::ALL {
                let metrics = &tenant.formats[format as usize];
                if metrics.lines.get() == 0 && metrics.discarded_samples.iter().all(|counter| counter.get() == 0) {
                    continue;
                }
                // Tenant ids need no escapes: they hold neither quotes nor backslashes.
                for (labels, value) in samples(tenant, metrics, format.as_str()) {
                    let _ = writeln!(self.out, "{name}{{tenant=\"{id}\",{labels}}} {value}");
                }
            }
        }
    }

    fn by_tenant(&mut self, name: &str, help: &str, kind: &str, labels: &str, get: fn(&TenantMetrics) -> u64) {
        self.header(name, help, kind);
        for (id, tenant) in self.tenants {
            let _ = writeln!(self.out, "{name}{{{labels}tenant=\"{id}\"}} {}", get(tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = IngestMetrics::default();
        let tenant = metrics.tenant(&TenantId::new("a"));
        tenant.set_retention_hours(744);
        tenant.received(Format::Loki, 2, 100, 10);
        tenant.discarded(Format::Loki, Reason::RateLimited, 1, 50);
        tenant.streams_created(3);
        tenant.streams_removed(1);
        tenant.truncated(7);
        let mut lengths = LineLengths::default();
        [0, 1, 2, 3_000_000].into_iter().for_each(|len| lengths.add(len));
        metrics.lines(&lengths);
        let mut out = String::new();
        metrics.render(&mut out);
        for line in [
            "# TYPE loki_distributor_bytes_received_total counter",
            "loki_distributor_bytes_received_total{tenant=\"a\",retention_hours=\"744\",is_internal_stream=\"false\",policy=\"\",format=\"loki\"} 110",
            "loki_distributor_lines_received_total{tenant=\"a\",is_internal_stream=\"false\",policy=\"\",format=\"loki\"} 2",
            "loki_discarded_samples_total{tenant=\"a\",reason=\"rate_limited\",retention_hours=\"744\",policy=\"\",format=\"loki\"} 1",
            "loki_discarded_bytes_total{tenant=\"a\",reason=\"rate_limited\",retention_hours=\"744\",policy=\"\",format=\"loki\"} 50",
            "loki_mutated_bytes_total{reason=\"line_too_long\",truncated=\"true\",tenant=\"a\"} 7",
            "loki_ingester_memory_streams{tenant=\"a\"} 2",
            "loki_bytes_per_line_bucket{le=\"1\"} 2",
            "loki_bytes_per_line_bucket{le=\"8\"} 3",
            "loki_bytes_per_line_bucket{le=\"+Inf\"} 4",
            "loki_bytes_per_line_sum 3000003",
        ] {
            assert!(out.lines().any(|got| got == line), "{line} not in\n{out}");
        }
        assert!(!out.contains("otlp"));
        assert_eq!(Reason::RequestBodyTooLarge.as_str(), "request_body_too_large");
        assert_eq!(Reason::OutOfOrder.as_str(), "out_of_order");
    }
}
