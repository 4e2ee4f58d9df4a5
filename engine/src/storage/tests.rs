//! The store as a whole, against a naive model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use logstack_logql::Labels;
use proptest::prelude::*;

use super::disk::Disk;
use super::disk::simulated::SimulatedDisk;
use super::testing::{BatchSpec, RowSpec, batch, batch_specs, matchers, row_of, stream};
use super::*;
use crate::model::{Rows, TenantId, TimeRange};

fn open(disk: &SimulatedDisk) -> Arc<Store> {
    Store::open_on(Arc::new(disk.clone()), Path::new("/data"), StorageOptions::default()).unwrap()
}

/// Runs an append to its end without an async runtime.
fn append(store: &Store, spec: &BatchSpec) -> Result<(), Error> {
    futures::executor::block_on(store.append(spec.build()))
}

/// Everything that `tenant` has, by stream, in the order of a forward scan.
fn scan_all(
    store: &Store,
    tenant: &str,
    request: &ScanRequest,
    direction: Direction,
) -> BTreeMap<Labels, Vec<RowSpec>> {
    let mut found: BTreeMap<Labels, Vec<RowSpec>> = BTreeMap::new();
    let snapshot = store.snapshot(&TenantId::new(tenant));
    let mut units = snapshot.plan(request).unwrap();
    units.sort_by_key(|unit| unit.time.first_ns);
    let mut rows = Rows::default();
    for unit in units {
        let mut chunks = Vec::new();
        let mut scan = unit.open(request, direction).unwrap();
        while scan.next(&mut rows).unwrap() {
            chunks.push((0..rows.len()).map(|row| row_of(&rows, row)).collect::<Vec<_>>());
        }
        if direction == Direction::Backward {
            chunks.reverse();
        }
        let all = chunks.concat();
        assert!(all.iter().all(|row| request.range.contains(row.timestamp) && unit.time.contains(row.timestamp)));
        assert!(all.len() as u64 <= unit.rows);
        found.entry(unit.stream.labels.clone()).or_default().extend(all);
    }
    found.retain(|_, rows| !rows.is_empty());
    found
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_equal_a_naive_scan(
        specs in prop::collection::vec(batch_specs(), 0..5),
        first_ns in -1..45i64,
        len in -1..45i64,
    ) {
        let disk = SimulatedDisk::new();
        let store = open(&disk);
        for spec in &specs {
            append(&store, spec).unwrap();
        }
        check_answers(&store, &specs, TimeRange::ALL);
        check_answers(&store, &specs, TimeRange { first_ns, last_ns: first_ns + len });
        drop(store);
        let store = open(&disk);
        check_answers(&store, &specs, TimeRange::ALL);
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
