//! Text -> configuration, with every finding: the way in for all kinds of file.

use serde::de::DeserializeOwned;

use crate::env;
use crate::finding::{Errors, Finding, Place, Severity, Warnings};
use crate::yaml::{Document, Report, Rules};

/// A configuration that is the whole of a document.
pub trait Root: DeserializeOwned {
    /// What is known about keys beyond the fields.
    #[doc(hidden)]
    fn rules() -> &'static Rules;

    /// Checks what types cannot say: ranges, keys that need each other.
    fn check(&self, report: &mut Report<'_>);
}

/// Finds the value of an environment variable.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How a text is read.
#[derive(Default)]
pub struct Options<'a> {
    /// Look-up of environment variables; `Some` switches `${VAR}` expansion on.
    pub env: Option<Lookup<'a>>,
    /// `key=value` arguments, laid over the file in order.
    pub set: &'a [String],
}

/// Reads `text` as a `T`. `file` is how findings name it.
///
/// # Errors
/// Every mistake at once.
pub fn load<T: Root>(text: &str, file: &str) -> Result<(T, Warnings), Errors> {
    load_with(text, file, &Options::default())
}

/// [`load`] with environment expansion and overrides.
///
/// # Errors
/// Every mistake at once.
pub fn load_with<T: Root>(text: &str, file: &str, options: &Options<'_>) -> Result<(T, Warnings), Errors> {
    let expanded = match options.env {
        Some(lookup) => match env::expand(text, lookup) {
            Ok(expanded) => Some(expanded),
            Err(error) => {
                let place = Place { file: file.into(), line: error.line, column: 1 };
                return Err(Errors::new(vec![Finding::new(Severity::Error, place, "", &error.to_string())]));
            }
        },
        None => None,
    };
    let mut document = Document::parse(expanded.as_deref().unwrap_or(text), file);
    for assignment in options.set {
        document.set(assignment);
    }
    load_document(&document)
}

/// [`load`] from a document that was read already.
///
/// # Errors
/// Every mistake at once.
pub fn load_document<T: Root>(document: &Document) -> Result<(T, Warnings), Errors> {
    let (value, findings) = inspect::<T>(document);
    match value.filter(|_| findings.iter().all(|f| f.severity == Severity::Warning)) {
        Some(value) => Ok((value, Warnings(findings))),
        None => Err(Errors::new(findings)),
    }
}

/// Decodes and checks. The value is there even with errors, as far as it can be, so that its checks ran too.
pub(crate) fn inspect<T: Root>(document: &Document) -> (Option<T>, Vec<Finding>) {
    let (value, removed, mut findings) = document.decode::<T>(T::rules());
    if let Some(value) = &value {
        let mut report = Report::without(document, removed);
        value.check(&mut report);
        findings.extend(report.into_findings());
    }
    findings.sort_by_key(|f| (f.place.line == 0, f.place.line, f.place.column));
    (value, findings)
}
