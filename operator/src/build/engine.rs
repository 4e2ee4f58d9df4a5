//! The engine's StatefulSet. One replica today, shaped for ordinals.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile, TCPSocketAction, Volume,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use logstack_crds::stack::{AccessMode, AuthType, ClaimPolicy, ClientAuthSpec, PullPolicy, TlsSpec};

use super::meta::{self, Component};
use super::pod::{self, Asking};
use super::render::{DATA_DIR, ENGINE_DIR, EngineText, RUNTIME_DIR};
use super::{ENGINE_PORT, Inputs, Object};
use crate::{hash, names};

/// The user of the process, as in the image; `fsGroup` makes the volume its own.
const UID: i64 = 10_001;

/// Of the startup probe: 10 s times this is half an hour for the replay of a large log; killing it would start it anew.
const STARTUP_PERIOD_SECONDS: i32 = 10;
const STARTUP_FAILURES: i32 = 180;

pub(super) fn build(inputs: &Inputs<'_>, text: &EngineText) -> Object {
    let spec = &inputs.stack.spec.engine;
    let names = inputs.names;
    let policy = |policy| Some(if policy == ClaimPolicy::Delete { "Delete" } else { "Retain" }.to_owned());
    let set = StatefulSet {
        metadata: meta::own(inputs, Component::Engine, &names.engine),
        spec: StatefulSetSpec {
            replicas: Some(spec.replicas),
            service_name: Some(names.engine.clone()),
            selector: meta::selector(names, Component::Engine),
            // Immutable. With `OrderedReady` a pod that cannot start is not replaced by its correction.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(3),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: policy(spec.storage.when_deleted),
                when_scaled: policy(spec.storage.when_scaled),
            }),
            volume_claim_templates: (!spec.storage.ephemeral).then(|| vec![claim(inputs)]),
            template: PodTemplateSpec::default(),
            ..StatefulSetSpec::default()
        },
        ..StatefulSet::default()
    };
    let mut set = serde_json::to_value(&set).unwrap_or_default();
    set["spec"]["template"] = pod::merge_template(template(inputs, text), &spec.pod_template);
    Object::new(&set)
}

/// The claim template. Immutable; an existing set's wins over it, see `storage`.
fn claim(inputs: &Inputs<'_>) -> PersistentVolumeClaim {
    let storage = &inputs.stack.spec.engine.storage;
    let mut labels: BTreeMap<String, String> = storage.labels.clone();
    // The set's controller copies only the selector's labels to the claim.
    labels.extend(meta::pod_labels(inputs.names, Component::Engine));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(labels),
            annotations: Some(storage.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![
                match storage.access_mode {
                    AccessMode::ReadWriteOnce => "ReadWriteOnce",
                    AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
                }
                .to_owned(),
            ]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), storage.size.clone())])),
                ..VolumeResourceRequirements::default()
            }),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn template(inputs: &Inputs<'_>, text: &EngineText) -> PodTemplateSpec {
    let stack = &inputs.stack.spec;
    let spec = &stack.engine;
    let names = inputs.names;
    let mut volumes = vec![
        pod::config_volume("config", &names.engine),
        pod::config_volume("runtime", &names.runtime()),
        // The root is read-only; sorting and archives may need room.
        Volume { name: "tmp".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    ];
    let mut mounts = vec![
        pod::mount("data", DATA_DIR, false),
        pod::mount("config", ENGINE_DIR, true),
        pod::mount("runtime", RUNTIME_DIR, true),
        pod::mount("tmp", "/tmp", false),
    ];
    if spec.storage.ephemeral {
        let empty_dir =
            EmptyDirVolumeSource { size_limit: Some(spec.storage.size.clone()), ..EmptyDirVolumeSource::default() };
        volumes.push(Volume { name: "data".to_owned(), empty_dir: Some(empty_dir), ..Volume::default() });
    }
    for (name, dir, secret, keys) in secrets(inputs) {
        volumes.push(pod::secret_volume(name, &secret, keys));
        mounts.push(pod::mount(name, dir, true));
    }
    let mut args = vec!["engine".to_owned(), "--config-file".to_owned(), format!("{ENGINE_DIR}/config.yaml")];
    if spec.extra_config_secret_name.is_some() {
        args.extend(["--extra-config-file".to_owned(), "/etc/logstack/extra/config.yaml".to_owned()]);
    }
    let asking = asking(stack.tls.as_ref());
    let container = Container {
        name: "engine".to_owned(),
        image: Some(inputs.images.engine.clone()),
        image_pull_policy: Some(pull_policy(stack.image_pull_policy).to_owned()),
        args: Some(args),
        env: Some(spec.env.clone()),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: ENGINE_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(spec.resources.clone()),
        volume_mounts: Some(mounts),
        startup_probe: Some(pod::probe(asking, STARTUP_PERIOD_SECONDS, STARTUP_FAILURES)),
        readiness_probe: Some(pod::probe(asking, 5, 3)),
        // A connection: a full disk or a slow query is no reason to kill the process.
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction {
                port: IntOrString::String("http".to_owned()),
                ..TCPSocketAction::default()
            }),
            period_seconds: Some(10),
            failure_threshold: Some(6),
            timeout_seconds: Some(5),
            ..Probe::default()
        }),
        security_context: Some(pod::hardened()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(meta::pod_labels(names, Component::Engine)),
            annotations: Some(pod::annotations(inputs.stack, [(names::CONFIG_HASH, config_hash(inputs, text))])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(spec.service_account_name.clone().unwrap_or_else(|| names.engine.clone())),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(spec.termination_grace_period_seconds),
            image_pull_secrets: Some(stack.image_pull_secrets.clone()),
            affinity: spec.affinity.clone(),
            tolerations: Some(spec.tolerations.clone()),
            node_selector: Some(spec.node_selector.clone()),
            topology_spread_constraints: Some(spec.topology_spread_constraints.clone()),
            priority_class_name: spec.priority_class_name.clone(),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(UID),
                run_as_group: Some(UID),
                fs_group: Some(UID),
                // A volume of a hundred thousand files must not be walked at each start.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![container],
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
    }
}

fn asking(tls: Option<&TlsSpec>) -> Asking {
    match tls {
        None => Asking::Http,
        Some(tls) if tls.client_auth == ClientAuthSpec::None => Asking::Https,
        Some(_) => Asking::Tcp,
    }
}

pub(super) fn pull_policy(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Always => "Always",
        PullPolicy::Never => "Never",
    }
}

/// Volume, folder, Secret, keys.
fn secrets(inputs: &Inputs<'_>) -> Vec<(&'static str, &'static str, String, &'static [&'static str])> {
    let stack = &inputs.stack.spec;
    let mut out: Vec<(_, _, _, &'static [&'static str])> = Vec::new();
    if let Some(secret) = &stack.engine.extra_config_secret_name {
        out.push(("extra-config", "/etc/logstack/extra", secret.clone(), &["config.yaml"]));
    }
    if let Some(secret) = stack.auth.secret_name.as_ref().filter(|_| stack.auth.kind != AuthType::None) {
        out.push(("auth", "/etc/logstack/auth", secret.clone(), &["credentials"]));
    }
    if let Some(tls) = &stack.tls {
        out.push(("tls", "/etc/logstack/tls", tls.secret_name.clone(), &["tls.crt", "tls.key"]));
        let client_ca = tls.client_ca_secret_name.as_ref().filter(|_| tls.client_auth != ClientAuthSpec::None);
        if let Some(secret) = client_ca {
            out.push(("client-ca", "/etc/logstack/client-ca", secret.clone(), &["ca.crt"]));
        }
    }
    out
}

/// Of what a running engine does not read again. Never versions, times or the runtime file.
fn config_hash(inputs: &Inputs<'_>, text: &EngineText) -> String {
    hash::of_bytes([text.static_file.as_bytes(), inputs.secret_hash.unwrap_or_default().as_bytes()])
}
