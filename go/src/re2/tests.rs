//! The table of the contract (logql.md, 2.1), row by row.

use super::*;

#[test]
fn words_errors_as_go_does() {
    #[track_caller]
    fn check(pattern: &str, want: &str) {
        let text = translate(pattern).map_err(|err| err.to_string());
        assert_eq!(text, Err(format!("error parsing regexp: {want}")), "{pattern:?}");
    }
    check("(", "missing closing ): `(`");
    check("a(b(c)", "missing closing ): `a(b(c)`");
    check("a)b", "unexpected ): `a)b`");
    check("[", "missing closing ]: `[`");
    check("x[a-", "missing closing ]: `[a-`");
    check("[]", "missing closing ]: `[]`");
    check("[b-a]", "invalid character class range: `b-a`");
    check("[[:foo:]]", "invalid character class range: `[:foo:]`");
    check(r"\p{Foo}x", r"invalid character class range: `\p{Foo}`");
    check(r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`");
    check(r"\p{Greek", r"invalid character class range: `\p{Greek`");
    check("*", "missing argument to repetition operator: `*`");
    check("a|+?", "missing argument to repetition operator: `+?`");
    check("(*a)", "missing argument to repetition operator: `*`");
    check("(?i)*", "missing argument to repetition operator: `*`");
    check("{2}", "missing argument to repetition operator: `{2}`");
    check("a**", "invalid nested repetition operator: `**`");
    check("a++b", "invalid nested repetition operator: `++`");
    check("a*?+", "invalid nested repetition operator: `*?+`");
    check("a{2}{2}", "invalid nested repetition operator: `{2}{2}`");
    check("a{1001}", "invalid repeat count: `{1001}`");
    check("a{3,2}", "invalid repeat count: `{3,2}`");
    check("a{99999999999}", "invalid repeat count: `{99999999999}`");
    check("a{2,99999999999}", "invalid repeat count: `{2,99999999999}`");
    check("(a{100}){11}", "invalid repeat count: `{11}`");
    check("((a{10}){10}b{2}){11}", "invalid repeat count: `{11}`");
    check(r"\", "trailing backslash at end of expression: ``");
    check(r"[\", "trailing backslash at end of expression: ``");
    for escape in [r"\C", r"\Z", r"\e", r"\h", r"\R", r"\X", r"\G", r"\c", r"\1", r"\8", r"\é", r"\E", r"\u", r"\k"] {
        check(&format!("{escape}A"), &format!("invalid escape sequence: `{escape}`"));
    }
    check(r"\x", r"invalid escape sequence: `\x`");
    check(r"\xg1", r"invalid escape sequence: `\xg1`");
    check(r"\x{}", r"invalid escape sequence: `\x{}`");
    check(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
    check(r"[\1]", r"invalid escape sequence: `\1`");
    for perl in ["(?=", "(?!", "(?>", "(?#", "(?x", "(?u", "(?'", "(?-)", "(?i--", "(?P=", "(?P>"] {
        let (pattern, want) = if perl.ends_with(')') { (perl.to_owned(), perl) } else { (format!("{perl}a)"), perl) };
        let want = if perl.starts_with("(?P") { "(?P" } else { want };
        check(&pattern, &format!("invalid or unsupported Perl syntax: `{want}`"));
    }
    check("(?i", "invalid or unsupported Perl syntax: `(?i`");
    check("(?<=x)", "invalid named capture: `(?<=x)`");
    check("(?P<é>dead)", "invalid named capture: `(?P<é>`");
    check("(?P<>x)", "invalid named capture: `(?P<>`");
    check("(?P<a", "invalid named capture: `(?P<a`");
    let deep = "(".repeat(1001);
    check(&deep, &format!("expression nests too deeply: `{deep}`"));
}

#[test]
fn matches_as_go_does() {
    #[track_caller]
    fn check(pattern: &str, hits: &[&str], misses: &[&str]) {
        let regex = compile(pattern).unwrap();
        for text in hits {
            assert!(regex.is_match(text.as_bytes()), "{pattern:?} should match {text:?}");
        }
        for text in misses {
            assert!(!regex.is_match(text.as_bytes()), "{pattern:?} should not match {text:?}");
        }
    }
    check(r"^\d$", &["5"], &["٣"]);
    check(r"^\w+$", &["a_1"], &["é"]);
    check(r"^\s$", &[" ", "\x0c"], &["\x0b", "\u{a0}"]);
    check(r"^[\S]$", &["\x0b"], &[" "]);
    check("^[[:space:]]$", &["\x0b"], &[]);
    check(r"\bé", &["aé"], &["é"]);
    check("(?i)^k$", &["K", "\u{212a}"], &[]);
    check("(?i)^s$", &["ſ"], &[]);
    check(r#"{"a":\d"#, &[r#"{"a":1"#], &[]);
    check("^a{,2}$", &["a{,2}"], &["aa"]);
    check("^a{x}$", &["a{x}"], &[]);
    check("^a{1$", &["a{1"], &[]);
    check("^a{01}$", &["a{01}"], &["a"]);
    check("^a{$", &["a{"], &[]);
    check("^{*$", &["{{", ""], &[]);
    check("^[a&&b]+$", &["a&b"], &[]);
    check("^[!--b]+$", &["-b!"], &["c"]);
    check("^[a~~b[]+$", &["a~[b"], &["]"]);
    check("^[]a]$", &["]"], &[]);
    check("^[^]a]$", &["b", "\n"], &["]"]);
    check("^[a-]$", &["-", "a"], &["b"]);
    check("^[-a]$", &["-", "a"], &["b"]);
    check(r"^\<\>\_\'\/$", &["<>_'/"], &[]);
    check(r"^\Qa.b*\E+$", &["a.b**"], &["axb"]);
    check(r"\Qa(", &["a("], &[]);
    check(r"^\141\0\07$", &["a\0\x07"], &[]);
    check(r"^\x{e9}\xe9\a\v\t$", &["éé\x07\x0b\t"], &[]);
    check(r"^\pN\p{Greek}\P{^Lu}\p{^Lu}$", &["5αAa"], &["xαAa"]);
    check(r"^\p{Lu}[\p{greek}\P{Latin}]$", &["Aα", "A1"], &["Aa"]);
    check(r"\A\z", &[""], &["\n"]);
    check("a$", &["a"], &["a\n"]);
    check("(?m)^b$", &["a\nb\nc"], &["ab"]);
    check("(?s)a.b", &["a\nb"], &[]);
    check("(?s:a.)b.c", &["a\nb c"], &["a\nb\nc"]);
    check("(?i:a)b|c(?i)d|e", &["Ab", "cD", "E"], &["AB", "Cd"]);
    check("^(a|)$", &["", "a"], &[]);
    check("^(?:)$", &[""], &[]);
    check("^(?P<n>a)(?<n>b)(?P<1x>c)$", &["abc"], &[]);
    check("^a(?i)*b$", &["aab", "B"], &["Ab"]);
    check("^(?:a*(?i)?)b$", &["aab", "b"], &["aaB"]);
    check("^[[:word:]][[:^alpha:]]$", &["a1"], &["aa"]);
    check("^(a{10}){100}$", &[], &["a"]);
    check(r"^[^\x{d800}-\x{dfff}]$", &["a"], &[]);
    check(r"a|[\x{d800}]|\p{Cs}", &["a"], &["b"]);
}

#[test]
fn swaps_greed_under_the_u_flag() {
    #[track_caller]
    fn check(pattern: &str, text: &str, want: &str) {
        let regex = compile(pattern).unwrap();
        assert_eq!(regex.find(text.as_bytes()).unwrap().as_bytes(), want.as_bytes(), "{pattern:?}");
    }
    check("(?U)a+", "aaa", "a");
    check("(?U)a+?", "aaa", "aaa");
    check("(?U:a+)a*", "aaa", "aaa");
    check("(?U)(?-U)a{1,2}", "aaa", "aa");
}

#[test]
fn anchors_whole_values() {
    #[track_caller]
    fn check(regex: &Regex, text: &str, want: bool) {
        assert_eq!(regex.is_match(text.as_bytes()), want, "{regex:?} {text:?}");
    }
    let selector = compile_anchored("a.c|b").unwrap();
    check(&selector, "a\nc", true);
    check(&selector, "abcd", false);
    check(&selector, "b\n", false);
    let no_newline = compile_anchored("(?-s)a.c").unwrap();
    check(&no_newline, "a\nc", false);
    let filter = compile_label_filter("a.c|b").unwrap();
    check(&filter, "a\nc", false);
    check(&filter, "axc", true);
    let err = compile_label_replace("(").unwrap_err();
    assert_eq!(err.to_string(), "error parsing regexp: missing closing ): `^(?:()$`");
}

#[test]
fn a_bad_byte_is_one_character() {
    #[track_caller]
    fn check(pattern: &str, text: &[u8], want: bool) {
        assert_eq!(is_match(&compile(pattern).unwrap(), text), want, "{pattern:?} {text:?}");
    }
    check("^.$", b"\xff", true);
    check("^..$", b"\xe2\x82", true);
    check("^.$", "é".as_bytes(), true);
    check("^..$", "é".as_bytes(), false);
    check(r"\xff", b"\xff", false);
    check("[^a]b$", b"\xffb", true);
    assert_eq!(*repair(b"a\xffb\xc3"), *"a\u{fffd}b\u{fffd}".as_bytes());
}

#[test]
fn expands_group_references() {
    #[track_caller]
    fn check(template: &str, want: &str) {
        let regex = compile_named("(?P<first>a+)(?P<x>q)?(?P<x>b)").unwrap();
        let captures = regex.regex.captures(b"-aab-").unwrap();
        let mut out = Vec::new();
        expand(&regex, &captures, template, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), want, "{template:?}");
    }
    check("<$1>", "<aa>");
    check("$0$$", "aab$");
    check("${first}s $x", "aas b");
    check("$1x$9|${2}", "|");
    check("$ ${} ${a-b} $", "$ ${} ${a-b} $");
}
