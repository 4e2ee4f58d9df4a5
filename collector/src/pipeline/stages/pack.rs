//! `pack`: puts labels into the line, as JSON that LogQL's `unpack` takes apart again.

use std::sync::Arc;

use logstack_config::collector::stage::PackStage;

use crate::pipeline::Context;
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Pack {
    /// Sorted.
    names: Vec<Arc<str>>,
    ingest_timestamp: bool,
}

impl Pack {
    /// Of the labels' names.
    pub fn new(config: &PackStage) -> Self {
        let mut names: Vec<Arc<str>> = config.labels.iter().map(|name| name.as_str().into()).collect();
        names.sort();
        names.dedup();
        Self { names, ingest_timestamp: config.ingest_timestamp }
    }

    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry, cx: &Context<'_>) {
        let mut line = String::from("{");
        for name in &self.names {
            let Some(value) = entry.string(name) else { continue };
            quote(name, &mut line);
            line.push(':');
            quote(value, &mut line);
            line.push(',');
            entry.labels.set(name, "");
        }
        line.push_str("\"_entry\":");
        quote(&entry.text(), &mut line);
        line.push('}');
        entry.line = line.into_bytes();
        if self.ingest_timestamp {
            entry.timestamp_ns = cx.now_ns;
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{NOW_NS, Scene};

    #[test]
    fn packs_labels() {
        let mut scene =
            Scene::with_labels("- pack: {labels: [pod, app, missing]}", &[("app", "web"), ("pod", "p\"1"), ("x", "y")]);
        scene.run("a\tb");
        assert_eq!(scene.out, [r#"{x="y"} 0 {"app":"web","pod":"p\"1","_entry":"a\tb"}"#]);
        // Its time is that of the packing, unless told otherwise.
        for (pack, want) in [("{}", NOW_NS), ("{ingest_timestamp: false}", 5)] {
            let regex = "- regex: {expression: '(?P<t>\\d+)'}\n- timestamp: {source: t, format: UnixNs}";
            let mut scene = Scene::at(&format!("{regex}\n- pack: {pack}"), NOW_NS);
            scene.run("5");
            assert_eq!(scene.out, [format!(r#"{{}} {want} {{"_entry":"5"}}"#)], "{pack}");
        }
    }
}
