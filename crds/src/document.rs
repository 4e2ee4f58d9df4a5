//! YAML documents -> LogStacks and LogScrapes, every mistake with its line.
//!
//! What an API server would refuse is refused here: unknown keys, wrong types, and the CEL rules, which
//! `rules.rs` says again in Rust.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use logstack_config::yaml::{Document, Nulls, Report, Rules};
use logstack_config::{Errors, Finding, Place, Root, Severity, Warnings, load_document};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{GROUP, LogScrape, LogScrapeSpec, LogStack, LogStackSpec, VERSION, rules};

/// An object with the document it was read from.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The object.
    pub object: T,
    /// Its document, to place later findings.
    pub document: Document,
}

/// The objects of some files.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// LogStacks, in the order of the files.
    pub stacks: Vec<Placed<LogStack>>,
    /// LogScrapes, in the order of the files.
    pub scrapes: Vec<Placed<LogScrape>>,
}

/// True when the text holds an object of ours: decides what kind of file `logstack check` looks at.
pub fn is_ours(text: &str, file: &str) -> bool {
    Document::parse_all(text, file).iter().any(|document| {
        let api = document.root().get("apiVersion").and_then(|node| node.text());
        api.is_some_and(|api| api.split('/').next() == Some(GROUP))
    })
}

/// Reads the documents of several files, each a name and its text. Objects of other kinds are left out with a warning.
///
/// # Errors
/// Every mistake of every document at once.
pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(Documents, Warnings), Errors> {
    let mut documents = Documents::default();
    let mut findings = Vec::new();
    for (file, text) in files {
        for document in Document::parse_all(text, file) {
            documents.add(document, &mut findings);
        }
    }
    documents.check_names(&mut findings);
    match findings.iter().any(|finding| finding.severity == Severity::Error) {
        true => Err(Errors::new(findings)),
        false => Ok((documents, Warnings(findings))),
    }
}

impl Documents {
    fn add(&mut self, document: Document, findings: &mut Vec<Finding>) {
        let text = |key: &str| document.root().get(key).and_then(|node| node.text()).unwrap_or_default().to_owned();
        let (api, kind) = (text("apiVersion"), text("kind"));
        let wanted = format!("{GROUP}/{VERSION}");
        let mut report = Report::new(&document);
        if api.is_empty() && kind.is_empty() && document.mistakes().is_empty() {
            report.error("", format!("is no object (hint: begin with apiVersion: {wanted} and kind: LogStack)"));
        } else if api.split('/').next() != Some(GROUP) && !api.is_empty() {
            report.warning("kind", format!("{kind} of {api} is left out: only {GROUP} is read here"));
        } else if api != wanted && document.mistakes().is_empty() {
            report.error("apiVersion", format!("{api:?} is not {wanted}"));
        } else {
            match kind.as_str() {
                "LogScrape" => {
                    if let Some(object) = read::<LogScrapeSpec>(&document, findings) {
                        let object = LogScrape { metadata: object.metadata, spec: object.spec, status: None };
                        self.scrapes.push(Placed { object, document });
                    }
                    return;
                }
                "LogStack" => {
                    if let Some(object) = read::<LogStackSpec>(&document, findings) {
                        let object = LogStack { metadata: object.metadata, spec: object.spec, status: None };
                        self.stacks.push(Placed { object, document });
                    }
                    return;
                }
                _ => report.error("kind", format!("{kind:?} is not one of LogStack, LogScrape")),
            }
        }
        findings.extend(document.mistakes().iter().cloned());
        findings.extend(report.into_findings());
    }

    /// Two objects of one kind must not have one name.
    fn check_names(&self, findings: &mut Vec<Finding>) {
        let stacks = self.stacks.iter().map(|s| ("LogStack", &s.object.metadata, &s.document));
        let scrapes = self.scrapes.iter().map(|s| ("LogScrape", &s.object.metadata, &s.document));
        let mut seen: Vec<(String, Place)> = Vec::new();
        for (kind, metadata, document) in stacks.chain(scrapes) {
            let id = format!("{kind} {}/{}", namespace(metadata), metadata.name.as_deref().unwrap_or_default());
            let place = document.place_of("metadata.name");
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == id) {
                let text = format!("{id} is given twice, first in {} on line {}", first.file, first.line);
                findings.push(Finding::new(Severity::Error, place, "metadata.name", &text));
            } else {
                seen.push((id, place));
            }
        }
    }
}

/// The object's namespace; `default` where none is written.
pub(crate) fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or("default")
}

fn read<S: Spec>(document: &Document, findings: &mut Vec<Finding>) -> Option<Envelope<S>> {
    match load_document::<Envelope<S>>(document) {
        Ok((object, warnings)) => {
            findings.extend(warnings.0);
            Some(object)
        }
        Err(errors) => {
            findings.extend(errors.findings().iter().cloned());
            None
        }
    }
}

/// A custom resource as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "S: Spec")]
struct Envelope<S> {
    #[allow(dead_code, reason = "looked at before")]
    api_version: String,
    #[allow(dead_code, reason = "looked at before")]
    kind: String,
    metadata: ObjectMeta,
    #[serde(default)]
    spec: S,
    /// Written by the operator; a copy of a live object has it.
    #[serde(default)]
    #[allow(dead_code, reason = "read and left")]
    status: Option<IgnoredAny>,
}

/// The spec of one of our kinds.
trait Spec: DeserializeOwned + Default {
    fn check(&self, name: &str, report: &mut Report<'_>);
}

impl Spec for LogStackSpec {
    fn check(&self, name: &str, report: &mut Report<'_>) {
        rules::check_stack(name, self, report);
    }
}

impl Spec for LogScrapeSpec {
    fn check(&self, _: &str, report: &mut Report<'_>) {
        rules::check_scrape(self, report);
    }
}

impl<S: Spec> Root for Envelope<S> {
    fn rules() -> &'static Rules {
        const RULES: Rules = Rules { nulls: Nulls::Absent, ignored: &[], refused: &[], is_lenient: |_| false };
        &RULES
    }

    fn check(&self, report: &mut Report<'_>) {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            report.error("metadata", "needs the key name");
        }
        self.spec.check(name, report);
    }
}
