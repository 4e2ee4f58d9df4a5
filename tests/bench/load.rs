//! Pushes the corpus as shippers do: snappy-compressed protobuf, about a megabyte a request, several in flight.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;

use crate::amplify::{NEEDLE, Plan, rewrite};
use crate::corpus::Corpus;
use crate::process::Server;

/// Encoded requests that wait for a connection: the encoder must never be what is measured.
const QUEUE: usize = 16;

/// What pushing cost.
pub struct Ingest {
    /// Bytes of lines.
    pub raw_bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Bytes of request bodies.
    pub wire_bytes: u64,
    /// Seconds in which at least one request was under way.
    pub seconds: f64,
    /// CPU seconds of the server.
    pub cpu_s: Option<f64>,
    /// Requests answered 429 or 5xx and sent again.
    pub retries: u64,
    /// Milliseconds a request, sorted.
    pub push_ms: Vec<f64>,
}

/// A request, encoded.
pub struct Body {
    /// Snappy-compressed protobuf.
    pub bytes: Vec<u8>,
    /// Bytes of its lines.
    pub raw_bytes: u64,
    lines: u64,
}

/// How requests are cut, and how many are under way.
#[derive(Debug, Clone, Copy)]
pub struct Shipping {
    /// Raw bytes of lines a request.
    pub batch_bytes: usize,
    /// Requests in flight.
    pub connections: usize,
}

/// Pushes some repetitions of the corpus; an error if a request is refused for good.
pub async fn push(
    server: &Server,
    corpus: &Corpus,
    plan: &Plan,
    repetitions: Range<u64>,
    shipping: Shipping,
) -> Result<Ingest> {
    let (sender, receiver) = mpsc::channel::<Body>(QUEUE);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let url = format!("{}/loki/api/v1/push", server.url);
    let cpu_before = server.cpu_s();
    let retries = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for _ in 0..shipping.connections {
        let (receiver, url, retries) = (receiver.clone(), url.clone(), retries.clone());
        workers.push(tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut times = Vec::new();
            loop {
                let Some(body) = receiver.lock().await.recv().await else { return Ok::<_, anyhow::Error>(times) };
                let began = Instant::now();
                send(&client, &url, body.bytes, &retries).await?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }));
    }
    let began = Instant::now();
    let mut totals =
        Ingest { raw_bytes: 0, lines: 0, wire_bytes: 0, seconds: 0.0, cpu_s: None, retries: 0, push_ms: Vec::new() };
    let encoding = async {
        let mut encoder = Encoder::default();
        let mut line_idx = plan.lines_before(repetitions.start);
        let mut line = Vec::new();
        for repetition in repetitions {
            let shift_s = plan.shift_s(repetition);
            for record in &corpus.records {
                rewrite(&record.line, repetition, shift_s, &mut line);
                if plan.is_planted(line_idx) {
                    line.extend_from_slice(format!(" planted {NEEDLE}").as_bytes());
                }
                line_idx += 1;
                encoder.add(record.stream, record.timestamp_ns + shift_s * 1_000_000_000, &line);
                if encoder.raw_bytes >= shipping.batch_bytes {
                    let body = encoder.finish(corpus)?;
                    totals.add(&body);
                    // A closed channel means that every worker failed; their error is reported below.
                    if sender.send(body).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        if encoder.raw_bytes > 0 {
            let body = encoder.finish(corpus)?;
            totals.add(&body);
            let _ = sender.send(body).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    encoding.await?;
    drop(sender);
    for worker in workers {
        totals.push_ms.extend(worker.await??);
    }
    totals.seconds = began.elapsed().as_secs_f64();
    totals.cpu_s = server.cpu_s().zip(cpu_before).map(|(after, before)| after - before);
    totals.retries = retries.load(Ordering::Relaxed);
    totals.push_ms.sort_by(f64::total_cmp);
    Ok(totals)
}

impl Ingest {
    fn add(&mut self, body: &Body) {
        self.raw_bytes += body.raw_bytes;
        self.lines += body.lines;
        self.wire_bytes += body.bytes.len() as u64;
    }
}

/// Sends a request until it is taken; counts what was answered 429 or 5xx.
pub async fn send(client: &reqwest::Client, url: &str, body: Vec<u8>, retries: &AtomicU64) -> Result<()> {
    for attempt in 0..30u32 {
        let request = client.post(url).header("Content-Type", "application/x-protobuf").body(body.clone());
        let response = request.send().await.with_context(|| format!("push to {url}"))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if status.as_u16() != 429 && !status.is_server_error() {
            bail!("push refused: {status} {}", response.text().await?);
        }
        retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20 << attempt.min(6))).await;
    }
    bail!("push still refused after 30 attempts")
}

/// Entries of one request, by stream.
#[derive(Default)]
pub struct Encoder {
    streams: BTreeMap<usize, Vec<u8>>,
    /// Bytes of the lines so far.
    pub raw_bytes: usize,
    lines: u64,
}

impl Encoder {
    /// Adds an entry.
    pub fn add(&mut self, stream: usize, timestamp_ns: i64, line: &[u8]) {
        let mut time = vec![0x08];
        varint((timestamp_ns / 1_000_000_000) as u64, &mut time);
        time.push(0x10);
        varint((timestamp_ns % 1_000_000_000) as u64, &mut time);
        let mut entry = Vec::with_capacity(line.len() + 32);
        field(0x0a, &time, &mut entry);
        field(0x12, line, &mut entry);
        field(0x12, &entry, self.streams.entry(stream).or_default());
        self.raw_bytes += line.len();
        self.lines += 1;
    }

    /// The request of what was added since the last one.
    pub fn finish(&mut self, corpus: &Corpus) -> Result<Body> {
        let mut request = Vec::new();
        for (stream, entries) in std::mem::take(&mut self.streams) {
            let mut message = Vec::with_capacity(entries.len() + 256);
            field(0x0a, corpus.streams[stream].as_bytes(), &mut message);
            message.extend_from_slice(&entries);
            field(0x0a, &message, &mut request);
        }
        let bytes = snap::raw::Encoder::new().compress_vec(&request)?;
        let body = Body { bytes, raw_bytes: self.raw_bytes as u64, lines: self.lines };
        self.raw_bytes = 0;
        self.lines = 0;
        Ok(body)
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
