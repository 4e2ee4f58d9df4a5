//! What the translation lets through is valid syntax for `regex`, and matching never panics.
//!
//! `cargo +nightly fuzz run translate` in `logql/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_go::re2;

fuzz_target!(|input: (&str, &[u8])| {
    let (pattern, text) = input;
    match re2::compile_named(pattern) {
        Ok(regex) => {
            let repaired = re2::repair(text);
            if let Some(captures) = regex.regex.captures(&repaired) {
                re2::expand(&regex, &captures, pattern, &mut Vec::new());
            }
        }
        Err(err) => assert!(err.to_string().starts_with("error parsing regexp: ")),
    }
});
