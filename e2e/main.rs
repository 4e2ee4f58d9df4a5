//! The operator's scenarios on a cluster: on a real API server where one is named, else on one in memory.
//!
//! `KUBEBUILDER_ASSETS` names a folder with etcd, kube-apiserver and, if it is there, kube-controller-manager; `KUBECONFIG`
//! a cluster that runs. In memory there are no schemas, no admission and no RBAC: what needs them is for the real one.
//! `table.rs` says which scenario stands for which row of the contract, and the suite prints it with its results.
//!
//! | variable | asks for |
//! |---|---|
//! | `E2E_ONLY=grow,drift` | only these |
//! | `E2E_SCRAPES=2000`, `E2E_STACKS=200` | so many at once |
//! | `E2E_IDLE_SECONDS=600` | 5 LogStacks, 200 LogScrapes, then nothing for so long |
//! | `E2E_AWAY_SECONDS=60` | the API server away for so long |
//! | `E2E_OPERATOR=target/release/logstack` | an operator of its own process in the long ones |

#![allow(clippy::print_stderr, missing_docs)]

mod cluster;
mod kubelet;
mod memory;
mod play;
mod process;
#[path = "../crds/tests/tools/promql.rs"]
mod promql;
mod scenarios;
mod server;
mod table;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use cluster::Cluster;
use process::Process;
use scenarios::scale::requests;
use scenarios::{basics, config, deletion, drift, neighbours, outages, pods, rights, scale, scrapes, storage, tools};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all() {
    crypto();
    let cluster = &Cluster::any().await;
    if cluster.memory.is_some() {
        eprintln!("in memory: neither KUBEBUILDER_ASSETS nor KUBECONFIG names a real API server");
    }
    let operator = cluster.operator(|_| {}).await;
    let start = Instant::now();
    let only = std::env::var("E2E_ONLY").unwrap_or_default();
    let results = RefCell::new(BTreeMap::new());
    // One that fails does not hide what the others say.
    let one = async |name: &'static str, scenario: LocalBoxFuture<'_, ()>| {
        if !only.is_empty() && !only.split(',').any(|wanted| wanted == name) {
            return;
        }
        let start = Instant::now();
        let is_ok = AssertUnwindSafe(scenario).catch_unwind().await.is_ok();
        eprintln!("{name:<18} {} {:?}", if is_ok { "ok    " } else { "FAILED" }, start.elapsed());
        results.borrow_mut().insert(name, is_ok);
    };
    macro_rules! run {
        ($($module:ident::$name:ident)*) => {
            // Each in its own namespace, so all at once.
            tokio::join!($(one(stringify!($name), $module::$name(cluster).boxed_local())),*)
        };
    }
    let groups = (
        async {
            run!(basics::minimal basics::changes basics::in_place basics::refusals basics::external
                storage::grow storage::shrink storage::frozen storage::rigid storage::dies_between storage::never_bound
                storage::claim_policy deletion::deletion deletion::grafana_moves deletion::forbidden_cleanup
                deletion::grafana_terminates deletion::namespace_deleted
                drift::conflict drift::drift drift::others_fields drift::edits drift::fight drift::additions);
        },
        async {
            run!(pods::bad_image pods::pod_security pods::pod_template pods::troubles pods::quota pods::bad_template
                config::paused config::paused_children config::secrets config::secret_contents config::bad_config
                scrapes::selection scrapes::isolation scrapes::permission scrapes::gated
                neighbours::two_stacks neighbours::controller_ids neighbours::default_image
                rights::least_privilege rights::namespaced
                outages::leaders outages::stolen_lease outages::deaf outages::busy
                tools::with_kubectl tools::argo);
        },
    );
    // A fresh operator removes what LogStacks of others left behind: before there are others it writes nothing.
    one("idle", basics::idle(cluster).boxed_local()).await;
    // Processes of a real one have to share this machine.
    if cluster.memory.is_some() {
        tokio::join!(groups.0, groups.1);
    } else {
        groups.0.await;
        groups.1.await;
    }
    // These change what all see: the definitions, the API server.
    one("undecodable", scrapes::undecodable(cluster).boxed_local()).await;
    one("unknown_fields", neighbours::unknown_fields(cluster).boxed_local()).await;
    let (scrapes, stacks) = (number("E2E_SCRAPES").unwrap_or(50), number("E2E_STACKS").unwrap_or(10));
    one("thousands", scale::thousands(cluster, scrapes as usize).boxed_local()).await;
    one("stacks_at_once", scale::stacks_at_once(cluster, stacks as usize).boxed_local()).await;
    // An API server that has just started knows no rights yet.
    one("nothing_forbidden", rights::nothing_forbidden(cluster).boxed_local()).await;
    one("outage", outages::outage(cluster, Duration::from_secs(3)).boxed_local()).await;
    one("restarted", outages::restarted(cluster).boxed_local()).await;
    if only.is_empty() {
        shows_what_is_named(&operator);
    }
    operator.stop().await.expect("it stops");
    let results = results.take();
    if only.is_empty() {
        print_table(&results);
    }
    let failed: Vec<_> = results.iter().filter(|(_, is_ok)| !**is_ok).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
    eprintln!("{} scenarios in {:?}", results.len(), start.elapsed());
}

/// After all of this the operator's page has every metric that dashboards, alerts and pages ask it for.
fn shows_what_is_named(operator: &logstack_operator::Operator) {
    let page = operator.metrics.page();
    let named = promql::named(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    for (name, file) in named.iter().filter(|(name, _)| promql::is_operators(name)) {
        assert!(promql::is_on(name, &page), "{}: {name} is not on the operator's page", file.display());
    }
}

/// The contract's rows with their results. Each scenario is in one, and each row has one or says why not.
fn print_table(results: &BTreeMap<&'static str, bool>) {
    for (row, what, scenarios, note) in table::ROWS {
        assert!(!scenarios.is_empty() || !note.is_empty(), "row {row} has no scenario and no reason");
        let result = |name: &&str| match results.get(*name) {
            Some(true) => format!("{name} ok"),
            Some(false) => format!("{name} FAILED"),
            None => panic!("row {row}: there is no scenario {name}"),
        };
        let said: Vec<String> = scenarios.iter().map(result).chain([note.to_owned()]).collect();
        eprintln!("{row:>2} {what}: {}", said.join(", ").trim_end_matches(", "));
    }
    let listed: Vec<&str> = table::ROWS.iter().flat_map(|row| row.2).copied().collect();
    let unlisted: Vec<_> = results.keys().filter(|name| !listed.contains(*name)).collect();
    assert!(unlisted.is_empty(), "scenarios of no row: {unlisted:?}");
}

/// Who works in a long scenario: a process of its own where one is named, else an operator in this one.
enum Worker {
    Process(Process),
    Here(logstack_operator::Operator),
}

impl Worker {
    async fn start(cluster: &Cluster) -> Self {
        match Process::start(cluster).await {
            Some(process) => Self::Process(process),
            None => Self::Here(cluster.operator(|options| options.has_leader_election = true).await),
        }
    }

    async fn requests(&self, verbs: &[&str]) -> f64 {
        match self {
            Self::Process(process) => process.requests(verbs).await,
            Self::Here(operator) => requests(operator, verbs),
        }
    }

    async fn tell(&self) {
        let Self::Process(process) = self else { return };
        let (all, slow) = process.passes().await;
        eprintln!("operator: {}; {all} passes over LogStacks, {slow} of them over a second", process.memory());
    }
}

const WRITES: [&str; 4] = ["post", "put", "patch", "delete"];

/// A cluster for a long scenario; `None`: `variable`, which asks for it, is not set.
async fn asked_for(variable: &str) -> Option<(Cluster, u64)> {
    let Some(number) = number(variable) else {
        eprintln!("skipped: {variable} is not set to a number");
        return None;
    };
    crypto();
    Some((Cluster::any().await, number))
}

/// What pods that come and go change in a status is written so late.
const LATEST_WRITE: Duration = Duration::from_secs(35);

/// 5 LogStacks, 200 LogScrapes, then nothing for `E2E_IDLE_SECONDS`. Long, so only when it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many() {
    let Some((cluster, idle)) = asked_for("E2E_IDLE_SECONDS").await else { return };
    let worker = Worker::start(&cluster).await;
    let start = Instant::now();
    scale::many(&cluster, 5, 200).await;
    let (read, written) = (worker.requests(&["get"]).await, worker.requests(&WRITES).await);
    eprintln!("{} requests, {written} of them writes", read + written);
    // Volumes may be bound later than pods are ready.
    for stack in 0..5 {
        cluster.condition(&format!("e2e-many-{stack}"), "LogStack", "logs", "StorageResized", "AsRequested").await;
    }
    worker.tell().await;
    let mut settled = written;
    loop {
        tokio::time::sleep(LATEST_WRITE).await;
        let now = worker.requests(&WRITES).await;
        if now == std::mem::replace(&mut settled, now) {
            break;
        }
        assert!(start.elapsed() < cluster::DEADLINE, "it goes on writing");
    }
    worker.tell().await;
    tokio::time::sleep(Duration::from_secs(idle)).await;
    let after = worker.requests(&WRITES).await;
    worker.tell().await;
    eprintln!("{} writes in {idle} idle seconds", after - settled);
    assert!(after == settled, "an idle operator writes nothing");
}

/// `E2E_SCRAPES` LogScrapes with an operator of its own process: what it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousands_alone() {
    if std::env::var_os("E2E_OPERATOR").is_none() {
        eprintln!("skipped: E2E_OPERATOR names no program");
        return;
    }
    let Some((cluster, count)) = asked_for("E2E_SCRAPES").await else { return };
    let worker = Worker::start(&cluster).await;
    scale::thousands(&cluster, count as usize).await;
    worker.tell().await;
}

/// The API server is away for `E2E_AWAY_SECONDS`. Long, so only when it is asked for. Without leader election: who cannot
/// renew a lease ends, and is started anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_minute_away() {
    let Some((cluster, seconds)) = asked_for("E2E_AWAY_SECONDS").await else { return };
    let operator = cluster.operator(|_| {}).await;
    outages::outage(&cluster, Duration::from_secs(seconds)).await;
    operator.stop().await.expect("it runs on");
}
