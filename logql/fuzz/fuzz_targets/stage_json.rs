//! `| json`: the scanner survives any bytes and agrees with itself when it may stop early.

#![no_main]

mod stage;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static COMPILED: OnceLock<Vec<stage::Compiled>> = OnceLock::new();

fuzz_target!(|line: &[u8]| stage::run(&COMPILED, &[r#"| json"#], line));
