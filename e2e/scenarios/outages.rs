//! The API server is away, slow or busy; a watch goes deaf; leaders come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use logstack_operator::Error;
use logstack_operator::object::Kind;
use serde_json::json;

use super::{CHILDREN, ready};
use crate::cluster::{Cluster, DEADLINE, HOME, eventually};
use crate::memory::Trouble;
use crate::server::is_ready;

/// Nothing is there twice, and nothing that a stack does not have.
async fn assert_no_duplicates(cluster: &Cluster, ns: &str) {
    let label = format!("logstack.dev/stack={ns}.logs");
    let mut there = BTreeSet::new();
    for kind in Kind::BUILT.into_iter().chain([Kind::PersistentVolumeClaim]).filter(|kind| !kind.is_optional()) {
        let list = cluster.dynamic(kind.as_str(), ns).list(&kube::api::ListParams::default().labels(&label)).await;
        let names = list.expect("a list").items.into_iter().filter_map(|object| object.metadata.name);
        there.extend(names.map(|name| format!("{kind} {name}")));
    }
    let wanted = CHILDREN.iter().map(|(kind, name)| format!("{kind} {}", name.replace("NS", ns)));
    let late = ["ConfigMap logs-collector-jobs-0", "PersistentVolumeClaim data-logs-engine-0"].map(str::to_owned);
    assert_eq!(there, wanted.chain(late).collect::<BTreeSet<_>>());
    let pods = cluster.dynamic("Pod", ns).list(&kube::api::ListParams::default()).await.expect("a list");
    let engines = pods.iter().filter(|pod| pod.metadata.name.as_deref().is_some_and(|name| name.contains("-engine-")));
    assert_eq!(engines.count(), 1);
}

/// What is changed around an outage, and that it arrives.
async fn converges(cluster: &Cluster, ns: &str, since: Instant) {
    cluster.apply(ns, "LogScrape", "late", "spec: {}").await;
    cluster.until(ns, "ConfigMap", "logs-engine-runtime", "4 days", |map| map["data"].to_string().contains("4d")).await;
    cluster.condition(ns, "LogScrape", "late", "Ready", "Programmed").await;
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    eprintln!("converged {:?} after the API server came back", since.elapsed());
    assert_no_duplicates(cluster, ns).await;
}

/// 40: the API server is away during changes; afterwards everything converges, nothing twice. Not on a cluster of others.
pub async fn outage(cluster: &Cluster, away: Duration) {
    let ns = "e2e-outage";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 4d}}}").await;
    if !cluster.set_away(true) {
        return;
    }
    tokio::time::sleep(away).await;
    cluster.set_away(false);
    converges(cluster, ns, Instant::now()).await;
}

/// 40: the API server ends and is started again: every connection breaks, and none of the changes is missed.
pub async fn restarted(cluster: &Cluster) {
    let Some(server) = &cluster.server else { return };
    let ns = "e2e-restarted";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 4d}}}").await;
    server.end();
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.start_again();
    eventually("it is ready", async || is_ready(&cluster.client).await.then_some(())).await;
    converges(cluster, ns, Instant::now()).await;
}

/// 40: an API server that has no time, and one that takes its time. Such a one is in memory, for this alone.
pub async fn busy(_: &Cluster) {
    let cluster = &Cluster::in_memory().await;
    let Some(memory) = &cluster.memory else { return };
    let operator = cluster.operator(|_| {}).await;
    for (name, trouble) in [("too-many", Trouble::TooMany), ("slow", Trouble::Slow(Duration::from_millis(300)))] {
        let ns = format!("e2e-{name}");
        ready(cluster, &ns, "{}").await;
        memory.set_trouble(trouble);
        // The user's own client is refused, too.
        let spec = "spec: {engine: {retention: {period: 4d}}}";
        eventually("applied", async || cluster.try_apply(&ns, "LogStack", "logs", spec).await.ok()).await;
        let is_new = |map: &serde_json::Value| map["data"].to_string().contains("4d");
        cluster.until(&ns, "ConfigMap", "logs-engine-runtime", "4 days", is_new).await;
        memory.set_trouble(Trouble::None);
        converges(cluster, &ns, Instant::now()).await;
    }
    operator.stop().await.expect("it stops");
}

/// 40: an operator whose watches say nothing any more, while the API server answers, ends; one that hears bookmarks does
/// not, be it ever so idle. Such an API server is in memory, for this alone.
pub async fn deaf(_: &Cluster) {
    let cluster = &Cluster::in_memory().await;
    let Some(memory) = &cluster.memory else { return };
    let mut operator = cluster.operator(|options| options.silence = Duration::from_secs(4)).await;
    let ended = tokio::time::timeout(Duration::from_secs(8), operator.ended()).await;
    assert!(ended.is_err(), "bookmarks are heard: {ended:?}");
    memory.set_trouble(Trouble::Deaf);
    let ended = tokio::time::timeout(DEADLINE, operator.ended()).await;
    assert!(matches!(ended, Ok(Err(Error::DeafWatch(_)))), "{ended:?}");
}

/// 41: of two operators one writes; when it stops it gives the lease back, when it is killed the other takes over.
pub async fn leaders(cluster: &Cluster) {
    let ns = "e2e-leaders";
    let start = |name: &'static str| {
        cluster.operator(move |options| {
            options.has_leader_election = true;
            options.instance = name.to_owned();
            options.settings.controller_id = Some("leaders".to_owned());
        })
    };
    cluster.namespace(ns, json!({})).await;
    let (one, two) = tokio::join!(start("one"), start("two"));
    let leads =
        |operator: &logstack_operator::Operator| operator.metrics.page().contains("\nlogstack_operator_leader 1\n");
    // All the while there is something to write.
    let work = async {
        for day in (2..30).cycle() {
            let spec = format!("spec: {{engine: {{retention: {{period: {day}d}}}}}}");
            let spec = format!("metadata: {{labels: {{logstack.dev/controller-id: leaders}}}}\n{spec}");
            cluster.apply(ns, "LogStack", "logs", &spec).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let changes = async {
        eventually("one leads", async || (leads(&one) || leads(&two)).then_some(())).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(leads(&one) != leads(&two), "exactly one leads");
        let (leader, standby) = if leads(&one) { (one, two) } else { (two, one) };
        leader.stop().await.expect("it stops");
        let since = Instant::now();
        eventually("the other leads", async || leads(&standby).then_some(())).await;
        eprintln!("a lease that was given back was taken after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let third = start("three").await;
        standby.kill();
        let since = Instant::now();
        eventually("the third leads", async || leads(&third).then_some(())).await;
        eprintln!("a killed leader was followed after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        third
    };
    let third = tokio::select! {
        third = changes => third,
        () = work => unreachable!("it goes on"),
    };
    cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    third.stop().await.expect("it stops");
    let Some(server) = &cluster.server else { return };
    // Who wrote, in the order of the audit log, the same in a row taken together: nobody comes back.
    let mut writers: Vec<String> = Vec::new();
    let mut lines = server.audit();
    lines.retain(|line| line["objectRef"]["namespace"] == ns && line["verb"] != "get" && line["verb"] != "watch");
    lines.sort_by_key(|line| line["requestReceivedTimestamp"].as_str().unwrap_or_default().to_owned());
    for line in &lines {
        let agent = line["userAgent"].as_str().unwrap_or_default();
        if writers.last().is_none_or(|last| last != agent) {
            writers.push(agent.to_owned());
        }
    }
    assert_eq!(writers.len(), 3, "one writer at any time: {writers:?}");
}

/// 41: somebody takes the lease: who held it ends, and writes nothing more.
pub async fn stolen_lease(cluster: &Cluster) {
    let mut operator = cluster
        .operator(|options| {
            options.has_leader_election = true;
            options.settings.controller_id = Some("stolen".to_owned());
        })
        .await;
    let leads = || operator.metrics.page().contains("\nlogstack_operator_leader 1\n");
    eventually("it leads", async || leads().then_some(())).await;
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), HOME);
    let thief = json!({ "spec": { "holderIdentity": "thief", "leaseDurationSeconds": 600 } });
    api.patch("logstack-operator-stolen", &PatchParams::default(), &Patch::Merge(&thief)).await.expect("a patch");
    let ended = tokio::time::timeout(DEADLINE, operator.ended()).await;
    assert!(matches!(ended, Ok(Err(Error::LeaseLost))), "{ended:?}");
    let lease = api.get("logstack-operator-stolen").await.expect("a lease");
    assert_eq!(lease.spec.and_then(|spec| spec.holder_identity).as_deref(), Some("thief"));
}
