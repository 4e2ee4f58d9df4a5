//! Bodies of the push receiver: any bytes are streams or an error.
//!
//! `cargo +nightly fuzz run push` in `collector/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_collector::receive::push::decode;

fuzz_target!(|data: &[u8]| {
    let _ = decode::protobuf(data, 1 << 20);
    let _ = decode::json(data);
});
