//! `| line_format "template"`: a new line.

use crate::pipeline::names::Names;
use crate::pipeline::needs::Needs;
use crate::pipeline::state::{Env, LabelState};
use crate::pipeline::{Context, ErrorKind};
use logstack_go::template::{Lookup, Template, TemplateError, Value};

pub(crate) struct LineFormat(Template);

impl LineFormat {
    pub(crate) fn new(template: &str) -> Result<Self, TemplateError> {
        Ok(Self(Template::parse("line", template)?))
    }

    pub(crate) fn template(&self) -> &Template {
        &self.0
    }

    /// A template that fails leaves the line as it is, and an error.
    pub(crate) fn run(&self, cx: &mut Context<'_>) {
        let env = cx.env;
        let line = if cx.line.is_rewritten { &cx.line.text[..] } else { env.entry.line };
        let data = Data { labels: cx.labels, env, line };
        cx.line.next.clear();
        match self.0.execute(&data, &mut cx.line.next) {
            Ok(()) => cx.line.replace(),
            Err(error) => cx.labels.set_error_details(ErrorKind::TemplateFormat, format_args!("{error}")),
        }
    }
}

/// The labels of a line as a template sees them.
pub(super) struct Data<'a> {
    pub labels: &'a LabelState,
    pub env: Env<'a>,
    pub line: &'a [u8],
}

impl Lookup for Data<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let name = self.labels.names.find(name)?;
        self.labels.get(name, &self.env).map(Value::from)
    }

    fn entries(&self) -> Vec<(&str, Value<'_>)> {
        let mut entries = Vec::new();
        self.labels.visit(&self.env, |_, name, value, _| entries.push((name, Value::from(value))));
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries
    }

    fn line(&self) -> &[u8] {
        self.line
    }

    fn timestamp_ns(&self) -> i64 {
        self.env.entry.timestamp_ns
    }
}

/// Adds the labels that a template looks at.
pub(crate) fn add_needs(template: &Template, needs: &mut Needs, names: &mut Names) {
    let references = template.references();
    needs.all |= references.all;
    references.names.iter().for_each(|name| needs.add(names.intern(name)));
}
