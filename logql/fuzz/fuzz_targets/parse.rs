//! The parser survives any text, and what it takes is printed as text that it takes.
//!
//! `cargo +nightly fuzz run parse` in `logql/`; seeds: the queries in `tests/golden/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_logql::{parse, parse_log_selector, parse_selector};

fuzz_target!(|text: &str| {
    let _ = parse_selector(text);
    let _ = parse_log_selector(text);
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    // Printing adds parentheses, so that a query at the limit of nesting or size may be printed beyond it.
    if let Err(err) = parse(&printed) {
        let err = err.to_string();
        assert!(err.contains("nests deeper") || err.contains("too long"), "{text:?} was printed as {printed:?}: {err}");
    }
    let _ = expr.pretty();
});
