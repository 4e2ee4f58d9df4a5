//! Lines of Docker's JSON files, and of files whose format is found out: any bytes become entries, nothing panics.
//!
//! `cargo +nightly fuzz run docker` in `collector/`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use logstack_collector::pipeline::Pipeline;
use logstack_collector_fuzz::{compile, run};

const STAGES: [&str; 2] = ["docker: {}", "container: {}"];

thread_local! {
    static PIPELINES: RefCell<[Pipeline; 2]> = RefCell::new(STAGES.map(compile));
}

fuzz_target!(|data: &[u8]| PIPELINES.with_borrow_mut(|pipelines| run(pipelines, data)));
