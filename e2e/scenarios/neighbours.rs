//! Several stacks, and several operators, side by side; and one operator after the other.

use serde_json::{Value, json};

use super::ready;
use crate::cluster::{Cluster, eventually};

/// A document of the operator with this id.
fn of(id: &str, spec: &str) -> String {
    format!("metadata: {{labels: {{logstack.dev/controller-id: {id}}}}}\nspec: {spec}")
}

/// 38: two stacks of one namespace select the same LogScrape: a binding each, and what one does is not seen in the other.
pub async fn two_stacks(cluster: &Cluster) {
    let ns = "e2e-two-stacks";
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "more", "spec: {}").await;
    cluster.condition(ns, "LogStack", "more", "Ready", "AllReady").await;
    cluster.apply(ns, "LogScrape", "a", "spec: {}").await;
    let names = |scrape: &Value| -> Vec<String> {
        let bindings = scrape["status"]["bindings"].as_array().into_iter().flatten();
        bindings.map(|binding| binding["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let both = |scrape: &Value| names(scrape) == ["logs", "more"];
    cluster.until(ns, "LogScrape", "a", "bound twice", both).await;
    cluster.condition(ns, "LogScrape", "a", "Ready", "Programmed").await;
    for stack in ["logs", "more"] {
        let map = cluster.get(ns, "ConfigMap", &format!("{stack}-collector-jobs-0")).await.expect("jobs");
        assert!(map["data"].get(format!("{ns}.a.yaml")).is_some(), "{stack}");
        assert_eq!(map["metadata"]["labels"]["logstack.dev/stack"], format!("{ns}.{stack}"));
    }
    let hash = cluster.get(ns, "LogStack", "logs").await.expect("a stack")["status"]["lastAppliedConfigHash"].clone();
    cluster.apply(ns, "LogStack", "more", "spec: {engine: {retention: {period: 3d}}}").await;
    cluster.until(ns, "ConfigMap", "more-engine-runtime", "3 days", |map| map["data"].to_string().contains("3d")).await;
    cluster.delete(ns, "LogStack", "more").await;
    cluster.gone(ns, "LogStack", "more").await;
    cluster.until(ns, "LogScrape", "a", "bound once", |scrape| names(scrape) == ["logs"]).await;
    let stack = cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
    assert_eq!(stack["status"]["lastAppliedConfigHash"], hash, "the neighbour has not changed");
}

/// 38: operators with different ids do not see each other's objects; a LogScrape of one is not in the jobs of the other.
pub async fn controller_ids(cluster: &Cluster) {
    let ns = "e2e-ids";
    let blue = cluster.operator(|options| options.settings.controller_id = Some("blue".to_owned())).await;
    ready(cluster, ns, "{}").await;
    cluster.apply(ns, "LogStack", "blue", &of("blue", "{}")).await;
    cluster.condition(ns, "LogStack", "blue", "Ready", "AllReady").await;
    cluster.apply(ns, "LogScrape", "b", &of("blue", "{}")).await;
    cluster.apply(ns, "LogScrape", "g", "spec: {}").await;
    for (scrape, stack) in [("b", "blue"), ("g", "logs")] {
        let scrape = cluster.condition(ns, "LogScrape", scrape, "Ready", "Programmed").await;
        assert_eq!(scrape["status"]["bindings"].as_array().map(Vec::len), Some(1));
        assert_eq!(scrape["status"]["bindings"][0]["name"], stack);
    }
    blue.stop().await.expect("it stops");
    // Without its operator nobody looks after it.
    cluster.apply(ns, "LogStack", "blue", &of("blue", "{engine: {retention: {period: 3d}}}")).await;
    cluster.apply(ns, "LogStack", "logs", "spec: {engine: {retention: {period: 3d}}}").await;
    cluster.until(ns, "ConfigMap", "logs-engine-runtime", "3 days", |map| map["data"].to_string().contains("3d")).await;
    let map = cluster.get(ns, "ConfigMap", "blue-engine-runtime").await.expect("a map");
    assert!(!map["data"].to_string().contains("3d"));
    // Its successor ends what it left.
    let blue = cluster.operator(|options| options.settings.controller_id = Some("blue".to_owned())).await;
    cluster.until(ns, "ConfigMap", "blue-engine-runtime", "3 days", |map| map["data"].to_string().contains("3d")).await;
    cluster.delete(ns, "LogStack", "blue").await;
    cluster.gone(ns, "LogStack", "blue").await;
    blue.stop().await.expect("it stops");
}

/// 43: with a new default image stacks roll one after the other; one that is held, and one that names its image, do not.
pub async fn default_image(cluster: &Cluster) {
    let ns = "e2e-upgrade";
    let start = |image: &str| {
        let image = image.to_owned();
        cluster.operator(move |options| {
            options.settings.controller_id = Some("upgrade".to_owned());
            options.settings.image = image;
        })
    };
    cluster.namespace(ns, json!({})).await;
    let old = start("logstack:1").await;
    let rolling = ["a", "b", "c"];
    for name in rolling {
        cluster.apply(ns, "LogStack", name, &of("upgrade", "{}")).await;
    }
    let held = "metadata: {labels: {logstack.dev/controller-id: upgrade}, annotations: {logstack.dev/hold-upgrade: 'true'}}\nspec: {}";
    cluster.apply(ns, "LogStack", "held", held).await;
    // The first by name, and nobody waits for it.
    cluster.apply(ns, "LogStack", "a-paused", &of("upgrade", "{}")).await;
    cluster.apply(ns, "LogStack", "pinned", &of("upgrade", "{image: 'logstack:mine'}")).await;
    for name in rolling.into_iter().chain(["held", "pinned", "a-paused"]) {
        cluster.condition(ns, "LogStack", name, "Ready", "AllReady").await;
    }
    let pause = json!({"metadata": {"annotations": {"logstack.dev/paused": "true"}}});
    cluster.merge(ns, "LogStack", "a-paused", pause).await;
    cluster.condition(ns, "LogStack", "a-paused", "Paused", "Paused").await;
    old.stop().await.expect("it stops");
    let new = start("logstack:2").await;
    let image = async |name: &str| {
        let set = cluster.get(ns, "StatefulSet", &format!("{name}-engine")).await.unwrap_or_default();
        set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
    };
    eventually("all three have the new image", async || {
        for idx in (0..rolling.len()).rev() {
            if image(rolling[idx]).await != "logstack:2" {
                continue;
            }
            // It began, so the one before it has come to its end.
            if let Some(before) = idx.checked_sub(1).map(|before| rolling[before]) {
                let pod = cluster.get(ns, "Pod", &format!("{before}-engine-0")).await.unwrap_or_default();
                assert_eq!(pod["spec"]["containers"][0]["image"], "logstack:2", "{before} before {}", rolling[idx]);
                assert_eq!(pod["status"]["phase"], "Running", "{before} before {}", rolling[idx]);
            }
            return (idx + 1 == rolling.len()).then_some(());
        }
        None
    })
    .await;
    assert_eq!(image("held").await, "logstack:1");
    assert_eq!(image("pinned").await, "logstack:mine");
    assert_eq!(image("a-paused").await, "logstack:1");
    let lift = json!({"metadata": {"annotations": {"logstack.dev/hold-upgrade": null}}});
    cluster.merge(ns, "LogStack", "held", lift).await;
    eventually("held no more", async || (image("held").await == "logstack:2").then_some(())).await;
    new.stop().await.expect("it stops");
}

/// 42: an operator that finds objects of a newer one: fields that it does not know stay, and it goes on. Its own upgrade
/// restarts nothing: pods keep their uid when a second process takes over.
pub async fn unknown_fields(cluster: &Cluster) {
    let ns = "e2e-unknown";
    ready(cluster, ns, "{}").await;
    let pod = cluster.get(ns, "Pod", "logs-engine-0").await.expect("a pod");
    cluster
        .with_definition("logstacks.logstack.dev", "/spec/properties/future", json!({"type": "string"}), async || {
            eventually("the field is served", async || {
                let spec = "spec: {future: 'yes', engine: {retention: {period: 6d}}}";
                cluster.try_apply(ns, "LogStack", "logs", spec).await.ok()?;
                let stack = cluster.get(ns, "LogStack", "logs").await?;
                (stack["spec"]["future"] == "yes").then_some(())
            })
            .await;
            let is_new = |map: &Value| map["data"].to_string().contains("6d");
            cluster.until(ns, "ConfigMap", "logs-engine-runtime", "6 days", is_new).await;
            let stack = cluster.condition(ns, "LogStack", "logs", "Ready", "AllReady").await;
            assert_eq!(stack["spec"]["future"], "yes", "what we do not know stays");
        })
        .await;
    let same = cluster.get(ns, "Pod", "logs-engine-0").await.expect("a pod");
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"], "nothing restarts");
}
