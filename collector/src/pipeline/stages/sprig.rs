//! What templates of the collector can call besides the functions of LogQL's templates: Promtail's hashes and the
//! groups of sprig that log pipelines use: strings, defaults, math, regular expressions, lists, JSON, hashes.
//!
//! Source: Promtail, "template stage"; sprig's function documentation.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::LazyLock;

use logstack_go::re2::{self, NamedRegex};
use logstack_go::template::functions::{Call, CallError, Function, Functions, Param, check_size, function, variadic};
use logstack_go::template::{Elements, IntKind, List, Value};
use sha2::{Digest, Sha256, Sha512};
use sha3::Sha3_256;

const S: Param = Param::Str;
const I: Param = Param::Int;
const A: Param = Param::Any;

type Result_<'a> = Result<Value<'a>, CallError>;

/// All functions that templates of the collector can call.
pub fn functions() -> &'static Functions {
    static ALL: LazyLock<Functions> = LazyLock::new(|| Functions::logql().clone().with(FUNCTIONS));
    &ALL
}

const FUNCTIONS: &[Function] = &[
    function("Hash", &[S, S], |call| {
        let digest = Sha3_256::new().chain_update(call.str(0)).chain_update(call.str(1)).finalize();
        Ok(Value::from(hex(&digest)))
    }),
    function("Sha2Hash", &[S, S], |call| {
        let digest = Sha256::new().chain_update(call.str(0)).chain_update(call.str(1)).finalize();
        Ok(Value::from(hex(&digest)))
    }),
    function("sha256sum", &[S], |call| Ok(Value::from(hex(&Sha256::digest(call.str(0)))))),
    function("sha512sum", &[S], |call| Ok(Value::from(hex(&Sha512::digest(call.str(0)))))),
    // Strings.
    function("quote", &[A], |call| Ok(Value::from(format!("{}", logstack_go::quote::Quoted(&show(&call.args()[0])))))),
    function("squote", &[A], |call| Ok(Value::from(format!("'{}'", show(&call.args()[0]))))),
    function("trimall", &[S, S], |call| {
        let set = text(call, 0).into_owned();
        Ok(Value::from(text(call, 1).trim_matches(|c| set.contains(c)).to_owned()))
    }),
    function("untitle", &[S], |call| Ok(Value::from(map_first(&text(call, 0), |c| c.to_lowercase().collect())))),
    function("nospace", &[S], |call| Ok(Value::from(text(call, 0).split_whitespace().collect::<String>()))),
    function("initials", &[S], |call| {
        let words = text(call, 0);
        Ok(Value::from(words.split_whitespace().filter_map(|word| word.chars().next()).collect::<String>()))
    }),
    function("swapcase", &[S], |call| Ok(Value::from(text(call, 0).chars().map(swap).collect::<String>()))),
    function("snakecase", &[S], |call| Ok(Value::from(words(&text(call, 0), '_')))),
    function("kebabcase", &[S], |call| Ok(Value::from(words(&text(call, 0), '-')))),
    function("camelcase", &[S], |call| {
        let parts = text(call, 0).into_owned();
        let parts = parts.split(['_', '-', ' ']).filter(|part| !part.is_empty());
        Ok(Value::from(parts.map(|part| map_first(part, |c| c.to_uppercase().collect())).collect::<String>()))
    }),
    function("abbrev", &[I, S], |call| {
        let (max, text) = (call.int(0), text(call, 1));
        Ok(Value::from(abbreviate(&text, max)))
    }),
    variadic("cat", &[], A, |call| {
        let shown = call.args().iter().filter(|value| !matches!(value, Value::Nil)).map(show);
        Ok(Value::from(shown.collect::<Vec<_>>().join(" ")))
    }),
    function("plural", &[S, S, I], |call| {
        let idx = usize::from(call.int(2) != 1);
        Ok(call.take(idx))
    }),
    function("toString", &[A], |call| Ok(Value::from(show(&call.args()[0])))),
    function("split", &[S, S], |call| {
        let (separator, text) = (text(call, 0).into_owned(), text(call, 1).into_owned());
        let parts = text.split(&*separator).enumerate();
        let entries =
            parts.map(|(idx, part)| (Cow::Owned(format!("_{idx}").into_bytes()), Value::from(part.to_owned())));
        Ok(Value::Map(std::rc::Rc::new(logstack_go::template::Map::new(entries.collect(), Elements::Strings))))
    }),
    function("splitList", &[S, S], |call| {
        let (separator, text) = (text(call, 0).into_owned(), text(call, 1).into_owned());
        Ok(list(text.split(&*separator).map(|part| Value::from(part.to_owned())).collect(), Elements::Strings))
    }),
    function("join", &[S, A], |call| {
        let separator = text(call, 0).into_owned();
        let joined = match &call.args()[1] {
            Value::List(list) => list.values().iter().map(show).collect::<Vec<_>>().join(&separator),
            other => show(other),
        };
        Ok(Value::from(joined))
    }),
    // Lists.
    variadic("list", &[], A, |call| {
        let values = (0..call.args().len()).map(|idx| call.take(idx)).collect();
        Ok(list(values, Elements::Any))
    }),
    function("first", &[A], |call| Ok(elements(call, 0)?.first().cloned().unwrap_or(Value::Nil))),
    function("last", &[A], |call| Ok(elements(call, 0)?.last().cloned().unwrap_or(Value::Nil))),
    function("has", &[A, A], |call| {
        let wanted = show(&call.args()[0]);
        Ok(Value::Bool(elements(call, 1)?.iter().any(|value| show(value) == wanted)))
    }),
    function("sortAlpha", &[A], |call| {
        let mut texts: Vec<String> = elements(call, 0)?.iter().map(show).collect();
        texts.sort();
        Ok(list(texts.into_iter().map(Value::from).collect(), Elements::Strings))
    }),
    // Defaults.
    function("empty", &[A], |call| Ok(Value::Bool(!is_true(&call.args()[0])))),
    variadic("coalesce", &[], A, |call| {
        let idx = call.args().iter().position(is_true);
        Ok(idx.map_or(Value::Nil, |idx| call.take(idx)))
    }),
    function("ternary", &[A, A, Param::Bool], |call| {
        let idx = usize::from(!is_true(&call.args()[2]));
        Ok(call.take(idx))
    }),
    // Numbers.
    function("atoi", &[S], |call| Ok(Value::int(text(call, 0).parse().unwrap_or(0)))),
    function("int64", &[A], |call| Ok(Value::int64(number(&call.args()[0]) as i64))),
    function("toDecimal", &[A], |call| Ok(Value::int64(i64::from_str_radix(&show(&call.args()[0]), 8).unwrap_or(0)))),
    function("add1", &[A], |call| Ok(Value::int64((number(&call.args()[0]) as i64).saturating_add(1)))),
    // Regular expressions.
    function("regexMatch", &[S, S], |call| {
        with_regex(&text(call, 0), |regex| Ok(Value::Bool(regex.regex.is_match(call.str(1)))))
    }),
    function("regexFind", &[S, S], |call| {
        with_regex(&text(call, 0), |regex| {
            let found = regex.regex.find(call.str(1)).map_or(&b""[..], |found| found.as_bytes());
            Ok(Value::from(found.to_vec()))
        })
    }),
    function("regexFindAll", &[S, S, I], |call| {
        let max = usize::try_from(call.int(2)).unwrap_or(usize::MAX);
        with_regex(&text(call, 0), |regex| {
            let found =
                regex.regex.find_iter(call.str(1)).take(max).map(|found| Value::from(found.as_bytes().to_vec()));
            Ok(list(found.collect(), Elements::Strings))
        })
    }),
    function("regexSplit", &[S, S, I], |call| {
        let max = usize::try_from(call.int(2)).unwrap_or(usize::MAX);
        with_regex(&text(call, 0), |regex| {
            let parts = regex.regex.splitn(call.str(1), max).map(|part| Value::from(part.to_vec()));
            Ok(list(parts.collect(), Elements::Strings))
        })
    }),
    function("regexQuoteMeta", &[S], |call| Ok(Value::from(regex::escape(&text(call, 0))))),
    // JSON.
    function("toJson", &[A], |call| Ok(Value::from(to_json(&call.args()[0], 0)?.to_string()))),
    function("toRawJson", &[A], |call| Ok(Value::from(to_json(&call.args()[0], 0)?.to_string()))),
    function("toPrettyJson", &[A], |call| Ok(Value::from(format!("{:#}", to_json(&call.args()[0], 0)?)))),
];

fn text<'c>(call: &'c Call<'_>, idx: usize) -> Cow<'c, str> {
    String::from_utf8_lossy(call.str(idx))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// As `print` shows it, for plain values; the rest is JSON.
fn show(value: &Value<'_>) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Str(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(_, value) => value.to_string(),
        Value::Float(value) => logstack_go::units::format_float(*value),
        Value::Time(time) => time.to_string(),
        other => to_json(other, 0).map(|json| json.to_string()).unwrap_or_default(),
    }
}

fn number(value: &Value<'_>) -> f64 {
    match value {
        Value::Int(_, value) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Str(text) => String::from_utf8_lossy(text).trim().parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn is_true(value: &Value<'_>) -> bool {
    match value {
        Value::Nil => false,
        Value::Bool(value) => *value,
        Value::Int(_, value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::List(list) => !list.values().is_empty(),
        Value::Map(map) => !map.entries().is_empty(),
        _ => true,
    }
}

fn list(values: Vec<Value<'_>>, elements: Elements) -> Value<'_> {
    Value::List(List::new(values, elements))
}

fn elements<'c, 'a>(call: &'c Call<'a>, idx: usize) -> Result<&'c [Value<'a>], CallError> {
    match &call.args()[idx] {
        Value::List(list) => Ok(list.values()),
        _ => Err(CallError::from("argument is not a list")),
    }
}

fn map_first(text: &str, map: impl Fn(char) -> String) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(map).unwrap_or_default();
    first + chars.as_str()
}

fn swap(c: char) -> char {
    let swapped = if c.is_lowercase() { c.to_uppercase().next() } else { c.to_lowercase().next() };
    swapped.unwrap_or(c)
}

/// `FirstName` as `first_name`.
fn words(text: &str, separator: char) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut previous_lower = false;
    for c in text.chars() {
        if matches!(c, ' ' | '_' | '-') {
            if !out.ends_with(separator) {
                out.push(separator);
            }
            previous_lower = false;
            continue;
        }
        if c.is_uppercase() && previous_lower {
            out.push(separator);
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
        out.extend(c.to_lowercase());
    }
    out
}

fn abbreviate(text: &str, max: i64) -> String {
    let max = usize::try_from(max).unwrap_or(0);
    if max < 4 || text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max - 3).collect();
    format!("{kept}...")
}

/// Patterns are mostly constants: the last few are kept compiled.
fn with_regex<'a>(pattern: &str, f: impl FnOnce(&NamedRegex) -> Result_<'a>) -> Result_<'a> {
    const KEPT: usize = 32;
    thread_local! {
        static CACHE: RefCell<Vec<(String, NamedRegex)>> = const { RefCell::new(Vec::new()) };
    }
    let known =
        CACHE.with_borrow(|cache| cache.iter().find(|(text, _)| text == pattern).map(|(_, regex)| regex.clone()));
    if let Some(regex) = known {
        return f(&regex);
    }
    let regex = re2::compile_named(pattern).map_err(|err| CallError(err.to_string()))?;
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= KEPT {
            cache.remove(0);
        }
        cache.push((pattern.to_owned(), regex.clone()));
    });
    f(&regex)
}

fn to_json(value: &Value<'_>, depth: usize) -> Result<serde_json::Value, CallError> {
    use serde_json::Value as Json;
    if depth > 64 {
        return Err(CallError::from("value is nested too deeply"));
    }
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(
            IntKind::Int | IntKind::Int64 | IntKind::Uint8 | IntKind::Duration | IntKind::Month | IntKind::Weekday,
            value,
        ) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::List(list) => {
            Json::Array(list.values().iter().map(|value| to_json(value, depth + 1)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let pairs = map
                .entries()
                .iter()
                .map(|(key, value)| Ok((String::from_utf8_lossy(key).into_owned(), to_json(value, depth + 1)?)));
            Json::Object(pairs.collect::<Result<_, CallError>>()?)
        }
        other => {
            let text = match other {
                Value::Str(text) => String::from_utf8_lossy(text).into_owned(),
                Value::Time(time) => time.to_string(),
                _ => String::new(),
            };
            check_size(text.len())?;
            Json::String(text)
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn calls_sprigs_functions() {
        let run = |template: &str, want: &str| {
            let stages = format!("- template: {{source: o, template: '{template}'}}\n- output: {{source: o}}");
            check(&stages, &["a-b c"], &[&format!("{{}} 0 {want}")]);
        };
        run(
            r#"{{ snakecase "FirstName" }} {{ kebabcase "First Name" }} {{ camelcase "first_name" }}"#,
            "first_name first-name FirstName",
        );
        run(r#"{{ .Entry | splitList "-" | join "+" }}"#, "a+b c");
        run(r#"{{ (split "-" .Entry)._0 }}"#, "a");
        run(r#"{{ regexFind "[a-z] c" .Entry }} {{ regexMatch "^a" .Entry }}"#, "b c true");
        run(r#"{{ coalesce "" .missing "x" }} {{ empty "" }}"#, "x true");
        run(r#"{{ abbrev 5 "hello world" }} {{ initials "First Try" }} {{ nospace " a b " }}"#, "he... FT ab");
        run(r#"{{ list 1 "b" | toJson }} {{ first (list 1 2) }} {{ has 2 (list 1 2) }}"#, r#"[1,"b"] 1 true"#);
        run(r#"{{ sha256sum "abc" | trunc 8 }} {{ add1 2 }} {{ atoi "7" }}"#, "ba7816bf 3 7");
        run(r#"{{ ternary "y" "n" true }} {{ swapcase "aB" }} {{ cat "a" 1 }} {{ squote "q" }}"#, "y Ab a 1 'q'");
    }
}
