//! `structured_metadata`: extracted values or labels become structured metadata.

use logstack_config::collector::stage::StructuredMetadataStage;
use std::sync::Arc;

use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct StructuredMetadata(Vec<(String, Arc<str>)>);

impl StructuredMetadata {
    /// Of name -> extracted name or label.
    pub fn new(config: &StructuredMetadataStage) -> Self {
        Self(config.0.iter().map(|(name, source)| (name.to_owned(), source.into())).collect())
    }

    /// Runs the stage. A label with that very value leaves the stream: this is how labels are demoted.
    pub fn run(&self, entry: &mut Entry) {
        for (name, source) in &self.0 {
            let label = entry.labels.get(source);
            let value = match entry.string(source) {
                Some(value) => value.to_owned(),
                None if !label.is_empty() => label.to_owned(),
                None => continue,
            };
            if label == value && !value.is_empty() {
                entry.labels.set(source, "");
            }
            match entry.metadata.iter_mut().find(|(known, _)| known == name) {
                Some(pair) => pair.1 = value,
                None => entry.metadata.push((name.clone(), value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{Scene, check};

    #[test]
    fn adds_metadata_and_demotes_labels() {
        check(
            "- json: {expressions: {t: }}\n- structured_metadata: {trace: t, none: }",
            &[r#"{"t":"1"}"#],
            &[r#"{} 0 {"t":"1"} [trace=1]"#],
        );
        let mut scene =
            Scene::with_labels("- structured_metadata: {filename: }", &[("app", "web"), ("filename", "/x")]);
        scene.run("l");
        assert_eq!(scene.out, [r#"{app="web"} 0 l [filename=/x]"#]);
        check("- static_labels: {a: x}\n- non_indexed_labels: {b: a}", &["l"], &["{} 0 l [b=x]"]);
    }
}
