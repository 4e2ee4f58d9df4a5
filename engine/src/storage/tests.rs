//! The store as a whole, against a naive model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use logstack_logql::Labels;
use logstack_logql::ast::{LineFilter, LineFilterOp, LineMatch};
use logstack_logql::line_filter::CompiledLineFilter;
use memchr::memmem::find;
use proptest::prelude::*;

use super::disk::Disk;
use super::disk::simulated::{Fault, SimulatedDisk};
use super::merge::MergeLimits;
use super::options::BlockOptions;
use super::part::DAY_NS;
use super::retention::{Retention, SizeLimits, TenantRetention};
use super::testing::{BatchSpec, RowSpec, batch, batch_specs, matchers, row_of, stream};
use super::*;
use crate::clock::Clock;
use crate::model::{Rows, TenantId, TimeRange};

fn open(disk: &SimulatedDisk) -> Arc<Store> {
    open_with(disk, options()).unwrap()
}

fn options() -> StorageOptions {
    // Each flush makes a Quick part, however slow.
    StorageOptions { background_merges: false, quick_bytes_per_s: 0, ..StorageOptions::default() }
}

fn open_with(disk: &SimulatedDisk, options: StorageOptions) -> Result<Arc<Store>, Error> {
    let environment = Environment { disk: Arc::new(disk.clone()), ..Environment::default() };
    Store::open_in(environment, Path::new("/data"), options)
}

/// Runs an append to its end without an async runtime.
fn append(store: &Store, spec: &BatchSpec) -> Result<(), Error> {
    futures::executor::block_on(store.append(spec.build()))
}

type Found = BTreeMap<Labels, Vec<RowSpec>>;

/// Everything that `tenant` has, by stream, in the order of a forward scan.
fn scan_all(store: &Store, tenant: &str, request: &ScanRequest, direction: Direction) -> Found {
    try_scan_in(store, tenant, request, direction).unwrap()
}

fn try_scan(store: &Store, tenant: &str, request: &ScanRequest) -> Result<Found, Error> {
    try_scan_in(store, tenant, request, Direction::Forward)
}

fn try_scan_in(store: &Store, tenant: &str, request: &ScanRequest, direction: Direction) -> Result<Found, Error> {
    let mut found = Found::new();
    let snapshot = store.snapshot(&TenantId::new(tenant));
    let mut units = snapshot.plan(request)?;
    units.sort_by_key(|unit| unit.time.first_ns);
    let mut rows = Rows::default();
    for unit in units {
        let mut chunks = Vec::new();
        let mut scan = unit.open(request, direction)?;
        while scan.next(&mut rows)? {
            chunks.push((0..rows.len()).map(|row| row_of(&rows, row)).collect::<Vec<_>>());
        }
        if direction == Direction::Backward {
            chunks.reverse();
        }
        let all = chunks.concat();
        assert!(all.iter().all(|row| request.range.contains(row.timestamp) && unit.time.contains(row.timestamp)));
        assert!(all.len() as u64 <= unit.rows);
        if let Some(counts) = unit.count(request, || Ok::<(), Error>(()))? {
            let line_bytes = all.iter().map(|row| row.line.len() as u64).sum();
            let line_bytes = if request.need_lines { line_bytes } else { counts.line_bytes };
            assert_eq!(counts, UnitCounts { rows: all.len() as u64, line_bytes });
        }
        found.entry(unit.stream.labels.clone()).or_default().extend(all);
    }
    found.retain(|_, rows| !rows.is_empty());
    Ok(found)
}

/// What a scan must find: rows of a stream by time, equal ones once, in arrival order.
fn expected(specs: &[BatchSpec], tenant: &str, range: TimeRange) -> BTreeMap<Labels, Vec<RowSpec>> {
    let mut want: BTreeMap<Labels, Vec<RowSpec>> = BTreeMap::new();
    for (_, labels, rows) in specs.iter().flat_map(|spec| &spec.0).filter(|part| part.0 == tenant) {
        let rows = rows.iter().filter(|row| range.contains(row.timestamp));
        want.entry(labels.clone()).or_default().extend(rows.cloned());
    }
    for rows in want.values_mut() {
        let mut seen = BTreeSet::new();
        rows.retain(|row| seen.insert(row.clone()));
        rows.sort_by_key(|row| row.timestamp);
    }
    want.retain(|_, rows| !rows.is_empty());
    want
}

#[track_caller]
fn check_answers(store: &Store, specs: &[BatchSpec], range: TimeRange) {
    for tenant in ["fake", "other"] {
        let request = ScanRequest { range, ..ScanRequest::default() };
        let want = expected(specs, tenant, range);
        for direction in [Direction::Forward, Direction::Backward] {
            assert_eq!(scan_all(store, tenant, &request, direction), want, "{tenant} {direction:?} {range:?}");
        }
        let streams = store.snapshot(&TenantId::new(tenant)).streams(&[], range).unwrap();
        let labels: Vec<Labels> = streams.iter().map(|stream| stream.labels.clone()).collect();
        assert_eq!(labels, want.into_keys().collect::<Vec<_>>(), "{tenant} {range:?}");
    }
}

/// Small numbers, so that a test has all sizes of parts: merges take whatever is there, parts settle soon, and blocks are
/// so small that many are copied.
fn eager() -> StorageOptions {
    let merge = MergeLimits {
        quick_parts: 2,
        fresh_parts: 2,
        settle_line_bytes: 100,
        settle_after_ns: 0,
        ..MergeLimits::default()
    };
    let blocks = BlockOptions { rows: 4, ..BlockOptions::default() };
    StorageOptions { merge, blocks, ..options() }
}

#[derive(Debug, Clone)]
enum Step {
    Append(BatchSpec),
    Flush,
    Merge,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => batch_specs().prop_map(Step::Append),
        3 => Just(Step::Flush),
        1 => Just(Step::Merge),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn merging_changes_no_answer(steps in steps(), first_ns in -1..45i64, len in -1..45i64) {
        let disk = SimulatedDisk::new();
        let mut store = open_with(&disk, eager()).unwrap();
        let mut specs = Vec::new();
        for step in steps {
            match step {
                Step::Append(spec) => {
                    append(&store, &spec).unwrap();
                    specs.push(spec);
                }
                Step::Flush => store.flush().unwrap(),
                Step::Merge => store.merge().unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = open_with(&disk, eager()).unwrap();
                }
            }
        }
        check_answers(&store, &specs, TimeRange::ALL);
        check_answers(&store, &specs, TimeRange { first_ns, last_ns: first_ns + len });
        store.close().unwrap();
        store = open_with(&disk, eager()).unwrap();
        store.merge().unwrap();
        check_answers(&store, &specs, TimeRange::ALL);
        prop_assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap(), []);
    }

    #[test]
    fn line_filters_find_what_a_scan_finds(
        specs in prop::collection::vec(batch_specs(), 1..4),
        needle in prop_oneof![Just("a"), Just("sync 1"), Just("7ms"), Just("nowhere")],
        is_flushed: bool,
        pairs in prop::option::of(0..3_usize),
    ) {
        let store = open(&SimulatedDisk::new());
        for spec in &specs {
            append(&store, spec).unwrap();
        }
        if is_flushed {
            store.flush().unwrap();
        }
        let metadata_filter = pairs.map(|pairs| MetadataFilter::new(move |set| set.len() == pairs));
        let request = ScanRequest { filters: vec![contains(needle)], metadata_filter, ..ScanRequest::default() };
        for tenant in ["fake", "other"] {
            let mut want = expected(&specs, tenant, TimeRange::ALL);
            let is_wanted = |row: &RowSpec| {
                pairs.is_none_or(|pairs| row.metadata.len() == pairs) && find(&row.line, needle.as_bytes()).is_some()
            };
            want.values_mut().for_each(|rows| rows.retain(is_wanted));
            want.retain(|_, rows| !rows.is_empty());
            prop_assert_eq!(scan_all(&store, tenant, &request, Direction::Backward), want);
        }
    }
}

fn contains(needle: &str) -> Arc<CompiledLineFilter> {
    let items = vec![LineMatch::Text(needle.to_owned())];
    Arc::new(CompiledLineFilter::new(&LineFilter { op: LineFilterOp::Contains, items }).unwrap())
}

/// A workload that reaches every kind of write. Returns what was acknowledged, and what was not.
fn work(disk: &SimulatedDisk, specs: &[BatchSpec]) -> (Vec<BatchSpec>, Vec<BatchSpec>) {
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    let Ok(store) = open_with(disk, eager()) else { return (acknowledged, specs.to_vec()) };
    for (idx, spec) in specs.iter().enumerate() {
        match append(&store, spec) {
            Ok(()) => acknowledged.push(spec.clone()),
            Err(_) => refused.push(spec.clone()),
        }
        // Whatever fails here is tried again, or undone, by whoever comes next.
        if idx % 2 == 1 {
            let _ = store.flush();
        }
        if idx % 4 == 3 {
            let _ = store.merge();
        }
    }
    (acknowledged, refused)
}

fn workload() -> Vec<BatchSpec> {
    let labels = |n: i64| Labels::from_pairs([("app", format!("app-{}", n % 2))]);
    let row = |n: i64| RowSpec {
        timestamp: n / 2 * 1_000_000_000 + n % 3 * DAY_NS,
        line: format!("line {n}").into_bytes(),
        metadata: vec![("trace".to_owned(), n.to_string())],
    };
    (0..9i64).map(|n| BatchSpec(vec![("fake".to_owned(), labels(n), (n * 3..n * 3 + 4).map(row).collect())])).collect()
}

/// Everything acknowledged is there once; what was refused may be there, once.
#[track_caller]
fn check_survivors(store: &Store, acknowledged: &[BatchSpec], refused: &[BatchSpec], what: &str) {
    let found = scan_all(store, "fake", &ScanRequest::default(), Direction::Forward);
    let must = expected(acknowledged, "fake", TimeRange::ALL);
    let may = expected(refused, "fake", TimeRange::ALL);
    for (labels, rows) in &must {
        for row in rows {
            let count = found.get(labels).map_or(0, |found| found.iter().filter(|other| *other == row).count());
            assert_eq!(count, 1, "{what}: {labels} {row:?}");
        }
    }
    for (labels, rows) in &found {
        assert!(rows.is_sorted_by_key(|row| row.timestamp), "{what}: {labels}");
        let known = |row: &&RowSpec| [&must, &may].iter().any(|m| m.get(labels).is_some_and(|rows| rows.contains(row)));
        assert_eq!(rows.iter().find(|row| !known(row)), None, "{what}: {labels}");
        let unique: BTreeSet<&RowSpec> = rows.iter().collect();
        assert_eq!(unique.len(), rows.len(), "{what}: {labels}");
    }
}

#[test]
fn a_crash_at_any_write_loses_nothing() {
    let specs = workload();
    let disk = SimulatedDisk::new();
    work(&disk, &specs);
    let operations = disk.operations();
    assert!(operations > 60, "the workload writes: {operations}");
    for at in 0..operations + 5 {
        let disk = SimulatedDisk::new();
        disk.fail_at(at, Fault::Crash);
        let (acknowledged, refused) = work(&disk, &specs);
        for seed in 0..4 {
            let what = format!("crash at {at}, seed {seed}");
            let disk = disk.after_crash(at * 31 + seed);
            let store = open_with(&disk, eager()).unwrap();
            check_survivors(&store, &acknowledged, &refused, &what);
            assert_eq!(store.stats().lost_parts, 0, "{what}");
            assert_eq!(store.stats().replayed.damaged_bytes, 0, "{what}");
            drop(store);
            // Recovery leaves a directory from which it finds the same.
            let store = open_with(&disk, eager()).unwrap();
            check_survivors(&store, &acknowledged, &refused, &what);
            store.merge().unwrap();
            check_survivors(&store, &acknowledged, &refused, &what);
        }
    }
}

#[test]
fn a_failure_at_any_write_loses_nothing() {
    let specs = workload();
    let disk = SimulatedDisk::new();
    work(&disk, &specs);
    for at in 0..disk.operations() {
        let disk = SimulatedDisk::new();
        disk.fail_at(at, Fault::Once);
        let (acknowledged, refused) = work(&disk, &specs);
        let what = format!("failure at {at}");
        let store = open_with(&disk, eager()).unwrap();
        check_survivors(&store, &acknowledged, &refused, &what);
        assert!(acknowledged.len() + 1 >= specs.len() || acknowledged.is_empty(), "{what}: one append fails at most");
    }
}

/// `None` where the flipped bit is one of a version: a newer program may have written that.
#[track_caller]
fn open_flipped(disk: &SimulatedDisk, options: StorageOptions, what: &str) -> Option<Arc<Store>> {
    match open_with(disk, options) {
        Ok(store) => Some(store),
        Err(Error::Unknown { .. }) => None,
        Err(err) => panic!("{what}: {err}"),
    }
}

#[test]
fn a_flipped_bit_is_found_and_never_alters_a_row() {
    let specs = workload();
    let make = || {
        let disk = SimulatedDisk::new();
        let store = open_with(&disk, options()).unwrap();
        for (idx, spec) in specs.iter().enumerate() {
            append(&store, spec).unwrap();
            if idx == 5 {
                store.flush().unwrap();
            }
        }
        drop(store);
        disk
    };
    let want = expected(&specs, "fake", TimeRange::ALL);
    for (path, len) in make().files() {
        for offset in (0..len).step_by(3) {
            let what = format!("{} at {offset}", path.display());
            let disk = make();
            disk.flip(&path, offset);
            let Some(store) = open_flipped(&disk, options(), &what) else { continue };
            let scan = |store: &Store| {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    try_scan(store, "fake", &ScanRequest::default())
                }))
                .unwrap_or_else(|_| panic!("{what}"))
            };
            let first = scan(&store);
            // A merge keeps what can be read, and then queries work again.
            store.merge().unwrap();
            let found = match (first, scan(&store)) {
                (Ok(first), Ok(second)) => {
                    assert_eq!(first, second, "{what}");
                    second
                }
                (Err(err), Ok(second)) => {
                    assert!(err.is_damage(), "{what}: {err}");
                    second
                }
                (_, Err(err)) => panic!("{what}: {err}"),
            };
            let rows = |map: &BTreeMap<Labels, Vec<RowSpec>>| map.values().flatten().cloned().collect::<BTreeSet<_>>();
            assert!(rows(&found).is_subset(&rows(&want)), "{what}: rows were altered");
            let stats = store.stats();
            let is_noticed = stats.quarantined_files > 0
                || stats.lost_parts > 0
                || stats.lost_rows > 0
                || stats.replayed.torn_bytes > 0;
            assert!(found == want || is_noticed, "{what}: rows are missing and nobody noticed");
        }
    }
}

#[test]
fn retention_hides_rows_at_once_and_removes_them_later() {
    let disk = SimulatedDisk::new();
    let clock = Arc::new(SetClock::default());
    let environment = Environment { disk: Arc::new(disk.clone()), clock: clock.clone() };
    let store = Store::open_in(environment, Path::new("/data"), eager()).unwrap();
    let specs = workload();
    for spec in &specs {
        append(&store, spec).unwrap();
    }
    let hour = Duration::from_secs(3600);
    let keep = |period| Retention {
        default: TenantRetention { period: Some(period), ..TenantRetention::default() },
        ..Retention::default()
    };
    clock.0.store(2 * DAY_NS + 3_600_000_000_000, Ordering::Relaxed);
    store.set_retention(keep(hour * 2));
    // Only the third day is left.
    let left = TimeRange { first_ns: 2 * DAY_NS - 3_600_000_000_000, last_ns: i64::MAX };
    let check = |what: &str| {
        let want = expected(&specs, "fake", left);
        assert_eq!(scan_all(&store, "fake", &ScanRequest::default(), Direction::Backward), want, "{what}");
        let snapshot = store.snapshot(&TenantId::new("fake"));
        let old = TimeRange { first_ns: 0, last_ns: left.first_ns - 1 };
        assert_eq!(snapshot.streams(&[], old).unwrap().len(), 0, "{what}");
    };
    check("in memory");
    store.flush().unwrap();
    check("in parts");
    assert_eq!(store.stats().parts, 3);
    store.apply_retention().unwrap();
    check("removed");
    assert_eq!((store.stats().parts, disk.list(Path::new("/data/days/1970-01-01")).unwrap().len()), (1, 0));
    assert!(store.stats().expired_rows > 0);
    assert_eq!(store.stats().streams, 2);
    clock.0.store(9 * DAY_NS, Ordering::Relaxed);
    store.apply_retention().unwrap();
    assert_eq!((store.stats().parts, store.stats().streams), (0, 0), "streams without rows are forgotten");
    append(&store, &specs[0]).unwrap();
    assert_eq!(store.stats().streams, 1, "and come back with their next row");
}

#[test]
fn the_oldest_parts_go_before_the_volume_fills() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    for spec in &workload() {
        append(&store, spec).unwrap();
    }
    store.flush().unwrap();
    let stats = store.stats();
    assert_eq!(stats.parts, 3);
    let size = SizeLimits { bytes_max: Some(stats.part_bytes - 1), volume_share_max: None };
    store.set_retention(Retention { size, ..Retention::default() });
    store.apply_retention().unwrap();
    let left = scan_all(&store, "fake", &ScanRequest::default(), Direction::Forward);
    assert_eq!(store.stats().parts, 2);
    assert!(left.values().flatten().all(|row| row.timestamp >= DAY_NS), "the first day is gone");
}

#[test]
fn a_flipped_bit_hides_no_row_from_a_search() {
    let specs = workload();
    let make = || {
        let disk = SimulatedDisk::new();
        let store = open_with(&disk, eager()).unwrap();
        specs.iter().for_each(|spec| append(&store, spec).unwrap());
        store.flush().unwrap();
        store.merge().unwrap();
        store.close().unwrap();
        drop(store);
        disk
    };
    let request = ScanRequest { filters: vec![contains("line 1")], ..ScanRequest::default() };
    let want = try_scan(&open_with(&make(), eager()).unwrap(), "fake", &request).unwrap();
    assert!(!want.is_empty());
    let is_part = |path: &Path| path.extension().is_some_and(|extension| extension == "part");
    for (path, len) in make().files().into_iter().filter(|(path, _)| is_part(path)) {
        for offset in (0..len).step_by(3) {
            let what = format!("{} at {offset}", path.display());
            let disk = make();
            disk.flip(&path, offset);
            let Some(store) = open_flipped(&disk, eager(), &what) else { continue };
            let is_noticed = || {
                let stats = store.stats();
                stats.lost_parts + stats.quarantined_files + stats.lost_rows > 0
            };
            match try_scan(&store, "fake", &request) {
                Ok(found) => assert!(found == want || is_noticed(), "{what}"),
                Err(err) => assert!(err.is_damage(), "{what}: {err}"),
            }
            // A merge writes anew what can be read.
            store.merge().unwrap();
            let found = try_scan(&store, "fake", &request).unwrap();
            assert!(found == want || is_noticed(), "{what}");
        }
    }
}

#[test]
fn settled_blocks_are_copied_unless_they_gain_from_a_merge() {
    let store = open_with(&SimulatedDisk::new(), eager()).unwrap();
    let api = stream(r#"app="api""#);
    let specs: Vec<Vec<(i64, String)>> = [0, 10, 20, 25, 40]
        .map(|start| (start..start + 8).map(|i| (i, format!("GET /{start}/{i} took {i} ms, or {}", i * i))).collect())
        .to_vec();
    for (idx, rows) in specs.iter().enumerate() {
        let rows: Vec<(i64, &str)> = rows.iter().map(|(ts, line)| (*ts, line.as_str())).collect();
        futures::executor::block_on(store.append(batch(&api, &rows))).unwrap();
        store.flush().unwrap();
        if idx % 2 == 1 {
            store.merge().unwrap();
        }
    }
    store.merge().unwrap();
    let stats = store.stats();
    assert_eq!(stats.parts, 1);
    assert!(stats.copied_rows >= 16, "{stats:?}");
    let found = scan_all(&store, "fake", &ScanRequest::default(), Direction::Forward);
    let found: Vec<(i64, String)> =
        found.values().flatten().map(|row| (row.timestamp, String::from_utf8(row.line.clone()).unwrap())).collect();
    let mut want = specs.concat();
    want.sort_by_key(|row| row.0);
    assert_eq!(found, want);
}

#[test]
fn whole_blocks_are_counted_without_opening_them() {
    let store = open(&SimulatedDisk::new());
    let api = stream(r#"app="api""#);
    futures::executor::block_on(store.append(batch(&api, &[(1, "one"), (2, "three"), (2, "three")]))).unwrap();
    let request = ScanRequest::default();
    let counts = |range: TimeRange, request: &ScanRequest| -> Vec<Option<UnitCounts>> {
        let units = store.snapshot(&api.tenant).plan(request).unwrap();
        units.iter().map(|unit| unit.counts(range)).collect()
    };
    assert_eq!(counts(TimeRange::ALL, &request), [None], "rows in memory may be duplicates");
    store.flush().unwrap();
    assert_eq!(counts(TimeRange::ALL, &request), [Some(UnitCounts { rows: 2, line_bytes: 8 })]);
    assert_eq!(counts(TimeRange { first_ns: 1, last_ns: 1 }, &request), [None]);
    let filtered = ScanRequest { filters: vec![contains("r")], ..ScanRequest::default() };
    assert_eq!(counts(TimeRange::ALL, &filtered), [None]);
    futures::executor::block_on(store.append(batch(&api, &[(2, "three"), (9, "nine")]))).unwrap();
    store.flush().unwrap();
    assert_eq!(counts(TimeRange::ALL, &request), [None], "rows of parts that overlap may be duplicates");
}

#[test]
fn memory_is_bounded_and_large_logs_replay_through_parts() {
    let options = || StorageOptions {
        memtable_bytes_cut: 60 << 10,
        memtable_bytes_max: 120 << 10,
        segment_bytes_max: 16 << 10,
        ..options()
    };
    let disk = SimulatedDisk::new();
    let store = open_with(&disk, options()).unwrap();
    let spec = |n: i64| {
        let line = |i: i64| format!("{i} {}", "0123456789abcdef".repeat(20)).into_bytes();
        let rows = (n * 50..n * 50 + 50).map(|i| RowSpec { timestamp: i, line: line(i), metadata: vec![] });
        BatchSpec(vec![("fake".to_owned(), Labels::from_pairs([("app", "api")]), rows.collect())])
    };
    let specs: Vec<BatchSpec> = (0..30).map(spec).collect();
    for spec in &specs {
        append(&store, spec).unwrap();
        assert!(store.stats().memtable_bytes < 140 << 10);
    }
    assert!(store.stats().flushes > 3);
    drop(store);
    let store = open_with(&disk, options()).unwrap();
    check_answers(&store, &specs, TimeRange::ALL);
    assert!(store.stats().memtable_bytes < 140 << 10);
}

#[derive(Default)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn labels_answer_for_a_time_range() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let put = |labels: &str, rows: &[(i64, &str)]| {
        futures::executor::block_on(store.append(batch(&stream(labels), rows))).unwrap();
    };
    put(r#"app="api" pod="a-1""#, &[(10, "x"), (30, "y")]);
    put(r#"app="web""#, &[(20, "z")]);
    let snapshot = store.snapshot(&TenantId::new("fake"));
    let range = |first_ns, last_ns| TimeRange { first_ns, last_ns };
    assert_eq!(snapshot.label_names(&[], range(0, 100)).unwrap(), ["app", "pod"]);
    assert_eq!(snapshot.label_names(&[], range(11, 29)).unwrap(), ["app"]);
    assert_eq!(snapshot.label_values("app", &[], range(0, 15)).unwrap(), ["api"]);
    assert_eq!(snapshot.label_values("app", &matchers(r#"pod="""#), range(0, 100)).unwrap(), ["web"]);
    assert_eq!(store.tenants(), [TenantId::new("fake")]);
    assert!(store.snapshot(&TenantId::new("nobody")).streams(&[], TimeRange::ALL).unwrap().is_empty());
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let spec = |line: &str| {
        let rows = vec![RowSpec { timestamp: 1, line: line.into(), metadata: vec![] }];
        BatchSpec(vec![("fake".to_owned(), Labels::from_pairs([("app", "api")]), rows)])
    };
    append(&store, &spec("first")).unwrap();
    let used: usize = disk.files().iter().map(|(_, len)| len).sum();
    disk.set_capacity(Some(used as u64 + 20));
    let err = append(&store, &spec("lost")).unwrap_err();
    assert!(err.is_retryable(), "{err}");
    disk.set_capacity(None);
    append(&store, &spec("second")).unwrap();
    let acknowledged = [spec("first"), spec("second")];
    check_answers(&store, &acknowledged, TimeRange::ALL);
    drop(store);
    check_answers(&open(&disk), &acknowledged, TimeRange::ALL);
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap(), []);
}

#[test]
fn works_on_a_real_disk_that_it_has_alone() {
    let dir = tempfile::tempdir().unwrap();
    let specs = workload();
    for sync in [SyncMode::Always, SyncMode::Interval(Duration::from_millis(1))] {
        let store = Store::open(dir.path(), StorageOptions { sync, ..eager() }).unwrap();
        assert!(matches!(Store::open(dir.path(), options()), Err(Error::Locked { .. })));
        for spec in &specs {
            append(&store, spec).unwrap();
        }
        store.flush().unwrap();
        store.merge().unwrap();
        check_answers(&store, &specs, TimeRange::ALL);
        for spec in &specs {
            append(&store, spec).unwrap();
        }
        check_answers(&store, &specs, TimeRange::ALL);
        assert!(matches!(store.close(), Ok(())));
        assert!(matches!(append(&store, &specs[0]), Err(Error::Closed)));
    }
}

#[test]
fn a_snapshot_outlives_flushes_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), eager()).unwrap();
    let specs = workload();
    append(&store, &specs[0]).unwrap();
    store.flush().unwrap();
    append(&store, &specs[1]).unwrap();
    let request = ScanRequest::default();
    let units = store.snapshot(&TenantId::new("fake")).plan(&request).unwrap();
    for spec in &specs[2..] {
        append(&store, spec).unwrap();
        store.flush().unwrap();
    }
    store.merge().unwrap();
    let mut rows = Rows::default();
    let mut found = 0;
    for unit in units {
        let mut scan = unit.open(&request, Direction::Forward).unwrap();
        while scan.next(&mut rows).unwrap() {
            found += rows.len();
        }
    }
    let want = expected(&specs[..2], "fake", TimeRange::ALL);
    assert_eq!(found, want.values().map(Vec::len).sum::<usize>());
}

#[test]
fn deleted_entries_are_hidden_at_once_and_removed_later() {
    let disk = SimulatedDisk::new();
    let clock = Arc::new(SetClock::default());
    let open = || {
        let environment = Environment { disk: Arc::new(disk.clone()), clock: clock.clone() };
        Store::open_in(environment, Path::new("/data"), eager()).unwrap()
    };
    let store = open();
    let specs = workload();
    for (idx, spec) in specs.iter().enumerate() {
        append(&store, spec).unwrap();
        if idx == 4 {
            store.flush().unwrap();
        }
    }
    let tenant = TenantId::new("fake");
    let range = TimeRange { first_ns: 0, last_ns: DAY_NS };
    assert!(store.delete(&tenant, r#"{app="app-1"} | nonsense("#, range).is_err());
    store.delete(&tenant, r#"{app="app-0"} |= "line 1""#, range).unwrap();
    let all = store.delete(&tenant, r#"{app="app-1"}"#, range).unwrap();
    let traced = store.delete(&tenant, r#"{app="app-0"} | trace="25""#, TimeRange::ALL).unwrap();
    store.delete(&TenantId::new("other"), r#"{app="app-0"}"#, TimeRange::ALL).unwrap();
    assert_eq!(store.delete_requests(&tenant).len(), 3);
    let want = |with_all: bool| {
        let mut want = expected(&specs, "fake", TimeRange::ALL);
        for (labels, rows) in &mut want {
            rows.retain(|row| match labels.get("app") {
                Some("app-0") => {
                    let is_found = row.line.starts_with(b"line 1") && range.contains(row.timestamp);
                    !is_found && row.line != b"line 25"
                }
                _ => !with_all || !range.contains(row.timestamp),
            });
        }
        want
    };
    let check = |store: &Store, want: &Found, what: &str| {
        for need_lines in [true, false] {
            let request = ScanRequest { need_lines, ..ScanRequest::default() };
            for direction in [Direction::Forward, Direction::Backward] {
                let found = scan_all(store, "fake", &request, direction);
                let count = |found: &Found| found.values().map(Vec::len).sum::<usize>();
                assert_eq!(count(&found), count(want), "{what}");
                assert!(!need_lines || found == *want, "{what}");
            }
        }
    };
    check(&store, &want(true), "hidden");
    assert!(store.cancel_delete(&tenant, &all.id).unwrap());
    assert!(!store.cancel_delete(&tenant, &all.id).unwrap());
    check(&store, &want(false), "taken back");
    drop(store);
    let store = open();
    check(&store, &want(false), "opened again");
    let rows = |store: &Store| store.stats().part_rows + store.stats().memtable_rows;
    let before = rows(&store);
    store.apply_retention().unwrap();
    assert_eq!(rows(&store), before, "not before a day has passed");
    clock.0.store(2 * DAY_NS, Ordering::Relaxed);
    store.apply_retention().unwrap();
    check(&store, &want(false), "removed");
    assert!(rows(&store) < before);
    assert!(store.delete_requests(&tenant).iter().all(|request| request.is_processed));
    // What comes after is new.
    append(&store, &specs[8]).unwrap();
    let found = scan_all(&store, "fake", &ScanRequest::default(), Direction::Forward);
    assert!(found.values().flatten().any(|row| row.line == b"line 25"));
    assert!(traced.query.contains("trace"));
}
