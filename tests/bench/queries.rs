//! The query set: what people ask of a Matrix deployment, and the worst cases.

use std::ops::Range;
use std::time::Instant;

use anyhow::Result;

use crate::amplify::{NEEDLE, Plan};
use crate::process::Server;

/// A query.
pub struct Question {
    /// What it is called in the tables.
    pub name: &'static str,
    /// How it is asked.
    pub kind: Kind,
    /// `RANGE` stands for the whole span that is asked about, `NEEDLE` for the planted text.
    pub logql: &'static str,
}

/// How a query is asked.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The newest 100 lines.
    Logs,
    /// A point a minute.
    Range,
    /// A point at the end.
    Instant,
    /// No LogQL.
    Path(&'static str),
}

const QUERIES: &[Question] = &[
    Question { name: "newest 100 of a namespace", kind: Kind::Logs, logql: r#"{namespace="matrix"}"# },
    Question { name: "|= ERROR, newest 100", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "ERROR""# },
    Question { name: "|= rare word, all time", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "deadlock""# },
    Question { name: "|= needle (uuid), all time", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "NEEDLE""# },
    Question {
        name: "|= absent needle, all time",
        kind: Kind::Logs,
        logql: r#"{namespace=~".+"} |= "zqxjkvwpabsent""#,
    },
    Question { name: "|= \" 500 \", newest 100", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= " 500 ""# },
    Question {
        name: "|~ (?i)(error|fatal|critical)",
        kind: Kind::Logs,
        logql: r#"{namespace=~".+"} |~ "(?i)(error|fatal|critical)""#,
    },
    Question {
        name: "|~ without literals, counted",
        kind: Kind::Instant,
        logql: r#"sum(count_over_time({namespace=~".+"} |~ "[0-9]{3}[a-z]{2}[0-9]{3}" [RANGE]))"#,
    },
    Question {
        name: "json | status >= 500",
        kind: Kind::Logs,
        logql: r#"{namespace="ingress-nginx"} | json | status >= 500"#,
    },
    Question {
        name: "regexp duration > limit",
        kind: Kind::Logs,
        logql: r#"{namespace="matrix"} |= "duration:" | regexp `duration: (?P<duration>\d+\.\d+) ms` | duration > 1000"#,
    },
    Question {
        name: "sum(rate(|= ERROR [1m])) all",
        kind: Kind::Range,
        logql: r#"sum(rate({namespace=~".+"} |= "ERROR" [1m]))"#,
    },
    Question {
        name: "sum(count_over_time(|~ (?i)error [5m]))",
        kind: Kind::Range,
        logql: r#"sum(count_over_time({namespace=~".+"} |~ "(?i)error" [5m]))"#,
    },
    Question {
        name: "sum by (app)(rate([5m]))",
        kind: Kind::Range,
        logql: r#"sum by (app_kubernetes_io_name) (rate({namespace=~".+"}[5m]))"#,
    },
    Question {
        name: "sum by (level)(count_over_time([1m]))",
        kind: Kind::Range,
        logql: r#"sum by (detected_level) (count_over_time({namespace="matrix"}[1m]))"#,
    },
    Question {
        name: "sum by (app)(count_over_time(all))",
        kind: Kind::Instant,
        logql: r#"sum by (app_kubernetes_io_name) (count_over_time({namespace=~".+"}[RANGE]))"#,
    },
    Question {
        name: "topk(10, sum by (pod)(count |= ERROR))",
        kind: Kind::Instant,
        logql: r#"topk(10, sum by (pod) (count_over_time({namespace=~".+"} |= "ERROR" [RANGE])))"#,
    },
    Question {
        name: "sum by (status)(json rate [5m])",
        kind: Kind::Range,
        logql: r#"sum by (status) (count_over_time({namespace="ingress-nginx"} | json | __error__="" [5m]))"#,
    },
    Question {
        name: "bytes_over_time by app",
        kind: Kind::Instant,
        logql: r#"sum by (app_kubernetes_io_name) (bytes_over_time({namespace=~".+"}[RANGE]))"#,
    },
    Question { name: "label names", kind: Kind::Path("/loki/api/v1/labels"), logql: "" },
    Question { name: "label values (pod)", kind: Kind::Path("/loki/api/v1/label/pod/values"), logql: "" },
    Question { name: "series", kind: Kind::Path("/loki/api/v1/series"), logql: "" },
];

/// Figures of one query.
pub struct Timing {
    /// What it is called in the table.
    pub name: &'static str,
    /// Milliseconds of the first run.
    pub first_ms: f64,
    /// Median milliseconds of the others.
    pub warm_ms: f64,
    /// CPU milliseconds a warm run.
    pub cpu_ms: Option<f64>,
    /// What came back: lines, or series and the sum of their samples; or the error.
    pub answer: String,
}

/// Asks every query `runs` times.
pub async fn run(server: &Server, plan: &Plan, runs: usize, only: &str) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    for question in QUERIES.iter().filter(|question| question.name.contains(only)) {
        timings.push(time(server, question, plan.first_ns..plan.last_ns + 1, runs).await?);
    }
    Ok(timings)
}

/// Asks one query `runs` times over a range of time, ns.
pub async fn time(server: &Server, question: &Question, range: Range<i64>, runs: usize) -> Result<Timing> {
    let client = reqwest::Client::new();
    let mut times_ms = Vec::new();
    let mut answer = String::new();
    let mut cpu_before = None;
    for run in 0..runs.max(2) {
        if run == 1 {
            cpu_before = server.cpu_s();
        }
        let began = Instant::now();
        let body = ask(&client, server, question, range.clone()).await?;
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        answer = body.map_or_else(|err| err, |body| summary(&body));
    }
    let warm = &mut times_ms[1..];
    warm.sort_by(f64::total_cmp);
    let warm_ms = warm[warm.len() / 2];
    let cpu_ms = server.cpu_s().zip(cpu_before).map(|(after, before)| (after - before) * 1e3 / warm.len() as f64);
    Ok(Timing { name: question.name, first_ms: times_ms[0], warm_ms, cpu_ms, answer })
}

/// Asks once. The body, or what was answered instead.
pub async fn ask(
    client: &reqwest::Client,
    server: &Server,
    question: &Question,
    range: Range<i64>,
) -> Result<Result<String, String>> {
    let range_s = (range.end - range.start) / 1_000_000_000 + 1;
    let logql = question.logql.replace("NEEDLE", NEEDLE).replace("RANGE", &format!("{range_s}s"));
    let (start, end) = (range.start.to_string(), range.end.to_string());
    let (path, params): (&str, Vec<(&str, &str)>) = match question.kind {
        Kind::Logs => {
            ("/loki/api/v1/query_range", vec![("query", &logql), ("start", &start), ("end", &end), ("limit", "100")])
        }
        Kind::Range => {
            ("/loki/api/v1/query_range", vec![("query", &logql), ("start", &start), ("end", &end), ("step", "60")])
        }
        Kind::Instant => ("/loki/api/v1/query", vec![("query", &logql), ("time", &end)]),
        Kind::Path(path) => (path, vec![("start", &start), ("end", &end)]),
    };
    let response = client.get(format!("{}{path}", server.url)).query(&params).send().await?;
    let status = response.status();
    let body = response.text().await?;
    Ok(if status.is_success() { Ok(body) } else { Err(format!("{status} {body}")) })
}

/// A figure by which two servers' answers can be held against each other.
fn summary(body: &str) -> String {
    let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else { return "not JSON".to_owned() };
    let data = &body["data"];
    let Some(result) = data["result"].as_array() else {
        return format!("{} items", data.as_array().map_or(0, Vec::len));
    };
    if data["resultType"] == "streams" {
        let lines: usize = result.iter().map(|stream| stream["values"].as_array().map_or(0, Vec::len)).sum();
        return format!("{lines} lines");
    }
    let samples = result.iter().flat_map(|series| match series.get("values") {
        Some(values) => values.as_array().cloned().unwrap_or_default(),
        None => vec![series["value"].clone()],
    });
    let sum: f64 = samples.filter_map(|sample| sample[1].as_str()?.parse::<f64>().ok()).sum();
    format!("{} series, sum {sum:.1}", result.len())
}
