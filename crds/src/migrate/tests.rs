//! Whole values files: what comes out, what is said, and that nothing is lost between the two.

use logstack_config::{CollectorConfig, EngineConfig};

use super::*;
use crate::{Placement, Standalone, parse, standalone};

fn migrate_texts(files: &[(&str, &str)]) -> Migration {
    migrate(files, &Options::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The report as it is printed: `!` left, `-` not needed, `+` carried.
fn report(migration: &Migration) -> String {
    let line = |note: &Note| {
        let sign = match note.fate {
            Fate::Carried(_) => '+',
            Fate::NotNeeded(_) => '-',
            Fate::Left(_) => '!',
        };
        format!("{sign} {note}\n")
    };
    migration.notes.iter().map(line).collect()
}

/// Reads the output as `logstack check` and `logstack run` do: no mistakes.
#[track_caller]
fn accept(migration: &Migration) -> Standalone {
    let yaml = migration.yaml().unwrap();
    let findings = crate::check([("out.yaml", yaml.as_str())]);
    let mistakes: Vec<String> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}\n{yaml}");
    let (documents, _) = parse([("out.yaml", yaml.as_str())]).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"));
    let placement = Placement { listen_address: "127.0.0.1".to_owned(), listen_port: 3100, data_dir: "/data".into() };
    standalone(&documents, &placement).unwrap_or_else(|errors| panic!("{errors}\n{yaml}")).0
}

#[track_caller]
fn golden(name: &str, files: &[(&str, &str)]) -> (Migration, Standalone) {
    let migration = migrate_texts(files);
    let standalone = accept(&migration);
    insta::assert_snapshot!(format!("{name}_objects"), migration.yaml().unwrap());
    insta::assert_snapshot!(format!("{name}_report"), report(&migration));
    (migration, standalone)
}

#[test]
fn values_of_loki_stack() {
    let (_, standalone) = golden("loki_stack", &[("values.yaml", include_str!("testdata/loki-stack.yaml"))]);
    let engine = standalone.engine.unwrap();
    assert!(!engine.auth_enabled);
    let limits = engine.resolved_limits();
    assert_eq!(limits.retention_period.to_string(), "30d");
    assert_eq!((limits.ingestion_rate_mb, limits.ingestion_burst_size_mb), (16.0, 32.0));
}

#[test]
fn values_of_promtail() {
    let (migration, _) = golden("promtail", &[("promtail.yaml", include_str!("testdata/promtail.yaml"))]);
    assert_eq!(migration.objects[0]["spec"]["engine"]["external"]["url"], "http://loki-gateway");
}

#[test]
fn values_of_loki_6_with_promtail() {
    let files =
        [("promtail.yaml", include_str!("testdata/promtail.yaml")), ("loki.yaml", include_str!("testdata/loki6.yaml"))];
    let (migration, _) = golden("loki6", &files);
    let many = include_str!("testdata/loki6.yaml").replace("auth_enabled: false", "auth_enabled: true");
    let tenants = migrate_texts(&[("loki.yaml", &many)]);
    accept(&tenants);
    assert_eq!(tenants.objects[0]["spec"]["engine"]["limits"]["tenants"]["team-a"]["retentionPeriod"], "90d");
    assert!(migration.objects[0]["spec"]["engine"].get("external").is_none());
}

#[test]
fn a_limit_means_the_same_afterwards() {
    /// `limits` as Loki's file has them, and after the migration, as the engine resolves them.
    #[track_caller]
    fn check(limits: &str) {
        let text = format!(
            "auth_enabled: false\ncompactor: {{retention_enabled: true, delete_request_store: filesystem}}\nlimits_config: {{{limits}}}\n"
        );
        let (before, _) = logstack_config::load::<EngineConfig>(&text, "loki.yaml").unwrap();
        let after = accept(&migrate_texts(&[("loki.yaml", &text)])).engine.unwrap();
        let only = |config: &EngineConfig| {
            let default = logstack_config::Limits::default();
            logstack_config::differences(&config.resolved_limits(), &default).unwrap()
        };
        let (before, after) = (only(&before), only(&after));
        for (key, value) in before.as_mapping().unwrap() {
            assert_eq!(after.get(key), Some(value), "{limits}: {key:?}");
        }
    }
    check("ingestion_rate_mb: 32, ingestion_burst_size_mb: 64");
    check("ingestion_rate_mb: 4.5, ingestion_burst_size_mb: 9.5");
    check("max_line_size: 300KB, max_line_size_truncate: true, per_stream_rate_limit: 5MB");
    check("query_timeout: 5m, max_query_length: 30d, max_entries_limit_per_query: 20000, max_query_series: 1000");
    check("max_global_streams_per_user: 0, max_label_names_per_series: 30, max_concurrent_tail_requests: 3");
    check("reject_old_samples: false, reject_old_samples_max_age: 3w, creation_grace_period: 1h");
    check("retention_period: 744h, retention_stream: [{selector: '{a=\"b\"}', period: 24h, priority: 2}]");
    check("unordered_writes: false, deletion_mode: disabled");
}

#[test]
fn retention_is_what_loki_did() {
    #[track_caller]
    fn check(text: &str, want: &str, left: usize) {
        let migration = migrate_texts(&[("loki.yaml", text)]);
        assert_eq!(migration.objects[0]["spec"]["engine"]["retention"]["period"], want, "{text}");
        assert_eq!(migration.left().count(), left, "{text}\n{}", report(&migration));
    }
    check("auth_enabled: false", "0", 0);
    check("limits_config: {retention_period: 720h}\ncompactor: {retention_enabled: true}", "720h", 0);
    check("limits_config: {retention_period: 720h}", "720h", 1);
    check("limits_config: {retention_period: 0s}", "0", 0);
    check("table_manager: {retention_deletes_enabled: true, retention_period: 720h}", "720h", 0);
    check("table_manager: {retention_deletes_enabled: false, retention_period: 720h}", "0", 0);
    check(
        "limits_config: {retention_period: 24h}\ntable_manager: {retention_deletes_enabled: true, retention_period: 720h}",
        "24h",
        1,
    );
}

#[test]
fn every_key_is_accounted_for() {
    /// Each leaf of the file is at or below the path of a note.
    #[track_caller]
    fn check(text: &str) {
        let migration = migrate_texts(&[("values.yaml", text)]);
        let document = source::expand(&Document::parse(text, "values.yaml"), "values.yaml");
        let mut leaves = Vec::new();
        collect(&At::root(&document), &mut leaves);
        for leaf in leaves {
            let is_named = migration.notes.iter().any(|note| {
                leaf.strip_prefix(note.path.as_str())
                    .is_some_and(|rest| rest.is_empty() || (!note.path.is_empty() && rest.starts_with(['.', '['])))
            });
            assert!(is_named, "{leaf} is not named\n{}", report(&migration));
        }
    }
    fn collect(at: &At<'_>, leaves: &mut Vec<String>) {
        let children: Vec<At<'_>> = at.entries().into_iter().map(|(_, at)| at).chain(at.items()).collect();
        if children.is_empty() && !at.is_empty() {
            leaves.push(at.path.clone());
        }
        children.iter().for_each(|child| collect(child, leaves));
    }
    check(include_str!("testdata/loki-stack.yaml"));
    check(include_str!("testdata/promtail.yaml"));
    check(include_str!("testdata/loki6.yaml"));
    check("loki: {persistence: {enabled: true}, strange: {a: [1, {b: 2}]}, config: {limits_config: {no_such: 1}}}");
    check("promtail: {config: {snippets: {scrapeConfigs: 5}}}");
}

#[test]
fn nothing_crashes_it() {
    for text in [
        "loki: 1",
        "loki: []",
        "promtail: x",
        "promtail: {config: []}",
        "loki: {persistence: x, config: [1]}",
        "loki: {config: {limits_config: 3, table_manager: []}}",
        "config: {clients: 3}",
        "scrape_configs: {}",
        "scrape_configs: [1, null, {}]",
        "clients: [1]\npositions: {}",
        "loki: {config: 'auth: {{ .x }}'}",
        "deploymentMode: {}\nsingleBinary: []",
        "promtail: {config: {snippets: {scrapeConfigs: '- a: ['}}}",
    ] {
        let migration = migrate_texts(&[("values.yaml", text)]);
        assert!(migration.yaml().is_ok(), "{text}");
    }
}

#[test]
fn refuses_what_it_cannot_read() {
    #[track_caller]
    fn check(files: &[(&str, &str)], want: &str) {
        let errors = migrate(files, &Options::default()).unwrap_err().to_string();
        assert!(errors.contains(want), "{errors}");
    }
    check(&[("a.yaml", "replicaCount: 3\n")], "a.yaml:1: is neither values of loki-stack");
    check(&[("a.yaml", "loki: [\n")], "a.yaml");
    check(
        &[("a.yaml", "loki: {enabled: true}"), ("b.yaml", "auth_enabled: true")],
        "b.yaml:1: is a second description",
    );
}

#[test]
fn templates_are_named() {
    let text = "promtail:\n  config:\n    snippets:\n      scrapeConfigs: |\n        - job_name: x\n          pipeline_stages: {{ toYaml .Values.x }}\n";
    let migration = migrate_texts(&[("values.yaml", text)]);
    let left: Vec<String> = migration.left().map(ToString::to_string).collect();
    assert!(
        left.iter().any(
            |note| note.starts_with("values.yaml:4: promtail.config.snippets.scrapeConfigs: holds a Helm template")
        ),
        "{left:?}"
    );
}

#[test]
fn templates_of_snippets_are_evaluated() {
    let text = "config:
  clients: [{url: http://loki-gateway/loki/api/v1/push}]
  snippets:
    pipelineStages: [{cri: {}}, {multiline: {firstline: '^x'}}]
    extraRelabelConfigs: [{source_labels: [__meta_kubernetes_pod_label_team], target_label: team}]
    extraScrapeConfigs: ''
    scrapeConfigs: |
      - job_name: kubernetes-pods
        pipeline_stages:
          {{- toYaml .Values.config.snippets.pipelineStages | nindent 4 }}
        kubernetes_sd_configs: [{role: pod}]
        relabel_configs:
          {{- if .Values.config.snippets.addScrapeJobLabel }}
          - {replacement: kubernetes-pods, target_label: scrape_job}
          {{- end }}
          {{- toYaml .Values.config.snippets.common | nindent 4 }}
          {{- with .Values.config.snippets.extraRelabelConfigs }}
          {{- toYaml . | nindent 4 }}
          {{- end }}
  file: |
    clients: {{ toYaml .Values.config.clients }}
    scrape_configs: {{ tpl .Values.config.snippets.scrapeConfigs . }}
";
    let migration = migrate_texts(&[("promtail.yaml", text)]);
    accept(&migration);
    assert_eq!(migration.left().count(), 0, "{}", report(&migration));
    let scrape = &migration.objects[1];
    assert_eq!(scrape["metadata"]["name"], "kubernetes-pods");
    assert_eq!(scrape["spec"]["pipelineStages"][0]["multiline"]["firstline"], "^x");
    let rules = scrape["spec"]["relabelings"].as_array().unwrap();
    assert_eq!(rules.last().unwrap()["targetLabel"], "team");
    // A value from elsewhere is not guessed.
    let elsewhere = text.replace(".Values.config.snippets.pipelineStages", ".Values.stages");
    let migration = migrate_texts(&[("promtail.yaml", &elsewhere)]);
    assert!(migration.left().any(|note| note.path == "config.snippets.scrapeConfigs"), "{}", report(&migration));
}

#[test]
fn what_is_switched_off_is_not_missed() {
    let text = "deploymentMode: SimpleScalable
loki: {auth_enabled: false}
singleBinary:
  replicas: 0
  affinity: {podAntiAffinity: {x: '{{ .Release.Name }}'}}
ingress: {enabled: false, hosts: [a]}
networkPolicy: {enabled: false, flavor: kubernetes}
";
    let migration = migrate_texts(&[("loki.yaml", text)]);
    accept(&migration);
    assert_eq!(migration.left().count(), 0, "{}", report(&migration));
    // Nothing hibernates, and no template gets into an object.
    assert_eq!(migration.objects[0]["spec"]["engine"].get("replicas"), None);
    assert_eq!(migration.objects[0]["spec"]["engine"].get("affinity"), None);
}

#[test]
fn mistakes_in_embedded_jobs_have_the_line_of_the_file() {
    let migration = migrate_texts(&[("promtail.yaml", include_str!("testdata/promtail.yaml"))]);
    let left: Vec<String> = migration.left().map(ToString::to_string).collect();
    let line =
        1 + include_str!("testdata/promtail.yaml").lines().position(|line| line.contains("job_name: broken")).unwrap();
    let want = format!("promtail.yaml:{line}: config.snippets.extraScrapeConfigs[3]: is left out:");
    assert!(left.iter().any(|note| note.starts_with(&want)), "{want}\n{left:#?}");
}

#[test]
fn an_own_file_of_promtail_keeps_its_jobs() {
    let text = "
server: {http_listen_port: 9080}
positions: {filename: /tmp/p.yaml}
clients: [{url: 'http://loki.example.com/loki/api/v1/push', tenant_id: a}]
scrape_configs:
  - job_name: sys
    static_configs: [{targets: [localhost], labels: {job: varlogs, __path__: /var/log/*log}}]
";
    let migration = migrate_texts(&[("promtail.yaml", text)]);
    let standalone = accept(&migration);
    assert!(standalone.engine.is_none());
    let collector: CollectorConfig = standalone.collector.unwrap();
    assert_eq!(collector.clients[0].url, "http://loki.example.com/loki/api/v1/push");
    assert_eq!(collector.clients[0].tenant_id, "a");
    assert_eq!(collector.scrape_configs[0].static_configs[0].labels["job"], "varlogs");
    assert_eq!(migration.left().count(), 0, "{}", report(&migration));
}
