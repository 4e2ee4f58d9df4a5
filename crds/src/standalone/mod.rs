//! LogStack and LogScrapes -> what `logstack run` starts on one machine, without a cluster.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use logstack_config::{CollectorConfig, EngineConfig, Errors, Finding, Severity, TenantLimits, Warnings};

use crate::document::{Documents, Placed, namespace, parse};
use crate::quantity::bytes;
use crate::render::{
    CollectorFiles, JobSource, Problem, Setting, render_collector, render_engine, render_job, render_tenants,
};
use crate::scrape::LogScrape;
use crate::stack::{AuthType, LogStack, LogStackSpec};

/// Where things are on this machine.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Address that the engine listens on.
    pub listen_address: String,
    /// Port that the engine listens on.
    pub listen_port: u16,
    /// Folder of all data.
    pub data_dir: PathBuf,
}

/// What `logstack run` starts.
#[derive(Debug, Clone)]
pub struct Standalone {
    /// The engine; `None` when the stack names an external one.
    pub engine: Option<EngineConfig>,
    /// Limits of all tenants.
    pub limits: TenantLimits,
    /// The collector; `None` when it is off or has nothing to read.
    pub collector: Option<CollectorConfig>,
}

/// Makes both configurations from the one LogStack and all LogScrapes of some documents.
///
/// Fields that mean something in a cluster only are named in one warning each object. Paths of files that are relative
/// are taken from the folder of their document.
///
/// # Errors
/// No LogStack or several, and everything that the engine or the collector would refuse.
pub fn standalone(documents: &Documents, placement: &Placement) -> Result<(Standalone, Warnings), Errors> {
    let mut findings: Vec<Finding> = Vec::new();
    let Some(stack) = the_stack(documents, &mut findings) else { return Err(Errors::new(findings)) };
    let spec = &stack.object.spec;
    let setting = Setting {
        listen_address: placement.listen_address.clone(),
        listen_port: placement.listen_port,
        data_dir: placement.data_dir.clone(),
        engine_url: format!("http://{}", reachable(&placement.listen_address, placement.listen_port)),
        memory_bytes: memory_limit(spec),
    };
    findings.extend(unused_fields(stack));
    let mut local = spec.clone();
    // Secrets are objects of a cluster.
    local.auth.client_secret_name = None;
    local.auth.kind = AuthType::None;
    local.tls = None;
    // What a volume holds in a cluster, a folder may hold here; where nothing is written, the disk decides.
    if stack.document.has("spec.engine.storage.size") && local.engine.retention.max_size.is_none() {
        local.engine.retention.max_size = Some(local.engine.storage.size.clone());
    }
    let engine = keep(render_engine(&local, &setting), stack, &mut findings).unwrap_or_default();
    let limits = tenant_limits(&engine, spec, stack, &mut findings);
    let files = CollectorFiles { positions: placement.data_dir.join("collector/positions.yaml"), http_port: None };
    let collector = keep(render_collector(&local, &setting, &files), stack, &mut findings).map(|mut config| {
        let folder = folder_of(stack);
        config.scrape_configs.iter_mut().for_each(|job| root_paths(job, &folder));
        config.collector.data_dir = Some(placement.data_dir.join("collector"));
        config.scrape_configs.splice(0..0, jobs(documents, spec, &mut findings));
        config
    });
    findings.sort_by_key(|finding| (finding.place.file.clone(), finding.place.line));
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(Errors::new(findings));
    }
    let collector = collector.filter(|config| spec.collector.enabled && !config.scrape_configs.is_empty());
    let engine = spec.engine.external.is_none().then_some(engine);
    Ok((Standalone { engine, limits, collector }, Warnings(findings)))
}

/// Everything that is to be said about some documents, for `logstack check`: as a cluster would take them.
pub fn check<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Finding> {
    let (documents, warnings) = match parse(files) {
        Ok(parsed) => parsed,
        Err(errors) => return errors.findings().to_vec(),
    };
    let mut findings = warnings.0;
    let setting = Setting {
        listen_address: String::new(),
        listen_port: 3100,
        data_dir: "/data".into(),
        engine_url: "http://engine:3100".to_owned(),
        memory_bytes: None,
    };
    let files = CollectorFiles { positions: "/state/positions.yaml".into(), http_port: Some(3101) };
    for stack in &documents.stacks {
        let spec = &stack.object.spec;
        if let Some(engine) = keep(render_engine(spec, &setting), stack, &mut findings) {
            tenant_limits(&engine, spec, stack, &mut findings);
        }
        keep(render_collector(spec, &setting, &files), stack, &mut findings);
    }
    let default = LogStackSpec::default();
    let stack = documents.stacks.first().map_or(&default, |stack| &stack.object.spec);
    for scrape in &documents.scrapes {
        keep(render_job(&scrape.object, stack), scrape, &mut findings);
        for (idx, path) in scrape.object.spec.node_paths.iter().flatten().enumerate() {
            if !path.path.starts_with('/') {
                let at = format!("spec.nodePaths[{idx}].path");
                let text = "is relative: only logstack run takes it, from this file's folder; a cluster refuses it";
                findings.push(Finding::new(Severity::Warning, scrape.document.place_of(&at), at, text));
            }
        }
    }
    findings.sort_by_key(|finding| (finding.place.file.clone(), finding.place.line));
    findings
}

fn the_stack<'a>(documents: &'a Documents, findings: &mut Vec<Finding>) -> Option<&'a Placed<LogStack>> {
    match documents.stacks.as_slice() {
        [stack] => return Some(stack),
        [] => {
            let file = documents.scrapes.first().map(|scrape| scrape.document.place_of(""));
            let place = file.unwrap_or(logstack_config::Place { file: "-f".into(), line: 0, column: 0 });
            let text = "there is no LogStack (hint: begin with kind: LogStack, metadata: {name: logs}, spec: {})";
            findings.push(Finding::new(Severity::Error, place, "", text));
        }
        [_, more @ ..] => {
            for stack in more {
                let text = "is a second LogStack (hint: one process runs one; start another with its own --data-dir)";
                let place = stack.document.place_of("metadata.name");
                findings.push(Finding::new(Severity::Error, place, "metadata.name", text));
            }
        }
    }
    None
}

/// An address that a client on this machine can reach.
fn reachable(address: &str, port: u16) -> String {
    match address {
        "" | "0.0.0.0" => format!("127.0.0.1:{port}"),
        "::" | "[::]" => format!("[::1]:{port}"),
        address if address.contains(':') && !address.starts_with('[') => format!("[{address}]:{port}"),
        address => format!("{address}:{port}"),
    }
}

fn memory_limit(spec: &LogStackSpec) -> Option<u64> {
    spec.engine.resources.limits.as_ref()?.get("memory").and_then(bytes)
}

/// Turns the problems of a rendering into findings of the object's document.
fn keep<T, O>(result: Result<T, Vec<Problem>>, from: &Placed<O>, findings: &mut Vec<Finding>) -> Option<T> {
    result.map_err(|problems| findings.extend(problems.iter().map(|p| p.to_finding(&from.document)))).ok()
}

fn tenant_limits(
    engine: &EngineConfig,
    spec: &LogStackSpec,
    stack: &Placed<LogStack>,
    findings: &mut Vec<Finding>,
) -> TenantLimits {
    let text = render_tenants(spec).and_then(|file| serde_yaml::to_string(&file));
    let at = "spec.engine.limits.tenants";
    let mut fail = |text: &str| {
        findings.push(Finding::new(Severity::Error, stack.document.place_of(at), at, text));
    };
    match text {
        Ok(text) => match TenantLimits::load(engine, &text, "tenants") {
            Ok((limits, _)) => return limits,
            Err(errors) => errors.errors().for_each(|error| fail(&format!("{}: {}", error.path, error.reason))),
        },
        Err(error) => fail(&error.to_string()),
    }
    TenantLimits::new(engine)
}

/// Jobs of the LogScrapes in the order in which the first match wins.
fn jobs(
    documents: &Documents,
    stack: &LogStackSpec,
    findings: &mut Vec<Finding>,
) -> Vec<logstack_config::collector::ScrapeConfig> {
    let mut scrapes: Vec<&Placed<LogScrape>> = documents.scrapes.iter().collect();
    scrapes.sort_by_key(|scrape| {
        let metadata = &scrape.object.metadata;
        let order = (namespace(metadata).to_owned(), metadata.name.clone());
        (std::cmp::Reverse(scrape.object.spec.priority), order)
    });
    let mut jobs = Vec::new();
    for scrape in scrapes {
        if scrape.object.spec.suspend {
            continue;
        }
        let Some(mut job) = keep(render_job(&scrape.object, stack), scrape, findings) else { continue };
        if JobSource::of(&scrape.object.spec) == JobSource::Pods {
            let text = "selects pods, and there is no cluster: nothing is read (hint: use spec.nodePaths)";
            findings.push(Finding::new(Severity::Warning, scrape.document.place_of("spec"), "spec", text));
            continue;
        }
        root_paths(&mut job, &folder_of(scrape));
        jobs.push(job);
    }
    jobs
}

/// The folder of the document's file; the current one for standard input.
fn folder_of<T>(placed: &Placed<T>) -> PathBuf {
    let file = placed.document.place_of("").file;
    Path::new(&*file).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Roots relative paths of a job in `folder`.
fn root_paths(job: &mut logstack_config::collector::ScrapeConfig, folder: &Path) {
    for config in &mut job.static_configs {
        for key in ["__path__", "__path_exclude__"] {
            if let Some(path) = config.labels.get_mut(key)
                && !path.starts_with('/')
            {
                let relative = path.strip_prefix("./").unwrap_or(path);
                *path = folder.join(relative).to_string_lossy().into_owned();
            }
        }
    }
}

/// One warning that names the fields of a LogStack that only a cluster knows.
fn unused_fields(stack: &Placed<LogStack>) -> Option<Finding> {
    /// Fields marked **K** in the contract, and those that name Secrets.
    const CLUSTER_ONLY: [&str; 47] = [
        "image",
        "imagePullSecrets",
        "imagePullPolicy",
        "commonLabels",
        "commonAnnotations",
        "engine.image",
        "engine.replicas",
        "engine.storage.storageClassName",
        "engine.storage.accessMode",
        "engine.storage.ephemeral",
        "engine.storage.whenDeleted",
        "engine.storage.whenScaled",
        "engine.storage.labels",
        "engine.storage.annotations",
        "engine.coldStorage",
        "engine.service",
        "engine.extraConfigSecretName",
        "engine.env",
        "engine.affinity",
        "engine.tolerations",
        "engine.nodeSelector",
        "engine.topologySpreadConstraints",
        "engine.priorityClassName",
        "engine.serviceAccountName",
        "engine.terminationGracePeriodSeconds",
        "engine.podDisruptionBudget",
        "engine.podTemplate",
        "auth",
        "tls",
        "collector.image",
        "collector.resources",
        "collector.env",
        "collector.nodeSelector",
        "collector.affinity",
        "collector.podTemplate",
        "collector.tolerations",
        "collector.priorityClassName",
        "collector.maxUnavailable",
        "collector.securityContext",
        "collector.defaultScrape",
        "collector.reloadPolicy",
        "scrapeSelector",
        "scrapeNamespaceSelector",
        "scrapePolicy",
        "grafana",
        "monitoring",
        "networkPolicy",
    ];
    let written = |path: &&&str| stack.document.has(&format!("spec.{path}"));
    let used: Vec<&str> = CLUSTER_ONLY.iter().filter(written).copied().collect();
    if used.is_empty() {
        return None;
    }
    let text = format!("is without effect outside a cluster: {}", used.join(", "));
    Some(Finding::new(Severity::Warning, stack.document.place_of("spec"), "spec", &text))
}
