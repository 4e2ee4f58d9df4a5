//! The operator's scenarios on a cluster: on a real API server where there is one, in memory with `E2E_IN_MEMORY=1`.
//!
//! `KUBEBUILDER_ASSETS` names a folder with etcd, kube-apiserver and, if it is there, kube-controller-manager; `KUBECONFIG`
//! a cluster that runs. Where neither is set the second half says so in one line and is skipped. `E2E_ONLY=grow,drift` runs
//! only these.

#![allow(clippy::print_stderr, missing_docs)]

mod cluster;
mod memory;
mod scenarios;

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use cluster::Cluster;

async fn all(cluster: &Cluster) {
    cluster.install_crds().await;
    let operator = cluster.operator(|_| {}).await;
    let start = Instant::now();
    let only = std::env::var("E2E_ONLY").unwrap_or_default();
    let failed = RefCell::new(Vec::new());
    // One that fails does not hide what the others say.
    let one = async |name: &'static str, scenario: LocalBoxFuture<'_, ()>| {
        if !only.is_empty() && !only.split(',').any(|wanted| wanted == name) {
            return;
        }
        let start = Instant::now();
        match AssertUnwindSafe(scenario).catch_unwind().await {
            Ok(()) => eprintln!("{name:<16} ok  {:?}", start.elapsed()),
            Err(_) => {
                eprintln!("{name:<16} FAILED  {:?}", start.elapsed());
                failed.borrow_mut().push(name);
            }
        }
    };
    macro_rules! run {
        ($($name:ident)*) => {
            // Each in its own namespace, so all at once.
            tokio::join!($(one(stringify!($name), scenarios::$name(cluster).boxed_local())),*)
        };
    }
    run!(minimal changes in_place refusals grow shrink deletion grafana_moves conflict drift others_fields bad_image
        pod_security paused secrets bad_config pod_template selection isolation undecodable permission gated external
        leaders);
    one("idle", scenarios::idle(cluster).boxed_local()).await;
    one("outage", scenarios::outage(cluster, Duration::from_secs(3)).boxed_local()).await;
    eprintln!("all scenarios in {:?}", start.elapsed());
    operator.stop().await.expect("it stops");
    assert!(failed.borrow().is_empty(), "failed: {:?}", failed.borrow());
}

fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    if std::env::var_os("E2E_IN_MEMORY").is_none() {
        eprintln!("skipped: E2E_IN_MEMORY is not set");
        return;
    }
    crypto();
    all(&Cluster::in_memory().await).await;
}

/// A real cluster where there is one, else the one in memory; `None`: `variable`, which asks for the test, is not set.
async fn any_cluster(variable: &str) -> Option<(Cluster, u64)> {
    let Some(number) = std::env::var(variable).ok().and_then(|text| text.parse().ok()) else {
        eprintln!("skipped: {variable} is not set to a number");
        return None;
    };
    crypto();
    let cluster = match Cluster::real().await {
        Some(cluster) => cluster,
        None => Cluster::in_memory().await,
    };
    cluster.play_real();
    cluster.install_crds().await;
    Some((cluster, number))
}

/// 5 LogStacks, 200 LogScrapes, then nothing for `E2E_IDLE_SECONDS`. Long, so only when it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many() {
    let Some((cluster, idle)) = any_cluster("E2E_IDLE_SECONDS").await else { return };
    let operator = cluster.operator(|_| {}).await;
    scenarios::many(&cluster, 5, 200).await;
    let count = |verbs: &[&str]| -> f64 {
        verbs.iter().map(|verb| operator.metrics.sum("logstack_operator_api_requests_total", &[("verb", verb)])).sum()
    };
    let writes = || count(&["post", "put", "patch", "delete"]);
    let (requests, written) = (count(&["get"]) + writes(), writes());
    // Volumes may be bound later than pods are ready; and what has just converged may still be looked at once more.
    for stack in 0..5 {
        cluster.condition(&format!("e2e-many-{stack}"), "LogStack", "logs", "StorageResized", "AsRequested").await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let settled = writes();
    tokio::time::sleep(Duration::from_secs(idle)).await;
    let after = writes();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS unknown");
    eprintln!("{requests} requests, {written} of them writes; {} writes in {idle} idle seconds", after - settled);
    eprintln!("with the test itself: {memory}");
    assert!(after == settled, "an idle operator writes nothing");
    operator.stop().await.expect("it stops");
}

/// The API server is away for `E2E_AWAY_SECONDS`. Long, so only when it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_minute_away() {
    let Some((cluster, seconds)) = any_cluster("E2E_AWAY_SECONDS").await else { return };
    let operator = cluster.operator(|_| {}).await;
    let start = Instant::now();
    scenarios::outage(&cluster, Duration::from_secs(seconds)).await;
    eprintln!("away for {seconds} s, converged after {:?}", start.elapsed());
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn real_api_server() {
    crypto();
    let Some(cluster) = Cluster::real().await else {
        eprintln!("skipped: neither KUBEBUILDER_ASSETS nor KUBECONFIG names a real API server");
        return;
    };
    cluster.play_real();
    all(&cluster).await;
}
