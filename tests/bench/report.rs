//! The figures as tables for people and as JSON for a baseline file.
#![allow(clippy::print_stdout, reason = "the tables are the output")]

use crate::load::Ingest;
use crate::process::{Server, Settled};
use crate::queries::Timing;

const GB: f64 = 1e9;

/// Speed and cost of pushing.
pub fn print_ingest(ingest: &Ingest) {
    println!(
        "pushed            {:.3} GB raw, {} lines, {:.3} GB on the wire",
        ingest.raw_bytes as f64 / GB,
        ingest.lines,
        ingest.wire_bytes as f64 / GB
    );
    println!(
        "speed             {:.1} MB/s, {:.0} lines/s, {} retries",
        megabytes_a_second(ingest),
        ingest.lines as f64 / ingest.seconds,
        ingest.retries
    );
    println!("push p50 / p99    {:.1} / {:.1} ms", quantile(&ingest.push_ms, 0.5), quantile(&ingest.push_ms, 0.99));
    println!("CPU s per raw GB  {}", figure(per_gb(ingest.cpu_s, ingest)));
}

/// What is left to do after the last push, and what it leaves on disk.
pub fn print_settled(ingest: &Ingest, settled: &Settled) {
    println!("settling          {:.1} s, {} CPU s per raw GB", settled.seconds, figure(per_gb(settled.cpu_s, ingest)));
    let ratio = settled.disk_bytes.map(|bytes| ingest.raw_bytes as f64 / bytes as f64);
    println!(
        "disk              {} MB, raw : disk {}",
        figure(settled.disk_bytes.map(|b| b as f64 / 1e6)),
        figure(ratio)
    );
}

/// A row a query.
pub fn print_queries(timings: &[Timing]) {
    println!("\n{:<42} {:>9} {:>9} {:>9}  answer", "query", "first ms", "warm ms", "CPU ms");
    for t in timings {
        println!("{:<42} {:>9.1} {:>9.1} {:>9}  {}", t.name, t.first_ms, t.warm_ms, figure(t.cpu_ms), t.answer);
    }
}

/// Memory of the server now and at its peak.
pub fn print_memory(server: &Server) {
    println!("\nRSS now / peak    {} / {} MB", figure(server.memory_mb("VmRSS")), figure(server.memory_mb("VmHWM")));
}

/// Everything, for a baseline file.
pub fn json(ingest: &Ingest, settled: &Settled, timings: &[Timing], server: &Server) -> String {
    let queries: Vec<serde_json::Value> = timings
        .iter()
        .map(|t| serde_json::json!({"query": t.name, "first_ms": t.first_ms, "warm_ms": t.warm_ms, "cpu_ms": t.cpu_ms, "answer": t.answer}))
        .collect();
    let report = serde_json::json!({
        "raw_bytes": ingest.raw_bytes,
        "lines": ingest.lines,
        "wire_bytes": ingest.wire_bytes,
        "ingest_mb_per_s": megabytes_a_second(ingest),
        "ingest_cpu_s_per_gb": per_gb(ingest.cpu_s, ingest),
        "settle_cpu_s_per_gb": per_gb(settled.cpu_s, ingest),
        "settle_s": settled.seconds,
        "push_p50_ms": quantile(&ingest.push_ms, 0.5),
        "push_p99_ms": quantile(&ingest.push_ms, 0.99),
        "disk_bytes": settled.disk_bytes,
        "rss_mb": server.memory_mb("VmRSS"),
        "rss_peak_mb": server.memory_mb("VmHWM"),
        "queries": queries,
    });
    format!("{report:#}\n")
}

fn megabytes_a_second(ingest: &Ingest) -> f64 {
    ingest.raw_bytes as f64 / 1e6 / ingest.seconds
}

fn per_gb(cpu_s: Option<f64>, ingest: &Ingest) -> Option<f64> {
    Some(cpu_s? / ingest.raw_bytes as f64 * GB)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q) as usize).copied().unwrap_or(0.0)
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}
