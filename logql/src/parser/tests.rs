//! What the recorded answers in `tests/` leave out. Trees are shown in their canonical form.

use super::*;

#[track_caller]
fn check(query: &str, want: &str) {
    let got = parse(query).map(|expr| expr.to_string()).map_err(|err| err.to_string());
    assert_eq!(got.as_deref(), Ok(want), "{query}");
}

#[track_caller]
fn check_error(query: &str, want: &str) {
    let got = parse(query).map(|expr| expr.to_string()).map_err(|err| err.to_string());
    assert_eq!(got, Err(want.to_owned()), "{query}");
}

#[test]
fn skips_blanks_and_comments() {
    check("\u{feff} {a=\"b\"}\r\n\t# note | json\n| json // {\n/* x\n */ | unpack", "{a=\"b\"} | json | unpack");
    check("{a=\"#\"}", "{a=\"#\"}");
    check_error("{a=\"b\"} /* x", "parse error at line 1, col 9: comment not terminated");
    check_error("{a=\"b\"}\n \0", "parse error at line 2, col 2: invalid character NUL");
    check_error("{a=\"b\"}\n\té ;", "parse error at line 2, col 2: syntax error: unexpected IDENTIFIER");
    check_error("", "parse error : syntax error: unexpected $end");
    check_error(" \n ", "parse error at line 2, col 2: syntax error: unexpected $end");
}

#[test]
fn words_are_reserved_in_any_case_and_functions_only_when_called() {
    check(
        "SUM BY (x) (RATE({a=\"b\"} | LOGFMT | UNWRAP Bytes(y) [5M])) ".replace("5M", "5m").as_str(),
        "sum by (x)(rate({a=\"b\"} | logfmt | unwrap bytes(y)[5m]))",
    );
    check("{sum=\"x\", ip=\"y\", é=\"z\"} | rate > 5", "{sum=\"x\", ip=\"y\", é=\"z\"} | rate>5");
    check("sum by (rate) (rate({a=\"b\"} | unwrap bytes [5m]))", "sum by (rate)(rate({a=\"b\"} | unwrap bytes[5m]))");
    check("sum  without\n( a ) (vector( 1 ))", "sum without (a)(vector(1))");
    check_error("{On=\"x\"}", "parse error at line 1, col 2: syntax error: unexpected on, expecting IDENTIFIER or }");
    check_error(
        "{a=\"b\"} | logfmt --Strict",
        "parse error at line 1, col 20: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    );
    // Loki takes a stray character for a label name; we do not.
    check_error("{a=\"b\"} | ~=\"x\"", "parse error at line 1, col 11: syntax error: unexpected IDENTIFIER");
}

#[test]
fn reads_literals() {
    check("{a=\"\\u00fc\\x41\\n\", b=`x\"\\d`}", "{a=\"üA\\n\", b=\"x\\\"\\\\d\"}");
    check("{a=\"b\"} | c > 1_000 | d < .5 | e >= 5. | f <= 0x1p4", "{a=\"b\"} | c>1000 | d<0.5 | e>=5 | f<=16");
    check(
        "{a=\"b\"} | c > 1w2d | d < 1.5h30m | e = -5s | f = 5ms",
        "{a=\"b\"} | c>216h0m0s | d<2h0m0s | e==-5s | f==5ms",
    );
    check(
        "{a=\"b\"} | c > 5m | d > 5M | e > 1.5KiB | f > 3T | g > 1KB",
        "{a=\"b\"} | c>5m0s | d>5.0MB | e>1536B | f>3.0TB | g>1.0kB",
    );
    check("{a=\"b\"} | c > 0x10 | d > 010", "{a=\"b\"} | c>0 | d>10");
    check("010 + -2 ^ 2", "14");
    check("1--1", "2");
    check("vector(1) -0", "(vector(1) - 0)");
    check("1 > 2", "0");
    check("2 >= bool 2", "1");
    check_error(
        "0b10",
        "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing \"0b10\": invalid syntax",
    );
    check_error("{a=\"x\ny\"}", "parse error at line 1, col 4: literal not terminated");
    check_error("{a=\"\\ud800\"}", "parse error at line 1, col 4: invalid syntax");
    check_error("rate({a=\"b\"}[])", "parse error at line 0, col 13: empty duration string");
}

#[test]
fn label_filters_join_as_lokis_grammar_does() {
    let check_filter =
        |filter: &str, want: &str| check(&format!("{{z=\"z\"}} | {filter}"), &format!("{{z=\"z\"}} | {want}"));
    check_filter("a=1, b=2 or c=3", "( a==1 , ( b==2 or c==3 ) )");
    check_filter("a=1 b=2 or c=3", "( a==1 , ( b==2 or c==3 ) )");
    check_filter("a=1 or b=2, c=3", "( a==1 or ( b==2 , c==3 ) )");
    check_filter("a=1 and b=2 or c=3", "( ( a==1 , b==2 ) or c==3 )");
    check_filter("a=1 or b=2 and c=3", "( a==1 or ( b==2 , c==3 ) )");
    check_filter("a=1 or b=2 or c=3", "( ( a==1 or b==2 ) or c==3 )");
    check_filter("a=1 and b=2, c=3 or d=4", "( a==1 , ( b==2 , ( c==3 or d==4 ) ) )");
    check_filter("(a=1 or b=2) c=3", "( ( a==1 or b==2 ) , c==3 )");
    check_filter("((a=\"x\"))", "a=\"x\"");
}

#[test]
fn operators_bind_by_precedence() {
    let v = |n: u32| format!("vector({n})");
    check("vector(1) + vector(2) * vector(3)", &format!("({} + ({} * {}))", v(1), v(2), v(3)));
    check("vector(1) - vector(2) - vector(3)", &format!("(({} - {}) - {})", v(1), v(2), v(3)));
    check("vector(1) ^ vector(2) ^ vector(3)", &format!("({} ^ ({} ^ {}))", v(1), v(2), v(3)));
    check("vector(1) or vector(2) and vector(3)", &format!("({} or ({} and {}))", v(1), v(2), v(3)));
    check("vector(1) and vector(2) unless vector(3)", &format!("(({} and {}) unless {})", v(1), v(2), v(3)));
    check("vector(1) > vector(2) + vector(3)", &format!("({} > ({} + {}))", v(1), v(2), v(3)));
    check(
        "vector(1) == bool on(a, b) group_left(c) vector(2)",
        &format!("({} == bool on (a,b) group_left (c) {})", v(1), v(2)),
    );
    check("vector(1) / ignoring() group_right vector(2)", &format!("({} / ignoring () group_right () {})", v(1), v(2)));
}

#[test]
fn a_range_may_stand_in_many_places() {
    let want = "rate({a=\"b\"} | json | unwrap c | d>5[5m] offset 1m0s)";
    check("rate({a=\"b\"} | json | unwrap c | d > 5 [5m] offset 1m)", want);
    check("rate({a=\"b\"}[5m] offset 1m | json | unwrap c | d > 5)", want);
    check("rate(({a=\"b\"} | json | unwrap c | d > 5)[5m] offset 1m)", want);
    check("rate((({a=\"b\"} | json | unwrap c | d > 5 [5m] offset 1m)))", want);
    check_error(
        "rate({a=\"b\"} | json [5m] | unwrap c)",
        "parse error at line 1, col 26: syntax error: unexpected |, expecting )",
    );
    check_error(
        "rate({a=\"b\"} | unwrap c [5m] | d > 5)",
        "parse error at line 1, col 30: syntax error: unexpected |, expecting )",
    );
}

#[test]
fn selectors_alone_are_for_label_endpoints() {
    #[track_caller]
    fn check(text: &str, want: Result<usize, &str>) {
        let got = parse_selector(text).map(|matchers| matchers.len()).map_err(|err| err.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{text}");
    }
    let not_selective = ParseError::not_selective().to_string();
    check("{}", Ok(0));
    check("{a=\"b\", c!=\"d\"}", Ok(2));
    check("({a=\"b\"})", Ok(1));
    check("{a!=\"\"}", Ok(1));
    check("{a!~\"\"}", Ok(1));
    check("{a!=\"x\"}", Err(&not_selective));
    check("{a=~\"x|\"}", Err(&not_selective));
    check("{a=\"b\"} | json", Err("only label matchers are supported"));
    check("rate({a=\"b\"}[5m])", Err("only label matchers are supported"));
    check("{a=", Err("parse error at line 1, col 4: syntax error: unexpected $end, expecting STRING"));
    assert_eq!(parse_log_selector("{a=\"b\"} | json").map(|log| log.stages.len()), Ok(1));
    assert_eq!(parse_log_selector("vector(1)"), Err(ParseError::NotALogQuery));
}

#[test]
fn syntax_comes_before_meaning() {
    check_error("topk(0, vector(1)) )", "parse error at line 1, col 20: syntax error: unexpected )");
    check_error("{} | json |", "parse error at line 1, col 12: syntax error: unexpected $end");
    check_error("{a=~\"(\"} foo", "parse error : error parsing regexp: missing closing ): `(`");
    check_error(
        "sum(rate({a=\"b\"}[5m]) + {a=\"b\"})",
        "parse error : unexpected type for right leg of binary operation (+): *syntax.MatchersExpr",
    );
    let long = format!("{{a=\"{}\"}}", "x".repeat(QUERY_BYTES_MAX));
    check_error(&long, &format!("parse error : input size too long ({} > 131072)", long.len()));
}
