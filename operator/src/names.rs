//! Names, labels and annotations: one place, because users and other tools see them.
//!
//! Source: operator contract, section 2.1.

use crate::hash;

/// Owner of every field that we write. Constant for ever: a renamed manager leaves orphaned fields.
pub const FIELD_MANAGER: &str = "logstack-operator";

/// `app.kubernetes.io/managed-by` of everything that we build; our watches select by it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// `app.kubernetes.io/name`.
pub const NAME: &str = "app.kubernetes.io/name";
/// `app.kubernetes.io/instance`: the LogStack's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// `app.kubernetes.io/component`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// `app.kubernetes.io/part-of`.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// `app.kubernetes.io/version`.
pub const VERSION: &str = "app.kubernetes.io/version";

/// Label: the LogStack that an object belongs to, see [`stack_label`].
pub const STACK: &str = "logstack.dev/stack";
/// Label of LogStacks and LogScrapes: which of several operators is meant.
pub const CONTROLLER_ID: &str = "logstack.dev/controller-id";
/// Annotation of objects that cannot have an owner reference.
pub const OWNER_UID: &str = "logstack.dev/owner-uid";
/// Annotation: hash of what we last applied.
pub const APPLIED_HASH: &str = "logstack.dev/applied-hash";
/// Annotation of pod templates: hash of what a process reads only at its start.
pub const CONFIG_HASH: &str = "logstack.dev/config-hash";
/// Annotation of LogStacks, copied to pod templates: any new value restarts the pods.
pub const RESTARTED_AT: &str = "logstack.dev/restartedAt";
/// Annotation of LogStacks: observe only.
pub const PAUSED: &str = "logstack.dev/paused";
/// Annotation of foreign objects with our name: take them over.
pub const ADOPT: &str = "logstack.dev/adopt";
/// Annotation of LogStacks: keep the image in force when the operator's default changes.
pub const HOLD_UPGRADE: &str = "logstack.dev/hold-upgrade";
/// Annotation of a data source ConfigMap: Grafana was told to delete the data source.
pub const TOMBSTONE: &str = "logstack.dev/tombstone";
/// Finalizer, present only while something lives outside the namespace.
pub const FINALIZER: &str = "logstack.dev/cleanup";

/// Argo CD must neither show objects of other namespaces as foreign nor prune them.
pub const ARGO_COMPARE: (&str, &str) = ("argocd.argoproj.io/compare-options", "IgnoreExtraneous");
/// See [`ARGO_COMPARE`].
pub const ARGO_SYNC: (&str, &str) = ("argocd.argoproj.io/sync-options", "Prune=false");

/// Most ConfigMaps of jobs of a stack; the DaemonSet mounts so many, each optional.
pub const SHARDS_MAX: usize = 8;

/// Longest value of a label.
const LABEL_BYTES_MAX: usize = 63;

/// `<namespace>.<name>`, hashed where a label would not hold it.
pub fn stack_label(namespace: &str, name: &str) -> String {
    cut(&format!("{namespace}.{name}"), LABEL_BYTES_MAX)
}

/// `text`, or its beginning and a hash where it is longer than `bytes_max`.
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let hash = &hash::of_text(text)[..10];
    let head = text.chars().take(bytes_max - 11).collect::<String>();
    format!("{}-{hash}", head.trim_end_matches(['-', '.']))
}

/// Names of the objects of one stack.
#[derive(Debug, Clone)]
pub struct Names {
    /// The LogStack's namespace.
    pub namespace: String,
    /// The LogStack's name; also the Service that clients use.
    pub stack: String,
    /// StatefulSet, headless Service, ServiceAccount, ConfigMap of the engine.
    pub engine: String,
    /// DaemonSet, ServiceAccount, ConfigMap of the collectors.
    pub collector: String,
}

impl Names {
    /// Of the stack `namespace`/`name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            stack: name.to_owned(),
            engine: format!("{name}-engine"),
            collector: format!("{name}-collector"),
        }
    }

    /// Limits, retention, overrides.
    pub fn runtime(&self) -> String {
        format!("{}-runtime", self.engine)
    }

    /// One of the ConfigMaps of jobs.
    pub fn jobs(&self, shard_idx: usize) -> String {
        format!("{}-jobs-{shard_idx}", self.collector)
    }

    /// The claim of the engine's only replica; the StatefulSet makes it.
    pub fn claim(&self) -> String {
        format!("data-{}-0", self.engine)
    }

    /// The engine's only pod.
    pub fn pod(&self) -> String {
        format!("{}-0", self.engine)
    }

    /// Binding of the collectors' account.
    pub fn binding(&self) -> String {
        format!("logstack:{}:{}:collector", self.namespace, self.stack)
    }

    /// ConfigMap of the data source; in Grafana's namespace.
    pub fn datasource(&self) -> String {
        cut(&format!("logstack-{}-{}-datasource", self.namespace, self.stack), 253)
    }

    /// ConfigMap of the dashboards; in Grafana's namespace.
    pub fn dashboards(&self) -> String {
        cut(&format!("logstack-{}-{}-dashboards", self.namespace, self.stack), 253)
    }

    /// Value of the label [`STACK`].
    pub fn label(&self) -> String {
        stack_label(&self.namespace, &self.stack)
    }

    /// Host name of the Service that clients use.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.stack, self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit() {
        #[track_caller]
        fn check(namespace: &str, name: &str, want: &str) {
            let got = stack_label(namespace, name);
            assert_eq!(got, want);
            assert!(got.len() <= LABEL_BYTES_MAX);
        }
        check("obs", "logs", "obs.logs");
        let long = "n".repeat(60);
        check(&long, "logs", &format!("{}-{}", &long[..52], &hash::of_text(&format!("{long}.logs"))[..10]));
    }
}
