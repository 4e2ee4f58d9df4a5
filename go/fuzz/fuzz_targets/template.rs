//! Any text as a template: parsing and executing never panic, overflow the stack or run away.
//!
//! `cargo +nightly fuzz run template` in `logql/`.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use logstack_go::gotime::Zone;
use logstack_go::template::{Lookup, Template, Value};

struct Entry<'t>(&'t str);

impl Lookup for Entry<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        matches!(name, "a" | "b").then(|| Value::from(self.0))
    }

    fn entries(&self) -> Vec<(&str, Value<'_>)> {
        vec![("a", Value::from(self.0)), ("b", Value::from(self.0))]
    }

    fn line(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn zone(&self) -> Zone {
        Zone::Utc
    }
}

fuzz_target!(|input: (&str, &str)| {
    let (text, label) = input;
    let Ok(template) = Template::parse("line", text) else { return };
    let mut out = Vec::new();
    let _ = template.execute(&Entry(label), &mut out);
});
