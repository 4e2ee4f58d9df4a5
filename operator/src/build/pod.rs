//! What pods of engine and collectors share: volumes, security, probes, and the user's template laid over ours.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, HTTPGetAction, HostPathVolumeSource, KeyToPath, PodTemplateSpec, Probe,
    SeccompProfile, SecretVolumeSource, SecurityContext, TCPSocketAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value};

use crate::hash;

/// Permissions of mounted Secrets: the process's group may read.
const SECRET_MODE: i32 = 0o440;

pub(super) fn mount(name: &str, path: &str, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    }
}

pub(super) fn config_volume(name: &str, config_map: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }
}

pub(super) fn secret_volume(name: &str, secret: &str, keys: &[&str]) -> Volume {
    let item = |key: &&str| KeyToPath { key: (*key).to_owned(), path: (*key).to_owned(), ..KeyToPath::default() };
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            items: Some(keys.iter().map(item).collect()),
            default_mode: Some(SECRET_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(super) fn host_volume(name: &str, path: &str, kind: &str) -> Volume {
    let source = HostPathVolumeSource { path: path.to_owned(), type_: (!kind.is_empty()).then(|| kind.to_owned()) };
    Volume { name: name.to_owned(), host_path: Some(source), ..Volume::default() }
}

/// A name for the volume of a folder or Secret, whose own name may be longer than a volume's.
pub(super) fn volume_name(prefix: &str, of: &str) -> String {
    format!("{prefix}-{}", &hash::of_text(of)[..8])
}

/// Restricted, in the words of the Pod Security Standards, except for the user.
pub(super) fn hardened() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..SecurityContext::default()
    }
}

/// How the kubelet asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Http,
    Https,
    /// It can connect: the kubelet has no client certificate.
    Tcp,
}

/// A probe of `/ready` every `period_seconds`.
pub(super) fn probe(asking: Asking, period_seconds: i32, failure_threshold: i32) -> Probe {
    let port = IntOrString::String("http".to_owned());
    let http = (asking != Asking::Tcp).then(|| HTTPGetAction {
        path: Some("/ready".to_owned()),
        port: port.clone(),
        scheme: Some(if asking == Asking::Https { "HTTPS" } else { "HTTP" }.to_owned()),
        ..HTTPGetAction::default()
    });
    Probe {
        tcp_socket: http.is_none().then(|| TCPSocketAction { port, ..TCPSocketAction::default() }),
        http_get: http,
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// The folder of a glob that has no wildcard in it: what must be mounted to read it.
pub fn static_prefix(glob: &str) -> String {
    let wild = glob.find(['*', '?', '[', '{']).unwrap_or(glob.len());
    let dir = glob[..wild].rfind('/').map_or("", |slash| &glob[..slash]);
    if dir.is_empty() { "/".to_owned() } else { dir.to_owned() }
}

/// Leaves out folders that lie in others.
pub(super) fn outermost(dirs: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut dirs: Vec<String> = dirs.into_iter().collect();
    dirs.sort();
    dirs.dedup();
    let inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    let all = dirs.clone();
    dirs.retain(|dir| !all.iter().any(|outer| inside(dir, outer)));
    dirs
}

/// Keys by which items of a list are the same item.
const ITEM_KEYS: [&str; 4] = ["name", "mountPath", "containerPort", "key"];

/// Lays the user's template over the built one: maps key by key, lists of named items item by item, other lists whole.
/// What selects pods, and the volume of the data, stay ours.
pub(super) fn merge_template(built: PodTemplateSpec, user: &Map<String, Value>) -> Value {
    let built = serde_json::to_value(&built).unwrap_or_default();
    if user.is_empty() {
        return built;
    }
    let mut merged = built.clone();
    overlay(&mut merged, &Value::Object(user.clone()));
    if let Some(labels) = built.pointer("/metadata/labels").and_then(Value::as_object) {
        labels.iter().for_each(|(key, value)| merged["metadata"]["labels"][key] = value.clone());
    }
    let data = |template: &Value| -> Option<usize> {
        template.pointer("/spec/volumes")?.as_array()?.iter().position(|volume| volume["name"] == "data")
    };
    match (data(&built), data(&merged)) {
        (Some(ours), Some(theirs)) => {
            merged["spec"]["volumes"][theirs] = built["spec"]["volumes"][ours].clone();
        }
        // The claim template makes it.
        (None, Some(theirs)) => {
            if let Some(volumes) = merged.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
                volumes.remove(theirs);
            }
        }
        _ => {}
    }
    merged
}

fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(known) => overlay(known, value),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(base), Value::Array(over)) => {
            let key = |item: &Value| ITEM_KEYS.iter().find_map(|key| Some((*key, item.get(key)?.clone())));
            let is_keyed = over.iter().all(|item| key(item).is_some()) && base.iter().all(|item| key(item).is_some());
            if !is_keyed {
                base.clone_from(over);
                return;
            }
            for item in over {
                match base.iter_mut().find(|known| key(known) == key(item)) {
                    Some(known) => overlay(known, item),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, over) => base.clone_from(over),
    }
}

/// Annotations of a pod template: `own` and the restart that the user asked for.
pub(super) fn annotations(
    stack: &logstack_crds::LogStack,
    own: impl IntoIterator<Item = (&'static str, String)>,
) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let asked = stack.metadata.annotations.as_ref().and_then(|all| all.get(crate::names::RESTARTED_AT));
    if let Some(value) = asked {
        out.insert(crate::names::RESTARTED_AT.to_owned(), value.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_the_folder_to_mount() {
        #[track_caller]
        fn check(glob: &str, want: &str) {
            assert_eq!(static_prefix(glob), want, "{glob}");
        }
        check("/var/log/syslog", "/var/log");
        check("/var/log/*/x.log", "/var/log");
        check("/var/log/app-*/x.log", "/var/log");
        check("/srv/{a,b}/*.log", "/srv");
        check("/x.log", "/");
    }

    #[test]
    fn mounts_the_outermost_folders() {
        let dirs = ["/var/log/pods", "/srv", "/var/log", "/var/logs", "/srv"].map(str::to_owned);
        assert_eq!(outermost(dirs), ["/srv", "/var/log", "/var/logs"]);
    }

    #[test]
    fn lays_the_users_template_over_ours() {
        #[track_caller]
        fn check(base: Value, over: Value, want: Value) {
            let mut got = base;
            overlay(&mut got, &over);
            assert_eq!(got, want);
        }
        check(
            json!({"containers": [{"name": "engine", "image": "a"}]}),
            json!({"containers": [{"name": "engine", "tty": true}, {"name": "side"}]}),
            json!({"containers": [{"name": "engine", "image": "a", "tty": true}, {"name": "side"}]}),
        );
        check(json!({"args": ["a", "b"]}), json!({"args": ["c"]}), json!({"args": ["c"]}));
        check(json!({"a": {"b": 1}}), json!({"a": {"c": 2}}), json!({"a": {"b": 1, "c": 2}}));
    }
}
