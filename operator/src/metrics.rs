//! `/metrics` in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Upper bounds of the duration histogram, seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Labels in the order in which they are written.
type Labels = Vec<(&'static str, String)>;

/// Counters and gauges of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    counters: Mutex<BTreeMap<(&'static str, Labels), f64>>,
    gauges: Mutex<BTreeMap<(&'static str, Labels), f64>>,
    durations: Mutex<BTreeMap<&'static str, Histogram>>,
    is_leader: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

/// Names with their type and help.
const FAMILIES: [(&str, &str, &str); 16] = [
    ("logstack_operator_reconciles_total", "counter", "Passes by result."),
    ("logstack_operator_reconcile_errors_total", "counter", "Failed passes by reason."),
    ("logstack_operator_applies_total", "counter", "Objects looked at, by what was written."),
    ("logstack_operator_drift_corrections_total", "counter", "Fields that somebody else had changed."),
    ("logstack_operator_watch_events_total", "counter", "Events of watches."),
    ("logstack_operator_watch_restarts_total", "counter", "Watches that began anew."),
    (
        "logstack_operator_watch_last_progress_timestamp_seconds",
        "gauge",
        "When a watch was last heard, bookmarks included.",
    ),
    ("logstack_operator_api_requests_total", "counter", "Requests to the API server."),
    ("logstack_operator_queue_depth", "gauge", "Objects that wait or are worked on."),
    ("logstack_operator_objects_in_backoff", "gauge", "Objects whose last pass failed."),
    ("logstack_operator_leader", "gauge", "1: this process writes."),
    ("logstack_operator_build_info", "gauge", "Version of the operator."),
    ("logstack_ready", "gauge", "Condition Ready: 1 is True."),
    ("logstack_condition", "gauge", "Conditions by status."),
    ("logstack_storage_requested_bytes", "gauge", "Size of the volume that the spec asks for."),
    ("logstack_scrapes", "gauge", "LogScrapes of a stack by state."),
];

impl Metrics {
    /// Counts one.
    pub fn count(&self, name: &'static str, labels: &[(&'static str, &str)]) {
        *self.counters.lock().entry((name, own(labels))).or_default() += 1.0;
    }

    /// Sets a gauge.
    pub fn set(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.gauges.lock().insert((name, own(labels)), value);
    }

    /// Notes that a watch of `kind` was heard.
    pub fn progress(&self, kind: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.set("logstack_operator_watch_last_progress_timestamp_seconds", &[("kind", kind)], now.floor());
    }

    /// Notes how long a pass took.
    pub fn observe(&self, controller: &'static str, took: Duration) {
        let mut durations = self.durations.lock();
        let histogram = durations.entry(controller).or_default();
        let seconds = took.as_secs_f64();
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// Removes the gauges of an object that is gone.
    pub fn forget(&self, kind: &str, namespace: &str, name: &str) {
        let wanted = [("kind", kind), ("namespace", namespace), ("name", name)];
        self.gauges.lock().retain(|(_, labels), _| !labels.starts_with(&own(&wanted)));
    }

    /// Whether this process writes.
    pub fn set_leader(&self, is_leader: bool) {
        self.is_leader.store(is_leader, Ordering::Relaxed);
    }

    /// The sum of a counter over labels that include `wanted`.
    pub fn sum(&self, name: &str, wanted: &[(&'static str, &str)]) -> f64 {
        let wanted = own(wanted);
        let counters = self.counters.lock();
        let fits = |(known, labels): &(&str, Labels)| *known == name && wanted.iter().all(|pair| labels.contains(pair));
        counters.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).sum()
    }

    /// The whole page.
    pub fn page(&self) -> String {
        self.set("logstack_operator_leader", &[], f64::from(u8::from(self.is_leader.load(Ordering::Relaxed))));
        self.set("logstack_operator_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("kube", "5")], 1.0);
        let mut out = String::new();
        let (counters, gauges) = (self.counters.lock(), self.gauges.lock());
        for (name, kind, help) in FAMILIES {
            let samples: Vec<_> =
                counters.iter().chain(gauges.iter()).filter(|((known, _), _)| *known == name).collect();
            if samples.is_empty() {
                continue;
            }
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((_, labels), value) in samples {
                let _ = writeln!(out, "{name}{} {value}", written(labels));
            }
        }
        let name = "logstack_operator_reconcile_duration_seconds";
        let durations = self.durations.lock();
        if !durations.is_empty() {
            let _ = writeln!(out, "# HELP {name} Time of a pass.\n# TYPE {name} histogram");
        }
        for (controller, histogram) in &*durations {
            for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
                let _ = writeln!(out, "{name}_bucket{{controller=\"{controller}\",le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{name}_bucket{{controller=\"{controller}\",le=\"+Inf\"}} {}", histogram.count);
            let _ = writeln!(out, "{name}_sum{{controller=\"{controller}\"}} {}", histogram.sum);
            let _ = writeln!(out, "{name}_count{{controller=\"{controller}\"}} {}", histogram.count);
        }
        out
    }
}

fn own(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

fn written(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_page() {
        let metrics = Metrics::default();
        metrics.count("logstack_operator_reconciles_total", &[("controller", "logstack"), ("result", "ok")]);
        metrics.set("logstack_ready", &[("kind", "LogStack"), ("namespace", "a"), ("name", "b\"")], 1.0);
        metrics.observe("logstack", Duration::from_millis(20));
        let page = metrics.page();
        assert!(page.contains("logstack_operator_reconciles_total{controller=\"logstack\",result=\"ok\"} 1\n"));
        assert!(page.contains("logstack_ready{kind=\"LogStack\",namespace=\"a\",name=\"b\\\"\"} 1\n"));
        assert!(page.contains("_bucket{controller=\"logstack\",le=\"0.05\"} 1\n"));
        metrics.forget("LogStack", "a", "b\"");
        assert!(!metrics.page().contains("logstack_ready{"));
    }
}
