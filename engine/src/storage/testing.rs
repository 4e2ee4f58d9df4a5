//! What the tests of storage share: streams and batches in few words, and generators of both.

use std::sync::Arc;

use logstack_logql::Labels;
use logstack_logql::ast::{MatchOp, Matcher};
use logstack_logql::matcher::CompiledMatcher;
use proptest::prelude::*;

use super::wal::record::detached_stream;
use crate::model::{Batch, BatchStream, MetadataSet, Stream, TenantId};

/// `app="api" pod="a-1"`, of tenant `fake`.
pub fn stream(labels: &str) -> Arc<Stream> {
    let pairs = terms(labels).map(|(name, op, value)| {
        assert_eq!(op, "=");
        (name, value)
    });
    detached_stream(TenantId::new("fake"), Labels::from_pairs(pairs))
}

/// `app="api" pod!~"a-.*"`; values hold no spaces.
pub fn matchers(selector: &str) -> Vec<CompiledMatcher> {
    let compile = |(name, op, value): (String, &str, String)| {
        let op = match op {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            _ => panic!("no operator {op}"),
        };
        CompiledMatcher::new(&Matcher { name, op, value }).unwrap()
    };
    terms(selector).map(compile).collect()
}

fn terms(text: &str) -> impl Iterator<Item = (String, &str, String)> {
    text.split_whitespace().map(|term| {
        let (head, value) = term.split_once('"').unwrap();
        let name = head.trim_end_matches(['=', '!', '~']);
        (name.to_owned(), &head[name.len()..], value.strip_suffix('"').unwrap().to_owned())
    })
}

/// Rows of one stream without metadata.
pub fn batch(stream: &Arc<Stream>, rows: &[(i64, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (timestamp, line) in rows {
        batch.rows.push(*timestamp, line.as_bytes(), 0);
    }
    batch.streams.push(BatchStream { stream: stream.clone(), rows: 0..rows.len() });
    batch
}

/// One row in plain types: what a test compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowSpec {
    /// ns since the epoch.
    pub timestamp: i64,
    /// Any bytes.
    pub line: Vec<u8>,
    /// Sorted by name.
    pub metadata: Vec<(String, String)>,
}

/// A batch in plain types: rows by tenant and stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSpec(pub Vec<(String, Labels, Vec<RowSpec>)>);

impl BatchSpec {
    /// The batch that ingest would hand over.
    pub fn build(&self) -> Batch {
        let mut batch = Batch::default();
        for (tenant, labels, rows) in &self.0 {
            let start = batch.rows.len();
            for row in rows {
                let set: MetadataSet =
                    row.metadata.iter().map(|(n, v)| (Arc::from(n.as_str()), Arc::from(v.as_str()))).collect();
                let id = batch.rows.metadata.intern(set);
                batch.rows.push(row.timestamp, &row.line, id);
            }
            let stream = detached_stream(TenantId::new(tenant.as_str()), labels.clone());
            batch.streams.push(BatchStream { stream, rows: start..batch.rows.len() });
        }
        batch
    }

    /// Back to plain types.
    pub fn of(batch: &Batch) -> Self {
        let stream = |part: &BatchStream| {
            let rows = part.rows.clone().map(|row| row_of(&batch.rows, row)).collect();
            (part.stream.tenant.as_str().to_owned(), part.stream.labels.clone(), rows)
        };
        Self(batch.streams.iter().map(stream).collect())
    }
}

/// Row `row` in plain types.
pub fn row_of(rows: &crate::model::Rows, row: usize) -> RowSpec {
    let set = rows.metadata.get(rows.metadata_ids[row]);
    RowSpec {
        timestamp: rows.timestamps[row],
        line: rows.line(row).to_vec(),
        metadata: set.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
    }
}

/// Rows with many equal timestamps and lines, so that orders and duplicates matter.
pub fn row_specs(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<RowSpec>> {
    let line = prop_oneof![
        "[ab]{0,2}".prop_map(String::into_bytes),
        (0..200u32).prop_map(|n| format!("GET /sync {n} took {}ms", n * 7).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    let timestamp =
        prop_oneof![8 => 0..40i64, 2 => (0..4i64).prop_map(|day| day * 86_400_000_000_000), 1 => any::<i64>()];
    let metadata = prop_oneof![
        4 => Just(vec![]),
        2 => Just(vec![("level".to_owned(), "info".to_owned())]),
        1 => "[a-z]{1,3}".prop_map(|v| vec![("level".to_owned(), "warn".to_owned()), ("trace".to_owned(), v)]),
    ];
    let row = (timestamp, line, metadata).prop_map(|(timestamp, line, metadata)| RowSpec { timestamp, line, metadata });
    prop::collection::vec(row, len)
}

/// Batches of a few streams of two tenants; a stream may come twice.
pub fn batch_specs() -> impl Strategy<Value = BatchSpec> {
    let labels = (0..3u8).prop_map(|n| Labels::from_pairs([("app", format!("app-{n}"))]));
    let stream = (prop_oneof![Just("fake".to_owned()), Just("other".to_owned())], labels, row_specs(0..12));
    prop::collection::vec(stream, 0..4).prop_map(BatchSpec)
}
