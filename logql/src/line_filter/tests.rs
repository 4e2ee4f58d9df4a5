use super::*;

fn filter(op: LineFilterOp, items: &[&str]) -> LineFilter {
    let item = |text: &&str| match text.strip_prefix("ip:") {
        Some(pattern) => LineMatch::Ip(pattern.to_owned()),
        None => LineMatch::Text((*text).to_owned()),
    };
    LineFilter { op, items: items.iter().map(item).collect() }
}

#[test]
fn filters_lines() {
    #[track_caller]
    fn check(op: LineFilterOp, items: &[&str], line: &str, want: bool) {
        let compiled = CompiledLineFilter::new(&filter(op, items)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(compiled.matches(line.as_bytes()), want, "{op:?} {items:?} on {line:?}");
        if want && let Some(literals) = compiled.literals() {
            assert!(literals.may_match(line.as_bytes()), "literals of {op:?} {items:?} on {line:?}: {literals:?}");
        }
    }
    use LineFilterOp::*;
    check(Contains, &["GET"], "a GET b", true);
    check(Contains, &["GET"], "a get b", false);
    check(Contains, &[""], "", true);
    check(NotContains, &[""], "x", false);
    check(Contains, &["GET", "PUT"], "PUT", true);
    check(Contains, &["GET", "PUT"], "POST", false);
    check(NotContains, &["GET", "PUT"], "POST", true);
    check(NotContains, &["GET", "PUT"], "PUT", false);
    check(Regex, &["(?i)timeout"], "TimeOut", true);
    check(Regex, &["POST|PUT", "^check"], "checkpoint", true);
    check(Regex, &["POST|PUT", "^check"], "a check", false);
    check(Regex, &["slow.*[5-9]\\d{3}ms"], "slow 5000ms", true);
    check(Regex, &["slow.*[5-9]\\d{3}ms"], "slow 500ms", false);
    check(Regex, &[""], "", true);
    check(NotRegex, &[""], "", false);
    check(NotRegex, &["a|b"], "ccc", true);
    check(Pattern, &["slow <_>", "not <_>"], "not json", true);
    check(NotPattern, &["<_>level<_>"], "level=x", true);
    check(NotPattern, &["<_> INFO <_>", "<_> DEBUG <_>"], "a DEBUG b", false);
    check(Contains, &["ip:10.0.0.0/8"], "from 10.1.2.3", true);
    check(NotContains, &["x", "ip:10.0.0.0/8"], "from 10.1.2.3", false);
    // Golden ip_filters: an address in a positive chain is text at the ends, and nothing in the middle.
    check(Contains, &["ip:192.168.1.5", "no address"], "::ffff:192.168.1.5 mapped", true);
    check(Contains, &["mac", "ip:172.16.0.1", "short"], "ip=172.16.0.1", false);
}

#[test]
fn refuses_bad_filters() {
    #[track_caller]
    fn check(op: LineFilterOp, items: &[&str], want: &str) {
        assert_eq!(CompiledLineFilter::new(&filter(op, items)).map(|_| ()).unwrap_err().to_string(), want);
    }
    check(LineFilterOp::Regex, &["ip:1.2.3.4"], "ip: invalid operation");
    check(LineFilterOp::Pattern, &["ip:1.2.3.4"], "ip: invalid operation");
    check(LineFilterOp::Contains, &["ip:nope"], "ip: invalid pattern: \"nope\"");
    check(LineFilterOp::NotContains, &["x", "ip:nope"], "ip: invalid pattern: \"nope\"");
    check(LineFilterOp::Pattern, &["<a>"], "named captures are not allowed: found '<a>'");
}
