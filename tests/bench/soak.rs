//! A mixed load for a long time: steady pushes of present lines, people's queries beside them, and a limit of size that
//! is reached on the way, so that retention works too. Memory, disk and latency must stay flat.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;

use crate::amplify::rewrite;
use crate::corpus::Corpus;
use crate::load::{self, Encoder};
use crate::plot::{self, Panel};
use crate::process::Server;
use crate::queries::{self, Kind, Question};

/// Requests of this size: a shipper that is not in a hurry.
const BATCH_BYTES: usize = 250_000;
/// Between two queries of the one who asks.
const PAUSE: Duration = Duration::from_millis(400);
/// A point of the curves.
const SAMPLE: Duration = Duration::from_secs(10);
/// How far back is asked.
const BACK_NS: i64 = 900_000_000_000;

const QUESTIONS: &[Question] = &[
    Question { name: "newest 100 of a namespace", kind: Kind::Logs, logql: r#"{namespace="matrix"}"# },
    Question { name: "|= ERROR, newest 100", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "ERROR""# },
    Question { name: "|= absent word", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "zqxjkvwpabsent""# },
    Question { name: "rate of ERROR", kind: Kind::Range, logql: r#"sum(rate({namespace=~".+"} |= "ERROR" [1m]))"# },
    Question {
        name: "rate by app",
        kind: Kind::Range,
        logql: r#"sum by (app_kubernetes_io_name) (rate({namespace=~".+"}[1m]))"#,
    },
    Question { name: "json status", kind: Kind::Logs, logql: r#"{namespace="ingress-nginx"} | json | status >= 500"# },
    Question { name: "label values", kind: Kind::Path("/loki/api/v1/label/pod/values"), logql: "" },
];

/// What is asked of the server.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// How long.
    pub length: Duration,
    /// Raw bytes of lines a second.
    pub bytes_per_s: f64,
}

/// Latencies since the last sample, ms.
#[derive(Default)]
struct Recent {
    pushes: Vec<f64>,
    /// By question.
    queries: Vec<Vec<f64>>,
}

/// Runs the load, prints the first and the last third of each curve, and draws them to `svg`.
pub async fn run(server: Arc<Server>, corpus: Arc<Corpus>, soak: Soak, svg: &Path) -> Result<()> {
    let recent = Arc::new(Mutex::new(Recent { queries: vec![Vec::new(); QUESTIONS.len()], ..Recent::default() }));
    let is_over = Arc::new(AtomicBool::new(false));
    let retries = Arc::new(AtomicU64::new(0));
    let pusher = {
        let (server, recent, is_over, retries) = (server.clone(), recent.clone(), is_over.clone(), retries.clone());
        tokio::spawn(async move { push(&server, &corpus, soak.bytes_per_s, &recent, &retries, &is_over).await })
    };
    let asker = {
        let (server, recent, is_over) = (server.clone(), recent.clone(), is_over.clone());
        tokio::spawn(async move { ask(&server, &recent, &is_over).await })
    };
    let began = Instant::now();
    let mut curves = Curves::default();
    while began.elapsed() < soak.length && !pusher.is_finished() && !asker.is_finished() {
        tokio::time::sleep(SAMPLE.min(soak.length)).await;
        let taken = std::mem::replace(
            &mut *recent.lock(),
            Recent { queries: vec![Vec::new(); QUESTIONS.len()], ..Recent::default() },
        );
        curves.add(began.elapsed().as_secs_f64() / 60.0, &server, taken);
    }
    is_over.store(true, Ordering::Relaxed);
    let pushed_bytes = pusher.await??;
    let asked = asker.await??;
    curves.print(pushed_bytes, asked, retries.load(Ordering::Relaxed));
    plot::write(svg, "minutes", &curves.into_panels())
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

/// Pushes at a steady pace until it is over; bytes of lines in all.
async fn push(
    server: &Server,
    corpus: &Corpus,
    bytes_per_s: f64,
    recent: &Mutex<Recent>,
    retries: &AtomicU64,
    is_over: &AtomicBool,
) -> Result<u64> {
    let client = reqwest::Client::new();
    let url = format!("{}/loki/api/v1/push", server.url);
    let began = Instant::now();
    let (mut encoder, mut line, mut pushed) = (Encoder::default(), Vec::new(), 0_u64);
    for repetition in 0.. {
        for record in &corpus.records {
            // Times inside the lines stay where they were: what is measured has the time of the entry.
            rewrite(&record.line, repetition, 0, &mut line);
            encoder.add(record.stream, now_ns(), &line);
            if encoder.raw_bytes < BATCH_BYTES {
                continue;
            }
            let body = encoder.finish(corpus)?;
            pushed += body.raw_bytes;
            let sent = Instant::now();
            load::send(&client, &url, body.bytes, retries).await?;
            recent.lock().pushes.push(sent.elapsed().as_secs_f64() * 1e3);
            let due = Duration::from_secs_f64(pushed as f64 / bytes_per_s);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            if is_over.load(Ordering::Relaxed) {
                return Ok(pushed);
            }
        }
    }
    Ok(pushed)
}

/// Asks one question after the other until it is over; how many were asked. An error when one is not answered.
async fn ask(server: &Server, recent: &Mutex<Recent>, is_over: &AtomicBool) -> Result<u64> {
    let client = reqwest::Client::new();
    let mut asked = 0;
    for (idx, question) in QUESTIONS.iter().enumerate().cycle() {
        let now_ns = now_ns();
        let began = Instant::now();
        let answer = queries::ask(&client, server, question, now_ns - BACK_NS..now_ns).await?;
        ensure!(answer.is_ok(), "{}: {}", question.name, answer.err().context("an error")?);
        recent.lock().queries[idx].push(began.elapsed().as_secs_f64() * 1e3);
        asked += 1;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(asked)
}

type Curve = Vec<(f64, f64)>;

#[derive(Default)]
struct Curves {
    memory_mb: Curve,
    disk_mb: Curve,
    push_p50_ms: Curve,
    push_max_ms: Curve,
    /// By question, medians.
    queries_ms: Vec<Curve>,
}

impl Curves {
    fn add(&mut self, minutes: f64, server: &Server, mut recent: Recent) {
        self.memory_mb.push((minutes, server.memory_mb("VmRSS").unwrap_or(f64::NAN)));
        self.disk_mb.push((minutes, server.disk_bytes().map_or(f64::NAN, |bytes| bytes as f64 / 1e6)));
        recent.pushes.sort_by(f64::total_cmp);
        if let Some(&slowest) = recent.pushes.last() {
            self.push_p50_ms.push((minutes, recent.pushes[recent.pushes.len() / 2]));
            self.push_max_ms.push((minutes, slowest));
        }
        self.queries_ms.resize(QUESTIONS.len(), Vec::new());
        for (curve, times) in self.queries_ms.iter_mut().zip(&mut recent.queries) {
            times.sort_by(f64::total_cmp);
            if !times.is_empty() {
                curve.push((minutes, times[times.len() / 2]));
            }
        }
    }

    fn named(&self) -> Vec<(String, &Curve)> {
        let queries = QUESTIONS.iter().zip(&self.queries_ms);
        let own = [
            ("resident memory, MB", &self.memory_mb),
            ("disk, MB", &self.disk_mb),
            ("push, median ms", &self.push_p50_ms),
            ("push, slowest of 10 s, ms", &self.push_max_ms),
        ];
        let own = own.map(|(name, curve)| (name.to_owned(), curve));
        own.into_iter().chain(queries.map(|(question, curve)| (format!("{}, ms", question.name), curve))).collect()
    }

    #[allow(clippy::print_stdout, reason = "the table is the output")]
    fn print(&self, pushed_bytes: u64, asked: u64, retries: u64) {
        println!("pushed {:.2} GB raw, {retries} retries; asked {asked} queries", pushed_bytes as f64 / 1e9);
        println!("{:<34} {:>12} {:>12} {:>12} {:>10}", "median of", "first third", "second", "last", "peak");
        for (name, curve) in self.named() {
            let third = |idx: usize| {
                let mut values: Vec<f64> =
                    curve[curve.len() * idx / 3..curve.len() * (idx + 1) / 3].iter().map(|point| point.1).collect();
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
            };
            let peak = curve.iter().map(|point| point.1).fold(0.0, f64::max);
            println!("{name:<34} {:>12.1} {:>12.1} {:>12.1} {peak:>10.1}", third(0), third(1), third(2));
        }
    }

    fn into_panels(self) -> Vec<Panel> {
        let names = QUESTIONS.iter().map(|question| question.name.to_owned());
        let mut queries: Vec<(String, Curve)> = names.zip(self.queries_ms).collect();
        let metric = queries.split_off(3);
        let panel = |title: &str, curves| Panel { title: title.to_owned(), curves };
        vec![
            panel("resident memory, MB", vec![("engine".to_owned(), self.memory_mb)]),
            panel("disk, MB", vec![("data folder".to_owned(), self.disk_mb)]),
            panel(
                "push, ms",
                vec![("median".to_owned(), self.push_p50_ms), ("slowest of 10 s".to_owned(), self.push_max_ms)],
            ),
            panel("searches over 15 minutes, median ms", queries),
            panel("metric queries over 15 minutes, median ms", metric),
        ]
    }
}
