//! `| unpack` replaces the line only by what it read.

#![no_main]

mod stage;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static COMPILED: OnceLock<Vec<stage::Compiled>> = OnceLock::new();

fuzz_target!(|line: &[u8]| stage::run(&COMPILED, &[r#"| unpack"#, r#"| unpack | json"#], line));
