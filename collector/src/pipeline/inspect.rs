//! `--inspect`: tells on standard error what each stage does to each entry. For people at a terminal: a switch of the
//! whole process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use super::stages::Flow;

static IS_ON: AtomicBool = AtomicBool::new(false);

/// From now on every stage tells.
pub fn switch_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// What an entry is before a stage, if anybody wants to know.
pub(super) fn before(entry: &Entry) -> Option<Box<Snapshot>> {
    IS_ON.load(Ordering::Relaxed).then(|| Box::new(Snapshot::of(entry)))
}

/// Tells what has changed since `before`.
pub(super) fn after(before: Option<Box<Snapshot>>, stage: &str, entry: &Entry, flow: Flow) {
    let Some(before) = before else { return };
    let text = match flow {
        Flow::Next => before.differences(&Snapshot::of(entry), stage),
        Flow::Gone => format!("[inspect: {stage} stage]: dropped or kept back\n"),
    };
    // Standard error that is closed is nobody's loss.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// An entry, as people see it.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    line: String,
    timestamp: String,
    labels: BTreeMap<String, String>,
    extracted: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
}

impl Snapshot {
    fn of(entry: &Entry) -> Self {
        let timestamp = jiff::Timestamp::from_nanosecond(i128::from(entry.timestamp_ns)).unwrap_or_default();
        Self {
            line: entry.text().into_owned(),
            timestamp: timestamp.to_string(),
            labels: entry.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            extracted: entry.values().iter().map(|(name, value)| ((*name).to_owned(), value.text.to_owned())).collect(),
            metadata: entry.metadata.iter().cloned().collect(),
        }
    }

    fn differences(&self, after: &Self, stage: &str) -> String {
        let mut out = format!("[inspect: {stage} stage]:");
        if self == after {
            out.push_str(" none\n");
            return out;
        }
        out.push('\n');
        for (name, old, new) in [("Entry", &self.line, &after.line), ("Timestamp", &self.timestamp, &after.timestamp)] {
            if old != new {
                // Writing to a String cannot fail.
                let _ = writeln!(out, "  {name}\n    -{old}\n    +{new}");
            }
        }
        let maps = [
            ("Labels", &self.labels, &after.labels),
            ("Extracted", &self.extracted, &after.extracted),
            ("Structured metadata", &self.metadata, &after.metadata),
        ];
        for (name, old, new) in maps.into_iter().filter(|(_, old, new)| old != new) {
            let _ = writeln!(out, "  {name}");
            for (key, value) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
                let _ = writeln!(out, "    -{key}: {value}");
            }
            for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(value)) {
                let _ = writeln!(out, "    +{key}: {value}");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(line: &str, labels: &[(&str, &str)]) -> Snapshot {
        Snapshot {
            line: line.to_owned(),
            timestamp: "t".to_owned(),
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            extracted: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn tells_what_changed() {
        let before = snapshot("a", &[("x", "1"), ("y", "2")]);
        assert_eq!(
            before.differences(&snapshot("a", &[("x", "1"), ("y", "2")]), "json"),
            "[inspect: json stage]: none\n"
        );
        assert_eq!(
            before.differences(&snapshot("b", &[("x", "1"), ("y", "3")]), "labels"),
            "[inspect: labels stage]:\n  Entry\n    -a\n    +b\n  Labels\n    -y: 2\n    +y: 3\n"
        );
    }
}
