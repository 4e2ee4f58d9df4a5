//! The test on a value of a line that drops the line: `| json | status >= 500`, `| regexp "took (?P<ms>\\d+)" | ms > 9`.
//!
//! A storage that keeps lines as templates, text around values, finds out where the value lies in all lines of a template:
//! it reads one of them as the JSON parser would ([`FieldTest::read`]), or looks for the texts around the value
//! ([`Between`]). Then it asks [`FieldTest::keeps`] about values, of which there are few, and rebuilds only lines that may
//! pass.

use super::Between;
use crate::ast::{self, Stage};
use crate::stage::json::scan::{Member, Members, Token, value};
use crate::stage::label_filter::{TextMatcher, float_matches};
use logstack_go::units::parse_float;

/// Objects in objects that are read; deeper ones are left to the parser.
const DEPTH_MAX: usize = 8;

pub struct FieldTest {
    parser: FieldParser,
    label: String,
    test: Test,
}

/// Which stage makes the label of the value.
#[derive(Debug)]
pub enum FieldParser {
    /// `json`: it is a member of the line.
    Json,
    /// `regexp`: it stands between two texts.
    Regexp(Box<Between>),
}

enum Test {
    Number { op: ast::CompareOp, value: f64 },
    Text(TextMatcher),
}

impl std::fmt::Debug for FieldTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FieldTest").field(&self.label).finish()
    }
}

/// The values of a line, as the parser comes by them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Ascending. Other text in their places leads the parser the same way, as long as it has no quotes and no
    /// backslashes, and numbers are numbers.
    pub values: Vec<FieldValue>,
    /// The place in `values` of the member that is tested; `None`: the line has no such member.
    pub tested: Option<usize>,
    /// Behind the object: the parser looks no further.
    pub end: usize,
}

/// Where a value is, without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldValue {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// It stands without quotes: a number, `true` or `false`.
    pub is_bare: bool,
}

impl FieldTest {
    /// A test that the first parser of `stages` and a filter of those right behind it make, if they make one.
    pub(super) fn of_stages(stages: &[Stage]) -> Option<Self> {
        let mut stages = stages.iter().skip_while(|stage| matches!(stage, Stage::LineFilter(_)));
        let (parser, group) = match stages.next()? {
            Stage::Json { extractions } if extractions.is_empty() => (FieldParser::Json, None),
            Stage::Regexp(pattern) => {
                let (between, group) = Between::of(pattern)?;
                (FieldParser::Regexp(Box::new(between)), Some(group))
            }
            _ => return None,
        };
        // All of them have to hold, and none changes what another one looks at.
        let (label, test) = stages
            .map_while(|stage| if let Stage::LabelFilter(filter) = stage { Some(filter) } else { None })
            .find_map(|filter| Self::of(filter, group.as_deref()))?;
        Some(Self { parser, label, test })
    }

    /// The label of a test in `filter`, and the test: any label if `group` is none.
    fn of(filter: &ast::LabelFilter, group: Option<&str>) -> Option<(String, Test)> {
        let (label, test) = match filter {
            ast::LabelFilter::And(left, right) => return Self::of(left, group).or_else(|| Self::of(right, group)),
            ast::LabelFilter::Number { name, op, value } => (name, Test::Number { op: *op, value: *value }),
            ast::LabelFilter::Text(matcher) => (&matcher.name, Test::Text(TextMatcher::new(matcher).ok()?)),
            _ => return None,
        };
        // Both kinds of names say something else than what a member is called.
        let is_plain = !label.starts_with("__") && !label.ends_with("_extracted");
        (is_plain && group.is_none_or(|group| group == label)).then(|| (label.clone(), test))
    }

    /// Where the value comes from.
    pub fn parser(&self) -> &FieldParser {
        &self.parser
    }

    /// The label that is compared. The test says nothing about entries whose stream or metadata has this label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// False when a line with this value (`None`: with none) is dropped for certain.
    pub fn keeps(&self, value: Option<&str>) -> bool {
        match (&self.test, value) {
            (Test::Number { .. }, None) => false,
            // What is no number is an error, and errors are kept.
            (Test::Number { op, value }, Some(text)) => {
                parse_float(text).map_or(true, |number| float_matches(*op, number, *value))
            }
            (Test::Text(matcher), value) => matcher.matches(value.unwrap_or("")),
        }
    }

    /// Reads a line; `None` when it is left to the parser: it is no object, has a fault, or names that become other
    /// labels.
    pub fn read(&self, line: &[u8]) -> Option<Fields> {
        let mut fields = Fields::default();
        let mut members = Members::open(line, 0).ok()?;
        self.object(&mut members, "", 0, &mut fields)?;
        fields.end = members.at();
        Some(fields)
    }

    fn object(&self, members: &mut Members<'_>, parent: &str, depth: usize, fields: &mut Fields) -> Option<()> {
        while let Some(Member { key, is_escaped, at }) = members.next().ok()? {
            let key = std::str::from_utf8(key).ok().filter(|key| !is_escaped && is_identifier(key))?;
            let label = if parent.is_empty() { key.to_owned() } else { format!("{parent}_{key}") };
            let token = value(members.text(), at).ok()?;
            let found = match token {
                Token::String { is_escaped: true, .. } | Token::Array { .. } => return None,
                Token::Object { start, end } => {
                    let mut inner = Members::open(&members.text()[..end], start).ok()?;
                    if depth >= DEPTH_MAX {
                        return None;
                    }
                    self.object(&mut inner, &label, depth + 1, fields)?;
                    None
                }
                Token::Null { .. } => None,
                Token::String { start, end, .. } => Some(FieldValue { start, end, is_bare: false }),
                Token::Scalar { start, end } => Some(FieldValue { start, end, is_bare: true }),
            };
            if let Some(found) = found {
                if fields.tested.is_none() && label == self.label {
                    fields.tested = Some(fields.values.len());
                }
                fields.values.push(found);
            }
            members.resume(token.next());
        }
        Some(())
    }
}

/// A name that becomes a label as it is.
fn is_identifier(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse_log_selector;

    fn test_of(stages: &str) -> Option<FieldTest> {
        let expr = parse_log_selector(&format!("{{a=\"b\"}} {stages}")).unwrap();
        FieldTest::of_stages(&expr.stages)
    }

    #[test]
    fn tests_stand_right_behind_the_parser() {
        let check = |stages: &str, want: Option<&str>| {
            assert_eq!(test_of(stages).as_ref().map(FieldTest::label), want, "{stages}");
        };
        check("| json | status >= 500", Some("status"));
        check(r#"|= "x" | json | level="error" | line_format "x""#, Some("level"));
        check(r#"| json | level=~"err|warn""#, Some("level"));
        check("| json | __error__=`` | status >= 500", Some("status"));
        check("| json | took > 5s | level=`x` and status >= 500", Some("level"));
        check("| json", None);
        check("| json | line_format `x` | status >= 500", None);
        check("| json | json | status >= 500", None);
        check("| json x=`a.b` | x >= 500", None);
        check("| logfmt | status >= 500", None);
        check("| json | status >= 500 or level=`x`", None);
        check("| json | took > 5s", None);
        check("| json | __error__=``", None);
        check("| json | status_extracted >= 500", None);
        check("| line_format `x` | json | status >= 500", None);
        check(r#"|= "x" | regexp "took (?P<ms>[0-9]+) ms" | other="x" | ms > 9"#, Some("ms"));
        check(r#"| regexp "took (?P<ms>[0-9]+) ms" | other > 9"#, None);
        check(r#"| regexp "took (?P<ms>.+) ms" | ms > 9"#, None);
    }

    #[test]
    fn members_are_found_as_the_parser_does() {
        let test = test_of("| json | status >= 500").unwrap();
        let check = |line: &str, want: Option<Option<&str>>| {
            let read = test.read(line.as_bytes());
            let value =
                read.map(|fields| fields.tested.map(|at| &line[fields.values[at].start..fields.values[at].end]));
            assert_eq!(value, want, "{line}");
        };
        check(r#"{"status":200}"#, Some(Some("200")));
        check(r#" {"a":"x", "status" : "200", "b": true } rest"#, Some(Some("200")));
        check(r#"{"status":200,"status":500}"#, Some(Some("200")));
        check(r#"{"status":null,"status":500}"#, Some(Some("500")));
        check(r#"{"a":{"status":200},"status":500}"#, Some(Some("500")));
        check(r#"{"a":1}"#, Some(None));
        check("{}", Some(None));
        check(r#"{"status":200,"b":"\""}"#, None);
        check(r#"{"status":200,"b":[1]}"#, None);
        check(r#"{"status":200,"b c":1}"#, None);
        check(r#"{"stat\u0075s":200}"#, None);
        check(r#"{"status":200"#, None);
        check(r#"{"status":200,"b":x}"#, None);
        check("status=200", None);
        let nested = test_of(r#"| json | a_status="x""#).unwrap();
        let fields = nested.read(br#"{"a":{"status":"y"},"a_status":"x"} {"#).unwrap();
        assert_eq!(fields.tested, Some(0));
        assert_eq!((fields.values.len(), fields.end), (2, 35));
    }

    #[test]
    fn values_are_compared_as_by_the_stage() {
        let check = |stages: &str, value: Option<&str>, want: bool| {
            assert_eq!(test_of(stages).unwrap().keeps(value), want, "{stages} {value:?}");
        };
        check("| json | status >= 500", Some("500"), true);
        check("| json | status >= 500", Some("499.5"), false);
        check("| json | status >= 500", Some("many"), true);
        check("| json | status >= 500", None, false);
        check("| json | status != 500", None, false);
        check("| json | level=`error`", Some("error"), true);
        check("| json | level=`error`", Some("warn"), false);
        check("| json | level=`error`", None, false);
        check("| json | level!=`error`", None, true);
        check("| json | level=~`err.*`", Some("error"), true);
    }
}
