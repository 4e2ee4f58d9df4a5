//! The labels of a stream: read, completed with `service_name`, checked.

use std::borrow::Cow;

use logstack_config::Limits;
use logstack_logql::{Labels, push_labels};

use super::decode::json::Cursor;
use super::decode::{Decoded, LabelSource, Span};
use super::level::LevelNames;
use super::metadata::LevelText;
use super::metrics::Reason;
use super::rules::PushRules;
use super::texts;
use crate::model::TenantId;

/// The label that names the service of a stream.
pub const SERVICE_NAME: &str = "service_name";

/// Its value where no label tells.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Streams with one of these are Loki's own aggregates; they have no service.
const AGGREGATES: [&str; 2] = ["__aggregated_metric__", "__pattern__"];

/// Why the labels of a stream are refused, and as what that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Loki's text.
    pub text: String,
    /// The reason in metrics.
    pub reason: Reason,
}

impl Refusal {
    fn new(reason: Reason, text: String) -> Self {
        Self { text, reason }
    }
}

/// Name and value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The labels of a stream of `tenant`, complete and within the limits.
///
/// # Errors
/// [`Refusal`].
pub fn resolve(
    tenant: &TenantId,
    rules: &PushRules,
    source: &LabelSource,
    decoded: &Decoded,
) -> Result<Labels, Refusal> {
    let mut pairs = read(source, decoded)?;
    pairs.retain(|(_, value)| !value.is_empty());
    add_service_name(&rules.limits, &mut pairs);
    // Stable: of equal names the last one stays the last.
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    check(&rules.limits, &pairs)?;
    let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)));
    check_enforced(tenant, rules, &labels)?;
    Ok(labels)
}

/// The level that the labels state.
pub fn level(labels: &Labels, names: &LevelNames) -> Option<LevelText> {
    let stated = names.iter().filter_map(|name| std::str::from_utf8(name).ok()).find_map(|name| labels.get(name));
    stated.map(|value| LevelText::of_value(value.as_bytes()))
}

fn read<'a>(source: &LabelSource, decoded: &'a Decoded) -> Result<Vec<Pair<'a>>, Refusal> {
    let unparsable =
        |reason: &dyn std::fmt::Display| Refusal::new(Reason::InvalidLabels, texts::unparsable_labels(reason));
    match source {
        LabelSource::Selector(text) => {
            let text = std::str::from_utf8(text.of(&decoded.bytes)).map_err(|error| {
                let column = error.valid_up_to() + 1;
                unparsable(&format_args!("1:{column}: parse error: invalid UTF-8 rune"))
            })?;
            let pairs = push_labels::parse(text).map_err(|error| unparsable(&error))?;
            Ok(pairs.into_iter().collect())
        }
        LabelSource::Json(text) => {
            let pairs = read_object(text.of(&decoded.bytes));
            if pairs.iter().all(|(name, _)| push_labels::is_label_name(name)) {
                return Ok(pairs);
            }
            // Loki writes the object as a selector and parses that; so do we, for its answer.
            let text = texts::label_text(pairs.iter().map(|(name, value)| (&**name, &**value)));
            let parsed = push_labels::parse(&text).map_err(|error| unparsable(&error))?;
            Ok(parsed.into_iter().map(|(name, value)| (name.into_owned().into(), value.into_owned().into())).collect())
        }
        LabelSource::Pairs(pairs) => {
            let text = |span: Span| String::from_utf8_lossy(span.of(&decoded.bytes));
            let pairs = decoded.pairs[pairs.clone()].iter();
            Ok(last_of_each(pairs.map(|&(name, value)| (text(name), text(value))).collect()))
        }
    }
}

/// The members of an object of strings, which was checked to be one; sorted, the last of equal names. Bytes that are
/// no UTF-8 become U+FFFD: Loki stores them and later answers invalid JSON.
fn read_object(text: &[u8]) -> Vec<Pair<'static>> {
    let mut bytes = text.to_vec();
    let mut cursor = Cursor::new(&mut bytes);
    let mut pairs = Vec::new();
    let text = |cursor: &Cursor<'_>, span| Cow::Owned(String::from_utf8_lossy(cursor.text(span)).into_owned());
    let outcome = cursor.object("an object of labels", |cursor, name| {
        let value = cursor.string("a label value in quotes")?;
        pairs.push((text(cursor, name), text(cursor, value)));
        Ok(())
    });
    debug_assert_eq!(outcome, Ok(()), "the decoder checked this object");
    last_of_each(pairs)
}

fn last_of_each(mut pairs: Vec<Pair<'_>>) -> Vec<Pair<'_>> {
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.reverse();
    pairs.dedup_by(|a, b| a.0 == b.0);
    pairs.reverse();
    pairs
}

fn add_service_name(limits: &Limits, pairs: &mut Vec<Pair<'_>>) {
    let candidates = &limits.discover_service_name;
    let has = |names: &[&str]| pairs.iter().any(|(name, _)| names.contains(&&**name));
    if candidates.is_empty() || has(&[SERVICE_NAME]) || has(&AGGREGATES) {
        return;
    }
    let value_of = |wanted: &String| pairs.iter().find(|(name, _)| *name == **wanted).map(|(_, value)| value.clone());
    let value = candidates.iter().find_map(value_of).unwrap_or(UNKNOWN_SERVICE.into());
    pairs.push((SERVICE_NAME.into(), value));
}

fn check(limits: &Limits, pairs: &[Pair<'_>]) -> Result<(), Refusal> {
    if pairs.is_empty() {
        return Err(Refusal::new(Reason::MissingLabels, texts::NO_LABELS.to_owned()));
    }
    let text = || texts::label_text(pairs.iter().map(|(name, value)| (&**name, &**value)));
    let exceeds = |value: usize, max: usize| max > 0 && value > max;
    // A service name is what we add ourselves, so it does not count.
    let count = pairs.iter().filter(|(name, _)| name != SERVICE_NAME).count();
    let count_max = limits.max_label_names_per_series;
    if exceeds(count, count_max) {
        return Err(Refusal::new(Reason::MaxLabelNamesPerSeries, texts::too_many_labels(&text(), count, count_max)));
    }
    let mut previous = None;
    for (name, value) in pairs {
        if exceeds(name.len(), limits.max_label_name_length) {
            return Err(Refusal::new(Reason::LabelNameTooLong, texts::label_name_too_long(&text(), name)));
        }
        if exceeds(value.len(), limits.max_label_value_length) {
            return Err(Refusal::new(Reason::LabelValueTooLong, texts::label_value_too_long(&text(), value)));
        }
        if previous == Some(name) {
            return Err(Refusal::new(Reason::DuplicateLabelNames, texts::duplicate_label(&text(), name)));
        }
        previous = Some(name);
    }
    Ok(())
}

fn check_enforced(tenant: &TenantId, rules: &PushRules, labels: &Labels) -> Result<(), Refusal> {
    let policy = rules.policy_of(labels);
    let of_policy = policy.and_then(|policy| rules.limits.policy_enforced_labels.get(policy)).into_iter().flatten();
    let required = rules.limits.enforced_labels.iter().chain(of_policy);
    let missing: Vec<&str> = required.map(String::as_str).filter(|name| labels.get(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let policy = policy.unwrap_or_default();
    let text = texts::missing_labels(&missing, tenant.as_str(), &labels.to_string(), policy);
    Err(Refusal::new(Reason::MissingEnforcedLabels, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::push_json;
    use crate::ingest::decode::push_proto;
    use crate::ingest::decode::tests::share;

    fn rules(change: impl FnOnce(&mut Limits)) -> PushRules {
        let mut limits = Limits::default();
        change(&mut limits);
        PushRules::new(&limits).unwrap()
    }

    fn resolve_first(rules: &PushRules, decoded: &Decoded) -> Result<String, String> {
        let labels = resolve(&TenantId::new("t"), rules, &decoded.streams[0].labels, decoded);
        labels.map(|labels| labels.to_string()).map_err(|refusal| refusal.text)
    }

    #[track_caller]
    fn check_selector(rules: &PushRules, text: &[u8], want: Result<&str, &str>) {
        let mut stream = vec![0x0a];
        varint(text.len(), &mut stream);
        stream.extend_from_slice(text);
        let mut body = vec![0x0a];
        varint(stream.len(), &mut body);
        body.extend_from_slice(&stream);
        let decoded = push_proto::decode(body, share()).unwrap();
        assert_eq!(resolve_first(rules, &decoded), want.map(str::to_owned).map_err(str::to_owned));
    }

    fn varint(mut number: usize, out: &mut Vec<u8>) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    #[track_caller]
    fn check_json(rules: &PushRules, object: &[u8], want: Result<&str, &str>) {
        let body = [&b"{\"streams\":[{\"stream\":"[..], object, b"}]}"].concat();
        let decoded = push_json::decode(body, share()).unwrap();
        assert_eq!(resolve_first(rules, &decoded), want.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn reads_and_completes_labels() {
        let rules = rules(|_| {});
        check_selector(&rules, b"{b=\"2\", a='1', e=``,}", Ok(r#"{a="1", b="2", service_name="unknown_service"}"#));
        check_selector(&rules, b"{}", Ok(r#"{service_name="unknown_service"}"#));
        check_selector(&rules, b"{job=\"j\", app=\"x\"}", Ok(r#"{app="x", job="j", service_name="x"}"#));
        check_selector(&rules, b"{app=\"x\", service_name=\"y\"}", Ok(r#"{app="x", service_name="y"}"#));
        check_selector(&rules, b"{service=\"\", job=\"j\", service_name=\"\"}", Ok(r#"{job="j", service_name="j"}"#));
        check_selector(&rules, b"{__pattern__=\"x\"}", Ok(r#"{__pattern__="x"}"#));
        check_selector(
            &rules,
            b"{a=\"1\", a=\"2\"}",
            Err(r#"stream '{a="1", a="2", service_name="unknown_service"}' has duplicate label name: 'a'"#),
        );
        check_selector(
            &rules,
            b"{a-b=\"1\"}",
            Err("couldn't parse labels: 1:3: parse error: unexpected character inside braces: '-'"),
        );
        check_selector(&rules, b"{a=\"\xff\"}", Err("couldn't parse labels: 1:5: parse error: invalid UTF-8 rune"));
        check_json(
            &rules,
            br#"{"b":"2","a":"1\n\u00e9","e":""}"#,
            Ok(r#"{a="1\né", b="2", service_name="unknown_service"}"#),
        );
        check_json(&rules, br#"{"a":"1","a":"2"}"#, Ok(r#"{a="2", service_name="unknown_service"}"#));
        check_json(&rules, b"{\"a\":\"\xff\"}", Ok("{a=\"\u{fffd}\", service_name=\"unknown_service\"}"));
        check_json(
            &rules,
            br#"{"bad-name":"x"}"#,
            Err("couldn't parse labels: 1:5: parse error: unexpected character inside braces: '-'"),
        );
        check_json(
            &rules,
            br#"{"bad name":"x"}"#,
            Err("couldn't parse labels: 1:6: parse error: unexpected identifier \"name\" in label set, expected \"=\""),
        );
        check_json(
            &rules,
            br#"{"1bad":"x"}"#,
            Err("couldn't parse labels: 1:2: parse error: unexpected character inside braces: '1'"),
        );
    }

    #[test]
    fn checks_limits() {
        let undiscovered = rules(|limits| limits.discover_service_name.clear());
        check_json(&undiscovered, br#"{"a":"b"}"#, Ok(r#"{a="b"}"#));
        check_json(&undiscovered, b"{}", Err("error at least one label pair is required per stream"));
        let strict = rules(|limits| {
            limits.max_label_names_per_series = 2;
            limits.max_label_name_length = 5;
            limits.max_label_value_length = 10;
            limits.discover_service_name = vec!["app".to_owned()];
        });
        check_json(
            &strict,
            br#"{"a":"1","b":"2"}"#,
            Err(r#"stream '{a="1", b="2", service_name="unknown_service"}' has label name too long: 'service_name'"#),
        );
        check_json(
            &strict,
            br#"{"a":"1","b":"2","c":"3"}"#,
            Err(
                r#"entry for stream '{a="1", b="2", c="3", service_name="unknown_service"}' has 3 label names; limit 2"#,
            ),
        );
        let strict = rules(|limits| limits.max_label_value_length = 5);
        check_json(
            &strict,
            br#"{"a":"123456","service_name":"x"}"#,
            Err(r#"stream '{a="123456", service_name="x"}' has label value too long: '123456'"#),
        );
    }

    #[test]
    fn enforces_labels() {
        let rules = rules(|limits| {
            limits.enforced_labels = vec!["app".to_owned(), "env".to_owned()];
            limits.policy_enforced_labels.insert("ops".to_owned(), vec!["team".to_owned()]);
            let stream =
                |selector: &str, priority| logstack_config::PriorityStream { selector: selector.to_owned(), priority };
            limits.policy_stream_mapping.insert("dev".to_owned(), vec![stream("{app=~\".+\"}", 1)]);
            limits.policy_stream_mapping.insert("ops".to_owned(), vec![stream("{app=\"x\"}", 2)]);
        });
        check_json(&rules, br#"{"app":"y","env":"e"}"#, Ok(r#"{app="y", env="e", service_name="y"}"#));
        check_json(
            &rules,
            br#"{"env":"e"}"#,
            Err(
                r#"missing required labels 'app' for user 't' for stream '{env="e", service_name="unknown_service"}' (policy: '')"#,
            ),
        );
        check_json(
            &rules,
            br#"{"app":"x"}"#,
            Err(
                r#"missing required labels 'env,team' for user 't' for stream '{app="x", service_name="x"}' (policy: 'ops')"#,
            ),
        );
    }
}
