//! `logstack check FILE`: which kind of file is it, and what is wrong with it?

use std::collections::BTreeSet;

use crate::collector::{CollectorConfig, JobsFile};
use crate::engine::EngineConfig;
use crate::env;
use crate::finding::{Finding, Place, Severity};
use crate::load::{Options, inspect};
use crate::runtime::TenantLimits;
use crate::yaml::{Document, Kind};

/// Kinds of file that the program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The engine's file, in Loki's shape.
    Engine,
    /// The collector's file, in Promtail's shape.
    Collector,
    /// Further jobs of a collector.
    Jobs,
    /// Per-tenant overrides.
    Overrides,
    /// Custom resources, which the crate `crds` reads.
    Objects,
}

impl FileKind {
    /// The kind in a user's words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Engine => "an engine configuration",
            Self::Collector => "a collector configuration",
            Self::Jobs => "a file of scrape_configs",
            Self::Overrides => "a file of per-tenant overrides",
            Self::Objects => "LogStack and LogScrape documents",
        }
    }
}

/// Root keys that only a collector's file has.
const COLLECTOR_KEYS: [&str; 9] =
    ["client", "clients", "collector", "global", "options", "positions", "scrape_configs", "target_config", "wal"];

/// Tells the kinds apart by their root keys; a file that could be several is the engine's.
pub fn detect(text: &str, file: &str) -> FileKind {
    let documents = Document::parse_all(text, file);
    let keys: BTreeSet<&str> = documents
        .iter()
        .flat_map(|document| match &document.root().kind {
            Kind::Mapping(entries) => entries.as_slice(),
            _ => &[],
        })
        .map(|(key, _)| key.text.as_str())
        .collect();
    let only = |known: &[&str]| !keys.is_empty() && keys.iter().all(|key| known.contains(key));
    if keys.contains("apiVersion") || keys.contains("kind") {
        FileKind::Objects
    } else if only(&["priority", "scrape_configs"]) {
        FileKind::Jobs
    } else if COLLECTOR_KEYS.iter().any(|key| keys.contains(key)) {
        FileKind::Collector
    } else if keys.contains("overrides") || only(&["configs", "logstack"]) && keys.contains("configs") {
        FileKind::Overrides
    } else {
        FileKind::Engine
    }
}

/// Everything that is to be said about a file of `kind`, in the order of its lines. For [`FileKind::Objects`] only what
/// is wrong with the YAML.
pub fn check_file(text: &str, file: &str, kind: FileKind, options: &Options<'_>) -> Vec<Finding> {
    let expanded = match options.env.map(|lookup| env::expand(text, lookup)) {
        Some(Err(error)) => {
            let place = Place { file: file.into(), line: error.line, column: 1 };
            return vec![Finding::new(Severity::Error, place, "", &error.to_string())];
        }
        Some(Ok(expanded)) => Some(expanded),
        None => None,
    };
    let text = expanded.as_deref().unwrap_or(text);
    if kind == FileKind::Objects {
        return Document::parse_all(text, file).iter().flat_map(|d| d.mistakes().to_vec()).collect();
    }
    let mut document = Document::parse(text, file);
    options.set.iter().for_each(|assignment| document.set(assignment));
    match kind {
        FileKind::Engine => inspect::<EngineConfig>(&document).1,
        FileKind::Collector => inspect::<CollectorConfig>(&document).1,
        FileKind::Jobs => inspect::<JobsFile>(&document).1,
        FileKind::Overrides => match TenantLimits::load_document(&EngineConfig::default(), &document) {
            Ok((_, warnings)) => warnings.0,
            Err(errors) => errors.findings().to_vec(),
        },
        FileKind::Objects => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_files_apart() {
        #[track_caller]
        fn check(text: &str, want: FileKind) {
            assert_eq!(detect(text, "f"), want, "{text}");
        }
        check("", FileKind::Engine);
        check("server: {}\nlimits_config: {}\n", FileKind::Engine);
        check("server: {}\nclients: []\n", FileKind::Collector);
        check("scrape_configs: []\npriority: 3\n", FileKind::Jobs);
        check("scrape_configs: []\nserver: {}\n", FileKind::Collector);
        check("overrides: {}\nconfigs: {}\n", FileKind::Overrides);
        check("---\napiVersion: v1\n---\nkind: LogStack\n", FileKind::Objects);
        check("not yaml: [", FileKind::Engine);
    }

    #[test]
    fn checks_each_kind() {
        #[track_caller]
        fn check(text: &str, want: &[&str]) {
            let findings = check_file(text, "f", detect(text, "f"), &Options::default());
            assert_eq!(findings.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{text}");
        }
        check("auth_enabled: false\n", &[]);
        check("auth_enable: false\n", &["f:1: auth_enable: unknown key (did you mean auth_enabled?)"]);
        check("clients: [{url: http://h}]\nx: 1\n", &["f:2: x: unknown key"]);
        check("overrides: {a: {x: 1}}\n", &["f:1: overrides.a.x: unknown key"]);
        check(
            "priority: 1\nscrape_configs: [{}]\n",
            &[
                "f:2: scrape_configs[0]: needs the key job_name",
                "f:2: scrape_configs[0]: has no source and reads nothing (hint: add static_configs)",
            ],
        );
        check(
            "kind: LogStack\nkind: LogStack\n",
            &["f:2: kind: is given twice, first on line 1 (hint: keep one of the two)"],
        );
    }
}
