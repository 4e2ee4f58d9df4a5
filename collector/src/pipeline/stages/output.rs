//! `output`: an extracted value becomes the line.

use logstack_config::collector::stage::OutputStage;

use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Output(String);

impl Output {
    /// Of the value's name.
    pub fn new(config: &OutputStage) -> Self {
        Self(config.source.clone())
    }

    /// Runs the stage. Without the value the line stays.
    pub fn run(&self, entry: &mut Entry) {
        let mut line = std::mem::take(&mut entry.line);
        if let Some(text) = entry.string(&self.0) {
            line.clear();
            line.extend_from_slice(text.as_bytes());
        }
        entry.line = line;
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::Scene;

    #[test]
    fn takes_what_can_be_converted() {
        let run = |source: &str, want: &str| {
            let stages =
                format!("- json: {{expressions: {{s: , n: , b: , z: , o: }}}}\n- output: {{source: {source}}}");
            let mut scene = Scene::with_labels(&stages, &[("app", "web")]);
            scene.run(r#"{"s":"text","n":1.5,"b":true,"z":null,"o":{"k":1}}"#);
            assert_eq!(scene.out, [format!(r#"{{app="web"}} 0 {want}"#)], "{source}");
        };
        let unchanged = r#"{"s":"text","n":1.5,"b":true,"z":null,"o":{"k":1}}"#;
        run("s", "text");
        run("n", "1.5");
        run("b", "true");
        run("o", r#"{"k":1}"#);
        run("app", "web");
        run("z", unchanged);
        run("missing", unchanged);
    }
}
