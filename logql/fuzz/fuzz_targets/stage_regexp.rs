//! `| regexp`: groups of invalid UTF-8 stay inside the line.

#![no_main]

mod stage;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static COMPILED: OnceLock<Vec<stage::Compiled>> = OnceLock::new();

fuzz_target!(|line: &[u8]| stage::run(
    &COMPILED,
    &[r#"| regexp `(?P<a>\w+)=(?P<b>.)?`"#, r#"| regexp `^(?P<a>[^ ]*) (?P<c>.*)$`"#],
    line
));
