//! What a query costs while older data grows: pushed in steps, the same questions after each.

use std::path::Path;

use anyhow::{Context, Result};

use crate::amplify::Plan;
use crate::corpus::Corpus;
use crate::load::{self, Shipping};
use crate::plot::{self, Panel};
use crate::process::Server;
use crate::queries::{self, Kind, Question};

const HOUR_NS: i64 = 3_600_000_000_000;
/// How often each question is asked after a step.
const RUNS: usize = 21;

/// Asked about the newest hour.
const OF_THE_HOUR: &[Question] = &[
    Question { name: "newest 100 of a namespace", kind: Kind::Logs, logql: r#"{namespace="matrix"}"# },
    Question { name: "uuid in the hour", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "NEEDLE""# },
    Question {
        name: "rate of ERROR in the hour",
        kind: Kind::Range,
        logql: r#"sum(rate({namespace=~".+"} |= "ERROR" [1m]))"#,
    },
];

/// Asked about everything.
const OF_EVERYTHING: &[Question] = &[
    Question { name: "newest 100, no limit of time", kind: Kind::Logs, logql: r#"{namespace="matrix"}"# },
    Question { name: "uuid in everything", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "NEEDLE""# },
    Question { name: "absent word in everything", kind: Kind::Logs, logql: r#"{namespace=~".+"} |= "zqxjkvwpabsent""# },
];

/// Pushes up to each of `gigabytes`, ascending, and asks. Prints a table and draws the curves to `svg`.
#[allow(clippy::print_stdout, reason = "the table is the output")]
pub async fn run(server: &Server, corpus: &Corpus, gigabytes: &[f64], shipping: Shipping, svg: &Path) -> Result<()> {
    let bytes = |gigabytes: f64| (gigabytes * 1e9) as u64;
    let plan = Plan::new(corpus, bytes(*gigabytes.last().context("--gigabytes is empty")?));
    let mut latencies: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    let (mut pushing, mut merging, mut disk, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut done = 0;
    let mut raw_bytes = 0;
    for &step in gigabytes {
        let end = bytes(step).div_ceil(corpus.raw_bytes).clamp(done + 1, plan.repetitions);
        let ingest = load::push(server, corpus, &plan, done..end, shipping).await?;
        let settled = server.settle().await.context("the server did not settle")?;
        done = end;
        raw_bytes += ingest.raw_bytes;
        let gigabytes = raw_bytes as f64 / 1e9;
        let per_gb = |cpu_s: Option<f64>| cpu_s.unwrap_or(f64::NAN) * 1e9 / ingest.raw_bytes as f64;
        pushing.push((gigabytes, per_gb(ingest.cpu_s)));
        merging.push((gigabytes, per_gb(settled.cpu_s)));
        disk.push((gigabytes, raw_bytes as f64 / settled.disk_bytes.unwrap_or(0) as f64));
        memory.push((gigabytes, server.memory_mb("VmHWM").unwrap_or(f64::NAN)));
        println!(
            "\n{gigabytes:.1} GB raw: {:.1} MB/s, CPU s a GB {:.1} pushing and {:.1} after, raw : disk {:.1}, RSS peak {:.0} MB",
            ingest.raw_bytes as f64 / 1e6 / ingest.seconds,
            pushing[pushing.len() - 1].1,
            merging[merging.len() - 1].1,
            disk[disk.len() - 1].1,
            memory[memory.len() - 1].1,
        );
        let last_ns = plan.end_ns(done - 1) + 1;
        let hour = OF_THE_HOUR.iter().map(|question| (question, last_ns - HOUR_NS..last_ns));
        let all = OF_EVERYTHING.iter().map(|question| (question, plan.first_ns..last_ns));
        for (idx, (question, range)) in hour.chain(all).enumerate() {
            let timing = queries::time(server, question, range, RUNS).await?;
            println!(
                "  {:<32} warm {:>7.1} ms, CPU {:>7.1} ms  {}",
                timing.name,
                timing.warm_ms,
                timing.cpu_ms.unwrap_or(f64::NAN),
                timing.answer
            );
            if latencies.len() == idx {
                latencies.push((timing.name.to_owned(), Vec::new()));
            }
            latencies[idx].1.push((gigabytes, timing.warm_ms));
        }
    }
    let everything = latencies.split_off(OF_THE_HOUR.len());
    let panels = [
        Panel { title: "the newest hour: warm latency, ms".to_owned(), curves: latencies },
        Panel { title: "all of it: warm latency, ms".to_owned(), curves: everything },
        Panel {
            title: "CPU seconds a GB of this step".to_owned(),
            curves: vec![("until acknowledged".to_owned(), pushing), ("merges afterwards".to_owned(), merging)],
        },
        Panel { title: "raw : disk".to_owned(), curves: vec![("everything so far".to_owned(), disk)] },
        Panel { title: "peak of resident memory, MB".to_owned(), curves: vec![("since the start".to_owned(), memory)] },
    ];
    plot::write(svg, "GB of raw lines stored", &panels)
}
