//! `template`: writes an extracted value by a Go template. Also the data that templates of `replace` see.

use std::sync::Arc;

use logstack_config::collector::stage::TemplateStage;
use logstack_go::template::{Elements, Lookup, Options, Template as Parsed, TemplateError, Value};

use super::sprig;
use crate::pipeline::compile::Error;
use crate::pipeline::entry::Entry;
use crate::pipeline::extracted::Kind;

/// The stage.
#[derive(Debug)]
pub struct Template {
    source: Arc<str>,
    template: Parsed,
    out: Vec<u8>,
}

/// Parses a template with the collector's functions.
pub fn parse(text: &str) -> Result<Parsed, TemplateError> {
    Parsed::parse_with("pipeline_template", text, &Options { functions: sprig::functions(), data: Elements::Any })
}

/// What a template sees: extracted values, `.Entry` and `.Value`.
pub struct Data<'e> {
    /// Whose extracted values.
    pub entry: &'e Entry,
    /// The line.
    pub line: &'e [u8],
    /// `.Value`, if there is one.
    pub value: Option<Value<'e>>,
}

impl Lookup for Data<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "Entry" => Some(Value::bytes(self.line)),
            "Value" => self.value.clone(),
            _ => self.entry.value(name).map(|value| value.for_template()),
        }
    }

    fn entries(&self) -> Vec<(&str, Value<'_>)> {
        let mut all: Vec<(&str, Value<'_>)> =
            self.entry.values().into_iter().map(|(name, value)| (name, value.for_template())).collect();
        all.push(("Entry", Value::bytes(self.line)));
        all.extend(self.value.clone().map(|value| ("Value", value)));
        all.sort_by(|a, b| a.0.cmp(b.0));
        all
    }

    fn line(&self) -> &[u8] {
        self.line
    }

    fn timestamp_ns(&self) -> i64 {
        self.entry.timestamp_ns
    }
}

impl Template {
    /// Parses the template.
    pub fn new(config: &TemplateStage) -> Result<Self, Error> {
        let template = parse(&config.template).map_err(|err| Error::new("template", err))?;
        Ok(Self { source: config.source.as_str().into(), template, out: Vec::new() })
    }

    /// Runs the stage. A template that fails changes nothing.
    pub fn run(&mut self, entry: &mut Entry) {
        self.out.clear();
        let value = entry.value(&self.source).map(|value| value.for_template());
        let data = Data { line: &entry.line, value, entry };
        if self.template.execute(&data, &mut self.out).is_err() {
            return;
        }
        if self.out.is_empty() {
            entry.extracted.set(&self.source, Kind::Absent, "");
        } else {
            entry.extracted.set_bytes(&self.source, &self.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{check, check_error};

    #[test]
    fn writes_values() {
        let run = |template: &str, want: &str| {
            let stages = format!(
                "- json: {{expressions: {{a: , n: , s: }}}}\n- template: {{source: a, template: '{template}'}}\n- labels: {{a: }}"
            );
            let line = r#"{"a":"Old","n":3,"s":" x "}"#;
            check(&stages, &[line], &[&format!("{want} 0 {line}")]);
        };
        run("{{ .Value | ToUpper }}", r#"{a="OLD"}"#);
        run("{{ .Value }}-{{ .n }}", r#"{a="Old-3"}"#);
        run("{{ len .Entry }}", r#"{a="27"}"#);
        run("{{ .missing }}", r#"{a="<no value>"}"#);
        run("{{ .missing | ToUpper }}", r#"{a="Old"}"#);
        run("{{ if eq .Value \"nope\" }}x{{ end }}", "{}");
        run("{{ Replace .Value \"l\" \"L\" -1 }}", r#"{a="OLd"}"#);
        run("{{ regexReplaceAll \"(O)(.)\" .Value \"$2$1\" }}", r#"{a="lOd"}"#);
        run("{{ .s | trim | quote }}", r#"{a="\"x\""}"#);
        run("{{ Sha2Hash \"abc\" \"\" | trunc 8 }}", r#"{a="ba7816bf"}"#);
        run("{{ Hash \"\" \"abc\" | trunc 8 }}", r#"{a="3a985da7"}"#);
        run("{{ ternary \"y\" \"n\" (gt (.n | float64) 2.0) }}", r#"{a="y"}"#);
        run("{{ if eq .n \"3\" }}three{{ end }}", r#"{a="three"}"#);
        run("{{ trunc 1 .n }}xx", r#"{a="3xx"}"#);
        run("", "{}");
        run("{{ .missing | default \"d\" }}", r#"{a="d"}"#);
        check_error("- template: {source: a, template: '{{ nope .Value }}'}", "function \"nope\" not defined");
    }
}
