//! `| regexp "(?P<name>re)"`: named groups of the first match as labels.

use regex::bytes::CaptureLocations;

use crate::pipeline::Context;
use crate::pipeline::keys::sanitize;
use crate::pipeline::names::{NameId, Names};
use crate::pipeline::state::Flow;
use logstack_go::re2::{self, NamedRegex};

/// Why the expression cannot be used. Displays as in Loki's answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not a regular expression.
    #[error(transparent)]
    Regex(#[from] re2::Error),
    /// Nothing would be extracted.
    #[error("at least one named capture must be supplied")]
    NoCapture,
    /// A name is used twice.
    #[error("duplicate extracted label name '{0}'")]
    DuplicateName(String),
}

/// Compiles the expression and checks the names of its groups: what the `regexp` stage accepts.
///
/// # Errors
/// [`Error`]. The reference server puts `invalid regexp parser: ` in front.
pub(crate) fn compile(pattern: &str) -> Result<NamedRegex, Error> {
    let named = re2::compile_named(pattern)?;
    let mut seen: Vec<&str> = Vec::new();
    for name in named.names.iter().flatten() {
        if seen.contains(&name.as_str()) {
            return Err(Error::DuplicateName(name.clone()));
        }
        seen.push(name);
    }
    if seen.is_empty() { Err(Error::NoCapture) } else { Ok(named) }
}

pub(crate) struct Regexp {
    regex: regex::bytes::Regex,
    /// Number of the group and the label.
    groups: Vec<(usize, NameId)>,
    /// Which of the scratch's capture locations are this stage's.
    locations_idx: usize,
}

impl Regexp {
    pub(crate) fn new(pattern: &str, locations_idx: usize, names: &mut Names) -> Result<Self, Error> {
        let NamedRegex { regex, names: group_names } = compile(pattern)?;
        let groups = group_names.iter().enumerate();
        let groups = groups.filter_map(|(idx, name)| {
            // A group name may start with a digit, a label may not.
            let mut label = String::new();
            sanitize(&mut label, name.as_deref()?);
            Some((idx, names.intern(&label)))
        });
        let groups = groups.collect();
        Ok(Self { regex, groups, locations_idx })
    }

    /// Room for the groups of one match.
    pub(crate) fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// False: the line is dropped.
    pub(crate) fn run(&self, cx: &mut Context<'_>) -> bool {
        if cx.labels.needs.is_empty() {
            return true;
        }
        let env = cx.env;
        let mut source = cx.line.source(&env, cx.is_text);
        let locations = &mut cx.locations[self.locations_idx];
        let repaired = if source.is_ascii { source.bytes.into() } else { re2::repair(source.bytes) };
        source.is_stored_text &= matches!(repaired, std::borrow::Cow::Borrowed(_));
        source.bytes = &repaired;
        if self.regex.captures_read(locations, source.bytes).is_none() {
            return true;
        }
        for &(group, name) in &self.groups {
            let Some(name) = cx.labels.claim(name) else { continue };
            // An optional group that took no part is an empty label.
            let (start, end) = locations.get(group).unwrap_or((0, 0));
            let value = cx.labels.cut(source, start..end, &env);
            match cx.labels.set_found(name, value, &env) {
                Flow::Continue => {}
                Flow::Complete => break,
                Flow::Drop => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_useless_expressions() {
        #[track_caller]
        fn check(pattern: &str, want: &str) {
            assert_eq!(compile(pattern).map(|_| ()).unwrap_err().to_string(), want);
        }
        check("foo", "at least one named capture must be supplied");
        check("(?P<a>x)(?P<a>y)", "duplicate extracted label name 'a'");
        check("(", "error parsing regexp: missing closing ): `(`");
    }
}
