//! As much of Helm's templates as the snippets of the charts are made of: values put in, as they are or as YAML, and
//! branches on whether a value says something.
//!
//! What goes beyond that is not evaluated at all: half a template would mean something else.

use serde_json::Value;

/// Deepest nesting of branches.
const DEPTH_MAX: usize = 16;

/// `text` with its actions evaluated; `values` finds what `.Values.<path>` is. `None`: it holds more than this knows.
pub(super) fn render(text: &str, values: &dyn Fn(&str) -> Value) -> Option<String> {
    let mut out = String::new();
    let mut branches: Vec<Branch> = Vec::new();
    let mut rest = text;
    let mut trims_next = false;
    while let Some(start) = rest.find("{{") {
        let (mut literal, action) = (&rest[..start], &rest[start + 2..]);
        let end = action.find("}}")?;
        let (action, after) = (&action[..end], &action[end + 2..]);
        if trims_next {
            literal = literal.trim_start();
        }
        let (action, trims_before) = strip(action, action.strip_prefix('-'));
        let (action, trims_after) = strip(action, action.strip_suffix('-'));
        if trims_before {
            literal = literal.trim_end();
        }
        let is_on = |branches: &[Branch]| branches.iter().all(|branch| branch.is_on);
        if is_on(&branches) {
            out.push_str(literal);
        }
        trims_next = trims_after;
        rest = after;
        let action = action.trim();
        let (word, argument) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
        match word {
            "if" | "with" if branches.len() < DEPTH_MAX => {
                let value = match is_on(&branches) {
                    true => evaluate(argument, &branches, values)?.value()?,
                    false => Value::Null,
                };
                let dot = (word == "with").then(|| value.clone());
                branches.push(Branch { is_on: is_true(&value), dot });
            }
            "else" if argument.is_empty() => {
                let branch = branches.last_mut()?;
                *branch = Branch { is_on: !branch.is_on, dot: None };
            }
            "end" => drop(branches.pop()?),
            _ if action.starts_with("/*") => {}
            _ if is_on(&branches) => out.push_str(&evaluate(action, &branches, values)?.text()?),
            _ => {}
        }
    }
    out.push_str(if trims_next { rest.trim_start() } else { rest });
    branches.is_empty().then_some(out)
}

/// An `if` or `with` that is open.
struct Branch {
    is_on: bool,
    /// What `.` is inside.
    dot: Option<Value>,
}

fn strip<'a>(text: &'a str, stripped: Option<&'a str>) -> (&'a str, bool) {
    (stripped.unwrap_or(text), stripped.is_some())
}

/// What an expression is: a value, or a text that a function made.
enum Term {
    Value(Value),
    Text(String),
}

impl Term {
    fn value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Text(text) => Some(text.into()),
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(Value::String(text)) => Some(text),
            Self::Value(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            // Go prints maps and lists in a way that is no YAML.
            Self::Value(_) => None,
        }
    }
}

fn evaluate(expression: &str, branches: &[Branch], values: &dyn Fn(&str) -> Value) -> Option<Term> {
    let mut parts = expression.split('|').map(str::trim);
    let first: Vec<&str> = parts.next()?.split_whitespace().collect();
    let operand = |word: &str| match word.strip_prefix(".Values.") {
        Some(path) => Some(values(path)),
        None if word == "." => branches.iter().rev().find_map(|branch| branch.dot.clone()),
        None => None,
    };
    let mut term = match first.as_slice() {
        [word] => Term::Value(operand(word)?),
        ["toYaml", word] => yaml(operand(word)?)?,
        _ => return None,
    };
    for part in parts {
        let words: Vec<&str> = part.split_whitespace().collect();
        term = match words.as_slice() {
            ["toYaml"] => yaml(term.value()?)?,
            ["quote"] => Term::Text(format!("{:?}", term.text()?)),
            ["indent", width] => Term::Text(indent(&term.text()?, width.parse().ok()?)),
            ["nindent", width] => Term::Text(format!("\n{}", indent(&term.text()?, width.parse().ok()?))),
            _ => return None,
        };
    }
    Some(term)
}

fn yaml(value: Value) -> Option<Term> {
    let text = serde_yaml::to_string(&value).ok()?;
    Some(Term::Text(text.trim_end().to_owned()))
}

fn indent(text: &str, width: usize) -> String {
    // Nobody indents further; a number of a file must not ask for gigabytes.
    let margin = " ".repeat(width.min(80));
    text.lines().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}

/// What Go's templates take for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn renders_what_the_charts_use() {
        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            let values = |path: &str| match path {
                "list" => json!([{ "cri": {} }, { "docker": {} }]),
                "name" => json!("x"),
                "port" => json!(3101),
                "on" => json!(true),
                _ => Value::Null,
            };
            assert_eq!(render(text, &values).as_deref(), want, "{text}");
        }
        check("a: b\n", Some("a: b\n"));
        check("a: {{ .Values.name }}\nb: {{ .Values.port | quote }}", Some("a: x\nb: \"3101\""));
        check("a:\n  {{- toYaml .Values.list | nindent 2 }}\nb: c", Some("a:\n  - cri: {}\n  - docker: {}\nb: c"));
        check("a\n{{- if .Values.on }}\nb\n{{- end }}\nc", Some("a\nb\nc"));
        check("a\n{{- if .Values.off }}\nb{{ .Values.strange | f }}\n{{- else }}\nd\n{{- end }}\nc", Some("a\nd\nc"));
        check("{{- with .Values.list }}\n{{- toYaml . | nindent 0 }}\n{{- end }}", Some("\n- cri: {}\n- docker: {}"));
        check("{{- with .Values.off }}{{ toYaml . }}{{ end -}}\n  a", Some("a"));
        check("a {{/* a comment */}}", Some("a "));
        // More than this knows.
        check("{{ include \"a\" . }}", None);
        check("{{ .Release.Name }}", None);
        check("{{ .Values.list }}", None);
        check("{{ if .Values.on }}a", None);
        check("{{ end }}", None);
        check("{{ .Values.name", None);
        check("{{ tpl .Values.name . }}", None);
    }
}
