//! Any text as a duration, a size, a number, a timestamp: no panic, and what is printed reads back.
//!
//! `cargo +nightly fuzz run units` in `logql/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_go::units::{
    GoDuration, PrometheusDuration, Rfc3339Nano, SampleValue, format_float, parse_atoi, parse_bytes,
    parse_bytes_literal, parse_float, parse_go_duration, parse_int_any_base, parse_prometheus_duration,
    parse_rfc3339_nano, parse_uint,
};

fuzz_target!(|text: &str| {
    if let Ok(ns) = parse_go_duration(text) {
        assert_eq!(parse_go_duration(&GoDuration(ns).to_string()), Ok(ns));
    }
    if let Ok(ns) = parse_prometheus_duration(text) {
        assert_eq!(parse_prometheus_duration(&PrometheusDuration(ns).to_string()), Ok(ns));
    }
    if let Ok(value) = parse_float(text)
        && !value.is_nan()
    {
        assert_eq!(parse_float(&format_float(value)), Ok(value));
        assert_eq!(parse_float(&SampleValue(value).to_string()), Ok(value));
    }
    if let Ok(ns) = parse_rfc3339_nano(text) {
        assert_eq!(parse_rfc3339_nano(&Rfc3339Nano(ns).to_string()), Ok(ns));
    }
    let _ = (parse_bytes(text), parse_bytes_literal(text));
    let _ = (parse_atoi(text), parse_int_any_base(text), parse_uint(text));
});
