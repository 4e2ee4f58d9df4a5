//! The store on a real disk: `cargo bench -p logstack-engine --bench storage`.
//!
//! Lines are made up but shaped like those of a chat server and its proxy: a few dozen templates, ids, durations. All
//! figures are per byte of line, so they compare with the `MB/s` of other stores.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use logstack_engine::model::{Batch, BatchStream, Rows, TenantId, TimeRange};
use logstack_engine::storage::{Direction, ScanRequest, StorageOptions, Store, SyncMode};
use logstack_logql::Labels;
use logstack_logql::ast::{LineFilter, LineFilterOp, LineMatch};
use logstack_logql::line_filter::CompiledLineFilter;

const STREAMS: usize = 20;
const BATCHES: usize = 64;
const BATCH_ROWS: usize = 4000;
const START_NS: i64 = 1_795_305_600_000_000_000;

/// xorshift: the same lines in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn line(random: &mut Random, timestamp: i64) -> String {
    let (ms, user, id) = (random.next(4000), random.next(300), random.next(u64::MAX));
    let secs = timestamp / 1_000_000_000;
    match random.next(10) {
        0 => format!(
            "{secs} - synapse.storage.txn - 771 - DEBUG - sync-{ms} - [TXN OPERATION] {{get_room_{user}-{id:x}}}"
        ),
        1 => format!(
            "{secs} - synapse.http.server - 130 - ERROR - PUT-{ms} - Failed to handle request via PUT: {id:016x}"
        ),
        2..5 => format!(
            "{secs} - synapse.access.http.8008 - 515 - INFO - GET-{ms} - 10.2.{}.{} - 8008 - {{@user{user}:example.test}} \
             Processed request: {ms}.{user:03}sec/-0.000sec (0.0{ms}sec/0.001sec) {id}B 200 \"GET \
             /_matrix/client/v3/sync?since=s{id}_{ms} HTTP/1.1\" \"Element/1.11\" [0 dbevts]",
            user % 256,
            ms % 256
        ),
        _ => format!(
            "{{\"time\":{secs},\"remote\":\"10.0.{}.{}\",\"method\":\"GET\",\"status\":{},\"duration\":0.{ms},\
             \"upstream\":\"synapse-{}\",\"request_id\":\"{id:032x}\"}}",
            ms % 256,
            user % 256,
            if ms == 7 { 500 } else { 200 },
            user % 4
        ),
    }
}

fn batches(store: &Store) -> Vec<Batch> {
    let tenant = TenantId::new("bench");
    let streams: Vec<_> = (0..STREAMS)
        .map(|n| {
            store.stream(&tenant, &Labels::from_pairs([("app", format!("app-{}", n % 5)), ("pod", format!("pod-{n}"))]))
        })
        .collect();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut now_ns = START_NS;
    (0..BATCHES)
        .map(|_| {
            let mut batch = Batch { streams: Vec::new(), rows: Rows::default() };
            for stream in &streams {
                let start = batch.rows.len();
                for _ in 0..BATCH_ROWS / STREAMS {
                    now_ns += random.next(2_000_000) as i64;
                    batch.rows.push(now_ns, line(&mut random, now_ns).as_bytes(), 0);
                }
                batch.streams.push(BatchStream { stream: stream.clone(), rows: start..batch.rows.len() });
            }
            batch
        })
        .collect()
}

fn options() -> StorageOptions {
    StorageOptions { background_merges: false, ..StorageOptions::default() }
}

fn open(dir: &tempfile::TempDir, sync: SyncMode) -> Arc<Store> {
    Store::open(dir.path(), StorageOptions { sync, ..options() }).expect("a store in an empty folder")
}

fn copy(batches: &[Batch]) -> Vec<Batch> {
    let stream = |part: &BatchStream| BatchStream { stream: part.stream.clone(), rows: part.rows.clone() };
    batches.iter().map(|b| Batch { streams: b.streams.iter().map(stream).collect(), rows: b.rows.clone() }).collect()
}

fn append_all(store: &Store, batches: Vec<Batch>) {
    for batch in batches {
        futures::executor::block_on(store.append(batch)).expect("appended");
    }
}

fn writes(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let data = batches(&open(&dir, SyncMode::Always));
    let bytes: usize = data.iter().map(|batch| batch.rows.bytes.len()).sum();
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(10).measurement_time(Duration::from_secs(15));
    for (name, sync) in [("always", SyncMode::Always), ("interval", SyncMode::Interval(Duration::from_millis(200)))] {
        group.bench_function(format!("append, sync {name}, flush"), |bencher| {
            bencher.iter_batched(
                || (tempfile::tempdir().expect("a folder"), copy(&data)),
                |(dir, data)| {
                    let store = open(&dir, sync);
                    append_all(&store, data);
                    store.flush().expect("flushed");
                    (dir, store)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("merge to fresh", |bencher| {
        bencher.iter_batched(
            || {
                let dir = tempfile::tempdir().expect("a folder");
                let mut options = options();
                options.merge.quick_parts = 2;
                let store = Store::open(dir.path(), options).expect("a store in an empty folder");
                let mut data = copy(&data);
                let second = data.split_off(data.len() / 2);
                append_all(&store, data);
                store.flush().expect("flushed");
                append_all(&store, second);
                store.flush().expect("flushed");
                (dir, store)
            },
            |(dir, store)| {
                store.merge().expect("merged");
                (dir, store)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn contains(needle: &str) -> Vec<Arc<CompiledLineFilter>> {
    let filter = LineFilter { op: LineFilterOp::Contains, items: vec![LineMatch::Text(needle.to_owned())] };
    vec![Arc::new(CompiledLineFilter::new(&filter).expect("a plain filter"))]
}

/// Rows that a request finds.
fn scan(store: &Store, request: &ScanRequest, limit: usize) -> usize {
    let mut units = store.snapshot(&TenantId::new("bench")).plan(request).expect("planned");
    units.sort_by_key(|unit| std::cmp::Reverse(unit.time.last_ns));
    let mut rows = Rows::default();
    let mut found = 0;
    for unit in units {
        let mut scan = unit.open(request, Direction::Backward).expect("opened");
        while found < limit && scan.next(&mut rows).expect("read") {
            found += rows.len();
        }
    }
    found
}

fn reads(criterion: &mut Criterion) {
    for merged in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options();
        options.merge.quick_parts = 1;
        let store = Store::open(dir.path(), options).expect("a store in an empty folder");
        let data = batches(&store);
        let bytes: usize = data.iter().map(|batch| batch.rows.bytes.len()).sum();
        append_all(&store, data);
        store.flush().expect("flushed");
        if merged {
            store.merge().expect("merged");
        }
        let mut group = criterion.benchmark_group(if merged { "read fresh" } else { "read quick" });
        group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20).measurement_time(Duration::from_secs(5));
        let all = ScanRequest::default();
        group.bench_function("scan all", |b| b.iter(|| black_box(scan(&store, &all, usize::MAX))));
        group.bench_function("newest 100", |b| b.iter(|| black_box(scan(&store, &all, 100))));
        for (name, needle) in [("often", "INFO"), ("rare", "ERROR"), ("absent", "no such word")] {
            let request = ScanRequest { filters: contains(needle), ..ScanRequest::default() };
            group.bench_function(format!("filter, {name}"), |b| {
                b.iter(|| black_box(scan(&store, &request, usize::MAX)))
            });
        }
        let times = ScanRequest { need_lines: false, need_metadata: false, ..ScanRequest::default() };
        group.bench_function("timestamps", |b| b.iter(|| black_box(scan(&store, &times, usize::MAX))));
        group.bench_function("count", |b| {
            b.iter(|| {
                let units = store.snapshot(&TenantId::new("bench")).plan(&times).expect("planned");
                let counts = units.iter().map(|unit| unit.counts(TimeRange::ALL).map_or(unit.rows, |c| c.rows));
                black_box(counts.sum::<u64>())
            });
        });
        group.bench_function("label values", |b| {
            let snapshot = store.snapshot(&TenantId::new("bench"));
            b.iter(|| black_box(snapshot.label_values("pod", &[], TimeRange::ALL).expect("answered")));
        });
        group.finish();
    }
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
