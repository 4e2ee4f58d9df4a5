//! `labels`, `static_labels`, `labeldrop`, `labelallow`.

use std::sync::Arc;

use logstack_config::collector::stage::{LabelAllowStage, LabelDropStage, LabelsStage, StaticLabelsStage};

use crate::pipeline::entry::Entry;

/// Extracted values become labels.
#[derive(Debug)]
pub struct Labels(Vec<(Arc<str>, String)>);

impl Labels {
    /// Of label -> extracted name.
    pub fn new(config: &LabelsStage) -> Self {
        Self(config.0.iter().map(|(label, source)| (label.into(), source.to_owned())).collect())
    }

    /// Runs the stage. What is not there, or null, leaves its label as it is.
    pub fn run(&self, entry: &mut Entry) {
        let Entry { labels, extracted, .. } = entry;
        for (label, source) in &self.0 {
            match extracted.get(source) {
                Some(value) if value.kind == crate::pipeline::extracted::Kind::Absent => {}
                Some(value) => {
                    if let Some(text) = value.string() {
                        labels.set(label, text);
                    }
                }
                None => {
                    let Some(text) = labels.base().get(source).map(str::to_owned) else { continue };
                    labels.set(label, &text);
                }
            }
        }
    }
}

/// Constant labels.
#[derive(Debug)]
pub struct StaticLabels(Vec<(Arc<str>, String)>);

impl StaticLabels {
    /// Empty values are skipped.
    pub fn new(config: &StaticLabelsStage) -> Self {
        let given = config.0.iter().filter(|(_, value)| !value.is_empty());
        Self(given.map(|(name, value)| (name.as_str().into(), value.clone())).collect())
    }

    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry) {
        for (name, value) in &self.0 {
            entry.labels.set(name, value);
        }
    }
}

/// Removes labels.
#[derive(Debug)]
pub struct LabelDrop(Vec<Arc<str>>);

impl LabelDrop {
    /// Exact names.
    pub fn new(config: &LabelDropStage) -> Self {
        Self(config.0.iter().map(|name| name.as_str().into()).collect())
    }

    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry) {
        for name in &self.0 {
            if !entry.labels.get(name).is_empty() {
                entry.labels.set(name, "");
            }
        }
    }
}

/// Removes all other labels, the tenant's too.
#[derive(Debug)]
pub struct LabelAllow(Vec<String>);

impl LabelAllow {
    /// Exact names.
    pub fn new(config: &LabelAllowStage) -> Self {
        Self(config.0.clone())
    }

    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry) {
        entry.labels.retain(|name| self.0.iter().any(|allowed| allowed == name));
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{Scene, check};

    #[test]
    fn sets_labels() {
        let json = "- json: {expressions: {a: , b: , e: }}";
        let line = r#"{"a":"1","b":null,"e":""}"#;
        let run = |stages: &str, want: &str| {
            check(&format!("{json}\n{stages}"), &[line], &[&format!("{want} 0 {line}")]);
        };
        run("- labels: {a: }", r#"{a="1"}"#);
        run("- labels: {x: a}", r#"{x="1"}"#);
        run("- labels: [a]", r#"{a="1"}"#);
        run("- labels: {b: , e: , m: }", "{}");
        run("- static_labels: {b: x, c: , n: 1}\n- labels: {b: }", r#"{b="x", n="1"}"#);
        // Extracted values do not follow later changes of labels.
        run("- static_labels: {s: x}\n- labels: {t: s}", r#"{s="x"}"#);
    }

    #[test]
    fn removes_labels() {
        let mut scene = Scene::with_labels("- labeldrop: [filename, none]", &[("app", "web"), ("filename", "/x")]);
        scene.run("l");
        assert_eq!(scene.out, [r#"{app="web"} 0 l"#]);
        let mut scene = Scene::with_labels("- labelallow: [app]", &[("app", "web"), ("filename", "/x")]);
        scene.run("l");
        assert_eq!(scene.out, [r#"{app="web"} 0 l"#]);
        check("- static_labels: {a: x, b: y}\n- labelallow: [b]", &["l"], &[r#"{b="y"} 0 l"#]);
        // The tenant is a label, too: labelallow removes it.
        check("- tenant: {value: t}\n- static_labels: {b: y}\n- labelallow: [b]", &["l"], &[r#"{b="y"} 0 l"#]);
        check("- static_labels: {b: y}\n- labelallow: [b]\n- tenant: {value: t}", &["l"], &[r#"t{b="y"} 0 l"#]);
    }

    #[test]
    fn labels_of_the_source_can_be_read() {
        let mut scene = Scene::with_labels("- labels: {copy: app}", &[("app", "web")]);
        scene.run("l");
        assert_eq!(scene.out, [r#"{app="web", copy="web"} 0 l"#]);
    }
}
