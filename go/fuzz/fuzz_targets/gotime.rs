//! Any layout and any text: no panic; what parses can be printed.
//!
//! `cargo +nightly fuzz run gotime` in `logql/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_go::gotime::{Layout, Zone};

fuzz_target!(|input: (&str, &str)| {
    let (layout, text) = input;
    let layout = Layout::new(layout);
    let zone = Zone::load("America/New_York").unwrap_or(Zone::Utc);
    match layout.parse(text, &zone) {
        Ok(time) => drop(time.format(layout.as_str())),
        Err(error) => drop(error.to_string()),
    }
});
