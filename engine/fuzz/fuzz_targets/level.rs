//! Level detection on any line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_config::Limits;
use logstack_engine::ingest::level::{Level, LevelNames};

fuzz_target!(|line: &[u8]| {
    Level::of_line(line, &LevelNames::new(&Limits::default().log_level_fields), 2);
});
