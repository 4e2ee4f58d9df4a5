//! What the test encoders write, the decoders read back; and nothing makes them panic.

use logstack_config::Limits;
use logstack_engine::ingest::budget::{Budget, Share};
use logstack_engine::ingest::decode::otlp::{self, OtlpRules};
use logstack_engine::ingest::decode::{Decoded, LabelSource, push_json, push_proto};
use proptest::collection::vec;
use proptest::prelude::*;

use super::encode::{self, KeyValue, Record};

fn share() -> Share {
    Budget::new(1 << 20).share()
}

/// Label text and entries: timestamp, line, metadata.
type Streams = Vec<(String, Vec<(i64, String, Vec<(String, String)>)>)>;

fn streams() -> impl Strategy<Value = Streams> {
    let pairs = vec(("[a-z_]{1,5}", "\\PC{0,8}"), 0..3);
    vec(("\\PC{0,20}", vec((any::<i64>(), "\\PC{0,40}", pairs), 0..4)), 0..4)
}

fn show(decoded: &Decoded) -> Streams {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entry = |entry| {
        let metadata = decoded.metadata(entry).map(|(name, value)| (text(name), text(value)));
        (entry.timestamp_ns, text(entry.line.of(&decoded.bytes)), metadata.collect())
    };
    let stream = |stream: &logstack_engine::ingest::decode::DecodedStream| {
        let LabelSource::Selector(labels) = &stream.labels else { panic!("{stream:?}") };
        (text(labels.of(&decoded.bytes)), decoded.entries[stream.entries.clone()].iter().map(entry).collect())
    };
    decoded.streams.iter().map(stream).collect()
}

fn encode_push(streams: &Streams) -> Vec<u8> {
    let mut message = Vec::new();
    for (labels, entries) in streams {
        let pairs: Vec<Vec<(&str, &str)>> = entries
            .iter()
            .map(|(_, _, pairs)| pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
            .collect();
        let entries: Vec<encode::Entry<'_>> =
            entries.iter().zip(&pairs).map(|((ns, line, _), pairs)| (*ns, line.as_str(), pairs.as_slice())).collect();
        message.extend(encode::push(&[(labels, &entries)]));
    }
    message
}

/// Every decoder of bodies, on the same bytes.
fn decode_all(body: &[u8]) {
    let rules = OtlpRules::new(&Limits::default().otlp_config, &Limits::default().discover_service_name).unwrap();
    let _ = push_proto::decode(body.to_vec(), share());
    let _ = push_json::decode(body.to_vec(), share());
    let _ = push_json::decode_legacy(body.to_vec(), share());
    let _ = otlp::proto::decode(body, &rules, 0, share());
    let _ = otlp::json::decode(body, &rules, 0, share());
}

proptest! {
    #[test]
    fn protobuf_round_trip(streams in streams()) {
        let decoded = push_proto::decode(encode_push(&streams), share()).unwrap();
        prop_assert_eq!(show(&decoded), streams);
    }

    #[test]
    fn cut_and_flipped_pushes_are_survived(streams in streams(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0..8) {
        let mut body = encode_push(&streams);
        body.truncate(cut.index(body.len() + 1));
        if !body.is_empty() {
            let at = flip.index(body.len());
            body[at] ^= 1_u8 << bit;
        }
        decode_all(&body);
    }

    #[test]
    fn cut_and_flipped_records_are_survived(line in "\\PC{0,20}", key in "\\PC{0,9}", cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0..8) {
        let attribute = || KeyValue::new(&key, encode::any_map(&[KeyValue::new("k", encode::any_int(5))]));
        let record = Record { body: encode::any_string(&line), attributes: vec![attribute()], trace_id: &[1; 16], ..Record::default() };
        let mut body = encode::otlp(&[attribute()], &[record]);
        body.truncate(cut.index(body.len() + 1));
        if !body.is_empty() {
            let at = flip.index(body.len());
            body[at] ^= 1_u8 << bit;
        }
        decode_all(&body);
    }

    #[test]
    fn any_bytes_are_survived(body in vec(any::<u8>(), 0..200)) {
        decode_all(&body);
    }

    #[test]
    fn near_json_is_survived(body in vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\"streams\"", "\"stream\"", "\"values\"", "\"1\"", "null", "5", "\"resourceLogs\"",
        "\"resource\"", "\"scopeLogs\"", "\"logRecords\"", "\"attributes\"", "\"body\"", "\"kvlistValue\"", "\"entries\"", "\"ts\"",
    ]), 0..40)) {
        decode_all(body.concat().as_bytes());
    }
}
