//! Lines of container runtimes, CRI and Docker: any bytes become entries, nothing is kept for ever, nothing panics.
//!
//! `cargo +nightly fuzz run container` in `collector/`.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use logstack_collector::pipeline::{Context, Counters, Flush, Pipeline, SourceId, SourceLabels};
use logstack_config::CollectorConfig;
use logstack_logql::Labels;

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let stage = ["cri: {}", "docker: {}", "container: {}"][usize::from(*choice) % 3];
    let yaml = format!(
        "clients: [{{url: 'http://x'}}]\nscrape_configs: [{{job_name: x, journal: {{}}, pipeline_stages: [{{{stage}}}]}}]"
    );
    let (config, _) = logstack_config::load::<CollectorConfig>(&yaml, "fuzz").expect("a configuration");
    let stages = &config.scrape_configs[0].pipeline_stages;
    let mut pipeline = Pipeline::compile(stages, &Counters::default()).expect("stages");
    let source = SourceLabels { labels: Labels::from_pairs([("app", "x")]), id: 1 };
    let mut cx = Context {
        now: Instant::now(),
        now_ns: 0,
        source: SourceId(1),
        receipt: None,
        line_start: 0,
        wait: Duration::ZERO,
    };
    let lines = text.split(|byte| *byte == b'\n');
    let (mut read, mut emitted) = (0, 0);
    for line in lines {
        read += 1;
        pipeline.run(&source, line, &mut cx, &mut |_| emitted += 1);
    }
    pipeline.flush(Flush::All, &mut cx, &mut |_| emitted += 1);
    assert!(emitted <= read, "no line becomes two");
});
