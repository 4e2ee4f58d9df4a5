//! Secrets that a spec names, and the keys that must be in them.

use std::collections::BTreeMap;

use logstack_crds::stack::{AuthType, ClientAuthSpec, LogStackSpec};

/// A Secret that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReference {
    /// Its name, in the stack's namespace.
    pub name: String,
    /// Keys that must be in it.
    pub keys: Vec<&'static str>,
    /// A running engine does not read it again: its content is part of the pods' hash.
    pub is_read_once: bool,
    /// The field that names it.
    pub path: String,
}

/// All Secrets of a spec, in the order of its fields.
pub fn secret_references(spec: &LogStackSpec) -> Vec<SecretReference> {
    let mut out = Vec::new();
    let mut add = |name: &Option<String>, keys: &[&'static str], is_read_once: bool, path: &str| {
        if let Some(name) = name {
            out.push(SecretReference { name: name.clone(), keys: keys.to_vec(), is_read_once, path: path.to_owned() });
        }
    };
    let has_engine = spec.engine.external.is_none();
    if has_engine {
        add(&spec.engine.extra_config_secret_name, &["config.yaml"], true, "spec.engine.extraConfigSecretName");
        if spec.auth.kind != AuthType::None {
            add(&spec.auth.secret_name, &["credentials"], false, "spec.auth.secretName");
        }
        if let Some(tls) = &spec.tls {
            let keys: &[_] =
                if spec.collector.enabled { &["tls.crt", "tls.key", "ca.crt"] } else { &["tls.crt", "tls.key"] };
            add(&Some(tls.secret_name.clone()), keys, false, "spec.tls.secretName");
            if tls.client_auth != ClientAuthSpec::None {
                add(&tls.client_ca_secret_name, &["ca.crt"], false, "spec.tls.clientCASecretName");
            }
        }
    }
    if spec.collector.enabled {
        match spec.auth.kind {
            AuthType::None => {}
            AuthType::Basic => {
                add(&spec.auth.client_secret_name, &["username", "password"], false, "spec.auth.clientSecretName");
            }
            AuthType::Bearer => add(&spec.auth.client_secret_name, &["token"], false, "spec.auth.clientSecretName"),
        }
        for (idx, client) in spec.collector.clients.iter().enumerate() {
            let at = |field: &str| format!("spec.collector.clients[{idx}].{field}");
            add(&client.basic_auth_secret_name, &["username", "password"], false, &at("basicAuthSecretName"));
            add(&client.bearer_secret_name, &["token"], false, &at("bearerSecretName"));
            add(&client.tls_secret_name, &["ca.crt"], false, &at("tlsSecretName"));
        }
    }
    out
}

/// Secrets that the collectors mount under `/etc/logstack/secrets/<name>`, with the keys they may see: not the engine's
/// private key.
pub(super) fn collector_secrets(spec: &LogStackSpec) -> BTreeMap<String, Vec<&'static str>> {
    let mut out: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for reference in secret_references(spec) {
        let keys: &[&'static str] = match reference.path.as_str() {
            "spec.tls.secretName" => &["ca.crt"],
            "spec.auth.clientSecretName" => &reference.keys,
            path if path.starts_with("spec.collector.") => &reference.keys,
            _ => continue,
        };
        let all = out.entry(reference.name.clone()).or_default();
        all.extend(keys.iter().filter(|key| !all.contains(key)).copied().collect::<Vec<_>>());
    }
    out
}
