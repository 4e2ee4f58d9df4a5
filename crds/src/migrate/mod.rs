//! Values files of loki-stack, loki and promtail, and their own files -> the LogStack and LogScrapes that say the same.
//!
//! ```text
//! text -> source (tree with lines, embedded YAML opened) -> loki, promtail -> draft -> objects
//!                      \-> ledger: each key is carried, not needed (why), or left (why, and what to do)
//! ```
//!
//! Source: operator contract, section 4; values of the charts named above.

mod draft;
mod engine;
mod job;
mod known;
mod loki;
mod promtail;
mod source;
mod template;
#[cfg(test)]
mod tests;

use logstack_config::yaml::{Document, Kind};
use logstack_config::{Errors, Finding, Severity};
use serde_json::Value;

pub use source::{Fate, Note};

use draft::Draft;
use engine::Section;
use promtail::Receiver;
use source::{At, Ledger};

/// How the output is named.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the LogStack.
    pub name: String,
    /// Namespace of all objects; `None`: none is written.
    pub namespace: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "logs".to_owned(), namespace: None }
    }
}

/// What some files mean.
#[derive(Debug, Clone)]
pub struct Migration {
    /// A LogStack, then its LogScrapes.
    pub objects: Vec<Value>,
    /// What became of each key.
    pub notes: Vec<Note>,
}

impl Migration {
    /// The objects as YAML documents.
    ///
    /// # Errors
    /// Only if an object could not be written.
    pub fn yaml(&self) -> Result<String, serde_yaml::Error> {
        let mut out = String::new();
        for object in &self.objects {
            out.push_str("---\n");
            out.push_str(&serde_yaml::to_string(object)?);
        }
        Ok(out)
    }

    /// What the objects do not say although the files did.
    pub fn left(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| matches!(note.fate, Fate::Left(_)))
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    /// Values of loki-stack: `loki` and `promtail` side by side.
    Stack,
    /// Values of loki 2.x.
    OldLoki,
    /// Values of loki from 3 on.
    NewLoki,
    /// Values of promtail.
    Promtail,
    /// Loki's own file.
    LokiFile,
    /// Promtail's own file.
    PromtailFile,
}

/// Tells files apart by their keys.
fn detect(root: &At<'_>) -> Option<FileKind> {
    let has = |path: &str| root.find(path).is_some();
    let any = |paths: &[&str]| paths.iter().any(|path| has(path));
    if has("scrape_configs") || (any(&["clients", "client"]) && has("positions")) {
        Some(FileKind::PromtailFile)
    } else if any(&[
        "schema_config",
        "limits_config",
        "storage_config",
        "auth_enabled",
        "table_manager",
        "ingester.chunk_idle_period",
    ]) {
        Some(FileKind::LokiFile)
    } else if any(&[
        "promtail",
        "loki.persistence",
        "loki.config.schema_config",
        "loki.config.limits_config",
        "loki.config.table_manager",
        "loki.isDefault",
        "loki.enabled",
        "test_pod",
        "fluent-bit",
    ]) {
        Some(FileKind::Stack)
    } else if any(&["loki", "deploymentMode", "singleBinary"]) {
        Some(FileKind::NewLoki)
    } else if any(&[
        "config.snippets",
        "config.clients",
        "config.scrapeConfigs",
        "config.lokiAddress",
        "config.file",
        "defaultVolumes",
        "daemonset",
    ]) {
        Some(FileKind::Promtail)
    } else if any(&["config", "persistence"]) {
        Some(FileKind::OldLoki)
    } else {
        None
    }
}

/// Makes one LogStack and its LogScrapes of values and configuration files, each a name and its text.
///
/// # Errors
/// Text that is no YAML, a file that is none of those known, and two files that both describe a Loki.
pub fn migrate(files: &[(&str, &str)], options: &Options) -> Result<Migration, Errors> {
    let mut mistakes = Vec::new();
    let mut sources: Vec<(FileKind, Document)> = Vec::new();
    for (file, text) in files {
        let document = Document::parse(text, file);
        mistakes.extend(document.mistakes().iter().cloned());
        let document = source::expand(&document, file);
        match detect(&At::root(&document)) {
            Some(kind) => sources.push((kind, document)),
            None if document.mistakes().is_empty() => {
                let text = "is neither values of loki-stack, loki or promtail, nor a file of Loki or Promtail (hint: give the file that you pass to helm with -f)";
                mistakes.push(Finding::new(Severity::Error, document.place_of(""), "", text));
            }
            None => {}
        }
    }
    let is_loki = |kind: FileKind| !matches!(kind, FileKind::Promtail | FileKind::PromtailFile);
    if let [_, (_, second), ..] = sources.iter().filter(|(kind, _)| is_loki(*kind)).collect::<Vec<_>>().as_slice() {
        let text = "is a second description of Loki (hint: merge the values first, or migrate one stack at a time)";
        mistakes.push(Finding::new(Severity::Error, second.place_of(""), "", text));
    }
    if !mistakes.is_empty() {
        return Err(Errors::new(mistakes));
    }
    let mut draft = Draft::default();
    let mut notes = Vec::new();
    let receiver = match sources.iter().any(|(kind, _)| is_loki(*kind)) {
        true => Receiver::OwnEngine,
        false => Receiver::Elsewhere,
    };
    // Loki first: what Promtail says about tenants is laid over it.
    sources.sort_by_key(|(kind, _)| !is_loki(*kind));
    let has_agent =
        sources.iter().any(|(kind, _)| matches!(kind, FileKind::Stack | FileKind::Promtail | FileKind::PromtailFile));
    for (kind, document) in &sources {
        let mut ledger = Ledger::default();
        let root = At::root(document);
        carry(*kind, &root, receiver, &mut draft, &mut ledger);
        if !has_agent {
            draft.set("collector.enabled", false);
            ledger.remark(
                &root,
                "spec.collector.enabled: false (the file has no agent; give Promtail's values as a second file)",
            );
        }
        ledger.account(&root);
        notes.extend(ledger.into_notes());
    }
    Ok(Migration { objects: draft.objects(&options.name, options.namespace.as_deref()), notes })
}

fn carry(kind: FileKind, root: &At<'_>, receiver: Receiver, draft: &mut Draft, ledger: &mut Ledger) {
    match kind {
        FileKind::Stack => {
            let empty = || root.clone();
            match root.get("loki") {
                Some(loki) if loki.get("enabled").and_then(|at| at.bool()) == Some(false) => {
                    ledger.not_needed(&loki, "is not installed");
                }
                Some(loki) => loki::old_values(&loki, draft, ledger),
                None => loki::old_values(&empty().get("loki").unwrap_or_else(empty), draft, ledger),
            }
            match root.get("promtail") {
                Some(promtail) if promtail.get("enabled").and_then(|at| at.bool()) == Some(false) => {
                    draft.set("collector.enabled", false);
                    ledger.not_needed(&promtail, "is not installed: spec.collector.enabled is false");
                }
                Some(promtail) => promtail::values(&promtail, receiver, draft, ledger),
                // loki-stack installs Promtail unless told otherwise.
                None => promtail::values(root, receiver, draft, ledger),
            }
            loki::neighbours(root, draft, ledger);
        }
        FileKind::OldLoki => loki::old_values(root, draft, ledger),
        FileKind::NewLoki => loki::new_values(root, draft, ledger),
        FileKind::Promtail => promtail::values(root, receiver, draft, ledger),
        FileKind::LokiFile => {
            let entries = match &root.node.kind {
                Kind::Mapping(_) => root.entries(),
                _ => Vec::new(),
            };
            let sections: Vec<Section<'_>> =
                entries.into_iter().map(|(key, at)| Section { key: key.to_owned(), at }).collect();
            engine::carry(&sections, true, root, draft, ledger);
        }
        FileKind::PromtailFile => promtail::own_file(root, receiver, draft, ledger),
    }
}
