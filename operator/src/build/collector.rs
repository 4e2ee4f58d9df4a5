//! The collectors' DaemonSet: reads the logs of the node, writes nothing there but its own state.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector,
    PodSpec, PodTemplateSpec, ProjectedVolumeSource, SecurityContext, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use logstack_crds::stack::ReloadPolicy;

use super::engine::pull_policy;
use super::meta::{self, Component};
use super::pod::{self, Asking};
use super::references::collector_secrets;
use super::render::{COLLECTOR_DIR, CollectorText, JOBS_DIR, STATE_DIR};
use super::{COLLECTOR_PORT, Inputs, Object, shard_texts};
use crate::names::SHARDS_MAX;
use crate::{hash, names};

/// Seconds to push what is in flight. Less than the engine's: what is not pushed is read again.
const GRACE_SECONDS: i64 = 35;

pub(super) fn build(inputs: &Inputs<'_>, text: &CollectorText) -> Object {
    let spec = &inputs.stack.spec.collector;
    let set = DaemonSet {
        metadata: meta::own(inputs, Component::Collector, &inputs.names.collector),
        spec: DaemonSetSpec {
            selector: meta::selector(inputs.names, Component::Collector),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(spec.max_unavailable.clone()),
                    ..RollingUpdateDaemonSet::default()
                }),
            }),
            revision_history_limit: Some(3),
            template: PodTemplateSpec::default(),
            ..DaemonSetSpec::default()
        },
        ..DaemonSet::default()
    };
    let mut set = serde_json::to_value(&set).unwrap_or_default();
    set["spec"]["template"] = pod::merge_template(template(inputs, text), &spec.pod_template);
    Object::new(&set)
}

/// Folders of the node that are read: the pods' logs, and what system logs and jobs name.
fn read_dirs(inputs: &Inputs<'_>) -> Vec<String> {
    let spec = &inputs.stack.spec.collector;
    let mut dirs: BTreeSet<String> = inputs.node_dirs.clone();
    dirs.insert(spec.host_paths.pod_logs.trim_end_matches('/').to_owned());
    dirs.extend(spec.host_paths.extra.iter().map(|extra| extra.path.trim_end_matches('/').to_owned()));
    dirs.extend(spec.system_logs.files.iter().map(|file| pod::static_prefix(&file.path)));
    let journal = &spec.system_logs.journal;
    if journal.enabled {
        match &journal.path {
            Some(path) => drop(dirs.insert(path.trim_end_matches('/').to_owned())),
            None => dirs.extend(["/var/log/journal", "/run/log/journal"].map(str::to_owned)),
        }
    }
    pod::outermost(dirs)
}

fn template(inputs: &Inputs<'_>, text: &CollectorText) -> PodTemplateSpec {
    let stack = &inputs.stack.spec;
    let spec = &stack.collector;
    let names = inputs.names;
    let state = spec.host_paths.state.clone();
    let state = state.unwrap_or_else(|| format!("/var/lib/logstack/{}-{}", names.namespace, names.stack));
    let mut volumes = vec![
        pod::config_volume("config", &names.collector),
        jobs_volume(inputs),
        pod::host_volume("state", &state, "DirectoryOrCreate"),
        Volume { name: "tmp".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    ];
    let mut mounts = vec![
        pod::mount("config", COLLECTOR_DIR, true),
        pod::mount("jobs", JOBS_DIR, true),
        pod::mount("state", STATE_DIR, false),
        pod::mount("tmp", "/tmp", false),
    ];
    for dir in read_dirs(inputs) {
        let name = pod::volume_name("node", &dir);
        // No type: the kubelet must not refuse a pod because a node lacks a folder.
        volumes.push(pod::host_volume(&name, &dir, ""));
        mounts.push(pod::mount(&name, &dir, true));
    }
    if spec.system_logs.journal.enabled {
        volumes.push(pod::host_volume("machine-id", "/etc/machine-id", "File"));
        mounts.push(pod::mount("machine-id", "/etc/machine-id", true));
    }
    for (secret, keys) in collector_secrets(stack) {
        let name = pod::volume_name("secret", &secret);
        volumes.push(pod::secret_volume(&name, &secret, &keys));
        mounts.push(pod::mount(&name, &format!("/etc/logstack/secrets/{secret}"), true));
    }
    // The node that this agent is for.
    let node = EnvVar {
        name: "HOSTNAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "spec.nodeName".to_owned(),
                api_version: Some("v1".to_owned()),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let env = std::iter::once(node).chain(spec.env.iter().cloned()).collect();
    // Logs of pods belong to root; capabilities are not needed to read them.
    let root = || SecurityContext { run_as_user: Some(0), run_as_group: Some(0), ..pod::hardened() };
    let container = Container {
        name: "collector".to_owned(),
        image: Some(inputs.images.collector.clone()),
        image_pull_policy: Some(pull_policy(stack.image_pull_policy).to_owned()),
        args: Some(vec!["collector".to_owned(), "--config-file".to_owned(), format!("{COLLECTOR_DIR}/config.yaml")]),
        env: Some(env),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: COLLECTOR_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(spec.resources.clone()),
        volume_mounts: Some(mounts),
        readiness_probe: Some(pod::probe(Asking::Http, 10, 3)),
        security_context: Some(spec.security_context.clone().unwrap_or_else(root)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    let hash = (spec.reload_policy == ReloadPolicy::Restart).then(|| (names::CONFIG_HASH, config_hash(inputs, text)));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(meta::pod_labels(names, Component::Collector)),
            annotations: Some(pod::annotations(inputs.stack, hash)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names.collector.clone()),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            image_pull_secrets: Some(stack.image_pull_secrets.clone()),
            affinity: spec.affinity.clone(),
            tolerations: Some(spec.tolerations.clone()),
            node_selector: Some(spec.node_selector.clone()),
            priority_class_name: Some(spec.priority_class_name.clone()).filter(|name| !name.is_empty()),
            containers: vec![container],
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
    }
}

/// One volume of all shards, each optional: a new shard changes no pod template.
fn jobs_volume(inputs: &Inputs<'_>) -> Volume {
    let source = |idx| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: inputs.names.jobs(idx),
            optional: Some(true),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let sources = Some((0..SHARDS_MAX).map(source).collect());
    Volume {
        name: "jobs".to_owned(),
        projected: Some(ProjectedVolumeSource { sources, ..ProjectedVolumeSource::default() }),
        ..Volume::default()
    }
}

fn config_hash(inputs: &Inputs<'_>, text: &CollectorText) -> String {
    let default = text.default_job.as_deref().unwrap_or_default();
    let base = [text.base_file.as_bytes(), default.as_bytes()];
    hash::of_bytes(base.into_iter().chain(shard_texts(inputs.shards)))
}
