//! OTLP logs: resources hold scopes, scopes hold records; each level has attributes.
//!
//! [`proto`] and [`json`] read the two encodings into [`Record`]s one at a time, [`map`] turns them into streams and
//! entries: some attributes become index labels, the others structured metadata.
//!
//! Source: OTLP specification 1.x; opentelemetry-proto, `logs/v1/logs.proto`, `common/v1/common.proto`.

pub mod json;
mod map;
pub mod proto;
mod rules;
mod value;

pub use map::Builder;
pub use rules::{Action, AttributeRules, OtlpRules};
pub use value::{KeyValue, Value};

use std::borrow::Cow;

/// Largest record. Its attributes become a tree before they become pairs, and that tree is not paid for by the byte.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// Arrays and maps within each other.
const VALUE_DEPTH_MAX: usize = 64;

/// Some bytes of the body, or made of them. Text by the specification, any bytes in practice.
pub type Text<'a> = Cow<'a, [u8]>;

/// Who logs, within a resource.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Scope<'a> {
    /// Name of the library.
    pub name: Text<'a>,
    /// Its version.
    pub version: Text<'a>,
    /// What else is said of it.
    pub attributes: Vec<KeyValue<'a>>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
}

/// A log record.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Record<'a> {
    /// When it happened, ns since the epoch; 0: unknown.
    pub time_ns: u64,
    /// When it was seen; 0: unknown.
    pub observed_time_ns: u64,
    /// 1 to 24; 0: unknown.
    pub severity_number: i32,
    /// As the source calls it.
    pub severity_text: Text<'a>,
    /// The line.
    pub body: Value<'a>,
    /// What else is said of it.
    pub attributes: Vec<KeyValue<'a>>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
    /// W3C trace flags.
    pub flags: u32,
    /// 16 bytes, or none.
    pub trace_id: Text<'a>,
    /// 8 bytes, or none.
    pub span_id: Text<'a>,
}

#[cfg(test)]
mod tests {
    use logstack_config::{AttributeAction, AttributesRule, EngineConfig, Limits};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::ingest::decode::tests::{share, show};

    const NOW_NS: i64 = 99;

    fn rules(change: impl FnOnce(&mut Limits)) -> OtlpRules {
        let mut limits = EngineConfig::default().resolved_limits();
        change(&mut limits);
        OtlpRules::new(&limits.otlp_config, &limits.discover_service_name).unwrap()
    }

    fn attribute(key: &str, value: &str) -> Json {
        json!({ "key": key, "value": { "stringValue": value } })
    }

    /// One resource with one scope.
    fn request(resource: Json, scope: Json, records: Json) -> Json {
        json!({ "resourceLogs": [{ "resource": { "attributes": resource }, "scopeLogs": [{ "scope": scope, "logRecords": records }] }] })
    }

    #[track_caller]
    fn check(rules: &OtlpRules, body: &Json, want: &str) {
        let decoded = json::decode(body.to_string().as_bytes(), rules, NOW_NS, share()).unwrap();
        assert_eq!(show(&decoded), want);
    }

    #[test]
    fn resources_make_streams() {
        let rules = rules(|_| {});
        let records = || json!([{ "timeUnixNano": "5", "body": { "stringValue": "x" } }]);
        let resource = |attributes: Json| request(attributes, json!(null), records());
        check(&rules, &resource(json!([])), "<service_name=unknown_service> 5 x []");
        check(
            &rules,
            &resource(json!([
                attribute("host.name", "h"),
                attribute("service.name", "s"),
                attribute("k8s.pod.name", "p")
            ])),
            "<service_name=s,k8s_pod_name=p> 5 x [host_name=h]",
        );
        // The first promoted attribute whose label may name a service, in the order of the attributes.
        check(
            &rules,
            &resource(json!([
                attribute("k8s.job.name", "j"),
                attribute("k8s.container.name", "c"),
                attribute("service.name", "")
            ])),
            "<k8s_job_name=j,k8s_container_name=c,service_name=,service_name=j> 5 x []",
        );
        let nested = json!({ "key": "a", "value": { "kvlistValue": { "values": [attribute("b.c", "1"), { "key": "d", "value": { "arrayValue": { "values": [{ "intValue": "7" }, { "boolValue": true }] } } }] } } });
        check(&rules, &resource(json!([nested])), "<service_name=unknown_service> 5 x [a_b_c=1 a_d=[7,true]]");
    }

    #[test]
    fn records_make_entries() {
        let rules = rules(|_| {});
        let record = json!({
            "timeUnixNano": 5, "observedTimeUnixNano": "7", "severityNumber": "SEVERITY_NUMBER_WARN2", "severityText": "W",
            "body": { "intValue": -3 }, "attributes": [attribute("k", "v")], "droppedAttributesCount": 2, "flags": 1,
            "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "0000000000000000", "eventName": "ignored",
        });
        let scope =
            json!({ "name": "lib", "version": "1", "attributes": [attribute("s", "t")], "droppedAttributesCount": 3 });
        let records = json!([record, { "observedTimeUnixNano": "8" }, { "body": null, "severityNumber": 9 }]);
        let shared = "host=h s=t scope_name=lib scope_version=1 scope_dropped_attributes_count=3";
        check(
            &rules,
            &request(json!([attribute("host", "h")]), scope, records),
            &format!(
                "<service_name=unknown_service> 5 -3 [{shared} k=v severity_number=14 flags=1 dropped_attributes_count=2 severity_text=W trace_id=5b8efff798038103d269b633813fc60c observed_timestamp=7] 8  [{shared}] 99  [{shared} severity_number=9]"
            ),
        );
    }

    #[test]
    fn rules_decide_in_order() {
        let rule = |action, attributes: &[&str], regex: &str| AttributesRule {
            action,
            attributes: attributes.iter().map(|&name| name.to_owned()).collect(),
            regex: regex.to_owned(),
        };
        let rules = rules(|limits| {
            limits.discover_service_name.clear();
            let otlp = &mut limits.otlp_config;
            otlp.severity_text_as_label = true;
            otlp.resource_attributes.attributes_config = vec![
                rule(AttributeAction::Drop, &[], "secret.*"),
                rule(AttributeAction::IndexLabel, &["env", "secret.x"], ""),
            ];
            otlp.scope_attributes = vec![rule(AttributeAction::IndexLabel, &["team"], "")];
            otlp.log_attributes =
                vec![rule(AttributeAction::IndexLabel, &["app"], ""), rule(AttributeAction::Drop, &["noise"], "")];
        });
        let record = |n: u8, app: &str| {
            let app = (!app.is_empty()).then(|| attribute("app", app));
            json!({ "timeUnixNano": n.to_string(), "attributes": app.into_iter().chain([attribute("noise", "x")]).collect::<Vec<_>>() })
        };
        check(
            &rules,
            &request(
                json!([attribute("secret.x", "1"), attribute("env", "e"), attribute("my secret", "2")]),
                json!({ "attributes": [attribute("team", "t")] }),
                json!([record(1, ""), record(2, "a"), record(3, ""), record(4, ""), { "timeUnixNano": "5", "severityText": "W" }]),
            ),
            "<env=e> 1  [my_secret=2 team=t] <env=e,app=a> 2  [my_secret=2 team=t] <env=e> 3  [my_secret=2 team=t] 4  [my_secret=2 team=t] <env=e,severity_text=W> 5  [my_secret=2 team=t]",
        );
    }

    #[test]
    fn refuses_what_is_no_request() {
        #[track_caller]
        fn check(body: &str, part: &str) {
            let error = json::decode(body.as_bytes(), &OtlpRules::default(), NOW_NS, share()).unwrap_err().to_string();
            assert!(error.contains(part), "{body}: {error}");
        }
        let record = |record: &str| format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{record}]}}]}}]}}");
        check("", "invalid OTLP JSON");
        check("{\"resourceLogs\":5}", "invalid type: integer `5`, expected an array");
        check(&record("5"), "invalid OTLP JSON");
        check(&record("{\"timeUnixNano\":\"soon\"}"), "number out of range");
        check(&record("{\"traceId\":\"xyz\"}"), "traceId is not hexadecimal");
        check(&record("{\"severityNumber\":\"LOUD\"}"), "unknown severity");
        check(&record("{\"body\":{\"bytesValue\":\"%\"}}"), "invalid base64");
        check(
            &record(&format!("{{\"body\":{}1{}}}", "{\"arrayValue\":{\"values\":[".repeat(100), "]}}".repeat(100))),
            "recursion limit",
        );
        for empty in ["{}", "null", "{\"resourceLogs\":null}", "{\"resourceLogs\":[{\"scopeLogs\":[{}]}]}"] {
            let decoded = json::decode(empty.as_bytes(), &OtlpRules::default(), NOW_NS, share()).unwrap();
            assert!(decoded.streams.is_empty(), "{empty}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        // AnyValue { array { AnyValue { … } } }, 100 deep, within a record.
        let wrap = |number: u8, content: &[u8]| {
            let mut out = vec![number << 3 | 2];
            out.extend([(content.len() & 0x7f | 0x80) as u8, (content.len() >> 7) as u8]);
            out.extend_from_slice(content);
            out
        };
        let value = (0..100).fold(Vec::new(), |value, _| wrap(5, &wrap(1, &value)));
        let body = wrap(1, &wrap(2, &wrap(2, &wrap(5, &value))));
        let error = proto::decode(&body, &OtlpRules::default(), NOW_NS, share()).unwrap_err();
        assert_eq!(error.to_string(), "a value is nested too deeply");
    }
}
