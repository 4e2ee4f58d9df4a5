//! Answers of `query` and `query_range` as JSON, key by key in the order that clients rely on.
//!
//! Source: contract http-api.md, 1.5.

use super::json::JsonWriter;
use crate::query::metric::series::Matrix;
use crate::query::request::{ExtraLabels, StreamResult};
use crate::query::{Answer, Data, Stats};

/// The body of a query's answer. `flags`: what the client asked for in `X-Loki-Response-Encoding-Flags`.
pub fn answer(answer: &Answer, flags: &[String]) -> JsonWriter {
    let mut json = begin(&answer.warnings);
    match &answer.data {
        Data::Streams(streams) => {
            json.string("streams");
            if !flags.is_empty() {
                json.key("encodingFlags");
                json.begin_array();
                flags.iter().for_each(|flag| json.string(flag));
                json.end_array();
            }
            json.key("result");
            self::streams(&mut json, streams);
        }
        Data::Matrix { grid, matrix } => {
            json.string("matrix");
            json.key("result");
            json.begin_array();
            for series in &matrix.series {
                json.begin_object();
                json.key("metric");
                json.labels(series.labels.iter());
                json.key("values");
                json.begin_array();
                for (step, value) in series.column.points() {
                    point(&mut json, grid.at(step), value);
                }
                json.end_array();
                json.end_object();
            }
            json.end_array();
        }
        Data::Vector { time_ns, matrix } => {
            json.string("vector");
            json.key("result");
            vector(&mut json, *time_ns, matrix);
        }
        Data::Scalar { time_ns, value } => {
            json.string("scalar");
            json.key("result");
            point(&mut json, *time_ns, *value);
        }
    }
    end(json, &answer.stats)
}

/// The envelope up to the value of `resultType`, which comes next.
pub fn begin(warnings: &[String]) -> JsonWriter {
    let mut json = JsonWriter::default();
    json.begin_object();
    json.key("status");
    json.string("success");
    if !warnings.is_empty() {
        json.key("warnings");
        json.begin_array();
        warnings.iter().for_each(|warning| json.string(warning));
        json.end_array();
    }
    json.key("data");
    json.begin_object();
    json.key("resultType");
    json
}

/// The envelope from `stats` on.
pub fn end(mut json: JsonWriter, stats: &Stats) -> JsonWriter {
    json.key("stats");
    self::stats(&mut json, stats);
    json.end_object();
    json.end_object();
    json
}

/// `[{"stream":{…},"values":[["ns","line"],…]}]`
pub fn streams(json: &mut JsonWriter, streams: &[StreamResult]) {
    json.begin_array();
    for stream in streams {
        json.begin_object();
        json.key("stream");
        json.labels(stream.labels.iter());
        json.key("values");
        json.begin_array();
        for entry in &stream.entries {
            json.begin_array();
            json.integer_string(entry.timestamp_ns);
            json.bytes(&entry.line);
            if let Some(extra) = &entry.extra {
                extra_labels(json, extra);
            }
            json.end_array();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
}

/// The third element of a value: always an object, empty parts left out.
pub fn extra_labels(json: &mut JsonWriter, extra: &ExtraLabels) {
    json.begin_object();
    for (key, labels) in [("structuredMetadata", &extra.metadata), ("parsed", &extra.parsed)] {
        if !labels.is_empty() {
            json.key(key);
            json.labels(labels.iter().map(|(name, value)| (&**name, &**value)));
        }
    }
    json.end_object();
}

/// `[{"metric":{…},"value":[sec,"v"]}]`, of columns with one step.
pub fn vector(json: &mut JsonWriter, time_ns: i64, matrix: &Matrix) {
    json.begin_array();
    for series in &matrix.series {
        for (_, value) in series.column.points() {
            json.begin_object();
            json.key("metric");
            json.labels(series.labels.iter());
            json.key("value");
            point(json, time_ns, value);
            json.end_object();
        }
    }
    json.end_array();
}

/// `[sec,"v"]`
pub fn point(json: &mut JsonWriter, ts_ns: i64, value: f64) {
    json.begin_array();
    json.seconds(ts_ns);
    json.sample(value);
    json.end_array();
}

/// The statistics: every key is always there, because logcli decodes strictly.
pub fn stats(json: &mut JsonWriter, stats: &Stats) {
    let seconds = stats.exec_time.as_secs_f64();
    let rate = |count: u64| if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 };
    json.begin_object();
    json.key("summary");
    json.begin_object();
    for (key, value) in [
        ("bytesProcessedPerSecond", rate(stats.bytes)),
        ("linesProcessedPerSecond", rate(stats.lines)),
        ("totalBytesProcessed", stats.bytes),
        ("totalLinesProcessed", stats.lines),
    ] {
        json.key(key);
        json.integer(value);
    }
    json.key("execTime");
    json.float(seconds);
    json.key("queueTime");
    json.float(stats.queue_time.as_secs_f64());
    for (key, value) in [
        ("subqueries", 0),
        ("totalEntriesReturned", stats.entries_returned),
        ("splits", 0),
        ("shards", 0),
        ("totalPostFilterLines", stats.lines_matched),
        ("totalStructuredMetadataBytesProcessed", 0),
    ] {
        json.key(key);
        json.integer(value);
    }
    json.end_object();
    json.key("querier");
    json.begin_object();
    json.key("store");
    store_stats(json, stats);
    json.key("querierExecTime");
    json.integer(0);
    json.end_object();
    json.key("ingester");
    json.begin_object();
    for key in ["totalReached", "totalChunksMatched", "totalBatches", "totalLinesSent"] {
        json.key(key);
        json.integer(0);
    }
    json.key("store");
    // Memory and disk are one store here: everything is counted under the querier.
    store_stats(json, &Stats::default());
    json.end_object();
    json.key("cache");
    json.begin_object();
    for cache in [
        "chunk",
        "index",
        "result",
        "statsResult",
        "volumeResult",
        "seriesResult",
        "labelResult",
        "instantMetricResult",
    ] {
        json.key(cache);
        json.raw(
            r#"{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0,"bytesSent":0,"requests":0,"downloadTime":0,"queryLengthServed":0}"#,
        );
    }
    json.end_object();
    json.key("index");
    json.begin_object();
    for (key, value) in [("totalChunks", stats.units), ("postFilterChunks", stats.units), ("shardsDuration", 0)] {
        json.key(key);
        json.integer(value);
    }
    json.key("usedBloomFilters");
    json.boolean(false);
    for (key, value) in [("totalStreams", stats.streams), ("chunkRefsLookupTime", 0), ("bloomFilterTime", 0)] {
        json.key(key);
        json.integer(value);
    }
    json.end_object();
    json.end_object();
}

/// Blocks stand for chunks: considered are "referenced", opened are "downloaded".
fn store_stats(json: &mut JsonWriter, stats: &Stats) {
    json.begin_object();
    for (key, value) in
        [("totalChunksRef", stats.units), ("totalChunksDownloaded", stats.units_opened), ("chunksDownloadTime", 0)]
    {
        json.key(key);
        json.integer(value);
    }
    json.key("queryReferencedStructuredMetadata");
    json.boolean(stats.used_metadata);
    json.key("queryUsedV2Engine");
    json.boolean(false);
    json.key("chunk");
    json.begin_object();
    for (key, value) in [
        ("headChunkBytes", 0),
        ("headChunkLines", 0),
        ("decompressedBytes", stats.bytes),
        ("decompressedLines", stats.lines),
        ("compressedBytes", 0),
        ("totalDuplicates", 0),
        ("postFilterLines", stats.lines_matched),
        ("headChunkStructuredMetadataBytes", 0),
        ("decompressedStructuredMetadataBytes", 0),
    ] {
        json.key(key);
        json.integer(value);
    }
    json.end_object();
    for key in ["chunkRefsFetchTime", "congestionControlLatency", "pipelineWrapperFilteredLines"] {
        json.key(key);
        json.integer(0);
    }
    json.key("dataobj");
    json.raw("{}");
    json.end_object();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logstack_logql::Labels;

    use super::*;
    use crate::query::metric::column::Column;
    use crate::query::metric::grid::Grid;
    use crate::query::metric::series::Series;
    use crate::query::request::ResultEntry;

    fn body(data: Data, warnings: &[&str], flags: &[&str]) -> String {
        let warnings = warnings.iter().map(|&w| w.to_owned()).collect();
        let flags: Vec<String> = flags.iter().map(|&f| f.to_owned()).collect();
        let json = answer(&Answer { data, stats: Stats::default(), warnings }, &flags).finish();
        let text = String::from_utf8(json).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let (head, stats) = text.split_once(r#""stats":"#).unwrap();
        assert!(stats.starts_with(r#"{"summary":{"bytesProcessedPerSecond":0,"#), "{stats}");
        head.to_owned()
    }

    #[test]
    fn keys_keep_their_order() {
        let entry = |extra| ResultEntry { timestamp_ns: 5, line: b"x".as_slice().into(), extra };
        let stream = |extra| StreamResult { labels: Labels::from_pairs([("a", "1")]), entries: vec![entry(extra)] };
        assert_eq!(
            body(Data::Streams(vec![stream(None)]), &[], &[]),
            r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"1"},"values":[["5","x"]]}],"#
        );
        let extra = ExtraLabels { metadata: vec![("m".into(), "2".into())], parsed: vec![] };
        let streams = vec![stream(Some(Arc::new(extra))), stream(Some(Arc::default()))];
        assert_eq!(
            body(Data::Streams(streams), &["hm"], &["categorize-labels"]),
            concat!(
                r#"{"status":"success","warnings":["hm"],"data":{"resultType":"streams","#,
                r#""encodingFlags":["categorize-labels"],"result":["#,
                r#"{"stream":{"a":"1"},"values":[["5","x",{"structuredMetadata":{"m":"2"}}]]},"#,
                r#"{"stream":{"a":"1"},"values":[["5","x",{}]]}],"#
            )
        );
    }

    #[test]
    fn metric_results() {
        let mut column = Column::absent(3);
        column.set(0, 0.5);
        column.set(2, f64::NAN);
        let matrix = Matrix::new([Series { labels: Labels::default(), column }]);
        let grid = Grid { start_ns: 60_000_000_000, step_ns: 1_500_000_000, len: 3 };
        assert_eq!(
            body(Data::Matrix { grid, matrix }, &[], &["categorize-labels"]),
            concat!(
                r#"{"status":"success","data":{"resultType":"matrix","#,
                r#""result":[{"metric":{},"values":[[60,"0.5"],[63,"NaN"]]}],"#
            )
        );
        assert_eq!(
            body(Data::Vector { time_ns: 0, matrix: Matrix::constant(2.0, 1) }, &[], &[]),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"2"]}],"#
        );
        assert_eq!(
            body(Data::Scalar { time_ns: 1_250_000_000, value: 2.0 }, &[], &[]),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.25,"2"],"#
        );
    }
}
