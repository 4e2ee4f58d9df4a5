//! Promtail's YAML: any text is a configuration whose stages, rules and targets compile, or has mistakes.
//!
//! `cargo +nightly fuzz run config` in `collector/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_config::CollectorConfig;

fuzz_target!(|text: &str| {
    if let Ok((config, _)) = logstack_config::load::<CollectorConfig>(text, "fuzz") {
        let _ = logstack_collector::check(&config);
    }
});
