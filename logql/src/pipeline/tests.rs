//! Whole pipelines over single lines. What recorded answers of the reference server say is in `tests/golden.rs`.

use proptest::prelude::*;

use super::*;
use crate::ast::Expr;

const STREAM: [(&str, &str); 2] = [("app", "web"), ("b", "stream")];

fn stages(pipeline: &str) -> Vec<ast::Stage> {
    match crate::parse(&format!("{{app=\"web\"}} {pipeline}")) {
        Ok(Expr::Log(log)) => log.stages,
        Ok(other) => panic!("{pipeline}: {other:?}"),
        Err(error) => panic!("{pipeline}: {error}"),
    }
}

fn metadata(pairs: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// Labels as `name=value`, with `~` behind metadata and `!` behind parsed ones, then `|` and the line. `-`: dropped.
fn show(pipeline: &Pipeline, metadata: &[(Arc<str>, Arc<str>)], line: &[u8]) -> String {
    let stream = StreamContext::new(Labels::from_pairs(STREAM));
    let entry = Entry { timestamp_ns: 0, line, metadata };
    if !pipeline.pushed_down().iter().all(|filter| filter.matches(line)) {
        return "-".to_owned();
    }
    let mut scratch = pipeline.scratch();
    // Twice: nothing may be left over from the line before.
    let run = |scratch: &mut Scratch| {
        let Some(output) = pipeline.run(&stream, &entry, scratch) else { return "-".to_owned() };
        let text = |(name, value, category)| match category {
            Category::Stream => format!("{name}={value} "),
            Category::Metadata => format!("{name}={value}~ "),
            Category::Parsed => format!("{name}={value}! "),
        };
        output.labels().map(text).collect::<String>() + "| " + &String::from_utf8_lossy(output.line())
    };
    let first = run(&mut scratch);
    assert_eq!(run(&mut scratch), first);
    first
}

#[test]
fn labels_have_precedence() {
    #[track_caller]
    fn check(pipeline: &str, pairs: &[(&str, &str)], line: &str, want: &str) {
        let compiled = Pipeline::compile(&stages(pipeline), None, &Wanted::All).expect(pipeline);
        let got = show(&compiled, &metadata(pairs), line.as_bytes());
        assert_eq!(got.split(" |").next(), Some(want), "{pipeline} on {line}");
    }
    check("", &[], "", "app=web b=stream");
    check("", &[("x", "1")], "", "app=web b=stream x=1~");
    check("", &[("b", "meta")], "", "app=web b=stream b_extracted=meta~");
    check("| logfmt", &[], "b=1 c=2", "app=web b=stream b_extracted=1! c=2!");
    check("| logfmt", &[("c", "meta")], "c=2", "app=web b=stream c=meta~ c_extracted=2!");
    check("| logfmt", &[("b", "meta")], "b=1", "app=web b=stream b_extracted=1!");
    check("| logfmt", &[], "c=1 c=2", "app=web b=stream c=1!");
    check("| drop b | logfmt", &[], "b=1", "app=web b_extracted=1!");
    check("| drop c | logfmt", &[("c", "meta")], "c=1", "app=web b=stream c=1!");
    check(
        "| logfmt | json",
        &[],
        r#"c=1 {"c":2}"#,
        "__error__=JSONParserErr! __error_details__=Value looks like object, but can't find closing '}' symbol! app=web b=stream c=1!",
    );
    check("| json | logfmt c", &[], r#"{"c":"x"} c=2"#, "app=web b=stream c=2!");
    check("| json | json c=\"d\"", &[], r#"{"c":"x","d":"y"}"#, "app=web b=stream c=y! d=y!");
    check("| json c=\"d\" | json", &[], r#"{"c":"x","d":"y"}"#, "app=web b=stream c=y! d=y!");
    check("| json | label_format b=c", &[], r#"{"c":"x"}"#, "app=web b=x!");
    check("| label_format y=b", &[], "", "app=web y=stream!");
    check("| label_format y=x", &[("x", "1")], "", "app=web b=stream y=1!");
    check(
        "| label_format a=\"{{.b}}\",b=\"{{.a}}\" | label_format a=\"{{.b}}\",b=\"{{.a}}\"",
        &[],
        "",
        "a=! app=web b=stream!",
    );
    check("| label_format x=b,y=\"{{.b}}\"", &[], "", "app=web x=stream! y=!");
    check("| json | drop c | json", &[], r#"{"c":"x"}"#, "app=web b=stream");
    check("| json a, z", &[], r#"{"a":""}"#, "a=! app=web b=stream z=!");
    check(
        "| json | drop __error__",
        &[],
        "x",
        "__error_details__=Value looks like object, but can't find closing '}' symbol! app=web b=stream",
    );
    check(
        "| json | keep nothing",
        &[],
        "[",
        "__error__=JSONParserErr! __error_details__=Value looks like object, but can't find closing '}' symbol!",
    );
    check("| keep b, x=\"1\"", &[("x", "1"), ("y", "2")], "", "b=stream x=1~");
    check("| drop x=~\"2|3\", b!=\"stream\"", &[("x", "2")], "", "app=web b=stream");
    check("| regexp \"(?P<x>\\\\d+)(?P<y>z)?\"", &[], "a 12", "app=web b=stream x=12! y=!");
    check("| pattern \"<x> - <_> <y>\"", &[], "1 - 2 3 4", "app=web b=stream x=1! y=3 4!");
    check("| pattern \"<x>:<y>\"", &[], "rest", "app=web b=stream x=rest!");
    check("| pattern \"a <x>\"", &[], "b c", "app=web b=stream");
    check(
        "| json",
        &[],
        "\u{fffd}",
        "__error__=JSONParserErr! __error_details__=Value looks like object, but can't find closing '}' symbol! app=web b=stream",
    );
}

#[test]
fn stages_change_and_filter_lines() {
    #[track_caller]
    fn check(pipeline: &str, line: &str, want: Option<&str>) {
        let compiled = Pipeline::compile(&stages(pipeline), None, &Wanted::All).expect(pipeline);
        let got = show(&compiled, &[], line.as_bytes());
        let got_line = got.split_once("| ").map(|(_, line)| line);
        assert_eq!(got_line, want, "{pipeline} on {line}");
    }
    check("| line_format \"{{.b}} {{__line__}}\" |= \"stream x\"", "x", Some("stream x"));
    check("| line_format \"a\" |= \"x\"", "x", None);
    check("|= \"x\" | line_format \"a\"", "x", Some("a"));
    check("| json |= \"x\"", "x", Some("x"));
    check("| unpack |= \"y\"", r#"{"_entry":"y"}"#, Some("y"));
    check("| unpack", r#"{"_entry":"a\nb","_entry":"c"}"#, Some("c"));
    check("| unpack", r#"{"a":"b"}"#, Some(r#"{"a":"b"}"#));
    check("| decolorize", "\x1b[31mred\x1b[0m \x1b[1;32mx\x1b[m", Some("red x"));
    check("| decolorize", "\u{9b}31mred", Some("red"));
    check("| decolorize", "\x1b]0;title\x07x", Some("x"));
    check("| decolorize", "\x1b x", Some("\x1b x"));
    check("| decolorize |= \"red plain\"", "\x1b[31mred\x1b[0m plain", None); // golden: the coloured line is tested
    check("| decolorize | app=\"web\" |= \"red plain\"", "\x1b[31mred\x1b[0m plain", Some("red plain"));
    check("| logfmt | a > 5", "a=7", Some("a=7"));
    check("| logfmt | a > 5", "a=5", None);
    check("| logfmt | a != 5", "b=5", None);
    check("| logfmt | a > 5", "a=x", Some("a=x"));
    check("| logfmt | a > 5 | __error__=\"\"", "a=x", None);
    check("| logfmt | a >= 1m", "a=90s", Some("a=90s"));
    check("| logfmt | a >= 1KB", "a=1kb", Some("a=1kb"));
    check("| logfmt | a = ip(\"10.0.0.0/8\")", "a=10.1.2.3", Some("a=10.1.2.3"));
    check("| logfmt | a = ip(\"10.0.0.0/8\")", "b=1", None);
    check("| json | a = ip(\"10.0.0.0/8\")", "x", Some("x")); // a line with an error passes
    check("| logfmt | a=1 or b=2", "b=2", Some("b=2"));
    check("| logfmt | a=1 or b=\"x\"", "a=2", None);
}

#[test]
fn line_filters_move_to_the_stored_line() {
    #[track_caller]
    fn check(pipeline: &str, pushed_down: usize, needs_line: bool) {
        let compiled = Pipeline::compile(&stages(pipeline), None, &Wanted::All).expect(pipeline);
        assert_eq!((compiled.pushed_down().len(), compiled.needs_line()), (pushed_down, needs_line), "{pipeline}");
    }
    check("", 0, false);
    check("|= \"a\" != \"b\"", 2, false);
    check("| json |= \"a\"", 1, true);
    check("| app=\"x\" |= \"a\"", 1, false);
    check("| json | a=\"x\" |= \"a\"", 1, true);
    check("| line_format \"x\" |= \"a\"", 0, true);
    check("|= \"a\" | line_format \"x\"", 1, false);
    check("| unpack |= \"a\"", 0, true);
    check("| decolorize |= \"a\"", 1, true);
    check("| decolorize | app=\"x\" |= \"a\"", 0, true);
    check("| keep app", 0, false);
}

#[test]
fn early_filters_are_a_quirk_only_without_grouping() {
    #[track_caller]
    fn check(pipeline: &str, wanted: &Wanted, line: &str, want: bool) {
        let compiled = Pipeline::compile(&stages(pipeline), None, wanted).expect(pipeline);
        assert_eq!(show(&compiled, &[], line.as_bytes()) != "-", want, "{pipeline} {wanted:?} on {line}");
    }
    let only = Wanted::Only(vec!["a".into()]);
    check("| logfmt | drop a | a=\"\"", &Wanted::All, "a=1", false);
    check("| logfmt | drop a | a=\"\"", &only, "a=1", true);
    check("| a=\"\" | logfmt", &Wanted::All, "a=1", false);
    check("| a=\"\" | logfmt", &only, "a=1", true);
    check("| logfmt | label_format a=\"z\" | a=\"z\"", &only, "a=1", true);
    check("| logfmt | a=\"1\"", &only, "a=1", true);
    check("| logfmt | a=\"2\"", &only, "a=1", false);
}

#[test]
fn errors_count_where_somebody_looks() {
    #[track_caller]
    fn check(pipeline: &str, wanted: &Wanted, line: &str, want: Option<&str>) {
        let compiled = Pipeline::compile_without_line(&stages(pipeline), None, wanted).expect(pipeline);
        let stream = StreamContext::new(Labels::from_pairs(STREAM));
        let entry = Entry { timestamp_ns: 0, line: line.as_bytes(), metadata: &[] };
        let mut scratch = compiled.scratch();
        let output = compiled.run(&stream, &entry, &mut scratch).expect("passes");
        assert_eq!(output.fatal_error(), want, "{pipeline} {wanted:?} on {line}");
    }
    let by = |label: &str| Wanted::Only(vec![label.into()]);
    check("| json", &Wanted::All, "x", Some("JSONParserErr"));
    check("| json", &Wanted::None, "x", None);
    check("| json", &by("a"), "x", Some("JSONParserErr"));
    check("| json", &by("__error__"), "x", None);
    check("| json | __error__!=\"\"", &Wanted::None, "x", None);
    check("| json | __error__!=\"\"", &Wanted::All, "x", Some("JSONParserErr"));
    check("| json", &by("a"), r#"{"a":1, broken"#, None); // found, so nobody reads on
    check("| app > 5", &by("__error__"), "x", Some("LabelFilterErr"));
    check("| logfmt --strict", &by("a"), "=", Some("LogfmtParserErr"));
    check("| line_format \"{{ div 1 0 }}\"", &Wanted::None, "x", None);
    check("| label_format x=\"{{ div 1 0 }}\"", &Wanted::None, "x", Some("TemplateFormatErr"));
    check("| json | drop __error__, __error_details__", &Wanted::All, r#"{"__error__":"fake"}"#, Some("fake"));
}

#[test]
fn unwraps_values() {
    #[track_caller]
    fn check(unwrap: &str, line: &str, want: Option<(f64, Option<&str>)>) {
        let query = format!("sum_over_time({{app=\"web\"}} | logfmt {unwrap} [1m])");
        let Ok(Expr::Metric(ast::MetricExpr::Range(range))) = crate::parse(&query) else { panic!("{query}") };
        let pipeline = Pipeline::compile(&range.log.stages, range.unwrap.as_ref(), &Wanted::All).expect("compiles");
        let stream = StreamContext::new(Labels::from_pairs(STREAM));
        let entry = Entry { timestamp_ns: 0, line: line.as_bytes(), metadata: &[] };
        let mut scratch = pipeline.scratch();
        let output = pipeline.run(&stream, &entry, &mut scratch);
        let got = output.map(|output| (output.value().expect("a value"), output.error()));
        assert_eq!(got, want, "{unwrap} on {line}");
    }
    check("| unwrap x", "x=1.5", Some((1.5, None)));
    check("| unwrap x", "x=", None);
    check("| unwrap x", "y=1", None);
    check("| unwrap x", "x=abc", Some((0.0, Some("SampleExtractionErr"))));
    check("| unwrap x | __error__=\"\"", "x=abc", None);
    check("| unwrap duration(x)", "x=1m30s", Some((90.0, None)));
    check("| unwrap duration_seconds(x)", "x=1500ms", Some((1.5, None)));
    check("| unwrap bytes(x)", "x=5KiB", Some((5120.0, None)));
    check("| unwrap x | x > 2", "x=1", None);
}

#[test]
fn hints_name_text_that_must_occur() {
    #[track_caller]
    fn check(pipeline: &str, want: &[(&str, &str)]) {
        let compiled = Pipeline::compile(&stages(pipeline), None, &Wanted::All).expect(pipeline);
        let text = |hint: &FieldHint| {
            let needle = |needle: &crate::line_filter::Needle| String::from_utf8_lossy(&needle.bytes).into_owned();
            let all = |needles: &Vec<_>| needles.iter().map(needle).collect::<Vec<_>>().join("&");
            (hint.label.clone(), hint.literals.alternatives.iter().map(all).collect::<Vec<_>>().join("|"))
        };
        let got: Vec<(String, String)> = compiled.field_hints().iter().map(text).collect();
        let want: Vec<(String, String)> = want.iter().map(|(l, t)| ((*l).to_owned(), (*t).to_owned())).collect();
        assert_eq!(got, want, "{pipeline}");
    }
    check("| json | level=\"ERROR\"", &[("level", "ERROR|\\u")]);
    check("| json | path=\"/a\"", &[("path", "/a|\\")]);
    check("| pattern \"<a> <_>\" | a=\"x y\"", &[("a", "x&y")]);
    check("| level=\"ERROR\"", &[]);
    check("| json | a=\"1\" and b=\"2\"", &[("a", "1|\\u"), ("b", "2|\\u")]);
    check("| json | a=\"1\" or b=\"2\"", &[]);
    check("| json | a!=\"1\"", &[]);
    check("| json | label_format a=\"1\" | a=\"1\"", &[]);
    check("| json | __error__=\"JSONParserErr\"", &[]);
}

/// JSON text of an object, with the labels that it should become.
fn json_object() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        (-1e9..1e9f64).prop_map(serde_json::Value::from),
        "\\PC{0,12}".prop_map(serde_json::Value::from),
        "[\"\\\\\n\t/é😀 a]{0,8}".prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(serde_json::Value::from),
    ];
    let key = "[a-e_0-9.é \"]{0,3}";
    let value = leaf.prop_recursive(3, 24, 4, move |inner| {
        prop::collection::vec((key, inner), 0..4)
            .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into())
    });
    prop::collection::vec((key, value), 0..6).prop_map(|members| members.into_iter().collect())
}

/// What `| json` should make of an object.
fn flatten(prefix: &str, object: &serde_json::Map<String, serde_json::Value>, labels: &mut Vec<(String, String)>) {
    for (key, value) in object {
        let mut name = prefix.to_owned();
        keys::sanitize(&mut name, key);
        let text = match value {
            serde_json::Value::Object(inner) => {
                flatten(&name, inner, labels);
                continue;
            }
            serde_json::Value::String(text) => text.replace('\u{fffd}', " "),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            _ => continue,
        };
        if !name.is_empty() && !labels.iter().any(|(known, _)| *known == name) {
            labels.push((name, text));
        }
    }
}

fn parsed_labels(pipeline: &str, wanted: &Wanted, line: &[u8]) -> Vec<(String, String)> {
    let compiled = Pipeline::compile(&stages(pipeline), None, wanted).expect(pipeline);
    let stream = StreamContext::new(Labels::from_pairs(STREAM));
    let mut scratch = compiled.scratch();
    let Some(output) = compiled.run(&stream, &Entry { timestamp_ns: 0, line, metadata: &[] }, &mut scratch) else {
        return Vec::new();
    };
    let parsed = output.labels().filter(|(.., category)| *category == Category::Parsed);
    parsed.map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn escaped_text_passes_filters() {
    for (stage, line) in [
        (r#"| json | a="ERROR""#, r#"{"a":"\u0045RROR"}"#),
        (r#"| json | a="/x""#, r#"{"a":"\/x"}"#),
        (r#"| logfmt | a="ERROR""#, r#"a="\u0045RROR""#),
        (r#"| logfmt | a="'x'""#, r#"a="\'x\'""#),
    ] {
        assert_eq!(parsed_labels(stage, &Wanted::All, line.as_bytes()).len(), 1, "{stage} on {line}");
    }
}

#[test]
fn bad_escapes_count_where_nobody_wants_the_value() {
    #[track_caller]
    fn check(stage: &str, want: &[(&str, &str)]) {
        // The value of `e` is no text, so the walk goes on behind the next blank, not inside of `x="y`.
        let line = br#"e="\q"x="y a=A"#;
        for wanted in [Wanted::All, Wanted::Only(want.iter().map(|(name, _)| (*name).to_owned()).collect())] {
            let want: Vec<_> = want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parsed_labels(stage, &wanted, line), want, "{stage} {wanted:?}");
        }
    }
    check("| logfmt", &[("a", "A")]);
    check("| logfmt a", &[("a", "A")]);
    check("| logfmt a, b=\"e\"", &[("a", "A")]);
    let details = "logfmt syntax error at pos 7 : invalid quoted value";
    let errors = [("__error__", "LogfmtParserErr"), ("__error_details__", details)];
    check("| logfmt --strict", &errors);
    check("| logfmt --strict a", &[errors[0], errors[1], ("a", "")]);
}

proptest! {
    #[test]
    fn json_reads_what_serde_json_writes(object in json_object(), is_pretty: bool) {
        let line = if is_pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
        let line = line.expect("serializes");
        let mut want = Vec::new();
        flatten("", &object, &mut want);
        // Stream labels make the parsed ones step aside.
        for (name, _) in &mut want {
            if STREAM.iter().any(|(taken, _)| taken == name) {
                name.push_str("_extracted");
            }
        }
        want.sort();
        prop_assert_eq!(parsed_labels("| json", &Wanted::All, line.as_bytes()), want, "{}", line);
    }

    #[test]
    fn fewer_wanted_labels_have_the_same_values(
        object in json_object(),
        text in "[a-e]{1,2}=(\"[a-c \\\\\\\\]{0,3}\"|[a-c]{0,2})( [a-e]{1,2}=[a-z]{0,3}){0,4}",
        names in prop::collection::vec("[a-e]{1,2}(_extracted)?", 1..3),
        stage in prop::sample::select(vec!["| json", "| logfmt", "| regexp `(?P<a>[a-c]+)=(?P<b>\\w*)`", "| pattern `<a>=<b> <c>`"]),
    ) {
        let line = if stage == "| json" { serde_json::to_string(&object).expect("serializes") } else { text };
        let all = parsed_labels(stage, &Wanted::All, line.as_bytes());
        let some = parsed_labels(stage, &Wanted::Only(names.clone()), line.as_bytes());
        let want: Vec<_> = all.into_iter().filter(|(name, _)| names.contains(name)).collect();
        prop_assert_eq!(some, want, "{} on {}", stage, line);
    }

    #[test]
    fn labels_pass_a_filter_on_their_own_value(
        object in json_object(),
        text in "[a-e]{1,2}=(\"[a-c \\\\\\\\]{0,3}\"|[a-c\\u{fffd}]{0,2})( [a-e]{1,2}=[a-z]{0,3}){0,4}",
        stage in prop::sample::select(vec!["| json", "| logfmt", "| regexp `(?P<a>[a-c]+)=(?P<b>\\w*)`", "| pattern `<a>=<b> <c>`"]),
    ) {
        let line = if stage == "| json" { serde_json::to_string(&object).expect("serializes") } else { text };
        for (name, value) in parsed_labels(stage, &Wanted::All, line.as_bytes()) {
            if value.contains('`') || name.starts_with("__error") {
                continue;
            }
            let filtered = format!("{stage} | {name}=`{value}`");
            prop_assert!(!parsed_labels(&filtered, &Wanted::All, line.as_bytes()).is_empty(), "{} on {}", filtered, line);
        }
    }

    #[test]
    fn survives_any_bytes(
        line in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[{}\\[\\]\":,a-c1tfn\\\\ue0 =\u{1b}m;]{0,48}".prop_map(String::into_bytes),
        ],
        stage in prop::sample::select(vec![
            "| json", "| json a, b=\"a.b\", c=\"a[0].b\"", "| logfmt", "| logfmt --strict --keep-empty", "| logfmt a, b",
            "| regexp `(?P<a>.)(?P<b>[^a]*)`", "| pattern `<a>:<b>`", "| unpack", "| decolorize",
            "| line_format `{{__line__ | upper}}` | json", "|~ `(?i)a.c` | logfmt", "|= ip(`10.0.0.0/8`)", "|> `<_>a<_>`",
        ]),
    ) {
        let compiled = Pipeline::compile(&stages(stage), None, &Wanted::All).expect(stage);
        show(&compiled, &metadata(&[("a", "1")]), &line);
    }
}
