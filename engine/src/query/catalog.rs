//! Questions about streams and not about lines: label names and values, series, how much there is.
//!
//! Source: contract http-api.md, 1.6 to 1.10 and 1.12.

use std::sync::Arc;

use hashbrown::HashMap;
use logstack_logql::ast::Matcher;
use logstack_logql::{Labels, ParseError};

use super::admission::check_length;
use super::metric::column::Column;
use super::metric::series::{Matrix, Series, only};
use super::source::PlannedUnit;
use super::{Caller, Control, Engine, Error};
use crate::model::TimeRange;
use crate::storage::ScanRequest;

/// Reads a pure selector. Nothing given means all streams, where that is allowed.
///
/// # Errors
/// A syntax error, or more than a selector.
pub fn parse_selector(text: Option<&str>) -> Result<Vec<Matcher>, Error> {
    let Some(text) = text else { return Ok(Vec::new()) };
    match logstack_logql::parse_selector(text) {
        Ok(selector) if selector.is_empty() => Err(Error::refused(ParseError::not_selective().to_string())),
        Ok(selector) => Ok(selector),
        Err(error) => Err(Error::refused(error.to_string())),
    }
}

/// True for `{}`: the parser refuses it, but some routes take it for "all streams".
pub fn is_everything(text: &str) -> bool {
    text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(|inner| inner.trim().is_empty())
}

/// What a selector matches, in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Streams with an entry in the range.
    pub streams: u64,
    /// Blocks, where Loki counts chunks.
    pub blocks: u64,
    /// Entries; an estimate where a block is partly in the range.
    pub entries: u64,
    /// Bytes of their lines and metadata, in whole kilobytes per stream; the same.
    pub bytes: u64,
}

/// What volumes are summed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeBy {
    /// By all labels.
    LabelSets,
    /// By these labels; streams that lack one are left out.
    Labels(Vec<String>),
    /// One row per label name, all or these.
    LabelNames(Vec<String>),
}

/// `index/volume` and `index/volume_range`.
#[derive(Debug, Clone)]
pub struct VolumeQuery {
    /// Empty: all streams.
    pub selector: Vec<Matcher>,
    /// From when.
    pub start_ns: i64,
    /// To when, included.
    pub end_ns: i64,
    /// Length of a bucket; `None`: one for all.
    pub step_ns: Option<i64>,
    /// Most rows.
    pub limit: usize,
    /// What a row is.
    pub by: VolumeBy,
}

/// Volumes by bucket, the largest row first.
#[derive(Debug, Clone)]
pub struct Volumes {
    /// The time shown for each bucket.
    pub times_ns: Vec<i64>,
    /// A column has a place per bucket.
    pub matrix: Matrix,
}

impl Engine {
    /// Label names of the streams with an entry in the range.
    ///
    /// # Errors
    /// A limit, storage.
    pub fn label_names(&self, caller: &Caller, selector: &[Matcher], range: TimeRange) -> Result<Vec<String>, Error> {
        let Some(range) = admit_range(caller, range)? else { return Ok(Vec::new()) };
        self.sources(caller).label_names(selector, range)
    }

    /// Values of the label `name` on the streams with an entry in the range.
    ///
    /// # Errors
    /// A limit, storage.
    pub fn label_values(
        &self,
        caller: &Caller,
        name: &str,
        selector: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, Error> {
        let Some(range) = admit_range(caller, range)? else { return Ok(Vec::new()) };
        self.sources(caller).label_values(name, selector, range)
    }

    /// Label sets of the streams that one of the selectors matches, sorted, each once. No selector: all streams.
    ///
    /// # Errors
    /// A limit, storage.
    pub fn series(&self, caller: &Caller, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, Error> {
        let Some(range) = admit_range(caller, range)? else { return Ok(Vec::new()) };
        let sources = self.sources(caller);
        let mut series = Vec::new();
        match selectors {
            [] => series = sources.streams(&[], range)?,
            selectors => {
                for selector in selectors {
                    series.extend(sources.streams(selector, range)?);
                }
            }
        }
        series.sort();
        series.dedup();
        Ok(series)
    }

    /// How much a selector matches.
    ///
    /// # Errors
    /// A limit, storage.
    pub fn index_stats(&self, caller: &Caller, selector: &[Matcher], range: TimeRange) -> Result<IndexStats, Error> {
        let Some(range) = admit_range(caller, range)? else { return Ok(IndexStats::default()) };
        let units = self.sources(caller).plan(selector, &ScanRequest { range, ..ScanRequest::default() })?;
        let mut stats = IndexStats::default();
        for stream in units.chunk_by(|a, b| Arc::ptr_eq(&a.stream, &b.stream)) {
            let mut bytes = 0.0;
            for planned in stream {
                let share = share(planned, range);
                stats.blocks += 1;
                stats.entries += ((planned.unit.rows as f64 * share).round() as u64).max(1);
                bytes += stored_bytes(planned) * share;
            }
            stats.streams += 1;
            // Whole kilobytes per stream, as Loki's index keeps them.
            stats.bytes += (bytes / 1024.0).round() as u64 * 1024;
        }
        Ok(stats)
    }

    /// Bytes of lines by labels and time. Reads no line: what a block that straddles an edge has on either side is
    /// estimated.
    ///
    /// # Errors
    /// A limit, storage.
    pub fn volume(&self, caller: &Caller, query: &VolumeQuery, control: &Control) -> Result<Volumes, Error> {
        let buckets = buckets(query);
        let times_ns: Vec<i64> = buckets
            .iter()
            .map(|bucket| if bucket.last_ns >= query.end_ns { query.end_ns } else { bucket.last_ns })
            .collect();
        let asked = TimeRange { first_ns: query.start_ns, last_ns: query.end_ns };
        let Some(range) = admit_range(caller, asked)? else {
            return Ok(Volumes { times_ns, matrix: Matrix::default() });
        };
        let units = self.sources(caller).plan(&query.selector, &ScanRequest { range, ..ScanRequest::default() })?;
        let mut rows: HashMap<Labels, Column> = HashMap::new();
        let limit = caller.limits.volume_max_series;
        for planned in &units {
            control.check()?;
            let in_buckets: Vec<(usize, f64)> = buckets
                .iter()
                .enumerate()
                .filter(|(_, bucket)| planned.unit.time.overlaps(bucket))
                .map(|(idx, bucket)| (idx, stored_bytes(planned) * share(planned, *bucket)))
                .collect();
            for labels in row_labels(planned.stream.labels(), &query.by) {
                let column = rows.entry(labels).or_insert_with(|| Column::absent(buckets.len()));
                for &(idx, bytes) in &in_buckets {
                    column.set(idx, column.get(idx).unwrap_or(0.0) + bytes);
                }
            }
            if limit > 0 && rows.len() > limit {
                return Err(Error::Refused(format!(
                    "the query hit the max number of series limit (limit: {limit} series)"
                )));
            }
        }
        let mut series: Vec<Series> = rows.into_iter().map(|(labels, column)| Series { labels, column }).collect();
        for series in &mut series {
            series.column.map(|bytes| Some(bytes.round()));
        }
        let total = |series: &Series| -> f64 { series.column.points().map(|(_, bytes)| bytes).sum() };
        series.sort_by(|a, b| total(b).total_cmp(&total(a)).then_with(|| a.labels.cmp(&b.labels)));
        series.truncate(query.limit);
        Ok(Volumes { times_ns, matrix: Matrix { is_ordered: true, ..Matrix::new(series) } })
    }

    /// Index labels worth showing, with the number of their values.
    ///
    /// # Errors
    /// A limit, storage.
    pub fn detected_labels(
        &self,
        caller: &Caller,
        selector: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(String, usize)>, Error> {
        let Some(range) = admit_range(caller, range)? else { return Ok(Vec::new()) };
        let sources = self.sources(caller);
        let mut detected = Vec::new();
        for name in sources.label_names(selector, range)? {
            let values = sources.label_values(&name, selector, range)?;
            if is_worth_showing(&name, &values) {
                detected.push((name, values.len()));
            }
        }
        Ok(detected)
    }
}

/// Refuses a range that is too long, and cuts it to what the tenant may see; `None` when that leaves nothing.
fn admit_range(caller: &Caller, mut range: TimeRange) -> Result<Option<TimeRange>, Error> {
    check_length(range.last_ns.saturating_sub(range.first_ns), &caller.limits)?;
    if let Some(earliest) = super::admission::lookback_start_ns(caller.now_ns, &caller.limits) {
        range.first_ns = range.first_ns.max(earliest);
    }
    Ok((range.first_ns <= range.last_ns).then_some(range))
}

/// The part of a unit's time that lies in `range`, 0 to 1.
fn share(planned: &PlannedUnit, range: TimeRange) -> f64 {
    let time = planned.unit.time;
    if range.covers(&time) {
        return 1.0;
    }
    if !range.overlaps(&time) {
        return 0.0;
    }
    let length = |first: i64, last: i64| last.saturating_sub(first) as f64 + 1.0;
    length(time.first_ns.max(range.first_ns), time.last_ns.min(range.last_ns)) / length(time.first_ns, time.last_ns)
}

/// Lines and an estimate of their metadata, which units do not count: an entry has its level at least, and Loki keeps a
/// pair as two numbers of four bytes.
fn stored_bytes(planned: &PlannedUnit) -> f64 {
    (planned.unit.bytes + 8 * planned.unit.rows) as f64
}

/// The buckets of a volume query: the multiples of the step cut the range.
fn buckets(query: &VolumeQuery) -> Vec<TimeRange> {
    let Some(step_ns) = query.step_ns else {
        return vec![TimeRange { first_ns: query.start_ns, last_ns: query.end_ns }];
    };
    let mut buckets = Vec::new();
    let mut first_ns = query.start_ns;
    while first_ns < query.end_ns {
        let next = (first_ns.div_euclid(step_ns) + 1).saturating_mul(step_ns);
        // Buckets end a millisecond before the next one in what clients see.
        let last_ns = if next >= query.end_ns { query.end_ns } else { next - 1_000_000 };
        buckets.push(TimeRange { first_ns, last_ns });
        first_ns = next;
    }
    buckets
}

/// The rows that a stream counts in.
fn row_labels(stream: &Labels, by: &VolumeBy) -> Vec<Labels> {
    match by {
        VolumeBy::LabelSets => vec![stream.clone()],
        VolumeBy::Labels(names) => {
            let has_all = names.iter().all(|name| stream.get(name).is_some());
            if has_all { vec![only(stream, names)] } else { Vec::new() }
        }
        VolumeBy::LabelNames(names) => stream
            .iter()
            .filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name))
            .map(|(name, _)| Labels::from_pairs([(name, "")]))
            .collect(),
    }
}

/// Labels whose values are all ids say nothing to a reader, except the few that everybody looks for.
fn is_worth_showing(name: &str, values: &[String]) -> bool {
    if matches!(name, "cluster" | "namespace" | "instance" | "pod") {
        return true;
    }
    let is_flag = values.iter().all(|value| matches!(value.as_str(), "0" | "1"));
    let is_id = |value: &String| value.parse::<f64>().is_ok() || is_uuid(value);
    is_flag || !values.iter().all(is_id)
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(idx, byte)| match idx {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cut_at_multiples_of_the_step() {
        let query = VolumeQuery {
            selector: Vec::new(),
            start_ns: 30_000_000_000,
            end_ns: 150_000_000_000,
            step_ns: Some(60_000_000_000),
            limit: 1,
            by: VolumeBy::LabelSets,
        };
        let got: Vec<(i64, i64)> =
            buckets(&query).iter().map(|b| (b.first_ns / 1_000_000, b.last_ns / 1_000_000)).collect();
        assert_eq!(got, [(30_000, 59_999), (60_000, 119_999), (120_000, 150_000)]);
    }

    #[test]
    fn ids_are_not_worth_showing() {
        let check = |name: &str, values: &[&str]| {
            is_worth_showing(name, &values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>())
        };
        assert!(check("app", &["web", "12"]));
        assert!(check("flag", &["0", "1"]));
        assert!(check("pod", &["17"]));
        assert!(!check("port", &["80", "443"]));
        assert!(!check("trace", &["b3c7a2f0-1111-2222-3333-444455556666"]));
    }
}
