//! `label_replace(v, "dst", "replacement", "src", "regex")`.

use logstack_logql::Labels;
use logstack_logql::ast::LabelReplace;
use regex::bytes::Regex;

use super::series::Matrix;

/// Sets the label `dst` of every series whose `src` matches; an empty replacement removes it. Series that then have
/// equal labels stay apart, as in the recorded answers.
///
/// `regex` is `call.regex`, anchored. Source: contract logql.md, 10.
pub fn label_replace(call: &LabelReplace, regex: &Regex, mut inner: Matrix) -> Matrix {
    let mut value = Vec::new();
    for series in &mut inner.series {
        let source = series.labels.get(&call.src).unwrap_or("");
        let Some(captures) = regex.captures(source.as_bytes()) else { continue };
        value.clear();
        captures.expand(call.replacement.as_bytes(), &mut value);
        let value = String::from_utf8_lossy(&value);
        let others = series.labels.iter().filter(|(name, _)| *name != call.dst);
        series.labels = if value.is_empty() {
            Labels::from_pairs(others)
        } else {
            Labels::from_pairs(others.chain([(call.dst.as_str(), &*value)]))
        };
    }
    inner
}

#[cfg(test)]
mod tests {
    use logstack_logql::ast::MetricExpr;

    use super::super::series::testing::{matrix, show};
    use super::*;

    #[test]
    fn replaces() {
        #[track_caller]
        fn check(dst: &str, replacement: &str, src: &str, regex: &str, want: &str) {
            let call = LabelReplace {
                inner: MetricExpr::Literal(0.0),
                dst: dst.into(),
                replacement: replacement.into(),
                src: src.into(),
                regex: regex.into(),
            };
            let regex = Regex::new(&format!("^(?:{regex})$")).unwrap();
            let got = label_replace(&call, &regex, matrix(&[("app=api,env=prod", &[1.0])]));
            assert_eq!(show(&got), want);
        }
        check("short", "$1", "app", "(.).*", "{app=api,env=prod,short=a} 1");
        check("short", "x${n}y", "app", "(?P<n>a).*", "{app=api,env=prod,short=xay} 1");
        check("env", "", "app", ".*", "{app=api} 1");
        check("env", "new", "app", "ap", "{app=api,env=prod} 1");
        check("got", "none", "missing", "", "{app=api,env=prod,got=none} 1");
    }
}
