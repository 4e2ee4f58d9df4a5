//! Bytes of a request to [`Decoded`] entries. Nothing is copied per line: entries point into the decompressed body.
//!
//! | file | reads |
//! |---|---|
//! | [`encoding`] | gzip, deflate, snappy, zstd, lz4, within a size limit |
//! | [`media_type`] | `Content-Type` |
//! | [`proto`] | the protobuf wire format |
//! | [`push_proto`] | `logproto.PushRequest` |
//! | [`json`] | JSON, in place |
//! | [`push_json`] | the JSON push body, and the one before it |
//! | [`otlp`] | OTLP logs, protobuf and JSON |

pub mod encoding;
pub mod json;
pub mod media_type;
pub mod otlp;
pub mod proto;
pub mod push_json;
pub mod push_proto;

use std::ops::Range;

use super::budget::{Refusal, Share};

/// Largest decompressed body: [`Span`]s are 32 bits wide.
pub const BODY_BYTES_MAX: usize = u32::MAX as usize;

/// Why a body is no push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not what its content type says; the text names the place. A client error.
    #[error("{0}")]
    Malformed(String),
    /// Larger than may be sent or unpacked.
    #[error("request body too large: message size too large than max ({bytes} vs {limit_bytes})")]
    TooLarge {
        /// Its size, as far as it is known.
        bytes: u64,
        /// What may be sent.
        limit_bytes: u64,
    },
    /// There is no memory for it now, or ever.
    #[error(transparent)]
    Memory(#[from] Refusal),
}

impl Error {
    /// A malformed body.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }
}

/// Some bytes of [`Decoded::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The span of `range`, which lies below [`BODY_BYTES_MAX`].
    pub fn new(range: Range<usize>) -> Self {
        debug_assert!(range.end <= BODY_BYTES_MAX);
        Self { start: range.start as u32, end: range.end as u32 }
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True without bytes.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes, out of those that the span was made for.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// The entries of a push as sent: no limit was applied yet, no label looked at.
#[derive(Debug)]
pub struct Decoded {
    /// What spans point into.
    pub bytes: Vec<u8>,
    /// The streams in the order of the request; one label set may come several times.
    pub streams: Vec<DecodedStream>,
    /// Entries, those of one stream adjacent.
    pub entries: Vec<DecodedEntry>,
    /// Names and values: structured metadata, labels of OTLP streams.
    pub pairs: Vec<(Span, Span)>,
    /// Pays for the vectors above as they grow.
    share: Share,
}

/// A stream as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedStream {
    /// Its labels.
    pub labels: LabelSource,
    /// Its entries, of [`Decoded::entries`].
    pub entries: Range<usize>,
}

/// Where the labels of a stream are written. They are parsed once per distinct text, not per request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSource {
    /// `{a="b"}`
    Selector(Span),
    /// `{"a":"b"}`, as written; checked to be an object of strings.
    Json(Span),
    /// Of [`Decoded::pairs`].
    Pairs(Range<usize>),
}

/// An entry as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodedEntry {
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// Any bytes.
    pub line: Span,
    /// Pairs that entries share: OTLP's resource and scope.
    shared: Span,
    /// Pairs of its own.
    own: Span,
}

impl Decoded {
    /// Nothing yet, over `bytes`. `share` pays for what is added.
    pub fn new(bytes: Vec<u8>, share: Share) -> Self {
        Self { bytes, streams: Vec::new(), entries: Vec::new(), pairs: Vec::new(), share }
    }

    /// Takes memory for what is made of the entries.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        Ok(self.share.grow(bytes)?)
    }

    /// Frees the body. What was reserved stays so until the share is dropped.
    pub fn into_share(self) -> Share {
        self.share
    }

    /// The structured metadata of an entry, in the order of the request. `bytes` and `pairs` are these fields.
    pub fn metadata(&self, entry: &DecodedEntry) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let pairs = |span: Span| &self.pairs[span.start as usize..span.end as usize];
        let pairs = pairs(entry.shared).iter().chain(pairs(entry.own));
        pairs.map(|(name, value)| (name.of(&self.bytes), value.of(&self.bytes)))
    }

    /// Opens a stream; entries go to the last one opened.
    pub(super) fn push_stream(&mut self, labels: LabelSource) -> Result<(), Error> {
        self.share.grow_vec(&mut self.streams)?;
        let entries = self.entries.len()..self.entries.len();
        self.streams.push(DecodedStream { labels, entries });
        Ok(())
    }

    /// Adds an entry to the last stream, which is open. The ranges are of `pairs`.
    fn push_entry(
        &mut self,
        timestamp_ns: i64,
        line: Span,
        shared: Range<usize>,
        own: Range<usize>,
    ) -> Result<(), Error> {
        self.share.grow_vec(&mut self.entries)?;
        self.entries.push(DecodedEntry { timestamp_ns, line, shared: Span::new(shared), own: Span::new(own) });
        if let Some(stream) = self.streams.last_mut() {
            stream.entries.end = self.entries.len();
        }
        Ok(())
    }

    /// Adds a pair.
    fn push_pair(&mut self, name: Span, value: Span) -> Result<(), Error> {
        if self.pairs.len() >= BODY_BYTES_MAX {
            return Err(Error::TooLarge { bytes: self.pairs.len() as u64, limit_bytes: BODY_BYTES_MAX as u64 });
        }
        self.share.grow_vec(&mut self.pairs)?;
        self.pairs.push((name, value));
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::ingest::budget::Budget;

    pub fn share() -> Share {
        Budget::new(1 << 20).share()
    }

    /// Compares with a text form: `<labels>` of a stream, then `timestamp line [name=value …]` per entry.
    #[track_caller]
    pub fn check_push(got: Result<Decoded, Error>, want: Result<&str, &str>) {
        let got = got.map(|decoded| show(&decoded)).map_err(|error| error.to_string());
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned));
    }

    pub fn show(decoded: &Decoded) -> String {
        let text = |span: Span| String::from_utf8_lossy(span.of(&decoded.bytes)).into_owned();
        let mut out = String::new();
        for stream in &decoded.streams {
            let labels = match &stream.labels {
                LabelSource::Selector(span) | LabelSource::Json(span) => text(*span),
                LabelSource::Pairs(pairs) => {
                    let pairs = decoded.pairs[pairs.clone()].iter();
                    pairs.map(|&(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join(",")
                }
            };
            write!(out, " <{labels}>").unwrap();
            for entry in &decoded.entries[stream.entries.clone()] {
                let metadata = decoded.metadata(entry);
                let metadata =
                    metadata.map(|(n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
                let metadata = metadata.collect::<Vec<_>>().join(" ");
                write!(out, " {} {} [{metadata}]", entry.timestamp_ns, text(entry.line)).unwrap();
            }
        }
        out.trim_start().to_owned()
    }
}
