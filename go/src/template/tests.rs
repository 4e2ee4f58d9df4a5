//! Tables of templates with their results.
//!
//! `testdata/recorded.jsonl` was recorded from Loki 3.7.6 over one entry.

use super::*;

/// The entry that the tables were recorded with.
struct Entry;

const LABELS: [(&str, &str); 6] = [
    ("app_kubernetes_io_name", "bounds"),
    ("detected_level", "unknown"),
    ("namespace", "bounds"),
    ("pod", "b-0"),
    ("service_name", "bounds"),
    ("stream", "stdout"),
];

impl Lookup for Entry {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        LABELS.iter().find(|label| label.0 == name).map(|label| Value::from(label.1))
    }

    fn entries(&self) -> Vec<(&str, Value<'_>)> {
        LABELS.iter().map(|(name, value)| (*name, Value::from(*value))).collect()
    }

    fn line(&self) -> &[u8] {
        b"bound start"
    }

    fn timestamp_ns(&self) -> i64 {
        1_768_471_200_000_000_000
    }

    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::constant(1_768_471_200, 0)
    }

    fn zone(&self) -> Zone {
        Zone::Utc
    }
}

/// The result, or `parse: ` or `exec: ` and the message.
fn run(text: &str) -> String {
    let template = match Template::parse("line", text) {
        Ok(template) => template,
        Err(error) => return format!("parse: {error}"),
    };
    let mut out = Vec::new();
    match template.execute(&Entry, &mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(error) => format!("exec: {error}"),
    }
}

/// Runs the rows of a table; all that differ are shown.
fn check_table(table: &str) -> usize {
    let mut differing = Vec::new();
    let mut count = 0;
    for row in table.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = |key: &str| row.get(key).and_then(|value| value.as_str());
        let template = text("template").unwrap();
        let want = match (text("want"), text("error"), text("parse_error")) {
            (Some(want), ..) => want.to_owned(),
            (_, Some(error), _) => format!("exec: {error}"),
            (.., error) => format!("parse: {}", error.unwrap()),
        };
        let got = run(template);
        if got != want {
            differing.push(format!("{template}\n   got: {got}\n  want: {want}"));
        }
        count += 1;
    }
    assert!(differing.is_empty(), "{} of {count} differ:\n{}", differing.len(), differing.join("\n"));
    count
}

#[test]
fn answers_as_recorded() {
    assert!(check_table(include_str!("testdata/recorded.jsonl")) > 70);
}

#[test]
fn answers_as_go() {
    assert!(check_table(include_str!("testdata/go.jsonl")) > 370);
}

#[test]
fn bounds_hold() {
    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = run(text);
        assert!(got.starts_with("exec: ") || got.starts_with("parse: "), "{text}: {} bytes of output", got.len());
        assert!(got.ends_with(want), "{text}: {got}");
    }
    check("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", "exceeded maximum template depth (200)");
    let blocks = format!(
        "{{{{define \"a\"}}}}{}{{{{template \"a\"}}}}{}{{{{end}}}}{{{{template \"a\"}}}}",
        "{{if true}}{{with 1}}".repeat(45),
        "{{end}}{{end}}".repeat(45)
    );
    check(&blocks, "exceeded maximum template depth (200)");
    check("{{range 9223372036854775807}}{{end}}", "exceeded maximum number of steps (1000000)");
    check(&format!("{}{}", "{{if 1}}".repeat(20_000), "{{end}}".repeat(20_000)), "max block depth exceeded");
    check(&format!("{{{{{}1{}}}}}", "(".repeat(20_000), ")".repeat(20_000)), "max expression depth exceeded");
    check("{{repeat 1000000000000 \"abc\"}}", "is larger than 16777216");
    check("{{nindent 10000000 \"a\\nb\\nc\"}}", "is larger than 16777216");
    check("{{alignLeft 100000000 \"a\"}}", "is larger than 16777216");
    let doubling = "{{$x := \"ab\"}}{{range 60}}{{$x = print $x $x}}{{end}}";
    check(doubling, "is larger than 16777216");
    check("{{$x := repeat 100000 \"a\"}}{{replace \"a\" $x $x}}", "is larger than 16777216");
    check("{{$x := repeat 100000 \"a\"}}{{regexReplaceAll \"a\" $x $x}}", "is larger than 16777216");
    check("{{$x := repeat 100000 \"a\"}}{{regexReplaceAll \"(a)\" $x (print \"${1}\" $x)}}", "is larger than 16777216");
    check("{{range 100000}}{{repeat 1000 \"x\"}}{{end}}", "output is larger than 16777216 bytes");
    check(
        "{{$x := repeat 1000000 \"x\"}}{{range 100000}}{{$y := upper $x}}{{end}}",
        "exceeded maximum number of steps (1000000)",
    );
}

#[test]
fn missing_keys_of_other_data_have_no_value() {
    struct Extracted;
    impl Lookup for Extracted {
        fn get(&self, name: &str) -> Option<Value<'_>> {
            match name {
                "n" => Some(Value::Float(1.5)),
                "null" => Some(Value::Nil),
                _ => None,
            }
        }
        fn entries(&self) -> Vec<(&str, Value<'_>)> {
            vec![("n", Value::Float(1.5)), ("null", Value::Nil)]
        }
    }
    static HASH: &[Function] = &[functions::function("Twice", &[functions::Param::Str], |call| {
        let text = call.take_str(0);
        Ok(Value::from([&*text, &*text].concat()))
    })];
    let functions = Functions::logql().clone().with(HASH).without(&["__line__"]);
    #[track_caller]
    fn check(functions: &Functions, text: &str, want: &str) {
        let options = Options { functions, data: Elements::Any };
        let mut out = Vec::new();
        let result = Template::parse_with("pipeline_template", text, &options)
            .and_then(|template| template.execute(&Extracted, &mut out));
        let got = result.map_or_else(|error| error.to_string(), |()| String::from_utf8(out).unwrap());
        assert_eq!(got, want, "{text}");
    }
    check(&functions, "{{.n}} {{.missing}} {{.null}} {{.}}", "1.5 <no value> <no value> map[n:1.5 null:<nil>]");
    check(&functions, "{{Twice \"a\"}}{{if .missing}}x{{end}}", "aa");
    let place = "template: pipeline_template:1";
    check(
        &functions,
        "{{Twice .missing}}",
        &format!("{place}:8: executing \"pipeline_template\" at <.missing>: invalid value; expected string"),
    );
    check(
        &functions,
        "{{.null.x}}",
        &format!("{place}:7: executing \"pipeline_template\" at <.null.x>: nil pointer evaluating interface {{}}.x"),
    );
    check(&functions, "{{__line__}}", &format!("{place}: function \"__line__\" not defined"));
}

#[test]
fn knows_what_it_looks_at() {
    #[track_caller]
    fn check(text: &str, names: &[&str], all: bool, line: bool, timestamp: bool) {
        let template = Template::parse("line", text).unwrap();
        let want = References { names: names.iter().map(|name| (*name).to_owned()).collect(), all, line, timestamp };
        assert_eq!(template.references(), &want, "{text}");
    }
    check("plain", &[], false, false, false);
    check("{{.a}}{{.b | upper}}{{.a}}{{$.c}}", &["a", "b", "c"], false, false, false);
    check("{{if eq (lower .x) (default \"y\" .z)}}{{.w}}{{end}}", &["x", "z", "w"], false, false, false);
    check("{{range $k, $v := .}}{{end}}", &[], true, false, false);
    check("{{index $ \"a\"}}", &[], true, false, false);
    check("{{__line__ | trunc 3}}{{(__timestamp__).Year}}", &["Year"], false, true, true);
    check("{{define \"t\"}}{{.a}}{{end}}{{template \"t\" .}}", &["a"], true, false, false);
}

proptest::proptest! {
    #[test]
    fn survives_any_text(text in "\\PC{0,40}|(\\{\\{-?|-?\\}\\}| |\\.|\\$x|:=|\\||\\(|\\)|\"a\"|5|if|range|end|else|with|print|index|\\.pod){0,16}") {
        run(&text);
        run(&format!("{{{{{text}}}}}"));
    }
}
