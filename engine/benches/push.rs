//! Speed of what runs for every line that comes in: decoding, and finding its level.
//!
//! Throughput is in bytes of the uncompressed body, or of lines.

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use logstack_config::Limits;
use logstack_engine::ingest::budget::{Budget, Share};
use logstack_engine::ingest::decode::encoding::{Encoding, unpack_snappy};
use logstack_engine::ingest::decode::{push_json, push_proto};
use logstack_engine::ingest::level::{Level, LevelNames};

const LINES: usize = 10_000;
const BODY_BYTES_MAX: usize = 64 << 20;

/// Lines of the kinds that clusters produce.
fn line(kind: &str, n: usize) -> String {
    let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match kind {
        "synapse" => format!(
            "2026-01-15 10:00:{:02},{:03} - synapse.access.http.8008 - {} - INFO - GET-{n} - 10.42.0.{} - 8008 - {{@user{}:example.org}} Processed request: 0.004sec/-0.000sec (0.001sec, 0.000sec) 200 \"GET /_matrix/client/r0/sync?since=s{id} HTTP/1.1\"",
            n % 60,
            n % 1000,
            400 + n % 99,
            n % 255,
            n % 500
        ),
        "access" => format!(
            "10.42.0.{} - - [15/Jan/2026:10:00:{:02} +0000] \"GET /api/v1/items/{id}?page={} HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36\"",
            n % 255,
            n % 60,
            n % 9,
            n % 10_000
        ),
        "logfmt" => format!(
            "ts=2026-01-15T10:00:{:02}.123456Z caller=metrics.go:159 component=frontend org_id=fake traceID={id:016x} latency=fast query=\"{{app=\\\"web\\\"}}\" level=info duration={}ms status=200",
            n % 60,
            n % 500
        ),
        "json" => format!(
            "{{\"time\":\"2026-01-15T10:00:{:02}Z\",\"remote_addr\":\"10.42.0.{}\",\"request_id\":\"{id:032x}\",\"method\":\"GET\",\"path\":\"/items/{n}\",\"status\":200,\"bytes\":{},\"user_agent\":\"curl/8.5.0\",\"upstream\":{{\"addr\":\"10.0.0.1:80\",\"time\":0.004}}}}",
            n % 60,
            n % 255,
            n % 10_000
        ),
        _ => unreachable!("kinds are listed below"),
    }
}

const KINDS: [&str; 4] = ["synapse", "access", "logfmt", "json"];

fn lines() -> Vec<String> {
    (0..LINES).map(|n| line(KINDS[n % KINDS.len()], n)).collect()
}

fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    let mut len = content.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(content);
}

fn proto_body() -> Vec<u8> {
    let mut body = Vec::new();
    for (idx, lines) in lines().chunks(100).enumerate() {
        let mut stream = Vec::new();
        field(1, format!("{{app=\"web\", pod=\"web-{idx}\"}}").as_bytes(), &mut stream);
        for line in lines {
            let mut entry = Vec::new();
            // 1795359751 s and 124106393 ns.
            field(1, &[0x08, 0x87, 0xd0, 0x8b, 0xd8, 0x06, 0x10, 0x99, 0xe5, 0x96, 0x3b], &mut entry);
            field(2, line.as_bytes(), &mut entry);
            field(2, &entry, &mut stream);
        }
        field(1, &stream, &mut body);
    }
    body
}

fn json_body() -> Vec<u8> {
    let mut body = String::from("{\"streams\":[");
    for (idx, lines) in lines().chunks(100).enumerate() {
        let comma = if idx > 0 { "," } else { "" };
        body += &format!("{comma}{{\"stream\":{{\"app\":\"web\",\"pod\":\"web-{idx}\"}},\"values\":[");
        for (idx, line) in lines.iter().enumerate() {
            let comma = if idx > 0 { "," } else { "" };
            let line = line.replace('\\', "\\\\").replace('"', "\\\"");
            body += &format!("{comma}[\"179535975112410{:04}\",\"{line}\"]", idx);
        }
        body += "]}";
    }
    body += "]}";
    body.into_bytes()
}

fn share() -> Share {
    Budget::new(BODY_BYTES_MAX * 8).share()
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(20);

    let body = proto_body();
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("protobuf", |b| {
        b.iter_batched(|| body.clone(), |body| push_proto::decode(body, share()), BatchSize::LargeInput);
    });
    let packed = snap::raw::Encoder::new().compress_vec(&body).expect("fits");
    group.bench_function("protobuf in snappy", |b| {
        b.iter(|| {
            let mut share = share();
            let body = unpack_snappy(&packed, BODY_BYTES_MAX, &mut share).expect("was packed above");
            push_proto::decode(body, share)
        });
    });

    let body = json_body();
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("json", |b| {
        b.iter_batched(|| body.clone(), |body| push_json::decode(body, share()), BatchSize::LargeInput);
    });
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(&body).expect("a Vec takes everything");
    let packed = writer.finish().expect("a Vec takes everything");
    group.bench_function("json in gzip", |b| {
        b.iter(|| {
            let mut share = share();
            let body = Encoding::Gzip.unpack(packed.clone(), BODY_BYTES_MAX, &mut share).expect("was packed above");
            push_json::decode(body, share)
        });
    });
    group.finish();
}

fn levels(c: &mut Criterion) {
    let names = LevelNames::new(&Limits::default().log_level_fields);
    let mut group = c.benchmark_group("level");
    group.sample_size(20);
    for kind in KINDS {
        let lines: Vec<String> = (0..LINES).map(|n| line(kind, n)).collect();
        group.throughput(Throughput::Bytes(lines.iter().map(|line| line.len() as u64).sum()));
        group.bench_function(kind, |b| {
            b.iter(|| {
                for line in &lines {
                    black_box(Level::of_line(line.as_bytes(), &names, 2));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding, levels);
criterion_main!(benches);
