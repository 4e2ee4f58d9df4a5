//! The sending side of the two protobuf protocols, just large enough for tests.

/// Appends a varint.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A length-delimited field.
fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(u64::from(number) << 3 | 2, &mut out);
    varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn integer(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(u64::from(number) << 3, &mut out);
    varint(value, &mut out);
    out
}

fn fixed64(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(u64::from(number) << 3 | 1, &mut out);
    out.extend_from_slice(&value.to_le_bytes());
    out
}

/// Timestamp, line, structured metadata.
pub type Entry<'a> = (i64, &'a str, &'a [(&'a str, &'a str)]);

/// `logproto.PushRequest`: label text and entries of each stream.
pub fn push(streams: &[(&str, &[Entry<'_>])]) -> Vec<u8> {
    let entry = |&(ns, line, pairs): &Entry<'_>| {
        let time = [integer(1, ns.div_euclid(1_000_000_000) as u64), integer(2, ns.rem_euclid(1_000_000_000) as u64)];
        let pairs = pairs
            .iter()
            .map(|(name, value)| bytes(3, &[bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat()));
        let fields = [bytes(1, &time.concat()), bytes(2, line.as_bytes())].into_iter().chain(pairs);
        bytes(2, &fields.flatten().collect::<Vec<u8>>())
    };
    let stream = |(labels, entries): &(&str, &[Entry<'_>])| {
        let entries = entries.iter().flat_map(entry);
        bytes(1, &bytes(1, labels.as_bytes()).into_iter().chain(entries).collect::<Vec<u8>>())
    };
    streams.iter().flat_map(stream).collect()
}

pub struct KeyValue<'a> {
    key: &'a str,
    /// An encoded `AnyValue`.
    value: Vec<u8>,
}

impl<'a> KeyValue<'a> {
    pub fn new(key: &'a str, value: Vec<u8>) -> Self {
        Self { key, value }
    }

    fn field(&self, number: u32) -> Vec<u8> {
        bytes(number, &[bytes(1, self.key.as_bytes()), bytes(2, &self.value)].concat())
    }
}

pub fn any_string(text: &str) -> Vec<u8> {
    bytes(1, text.as_bytes())
}

pub fn any_int(number: i64) -> Vec<u8> {
    integer(3, number as u64)
}

pub fn any_map(members: &[KeyValue<'_>]) -> Vec<u8> {
    bytes(6, &members.iter().flat_map(|member| member.field(1)).collect::<Vec<u8>>())
}

#[derive(Default)]
pub struct Record<'a> {
    pub time_ns: u64,
    pub observed_time_ns: u64,
    pub severity_number: i32,
    pub severity_text: &'a str,
    pub body: Vec<u8>,
    pub attributes: Vec<KeyValue<'a>>,
    pub trace_id: &'a [u8],
    pub flags: u32,
}

impl Record<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut flags = vec![8 << 3 | 5];
        flags.extend_from_slice(&self.flags.to_le_bytes());
        [
            fixed64(1, self.time_ns),
            integer(2, self.severity_number as u64),
            bytes(3, self.severity_text.as_bytes()),
            bytes(5, &self.body),
            self.attributes.iter().flat_map(|attribute| attribute.field(6)).collect(),
            flags,
            bytes(9, self.trace_id),
            fixed64(11, self.observed_time_ns),
        ]
        .concat()
    }
}

/// `ExportLogsServiceRequest` of one resource with one scope, `scope`, unless there is one record only.
pub fn otlp(resource: &[KeyValue<'_>], records: &[Record<'_>]) -> Vec<u8> {
    let resource: Vec<u8> = resource.iter().flat_map(|attribute| attribute.field(1)).collect();
    let scope = if records.len() > 1 { bytes(1, b"scope") } else { Vec::new() };
    let records: Vec<u8> = records.iter().flat_map(|record| bytes(2, &record.encode())).collect();
    let scope_logs = [bytes(1, &scope), records].concat();
    // Resource last: fields may come in any order.
    bytes(1, &[bytes(2, &scope_logs), bytes(1, &resource)].concat())
}
