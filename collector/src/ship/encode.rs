//! Loki's push request in protobuf, written field by field: entries are appended to their stream's bytes as they come,
//! so that a batch is never held twice.
//!
//! Source: logproto `PushRequest { repeated StreamAdapter streams = 1 }`, `StreamAdapter { string labels = 1; repeated
//! EntryAdapter entries = 2 }`, `EntryAdapter { Timestamp timestamp = 1; string line = 2; repeated LabelPairAdapter
//! structuredMetadata = 3 }`.

const LENGTH_DELIMITED: u8 = 2;

/// Appends one entry, as an element of `StreamAdapter.entries`.
pub fn entry(timestamp_ns: i64, line: &[u8], metadata: &[(String, String)], out: &mut Vec<u8>) {
    let (seconds, nanos) = (timestamp_ns.div_euclid(1_000_000_000), timestamp_ns.rem_euclid(1_000_000_000));
    // `seconds` is an int64 in two's complement: times before 1970 take ten bytes.
    let time_len = 1 + varint_len(seconds as u64) + if nanos == 0 { 0 } else { 1 + varint_len(nanos as u64) };
    let metadata_len: usize = metadata.iter().map(|pair| field_len(pair_len(pair))).sum();
    let entry_len = field_len(time_len) + field_len(line.len()) + metadata_len;
    out.reserve(entry_len + 6);
    length(2, entry_len, out);
    length(1, time_len, out);
    out.push(1 << 3);
    varint(seconds as u64, out);
    if nanos != 0 {
        out.push(2 << 3);
        varint(nanos as u64, out);
    }
    bytes(2, line, out);
    for pair in metadata {
        length(3, pair_len(pair), out);
        bytes(1, pair.0.as_bytes(), out);
        bytes(2, pair.1.as_bytes(), out);
    }
}

/// Appends one stream whose entries were written by [`entry`], as an element of `PushRequest.streams`.
pub fn stream(labels: &str, entries: &[u8], out: &mut Vec<u8>) {
    length(1, field_len(labels.len()) + entries.len(), out);
    bytes(1, labels.as_bytes(), out);
    out.extend_from_slice(entries);
}

fn pair_len((name, value): &(String, String)) -> usize {
    field_len(name.len()) + field_len(value.len())
}

/// Bytes of a length-delimited field of `len` bytes: tag (fields up to 15), length, content.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn varint_len(value: u64) -> usize {
    // Seven bits a byte; zero takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn length(field: u8, len: usize, out: &mut Vec<u8>) {
    out.push(field << 3 | LENGTH_DELIMITED);
    varint(len as u64, out);
}

fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    length(field, content.len(), out);
    out.extend_from_slice(content);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_bytes_of_the_protobuf_encoding() {
        let mut entries = Vec::new();
        entry(1_000_000_002, b"hi", &[("k".to_owned(), "v".to_owned())], &mut entries);
        let want = [0x12, 0x12, 0x0a, 4, 0x08, 1, 0x10, 2, 0x12, 2, b'h', b'i', 0x1a, 6, 0x0a, 1, b'k', 0x12, 1, b'v'];
        assert_eq!(entries, want);
        let mut request = Vec::new();
        stream("{}", &entries, &mut request);
        assert_eq!(request[..6], [0x0a, 24, 0x0a, 2, b'{', b'}']);
        assert_eq!(request[6..], want);
    }

    #[test]
    fn leaves_out_zero_nanoseconds() {
        let mut entries = Vec::new();
        entry(0, b"", &[], &mut entries);
        assert_eq!(entries, [0x12, 6, 0x0a, 2, 0x08, 0, 0x12, 0]);
    }

    #[test]
    fn measures_varints() {
        for (value, want) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            let mut out = Vec::new();
            varint(value, &mut out);
            assert_eq!((varint_len(value), out.len()), (want, want), "{value}");
        }
    }
}
