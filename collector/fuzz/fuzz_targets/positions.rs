//! Positions and state files: any bytes are read or count as damaged.
//!
//! `cargo +nightly fuzz run positions` in `collector/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_collector::{positions, state};

fuzz_target!(|data: &[u8]| {
    let _ = positions::Positions::parse(&String::from_utf8_lossy(data));
    let _ = state::decode(data);
});
