//! `logstack migrate` from the outside: what it prints is accepted, and a migrated job gives pods the labels that the
//! Promtail job gave them.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use logstack_collector::discovery::relabel::{public_labels, relabel};
use logstack_config::CollectorConfig;
use logstack_config::collector::ScrapeConfig;

const LOKI_STACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/src/migrate/testdata/loki-stack.yaml");
const PROMTAIL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/src/migrate/testdata/promtail.yaml");

fn logstack(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_logstack")).args(args).output().unwrap()
}

#[test]
fn prints_documents_that_check_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let out = logstack(&["migrate", "--namespace", "logging", LOKI_STACK]);
    let report = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{report}");
    assert!(report.contains("! ") && report.contains("grafana.enabled"), "{report}");
    let file = dir.path().join("stack.yaml");
    std::fs::write(&file, &out.stdout).unwrap();
    let check = logstack(&["check", file.to_str().unwrap()]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));

    // What was left makes `--strict` fail, a file that is nothing known is wrong usage.
    assert_eq!(logstack(&["migrate", "--strict", PROMTAIL]).status.code(), Some(1));
    std::fs::write(&file, "replicaCount: 1\n").unwrap();
    assert_eq!(logstack(&["migrate", file.to_str().unwrap()]).status.code(), Some(2));
}

/// Labels that discovery gives some pods.
fn pods() -> Vec<BTreeMap<String, String>> {
    let pod = |pairs: &[(&str, &str)]| {
        let common = [("__meta_kubernetes_pod_node_name", "node-1"), ("__meta_kubernetes_pod_uid", "u-1")];
        common.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let base = |namespace, name, container| {
        [
            ("__meta_kubernetes_namespace", namespace),
            ("__meta_kubernetes_pod_name", name),
            ("__meta_kubernetes_pod_container_name", container),
        ]
    };
    let gate = ("__meta_kubernetes_pod_annotation_prometheus_io_scrape", "true");
    let all = |base: [(&'static str, &'static str); 3], more: &[(&'static str, &'static str)]| {
        pod(&base.iter().chain(more).copied().collect::<Vec<_>>())
    };
    vec![
        all(
            base("matrix", "synapse-main-0", "synapse"),
            &[
                gate,
                ("__meta_kubernetes_pod_label_app_kubernetes_io_name", "synapse"),
                ("__meta_kubernetes_pod_label_app_kubernetes_io_instance", "main"),
                ("__meta_kubernetes_pod_label_team", "chat"),
                ("__meta_kubernetes_pod_controller_name", "synapse-main"),
            ],
        ),
        all(base("matrix", "redis-0", "redis"), &[("__meta_kubernetes_pod_label_app", "redis")]),
        all(
            base("ingress-nginx", "nginx-7d9c5b8f64-abcde", "controller"),
            &[gate, ("__meta_kubernetes_pod_controller_name", "nginx-7d9c5b8f64")],
        ),
        all(
            base("kube-system", "etcd-node-1", "etcd"),
            &[
                ("__meta_kubernetes_pod_annotation_prometheus_io_scrape", "True"),
                ("__meta_kubernetes_pod_annotationpresent_kubernetes_io_config_hash", "true"),
                ("__meta_kubernetes_pod_annotation_kubernetes_io_config_hash", "abc"),
            ],
        ),
    ]
}

/// Public labels and path of what a job reads of a pod; `None` when it does not.
///
/// The collector finds a static pod's folder by the hash of its configuration whichever of the two a rule wrote.
fn outcome(job: &ScrapeConfig, pod: &BTreeMap<String, String>) -> Option<(String, String)> {
    let rules = logstack_collector::settings::rules(job, 0).unwrap();
    let mut labels = pod.clone();
    let path = |labels: &BTreeMap<String, String>| labels.get("__path__").cloned().unwrap_or_default();
    relabel(&rules, &mut labels).then(|| (public_labels(&labels).to_string(), path(&labels).replace("abc", "u-1")))
}

/// Migrates a Promtail file with one job of pods, and compares both jobs on all pods.
#[track_caller]
fn same_labels(rules: &str) {
    let text = format!(
        "clients: [{{url: 'http://loki:3100/loki/api/v1/push'}}]
positions: {{filename: /p.yaml}}
scrape_configs:
  - job_name: pods
    kubernetes_sd_configs: [{{role: pod}}]
    pipeline_stages: [{{cri: {{}}}}]
    relabel_configs:
{rules}"
    );
    let (config, _) = logstack_config::load::<CollectorConfig>(&text, "promtail.yaml").unwrap();
    let migration = logstack_crds::migrate::migrate(&[("promtail.yaml", &text)], &Default::default()).unwrap();
    let yaml = migration.yaml().unwrap();
    let (documents, _) = logstack_crds::parse([("out.yaml", yaml.as_str())]).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    assert_eq!(documents.scrapes.len(), 1, "{yaml}");
    let stack = &documents.stacks[0].object.spec;
    let job = logstack_crds::render::render_job(&documents.scrapes[0].object, stack).unwrap();
    for pod in pods() {
        assert_eq!(outcome(&job, &pod), outcome(&config.scrape_configs[0], &pod), "{pod:#?}\n{yaml}");
    }
    assert_eq!(job.pipeline_stages, config.scrape_configs[0].pipeline_stages, "{yaml}");
}

const PATH: &str = "
      - source_labels: [__meta_kubernetes_pod_uid, __meta_kubernetes_pod_container_name]
        separator: /
        replacement: /var/log/pods/*$1/*.log
        target_label: __path__
";

/// The chart's own rules.
const CHART: &str = "
      - {source_labels: [__meta_kubernetes_pod_controller_name], regex: '([0-9a-z-.]+?)(-[0-9a-f]{8,10})?', action: replace, target_label: __tmp_controller_name}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name, __meta_kubernetes_pod_label_app, __tmp_controller_name, __meta_kubernetes_pod_name], regex: '^;*([^;]+)(;.*)?$', action: replace, target_label: app}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_instance, __meta_kubernetes_pod_label_instance], regex: '^;*([^;]+)(;.*)?$', action: replace, target_label: instance}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_component, __meta_kubernetes_pod_label_component], regex: '^;*([^;]+)(;.*)?$', action: replace, target_label: component}
      - {action: replace, source_labels: [__meta_kubernetes_pod_node_name], target_label: node_name}
      - {action: replace, source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {action: replace, replacement: $1, separator: /, source_labels: [namespace, app], target_label: job}
      - {action: replace, source_labels: [__meta_kubernetes_pod_name], target_label: pod}
      - {action: replace, source_labels: [__meta_kubernetes_pod_container_name], target_label: container}
      - {action: replace, replacement: /var/log/pods/*$1/*.log, separator: /, source_labels: [__meta_kubernetes_pod_uid, __meta_kubernetes_pod_container_name], target_label: __path__}
      - {action: replace, regex: true/(.*), replacement: /var/log/pods/*$1/*.log, separator: /, source_labels: [__meta_kubernetes_pod_annotationpresent_kubernetes_io_config_hash, __meta_kubernetes_pod_annotation_kubernetes_io_config_hash, __meta_kubernetes_pod_container_name], target_label: __path__}
";

#[test]
fn migrated_jobs_give_the_same_labels() {
    let gate =
        "      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: true}\n";
    let namespace = "      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}\n";
    same_labels(CHART);
    same_labels(&format!("{gate}{CHART}"));
    same_labels(&format!(
        "{CHART}{gate}      - {{source_labels: [__meta_kubernetes_pod_label_team], target_label: team}}\n"
    ));
    same_labels(&format!("{CHART}      - {{action: labeldrop, regex: instance|component}}\n"));
    // A rule of the user's between those of the chart: what it changes is read by the next.
    same_labels(&CHART.replace(
        "      - {action: replace, replacement: $1, separator: /",
        "      - {target_label: app, replacement: x}\n      - {action: replace, replacement: $1, separator: /",
    ));
    // Few labels, not the chart's.
    same_labels(&format!(
        "{gate}{namespace}      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}\n{PATH}"
    ));
    same_labels(&format!("{namespace}      - {{action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}}\n{PATH}"));
    // No namespace, another meaning of it, and `app` only where a label says so.
    same_labels(&format!("      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}\n{PATH}"));
    same_labels(&format!(
        "      - {{source_labels: [__meta_kubernetes_pod_node_name], target_label: namespace}}\n{PATH}"
    ));
    same_labels(&format!(
        "{namespace}      - {{source_labels: [__meta_kubernetes_pod_label_app], regex: (.+), target_label: app}}\n{PATH}"
    ));
    // Namespaces by list, by pattern, by exclusion.
    same_labels(&format!(
        "      - {{source_labels: [__meta_kubernetes_namespace], action: keep, regex: matrix|kube-system}}\n{CHART}"
    ));
    same_labels(&format!(
        "      - {{source_labels: [__meta_kubernetes_namespace], action: keep, regex: 'ma.*'}}\n{CHART}"
    ));
    same_labels(&format!(
        "      - {{source_labels: [__meta_kubernetes_namespace], action: drop, regex: kube-system}}\n{CHART}"
    ));
    // A gate that is also a drop.
    same_labels(&format!(
        "      - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: drop, regex: 'false|'}}\n{CHART}"
    ));
}

/// The keys that people have in their `loki-values.yaml`, each against what Loki and Promtail make of it.
#[test]
fn values_of_loki_stack_mean_the_same_afterwards() {
    let text = std::fs::read_to_string(LOKI_STACK).unwrap();
    let values: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let jobs = values["promtail"]["config"]["snippets"]["scrapeConfigs"].as_str().unwrap();
    // The same jobs, where another release of the chart had them.
    let mut elsewhere = values.clone();
    elsewhere["promtail"]["config"]["snippets"] = serde_yaml::Value::Null;
    elsewhere["promtail"]["config"]["scrapeConfigs"] = jobs.into();
    let elsewhere = serde_yaml::to_string(&elsewhere).unwrap();
    for text in [&text, &elsewhere] {
        let migration = logstack_crds::migrate::migrate(&[("values.yaml", text)], &Default::default()).unwrap();
        let yaml = migration.yaml().unwrap();
        let (documents, _) = logstack_crds::parse([("out.yaml", yaml.as_str())]).unwrap();
        assert_eq!((documents.stacks.len(), documents.scrapes.len()), (1, 1), "{yaml}");
        let spec = &migration.objects[0]["spec"];
        // loki.persistence and promtail.resources, as they are.
        assert_eq!(spec["engine"]["storage"]["size"], "50Gi");
        assert_eq!(spec["engine"]["storage"]["storageClassName"], "fast-ssd");
        let resources = serde_json::to_value(&values["promtail"]["resources"]).unwrap();
        assert_eq!(spec["collector"]["resources"], resources);
        // loki.config: limits and retention as the engine resolves them of Loki's own file.
        let loki = serde_yaml::to_string(&values["loki"]["config"]).unwrap();
        let (before, _) = logstack_config::load::<logstack_config::EngineConfig>(&loki, "loki.yaml").unwrap();
        let place = logstack_crds::Placement {
            listen_address: "127.0.0.1".to_owned(),
            listen_port: 3100,
            data_dir: "/data".into(),
        };
        let after = logstack_crds::standalone(&documents, &place).unwrap().0.engine.unwrap();
        assert_eq!(after.resolved_limits(), before.resolved_limits());
        // promtail.config…scrapeConfigs: the same pods with the same labels, through the same stages.
        let own = format!("clients: [{{url: 'http://loki:3100'}}]\nscrape_configs:\n{}", indent(jobs));
        let (config, _) = logstack_config::load::<CollectorConfig>(&own, "promtail.yaml").unwrap();
        let job = logstack_crds::render::render_job(&documents.scrapes[0].object, &documents.stacks[0].object.spec);
        let job = job.unwrap();
        let mut collected = 0;
        for pod in pods() {
            let want = outcome(&config.scrape_configs[0], &pod);
            assert_eq!(outcome(&job, &pod), want, "{pod:#?}\n{yaml}");
            collected += usize::from(want.is_some());
        }
        assert_eq!(collected, 2, "the gate is the annotation");
        assert_eq!(job.pipeline_stages, config.scrape_configs[0].pipeline_stages);
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
