//! `json`: values of a JSON object, by JMESPath, become extracted values.
//!
//! Paths of names alone (`a`, `a.b`, `"a-b".c`) are taken straight from the text, the rest of the object is only
//! skipped; any other expression is evaluated over the decoded object.
//!
//! Numbers keep their text when they are integers: Promtail's floats damage those above 2^53.

use std::borrow::Cow;
use std::sync::Arc;

use logstack_config::collector::stage::JsonStage;
use logstack_go::units::SampleValue;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{Flow, dropped, input};
use crate::pipeline::compile::Error;
use crate::pipeline::counters::{Counters, DropCounter};
use crate::pipeline::entry::Entry;
use crate::pipeline::extracted::{Extracted, Kind};
use crate::pipeline::jmespath::Expression;

/// The stage.
#[derive(Debug)]
pub struct JsonExtractor {
    wanted: Vec<Wanted>,
    /// Some expression is more than a path.
    needs_tree: bool,
    source: Option<String>,
    drops_malformed: bool,
    malformed: DropCounter,
}

#[derive(Debug)]
struct Wanted {
    name: Arc<str>,
    how: How,
}

#[derive(Debug)]
enum How {
    Path(Vec<String>),
    Expression(Expression),
}

impl JsonExtractor {
    /// Compiles the expressions.
    pub fn new(config: &JsonStage, counters: &Counters) -> Result<Self, Error> {
        let compile = |(name, text): (&str, &str)| {
            let expression =
                Expression::parse(text).map_err(|reason| Error::new(format!("expressions.{name}"), reason))?;
            let how = match expression.path() {
                Some(path) => How::Path(path),
                None => How::Expression(expression),
            };
            Ok(Wanted { name: name.into(), how })
        };
        let wanted = config.expressions.iter().map(compile).collect::<Result<Vec<_>, Error>>()?;
        Ok(Self {
            needs_tree: wanted.iter().any(|wanted| matches!(wanted.how, How::Expression(_))),
            wanted,
            source: config.source.clone(),
            drops_malformed: config.drop_malformed,
            malformed: counters.dropped("malformed_json"),
        })
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry) -> Flow {
        // Text of the entry is borrowed while the map is written: take the line out for that time.
        let line = std::mem::take(&mut entry.line);
        let is_object = match &self.source {
            None => self.extract(&String::from_utf8_lossy(&line), &mut entry.extracted),
            Some(_) => match input(entry, self.source.as_deref()).map(Cow::into_owned) {
                Some(text) => self.extract(&text, &mut entry.extracted),
                None => true,
            },
        };
        entry.line = line;
        if is_object || !self.drops_malformed { Flow::Next } else { dropped(entry, &self.malformed) }
    }

    /// False when `text` is no JSON object; then nothing is extracted.
    fn extract(&self, text: &str, extracted: &mut Extracted) -> bool {
        if text.trim_ascii() == "null" {
            self.wanted.iter().for_each(|wanted| store(&wanted.name, None, extracted));
            return true;
        }
        if !text.trim_start().starts_with('{') || has_number_out_of_range(text) {
            return false;
        }
        let text = &*with_whole_surrogates(text);
        if self.needs_tree {
            return self.extract_from_tree(text, extracted);
        }
        let mut found: smallvec::SmallVec<[Option<&RawValue>; 8]> = smallvec::smallvec![None; self.wanted.len()];
        let paths: smallvec::SmallVec<[(usize, &[String]); 8]> = self
            .wanted
            .iter()
            .enumerate()
            .filter_map(|(idx, wanted)| match &wanted.how {
                How::Path(path) => Some((idx, path.as_slice())),
                How::Expression(_) => None,
            })
            .collect();
        if find(text, &paths, &mut found).is_err() {
            return false;
        }
        for (wanted, raw) in self.wanted.iter().zip(found) {
            store(&wanted.name, raw.map(RawValue::get), extracted);
        }
        true
    }

    fn extract_from_tree(&self, text: &str, extracted: &mut Extracted) -> bool {
        let Ok(tree) = serde_json::from_str::<Json>(text) else { return false };
        for wanted in &self.wanted {
            let value = match &wanted.how {
                How::Path(path) => path.iter().try_fold(&tree, |value, name| value.get(name)).cloned(),
                How::Expression(expression) => Some(expression.evaluate(&tree)),
            };
            match value {
                None | Some(Json::Null) => extracted.set(&wanted.name, Kind::Null, ""),
                Some(value) => store(&wanted.name, Some(&value.to_string()), extracted),
            }
        }
        true
    }
}

/// Fills `found` with the values at `paths` of the object in `text`.
fn find<'t>(
    text: &'t str,
    paths: &[(usize, &[String])],
    found: &mut [Option<&'t RawValue>],
) -> Result<(), serde_json::Error> {
    struct Fields<'f, 't> {
        paths: &'f [(usize, &'f [String])],
        found: &'f mut [Option<&'t RawValue>],
    }
    impl<'t> Visitor<'t> for Fields<'_, 't> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(Text(key)) = map.next_key::<Text<'t>>()? {
                let mut below: smallvec::SmallVec<[(usize, &[String]); 4]> = smallvec::SmallVec::new();
                let mut here: smallvec::SmallVec<[usize; 4]> = smallvec::SmallVec::new();
                for (idx, path) in self.paths.iter().filter(|(_, path)| path[0] == key) {
                    match path.len() {
                        1 => here.push(*idx),
                        _ => below.push((*idx, &path[1..])),
                    }
                }
                if here.is_empty() && below.is_empty() {
                    map.next_value::<de::IgnoredAny>()?;
                    continue;
                }
                let raw: &'t RawValue = map.next_value()?;
                here.iter().for_each(|idx| self.found[*idx] = Some(raw));
                if !below.is_empty() {
                    below.iter().for_each(|(idx, _)| self.found[*idx] = None);
                    if raw.get().starts_with('{') {
                        find(raw.get(), &below, self.found).map_err(de::Error::custom)?;
                    }
                }
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Fields { paths, found })?;
    deserializer.end()
}

/// A string of a document, borrowed unless it has escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// True when a number of the document is beyond a float, which is an error of the whole document.
fn has_number_out_of_range(text: &str) -> bool {
    may_have_number_out_of_range(text.as_bytes())
        && serde_json::from_str::<Json>(text).is_err_and(|err| err.to_string().starts_with("number out of range"))
}

/// False, without a look at most of the bytes, when every number is short and has an exponent of at most two digits.
fn may_have_number_out_of_range(bytes: &[u8]) -> bool {
    /// A number of so many digits still fits.
    const DIGITS_MAX: usize = 300;
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    // A longer run of digits covers a multiple of the length.
    let is_long = |at: usize| {
        let before = (0..at).rev().take(DIGITS_MAX).take_while(|at| is_digit(*at)).count();
        before + (at..).take(DIGITS_MAX + 1).take_while(|at| is_digit(*at)).count() > DIGITS_MAX
    };
    let has_exponent = |at: usize| {
        let digits = at + 1 + usize::from(bytes.get(at + 1) == Some(&b'+'));
        at > 0 && (is_digit(at - 1) || bytes[at - 1] == b'.') && (digits..digits + 3).all(is_digit)
    };
    (0..bytes.len()).step_by(DIGITS_MAX).any(is_long) || memchr::memchr2_iter(b'e', b'E', bytes).any(has_exponent)
}

/// `text` with U+FFFD in place of escapes of half a surrogate pair, as Go's decoder reads them.
fn with_whole_surrogates(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let half_at = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6).and_then(|escape| escape.strip_prefix(b"\\u"))?;
        let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        (0xd800..0xe000).contains(&unit).then_some(unit)
    };
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        let Some(first) = half_at(at) else {
            at = (at + 2).min(bytes.len());
            continue;
        };
        if first < 0xdc00 && half_at(at + 6).is_some_and(|second| second >= 0xdc00) {
            at += 12;
            continue;
        }
        out.push_str(&text[done..at]);
        out.push('\u{fffd}');
        at += 6;
        done = at;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// `value` as Go marshals it: keys in order, `<`, `>` and `&` escaped.
fn go_json(value: &Json) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    // Outside of strings none of them occurs.
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

/// Writes a JSON value as an extracted one.
fn store(name: &Arc<str>, raw: Option<&str>, extracted: &mut Extracted) {
    let raw = raw.unwrap_or("null");
    match raw.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<Text<'_>>(raw) {
            Ok(Text(text)) => extracted.set(name, Kind::Text, &text),
            Err(_) => extracted.set(name, Kind::Null, ""),
        },
        Some(b't' | b'f') => extracted.set(name, Kind::Bool, raw),
        Some(b'{' | b'[') => match serde_json::from_str::<Json>(raw) {
            Ok(value) => extracted.set(name, Kind::Text, &go_json(&value)),
            Err(_) => extracted.set(name, Kind::Null, ""),
        },
        Some(b'-' | b'0'..=b'9') => {
            let is_integer = raw.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            match raw.parse::<f64>() {
                // Never with an exponent: `1796032800.5` is a time, `1.7960328005e+09` is none.
                Ok(value) if !is_integer => extracted.set(name, Kind::Number, &SampleValue(value).to_string()),
                _ => extracted.set(name, Kind::Number, raw),
            }
        }
        _ => extracted.set(name, Kind::Null, ""),
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{check, check_error};

    #[test]
    fn extracts_values_of_all_types() {
        let line = r#"{"a":"x\ny","n":12345678901234567890,"f":1e3,"b":true,"z":null,"o":{"p":[1, 2],"a-b":"q"}}"#;
        let run = |expressions: &str, labels: &str, want: &str| {
            let stages =
                format!("- json: {{expressions: {expressions}}}\n- output: {{source: out}}\n- labels: {labels}");
            check(&stages, &[line], &[want]);
        };
        run("{out: a}", "{}", "{} 0 x\ny");
        run("{out: n}", "{}", "{} 0 12345678901234567890");
        run("{out: f}", "{}", "{} 0 1000");
        run("{out: b, n: }", "{n: }", r#"{n="12345678901234567890"} 0 true"#);
        run("{out: o.p}", "{}", "{} 0 [1,2]");
        run("{out: 'o.\"a-b\"'}", "{}", "{} 0 q");
        run("{out: 'o.p[1]'}", "{}", "{} 0 2");
        run("{out: 'o.p[-1]'}", "{}", "{} 0 2");
        run("{out: 'length(o.p)'}", "{}", "{} 0 2");
        run("{out: 'o.x || a'}", "{}", "{} 0 x\ny");
    }

    #[test]
    fn reads_numbers_and_text_as_go_does() {
        let run = |value: &str, want: &str| {
            let line = format!(r#"{{"a":{value},"b":"x"}}"#);
            check("- json: {expressions: {a: }}\n- output: {source: a}", &[&line], &[&format!("{{}} 0 {want}")]);
        };
        run("1796032800.1234567", "1796032800.1234567");
        run("100000000.5", "100000000.5");
        run("0.0000012", "0.0000012");
        run("1796032800123.0", "1796032800123");
        run("1e21", "1000000000000000000000");
        run("-1.5E-7", "-0.00000015");
        run("9007199254740993", "9007199254740993"); // Promtail loses the last digit
        run(r#""\ud83dz""#, "\u{fffd}z");
        run(r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}");
        run(r#""\ud83d\ude00 \\ud83d""#, "\u{1f600} \\ud83d");
        run(r#"{"k":"<&>","a":[1.5]}"#, r#"{"a":[1.5],"k":"\u003c\u0026\u003e"}"#);
        // Beyond a float: the line is no JSON.
        run("1e400", r#"{"a":1e400,"b":"x"}"#);
        run(r#""1e400""#, "1e400");
        run("[1, 1E+400]", r#"{"a":[1, 1E+400],"b":"x"}"#);
        run(&"9".repeat(308), &"9".repeat(308));
        let beyond = "9".repeat(320);
        run(&beyond, &format!(r#"{{"a":{beyond},"b":"x"}}"#));
        run(&format!("\"{beyond}\""), &beyond);
    }

    #[test]
    fn null_hides_an_older_value() {
        check(
            "- json: {expressions: {a: }}\n- json: {expressions: {a: b}}\n- labels: {a: }",
            &[r#"{"a":"old"}"#],
            &[r#"{} 0 {"a":"old"}"#],
        );
    }

    #[test]
    fn drops_what_is_no_object_when_told_so() {
        let lines = ["[1]", "x", r#"{"a":1"#, r#"{"a":1}"#];
        check("- json: {expressions: {a: }, drop_malformed: true}", &lines, &[r#"{} 0 {"a":1}"#]);
        check(
            "- json: {expressions: {a: }}\n- labels: {a: }",
            &lines[2..],
            &[r#"{} 0 {"a":1"#, r#"{a="1"} 0 {"a":1}"#],
        );
        check_error("- json: {expressions: {a: 'b['}}", "[0].json.expressions.a: ");
    }
}
