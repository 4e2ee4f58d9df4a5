//! Whole collector files: users' own, and every kind of mistake.

use super::stage::{CriStage, DropStage, LabelsStage, PackStage, SourceList, StructuredMetadataStage};
use super::*;
use crate::load::load;
use crate::secret::Secret;

/// The configuration and its warnings, a line each.
#[track_caller]
fn read(text: &str) -> (CollectorConfig, String) {
    let (config, warnings) = load::<CollectorConfig>(text, "promtail.yaml").unwrap_or_else(|e| panic!("{e}"));
    (config, warnings.0.iter().map(|w| format!("{w}\n")).collect())
}

#[track_caller]
fn stage(text: &str) -> Stage {
    let config = format!(
        "clients: [{{url: http://h}}]\nscrape_configs: [{{job_name: a, journal: {{}}, pipeline_stages: [{text}]}}]"
    );
    read(&config).0.scrape_configs.remove(0).pipeline_stages.remove(0)
}

#[test]
fn reads_the_chart() {
    let (config, warnings) = read(include_str!("testdata/chart.yaml"));
    let want = "promtail.yaml:91: tracing: is accepted and ignored: the collector writes logs and metrics, no traces\n";
    assert_eq!(warnings, want);
    // The chart renders an empty `limits_config:`, which in Promtail zeroes the block.
    assert_eq!(config.limits_config, CollectorLimits::default());
    assert_eq!(config.positions.filename.to_str(), Some("/run/promtail/positions.yaml"));
    let job = &config.scrape_configs[0];
    assert_eq!((job.source(), job.relabel_configs.len()), (Some(Source::Files), 11));
    assert_eq!(job.kubernetes_sd_configs[0].role, Some(Role::Pod));
    assert_eq!(job.pipeline_stages, [Stage::Cri(CriStage::default())]);
    assert_eq!(job.relabel_configs[10].regex, "true/(.*)");
}

#[test]
fn reads_everything() {
    let (config, warnings) = read(include_str!("testdata/everything.yaml"));
    insta::assert_snapshot!("everything_warnings", warnings);
    insta::assert_snapshot!("everything", serde_yaml::to_string(&config).unwrap());
}

#[test]
fn what_is_printed_is_read_back() {
    let (mut config, _) = read(include_str!("testdata/everything.yaml"));
    // Secrets are not printed.
    config.clients[1].bearer_token = Secret::default();
    let printed = serde_yaml::to_string(&config).unwrap();
    assert_eq!(read(&printed).0, config);
}

#[test]
fn reports_every_mistake_at_once() {
    let errors = load::<CollectorConfig>(include_str!("testdata/mistakes.yaml"), "promtail.yaml").unwrap_err();
    let all: String = errors.findings().iter().map(|f| format!("{:?} {f}\n", f.severity)).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn any_scalar_is_text_and_null_is_empty() {
    #[track_caller]
    fn check(rule: &str, regex: &str, replacement: &str) {
        let text = format!(
            "clients: [{{url: http://h}}]\nscrape_configs: [{{job_name: a, journal: {{}}, relabel_configs: [{{target_label: x, {rule}}}]}}]"
        );
        let (config, _) = read(&text);
        let rule = &config.scrape_configs[0].relabel_configs[0];
        assert_eq!((rule.regex.as_str(), rule.replacement.as_str()), (regex, replacement));
    }
    check("regex: true, replacement: 1", "true", "1");
    check("regex: 8080", "8080", "$1");
    check("regex: 1.50", "1.50", "$1");
    check("regex: , replacement: ~", "", "");
    check("regex: ''", "", "$1");
    check("action: REPLACE", "(.*)", "$1");
}

#[test]
fn null_zeroes_a_value_and_warns_of_bare_nanoseconds() {
    let text = "clients: [{url: http://h, batchwait: }]\npositions: {sync_period: 10}\n";
    let (config, warnings) = read(text);
    assert_eq!(config.clients[0].batchwait, GoDuration::ZERO);
    assert_eq!(config.positions.sync_period.get().as_nanos(), 10);
    let want =
        "promtail.yaml:2: positions.sync_period: 10 without a unit means nanoseconds (hint: write 10s or 10ms)\n";
    assert_eq!(warnings, want);
}

#[test]
fn stages_read_their_forms() {
    #[track_caller]
    fn check(text: &str, want: Stage) {
        assert_eq!(stage(text), want, "{text}");
    }
    check("{cri: }", Stage::Cri(CriStage::default()));
    check("{labels: [a, b]}", Stage::Labels(LabelsStage([("a", ""), ("b", "")].into_iter().collect())));
    check("{labels: {a: , b: c}}", Stage::Labels(LabelsStage([("a", ""), ("b", "c")].into_iter().collect())));
    check(
        "{drop: {source: a}}",
        Stage::Drop(DropStage { source: Some(SourceList(vec!["a".to_owned()])), ..DropStage::default() }),
    );
    check("{pack: }", Stage::Pack(PackStage { labels: vec![], ingest_timestamp: true }));
    check(
        "{non_indexed_labels: {a: }}",
        Stage::StructuredMetadata(StructuredMetadataStage([("a", "")].into_iter().collect())),
    );
    // Promtail matches keys of bodies in any case.
    check("{cri: {Max_Partial_Lines: 7}}", Stage::Cri(CriStage { max_partial_lines: 7, ..CriStage::default() }));
}

#[test]
fn every_body_is_lenient() {
    // The decoder knows the bodies of stages by the end of their name.
    let text = "clients: [{url: http://h}]\nscrape_configs: [{job_name: a, journal: {}, pipeline_stages: [STAGE]}]";
    let bodies = [
        "regex: {expression: a, x: 1}",
        "json: {expressions: {a: }, x: 1}",
        "logfmt: {mapping: {a: }, x: 1}",
        "replace: {expression: (a), x: 1}",
        "multiline: {firstline: a, x: 1}",
        "template: {source: a, template: b, x: 1}",
        "timestamp: {source: a, format: b, x: 1}",
        "output: {source: a, x: 1}",
        "tenant: {value: a, x: 1}",
        "match: {selector: '{}', action: drop, x: 1}",
        "drop: {expression: a, x: 1}",
        "limit: {rate: 1, burst: 1, x: 1}",
        "sampling: {rate: 1, x: 1}",
        "metrics: {a: {type: gauge, x: 1, config: {action: set}}}",
        "metrics: {a: {type: gauge, config: {action: set, x: 1}}}",
        "pack: {x: 1}",
        "cri: {x: 1}",
        "docker: {x: 1}",
        "container: {x: 1}",
        "decolorize: {x: 1}",
        "eventlogmessage: {x: 1}",
        "geoip: {db: a, source: b, db_type: city, x: 1}",
        "luhn: {x: 1}",
    ];
    for body in bodies {
        let (_, warnings) = read(&text.replace("STAGE", &format!("{{{body}}}")));
        assert!(warnings.contains("unknown key is ignored"), "{body}: {warnings}");
    }
}

#[test]
fn unsupported_jobs_are_refused_or_skipped() {
    let text = "clients: [{url: http://h}]\nscrape_configs: [{job_name: a, gcplog: {project_id: p}}]\n";
    let error = load::<CollectorConfig>(text, "f").unwrap_err().to_string();
    let reason =
        "is no source of a node's collector (hint: run it elsewhere: one puller per node would multiply reads)";
    assert_eq!(error, format!("f:2: scrape_configs[0].gcplog: {reason}"));
    let (config, warnings) = read(&format!("{text}collector: {{skip_unsupported_jobs: true}}\n"));
    assert!(warnings.contains(reason));
    assert_eq!(config.scrape_configs[0].source(), Some(Source::Unsupported("gcplog")));
}

#[test]
fn of_several_sources_the_first_counts() {
    let text = "clients: [{url: http://h}]\nscrape_configs:\n- job_name: a\n  gelf: {}\n  journal: {}\n  static_configs: [{labels: {__path__: /x}}]\n";
    let (config, warnings) = read(text);
    assert_eq!(config.scrape_configs[0].source(), Some(Source::Files));
    let want = "promtail.yaml:4: scrape_configs[0].gelf: is ignored: the job reads static_configs\npromtail.yaml:5: scrape_configs[0].journal: is ignored: the job reads static_configs\n";
    assert_eq!(warnings, want);
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "clients:\n- &c {url: http://h, tenant_id: a}\n- {<<: *c, tenant_id: b}\n";
    let (config, _) = read(text);
    assert_eq!((config.clients[1].url.as_str(), config.clients[1].tenant_id.as_str()), ("http://h", "b"));
}

#[test]
fn the_schema_of_a_stage_is_structural() {
    let schema = schemars::generate::SchemaSettings::openapi3()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Stage>()
        .to_value();
    assert_eq!(schema["maxProperties"], 1);
    assert_eq!(schema["properties"].as_object().unwrap().len(), Stage::NAMES.len());
    assert!(!schema.to_string().contains("$ref"), "{schema}");
}
