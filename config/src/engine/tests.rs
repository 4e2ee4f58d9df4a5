//! Whole engine files: users' own, and every kind of mistake.

use super::*;
use crate::load::{Options, load, load_with};
use crate::units::{ByteSize, GoDuration, PromDuration};

/// The configuration and its warnings, a line each.
#[track_caller]
fn read(text: &str) -> (EngineConfig, String) {
    let (config, warnings) = load::<EngineConfig>(text, "loki.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    (config, warnings.0.iter().map(|w| format!("{w}\n")).collect())
}

#[track_caller]
fn refuse(text: &str) -> String {
    load::<EngineConfig>(text, "loki.yaml").expect_err("a mistake was taken").to_string()
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "---\n", "# nothing\n", "limits_config:\nserver:\n"] {
        assert_eq!(read(text), (EngineConfig::default(), String::new()), "{text:?}");
    }
}

#[test]
fn what_is_printed_is_read_back() {
    let printed = serde_yaml::to_string(&EngineConfig::default()).unwrap();
    assert_eq!(read(&printed), (EngineConfig::default(), String::new()));
    insta::assert_snapshot!("defaults", printed);
}

#[test]
fn reads_the_reference_configuration() {
    let text = "auth_enabled: false\nlimits_config:\n  reject_old_samples: false\n  allow_structured_metadata: true\n  volume_enabled: true\n  max_query_length: 0\n";
    let (config, warnings) = read(text);
    assert_eq!(warnings, "");
    assert!(!config.auth_enabled && !config.limits_config.reject_old_samples);
    assert_eq!(config.limits_config.max_query_length, PromDuration::ZERO);
}

/// What the loki-stack chart 2.10.3 renders.
#[test]
fn reads_the_loki_stack_chart() {
    let (config, warnings) = read(include_str!("testdata/loki-stack.yaml"));
    insta::assert_snapshot!("loki_stack_warnings", warnings);
    assert_eq!(config.data_dir(), Some("/data/loki/logstack".into()));
    assert_eq!(config.ingester.chunk_idle_period, GoDuration::minutes(3));
    assert_eq!(config.limits_config.reject_old_samples_max_age, PromDuration::days(7));
    assert!(!config.retention_enabled());
}

/// A single binary of the loki chart 6.x with S3, retention and a sidecar's rules.
#[test]
fn reads_the_loki_chart() {
    let (config, warnings) = read(include_str!("testdata/loki-6.yaml"));
    insta::assert_snapshot!("loki_6_warnings", warnings);
    assert_eq!(config.data_dir(), Some("/var/loki".into()));
    assert_eq!(config.overrides_file(), Some(Path::new("/etc/loki/runtime-config/runtime-config.yaml")));
    assert_eq!(config.resolved_limits().retention_period, PromDuration::days(31));
}

#[test]
fn reports_every_mistake_at_once() {
    insta::assert_snapshot!(refuse(include_str!("testdata/mistakes.yaml")));
}

#[test]
fn refuses_what_is_not_yaml() {
    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(refuse(text), want, "{text}");
    }
    check("server: [1\nlimits_config: {", "loki.yaml:2: is not YAML: illegal placement of ':' indicator");
    check("- a\n- b\n", "loki.yaml:1: a list is not a mapping");
    check("just text", "loki.yaml:1: just text is not a mapping");
    check(
        "server: {}\n---\nserver: {}\n",
        "loki.yaml:3: begins a second document (hint: this file holds one; remove the line ---)",
    );
}

#[test]
fn arguments_win_over_the_file() {
    let set = ["server.http_listen_port=3200", "limits_config.retention_stream=[{selector: '{a=\"b\"}', period: 48h}]"];
    let set = set.map(str::to_owned);
    let options = Options { set: &set, ..Options::default() };
    let (config, _) = load_with::<EngineConfig>("server: {http_listen_port: 3100}", "f", &options).unwrap();
    assert_eq!(config.server.http_listen_port, 3200);
    assert_eq!(config.limits_config.retention_stream[0].period, PromDuration::hours(48));

    let set = ["server.http_listen_prt=1", "nothing", "=1", "limits_config.query_timeout=[", "server.log_level=loud"];
    let set = set.map(str::to_owned);
    let options = Options { set: &set, ..Options::default() };
    let want = [
        "--set nothing: has no value (hint: write key=value)",
        "--set =1: does not begin with a key (hint: write a.b.c=value or list[0].key=value)",
        "--set limits_config.query_timeout=[: is not YAML: unclosed bracket '['",
        "--set server.http_listen_prt=1: server.http_listen_prt: unknown key (did you mean http_listen_port?)",
        "--set server.log_level=loud: server.log_level: \"loud\" is not one of debug, info, warn, error",
    ];
    assert_eq!(load_with::<EngineConfig>("", "f", &options).unwrap_err().to_string(), want.join("\n"));
}

#[test]
fn expands_the_environment_when_asked() {
    let lookup = |name: &str| (name == "RATE").then(|| "12".to_owned());
    let options = Options { env: Some(&lookup), ..Options::default() };
    let text = "limits_config: {ingestion_rate_mb: '${RATE}', ingestion_burst_size_mb: ${BURST:-24}}";
    // Quoted, the rate stays text: go-yaml refuses it too.
    assert!(load_with::<EngineConfig>(text, "f", &options).is_err());
    let (config, _) = load_with::<EngineConfig>(&text.replace('\'', ""), "f", &options).unwrap();
    assert_eq!((config.limits_config.ingestion_rate_mb, config.limits_config.ingestion_burst_size_mb), (12.0, 24.0));
    let error = load_with::<EngineConfig>("a: 1\nb: ${X", "f", &options).unwrap_err();
    assert_eq!(error.to_string(), "f:2: `${` without its `}`");
}

#[test]
fn null_is_zero_for_values_and_default_for_blocks() {
    let (config, _) = read("limits_config:\n  ingestion_rate_mb:\n  max_query_length:\n  shard_streams:\nquerier:\n");
    assert_eq!(config.limits_config.ingestion_rate_mb, 0.0);
    assert_eq!(config.limits_config.max_query_length, PromDuration::ZERO);
    assert!(config.limits_config.shard_streams.enabled);
    assert_eq!(config.querier, QuerierConfig::default());
}

#[test]
fn yaml_1_1_booleans_and_merge_keys() {
    let text = "compactor: &on {retention_enabled: yes}\ntable_manager:\n  <<: {retention_deletes_enabled: On}\n";
    let (config, _) = read(text);
    assert!(config.compactor.retention_enabled && config.table_manager.retention_deletes_enabled);
}

#[test]
fn the_data_folder_follows_lokis() {
    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(read(text).0.data_dir(), want.map(PathBuf::from), "{text}");
    }
    check("", None);
    check("common: {path_prefix: /loki}", Some("/loki"));
    check("logstack: {storage: {path: /x}}\ncommon: {path_prefix: /loki}", Some("/x"));
    check("storage_config: {filesystem: {directory: /data/loki/chunks}}", Some("/data/loki/logstack"));
    check("common: {storage: {filesystem: {chunks_directory: /v/chunks}}}", Some("/v/logstack"));
}

#[test]
fn limits_are_resolved_from_other_sections() {
    #[track_caller]
    fn check(text: &str, want: PromDuration) {
        assert_eq!(read(text).0.resolved_limits().retention_period, want, "{text}");
    }
    check("limits_config: {retention_period: 30d}", PromDuration::ZERO);
    check("limits_config: {retention_period: 30d}\ncompactor: {retention_enabled: true}", PromDuration::days(30));
    check("table_manager: {retention_deletes_enabled: true, retention_period: 336h}", PromDuration::days(14));
    check("table_manager: {retention_period: 336h}", PromDuration::ZERO);

    let limits = read("").0.resolved_limits();
    let rules = &limits.otlp_config.resource_attributes.attributes_config;
    assert_eq!((rules.len(), rules[0].action, rules[0].attributes.len()), (1, AttributeAction::IndexLabel, 18));
    let own = "limits_config: {otlp_config: {resource_attributes: {ignore_defaults: true}}}";
    assert_eq!(read(own).0.resolved_limits().otlp_config.resource_attributes.attributes_config, []);
}

#[test]
fn every_known_key_is_no_field() {
    // A key that became a field must leave the table, or the table would lie in suggestions.
    let printed = serde_yaml::to_value(EngineConfig::default()).unwrap();
    let limits = printed["limits_config"].as_mapping().unwrap();
    for ignored in known::RULES.ignored.iter().filter(|ignored| ignored.block == "Limits") {
        for key in ignored.keys {
            assert!(!limits.contains_key(*key), "{key}");
        }
    }
}

#[test]
fn sizes_print_as_loki_prints_them() {
    let printed = serde_yaml::to_string(&Limits::default()).unwrap();
    for line in ["max_line_size: 256KB", "max_query_length: 30d1h", "reject_old_samples_max_age: 1w"] {
        assert!(printed.contains(line), "{line}");
    }
    assert_eq!(Limits::default().ingestion_burst_bytes(), ByteSize::mib(6).bytes());
}
