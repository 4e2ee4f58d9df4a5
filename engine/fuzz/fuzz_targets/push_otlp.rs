//! The OTLP decoders, both encodings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_config::EngineConfig;
use logstack_engine::ingest::budget::Budget;
use logstack_engine::ingest::decode::otlp;
use logstack_engine::ingest::rules::PushRules;

fuzz_target!(|body: &[u8]| {
    let rules = PushRules::new(&EngineConfig::default().resolved_limits()).expect("the defaults are valid");
    for decode in [otlp::proto::decode, otlp::json::decode] {
        let Ok(decoded) = decode(body, &rules.otlp, 0, Budget::new(16 << 20).share()) else { continue };
        for entry in &decoded.entries {
            decoded.metadata(entry).for_each(drop);
            entry.line.of(&decoded.bytes);
        }
    }
});
