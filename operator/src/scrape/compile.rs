//! One LogScrape -> one file of jobs, if it is permitted and valid.

use logstack_config::collector::JobsFile;
use logstack_config::load;
use logstack_crds::render::{Problem, render_job};
use logstack_crds::stack::NodePathPolicy;
use logstack_crds::{LogScrape, LogStack};
use serde_json::Value;

use super::expressions::problems;
use crate::build::static_prefix;
use crate::world::{Key, Rejection};

/// Largest job: a ConfigMap of 1 MiB must hold several.
const JOB_BYTES_MAX: usize = 256 << 10;

/// First line of a job's file.
const HEADER: &str = "# generation: ";

/// Folders that cannot be mounted over the container's own.
const UNMOUNTABLE: [&str; 3] = ["/", "/etc", "/etc/logstack"];

/// A job as it lies in a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The file.
    pub text: String,
}

/// Key of a LogScrape's job in its ConfigMap.
pub fn job_key(scrape: &Key) -> String {
    format!("{}.{}.yaml", scrape.namespace, scrape.name)
}

/// The generation that a job was made of.
pub fn generation_of(text: &str) -> Option<i64> {
    text.lines().next()?.strip_prefix(HEADER)?.trim().parse().ok()
}

/// Folders of the node that a job reads.
pub fn node_dirs(text: &str) -> Vec<String> {
    // Jobs of pods, the most, name no static path.
    if !text.contains("static_configs") {
        return Vec::new();
    }
    let Ok((file, _)) = load::<JobsFile>(text, "job") else { return Vec::new() };
    let configs = file.scrape_configs.iter().flat_map(|job| &job.static_configs);
    configs.filter_map(|config| config.labels.get("__path__")).map(|path| static_prefix(path)).collect()
}

/// Compiles a LogScrape for a stack.
///
/// # Errors
/// `NotPermitted`, `Invalid` or `TooLarge`, with the field and the remedy.
pub fn compile(scrape: &LogScrape, stack: &LogStack) -> Result<Job, Rejection> {
    check_permission(scrape, stack)?;
    let refuse = |problems: Vec<Problem>| {
        let mut message = problems.first().map(|p| format!("{}: {}", p.path, p.text)).unwrap_or_default();
        if problems.len() > 1 {
            message.push_str(&format!(", and {} more", problems.len() - 1));
        }
        Rejection { reason: "Invalid", message }
    };
    let mistakes = problems(&scrape.spec.relabelings, &scrape.spec.pipeline_stages, "spec.");
    if !mistakes.is_empty() {
        return Err(refuse(mistakes));
    }
    let job = render_job(scrape, &stack.spec).map_err(refuse)?;
    for (idx, path) in scrape.spec.node_paths.iter().flatten().enumerate() {
        let dir = static_prefix(&path.path);
        if UNMOUNTABLE.contains(&dir.as_str()) {
            let text = format!("needs the folder {dir}, which cannot be mounted (hint: name a folder below it)");
            return Err(invalid(&format!("spec.nodePaths[{idx}].path"), &text));
        }
    }
    let file = JobsFile { priority: scrape.spec.priority, scrape_configs: vec![job] };
    let body = serde_yaml::to_string(&file).map_err(|error| invalid("spec", &error.to_string()))?;
    // The same code that will read it.
    load::<JobsFile>(&body, "job.yaml").map_err(|errors| {
        let first = errors.errors().next().map(|f| format!("{}: {}", f.path, f.reason)).unwrap_or_default();
        invalid("spec", &first)
    })?;
    let text = format!("{HEADER}{}\n{body}", scrape.metadata.generation.unwrap_or_default());
    if text.len() > JOB_BYTES_MAX {
        let message = format!(
            "its job has {} KiB and may have {} (hint: make several LogScrapes of it)",
            text.len() >> 10,
            JOB_BYTES_MAX >> 10
        );
        return Err(Rejection { reason: "TooLarge", message });
    }
    Ok(Job { text })
}

fn invalid(path: &str, text: &str) -> Rejection {
    Rejection { reason: "Invalid", message: format!("{path}: {text}") }
}

/// From the stack's own namespace everything is permitted; from others what its `scrapePolicy` says.
fn check_permission(scrape: &LogScrape, stack: &LogStack) -> Result<(), Rejection> {
    let own = scrape.metadata.namespace.as_deref().unwrap_or_default();
    let home = stack.metadata.namespace.as_deref().unwrap_or_default();
    let policy = &stack.spec.scrape_policy;
    let spec = &scrape.spec;
    let deny = |path: &str, what: &str, key: &str| {
        let message = format!("{path}: {what} (hint: scrapePolicy.{key} of LogStack {home}/{})", stack_name(stack));
        Err(Rejection { reason: "NotPermitted", message })
    };
    if spec.node_paths.is_some() {
        match policy.allow_node_paths {
            NodePathPolicy::All => {}
            NodePathPolicy::OwnNamespace if own == home => {}
            _ => return deny("spec.nodePaths", "files of nodes are not permitted", "allowNodePaths"),
        }
    }
    if own == home {
        return Ok(());
    }
    if let Some(selector) = &spec.namespace_selector {
        let is_own = selector.any != Some(true)
            && selector.match_labels.is_none()
            && selector.match_names.iter().flatten().all(|name| name == own);
        if !is_own && !policy.allow_cross_namespace_targets {
            let what = "pods of other namespaces are not permitted";
            return deny("spec.namespaceSelector", what, "allowCrossNamespaceTargets");
        }
    }
    let is_allowed = |tenant: &str| policy.allowed_tenants.iter().any(|allowed| allowed == tenant);
    if let Some(tenant) = spec.tenant.as_deref().filter(|tenant| !is_allowed(tenant)) {
        return deny("spec.tenant", &format!("tenant {tenant} is not permitted"), "allowedTenants");
    }
    for (idx, rule) in spec.relabelings.iter().enumerate() {
        // Internal labels decide which file is read and for which tenant; `labelmap` writes what its replacement says.
        let is_internal = |name: &Option<String>| {
            name.as_deref()
                .is_some_and(|name| (name.starts_with("__") && !name.starts_with("__tmp_")) || name.starts_with('$'))
        };
        let is_map = rule.action == Some(logstack_config::collector::RelabelAction::LabelMap);
        if is_internal(&rule.target_label)
            || (is_map && is_internal(&rule.replacement.clone().or(Some("$1".to_owned()))))
        {
            let path = format!("spec.relabelings[{idx}]");
            return deny(
                &path,
                "internal labels are not permitted from another namespace",
                "allowCrossNamespaceTargets",
            );
        }
    }
    let stages = serde_json::to_value(&spec.pipeline_stages).unwrap_or_default();
    match forbidden_stage(&stages, policy.enforce_namespace_label, &is_allowed) {
        Some(what) => deny("spec.pipelineStages", &what, "allowedTenants"),
        None => Ok(()),
    }
}

fn stack_name(stack: &LogStack) -> &str {
    stack.metadata.name.as_deref().unwrap_or_default()
}

/// A stage, at any depth, that would write into another's streams.
fn forbidden_stage(stages: &Value, keeps_namespace: bool, is_allowed: &dyn Fn(&str) -> bool) -> Option<String> {
    match stages {
        Value::Array(items) => items.iter().find_map(|item| forbidden_stage(item, keeps_namespace, is_allowed)),
        Value::Object(map) => map.iter().find_map(|(name, body)| match name.as_str() {
            "tenant" if body.is_object() => {
                let value = body.get("value").and_then(Value::as_str).filter(|value| !value.is_empty());
                match value {
                    Some(value) if is_allowed(value) => None,
                    Some(value) => Some(format!("tenant {value} is not permitted")),
                    None => Some("a tenant taken from the line is not permitted".to_owned()),
                }
            }
            "labels" | "static_labels" if keeps_namespace && body.get("namespace").is_some() => {
                Some(format!("{name}: the label namespace is set from the pod"))
            }
            _ => forbidden_stage(body, keeps_namespace, is_allowed),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(namespace: &str, spec: &str, stack: &str) -> Result<Job, Rejection> {
        let mut scrape = LogScrape::new("s", serde_yaml::from_str(spec).unwrap());
        scrape.metadata.namespace = Some(namespace.to_owned());
        scrape.metadata.generation = Some(7);
        let mut stack = LogStack::new("logs", serde_yaml::from_str(stack).unwrap());
        stack.metadata.namespace = Some("obs".to_owned());
        compile(&scrape, &stack)
    }

    #[test]
    fn permits_what_the_policy_says() {
        #[track_caller]
        fn check(namespace: &str, spec: &str, stack: &str, want: Option<&str>) {
            let got = case(namespace, spec, stack).err();
            assert_eq!(got.as_ref().map(|rejection| rejection.reason), want, "{spec} {stack}: {got:?}");
        }
        check("obs", "{nodePaths: [{path: /var/log/x}]}", "{}", None);
        check("shop", "{nodePaths: [{path: /var/log/x}]}", "{}", Some("NotPermitted"));
        check("shop", "{nodePaths: [{path: /var/log/x}]}", "{scrapePolicy: {allowNodePaths: All}}", None);
        check(
            "obs",
            "{nodePaths: [{path: /var/log/x}]}",
            "{scrapePolicy: {allowNodePaths: None}}",
            Some("NotPermitted"),
        );
        check("obs", "{nodePaths: [{path: /etc/x}]}", "{}", Some("Invalid"));
        check("obs", "{namespaceSelector: {any: true}}", "{}", None);
        check("shop", "{namespaceSelector: {any: true}}", "{}", Some("NotPermitted"));
        check("shop", "{namespaceSelector: {any: true}}", "{scrapePolicy: {allowCrossNamespaceTargets: true}}", None);
        check("shop", "{namespaceSelector: {matchNames: [shop]}}", "{}", None);
        check("shop", "{namespaceSelector: {matchNames: [shop, obs]}}", "{}", Some("NotPermitted"));
        check("shop", "{tenant: a}", "{}", Some("NotPermitted"));
        check("shop", "{tenant: a}", "{scrapePolicy: {allowedTenants: [a]}}", None);
        check("obs", "{tenant: a}", "{}", None);
        check("shop", "{pipelineStages: [{tenant: {value: a}}]}", "{}", Some("NotPermitted"));
        check("shop", "{pipelineStages: [{tenant: {value: a}}]}", "{scrapePolicy: {allowedTenants: [a]}}", None);
        check("shop", "{relabelings: [{targetLabel: __path__, replacement: /etc/shadow}]}", "{}", Some("NotPermitted"));
        check("shop", "{relabelings: [{targetLabel: __tmp_x, replacement: a}]}", "{}", None);
        check("shop", "{relabelings: [{action: labelmap, regex: x_(.+)}]}", "{}", Some("NotPermitted"));
    }

    #[test]
    fn a_job_says_what_it_was_made_of() {
        let job = case("obs", "{nodePaths: [{path: /srv/app/*.log}]}", "{}").unwrap();
        assert_eq!(generation_of(&job.text), Some(7));
        assert_eq!(node_dirs(&job.text), ["/srv/app"]);
        assert_eq!(node_dirs(&case("obs", "{}", "{}").unwrap().text), Vec::<String>::new());
        let stage = format!("{{regex: {{expression: '{}'}}}}", "a".repeat(300 << 10));
        let rejection = case("obs", &format!("{{pipelineStages: [{stage}]}}"), "{}").unwrap_err();
        assert_eq!(rejection.reason, "TooLarge");
    }
}
