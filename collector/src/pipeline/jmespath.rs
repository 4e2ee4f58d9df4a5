//! JMESPath expressions of the `json` stage.
//!
//! Most expressions are names with dots between them: those are told apart, so that the stage can take their values
//! straight from the text. The rest is left to the crate `jmespath`.
//!
//! Source: <https://jmespath.org/specification.html>

use std::fmt;

use serde_json::Value as Json;

/// A parsed expression.
pub struct Expression {
    text: String,
    compiled: jmespath::Expression<'static>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong, in a line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let compiled = jmespath::compile(text).map_err(|err| {
            let reason = err.to_string();
            format!("{text:?} is no JMESPath expression: {}", reason.lines().next().unwrap_or_default())
        })?;
        Ok(Self { text: text.to_owned(), compiled })
    }

    /// The names, when the expression is nothing but names with dots between them.
    pub fn path(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut rest = self.text.trim();
        loop {
            let end = if let Some(quoted) = rest.strip_prefix('"') {
                let name = &quoted[..quoted.find('"')?];
                if name.contains('\\') {
                    return None;
                }
                names.push(name.to_owned());
                name.len() + 2
            } else {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                    return None;
                }
                names.push(rest[..end].to_owned());
                end
            };
            rest = &rest[end..];
            if rest.is_empty() {
                return Some(names);
            }
            rest = rest.strip_prefix('.')?;
        }
    }

    /// The value for `tree`; null when there is none, or the expression fails on it.
    pub fn evaluate(&self, tree: &Json) -> Json {
        let found = self.compiled.search(tree).ok();
        found.and_then(|value| serde_json::to_value(&*value).ok()).unwrap_or(Json::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_paths_from_other_expressions() {
        #[track_caller]
        fn check(text: &str, want: Option<&[&str]>) {
            let path = Expression::parse(text).unwrap().path();
            assert_eq!(path.as_deref(), want.map(|w| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).as_deref());
        }
        check("a", Some(&["a"]));
        check("a.b_1.C", Some(&["a", "b_1", "C"]));
        check("\"a-b\".c", Some(&["a-b", "c"]));
        check("a[0]", None);
        check("a || b", None);
        check("length(a)", None);
        check("\"a\\n\"", None);
        assert!(Expression::parse("a[").is_err());
    }
}
