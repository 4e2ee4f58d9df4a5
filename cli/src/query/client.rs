//! The questions that `logstack query` asks over Loki's HTTP API, and their answers as plain data.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A label set.
pub type Labels = BTreeMap<String, String>;

/// Talks to one server as one tenant.
pub struct Client {
    http: reqwest::Client,
    addr: String,
    tenant: Option<String>,
}

/// An answer, whatever its kind.
#[derive(Debug, Default)]
pub struct Answer {
    /// True for streams of entries.
    pub is_log: bool,
    /// Entries, oldest first.
    pub entries: Vec<Entry>,
    /// Series of a metric query.
    pub series: Vec<Series>,
    /// What the server wants people to know.
    pub warnings: Vec<String>,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// Labels after the pipeline.
    pub labels: Labels,
    /// The line.
    pub line: String,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Seconds since the epoch and value.
    pub points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    warnings: Vec<String>,
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Streams(Vec<WireStream>),
    Matrix(Vec<WireSeries>),
    Vector(Vec<WireSample>),
    Scalar(WirePoint),
}

#[derive(Deserialize)]
struct WireStream {
    stream: Labels,
    values: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct WireSeries {
    metric: Labels,
    values: Vec<WirePoint>,
}

#[derive(Deserialize)]
struct WireSample {
    metric: Labels,
    value: WirePoint,
}

/// Seconds, and the value as text.
type WirePoint = (f64, String);

impl Answer {
    /// Time of the newest entry.
    pub fn newest_ns(&self) -> Option<i64> {
        self.entries.iter().map(|entry| entry.timestamp_ns).max()
    }
}

impl Client {
    /// `addr` is `http://host:port`, with or without a path in front of Loki's.
    pub fn new(addr: &str, tenant: Option<&str>) -> Result<Self> {
        let http = reqwest::Client::builder().user_agent(concat!("logstack/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { http, addr: addr.trim_end_matches('/').to_owned(), tenant: tenant.map(str::to_owned) })
    }

    /// Asks `query_range`, or `query` when `instant`.
    pub async fn query(&self, logql: &str, instant: bool, params: &[(&str, String)]) -> Result<Answer> {
        let path = if instant { "query" } else { "query_range" };
        let url = format!("{}/loki/api/v1/{path}", self.addr);
        let mut request = self.http.get(&url).query(&[("query", logql)]).query(params);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let response =
            request.send().await.with_context(|| format!("cannot reach {}: is the engine running?", self.addr))?;
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        if !status.is_success() {
            bail!("{} ({status})", text.trim());
        }
        decode(&text).with_context(|| format!("{url} did not answer like Loki"))
    }

    /// Counts of entries over the range of `params`, one series.
    pub async fn histogram(&self, logql: &str, params: &[(&str, String)]) -> Result<Answer> {
        let range: Vec<(&str, String)> =
            params.iter().filter(|(name, _)| !matches!(*name, "step" | "direction" | "limit")).cloned().collect();
        // The server's default step gives about 250 points; windows of a minute or more hide nothing between them.
        self.query(&format!("sum(count_over_time({logql}[1m]))"), false, &range).await
    }
}

fn decode(text: &str) -> Result<Answer> {
    // `stats` and `encodingFlags` beside `result` keep serde's adjacent tagging from reading the envelope directly.
    let value: serde_json::Value = serde_json::from_str(text)?;
    let mut data = serde_json::Map::new();
    for key in ["resultType", "result"] {
        data.insert(key.to_owned(), value["data"][key].clone());
    }
    let warnings = value.get("warnings").cloned().unwrap_or_else(|| serde_json::json!([]));
    let envelope: Envelope = serde_json::from_value(serde_json::json!({ "warnings": warnings, "data": data }))?;
    let mut answer = Answer { warnings: envelope.warnings, ..Answer::default() };
    match envelope.data {
        Data::Streams(streams) => {
            answer.is_log = true;
            for WireStream { stream, values } in streams {
                for (timestamp, line) in values {
                    answer.entries.push(Entry { timestamp_ns: timestamp.parse()?, labels: stream.clone(), line });
                }
            }
            // A terminal is read downwards: whichever end was asked for, the newest entry comes last.
            answer.entries.sort_by_key(|entry| entry.timestamp_ns);
        }
        Data::Matrix(series) => {
            for WireSeries { metric, values } in series {
                let points = values.into_iter().map(point).collect::<Result<_>>()?;
                answer.series.push(Series { labels: metric, points });
            }
        }
        Data::Vector(samples) => {
            for WireSample { metric, value } in samples {
                answer.series.push(Series { labels: metric, points: vec![point(value)?] });
            }
        }
        Data::Scalar(value) => answer.series.push(Series { labels: Labels::new(), points: vec![point(value)?] }),
    }
    Ok(answer)
}

fn point((seconds, value): WirePoint) -> Result<(f64, f64)> {
    Ok((seconds, value.trim_start_matches('+').parse().with_context(|| format!("sample value {value:?}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_each_result_type() {
        let streams = r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"b"},"values":[["2","y"],["1","x"]]}],"stats":{}}}"#;
        let answer = decode(streams).unwrap();
        assert!(answer.is_log);
        assert_eq!(answer.entries.iter().map(|e| e.line.as_str()).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(answer.newest_ns(), Some(2));
        let vector =
            r#"{"warnings":["w"],"data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"+Inf"]}]}}"#;
        let answer = decode(vector).unwrap();
        assert_eq!((answer.series[0].points[0].1, answer.warnings.len()), (f64::INFINITY, 1));
        let scalar = r#"{"data":{"resultType":"scalar","result":[1,"2"]}}"#;
        assert_eq!(decode(scalar).unwrap().series[0].points, [(1.0, 2.0)]);
        assert!(decode("<html>").is_err());
    }
}
