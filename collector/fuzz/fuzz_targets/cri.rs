//! Lines of CRI runtimes: any bytes become entries, nothing is kept for ever, nothing panics.
//!
//! `cargo +nightly fuzz run cri` in `collector/`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use logstack_collector::pipeline::Pipeline;
use logstack_collector_fuzz::{compile, run};

const STAGES: [&str; 2] =
    ["cri: {}", "cri: {max_partial_lines: 1, max_partial_line_size: 7, max_partial_line_size_truncate: true}"];

thread_local! {
    static PIPELINES: RefCell<[Pipeline; 2]> = RefCell::new(STAGES.map(compile));
}

fuzz_target!(|data: &[u8]| PIPELINES.with_borrow_mut(|pipelines| run(pipelines, data)));
