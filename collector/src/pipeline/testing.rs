//! A pipeline under test: stages from YAML, lines in, text out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use logstack_config::CollectorConfig;
use logstack_logql::Labels;

use super::{Context, Counters, Flush, Outgoing, Pipeline, SourceId, SourceLabels};
use crate::receipt::{Progress, Receipt};

/// 2026-01-15T00:00:00Z
pub const NOW_NS: i64 = 1_768_435_200_000_000_000;

/// A pipeline that remembers what it emits as `tenant{labels} timestamp line [metadata]`. The clock stands at 0.
pub struct Scene {
    pipeline: Pipeline,
    source: SourceLabels,
    now: Instant,
    now_ns: i64,
    offset: u64,
    pub progress: Arc<Progress>,
    pub counters: Counters,
    pub out: Vec<String>,
    /// What the last line asked its source to wait.
    pub wait: Duration,
}

fn stages(yaml: &str) -> Vec<logstack_config::collector::Stage> {
    let indented = if yaml.starts_with('[') {
        format!(" {yaml}")
    } else {
        yaml.lines().map(|line| format!("\n  {line}")).collect()
    };
    let text = format!(
        "clients: [{{url: 'http://x/push'}}]\nscrape_configs:\n- job_name: test\n  pipeline_stages:{indented}\n"
    );
    let (config, _) =
        logstack_config::load::<CollectorConfig>(&text, "test.yaml").unwrap_or_else(|e| panic!("{e}\n{text}"));
    config.scrape_configs[0].pipeline_stages.clone()
}

impl Scene {
    pub fn new(yaml: &str) -> Self {
        Self::with_labels(yaml, &[])
    }

    pub fn at(yaml: &str, now_ns: i64) -> Self {
        Self { now_ns, ..Self::new(yaml) }
    }

    pub fn with_labels(yaml: &str, labels: &[(&str, &str)]) -> Self {
        let counters = Counters::default();
        let pipeline = Pipeline::compile(&stages(yaml), &counters).unwrap_or_else(|err| panic!("{yaml}: {err}"));
        Self {
            pipeline,
            source: SourceLabels { labels: Labels::from_pairs(labels.iter().copied()), id: 1 },
            now: Instant::now(),
            now_ns: 0,
            offset: 0,
            progress: Progress::new(0),
            counters,
            out: Vec::new(),
            wait: Duration::ZERO,
        }
    }

    pub fn run(&mut self, line: &str) {
        self.run_bytes(line.as_bytes());
    }

    pub fn run_bytes(&mut self, line: &[u8]) {
        let start = self.offset;
        self.offset += line.len() as u64 + 1;
        let receipt = self.progress.chunk(self.offset);
        let mut cx = context(self.now, self.now_ns);
        (cx.receipt, cx.line_start) = (Some(&receipt), start);
        let out = &mut self.out;
        self.pipeline.run(&self.source, line, &mut cx, &mut |outgoing| out.push(show(outgoing)));
        self.wait = cx.wait;
        receipt.settle();
    }

    /// Seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.flush(Flush::Expired);
    }

    /// Seconds pass in which the source cannot be read.
    pub fn pass_blocked(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.pipeline.keep_waiting(SourceId(1), self.now);
            self.flush(Flush::Expired);
        }
    }

    pub fn flush(&mut self, what: Flush) {
        let out = &mut self.out;
        self.pipeline.flush(what, &mut context(self.now, self.now_ns), &mut |outgoing| out.push(show(outgoing)));
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        self.counters.write(self.now, &mut text);
        text
    }
}

fn context<'a>(now: Instant, now_ns: i64) -> Context<'a> {
    Context { now, now_ns, source: SourceId(1), receipt: None, line_start: 0, wait: Duration::ZERO }
}

fn show(outgoing: Outgoing<'_>) -> String {
    outgoing.held.drain(..).for_each(Receipt::settle);
    let entry = &outgoing.entry;
    let line = std::str::from_utf8(entry.line).expect("what leaves a pipeline is UTF-8");
    let mut text = format!("{}{} {} {line}", entry.tenant.unwrap_or_default(), entry.labels, entry.timestamp_ns);
    if !entry.metadata.is_empty() {
        let pairs: Vec<String> = entry.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text.push_str(&format!(" [{}]", pairs.join(", ")));
    }
    text
}

/// Runs `lines` through the stages.
#[track_caller]
pub fn check(yaml: &str, lines: &[&str], want: &[&str]) {
    let mut scene = Scene::new(yaml);
    lines.iter().for_each(|line| scene.run(line));
    assert_eq!(scene.out, want, "{yaml}");
}

/// The stages are refused with a text that has `part` in it.
#[track_caller]
pub fn check_error(yaml: &str, part: &str) {
    let err = Pipeline::compile(&stages(yaml), &Counters::default()).err().expect("the stages are wrong").to_string();
    assert!(err.contains(part), "{err}");
}
