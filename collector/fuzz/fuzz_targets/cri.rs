//! Lines of CRI runtimes: any bytes become entries, nothing is kept for ever, nothing panics.
//!
//! `cargo +nightly fuzz run cri` in `collector/`.
#![no_main]

use std::cell::RefCell;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use logstack_collector::pipeline::{Context, Counters, Flush, Pipeline, SourceId, SourceLabels};
use logstack_config::CollectorConfig;
use logstack_logql::Labels;

const STAGES: [&str; 2] = ["cri: {}", "cri: {max_partial_lines: 1, max_partial_line_size: 7, max_partial_line_size_truncate: true}"];

thread_local! {
    // Compiled once: flushing empties them between two inputs.
    static PIPELINES: RefCell<[Pipeline; 2]> = RefCell::new(STAGES.map(compile));
}

fn compile(stage: &str) -> Pipeline {
    let yaml = format!(
        "clients: [{{url: 'http://x'}}]\nscrape_configs: [{{job_name: x, journal: {{}}, pipeline_stages: [{{{stage}}}]}}]"
    );
    let (config, _) = logstack_config::load::<CollectorConfig>(&yaml, "fuzz").expect("a configuration");
    Pipeline::compile(&config.scrape_configs[0].pipeline_stages, &Counters::default()).expect("stages")
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let source = SourceLabels { labels: Labels::from_pairs([("app", "x")]), id: 1 };
    let mut cx = Context {
        now: Instant::now(),
        now_ns: 0,
        source: SourceId(1),
        receipt: None,
        line_start: 0,
        wait: Duration::ZERO,
    };
    PIPELINES.with_borrow_mut(|pipelines| {
        let pipeline = &mut pipelines[usize::from(*choice) % STAGES.len()];
        let (mut read, mut emitted) = (0, 0);
        for line in text.split(|byte| *byte == b'\n') {
            read += 1;
            pipeline.run(&source, line, &mut cx, &mut |_| emitted += 1);
        }
        pipeline.flush(Flush::All, &mut cx, &mut |_| emitted += 1);
        assert!(emitted <= read, "no line becomes two");
    });
});
