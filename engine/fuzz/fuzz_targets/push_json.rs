//! The JSON push decoders, which unescape in place: no panic, and spans lie in the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_engine::ingest::budget::Budget;
use logstack_engine::ingest::decode::push_json;

fuzz_target!(|body: &[u8]| {
    for decode in [push_json::decode, push_json::decode_legacy] {
        let Ok(decoded) = decode(body.to_vec(), Budget::new(16 << 20).share()) else { continue };
        for entry in &decoded.entries {
            let metadata: usize = decoded.metadata(entry).map(|(name, value)| name.len() + value.len()).sum();
            assert!(entry.line.of(&decoded.bytes).len() + metadata <= body.len());
        }
    }
});
