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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_in_memory() {
    if std::env::var_os("E2E_IN_MEMORY").is_none() {
        eprintln!("skipped: E2E_IN_MEMORY is not set");
        return;
    }
    crypto();
    let cluster = Cluster::in_memory().await;
    let operator = cluster.operator(|_| {}).await;
    scenarios::many(&cluster, 5, 200).await;
    let memory = cluster.memory.as_ref().expect("the one in memory");
    let (requests, writes) = (
        memory.requests.load(std::sync::atomic::Ordering::SeqCst),
        memory.writes.load(std::sync::atomic::Ordering::SeqCst),
    );
    // What has just converged may still be looked at once more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let settled = memory.writes.load(std::sync::atomic::Ordering::SeqCst);
    let idle: u64 = std::env::var("E2E_IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    tokio::time::sleep(Duration::from_secs(idle)).await;
    let after = memory.writes.load(std::sync::atomic::Ordering::SeqCst);
    eprintln!("{requests} requests by all, {writes} of them writes; {} writes in {idle} idle seconds", after - settled);
    assert_eq!(after, settled, "an idle operator writes nothing");
    operator.stop().await.expect("it stops");
}

/// A minute without the API server. Long, so only when it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_minute_away() {
    let Ok(seconds) = std::env::var("E2E_AWAY_SECONDS") else {
        eprintln!("skipped: E2E_AWAY_SECONDS is not set");
        return;
    };
    crypto();
    let cluster = Cluster::in_memory().await;
    let operator = cluster.operator(|_| {}).await;
    let start = Instant::now();
    scenarios::outage(&cluster, Duration::from_secs(seconds.parse().expect("seconds"))).await;
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
