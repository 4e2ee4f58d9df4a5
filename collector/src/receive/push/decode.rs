//! Bodies of Loki's push API: protobuf in snappy, and JSON.
//!
//! Source: Loki HTTP API, "Ingest logs"; logproto (see `ship/encode.rs`).

use serde::Deserialize;

use crate::discovery::relabel::LabelMap;

/// A pushed stream.
#[derive(Debug, PartialEq)]
pub struct Stream {
    /// As the sender gave them.
    pub labels: LabelMap,
    /// In the sender's order.
    pub entries: Vec<Entry>,
}

/// A pushed entry.
#[derive(Debug, Default, PartialEq)]
pub struct Entry {
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// The line.
    pub line: Vec<u8>,
    /// Structured metadata.
    pub metadata: Vec<(String, String)>,
}

/// A body that cannot be read, for the sender.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a snappy block.
    #[error("body is no snappy block: {0}")]
    Snappy(#[from] snap::Error),
    /// Longer than the limit when decompressed.
    #[error("body has {0} bytes, more than max_send_msg_size")]
    TooLarge(usize),
    /// Not the message.
    #[error("body is no push request: {0}")]
    Protobuf(&'static str),
    /// Not the document.
    #[error("body is no push request: {0}")]
    Json(#[from] serde_json::Error),
    /// A time that is none.
    #[error("{0:?} is not a time in ns")]
    Time(String),
    /// Labels that are none.
    #[error("labels {text:?}: {source}")]
    Labels {
        /// As sent.
        text: String,
        /// What is wrong.
        source: logstack_logql::push_labels::Error,
    },
}

/// Reads a snappy-compressed protobuf body of at most `bytes_max` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn protobuf(body: &[u8], bytes_max: usize) -> Result<Vec<Stream>, Error> {
    let len = snap::raw::decompress_len(body)?;
    if len > bytes_max {
        return Err(Error::TooLarge(len));
    }
    let raw = snap::raw::Decoder::new().decompress_vec(body)?;
    let mut streams = Vec::new();
    for field in Fields(&raw) {
        if let (1, Field::Bytes(stream)) = field? {
            streams.push(decode_stream(stream)?);
        }
    }
    Ok(streams)
}

fn decode_stream(bytes: &[u8]) -> Result<Stream, Error> {
    let mut stream = Stream { labels: LabelMap::new(), entries: Vec::new() };
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(labels)) => {
                let text = String::from_utf8_lossy(labels).into_owned();
                match logstack_logql::push_labels::parse(&text) {
                    Ok(pairs) => {
                        stream.labels = pairs.into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
                    }
                    Err(source) => return Err(Error::Labels { text: text.clone(), source }),
                }
            }
            (2, Field::Bytes(entry)) => stream.entries.push(decode_entry(entry)?),
            _ => {}
        }
    }
    Ok(stream)
}

fn decode_entry(bytes: &[u8]) -> Result<Entry, Error> {
    let mut entry = Entry::default();
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(time)) => {
                let (mut seconds, mut nanos) = (0i64, 0i64);
                for field in Fields(time) {
                    match field? {
                        (1, Field::Varint(value)) => seconds = value as i64,
                        (2, Field::Varint(value)) => nanos = value as i64,
                        _ => {}
                    }
                }
                entry.timestamp_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
            }
            (2, Field::Bytes(line)) => entry.line = line.to_vec(),
            (3, Field::Bytes(pair)) => {
                let (mut name, mut value) = (String::new(), String::new());
                for field in Fields(pair) {
                    match field? {
                        (1, Field::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                        (2, Field::Bytes(text)) => value = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
                entry.metadata.push((name, value));
            }
            _ => {}
        }
    }
    Ok(entry)
}

/// Fields of a protobuf message.
struct Fields<'a>(&'a [u8]);

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read().ok_or(Error::Protobuf("a field is cut off"));
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            1 => self.take(8).map(|_| Field::Other)?,
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some((key >> 3, field))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct JsonBody {
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    stream: LabelMap,
    values: Vec<JsonEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonEntry {
    Plain((String, String)),
    WithMetadata((String, String, LabelMap)),
}

/// Reads a JSON body.
///
/// # Errors
/// What is wrong with it.
pub fn json(body: &[u8]) -> Result<Vec<Stream>, Error> {
    let body: JsonBody = serde_json::from_slice(body)?;
    let entry = |entry: JsonEntry| {
        let (time, line, metadata) = match entry {
            JsonEntry::Plain((time, line)) => (time, line, LabelMap::new()),
            JsonEntry::WithMetadata(all) => all,
        };
        let timestamp_ns = time.parse().map_err(|_| Error::Time(time))?;
        Ok(Entry { timestamp_ns, line: line.into_bytes(), metadata: metadata.into_iter().collect() })
    };
    let stream = |JsonStream { stream, values }| {
        Ok(Stream { labels: stream, entries: values.into_iter().map(entry).collect::<Result<_, Error>>()? })
    };
    body.streams.into_iter().map(stream).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ship::encode;

    fn want() -> Vec<Stream> {
        vec![Stream {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            entries: vec![
                Entry { timestamp_ns: 1_500_000_000, line: b"one".to_vec(), metadata: Vec::new() },
                Entry { timestamp_ns: 2, line: b"two".to_vec(), metadata: vec![("id".to_owned(), "7".to_owned())] },
            ],
        }]
    }

    #[test]
    fn reads_what_we_send() {
        let (mut entries, mut body) = (Vec::new(), Vec::new());
        for entry in &want()[0].entries {
            encode::entry(entry.timestamp_ns, &entry.line, &entry.metadata, &mut entries);
        }
        encode::stream(r#"{app="web"}"#, &entries, &mut body);
        let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        assert_eq!(protobuf(&body, 1000).unwrap(), want());
        assert!(matches!(protobuf(&body, 10), Err(Error::TooLarge(_))));
        assert!(protobuf(b"nonsense", 1000).is_err());
    }

    #[test]
    fn reads_json() {
        let body = r#"{"streams":[{"stream":{"app":"web"},"values":[["1500000000","one"],["2","two",{"id":"7"}]]}]}"#;
        assert_eq!(json(body.as_bytes()).unwrap(), want());
        assert!(json(b"{}").is_err());
        let wrong = r#"{"streams":[{"stream":{},"values":[["soon","one"]]}]}"#;
        assert_eq!(json(wrong.as_bytes()).unwrap_err().to_string(), "\"soon\" is not a time in ns");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = decode_stream(&bytes);
            let _ = protobuf(&bytes, 1 << 20);
        }
    }
}
