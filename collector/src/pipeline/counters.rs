//! What pipelines count for `/metrics`: dropped lines by reason, and the metrics that users define.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Series of one metric that users define. More would be somebody's request ids.
const SERIES_MAX: usize = 10_000;

/// Lines dropped for one reason.
#[derive(Debug, Clone, Default)]
pub struct DropCounter(Arc<AtomicU64>);

impl DropCounter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of all pipelines. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    drops: Arc<Mutex<BTreeMap<String, DropCounter>>>,
    drops_by_label: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    errors: Arc<Mutex<BTreeMap<&'static str, DropCounter>>>,
    /// Metrics that users define.
    pub custom: Arc<CustomMetrics>,
}

impl Counters {
    /// The counter of lines dropped for `reason`.
    pub fn dropped(&self, reason: &str) -> DropCounter {
        self.drops.lock().entry(reason.to_owned()).or_default().clone()
    }

    /// The counter of lines that `stage` could not read.
    pub fn parse_errors(&self, stage: &'static str) -> DropCounter {
        self.errors.lock().entry(stage).or_default().clone()
    }

    /// Counts a line dropped by a limit of its own label value.
    pub fn dropped_by_label(&self, name: &str, value: &str) {
        let mut drops = self.drops_by_label.lock();
        if drops.len() < SERIES_MAX {
            *drops.entry((name.to_owned(), value.to_owned())).or_default() += 1;
        } else if let Some(count) = drops.get_mut(&(name.to_owned(), value.to_owned())) {
            *count += 1;
        }
    }

    /// Appends the text that Prometheus reads.
    pub fn write(&self, now: Instant, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP logentry_dropped_lines_total Lines dropped by a stage.");
        let _ = writeln!(out, "# TYPE logentry_dropped_lines_total counter");
        for (reason, counter) in &*self.drops.lock() {
            let _ = writeln!(out, "logentry_dropped_lines_total{{reason={reason:?}}} {}", counter.get());
        }
        let by_label = self.drops_by_label.lock();
        if !by_label.is_empty() {
            let _ = writeln!(out, "# TYPE logentry_dropped_lines_by_label_total counter");
        }
        for ((name, value), count) in &*by_label {
            let _ = writeln!(
                out,
                "logentry_dropped_lines_by_label_total{{label_name={name:?},label_value={value:?}}} {count}"
            );
        }
        drop(by_label);
        let _ = writeln!(out, "# HELP logstack_collector_parse_errors_total Lines that a stage could not read.");
        let _ = writeln!(out, "# TYPE logstack_collector_parse_errors_total counter");
        for (stage, counter) in &*self.errors.lock() {
            let _ = writeln!(out, "logstack_collector_parse_errors_total{{stage={stage:?}}} {}", counter.get());
        }
        self.custom.write(now, out);
    }
}

/// What a custom metric is.
#[derive(Debug, Clone, PartialEq)]
pub enum CustomKind {
    /// Goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size; upper bounds, ascending.
    Histogram(Vec<f64>),
}

/// Metrics of `metrics` stages, by full name.
#[derive(Debug, Default)]
pub struct CustomMetrics(Mutex<BTreeMap<String, Metric>>);

#[derive(Debug)]
struct Metric {
    help: String,
    kind: CustomKind,
    idle_max: Duration,
    series: BTreeMap<String, Series>,
}

#[derive(Debug)]
struct Series {
    value: f64,
    count: u64,
    buckets: Vec<u64>,
    last: Instant,
}

/// What an entry does to a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// The value is this.
    Set(f64),
    /// So much more.
    Add(f64),
    /// One more value of a histogram.
    Observe(f64),
}

impl CustomMetrics {
    /// Makes a metric known; one of the same name and kind goes on counting.
    pub fn register(&self, name: &str, help: &str, kind: &CustomKind, idle_max: Duration) {
        let mut metrics = self.0.lock();
        let metric = metrics.entry(name.to_owned()).or_insert_with(|| Metric {
            help: help.to_owned(),
            kind: kind.clone(),
            idle_max,
            series: BTreeMap::new(),
        });
        if metric.kind != *kind {
            metric.kind = kind.clone();
            metric.series.clear();
        }
    }

    /// Changes the series of `name` with `labels`, already written as `a="b",c="d"`.
    pub fn change(&self, name: &str, labels: &str, change: Change, now: Instant) {
        let mut metrics = self.0.lock();
        let Some(metric) = metrics.get_mut(name) else { return };
        if !metric.series.contains_key(labels) {
            if metric.series.len() >= SERIES_MAX {
                return;
            }
            let buckets = match &metric.kind {
                CustomKind::Histogram(bounds) => vec![0; bounds.len()],
                _ => Vec::new(),
            };
            metric.series.insert(labels.to_owned(), Series { value: 0.0, count: 0, buckets, last: now });
        }
        let Some(series) = metric.series.get_mut(labels) else { return };
        series.last = now;
        match change {
            Change::Set(value) => series.value = value,
            Change::Add(value) => series.value += value,
            Change::Observe(value) => {
                series.value += value;
                series.count += 1;
                if let CustomKind::Histogram(bounds) = &metric.kind {
                    let place = bounds.partition_point(|bound| *bound < value);
                    series.buckets[place..].iter_mut().for_each(|count| *count += 1);
                }
            }
        }
    }

    fn write(&self, now: Instant, out: &mut String) {
        for (name, metric) in &mut *self.0.lock() {
            metric.series.retain(|_, series| now.duration_since(series.last) <= metric.idle_max);
            if metric.series.is_empty() {
                continue;
            }
            let kind = match metric.kind {
                CustomKind::Counter => "counter",
                CustomKind::Gauge => "gauge",
                CustomKind::Histogram(_) => "histogram",
            };
            let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, series) in &metric.series {
                let comma = if labels.is_empty() { "" } else { "," };
                match &metric.kind {
                    CustomKind::Histogram(bounds) => {
                        for (bound, count) in bounds.iter().zip(&series.buckets) {
                            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
                        }
                        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", series.count);
                        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", series.value);
                        let _ = writeln!(out, "{name}_count{{{labels}}} {}", series.count);
                    }
                    _ => {
                        let _ = writeln!(out, "{name}{{{labels}}} {}", series.value);
                    }
                }
            }
        }
    }
}
