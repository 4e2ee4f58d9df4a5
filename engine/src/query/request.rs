//! What is asked, and what comes back: plain data between `http` and the evaluator.

use std::time::Duration;

use logstack_logql::Labels;

use super::metric::grid::Grid;
use super::metric::series::Matrix;
pub use crate::storage::Direction;

/// `query_range`.
#[derive(Debug, Clone)]
pub struct RangeQuery {
    /// LogQL.
    pub text: String,
    /// Included.
    pub start_ns: i64,
    /// Excluded for log queries; metric queries evaluate up to it, rounded up to a step.
    pub end_ns: i64,
    /// Distance of the points of a metric query; positive.
    pub step_ns: i64,
    /// Log queries: least distance of two entries; 0: every entry.
    pub interval_ns: i64,
    /// Log queries: most entries; positive.
    pub limit: usize,
    /// Log queries: which end of the range comes first.
    pub direction: Direction,
    /// Log queries: keep structured metadata and parsed labels apart from those of the stream.
    pub categorize_labels: bool,
    /// Answer with the series found so far when there are too many, and say so (Logs Drilldown asks for it).
    pub partial_series: bool,
    /// Say in `warnings` why an answer is empty. Clients that show warnings get them; others get what Loki answers.
    pub explain: bool,
}

/// `query`.
#[derive(Debug, Clone)]
pub struct InstantQuery {
    /// LogQL, a metric query.
    pub text: String,
    /// When it is evaluated.
    pub time_ns: i64,
    /// As in [`RangeQuery`].
    pub partial_series: bool,
    /// As in [`RangeQuery`].
    pub explain: bool,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// What was found.
    pub data: Data,
    /// What it took.
    pub stats: Stats,
    /// What the reader should know about it.
    pub warnings: Vec<String>,
}

/// The result of a query.
#[derive(Debug)]
pub enum Data {
    /// Of a log query, sorted by label text.
    Streams(Vec<StreamResult>),
    /// Of a metric query over a range, sorted by labels.
    Matrix {
        /// When.
        grid: Grid,
        /// What.
        matrix: Matrix,
    },
    /// Of a metric query at an instant, in the order of the answer.
    Vector {
        /// When.
        time_ns: i64,
        /// What; columns have one step.
        matrix: Matrix,
    },
    /// Of a literal at an instant.
    Scalar {
        /// When.
        time_ns: i64,
        /// What.
        value: f64,
    },
}

/// Entries with one label set.
#[derive(Debug)]
pub struct StreamResult {
    /// The label set, after the pipeline.
    pub labels: Labels,
    /// In the asked direction of time.
    pub entries: Vec<ResultEntry>,
}

/// An entry of an answer.
#[derive(Debug)]
pub struct ResultEntry {
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// After the pipeline; any bytes.
    pub line: Box<[u8]>,
    /// With `categorize_labels`: what is not in the label set of the stream.
    pub extra: Option<std::sync::Arc<ExtraLabels>>,
}

/// Labels of an entry that are not labels of its stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExtraLabels {
    /// Structured metadata that the pipeline left alone.
    pub metadata: Vec<(Box<str>, Box<str>)>,
    /// What the pipeline made.
    pub parsed: Vec<(Box<str>, Box<str>)>,
}

/// What a query took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Streams that the selectors chose.
    pub streams: u64,
    /// Scan units that were planned.
    pub units: u64,
    /// Those that were opened.
    pub units_opened: u64,
    /// Lines in them.
    pub lines: u64,
    /// Bytes of these lines.
    pub bytes: u64,
    /// Lines that passed the line filters.
    pub lines_matched: u64,
    /// Entries, or series, in the answer.
    pub entries_returned: u64,
    /// Some query read structured metadata.
    pub used_metadata: bool,
    /// From the first byte of the request to the answer.
    pub exec_time: Duration,
    /// Of that, waiting for a turn.
    pub queue_time: Duration,
}

impl Stats {
    /// Adds what another scan took.
    pub fn add(&mut self, other: &Self) {
        self.streams += other.streams;
        self.units += other.units;
        self.units_opened += other.units_opened;
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.lines_matched += other.lines_matched;
        self.entries_returned += other.entries_returned;
        self.used_metadata |= other.used_metadata;
    }
}
