//! The journal's export format: any bytes are entries, an error, or not whole yet, and every entry takes bytes.
//!
//! `cargo +nightly fuzz run journal` in `collector/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_collector::receive::journal::export::parse;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((_, taken))) = parse(rest) {
        assert!(taken > 0);
        rest = &rest[taken..];
    }
});
