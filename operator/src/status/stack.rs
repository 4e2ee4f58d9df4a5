//! Status of a LogStack.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use logstack_crds::render::{Problem, Reason};
use logstack_crds::stack::{
    CollectorStatus, ConfigHashes, EndpointsStatus, EngineStatus, GrafanaStatus, ImagesStatus, LogStackStatus,
    ScrapesStatus, StorageStatus,
};

use super::condition::{Said, Truth, get, set_conditions};
use crate::build::Images;
use crate::error::{ApplyError, Refusal};
use crate::observe::{PodProblem, Workload};
use crate::storage::Resize;

/// Everything that a status is made of.
#[derive(Debug, Clone, Default)]
pub struct StackFacts {
    /// The generation that was looked at.
    pub generation: Option<i64>,
    /// The annotation is set.
    pub is_paused: bool,
    /// The first pass has not written yet.
    pub is_first: bool,
    /// What does not parse.
    pub problems: Vec<Problem>,
    /// An earlier configuration is in force.
    pub has_last_good: bool,
    /// Secrets that are missing: reason and message.
    pub missing: Vec<(&'static str, String)>,
    /// Writes that failed, those to Grafana's namespace left out.
    pub failed: Vec<ApplyError>,
    /// The user's template was merged into a pod that was refused.
    pub has_pod_template: bool,
    /// The engine.
    pub engine: EngineFacts,
    /// The collectors.
    pub collector: CollectorFacts,
    /// The volume.
    pub storage: StorageFacts,
    /// Grafana.
    pub grafana: GrafanaFacts,
    /// Objects that another controller keeps changing.
    pub fights: Vec<String>,
    /// A rollout has not moved for too long.
    pub is_overdue: bool,
    /// LogScrapes: selected, accepted, and the rejected in words.
    pub scrapes: (usize, usize, Vec<String>),
    /// Images in force.
    pub images: Option<Images>,
    /// Version that the engine reports.
    pub version: Option<String>,
    /// Address of the engine.
    pub url: String,
    /// Selector of the engine's pods.
    pub selector: String,
    /// Hashes of what was applied.
    pub hashes: ConfigHashes,
}

/// The engine.
#[derive(Debug, Clone, Default)]
pub struct EngineFacts {
    /// `replicas: 0`.
    pub is_hibernated: bool,
    /// Another server; `Ok`: it answers.
    pub external: Option<Result<(), String>>,
    /// The StatefulSet.
    pub set: Workload,
    /// What is wrong with its pod, once it has been so for a while.
    pub problem: Option<PodProblem>,
}

/// The collectors.
#[derive(Debug, Clone, Default)]
pub struct CollectorFacts {
    /// `collector.enabled: false`.
    pub is_disabled: bool,
    /// The DaemonSet.
    pub set: Workload,
    /// Pods that may be away.
    pub max_unavailable: i32,
    /// What is wrong with a pod, once it has been so for a while.
    pub problem: Option<PodProblem>,
    /// The namespace does not let their pods in: the command that lets them.
    pub pod_security: Option<String>,
}

/// The volume.
#[derive(Debug, Clone, Default)]
pub struct StorageFacts {
    /// What the plan says; `None`: ephemeral or external.
    pub resize: Option<Resize>,
    /// The class cannot grow: its name.
    pub not_expandable: Option<String>,
    /// As the spec has it.
    pub requested: String,
    /// As the volume has it.
    pub capacity: Option<String>,
    /// Name of the claim.
    pub claim: String,
    /// Class of the claim.
    pub class: Option<String>,
    /// How full it is.
    pub pressure: Pressure,
}

/// How full the volume is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pressure {
    /// Not asked yet since the operator started: what was said before stays.
    #[default]
    NotAsked,
    /// The engine does not say.
    Unknown,
    /// There is room, so many percent are used, in steps of five.
    Enough(u8),
    /// Full in a week at the rate of the last day.
    Week(u8),
    /// Full in a day.
    Day(u8),
    /// Above 90 %, and nothing deletes.
    NearlyFull(u8),
}

/// Grafana.
#[derive(Debug, Clone, Default)]
pub struct GrafanaFacts {
    /// `grafana.enabled`.
    pub is_enabled: bool,
    /// Where it was written.
    pub written: Option<GrafanaStatus>,
    /// Why it was not.
    pub error: Option<String>,
}

/// Names in a message.
const EXAMPLES_MAX: usize = 3;

fn listed<T: AsRef<str>>(items: &[T]) -> String {
    let head: Vec<&str> = items.iter().take(EXAMPLES_MAX).map(AsRef::as_ref).collect();
    let more = items.len() - head.len();
    if more == 0 { head.join("; ") } else { format!("{} and {more} more", head.join("; ")) }
}

/// The status that `facts` mean. `old` is the one in the object.
pub fn summarize_stack(old: &LogStackStatus, facts: &StackFacts, now: &Time) -> LogStackStatus {
    let mut said = Vec::new();
    let available = available(facts);
    let config = config_valid(facts);
    let reconcile = reconcile_ok(facts);
    let engine = engine_ready(facts);
    let collector = collector_ready(facts);
    let progressing = progressing(facts, &engine, &collector);
    let stalled = stalled(facts);
    let inputs = [&config, &reconcile, &available, &engine, &collector];
    said.push(ready(facts, inputs, stalled.as_ref()));
    let resized = storage_resized(&facts.storage);
    let pressure = storage_pressure(&facts.storage, &old.conditions);
    let scrapes = scrapes_accepted(facts);
    let grafana = grafana_synced(facts);
    let degraded = degraded(facts, &collector, &pressure, &grafana);
    said.extend([available, progressing, degraded, config, reconcile, engine, collector, resized, pressure, scrapes]);
    said.push(grafana);
    said.push(match facts.is_paused {
        true => Said::new("Paused", true, "Paused", "annotation logstack.dev/paused is true: nothing is written"),
        false => Said::new("Paused", false, "NotPaused", ""),
    });
    said.extend(stalled);
    let set = &facts.engine.set;
    let storage = &facts.storage;
    LogStackStatus {
        observed_generation: facts.generation,
        conditions: set_conditions(&old.conditions, &said, facts.generation, now),
        replicas: Some(set.replicas),
        ready_replicas: Some(set.ready),
        selector: Some(facts.selector.clone()),
        image: facts
            .images
            .as_ref()
            .map(|images| ImagesStatus { engine: images.engine.clone(), collector: images.collector.clone() }),
        version: facts.version.clone().or_else(|| old.version.clone()),
        engine: Some(EngineStatus {
            ready: if facts.engine.external.is_some() {
                "external".to_owned()
            } else {
                format!("{}/{}", set.ready, set.desired)
            },
            revision: set.revision.clone(),
            url: Some(facts.url.clone()),
        }),
        collector: Some(CollectorStatus {
            ready: format!("{}/{}", facts.collector.set.ready, facts.collector.set.desired),
            desired: facts.collector.set.desired,
            updated: facts.collector.set.updated,
            available: facts.collector.set.available,
        }),
        storage: storage.resize.map(|resize| StorageStatus {
            requested: Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(storage.requested.clone())),
            capacity: storage.capacity.clone().map(k8s_openapi::apimachinery::pkg::api::resource::Quantity),
            used: match storage.pressure {
                Pressure::NotAsked => old.storage.as_ref().and_then(|storage| storage.used.clone()),
                Pressure::Unknown => None,
                Pressure::Enough(used) | Pressure::Week(used) | Pressure::Day(used) | Pressure::NearlyFull(used) => {
                    Some(format!("{used}%"))
                }
            },
            class: storage.class.clone(),
            resizing: match resize {
                Resize::Resizing | Resize::PodRestartNeeded => vec![storage.claim.clone()],
                _ => Vec::new(),
            },
        }),
        endpoints: Some(EndpointsStatus {
            push: format!("{}/loki/api/v1/push", facts.url),
            query: facts.url.clone(),
            tail: format!("{}/loki/api/v1/tail", facts.url.replacen("http", "ws", 1)),
        }),
        scrapes: Some(ScrapesStatus {
            selected: facts.scrapes.0 as i32,
            accepted: facts.scrapes.1 as i32,
            rejected: facts.scrapes.2.len() as i32,
        }),
        grafana: facts.grafana.written.clone(),
        last_applied_config_hash: Some(facts.hashes.clone()),
        operator_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

fn ready(facts: &StackFacts, inputs: [&Said; 5], stalled: Option<&Said>) -> Said {
    let [config, reconcile, available, engine, collector] = inputs;
    let (reason, message) = if let Some(stalled) = stalled {
        (stalled.reason.clone(), stalled.message.clone())
    } else if facts.engine.is_hibernated {
        ("Hibernated".to_owned(), "engine.replicas is 0: pods are gone, the volume is kept".to_owned())
    } else if !facts.missing.is_empty() {
        ("MissingReference".to_owned(), listed(&facts.missing.iter().map(|(_, text)| text).collect::<Vec<_>>()))
    } else if !config.holds() {
        ("InvalidConfig".to_owned(), config.message.clone())
    } else if !reconcile.holds() {
        let reason = if reconcile.reason == "NameConflict" { "NameConflict" } else { "ReconcileFailed" };
        (reason.to_owned(), reconcile.message.clone())
    } else if facts.is_first {
        ("Initializing".to_owned(), "the first pass has just been made".to_owned())
    } else if facts.engine.external.is_some() && !available.holds() {
        ("ExternalUnreachable".to_owned(), available.message.clone())
    } else if facts.engine.external.is_none() && !facts.engine.set.is_rolled_out() && facts.engine.problem.is_none() {
        ("RollingOut".to_owned(), "the engine's pod is being replaced".to_owned())
    } else if !engine.holds() || !available.holds() {
        ("EngineNotReady".to_owned(), engine.message.clone())
    } else if !facts.collector.is_disabled
        && !facts.collector.set.is_rolled_out()
        && facts.collector.problem.is_none()
        && facts.collector.pod_security.is_none()
    {
        ("RollingOut".to_owned(), "collectors are being replaced".to_owned())
    } else if !collector.holds() {
        ("CollectorNotReady".to_owned(), collector.message.clone())
    } else {
        ("AllReady".to_owned(), "engine and collectors run this generation".to_owned())
    };
    let truth = match reason.as_str() {
        "AllReady" => Truth::True,
        "Initializing" => Truth::Unknown,
        _ => Truth::False,
    };
    let message = if facts.is_paused { format!("paused; {message}") } else { message };
    Said::new("Ready", truth, &reason, message)
}

fn available(facts: &StackFacts) -> Said {
    let kind = "Available";
    match &facts.engine.external {
        Some(Ok(())) => Said::new(kind, true, "ExternalAnswers", format!("{} answers", facts.url)),
        Some(Err(why)) => Said::new(kind, false, "ExternalUnreachable", format!("{}: {why}", facts.url)),
        None if facts.engine.is_hibernated => Said::new(kind, false, "Hibernated", "engine.replicas is 0"),
        None if facts.engine.set.ready > 0 => {
            Said::new(kind, true, "EngineAnswers", "the engine takes and answers requests")
        }
        None => Said::new(kind, false, "EngineNotReady", "no pod of the engine is ready"),
    }
}

fn config_valid(facts: &StackFacts) -> Said {
    let kind = "ConfigValid";
    let Some(first) = facts.problems.first() else {
        return Said::new(kind, true, "Valid", "everything made of this generation parses");
    };
    let reason = match first.reason {
        Reason::Invalid => "InvalidValue",
        other => other.as_str(),
    };
    let texts: Vec<String> = facts.problems.iter().map(|p| format!("{}: {}", p.path, p.text)).collect();
    let kept = if facts.has_last_good { "; the last good configuration stays in force" } else { "" };
    Said::new(kind, false, reason, format!("{}{kept}", listed(&texts)))
}

fn reconcile_ok(facts: &StackFacts) -> Said {
    let kind = "ReconcileOK";
    // The one that needs a person first.
    let worst = facts.failed.iter().min_by_key(|error| match error.refusal {
        Refusal::NameConflict => 0,
        Refusal::Invalid => 1,
        Refusal::AdmissionDenied | Refusal::Forbidden | Refusal::QuotaExceeded => 2,
        _ => 3,
    });
    let Some(worst) = worst else { return Said::new(kind, true, "Succeeded", "all objects are as they should be") };
    let is_template = worst.refusal == Refusal::Invalid && facts.has_pod_template && worst.id.name.ends_with("-engine");
    let is_template = is_template || (worst.refusal == Refusal::Invalid && facts.has_pod_template);
    let reason = if is_template { "InvalidPodTemplate" } else { worst.refusal.reason() };
    let more = facts.failed.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let message = match worst.refusal {
        Refusal::NameConflict => worst.message.clone(),
        _ => worst.to_string(),
    };
    Said::new(kind, false, reason, format!("{message}{more}"))
}

fn engine_ready(facts: &StackFacts) -> Said {
    let kind = "EngineReady";
    let engine = &facts.engine;
    let set = &engine.set;
    if engine.external.is_some() {
        return Said::new(kind, true, "Ready", "an external engine is used");
    }
    if engine.is_hibernated {
        return Said::new(kind, false, "Hibernated", "engine.replicas is 0");
    }
    if let Some(problem) = &engine.problem {
        return Said::new(kind, false, problem.reason, problem.message.clone());
    }
    if set.is_rolled_out() && set.ready >= set.desired {
        return Said::new(kind, true, "Ready", format!("{} of {} pods are ready", set.ready, set.desired));
    }
    let quota = facts.failed.iter().find(|error| error.refusal == Refusal::QuotaExceeded);
    match quota {
        Some(error) => Said::new(kind, false, "Quota", error.message.clone()),
        None => Said::new(kind, false, "NotYetReady", format!("{} of {} pods are ready", set.ready, set.desired)),
    }
}

fn collector_ready(facts: &StackFacts) -> Said {
    let kind = "CollectorReady";
    let collector = &facts.collector;
    let set = &collector.set;
    if collector.is_disabled {
        return Said::new(kind, true, "Disabled", "collector.enabled is false");
    }
    if let Some(command) = &collector.pod_security {
        let message = format!("the namespace does not let in pods that read the node's logs (hint: {command})");
        return Said::new(kind, false, "PodSecurity", message);
    }
    if let Some(problem) = collector
        .problem
        .as_ref()
        .filter(|_| set.available + collector.max_unavailable < set.desired || !set.is_rolled_out())
    {
        return Said::new(kind, false, problem.reason, problem.message.clone());
    }
    if set.exists && set.is_current && set.desired == 0 {
        return Said::new(kind, true, "NoNodes", "no node matches the collectors' selector and tolerations");
    }
    // Within what may be away: a dead node does not make the stack not ready.
    if set.exists && set.is_current && set.available + collector.max_unavailable >= set.desired && set.available > 0 {
        return Said::new(kind, true, "Ready", "collectors run on the nodes");
    }
    Said::new(kind, false, "NodesUnavailable", format!("{} of {} collectors are available", set.available, set.desired))
}

fn is_rolling(facts: &StackFacts) -> bool {
    let engine = facts.engine.external.is_none()
        && (!facts.engine.set.is_rolled_out() || facts.engine.set.ready < facts.engine.set.desired);
    let set = &facts.collector.set;
    let collector = !facts.collector.is_disabled && (!set.is_rolled_out() || set.available < set.desired);
    engine || collector
}

fn progressing(facts: &StackFacts, engine: &Said, collector: &Said) -> Said {
    let kind = "Progressing";
    let is_resizing = matches!(facts.storage.resize, Some(Resize::Resizing | Resize::PodRestartNeeded));
    if is_rolling(facts) && facts.is_overdue {
        let what = if engine.holds() { collector } else { engine };
        return Said::new(
            kind,
            false,
            "ProgressDeadlineExceeded",
            format!("nothing has moved for 15 minutes: {}", what.message),
        );
    }
    if is_rolling(facts) && facts.failed.is_empty() && !facts.is_paused {
        return Said::new(kind, true, "RollingOut", "pods are being replaced or started");
    }
    if is_resizing && facts.storage.not_expandable.is_none() {
        return Said::new(kind, true, "Resizing", format!("claim {} grows", facts.storage.claim));
    }
    Said::new(kind, false, "RolloutComplete", "nothing is under way")
}

fn degraded(facts: &StackFacts, collector: &Said, pressure: &Said, grafana: &Said) -> Said {
    let kind = "Degraded";
    let mut why: Vec<(&str, &str)> = Vec::new();
    let fights = facts.fights.join(", ");
    if !facts.fights.is_empty() {
        why.push(("DriftFight", &fights));
    }
    if !collector.holds() && facts.collector.set.exists && !is_rolling(facts) {
        why.push(("CollectorsMissing", &collector.message));
    }
    if pressure.holds() {
        why.push(("StoragePressure", &pressure.message));
    }
    if facts.grafana.is_enabled && !grafana.holds() {
        why.push(("GrafanaNotSynced", &grafana.message));
    }
    match why.first() {
        None => Said::new(kind, false, "Healthy", ""),
        Some((reason, _)) => {
            let messages: Vec<&str> = why.iter().map(|(_, message)| *message).collect();
            Said::new(kind, true, reason, messages.join("; "))
        }
    }
}

fn stalled(facts: &StackFacts) -> Option<Said> {
    if let Some(conflict) = facts.failed.iter().find(|error| error.refusal == Refusal::NameConflict) {
        return Some(Said::new("Stalled", true, "NameConflict", conflict.message.clone()));
    }
    if !facts.problems.is_empty() && !facts.has_last_good {
        let texts: Vec<String> = facts.problems.iter().map(|p| format!("{}: {}", p.path, p.text)).collect();
        return Some(Said::new("Stalled", true, "InvalidConfig", listed(&texts)));
    }
    None
}

fn storage_resized(storage: &StorageFacts) -> Said {
    let kind = "StorageResized";
    let StorageFacts { requested, claim, .. } = storage;
    let capacity = storage.capacity.clone().unwrap_or_default();
    let Some(resize) = storage.resize else { return Said::new(kind, true, "NotManaged", "there is no volume of ours") };
    if let Some(class) = &storage.not_expandable {
        let message = format!(
            "claim {claim} has {capacity} and class {class} cannot grow (hint: make the stack on a class that expands, or migrate)"
        );
        return Said::new(kind, false, "ExpansionNotSupported", message);
    }
    match resize {
        Resize::AsRequested => Said::new(kind, true, "AsRequested", format!("the volume has {capacity}")),
        Resize::Resizing => Said::new(kind, false, "Resizing", format!("claim {claim} grows to {requested}")),
        Resize::PodRestartNeeded => Said::new(
            kind,
            false,
            "PodRestartNeeded",
            format!("claim {claim} grows when the engine's pod starts again"),
        ),
        Resize::ShrinkRefused => {
            let message =
                format!("claim {claim} has {capacity} and does not shrink to {requested} (hint: set the size back)");
            Said::new(kind, false, "ShrinkRefused", message)
        }
        Resize::ExpansionStuck => {
            let message = format!(
                "claim {claim} asks for more than {requested}, and a request cannot be lowered to the volume's own size \
                 (hint: ask for a little more than {requested})"
            );
            Said::new(kind, Truth::Unknown, "ExpansionStuck", message)
        }
        Resize::NotManaged => Said::new(kind, true, "NotManaged", "there is no volume of ours"),
        Resize::Unbound => Said::new(kind, Truth::Unknown, "Resizing", format!("claim {claim} has no volume yet")),
    }
}

fn storage_pressure(storage: &StorageFacts, old: &[Condition]) -> Said {
    let kind = "StoragePressure";
    match storage.pressure {
        Pressure::NotAsked => match get(old, kind) {
            Some(before) if before.status == "True" => Said::new(kind, true, &before.reason, before.message.clone()),
            Some(before) if before.status == "False" => Said::new(kind, false, &before.reason, before.message.clone()),
            _ => storage_pressure(&StorageFacts { pressure: Pressure::Unknown, ..StorageFacts::default() }, old),
        },
        Pressure::Unknown => {
            Said::new(kind, Truth::Unknown, "Unknown", "the engine does not say how full its volume is")
        }
        Pressure::Enough(used) => Said::new(kind, false, "Enough", format!("about {used} % are used")),
        Pressure::Week(used) => Said::new(
            kind,
            true,
            "FillsWithin7Days",
            format!("about {used} % are used (hint: raise storage.size or shorten retention)"),
        ),
        Pressure::Day(used) => Said::new(
            kind,
            true,
            "FillsWithin1Day",
            format!("about {used} % are used (hint: raise storage.size or shorten retention)"),
        ),
        Pressure::NearlyFull(used) => Said::new(
            kind,
            true,
            "NearlyFull",
            format!("about {used} % are used (hint: raise storage.size or shorten retention)"),
        ),
    }
}

fn scrapes_accepted(facts: &StackFacts) -> Said {
    let kind = "ScrapesAccepted";
    let (selected, accepted, rejected) = &facts.scrapes;
    match rejected.is_empty() {
        true => Said::new(kind, true, "Accepted", format!("{accepted} of {selected} LogScrapes are in force")),
        false => Said::new(
            kind,
            false,
            "SomeRejected",
            format!("{} of {selected} LogScrapes are not in force: {}", rejected.len(), listed(rejected)),
        ),
    }
}

fn grafana_synced(facts: &StackFacts) -> Said {
    let kind = "GrafanaSynced";
    match (&facts.grafana.error, facts.grafana.is_enabled) {
        (_, false) => Said::new(kind, true, "Disabled", "grafana.enabled is false"),
        (Some(error), true) => Said::new(kind, false, "NotWritten", error.clone()),
        (None, true) => Said::new(kind, true, "Synced", "data source and dashboards are written"),
    }
}
