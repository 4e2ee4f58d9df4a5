//! Many at once. The figures are printed; the bounds that do not depend on the machine are asserted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use serde_json::json;

use super::ready;
use crate::cluster::{Cluster, DEADLINE, conditions, eventually};

/// Requests of ours under way at once.
const AT_ONCE: usize = 16;
/// Requests of an operator for one new stack: it looks at each object before it makes it, and writes its status as pods
/// come up.
const REQUESTS_PER_STACK_MAX: f64 = 100.0;

/// Requests by an operator so far, watches and Leases left out.
pub fn requests(operator: &logstack_operator::Operator, verbs: &[&str]) -> f64 {
    let sum = |verb: &&str| {
        let labels = [("verb", *verb), ("resource", "")];
        operator.metrics.sum("logstack_operator_api_requests_total", &labels)
    };
    verbs.iter().map(sum).sum()
}

/// Applies many at once.
async fn apply_all(cluster: &Cluster, kind: &str, all: impl Iterator<Item = (String, String, String)>) {
    let apply = |(ns, name, fields): (String, String, String)| async move {
        cluster.apply(&ns, kind, &name, &fields).await;
    };
    stream::iter(all).for_each_concurrent(AT_ONCE, apply).await;
}

/// Waits until all objects of a kind in these namespaces are ready in their present generation.
pub async fn all_ready(cluster: &Cluster, kind: &str, namespaces: &[String], count: usize, patience: Duration) {
    let start = Instant::now();
    loop {
        let mut ready = 0;
        for ns in namespaces {
            let list = cluster.dynamic(kind, ns).list(&Default::default()).await;
            for object in list.map(|list| list.items).unwrap_or_default() {
                let object = serde_json::to_value(&object).unwrap_or_default();
                let is_ready = conditions(&object).any(|c| {
                    c["type"] == "Ready"
                        && c["status"] == "True"
                        && c["observedGeneration"] == object["metadata"]["generation"]
                });
                ready += usize::from(is_ready);
            }
        }
        if ready == count {
            return;
        }
        assert!(start.elapsed() < patience, "{ready} of {count} are ready after {patience:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn namespaces(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|idx| format!("e2e-{prefix}-{idx}")).collect()
}

/// 5 stacks and 200 LogScrapes: time from the last apply until all of them are ready.
pub async fn many(cluster: &Cluster, stacks: usize, scrapes: usize) {
    let all = namespaces("many", stacks);
    for ns in &all {
        cluster.namespace(ns, json!({})).await;
        cluster.apply(ns, "LogStack", "logs", "spec: {}").await;
    }
    all_ready(cluster, "LogStack", &all, stacks, DEADLINE).await;
    let spec = "spec: {pipelineStages: [{json: {expressions: {level: level}}}, {labels: {level: ''}}]}";
    let documents = (0..scrapes).map(|idx| (all[idx % stacks].clone(), format!("s{idx}"), spec.to_owned()));
    apply_all(cluster, "LogScrape", documents).await;
    let start = Instant::now();
    all_ready(cluster, "LogScrape", &all, scrapes, DEADLINE).await;
    all_ready(cluster, "LogStack", &all, stacks, DEADLINE).await;
    eprintln!("{stacks} LogStacks, {scrapes} LogScrapes: ready {:?} after the last apply", start.elapsed());
}

/// 37: 2,000 LogScrapes, a few of them large, one too large: all but it are in force, spread over ConfigMaps, and a new
/// one moves no other.
pub async fn thousands(cluster: &Cluster, count: usize) {
    let ns = "e2e-thousands";
    ready(cluster, ns, "{}").await;
    let names = vec![ns.to_owned()];
    // A fifth of them has a regular expression of 4 KiB: more than one ConfigMap of jobs.
    let stage = |bytes: usize| format!("{{pipelineStages: [{{regex: {{expression: '{}'}}}}]}}", "a".repeat(bytes));
    let spec =
        |idx: usize| if idx.is_multiple_of(5) { format!("spec: {}", stage(4096)) } else { "spec: {}".to_owned() };
    let start = Instant::now();
    let documents = (0..count).map(|idx| (ns.to_owned(), format!("s{idx}"), spec(idx)));
    apply_all(cluster, "LogScrape", documents).await;
    let applied = start.elapsed();
    all_ready(cluster, "LogScrape", &names, count, DEADLINE).await;
    eprintln!("{count} LogScrapes: applied in {applied:?}, ready {:?} later", start.elapsed() - applied);
    let shards = async || {
        let mut all: BTreeMap<String, usize> = BTreeMap::new();
        for idx in 0..8 {
            let map = cluster.get(ns, "ConfigMap", &format!("logs-collector-jobs-{idx}")).await.unwrap_or_default();
            let keys = map["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
            all.extend(keys.map(|key| (key, idx)));
        }
        all
    };
    let before = shards().await;
    assert_eq!(before.len(), count);
    let used = before.values().max().map_or(0, |last| last + 1);
    assert!(count < 2000 || used > 1, "one ConfigMap would not hold them");
    cluster.apply(ns, "LogScrape", "large", &format!("spec: {}", stage(300 << 10))).await;
    cluster.condition(ns, "LogScrape", "large", "Accepted", "TooLarge").await;
    cluster.apply(ns, "LogScrape", "a-new-one", "spec: {}").await;
    cluster.condition(ns, "LogScrape", "a-new-one", "Ready", "Programmed").await;
    cluster.delete(ns, "LogScrape", "s0").await;
    let after = eventually("the deleted one is gone", async || {
        let after = shards().await;
        (!after.contains_key(&format!("{ns}.s0.yaml"))).then_some(after)
    })
    .await;
    let moved = before.iter().filter(|(key, idx)| after.get(*key).is_some_and(|now| now != *idx)).count();
    assert_eq!(moved, 0, "no job moves");
    let stack = cluster.condition(ns, "LogStack", "logs", "ScrapesAccepted", "SomeRejected").await;
    assert!(conditions(&stack).any(|c| c["type"] == "Ready" && c["status"] == "True"));
    assert_eq!(stack["status"]["scrapes"], json!({"selected": count + 1, "accepted": count, "rejected": 1}));
    eprintln!("{count} LogScrapes in {used} ConfigMaps");
}

/// 44: many stacks at once: all become ready, with a bounded number of requests for each.
pub async fn stacks_at_once(cluster: &Cluster, count: usize) {
    let operator = cluster.operator(|options| options.settings.controller_id = Some("at-once".to_owned())).await;
    let all = namespaces("at-once", count.div_ceil(10));
    for ns in &all {
        cluster.namespace(ns, json!({})).await;
    }
    let before = requests(&operator, &["get", "post", "put", "patch", "delete"]);
    let start = Instant::now();
    let fields = "metadata: {labels: {logstack.dev/controller-id: at-once}}\nspec: {}";
    let documents = (0..count).map(|idx| (all[idx / 10].clone(), format!("s{}", idx % 10), fields.to_owned()));
    apply_all(cluster, "LogStack", documents).await;
    all_ready(cluster, "LogStack", &all, count, Duration::from_secs(600)).await;
    let took = start.elapsed();
    let asked = requests(&operator, &["get", "post", "put", "patch", "delete"]) - before;
    let each = asked / count as f64;
    eprintln!("{count} LogStacks at once: ready after {took:?}, {each:.1} requests each");
    assert!(each < REQUESTS_PER_STACK_MAX, "{each} requests for each of {count} stacks");
    for ns in &all {
        let list = cluster.dynamic("LogStack", ns).list(&Default::default()).await.expect("a list");
        for stack in list {
            cluster.delete(ns, "LogStack", stack.metadata.name.as_deref().unwrap_or_default()).await;
        }
    }
    for ns in &all {
        eventually("all are gone", async || {
            let list = cluster.dynamic("LogStack", ns).list(&Default::default()).await.ok()?;
            list.items.is_empty().then_some(())
        })
        .await;
    }
    operator.stop().await.expect("it stops");
}
