//! `regex`: named groups of a regular expression become extracted values.

use std::sync::Arc;

use logstack_config::collector::stage::RegexStage;
use logstack_go::re2;
use tracing::warn;

use super::input;
use crate::pipeline::compile::Error;
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Regex {
    regex: regex::bytes::Regex,
    /// Group and name.
    groups: Vec<(usize, Arc<str>)>,
    source: Option<String>,
    /// Where groups of the last match lie in the input.
    found: Vec<Option<(usize, usize)>>,
    text: Vec<u8>,
}

impl Regex {
    /// Compiles the expression.
    pub fn new(config: &RegexStage) -> Result<Self, Error> {
        let compiled = re2::compile_named(&config.expression).map_err(|err| Error::new("expression", err))?;
        let groups: Vec<(usize, Arc<str>)> = compiled
            .names
            .iter()
            .enumerate()
            .filter_map(|(idx, name)| Some((idx, Arc::from(name.as_deref()?))))
            .filter(|(_, name): &(usize, Arc<str>)| !name.is_empty())
            .collect();
        if groups.is_empty() {
            warn!(
                expression = %config.expression,
                "regex stage without a named group extracts nothing (hint: write (?P<name>...))"
            );
        }
        Ok(Self { regex: compiled.regex, groups, source: config.source.clone(), found: Vec::new(), text: Vec::new() })
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry) {
        // The input is copied first: groups are written to the map that it may lie in.
        self.text.clear();
        match self.source.as_deref() {
            None => self.text.extend_from_slice(&re2::repair(&entry.line)),
            Some(_) => match input(entry, self.source.as_deref()) {
                Some(text) => self.text.extend_from_slice(text.as_bytes()),
                None => return,
            },
        }
        let Some(captures) = self.regex.captures(&self.text) else { return };
        self.found.clear();
        self.found.extend(self.groups.iter().map(|(group, _)| captures.get(*group).map(|m| (m.start(), m.end()))));
        for ((_, name), found) in self.groups.iter().zip(&self.found) {
            // A group that took no part is empty, not absent.
            let (start, end) = found.unwrap_or_default();
            entry.extracted.set_bytes(name, &self.text[start..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{check, check_error};

    #[test]
    fn extracts_named_groups() {
        let show = "- labels: {a: , b: }";
        let run = |stage: &str, line: &str, want: &str| check(&format!("{stage}\n{show}"), &[line], &[want]);
        run(r"- regex: {expression: '(?P<a>\d+) (?P<b>\w+)'}", "x 12 yz", r#"{a="12", b="yz"} 0 x 12 yz"#);
        run(r"- regex: {expression: '(?P<a>\d+)(?P<b>z)?'}", "x 12 34", r#"{a="12"} 0 x 12 34"#);
        run(r"- regex: {expression: '(?P<a>q)'}", "none", "{} 0 none");
        run(r"- regex: {expression: '(?P<a>q)', source: missing}", "q", "{} 0 q");
        check(
            "- regex: {expression: '(?P<u>\\S+)$'}\n- regex: {expression: '^(?P<a>[^[]+)', source: u}\n- labels: {a: }",
            &["GET /x[1"],
            &[r#"{a="/x"} 0 GET /x[1"#],
        );
        check_error(
            "- regex: {expression: '(?P<a>'}",
            "[0].regex.expression: error parsing regexp: missing closing ): `(?P<a>`",
        );
        run("- regex: {expression: 'abc'}", "abc", "{} 0 abc");
        run("- regex: {expression: '(a)(?:b)'}", "abc", "{} 0 abc");
    }
}
