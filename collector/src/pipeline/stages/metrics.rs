//! `metrics`: entries change metrics that users define; they are seen on `/metrics`.

use std::fmt::Write;
use std::sync::Arc;

use logstack_config::collector::stage::{MetricKind, MetricStage, MetricsStage};
use logstack_go::units::{parse_float, parse_go_duration};

use crate::pipeline::Context;
use crate::pipeline::compile::Error;
use crate::pipeline::counters::{Change, Counters, CustomKind, CustomMetrics};
use crate::pipeline::entry::Entry;
use crate::pipeline::extracted::{Kind, Value};

/// Prometheus' default buckets.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The stage.
#[derive(Debug)]
pub struct Metrics {
    metrics: Vec<Metric>,
    registry: Arc<CustomMetrics>,
    labels: String,
}

#[derive(Debug)]
struct Metric {
    name: String,
    source: String,
    action: Action,
    /// Only entries with exactly this value.
    value: Option<String>,
    match_all: bool,
    counts_bytes: bool,
    is_counter: bool,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Set,
    Inc,
    Dec,
    Add,
    Sub,
    Observe,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(config: &MetricsStage, counters: &Counters) -> Result<Self, Error> {
        let metrics =
            config.0.iter().map(|(name, metric)| compile(name, metric, counters)).collect::<Result<_, _>>()?;
        Ok(Self { metrics, registry: counters.custom.clone(), labels: String::new() })
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &Entry, cx: &Context<'_>) {
        let Self { metrics, registry, labels } = self;
        labels.clear();
        let mut pairs: Vec<(&str, &str)> = entry.labels.iter().filter(|(name, _)| !name.starts_with("__")).collect();
        pairs.sort_unstable();
        for (idx, (name, value)) in pairs.iter().enumerate() {
            let comma = if idx > 0 { "," } else { "" };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Writing to a String cannot fail.
            let _ = write!(labels, "{comma}{name}=\"{value}\"");
        }
        for metric in metrics {
            if let Some(change) = metric.change(entry) {
                registry.change(&metric.name, labels, change, cx.now);
            }
        }
    }
}

fn compile(name: &str, config: &MetricStage, counters: &Counters) -> Result<Metric, Error> {
    let full = format!("{}{name}", config.prefix);
    let is_name = full.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && full.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if !is_name {
        return Err(Error::new(name, format!("{full:?} is not a metric name")));
    }
    let kind = match config.kind {
        MetricKind::Counter => CustomKind::Counter,
        MetricKind::Gauge => CustomKind::Gauge,
        MetricKind::Histogram if config.config.buckets.is_empty() => CustomKind::Histogram(BUCKETS.to_vec()),
        MetricKind::Histogram => CustomKind::Histogram(config.config.buckets.clone()),
    };
    counters.custom.register(&full, &config.description, &kind, config.max_idle_duration.get());
    let action = match config.config.action.to_ascii_lowercase().as_str() {
        _ if config.kind == MetricKind::Histogram => Action::Observe,
        "set" => Action::Set,
        "inc" => Action::Inc,
        "dec" => Action::Dec,
        "sub" => Action::Sub,
        _ => Action::Add,
    };
    Ok(Metric {
        name: full,
        source: config.source.clone().unwrap_or_else(|| name.to_owned()),
        action,
        value: config.config.value.clone(),
        match_all: config.config.match_all,
        counts_bytes: config.config.count_entry_bytes,
        is_counter: config.kind == MetricKind::Counter,
    })
}

impl Metric {
    fn change(&self, entry: &Entry) -> Option<Change> {
        if self.match_all {
            return Some(Change::Add(if self.counts_bytes { entry.line.len() as f64 } else { 1.0 }));
        }
        let value = entry.value(&self.source)?;
        if self.value.as_ref().is_some_and(|wanted| value.string() != Some(wanted)) {
            return None;
        }
        match self.action {
            Action::Inc => Some(Change::Add(1.0)),
            Action::Dec => Some(Change::Add(-1.0)),
            // A counter that went down would look like a restart.
            Action::Add => number(value).filter(|more| !self.is_counter || *more >= 0.0).map(Change::Add),
            Action::Sub => number(value).map(|less| Change::Add(-less)),
            Action::Set => number(value).map(Change::Set),
            Action::Observe => number(value).map(Change::Observe),
        }
    }
}

/// A number, a Go duration in seconds, or a bool as 0 or 1.
fn number(value: Value<'_>) -> Option<f64> {
    match value.kind {
        Kind::Bool => Some(f64::from(u8::from(value.text == "true"))),
        Kind::Null | Kind::Absent => None,
        Kind::Text | Kind::Number => {
            let duration = || parse_go_duration(value.text).ok().map(|ns| ns as f64 / 1e9);
            parse_float(value.text).ok().or_else(duration)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::Scene;

    #[track_caller]
    fn check(metric: &str, lines: &[&str], want: &[&str]) {
        let stages = format!("- json: {{expressions: {{v: }}}}\n- metrics: {{m: {metric}}}");
        let mut scene = Scene::with_labels(&stages, &[("app", "web"), ("__hidden", "x")]);
        lines.iter().for_each(|line| scene.run(line));
        let text = scene.metrics();
        let got: Vec<&str> = text.lines().filter(|line| line.starts_with("promtail_custom_m")).collect();
        assert_eq!(got, want, "{metric}");
    }

    #[test]
    fn counts() {
        let lines = [r#"{"v":"2"}"#, r#"{"v":3}"#, r#"{"v":"1m"}"#, r#"{"v":true}"#, r#"{"v":"x"}"#, "{}"];
        check(
            "{type: Counter, config: {match_all: true, action: inc}}",
            &lines,
            &[r#"promtail_custom_m{app="web"} 6"#],
        );
        check(
            "{type: counter, config: {match_all: true, action: add, count_entry_bytes: true}}",
            &lines[..1],
            &[r#"promtail_custom_m{app="web"} 9"#],
        );
        check("{type: counter, source: v, config: {action: add}}", &lines, &[r#"promtail_custom_m{app="web"} 66"#]);
        check(
            "{type: counter, source: v, config: {action: inc, value: '3'}}",
            &lines,
            &[r#"promtail_custom_m{app="web"} 1"#],
        );
        check("{type: counter, source: v, config: {action: add}}", &[r#"{"v":-1}"#], &[]);
        check("{type: gauge, source: v, config: {action: set}}", &lines[..2], &[r#"promtail_custom_m{app="web"} 3"#]);
        check("{type: gauge, source: v, config: {action: sub}}", &lines[..2], &[r#"promtail_custom_m{app="web"} -5"#]);
        check(
            "{type: histogram, source: v, config: {buckets: [2, 10]}}",
            &lines[..3],
            &[
                r#"promtail_custom_m_bucket{app="web",le="2"} 1"#,
                r#"promtail_custom_m_bucket{app="web",le="10"} 2"#,
                r#"promtail_custom_m_bucket{app="web",le="+Inf"} 3"#,
                r#"promtail_custom_m_sum{app="web"} 65"#,
                r#"promtail_custom_m_count{app="web"} 3"#,
            ],
        );
    }

    #[test]
    fn forgets_idle_series() {
        let mut scene = Scene::new(
            "- metrics: {m: {type: counter, max_idle_duration: 1s, config: {match_all: true, action: inc}}}",
        );
        scene.run("l");
        assert!(scene.metrics().contains("promtail_custom_m"));
        scene.pass(2);
        assert!(!scene.metrics().contains("promtail_custom_m"));
    }
}
