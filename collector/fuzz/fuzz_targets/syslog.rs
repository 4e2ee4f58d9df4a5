//! Syslog: any stream is cut into messages or refused, the same whole as byte by byte; any message is read or is none.
//!
//! `cargo +nightly fuzz run syslog` in `collector/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_collector::receive::syslog::frame::Framer;
use logstack_collector::receive::syslog::message::{parse_rfc3164, parse_rfc5424};

fn messages(chunks: impl Iterator<Item = Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut framer = Framer::new(8192);
    for chunk in chunks {
        framer.feed(&chunk, &mut |message| found.push(message.to_vec())).ok()?;
    }
    framer.end(&mut |message| found.push(message.to_vec()));
    Some(found)
}

fuzz_target!(|data: &[u8]| {
    let whole = messages([data.to_vec()].into_iter());
    if data.len() < 4096 {
        assert_eq!(whole, messages(data.iter().map(|byte| vec![*byte])));
    }
    for message in whole.into_iter().flatten() {
        let _ = (parse_rfc5424(&message), parse_rfc3164(&message, 1_768_435_200_000_000_000));
    }
});
