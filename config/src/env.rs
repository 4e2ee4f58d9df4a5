//! `${VAR}` in the raw text of a file, before YAML sees it.
//!
//! Loki and Promtail (`-config.expand-env=true`) share one dialect: only the braced form is a reference, so the `$1`
//! of relabelling survives; `$$` is a dollar; two backslashes are one. Inside the braces: defaults, length, case,
//! substring, trimming and replacing by glob.
//!
//! Source: collector contract, "Environment expansion".

use std::fmt;

/// A reference that cannot be expanded, and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvError {
    /// Line, from 1.
    pub line: u32,
    reason: String,
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for EnvError {}

/// Deepest nesting of `${A:-${B:-…}}`.
const DEPTH_MAX: usize = 32;

/// Replaces every reference of `text` by what `lookup` says; an unknown name is empty.
///
/// # Errors
/// An unbalanced `${`, or an operation that the dialect does not have.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, EnvError> {
    Expander { text, at: 0, lookup }.run(0, false)
}

struct Expander<'a> {
    text: &'a str,
    at: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Expander<'_> {
    /// Copies text up to the end, or inside a reference up to its closing brace (which stays).
    fn run(&mut self, depth: usize, inside: bool) -> Result<String, EnvError> {
        let mut out = String::with_capacity(self.text.len() - self.at);
        while let Some(c) = self.rest().chars().next() {
            let rest = self.rest();
            if inside && c == '}' {
                return Ok(out);
            }
            if let Some(escaped) = [("$$", '$'), ("\\\\", '\\'), ("\\/", '/')].iter().find(|e| rest.starts_with(e.0)) {
                out.push(escaped.1);
                self.at += escaped.0.len();
            } else if rest.starts_with("${") {
                self.at += 2;
                out.push_str(&self.reference(depth)?);
            } else {
                out.push(c);
                self.at += c.len_utf8();
            }
        }
        if inside { Err(self.error("`${` without its `}`")) } else { Ok(out) }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, reason: impl Into<String>) -> EnvError {
        let line = self.text[..self.at].bytes().filter(|&b| b == b'\n').count() as u32 + 1;
        EnvError { line, reason: reason.into() }
    }

    /// What stands after `${`, up to and with `}`.
    fn reference(&mut self, depth: usize) -> Result<String, EnvError> {
        if depth >= DEPTH_MAX {
            return Err(self.error("`${` is nested too deeply"));
        }
        let wants_length = self.rest().starts_with('#');
        if wants_length {
            self.at += 1;
        }
        let name_end = self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let name_end = name_end.ok_or_else(|| self.error("`${` without its `}`"))?;
        let name = self.rest()[..name_end].to_owned();
        if name.is_empty() {
            return Err(self.error("`${` without a name (hint: write $${ for the two characters)"));
        }
        self.at += name_end;
        let value = (self.lookup)(&name).unwrap_or_default();
        // Up to the brace: the operation with its arguments expanded.
        let operation_at = self.at;
        let operation = self.operator();
        let argument = self.run(depth + 1, true)?;
        self.at += 1;
        if wants_length {
            return Ok(value.chars().count().to_string());
        }
        apply(&value, operation, &argument).ok_or_else(|| {
            let text = &self.text[operation_at..self.at - 1];
            self.error(format!("`${{{name}{text}}}` is not an expansion (hint: a default is ${{{name}:-default}})"))
        })
    }

    /// The longest operator here.
    fn operator(&mut self) -> &'static str {
        const OPERATORS: [&str; 19] =
            [":-", ":=", ":?", ":+", "^^", "^", ",,", ",", "##", "#", "%%", "%", "//", "/#", "/%", "/", ":", "=", ""];
        let found = OPERATORS.into_iter().find(|op| self.rest().starts_with(op)).unwrap_or("");
        self.at += found.len();
        found
    }
}

/// One operation; `None` when there is no such one.
fn apply(value: &str, operation: &str, argument: &str) -> Option<String> {
    let or_default = || if value.is_empty() { argument.to_owned() } else { value.to_owned() };
    let replace = |style| {
        let (pattern, by) = split_pattern(argument);
        replace(value, &pattern, by, style)
    };
    let no_argument = |changed: String| argument.is_empty().then_some(changed);
    Some(match operation {
        "" if argument.is_empty() => value.to_owned(),
        // Promtail treats `:?` and `:+` as plain defaults too.
        ":-" | ":=" | ":?" | ":+" | "=" => or_default(),
        "^" => return no_argument(first(value, |c| c.to_uppercase().collect())),
        "^^" => return no_argument(value.to_uppercase()),
        "," => return no_argument(first(value, |c| c.to_lowercase().collect())),
        ",," => return no_argument(value.to_lowercase()),
        ":" => return substring(value, argument),
        "#" => trim_start(value, argument, Greed::Shortest),
        "##" => trim_start(value, argument, Greed::Longest),
        "%" => trim_end(value, argument, Greed::Shortest),
        "%%" => trim_end(value, argument, Greed::Longest),
        "/" => replace(Where::First),
        "//" => replace(Where::All),
        "/#" => replace(Where::Start),
        "/%" => replace(Where::End),
        _ => return None,
    })
}

fn first(value: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = value.chars();
    chars.next().map_or_else(String::new, |c| change(c) + chars.as_str())
}

/// `o` or `o:l`, in characters; negative counts from the end.
fn substring(value: &str, argument: &str) -> Option<String> {
    let (offset, length) = match argument.split_once(':') {
        Some((offset, length)) => (offset, Some(length)),
        None => (argument, None),
    };
    let chars: Vec<char> = value.chars().collect();
    let count = chars.len() as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(count).max(0) } else { at.min(count) };
    let start = from_end(offset.trim().parse().ok()?);
    let end = match length {
        None => count,
        Some(text) => {
            let length: i64 = text.trim().parse().ok()?;
            if length < 0 { from_end(length) } else { start.saturating_add(length).min(count) }
        }
    };
    Some(chars.get(start as usize..(end.max(start)) as usize)?.iter().collect())
}

#[derive(Clone, Copy, PartialEq)]
enum Greed {
    Shortest,
    Longest,
}

#[derive(Clone, Copy, PartialEq)]
enum Where {
    First,
    All,
    Start,
    End,
}

/// Byte positions between characters, both ends included.
fn boundaries(value: &str) -> Vec<usize> {
    value.char_indices().map(|(at, _)| at).chain([value.len()]).collect()
}

fn trim_start(value: &str, glob: &str, greed: Greed) -> String {
    let mut ends = boundaries(value);
    if greed == Greed::Longest {
        ends.reverse();
    }
    let cut = ends.into_iter().find(|&end| glob_matches(glob, &value[..end])).unwrap_or(0);
    value[cut..].to_owned()
}

fn trim_end(value: &str, glob: &str, greed: Greed) -> String {
    let mut starts = boundaries(value);
    if greed == Greed::Shortest {
        starts.reverse();
    }
    let cut = starts.into_iter().find(|&start| glob_matches(glob, &value[start..])).unwrap_or(value.len());
    value[..cut].to_owned()
}

/// `pattern/replacement`; without the slash the replacement is empty.
fn split_pattern(argument: &str) -> (String, &str) {
    argument.split_once('/').map_or((argument.to_owned(), ""), |(pattern, by)| (pattern.to_owned(), by))
}

fn replace(value: &str, pattern: &str, by: &str, style: Where) -> String {
    if pattern.is_empty() {
        return value.to_owned();
    }
    let at = boundaries(value);
    // The longest match at each position, as the shell does.
    let longest = |start: usize| {
        at.iter().rev().copied().take_while(|&end| end > start).find(|&end| glob_matches(pattern, &value[start..end]))
    };
    let mut out = String::new();
    let mut position = 0;
    while position < value.len() {
        let allowed = match style {
            Where::Start => position == 0,
            Where::First | Where::All | Where::End => true,
        };
        let end = longest(position).filter(|&end| allowed && (style != Where::End || end == value.len()));
        if let Some(end) = end {
            out.push_str(by);
            position = end;
            if style != Where::All {
                break;
            }
        } else {
            let step = value[position..].chars().next().map_or(1, char::len_utf8);
            out.push_str(&value[position..position + step]);
            position += step;
        }
    }
    out + &value[position..]
}

/// Shell glob over the whole text: `*`, `?`; everything else is itself. Linear in both with backtracking to one star.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    g = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "NODE" => "node-1",
            "PATH_" => "/var/log/pods",
            "Empty" => "",
            "mixed" => "aBc",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn expands_the_braced_form_only() {
        #[track_caller]
        fn check(text: &str, want: Result<&str, &str>) {
            let got = expand(text, &lookup).map_err(|e| format!("{}: {e}", e.line));
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        check("host: ${NODE}", Ok("host: node-1"));
        check("replacement: $1 $NODE", Ok("replacement: $1 $NODE"));
        check("replacement: ${1}x", Ok("replacement: x"));
        check("$${NODE} $$1", Ok("${NODE} $1"));
        check(r"\d \\d \/", Ok(r"\d \d /"));
        check("${missing}", Ok(""));
        check("${missing:-d} ${Empty:-d} ${NODE:-d}", Ok("d d node-1"));
        check("${missing:=d}${missing=d}${missing:?d}${missing:+d}", Ok("dddd"));
        check("${missing:-${NODE:-x}}", Ok("node-1"));
        check("${missing:-a}b}", Ok("ab}"));
        check("${#NODE}", Ok("6"));
        check("${mixed^} ${mixed^^} ${mixed,} ${mixed,,}", Ok("ABc ABC aBc abc"));
        check("${NODE:1} ${NODE:1:2} ${NODE: -1}", Ok("ode-1 od 1"));
        check("${PATH_#*/} ${PATH_##*/} ${PATH_%/*} ${PATH_%%/*}", Ok("var/log/pods pods /var/log "));
        check("${NODE/o/0} ${PATH_//o/0} ${NODE/#n/N} ${NODE/%1/2}", Ok("n0de-1 /var/l0g/p0ds Node-1 node-2"));
        check("a\n${NODE", Err("2: `${` without its `}`"));
        check("${NODE-x}", Err("1: `${NODE-x}` is not an expansion (hint: a default is ${NODE:-default})"));
        check("${}", Err("1: `${` without a name (hint: write $${ for the two characters)"));
    }

    #[test]
    fn nests_to_a_bound() {
        assert!(expand(&"${a:-".repeat(10_000), &lookup).is_err());
    }

    proptest! {
        #[test]
        fn survives_any_text(text in "[${}NODE:#%/^,a*\\\\\n-]{0,40}") {
            let _ = expand(&text, &lookup);
        }

        #[test]
        fn leaves_text_without_references_alone(text in "[a-z:. \n$0-9]{0,40}") {
            prop_assume!(!text.contains("$$"));
            prop_assert_eq!(expand(&text, &lookup), Ok(text));
        }
    }
}
