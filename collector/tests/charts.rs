//! Configurations as people have them, unchanged, against a recorded list of pods: the charts' defaults, the five jobs of
//! older ones, and a gate by annotation.
//!
//! The charts' files are what helm makes of the charts in `grafana/helm-charts`, not a byte changed below the first line:
//!
//! ```text
//! helm template loki charts/promtail --show-only templates/secret.yaml     (2.1.0: templates/configmap.yaml)
//! ```
//!
//! loki-stack has its values for promtail under `promtail:`; they were given to the chart with `-f`.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Error, Event};
use logstack_collector::discovery::kubernetes::{Answered, follow};
use logstack_collector::discovery::targets::Targets;
use logstack_collector::settings;
use logstack_config::{CollectorConfig, Options};

const CLIENT_URL: &str = "http://loki:3100/loki/api/v1/push";

fn testdata(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// Targets of `config` on the recorded pods: labels, path, other paths. Dropped ones are counted by reason.
async fn discovered(config: &str) -> (Vec<String>, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The old chart gives the URL as an argument, `-client.url`.
    let set = [format!("client.url={CLIENT_URL}")];
    let is_old = config.starts_with("promtail-2.");
    let options = Options { env: None, set: if is_old { &set } else { &[] } };
    let (config, _) =
        logstack_config::load_with::<CollectorConfig>(&testdata(config), config, &options).expect("it is accepted");
    logstack_collector::check(&config).expect("it can be used");
    let pods: Vec<Pod> = serde_json::from_str(&testdata("pods.json")).expect("pods");
    let targets = Targets::default();
    let followed = settings::targets(&config, &targets, "node-1").expect("rules compile");
    let events: Vec<Result<Event<Pod>, Error>> = [Ok(Event::Init)]
        .into_iter()
        .chain(pods.into_iter().map(|pod| Ok(Event::InitApply(pod))))
        .chain([Ok(Event::InitDone)])
        .collect();
    follow(
        &followed.pods,
        futures::stream::iter(events),
        futures::stream::pending(),
        &targets,
        "node-1",
        &Answered::default(),
    )
    .await;
    let show = |target: &logstack_collector::discovery::Target| {
        let aliases: Vec<&str> = target.aliases.iter().map(|alias| alias.pattern()).collect();
        format!("{} {} {}", target.labels, target.path.pattern(), aliases.join(" ")).trim_end().to_owned()
    };
    let mut active: Vec<String> = targets.active().iter().map(show).collect();
    active.sort();
    let mut dropped: Vec<&str> = targets
        .all()
        .iter()
        .flat_map(|(_, found)| {
            found.iter().filter_map(|found| found.outcome.as_ref().err()).map(|reason| reason.name())
        })
        .collect();
    dropped.sort_unstable();
    (active, dropped.join(" "))
}

#[tokio::test]
async fn the_charts_defaults() {
    let labels = |app: &str, container: &str, namespace: &str, pod: &str, more: &str| {
        format!(
            r#"{{app="{app}", {more}container="{container}", job="{namespace}/{app}", namespace="{namespace}", node_name="node-1", pod="{pod}"}}"#
        )
    };
    let web = |container: &str| {
        let labels = format!(
            r#"{{app="web", component="frontend", container="{container}", instance="main", job="shop/web", namespace="shop", node_name="node-1", pod="web-5d8f7c9b6d-x2x7q"}}"#
        );
        format!("{labels} /var/log/pods/*11111111-aaaa/{container}/*.log")
    };
    let etcd = labels("node-1", "etcd", "kube-system", "etcd-node-1", r#"component="etcd", "#);
    let mut want = vec![
        web("debugger"),
        web("setup"),
        web("web"),
        format!("{} /var/log/pods/*22222222-aaaa/api/*.log", labels("api", "api", "shop", "api-7", "")),
        format!("{} /var/log/pods/*33333333-aaaa/agent/*.log", labels("agent", "agent", "ops", "agent-ab12c", "")),
        format!("{} /var/log/pods/*44444444-aaaa/main/*.log", labels("worker", "main", "ops", "job-28391-zz9zz", "")),
        format!("{etcd} /var/log/pods/*0123abcd/etcd/*.log"),
    ];
    want.sort();
    for chart in ["promtail-6.17.1.yaml", "loki-stack-2.10.3.yaml"] {
        let (active, dropped) = discovered(chart).await;
        assert_eq!(active, want, "{chart}");
        assert_eq!(dropped, "", "{chart}");
    }
}

#[tokio::test]
async fn the_five_jobs_of_older_charts() {
    let (active, _) = discovered("promtail-2.1.0.yaml").await;
    let want = [
        // By controller, through a replica set.
        r#"{container="main", job="ops/worker", namespace="ops", pod="job-28391-zz9zz"} /var/log/pods/*44444444-aaaa/main/*.log"#,
        // By controller.
        r#"{container="agent", job="ops/agent", namespace="ops", pod="agent-ab12c"} /var/log/pods/*33333333-aaaa/agent/*.log"#,
        // By the label app; labelmap takes all others too.
        r#"{app="api", container="api", job="shop/api", namespace="shop", pod="api-7", team="core"} /var/log/pods/*22222222-aaaa/api/*.log"#,
        // Static, by two jobs, as it is in Promtail: the node controls it, too.
        r#"{component="etcd", container="etcd", job="kube-system/etcd", namespace="kube-system", pod="etcd-node-1", tier="control-plane"} /var/log/pods/*0123abcd/etcd/*.log"#,
        r#"{component="etcd", container="etcd", job="kube-system/node-1", namespace="kube-system", pod="etcd-node-1", tier="control-plane"} /var/log/pods/*55555555-aaaa/etcd/*.log /var/log/pods/*0123abcd/etcd/*.log"#,
        r#"{app_kubernetes_io_component="frontend", app_kubernetes_io_instance="main", app_kubernetes_io_name="web", container="debugger", job="shop/web", namespace="shop", pod="web-5d8f7c9b6d-x2x7q", pod_template_hash="5d8f7c9b6d"} /var/log/pods/*11111111-aaaa/debugger/*.log"#,
        r#"{app_kubernetes_io_component="frontend", app_kubernetes_io_instance="main", app_kubernetes_io_name="web", container="setup", job="shop/web", namespace="shop", pod="web-5d8f7c9b6d-x2x7q", pod_template_hash="5d8f7c9b6d"} /var/log/pods/*11111111-aaaa/setup/*.log"#,
        r#"{app_kubernetes_io_component="frontend", app_kubernetes_io_instance="main", app_kubernetes_io_name="web", container="web", job="shop/web", namespace="shop", pod="web-5d8f7c9b6d-x2x7q", pod_template_hash="5d8f7c9b6d"} /var/log/pods/*11111111-aaaa/web/*.log"#,
    ];
    let mut want: Vec<&str> = want.to_vec();
    want.sort_unstable();
    assert_eq!(active, want);
}

#[tokio::test]
async fn a_gate_by_annotation() {
    let (active, dropped) = discovered("gate.yaml").await;
    assert_eq!(dropped, "dropped dropped dropped dropped");
    let want = ["debugger", "setup", "web"].map(|container| {
        format!(
            r#"{{container="{container}", namespace="shop", pod="web-5d8f7c9b6d-x2x7q"}} /var/log/pods/*11111111-aaaa/{container}/*.log"#
        )
    });
    assert_eq!(active, want, "\"True\" and \"false\" do not pass");

    // The same in the chart's way.
    let (active, dropped) = discovered("promtail-6.17.1-gate.yaml").await;
    assert_eq!(dropped, "dropped dropped dropped dropped");
    let (all, _) = discovered("promtail-6.17.1.yaml").await;
    let want: Vec<String> = all.into_iter().filter(|target| target.contains("pod=\"web-5d8f7c9b6d-x2x7q\"")).collect();
    assert_eq!(want.len(), 3);
    assert_eq!(active, want);
}
