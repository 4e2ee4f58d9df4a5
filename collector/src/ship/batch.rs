//! A batch: entries of many files on their way to one tenant of one client, already encoded.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Instant;

use logstack_logql::Labels;

use super::encode;
use crate::receipt::Receipt;

/// Entries that travel in one request.
#[derive(Debug)]
pub struct Batch {
    streams: Vec<Stream>,
    index: HashMap<Labels, usize>,
    /// Stream of the last entry: lines of one file come in runs.
    last: usize,
    receipts: Vec<Receipt>,
    /// When the first entry came.
    pub opened: Instant,
    /// Bytes of lines and structured metadata, what `batchsize` counts.
    pub content_bytes: usize,
    /// Number of entries.
    pub entries: usize,
}

#[derive(Debug)]
struct Stream {
    labels: Labels,
    bytes: Vec<u8>,
    /// Entry `i` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<u32>,
}

/// Some entries of a batch, by stream and place.
pub type Part = Vec<(usize, Range<usize>)>;

impl Batch {
    /// Without entries.
    pub fn new(now: Instant) -> Self {
        Self {
            streams: Vec::new(),
            index: HashMap::new(),
            last: 0,
            receipts: Vec::new(),
            opened: now,
            content_bytes: 0,
            entries: 0,
        }
    }

    /// True when an entry with these labels would begin a stream.
    pub fn is_new_stream(&self, labels: &Labels) -> bool {
        !self.streams.get(self.last).is_some_and(|stream| stream.labels.ptr_eq(labels))
            && !self.index.contains_key(labels)
    }

    /// Number of streams.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Adds an entry; returns the bytes that it takes. Entries of one stream keep the order in which they are added.
    pub fn add(&mut self, labels: &Labels, timestamp_ns: i64, line: &[u8], metadata: &[(String, String)]) -> usize {
        if !self.streams.get(self.last).is_some_and(|stream| stream.labels.ptr_eq(labels)) {
            self.last = match self.index.get(labels) {
                Some(idx) => *idx,
                None => {
                    self.index.insert(labels.clone(), self.streams.len());
                    self.streams.push(Stream { labels: labels.clone(), bytes: Vec::new(), ends: Vec::new() });
                    self.streams.len() - 1
                }
            };
        }
        let stream = &mut self.streams[self.last];
        let before = stream.bytes.len();
        encode::entry(timestamp_ns, line, metadata, &mut stream.bytes);
        // A batch is far below 4 GiB: `batchsize` and one line of at most some MiB.
        stream.ends.push(u32::try_from(stream.bytes.len()).unwrap_or(u32::MAX));
        self.content_bytes += content_bytes(line, metadata);
        self.entries += 1;
        stream.bytes.len() - before
    }

    /// The batch shares a line's chunk with its file.
    pub fn owe(&mut self, current: &Receipt) {
        if !self.receipts.last_mut().is_some_and(|last| last.extend(current)) {
            self.receipts.push(current.share());
        }
    }

    /// The batch takes over a held line's receipt.
    pub fn owe_held(&mut self, held: Receipt) {
        self.receipts.push(held);
    }

    /// All entries.
    pub fn whole(&self) -> Part {
        self.streams.iter().enumerate().map(|(idx, stream)| (idx, 0..stream.ends.len())).collect()
    }

    /// The request body for `part` before compression. `external` labels are added where a stream has none of that name.
    pub fn encode(&self, part: &Part, external: &BTreeMap<String, String>) -> Vec<u8> {
        let size = |(idx, range): &(usize, Range<usize>)| self.streams[*idx].slice(range).len() + 512;
        let mut body = Vec::with_capacity(part.iter().map(size).sum());
        for (idx, range) in part {
            let stream = &self.streams[*idx];
            encode::stream(&stream.labels_text(external), stream.slice(range), &mut body);
        }
        body
    }

    /// Label sets in the batch, for messages.
    pub fn streams(&self) -> impl Iterator<Item = &Labels> {
        self.streams.iter().map(|stream| &stream.labels)
    }

    /// The engine has the entries, or refused them for good.
    pub fn settle(self) {
        for receipt in self.receipts {
            receipt.settle();
        }
    }
}

impl Stream {
    fn slice(&self, range: &Range<usize>) -> &[u8] {
        let at = |idx: usize| if idx == 0 { 0 } else { self.ends[idx - 1] as usize };
        &self.bytes[at(range.start)..at(range.end)]
    }

    fn labels_text(&self, external: &BTreeMap<String, String>) -> String {
        let missing = external.iter().filter(|(name, _)| self.labels.get(name).is_none());
        let missing: Vec<(&str, &str)> = missing.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if missing.is_empty() {
            return self.labels.to_string();
        }
        Labels::from_pairs(self.labels.iter().chain(missing)).to_string()
    }
}

/// Two halves of `part`, `None` when it is a single entry. Entries of a stream keep their order.
pub fn halve(part: &Part) -> Option<(Part, Part)> {
    let total: usize = part.iter().map(|(_, range)| range.len()).sum();
    if total < 2 {
        return None;
    }
    let (mut first, mut second) = (Part::new(), Part::new());
    let mut left = total / 2;
    for (idx, range) in part {
        let taken = range.len().min(left);
        left -= taken;
        let middle = range.start + taken;
        if taken > 0 {
            first.push((*idx, range.start..middle));
        }
        if middle < range.end {
            second.push((*idx, middle..range.end));
        }
    }
    Some((first, second))
}

/// Number of entries in `part`.
pub fn entry_count(part: &Part) -> u64 {
    part.iter().map(|(_, range)| range.len() as u64).sum()
}

/// What `batchsize` and the byte metrics count of an entry.
pub fn content_bytes(line: &[u8], metadata: &[(String, String)]) -> usize {
    line.len() + metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Progress;

    #[test]
    fn keeps_the_order_within_a_stream_and_settles_all() {
        let progress = Progress::new(0);
        let chunk = progress.chunk(100);
        let labels = Labels::from_pairs([("app", "web")]);
        let mut batch = Batch::new(Instant::now());
        for (idx, line) in ["one", "two"].iter().enumerate() {
            batch.add(&labels, idx as i64, line.as_bytes(), &[]);
            batch.owe(&chunk);
        }
        chunk.settle();
        let body = batch.encode(&batch.whole(), &BTreeMap::new());
        let at = |needle: &str| body.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        assert!(at("{app=\"web\"}") < at("one") && at("one") < at("two"));
        assert_eq!((batch.entries, batch.content_bytes, batch.receipts.len()), (2, 6, 1));
        assert_eq!(progress.acknowledged(), 0);
        batch.settle();
        assert_eq!(progress.acknowledged(), 100);
    }

    #[test]
    fn halves_down_to_single_entries() {
        let mut batch = Batch::new(Instant::now());
        let (a, b) = (Labels::from_pairs([("s", "a")]), Labels::from_pairs([("s", "b")]));
        for (labels, line) in [(&a, "a1"), (&b, "b1"), (&a, "a2"), (&a, "a3")] {
            batch.add(labels, 1, line.as_bytes(), &[]);
        }
        let (first, second) = halve(&batch.whole()).unwrap();
        assert_eq!((first.clone(), second), (vec![(0, 0..2)], vec![(0, 2..3), (1, 0..1)]));
        let body = batch.encode(&first, &BTreeMap::new());
        let has = |needle: &str| body.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(has("a1") && has("a2") && !has("a3") && !has("b1"));
        let (one, _) = halve(&first).unwrap();
        assert_eq!((halve(&one), entry_count(&one)), (None, 1));
    }

    #[test]
    fn own_labels_win_over_external_ones() {
        let mut batch = Batch::new(Instant::now());
        batch.add(&Labels::from_pairs([("app", "web")]), 1, b"l", &[]);
        let external = [("app", "x"), ("cluster", "c")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let body = batch.encode(&batch.whole(), &external);
        let want = br#"{app="web", cluster="c"}"#;
        assert!(body.windows(want.len()).any(|window| window == want));
    }
}
