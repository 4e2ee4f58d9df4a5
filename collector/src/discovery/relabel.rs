//! Prometheus relabelling: rules that turn what discovery knows into labels, or drop a target.
//!
//! Rules run in order, each on the labels that the ones before left. A missing label reads as "", and setting a label to
//! "" removes it. Patterns are anchored at both ends and `.` matches a newline.
//!
//! Source: Prometheus configuration, "relabel_config"; contract of the collector, 2.4.

use std::collections::BTreeMap;

use logstack_go::re2::{self, NamedRegex};
use md5::{Digest, Md5};

/// Labels while they are being worked on, `__meta_*` included.
pub type LabelMap = BTreeMap<String, String>;

/// One compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Their values, joined by the separator, are what the rule looks at.
    pub source_labels: Vec<String>,
    /// Between the values.
    pub separator: String,
    /// Anchored.
    pub regex: NamedRegex,
    /// May hold references to groups (`replace`).
    pub target_label: String,
    /// May hold references to groups.
    pub replacement: String,
    /// What to do.
    pub action: Action,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in Prometheus")]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod { modulus: u64 },
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// Compiles the pattern of a rule.
///
/// # Errors
/// What is wrong with it, in Go's words.
pub fn compile_regex(pattern: &str) -> Result<NamedRegex, re2::Error> {
    re2::compile_named(&format!("^(?s:{pattern})$"))
}

/// Runs `rules` over `labels`; false when a rule drops the target.
pub fn relabel(rules: &[Rule], labels: &mut LabelMap) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

impl Rule {
    fn apply(&self, labels: &mut LabelMap) -> bool {
        let value = self.value(labels);
        match self.action {
            Action::Keep => return self.matches(&value),
            Action::Drop => return !self.matches(&value),
            Action::KeepEqual => return value == get(labels, &self.target_label),
            Action::DropEqual => return value != get(labels, &self.target_label),
            Action::Replace => self.replace(&value, labels),
            Action::HashMod { modulus } => {
                let digest = Md5::digest(value.as_bytes());
                let tail = u64::from_be_bytes(digest[8..].try_into().expect("MD5 has 16 bytes"));
                set(labels, &self.target_label, (tail % modulus).to_string());
            }
            Action::Lowercase => set(labels, &self.target_label, value.to_lowercase()),
            Action::Uppercase => set(labels, &self.target_label, value.to_uppercase()),
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => labels.retain(|name, _| !self.matches(name)),
            Action::LabelKeep => labels.retain(|name, _| self.matches(name)),
        }
        true
    }

    fn value(&self, labels: &LabelMap) -> String {
        let values: Vec<&str> = self.source_labels.iter().map(|name| get(labels, name)).collect();
        values.join(&self.separator)
    }

    fn matches(&self, text: &str) -> bool {
        self.regex.regex.is_match(text.as_bytes())
    }

    fn expand(&self, text: &str, template: &str) -> Option<String> {
        let captures = self.regex.regex.captures(text.as_bytes())?;
        let mut out = Vec::new();
        re2::expand(&self.regex, &captures, template, &mut out);
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    fn replace(&self, value: &str, labels: &mut LabelMap) {
        let Some(target) = self.expand(value, &self.target_label) else { return };
        if !is_label_name(&target) {
            return;
        }
        let replacement = self.expand(value, &self.replacement).expect("the pattern matched just now");
        set(labels, &target, replacement);
    }

    fn map_names(&self, labels: &mut LabelMap) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter_map(|(name, value)| Some((self.expand(name, &self.replacement)?, value.clone())))
            .collect();
        for (name, value) in mapped {
            set(labels, &name, value);
        }
    }
}

/// What remains for the server: without `__*`, with names that it accepts.
pub fn public_labels(labels: &LabelMap) -> logstack_logql::Labels {
    let public = labels.iter().filter(|(name, _)| !name.starts_with("__"));
    logstack_logql::Labels::from_pairs(public.map(|(name, value)| (sanitized(name), value.clone())))
}

/// `name` with what a label name may not hold replaced by `_`, as `__meta_*` labels are named.
pub fn sanitized(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

fn get<'l>(labels: &'l LabelMap, name: &str) -> &'l str {
    labels.get(name).map_or("", String::as_str)
}

fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty() && sanitized(name) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(sources: &[&str], regex: &str, target: &str, replacement: &str, action: Action) -> Rule {
        Rule {
            source_labels: sources.iter().map(|name| (*name).to_owned()).collect(),
            separator: ";".to_owned(),
            regex: compile_regex(regex).unwrap(),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
        }
    }

    /// `want` is `None` when the target is dropped.
    #[track_caller]
    fn check(rule: Rule, labels: &[(&str, &str)], want: Option<&[(&str, &str)]>) {
        let owned = |pairs: &[(&str, &str)]| -> LabelMap {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut got = owned(labels);
        let kept = relabel(&[rule], &mut got);
        assert_eq!(kept.then_some(got), want.map(owned));
    }

    #[test]
    fn replaces() {
        use Action::Replace;
        check(rule(&["a"], "(.*)", "b", "$1", Replace), &[("a", "x")], Some(&[("a", "x"), ("b", "x")]));
        check(rule(&[], "(.*)", "b", "const", Replace), &[], Some(&[("b", "const")]));
        check(rule(&["a"], "(.*)", "b", "", Replace), &[("a", "x"), ("b", "y")], Some(&[("a", "x")]));
        // The default pattern matches a missing source and so deletes; one that wants a character does not.
        check(rule(&["a"], "(.*)", "b", "$1", Replace), &[("b", "y")], Some(&[]));
        check(rule(&["a"], "(.+)", "b", "$1", Replace), &[("b", "y")], Some(&[("b", "y")]));
        check(rule(&["a"], "(.*)", "b", "$1abc", Replace), &[("a", "x")], Some(&[("a", "x")]));
        check(rule(&["a"], "(.*)", "b", "${1}abc", Replace), &[("a", "x")], Some(&[("a", "x"), ("b", "xabc")]));
        check(rule(&["a"], "(.*);(.*)", "l_$1", "$2", Replace), &[("a", "k")], Some(&[("a", "k")]));
        check(
            rule(&["a", "b"], "(.*);(.*)", "l_$1", "$2", Replace),
            &[("a", "k"), ("b", "v")],
            Some(&[("a", "k"), ("b", "v"), ("l_k", "v")]),
        );
        check(rule(&["a"], "(.*)", "not-a-name", "$1", Replace), &[("a", "x")], Some(&[("a", "x")]));
        // The chart's first-non-empty pattern, with anchors of its own.
        check(
            rule(&["a", "b", "c"], "^;*([^;]+)(;.*)?$", "d", "$1", Replace),
            &[("b", "x"), ("c", "y")],
            Some(&[("b", "x"), ("c", "y"), ("d", "x")]),
        );
    }

    #[test]
    fn keeps_and_drops() {
        let gate = |action| rule(&["gate"], "true", "", "$1", action);
        check(gate(Action::Keep), &[("gate", "true")], Some(&[("gate", "true")]));
        check(gate(Action::Keep), &[("gate", "True")], None);
        check(gate(Action::Keep), &[], None);
        check(gate(Action::Drop), &[("gate", "true")], None);
        check(gate(Action::Drop), &[], Some(&[]));
        check(rule(&["a", "b"], ".+", "", "$1", Action::Keep), &[], Some(&[]));
        check(
            rule(&["a"], "(.*)", "b", "$1", Action::KeepEqual),
            &[("a", "x"), ("b", "x")],
            Some(&[("a", "x"), ("b", "x")]),
        );
        check(rule(&["a"], "(.*)", "b", "$1", Action::KeepEqual), &[("a", "x")], None);
        check(rule(&["a"], "(.*)", "b", "$1", Action::DropEqual), &[], None);
    }

    #[test]
    fn works_on_names() {
        let map = rule(&[], "__meta_label_(.+)", "", "$1", Action::LabelMap);
        check(map, &[("__meta_label_app", "x")], Some(&[("__meta_label_app", "x"), ("app", "x")]));
        check(rule(&[], "a.*", "", "", Action::LabelDrop), &[("ab", "1"), ("b", "2")], Some(&[("b", "2")]));
        check(rule(&[], "a.*", "", "", Action::LabelKeep), &[("ab", "1"), ("__path__", "2")], Some(&[("ab", "1")]));
    }

    #[test]
    fn changes_case_and_hashes() {
        check(rule(&["a"], "(.*)", "b", "$1", Action::Lowercase), &[("a", "ÄB")], Some(&[("a", "ÄB"), ("b", "äb")]));
        check(rule(&["a"], "(.*)", "b", "$1", Action::Uppercase), &[("a", "äb")], Some(&[("a", "äb"), ("b", "ÄB")]));
        // Prometheus' own test: baz modulo 1000 is 976.
        let hash = rule(&["c"], "(.*)", "d", "$1", Action::HashMod { modulus: 1000 });
        let labels = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        check(hash, &labels, Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]));
    }

    /// Go's dialect, where Rust's own would differ or refuse.
    #[test]
    fn patterns_and_references_are_gos() {
        let matches = |pattern: &str, text: &str| {
            let rule = rule(&["a"], pattern, "", "$1", Action::Keep);
            let mut labels = [("a".to_owned(), text.to_owned())].into();
            relabel(&[rule], &mut labels)
        };
        for (pattern, text, want) in [
            ("[^[]+", "ab", true),
            ("[^[]+", "a[b", false),
            ("[[]", "[", true),
            ("[a&&b]", "&", true),
            ("[a&&b]", "c", false),
            (r"\Qa.b\E", "a.b", true),
            (r"\Qa.b\E", "axb", false),
            ("{x", "{x", true),
            ("a{,3}", "a{,3}", true),
            ("a{2", "a{2", true),
            (r"\d", "٣", false),
            (r"\d", "3", true),
            (r"\w", "é", false),
            ("a.b", "a\nb", true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text:?}");
        }
        // `\\<` is the character, not the start of a word.
        assert_eq!(compile_regex(r"\<b>").map(|regex| regex.regex.is_match(b"<b>")).ok(), Some(true));
        assert!(compile_regex("x**").is_err() && compile_regex("a{1001}").is_err());
        let replaced = |replacement: &str| {
            let rule = rule(&["a"], "(.*)", "b", replacement, Action::Replace);
            let mut labels: LabelMap = [("a".to_owned(), "v".to_owned())].into();
            relabel(&[rule], &mut labels);
            labels.remove("b").unwrap_or_default()
        };
        for (replacement, want) in
            [("$1", "v"), ("$01", ""), ("${1}x", "vx"), ("$1x", ""), ("$$1", "$1"), ("${1", "${1"), ("$9", "")]
        {
            assert_eq!(replaced(replacement), want, "{replacement}");
        }
    }

    #[test]
    fn leaves_what_a_server_accepts() {
        let labels: LabelMap = [("__path__", "p"), ("a-b", "1"), ("0x", "2"), ("ok", "3")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into();
        assert_eq!(public_labels(&labels).to_string(), r#"{_0x="2", a_b="1", ok="3"}"#);
    }
}
