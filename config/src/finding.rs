//! What is wrong with a configuration, told so that its writer can mend it: file, line, key, reason, remedy.

use std::fmt;
use std::sync::Arc;

/// Whether a finding stops the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, but something in it does less than it says.
    Warning,
}

/// A place in a file. Line and column count from 1; line 0: the place is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as the user named it; `--set key=value` for an argument.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// One mistake or warning.
///
/// Displays as `stack.yaml:14: limits_config.retention_perid: unknown key (did you mean retention_period?)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    /// Whether it stops the load.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// Which key: `scrape_configs[0].job_name`; empty: the whole document.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it: `did you mean …?` or `hint: …`.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding whose text may end in its remedy: `"30" has no unit (hint: write 30d)`.
    pub fn new(severity: Severity, place: Place, path: impl Into<String>, text: &str) -> Self {
        let (reason, remedy) = split_remedy(text);
        Self { severity, place, path: path.into(), reason: reason.to_owned(), remedy: remedy.map(str::to_owned) }
    }
}

/// Splits ` (hint: …)` and ` (did you mean …)` off the end of a text.
fn split_remedy(text: &str) -> (&str, Option<&str>) {
    let Some(body) = text.strip_suffix(')') else { return (text, None) };
    let start = [" (hint: ", " (did you mean "].iter().filter_map(|opening| body.rfind(opening)).max();
    start.map_or((text, None), |at| (&text[..at], Some(&body[at + 2..])))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.file)?;
        if self.place.line > 0 {
            write!(f, ":{}", self.place.line)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.reason)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

/// What was noticed about a configuration that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings(pub Vec<Finding>);

/// Why a configuration was refused: every mistake at once, in the order of the file, and the warnings beside them.
///
/// Displays one error a line, without the warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Finding>);

impl Errors {
    /// At least one error among `findings`.
    pub fn new(findings: Vec<Finding>) -> Self {
        debug_assert!(findings.iter().any(|f| f.severity == Severity::Error), "errors without an error");
        Self(findings)
    }

    /// Errors and warnings, in the order of the file.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|f| f.severity == Severity::Error)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, finding) in self.errors().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// ` (did you mean …?)` with the nearest of `names`, or nothing when none is near.
pub(crate) fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let lower = word.to_ascii_lowercase();
    // A third of the letters may be wrong: `retention_perid`, but not any other word.
    let distance_max = (word.len() / 3).clamp(1, 4);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase()), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .min()
        .map_or_else(String::new, |(_, name)| format!(" (did you mean {name}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_place_path_reason_remedy() {
        #[track_caller]
        fn check(line: u32, path: &str, text: &str, want: &str) {
            let place = Place { file: "a.yaml".into(), line, column: 1 };
            assert_eq!(Finding::new(Severity::Error, place, path, text).to_string(), want);
        }
        check(14, "x.y", "unknown key (did you mean z?)", "a.yaml:14: x.y: unknown key (did you mean z?)");
        check(0, "", "is empty", "a.yaml: is empty");
        check(2, "x", "a (b)", "a.yaml:2: x: a (b)");
    }

    #[test]
    fn splits_reason_and_remedy() {
        assert_eq!(split_remedy("no unit (hint: write (30d))"), ("no unit", Some("hint: write (30d)")));
        assert_eq!(split_remedy("plain (text)"), ("plain (text)", None));
    }

    #[test]
    fn suggests_only_what_is_near() {
        #[track_caller]
        fn check(word: &str, want: &str) {
            assert_eq!(did_you_mean(word, ["retention_period", "retention_stream", "server"]), want, "{word}");
        }
        check("retention_perid", " (did you mean retention_period?)");
        check("Server", " (did you mean server?)");
        check("colour", "");
    }
}
