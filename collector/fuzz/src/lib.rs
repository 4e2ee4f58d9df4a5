//! What the fuzz targets of line formats share: a pipeline that runs over any bytes, line by line.

use std::time::{Duration, Instant};

use logstack_collector::pipeline::{Context, Counters, Flush, Pipeline, SourceId, SourceLabels};
use logstack_config::CollectorConfig;
use logstack_logql::Labels;

/// A pipeline of one stage, written as in a configuration. Compiled once: the flush empties it between two inputs.
pub fn compile(stage: &str) -> Pipeline {
    let yaml = format!(
        "clients: [{{url: 'http://x'}}]\nscrape_configs: [{{job_name: x, journal: {{}}, pipeline_stages: [{{{stage}}}]}}]"
    );
    let (config, _) = logstack_config::load::<CollectorConfig>(&yaml, "fuzz").expect("a configuration");
    Pipeline::compile(&config.scrape_configs[0].pipeline_stages, &Counters::default()).expect("stages")
}

/// Runs the pipeline that the first byte chooses over the lines of the rest.
pub fn run(pipelines: &mut [Pipeline], data: &[u8]) {
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
    let choice = usize::from(*choice) % pipelines.len();
    let pipeline = &mut pipelines[choice];
    let (mut read, mut emitted) = (0, 0);
    for line in text.split(|byte| *byte == b'\n') {
        read += 1;
        pipeline.run(&source, line, &mut cx, &mut |_| emitted += 1);
    }
    pipeline.flush(Flush::All, &mut cx, &mut |_| emitted += 1);
    assert!(emitted <= read, "no line becomes two");
}
