//! Whatever text comes, it is read or refused: no panic, and every refusal says something.

use logstack_config::{CollectorConfig, EngineConfig, FileKind, Options, check_file, detect, env, load};
use proptest::prelude::*;

/// Lines that look like configuration, with the mistakes that people make.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "server",
        "limits_config",
        "retention_period",
        "scrape_configs",
        "- job_name",
        "pipeline_stages",
        "- regex",
        "clients",
        "- url",
        "labels",
        "x",
        "<<",
        "? a",
        "overrides",
        "logstack",
        "- json",
        "expressions",
        "relabel_configs",
        "max_line_size",
        "a.b",
    ]);
    let value = prop::sample::select(vec![
        "",
        " 1",
        " -1",
        " 1e9",
        " true",
        " yes",
        " ~",
        " 30d",
        " 256KB",
        " [a, b]",
        " {a: 1}",
        " &x {b: 2}",
        " *x",
        " |",
        " 'it''s'",
        " \"\\u00e9\"",
        " {",
        " ]",
        " # no",
        " !!str 5",
        " 99999999999999999999",
    ]);
    let special =
        prop::sample::select(vec!["---", "...", "%YAML 1.1", "\t", "${A:-b}", "\u{feff}"]).prop_map(str::to_owned);
    let entry = (0usize..4, key, value).prop_map(|(depth, key, value)| format!("{}{key}:{value}", "  ".repeat(depth)));
    prop_oneof![12 => entry, 1 => special]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn is_read_or_refused(lines in prop::collection::vec(line(), 0..14)) {
        let text = lines.join("\n");
        if let Err(errors) = load::<EngineConfig>(&text, "f") {
            prop_assert!(!errors.to_string().is_empty());
        }
        if let Err(errors) = load::<CollectorConfig>(&text, "f") {
            prop_assert!(errors.errors().all(|error| !error.reason.is_empty()));
        }
        check_file(&text, "f", detect(&text, "f"), &Options::default());
        check_file(&text, "f", FileKind::Overrides, &Options::default());
        let _ = env::expand(&text, &|_| Some("v".to_owned()));
    }

    #[test]
    fn bytes_are_read_or_refused(text in "\\PC{0,60}") {
        let _ = (load::<EngineConfig>(&text, "f"), load::<CollectorConfig>(&text, "f"));
    }

    /// What is taken prints, and what is printed is read back as the same.
    #[test]
    fn prints_and_reads_back(
        rate in 0.0f64..1e6,
        size in any::<u64>(),
        hours in 0u64..1_000_000,
        names in prop::collection::vec("[ -~]{0,12}", 0..4),
        flag in any::<bool>(),
    ) {
        let mut config = EngineConfig { auth_enabled: flag, ..EngineConfig::default() };
        config.limits_config.ingestion_rate_mb = rate;
        config.limits_config.max_line_size.0 = size;
        config.limits_config.query_timeout = logstack_config::PromDuration::hours(hours);
        config.limits_config.enforced_labels = names;
        let printed = serde_yaml::to_string(&config).expect("plain data prints");
        let (again, warnings) = load::<EngineConfig>(&printed, "printed").map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(again, config);
        prop_assert!(warnings.0.is_empty());
    }
}
