//! Compressed bodies: never more memory than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_engine::ingest::budget::Budget;
use logstack_engine::ingest::decode::encoding::{Encoding, unpack_snappy};

const LIMIT: usize = 1 << 20;

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Lz4] {
        if let Ok(unpacked) = encoding.unpack(body.to_vec(), LIMIT, &mut Budget::new(4 * LIMIT).share()) {
            assert!(unpacked.len() <= LIMIT);
        }
    }
    if let Ok(unpacked) = unpack_snappy(body, LIMIT, &mut Budget::new(4 * LIMIT).share()) {
        assert!(unpacked.len() <= LIMIT);
    }
});
