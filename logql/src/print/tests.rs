//! Recorded forms are in `tests/parse_golden.rs`; here is what they leave out.

use crate::parse;

#[test]
fn prints_the_canonical_form() {
    #[track_caller]
    fn check(query: &str, want: &str) {
        let expr = parse(query).unwrap();
        assert_eq!(expr.to_string(), want);
        assert_eq!(parse(want).unwrap(), expr, "{want} is another query");
    }
    check(r#"{a="b"}|=`x"`or ip("1.2.3.4")!~"y""#, r#"{a="b"} |= "x\"" or ip("1.2.3.4") !~ "y""#);
    check(r#"{a="b"}|c>1.5KiB|d<=2000000B|e=5KB"#, r#"{a="b"} | c>1536B | d<=2.0MB | e==5.0kB"#);
    check(r#"{a="b"}|c>1e400,d!=-1.5,e=0B"#, r#"{a="b"} | ( c>1e400 , ( d!=-1.5 , e==0B ) )"#);
    check(r#"{a="b"}|c>-1h"#, r#"{a="b"} | c>-1h0m0s"#);
    check(r#"{a="b"}|label_format x=y,z="{{.w}}""#, r#"{a="b"} | label_format x=y,z="{{.w}}""#);
    check(
        r#"rate({a="b"}|json|unwrap bytes[90m]offset -5m)"#,
        r#"rate({a="b"} | json | unwrap bytes[1h30m] offset -5m0s)"#,
    );
    check(
        r#"max_over_time({a="b"}[5m]|unwrap duration_seconds(c))by()"#,
        r#"max_over_time({a="b"} | unwrap duration_seconds(c)[5m]) by ()"#,
    );
    check("1e300*1e300", "(1e+300 * 1e+300)");
    check("-2 + 1000000", "999998");
    check("vector(1.5) > bool -1e6", "(vector(1.5) > bool -1e+06)");
    check(
        r#"sum(rate({a="b"}[1m]))by(c) / ignoring(d) group_right sum(rate({a="b"}[1m]))"#,
        r#"(sum by (c)(rate({a="b"}[1m])) / ignoring (d) group_right () sum(rate({a="b"}[1m])))"#,
    );
    check(
        r#"variants(rate({a="b"}[1m]),vector(1)) of ({a="b"}|json[1m])"#,
        r#"variants(rate({a="b"}[1m]), vector(1)) of ({a="b"} | json[1m])"#,
    );
    assert_eq!(parse("1/0").unwrap().to_string(), "(0 / 0)");
}

#[test]
fn pretty_keeps_the_order_of_operations() {
    let long = r#"rate({namespace="a-very-long-namespace-name", app="x"}[5m])"#;
    let query = format!("({long} + {long}) * {long}");
    let want = format!("  (\n      {long}\n    +\n      {long}\n  )\n*\n  {long}");
    let expr = parse(&query).unwrap();
    assert_eq!(expr.pretty(), want);
    assert_eq!(parse(&want).unwrap(), expr);
}
