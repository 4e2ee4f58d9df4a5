//! `| label_format d=s, e="template"`: labels renamed or computed, from left to right.

use smallvec::SmallVec;

use super::line_format::Data;
use crate::ast::{self, LabelFormatSource};
use crate::pipeline::names::{ERROR, NameId, Names};
use crate::pipeline::state::Value;
use crate::pipeline::{Context, ErrorKind};
use logstack_go::template::{Template, TemplateError};

/// Why the stage cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0} cannot be formatted")]
    Reserved(String),
    #[error("multiple label name '{0}' not allowed in a single format operation")]
    Twice(String),
    #[error("invalid template for label '{label}': {source}")]
    Template { label: String, source: TemplateError },
}

enum Format {
    /// The value moves, the source disappears.
    Rename {
        label: NameId,
        from: NameId,
    },
    Template {
        label: NameId,
        template: Box<Template>,
    },
}

pub(crate) struct LabelFormat(Vec<Format>);

impl LabelFormat {
    pub(crate) fn new(formats: &[ast::LabelFormat], names: &mut Names) -> Result<Self, Error> {
        for (idx, format) in formats.iter().enumerate() {
            if format.label == "__error__" {
                return Err(Error::Reserved(format.label.clone()));
            }
            if formats[..idx].iter().any(|earlier| earlier.label == format.label) {
                return Err(Error::Twice(format.label.clone()));
            }
        }
        let format = |format: &ast::LabelFormat| {
            let label = names.intern(&format.label);
            match &format.source {
                LabelFormatSource::Rename(from) => Ok(Format::Rename { label, from: names.intern(from) }),
                LabelFormatSource::Template(text) => match Template::parse("label", text) {
                    Ok(template) => Ok(Format::Template { label, template: Box::new(template) }),
                    Err(source) => Err(Error::Template { label: format.label.clone(), source }),
                },
            }
        };
        formats.iter().map(format).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.0.iter().filter_map(|format| match format {
            Format::Template { template, .. } => Some(&**template),
            Format::Rename { .. } => None,
        })
    }

    pub(crate) fn run(&self, cx: &mut Context<'_>) {
        // All templates see the labels as they are at the first of them, so all are executed there.
        let mut results: Option<Results> = None;
        for format in &self.0 {
            match format {
                Format::Rename { from: ERROR, .. } => {}
                Format::Rename { label, from } => {
                    if let Some(value) = cx.labels.locate(*from) {
                        cx.labels.set(*label, value);
                        cx.labels.delete(*from);
                    }
                }
                Format::Template { label, .. } => {
                    let results = results.get_or_insert_with(|| self.execute(cx));
                    match results.next() {
                        Some(Ok(value)) => cx.labels.set(*label, value),
                        Some(Err(error)) => {
                            cx.labels.set_error_details(ErrorKind::TemplateFormat, format_args!("{error}"));
                        }
                        None => {}
                    }
                }
            }
        }
    }

    fn execute(&self, cx: &mut Context<'_>) -> Results {
        let env = cx.env;
        let mut results: SmallVec<[Result<Value, TemplateError>; 4]> = SmallVec::new();
        for template in self.templates() {
            let line = if cx.line.is_rewritten { &cx.line.text[..] } else { env.entry.line };
            let out = &mut cx.line.next;
            out.clear();
            let data = Data { labels: cx.labels, env, line };
            let executed = template.execute(&data, out);
            results.push(executed.map(|()| cx.labels.copy_bytes(out)));
        }
        results.into_iter()
    }
}

type Results = smallvec::IntoIter<[Result<Value, TemplateError>; 4]>;
