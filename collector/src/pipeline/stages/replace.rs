//! `replace`: rewrites what the groups of a regular expression captured, by a template.

use std::sync::Arc;

use logstack_config::collector::stage::ReplaceStage;
use logstack_go::re2::{self, NamedRegex};
use logstack_go::template::{Template, Value};
use tracing::warn;

use super::input;
use super::template::{Data, parse};
use crate::pipeline::compile::Error;
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Replace {
    regex: NamedRegex,
    names: Vec<Option<Arc<str>>>,
    source: Option<Arc<str>>,
    /// `None`: it could not be parsed, so that nothing is done, as in Promtail.
    template: Option<Template>,
}

impl Replace {
    /// Compiles expression and template.
    pub fn new(config: &ReplaceStage) -> Result<Self, Error> {
        let regex = re2::compile_named(&config.expression).map_err(|err| Error::new("expression", err))?;
        let template = match parse(&config.replace) {
            Ok(template) => Some(template),
            Err(err) => {
                warn!(error = %err, "the template of a replace stage is wrong, the stage does nothing");
                None
            }
        };
        let names = regex.names.iter().map(|name| name.as_deref().map(Arc::from)).collect();
        Ok(Self { regex, names, source: config.source.as_deref().map(Arc::from), template })
    }

    /// Runs the stage: all matches from left to right, only captured text is replaced.
    pub fn run(&mut self, entry: &mut Entry) {
        let Some(template) = &self.template else { return };
        let Some(text) = input(entry, self.source.as_deref()).map(|text| text.into_owned().into_bytes()) else {
            return;
        };
        let mut out = Vec::with_capacity(text.len());
        let mut copied = 0;
        // Captured text -> what stands in its place; groups with a name are extracted with the latter.
        let mut replaced: Vec<(&[u8], Vec<u8>)> = Vec::new();
        let mut first_match: Vec<&[u8]> = Vec::new();
        for captures in self.regex.regex.captures_iter(&text) {
            if first_match.is_empty() {
                first_match = captures.iter().map(|group| group.map_or(&b""[..], |group| group.as_bytes())).collect();
            }
            for group in captures.iter().skip(1).flatten() {
                let mut new = Vec::new();
                let data = Data { entry, line: &entry.line, value: Some(Value::bytes(group.as_bytes())) };
                if template.execute(&data, &mut new).is_err() {
                    return;
                }
                // A group inside one that is replaced already is gone.
                if copied <= group.start() {
                    out.extend_from_slice(&text[copied..group.start()]);
                    out.extend_from_slice(&new);
                    copied = group.end();
                }
                replaced.push((group.as_bytes(), new));
            }
        }
        if first_match.is_empty() {
            return;
        }
        out.extend_from_slice(&text[copied..]);
        for (name, captured) in self.names.iter().zip(&first_match) {
            let Some(name) = name else { continue };
            if let Some((_, new)) = replaced.iter().rev().find(|(old, _)| old == captured) {
                entry.extracted.set_bytes(name, new);
            }
        }
        match &self.source {
            None => entry.line = out,
            Some(source) => entry.extracted.set_bytes(source, &out),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn replaces_groups_only() {
        let run = |stage: &str, line: &str, want: &str| check(&format!("- replace: {stage}"), &[line], &[want]);
        run(r"{expression: 'password (\S+)', replace: '****'}", "user x password y z", "{} 0 user x password **** z");
        run(r"{expression: 'password \S+', replace: '****'}", "password y", "{} 0 password y");
        run(r"{expression: '(\d+)', replace: '<{{ .Value }}>'}", "1 a 22", "{} 0 <1> a <22>");
        run(r"{expression: '((a)b)', replace: '{{ .Value | ToUpper }}'}", "ab ab", "{} 0 AB AB");
        run(r"{expression: '(x)', replace: ''}", "axb", "{} 0 ab");
        run(r"{expression: '(x)', replace: '{{ .Value'}", "axb", "{} 0 axb");
        check(
            "- replace: {expression: '(?P<ip>\\d+)', replace: '{{ .Value }}!'}\n- labels: {ip: }",
            &["at 12 and 13"],
            &[r#"{ip="12!"} 0 at 12! and 13!"#],
        );
        check(
            "- regex: {expression: '(?P<u>\\S+)$'}\n- replace: {expression: '(a)', source: u, replace: b}\n- labels: {u: }",
            &["x aa"],
            &[r#"{u="bb"} 0 x aa"#],
        );
    }
}
