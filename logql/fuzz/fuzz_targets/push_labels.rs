//! The label text of pushed streams: any text gives pairs or an error.
//!
//! `cargo +nightly fuzz run push_labels` in `logql/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_logql::push_labels;

fuzz_target!(|text: &str| {
    let _ = push_labels::parse(text);
});
