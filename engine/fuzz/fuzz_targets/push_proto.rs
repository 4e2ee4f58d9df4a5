//! The protobuf push decoder: no panic, and spans lie in the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_engine::ingest::budget::Budget;
use logstack_engine::ingest::decode::push_proto;

fuzz_target!(|body: &[u8]| {
    let Ok(decoded) = push_proto::decode(body.to_vec(), Budget::new(16 << 20).share()) else { return };
    for entry in &decoded.entries {
        let metadata: usize = decoded.metadata(entry).map(|(name, value)| name.len() + value.len()).sum();
        assert!(entry.line.of(&decoded.bytes).len() + metadata <= body.len());
    }
});
