//! Line filters: every line that passes contains what the filter says it must contain.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use logstack_logql::ast::{Expr, Stage};
use logstack_logql::line_filter::CompiledLineFilter;
use logstack_logql::parse;

const FILTERS: [&str; 9] = [
    "|= `ab`",
    "|= `ab` or `é` or `1`",
    "!= `ab`",
    "|~ `(?i)task`",
    "|~ `a.*b|x[0-9]+y`",
    "|~ `^.$`",
    "|> `<_>a<_>b`",
    "|= ip(`10.0.0.0/8`)",
    "|= ip(`::/0`)",
];

fuzz_target!(|line: &[u8]| {
    static COMPILED: OnceLock<Vec<CompiledLineFilter>> = OnceLock::new();
    let compile = |filter: &&str| {
        let Ok(Expr::Log(log)) = parse(&format!("{{app=\"x\"}} {filter}")) else { panic!("{filter}") };
        let [Stage::LineFilter(filter)] = &log.stages[..] else { panic!("{filter}") };
        CompiledLineFilter::new(filter).expect("compiles")
    };
    for filter in COMPILED.get_or_init(|| FILTERS.iter().map(compile).collect()) {
        let passes = filter.matches(line);
        if let Some(literals) = filter.literals() {
            assert!(!passes || literals.may_match(line), "{filter:?}");
        }
    }
});
