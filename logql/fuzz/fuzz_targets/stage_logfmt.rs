//! `| logfmt` with its flags survives any bytes.

#![no_main]

mod stage;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static COMPILED: OnceLock<Vec<stage::Compiled>> = OnceLock::new();

fuzz_target!(|line: &[u8]| stage::run(
    &COMPILED,
    &[r#"| logfmt"#, r#"| logfmt --strict"#, r#"| logfmt --keep-empty"#, r#"| logfmt a, b="a""#],
    line
));
