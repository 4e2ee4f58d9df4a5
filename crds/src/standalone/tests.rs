//! Whole documents: the sample, everything at once, and every kind of mistake.

use logstack_config::collector::JobsFile;

use super::*;
use crate::{definitions, parse, render};

fn placement() -> Placement {
    Placement { listen_address: "127.0.0.1".to_owned(), listen_port: 3100, data_dir: "/data".into() }
}

#[track_caller]
fn run(file: &str, text: &str) -> (Standalone, String) {
    let (documents, mut warnings) = parse([(file, text)]).unwrap_or_else(|errors| panic!("{errors}"));
    let (standalone, more) = standalone(&documents, &placement()).unwrap_or_else(|errors| panic!("{errors}"));
    warnings.0.extend(more.0);
    (standalone, warnings.0.iter().map(|warning| format!("{warning}\n")).collect())
}

fn yaml<T: serde::Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).unwrap()
}

#[test]
fn the_quickstart_runs() {
    let text = include_str!("../../../config/samples/quickstart.yaml");
    let (standalone, warnings) = run("/repo/config/samples/quickstart.yaml", text);
    assert_eq!(warnings, "");
    let engine = standalone.engine.unwrap();
    assert!(!engine.auth_enabled);
    assert_eq!(engine.data_dir(), Some("/data".into()));
    let collector = standalone.collector.unwrap();
    let names: Vec<&str> = collector.scrape_configs.iter().map(|job| job.job_name.as_str()).collect();
    assert_eq!(names, ["default/databases", "default/synapse", "default/web"]);
    let path = &collector.scrape_configs[0].static_configs[0].labels["__path__"];
    assert_eq!(path, "/repo/config/samples/logs/matrix-postgresql-1.log.gz");
    assert_eq!(collector.clients[0].url, "http://127.0.0.1:3100/loki/api/v1/push");
}

#[test]
fn renders_everything() {
    let (standalone, warnings) = run("dir/full.yaml", include_str!("../testdata/full.yaml"));
    insta::assert_snapshot!("full_warnings", warnings);
    let engine = standalone.engine.unwrap();
    let sparse = logstack_config::differences(&engine, &EngineConfig::default()).unwrap();
    insta::assert_snapshot!("full_engine", yaml(&sparse));
    let sparse = logstack_config::differences(&standalone.collector.unwrap(), &CollectorConfig::default()).unwrap();
    insta::assert_snapshot!("full_collector", yaml(&sparse));
    let tenant = standalone.limits.of("team-a");
    assert_eq!((tenant.ingestion_rate_mb, tenant.ingestion_burst_size_mb), (64.0, 32.0));
    assert_eq!(tenant.retention_period.to_string(), "90d");
    assert_eq!(standalone.limits.of("other").max_query_parallelism, 8);
}

#[test]
fn renders_jobs_of_pods() {
    let (documents, _) = parse([("full.yaml", include_str!("../testdata/full.yaml"))]).unwrap();
    let stack = &documents.stacks[0].object.spec;
    let job = render_job(&documents.scrapes[0].object, stack).unwrap();
    insta::assert_snapshot!("pod_job", yaml(&job));
    insta::assert_snapshot!("default_job", yaml(&render::render_default_job(stack)));
}

#[test]
fn renders_for_a_cluster() {
    let (documents, _) = parse([("full.yaml", include_str!("../testdata/full.yaml"))]).unwrap();
    let stack = &documents.stacks[0].object.spec;
    let setting = Setting {
        listen_address: String::new(),
        listen_port: 3100,
        data_dir: "/data".into(),
        engine_url: "https://logs.obs.svc:3100".to_owned(),
        memory_bytes: Some(2 << 30),
    };
    let engine = render_engine(stack, &setting).unwrap();
    let (fixed, runtime) = render::split_runtime(engine.clone(), render_tenants(stack).unwrap()).unwrap();
    insta::assert_snapshot!("cluster_runtime", yaml(&runtime));
    // Both files together are the whole.
    let (limits, _) = TenantLimits::load(&fixed, &yaml(&runtime), "runtime.yaml").unwrap();
    assert_eq!(**limits.default_limits(), engine.resolved_limits());
    assert_eq!(limits.settings().max_disk_size, Some(engine.logstack.storage.max_disk_size));
    let files = CollectorFiles { positions: "/state/positions.yaml".into(), http_port: Some(3101) };
    let collector = render_collector(stack, &setting, &files).unwrap();
    let sparse = logstack_config::differences(&collector, &CollectorConfig::default()).unwrap();
    insta::assert_snapshot!("cluster_collector", yaml(&sparse));
    let sparse = logstack_config::differences(&fixed, &EngineConfig::default()).unwrap();
    insta::assert_snapshot!("cluster_engine", yaml(&sparse));
}

#[test]
fn reports_every_mistake_at_once() {
    let errors = parse([("stack.yaml", include_str!("../testdata/mistakes.yaml"))]).unwrap_err();
    let all: String = errors.findings().iter().map(|f| format!("{:?} {f}\n", f.severity)).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn reports_what_rendering_finds() {
    let text = "apiVersion: logstack.dev/v1alpha1\nkind: LogStack\nmetadata: {name: a}\nspec:\n  engine:\n    extraConfig:\n      limits_config:\n        retention_perid: 1d\n      server:\n        http_listen_port: 1\n    extraConfigUnset: [auth_enabled]\n  collector:\n    extraScrapeConfigs:\n    - job_name: a\n      journl: {}\n    - job_name: b\n      journal: {}\n      pipeline_stages: [{regx: {}}]\n    extraConfig:\n      clients: []\n      positions: {sync_period: 1d}\n      x: {password: hunter2}\n---\napiVersion: logstack.dev/v1alpha1\nkind: LogScrape\nmetadata: {name: a}\nspec:\n  nodePaths: [{path: /a, encoding: UTF-16}, {path: /b}]\n";
    let (documents, _) = parse([("stack.yaml", text)]).unwrap();
    let errors = standalone(&documents, &placement()).unwrap_err();
    insta::assert_snapshot!(errors);
}

#[test]
fn one_process_runs_one_stack() {
    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = parse([("f", text)]).and_then(|(documents, _)| standalone(&documents, &placement()));
        assert_eq!(got.unwrap_err().to_string(), want);
    }
    let stack = |name: &str| format!("apiVersion: logstack.dev/v1alpha1\nkind: LogStack\nmetadata: {{name: {name}}}\n");
    check(
        &format!("{}---\n{}", stack("a"), stack("b")),
        "f:7: metadata.name: is a second LogStack (hint: one process runs one; start another with its own --data-dir)",
    );
    check(
        "apiVersion: logstack.dev/v1alpha1\nkind: LogScrape\nmetadata: {name: a}\n",
        "f:1: there is no LogStack (hint: begin with kind: LogStack, metadata: {name: logs}, spec: {})",
    );
    check(
        &format!("{}---\n{}", stack("a"), stack("a")),
        "f:7: metadata.name: LogStack default/a is given twice, first in f on line 3",
    );
}

#[test]
fn addresses_are_reachable() {
    #[track_caller]
    fn check(address: &str, want: &str) {
        assert_eq!(reachable(address, 1), want);
    }
    check("", "127.0.0.1:1");
    check("0.0.0.0", "127.0.0.1:1");
    check("::", "[::1]:1");
    check("fe80::1", "[fe80::1]:1");
    check("[fe80::1]", "[fe80::1]:1");
    check("10.0.0.1", "10.0.0.1:1");
}

#[test]
fn an_external_engine_is_not_run() {
    let text = "apiVersion: logstack.dev/v1alpha1\nkind: LogStack\nmetadata: {name: a}\nspec:\n  engine: {external: {url: 'http://loki:3100/'}}\n  collector: {systemLogs: {files: [{name: x, path: /x}]}}\n";
    let (standalone, _) = run("f", text);
    assert!(standalone.engine.is_none());
    assert_eq!(standalone.collector.unwrap().clients[0].url, "http://loki:3100/loki/api/v1/push");
    assert_eq!(definitions().unwrap().len(), 2);
}

#[test]
fn checks_as_a_cluster_would() {
    let text = include_str!("../testdata/full.yaml");
    let findings: Vec<String> = check([("full.yaml", text)]).iter().map(ToString::to_string).collect();
    let want = [
        "full.yaml:2: kind: Namespace of v1 is left out: only logstack.dev is read here",
        "full.yaml:72: spec.nodePaths[1].path: is relative: only logstack run takes it, from this file's folder; a cluster refuses it",
    ];
    assert_eq!(findings, want);
}

/// The operator writes each job as a file of its own; the collector must read what was meant.
#[test]
fn jobs_read_back() {
    let (documents, _) = parse([("full.yaml", include_str!("../testdata/full.yaml"))]).unwrap();
    let stack = &documents.stacks[0].object.spec;
    for scrape in &documents.scrapes {
        let job = render_job(&scrape.object, stack).unwrap();
        let file = JobsFile { priority: scrape.object.spec.priority, scrape_configs: vec![job] };
        let (read, warnings) = logstack_config::load::<JobsFile>(&yaml(&file), "job.yaml").unwrap();
        assert_eq!((read, warnings.0), (file, vec![]));
    }
}

#[test]
fn archives_are_read_as_such() {
    #[track_caller]
    fn check(paths: &str, want: Result<Option<&str>, &str>) {
        let text = format!(
            "apiVersion: logstack.dev/v1alpha1\nkind: LogScrape\nmetadata: {{name: a}}\nspec: {{nodePaths: [{paths}]}}\n"
        );
        let (documents, _) = parse([("f", text.as_str())]).unwrap();
        let job = render_job(&documents.scrapes[0].object, &LogStackSpec::default());
        let got = job.map(|job| job.decompression.map(|decompression| decompression.format));
        let got = got.map_err(|problems| problems[0].text.clone());
        assert_eq!(got, want.map(|want| want.map(str::to_owned)).map_err(str::to_owned), "{paths}");
    }
    check("{path: /a.log}", Ok(None));
    check("{path: /a.log.gz}, {path: /b/*.gz}", Ok(Some("gz")));
    check("{path: /a.log}, {path: /a.gz}", Err("mix archives with other files (hint: make a LogScrape for each)"));
}
