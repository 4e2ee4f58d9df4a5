//! The files of engine and collectors as text, checked by the code that will read them.

use logstack_config::collector::JobsFile;
use logstack_config::{CollectorConfig, EngineConfig, Errors, OverridesFile, TenantLimits, differences, load};
use logstack_crds::LogStack;
use logstack_crds::quantity::bytes;
use logstack_crds::render::{
    CollectorFiles, Problem, Reason, Setting, render_collector, render_default_job, render_engine, render_tenants,
    split_runtime,
};
use logstack_crds::stack::LogStackSpec;
use serde::Serialize;

use super::{COLLECTOR_PORT, ENGINE_PORT};
use crate::hash;
use crate::names::Names;
use crate::scrape::problems;

/// Where files lie in the pods.
pub(super) const ENGINE_DIR: &str = "/etc/logstack/engine";
pub(super) const RUNTIME_DIR: &str = "/etc/logstack/runtime";
pub(super) const COLLECTOR_DIR: &str = "/etc/logstack/collector";
pub(super) const JOBS_DIR: &str = "/etc/logstack/jobs";
pub(super) const DATA_DIR: &str = "/data";
pub(super) const STATE_DIR: &str = "/var/lib/logstack";

/// Files of a stack, or what is wrong with them.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The engine's.
    pub engine: Result<EngineText, Vec<Problem>>,
    /// The collectors'.
    pub collector: Result<CollectorText, Vec<Problem>>,
}

impl Rendered {
    /// Everything that is wrong.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let (engine, collector) = (self.engine.as_ref().err(), self.collector.as_ref().err());
        engine.into_iter().chain(collector).flatten()
    }
}

/// Files of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineText {
    /// Read at start only.
    pub static_file: String,
    /// Read again while it runs: limits, retention, overrides of tenants.
    pub runtime_file: String,
}

impl EngineText {
    /// Of the static file.
    pub fn static_hash(&self) -> String {
        hash::of_text(&self.static_file)
    }

    /// Of the runtime file.
    pub fn runtime_hash(&self) -> String {
        hash::of_text(&self.runtime_file)
    }
}

/// Files of the collectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorText {
    /// Clients, state, logs of the node.
    pub base_file: String,
    /// The built-in last job.
    pub default_job: Option<String>,
}

/// Address of the engine as the collectors and Grafana see it.
pub fn engine_url(spec: &LogStackSpec, names: &Names) -> String {
    if let Some(external) = &spec.engine.external {
        return external.url.trim_end_matches('/').to_owned();
    }
    let scheme = if spec.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}:{}", names.host(), spec.engine.service.port)
}

/// Renders and checks all files of a stack.
pub fn render(stack: &LogStack, names: &Names) -> Rendered {
    let spec = &stack.spec;
    let setting = Setting {
        listen_address: String::new(),
        listen_port: ENGINE_PORT as u16,
        data_dir: DATA_DIR.into(),
        engine_url: engine_url(spec, names),
        memory_bytes: spec.engine.resources.limits.as_ref().and_then(|limits| limits.get("memory")).and_then(bytes),
    };
    let engine = match spec.engine.external {
        // Nothing is run, so nothing can be wrong with its file.
        Some(_) => Ok(EngineText { static_file: String::new(), runtime_file: String::new() }),
        None => render_engine_files(spec, &setting),
    };
    let collector = match spec.collector.enabled {
        false => Ok(CollectorText { base_file: String::new(), default_job: None }),
        true => render_collector_files(spec, &setting),
    };
    Rendered { engine, collector }
}

fn problem(path: &str, text: impl Into<String>, reason: Reason) -> Problem {
    Problem { path: path.to_owned(), text: text.into(), reason }
}

fn from_errors(path: &str, errors: &Errors) -> Vec<Problem> {
    errors.errors().map(|f| problem(path, format!("{}: {}", f.path, f.reason), Reason::Invalid)).collect()
}

fn yaml(value: &impl Serialize, path: &str) -> Result<String, Vec<Problem>> {
    serde_yaml::to_string(value).map_err(|error| vec![problem(path, error.to_string(), Reason::Invalid)])
}

/// What the schema cannot see and the engine's file does not show.
pub fn runtime_problems(spec: &LogStackSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.rules.enabled {
        let text = "is not supported: the engine has no ruler (hint: use Grafana's alerting)";
        problems.push(problem("spec.rules.enabled", text, Reason::Unsupported));
    }
    if spec.engine.cold_storage.is_some() {
        let text = "is not supported by this engine yet (hint: remove it; all data stays on the volume)";
        problems.push(problem("spec.engine.coldStorage", text, Reason::Unsupported));
    }
    for (idx, rule) in spec.engine.retention.streams.iter().enumerate() {
        if let Err(error) = logstack_logql::parse_selector(&rule.selector) {
            let path = format!("spec.engine.retention.streams[{idx}].selector");
            let text = format!("{:?} is no stream selector: {error} (hint: write {{app=\"x\"}})", rule.selector);
            problems.push(problem(&path, text, Reason::Invalid));
        }
    }
    problems
}

fn render_engine_files(spec: &LogStackSpec, setting: &Setting) -> Result<EngineText, Vec<Problem>> {
    let problems = runtime_problems(spec);
    let rendered = render_engine(spec, setting);
    let config = match (rendered, problems.is_empty()) {
        (Ok(config), true) => config,
        (Ok(_), false) => return Err(problems),
        (Err(more), _) => return Err(problems.into_iter().chain(more).collect()),
    };
    let invalid = |error: serde_yaml::Error| vec![problem("spec.engine", error.to_string(), Reason::Invalid)];
    let tenants: OverridesFile = render_tenants(spec).map_err(invalid)?;
    let (mut config, runtime) = split_runtime(config, tenants).map_err(invalid)?;
    config.runtime_config.file = Some(format!("{RUNTIME_DIR}/runtime.yaml").into());
    let sparse = differences(&config, &EngineConfig::default()).map_err(invalid)?;
    let static_file = yaml(&sparse, "spec.engine")?;
    let runtime_file = yaml(&runtime, "spec.engine.limits")?;
    let (read, _) = load::<EngineConfig>(&static_file, "config.yaml").map_err(|e| from_errors("spec.engine", &e))?;
    TenantLimits::load(&read, &runtime_file, "runtime.yaml").map_err(|e| from_errors("spec.engine.limits", &e))?;
    Ok(EngineText { static_file, runtime_file })
}

fn render_collector_files(spec: &LogStackSpec, setting: &Setting) -> Result<CollectorText, Vec<Problem>> {
    let files = CollectorFiles {
        positions: format!("{STATE_DIR}/positions.yaml").into(),
        http_port: Some(COLLECTOR_PORT as u16),
    };
    let mistakes = problems(&spec.collector.relabelings, &spec.collector.pipeline_stages, "spec.collector.");
    let rendered = render_collector(spec, setting, &files);
    let mut config = match (rendered, mistakes.is_empty()) {
        (Ok(config), true) => config,
        (Ok(_), false) => return Err(mistakes),
        (Err(more), _) => return Err(mistakes.into_iter().chain(more).collect()),
    };
    config.collector.scrape_config_files = vec![format!("{JOBS_DIR}/*.yaml"), format!("{COLLECTOR_DIR}/default.yaml")];
    config.collector.data_dir = Some(STATE_DIR.into());
    let sparse = differences(&config, &CollectorConfig::default())
        .map_err(|error| vec![problem("spec.collector", error.to_string(), Reason::Invalid)])?;
    let base_file = yaml(&sparse, "spec.collector")?;
    load::<CollectorConfig>(&base_file, "config.yaml").map_err(|e| from_errors("spec.collector", &e))?;
    let default_job = match render_default_job(spec) {
        None => None,
        Some(job) => {
            // Below every LogScrape, whose priorities begin at 0.
            let text = yaml(&JobsFile { priority: -1, scrape_configs: vec![job] }, "spec.collector.defaultScrape")?;
            load::<JobsFile>(&text, "default.yaml").map_err(|e| from_errors("spec.collector.defaultScrape", &e))?;
            Some(text)
        }
    };
    Ok(CollectorText { base_file, default_job })
}
