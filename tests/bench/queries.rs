//! The query set: what people ask of a Matrix deployment, and the worst cases.

use std::time::Instant;

use anyhow::Result;

use crate::amplify::{NEEDLE, Plan};
use crate::process::Server;

/// How a query is asked.
#[derive(Clone, Copy)]
enum Kind {
    Logs,
    Range,
    Instant,
    Path(&'static str),
}

/// `RANGE` stands for the whole span of the data.
const QUERIES: &[(&str, Kind, &str)] = &[
    ("newest 100 of a namespace", Kind::Logs, r#"{namespace="matrix"}"#),
    ("|= ERROR, newest 100", Kind::Logs, r#"{namespace=~".+"} |= "ERROR""#),
    ("|= rare word, all time", Kind::Logs, r#"{namespace=~".+"} |= "deadlock""#),
    ("|= needle (uuid), all time", Kind::Logs, r#"{namespace=~".+"} |= "NEEDLE""#),
    ("|= absent needle, all time", Kind::Logs, r#"{namespace=~".+"} |= "zqxjkvwpabsent""#),
    ("|= \" 500 \", newest 100", Kind::Logs, r#"{namespace=~".+"} |= " 500 ""#),
    ("|~ (?i)(error|fatal|critical)", Kind::Logs, r#"{namespace=~".+"} |~ "(?i)(error|fatal|critical)""#),
    (
        "|~ without literals, counted",
        Kind::Instant,
        r#"sum(count_over_time({namespace=~".+"} |~ "[0-9]{3}[a-z]{2}[0-9]{3}" [RANGE]))"#,
    ),
    ("json | status >= 500", Kind::Logs, r#"{namespace="ingress-nginx"} | json | status >= 500"#),
    (
        "regexp duration > limit",
        Kind::Logs,
        r#"{namespace="matrix"} |= "duration:" | regexp `duration: (?P<duration>\d+\.\d+) ms` | duration > 1000"#,
    ),
    ("sum(rate(|= ERROR [1m])) all", Kind::Range, r#"sum(rate({namespace=~".+"} |= "ERROR" [1m]))"#),
    (
        "sum(count_over_time(|~ (?i)error [5m]))",
        Kind::Range,
        r#"sum(count_over_time({namespace=~".+"} |~ "(?i)error" [5m]))"#,
    ),
    ("sum by (app)(rate([5m]))", Kind::Range, r#"sum by (app_kubernetes_io_name) (rate({namespace=~".+"}[5m]))"#),
    (
        "sum by (level)(count_over_time([1m]))",
        Kind::Range,
        r#"sum by (detected_level) (count_over_time({namespace="matrix"}[1m]))"#,
    ),
    (
        "sum by (app)(count_over_time(all))",
        Kind::Instant,
        r#"sum by (app_kubernetes_io_name) (count_over_time({namespace=~".+"}[RANGE]))"#,
    ),
    (
        "topk(10, sum by (pod)(count |= ERROR))",
        Kind::Instant,
        r#"topk(10, sum by (pod) (count_over_time({namespace=~".+"} |= "ERROR" [RANGE])))"#,
    ),
    (
        "sum by (status)(json rate [5m])",
        Kind::Range,
        r#"sum by (status) (count_over_time({namespace="ingress-nginx"} | json | __error__="" [5m]))"#,
    ),
    (
        "bytes_over_time by app",
        Kind::Instant,
        r#"sum by (app_kubernetes_io_name) (bytes_over_time({namespace=~".+"}[RANGE]))"#,
    ),
    ("label names", Kind::Path("/loki/api/v1/labels"), ""),
    ("label values (pod)", Kind::Path("/loki/api/v1/label/pod/values"), ""),
    ("series", Kind::Path("/loki/api/v1/series"), ""),
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
    let client = reqwest::Client::new();
    let mut timings = Vec::new();
    for &(name, kind, logql) in QUERIES.iter().filter(|(name, ..)| name.contains(only)) {
        let range_s = (plan.last_ns - plan.first_ns) / 1_000_000_000 + 1;
        let logql = logql.replace("NEEDLE", NEEDLE).replace("RANGE", &format!("{range_s}s"));
        let (start, end) = (plan.first_ns.to_string(), (plan.last_ns + 1).to_string());
        let (path, params): (&str, Vec<(&str, &str)>) = match kind {
            Kind::Logs => (
                "/loki/api/v1/query_range",
                vec![("query", &logql), ("start", &start), ("end", &end), ("limit", "100")],
            ),
            Kind::Range => {
                ("/loki/api/v1/query_range", vec![("query", &logql), ("start", &start), ("end", &end), ("step", "60")])
            }
            Kind::Instant => ("/loki/api/v1/query", vec![("query", &logql), ("time", &end)]),
            Kind::Path(path) => (path, vec![("start", &start), ("end", &end)]),
        };
        let mut times_ms = Vec::new();
        let mut answer = String::new();
        let mut cpu_before = None;
        for run in 0..runs.max(2) {
            if run == 1 {
                cpu_before = server.cpu_s();
            }
            let began = Instant::now();
            let response = client.get(format!("{}{path}", server.url)).query(&params).send().await?;
            let status = response.status();
            let body = response.text().await?;
            times_ms.push(began.elapsed().as_secs_f64() * 1e3);
            answer = if status.is_success() { summary(&body) } else { format!("{status} {body}") };
        }
        let warm = &mut times_ms[1..];
        warm.sort_by(f64::total_cmp);
        let warm_ms = warm[warm.len() / 2];
        let cpu_ms = server.cpu_s().zip(cpu_before).map(|(after, before)| (after - before) * 1e3 / warm.len() as f64);
        timings.push(Timing { name, first_ms: times_ms[0], warm_ms, cpu_ms, answer });
    }
    Ok(timings)
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
