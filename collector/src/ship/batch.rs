//! A batch: entries of many files on their way to one tenant of one client, already encoded.

use std::time::Instant;

use logstack_logql::Labels;
use std::collections::HashMap;

use super::encode;
use crate::receipt::Receipt;

/// Entries that travel in one request.
#[derive(Debug)]
pub struct Batch {
    streams: HashMap<Labels, Vec<u8>>,
    receipts: Vec<Receipt>,
    /// When the first entry came.
    pub opened: Instant,
    /// Bytes of lines and structured metadata, what `batchsize` counts.
    pub content_bytes: usize,
    /// Number of entries.
    pub entries: usize,
}

impl Batch {
    /// Without entries.
    pub fn new(now: Instant) -> Self {
        Self { streams: HashMap::new(), receipts: Vec::new(), opened: now, content_bytes: 0, entries: 0 }
    }

    /// Adds an entry. Entries of one stream keep the order in which they are added.
    pub fn add(
        &mut self,
        labels: &Labels,
        timestamp_ns: i64,
        line: &[u8],
        metadata: &[(String, String)],
        receipt: Receipt,
    ) {
        // Looked up by reference first: the labels are cloned once a stream and batch, not once a line.
        if !self.streams.contains_key(labels) {
            self.streams.insert(labels.clone(), Vec::new());
        }
        let entries = self.streams.get_mut(labels).expect("inserted above");
        encode::entry(timestamp_ns, line, metadata, entries);
        self.content_bytes += content_bytes(line, metadata);
        self.entries += 1;
        let rest = match self.receipts.last_mut() {
            Some(last) => last.absorb(receipt),
            None => Some(receipt),
        };
        self.receipts.extend(rest);
    }

    /// The request body before compression.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.streams.values().map(|entries| entries.len() + 512).sum());
        for (labels, entries) in &self.streams {
            encode::stream(&labels.to_string(), entries, &mut body);
        }
        body
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.streams.values().map(Vec::capacity).sum()
    }

    /// The engine has the entries, or refused them for good.
    pub fn settle(self) {
        for receipt in self.receipts {
            receipt.settle();
        }
    }
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
            batch.add(&labels, idx as i64, line.as_bytes(), &[], chunk.share());
        }
        chunk.settle();
        let body = batch.encode();
        let at = |needle: &str| body.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        assert!(at("{app=\"web\"}") < at("one") && at("one") < at("two"));
        assert_eq!((batch.entries, batch.content_bytes, batch.receipts.len()), (2, 6, 1));
        assert_eq!(progress.acknowledged(), 0);
        batch.settle();
        assert_eq!(progress.acknowledged(), 100);
    }
}
