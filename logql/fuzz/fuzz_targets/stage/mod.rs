//! What the fuzz targets of the stages share: run pipelines over a line, read everything that comes out.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use logstack_logql::ast::Expr;
use logstack_logql::pipeline::{Entry, Pipeline, StreamContext, Wanted};
use logstack_logql::{Labels, parse};

/// A pipeline for all labels, and one for the label `a` alone.
pub struct Compiled {
    all: Pipeline,
    only_a: Pipeline,
    stream: StreamContext,
}

fn compile(stages: &str) -> Compiled {
    let query = format!("{{app=\"x\"}} {stages}");
    let Ok(Expr::Log(log)) = parse(&query) else { panic!("{query}") };
    let compile = |wanted| Pipeline::compile(&log.stages, None, &wanted).expect("compiles");
    Compiled {
        all: compile(Wanted::All),
        only_a: compile(Wanted::Only(vec!["a".to_owned()])),
        stream: StreamContext::new(Labels::from_pairs([("app", "x")])),
    }
}

/// Runs each of `pipelines` over the line, and checks that a consumer of one label sees the same value of it.
pub fn run(compiled: &'static OnceLock<Vec<Compiled>>, pipelines: &[&str], line: &[u8]) {
    let metadata = [("m".into(), "1".into())];
    for pipeline in compiled.get_or_init(|| pipelines.iter().map(|stages| compile(stages)).collect()) {
        let entry = Entry { timestamp_ns: 0, line, metadata: &metadata };
        let (mut scratch, mut scratch_a) = (pipeline.all.scratch(), pipeline.only_a.scratch());
        let all = pipeline.all.run(&pipeline.stream, &entry, &mut scratch);
        let only_a = pipeline.only_a.run(&pipeline.stream, &entry, &mut scratch_a);
        let (Some(all), Some(only_a)) = (all, only_a) else { continue };
        let labels: BTreeMap<&str, &str> = all.labels().map(|(name, value, _)| (name, value)).collect();
        assert_eq!(labels.len(), all.labels().len(), "a label twice");
        assert_eq!(labels.get("a").copied(), only_a.wanted(0));
        assert_eq!(all.line(), only_a.line());
    }
}
