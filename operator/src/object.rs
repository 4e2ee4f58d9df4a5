//! Objects of any kind that we build or watch, as the API server sees them.

use std::fmt;

use k8s_openapi::Resource;
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::Value;

/// Kinds that we build or look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // they are Kubernetes' own names
pub enum Kind {
    ServiceAccount,
    ClusterRoleBinding,
    RoleBinding,
    ConfigMap,
    Service,
    StatefulSet,
    DaemonSet,
    PersistentVolumeClaim,
    PodDisruptionBudget,
    NetworkPolicy,
    ServiceMonitor,
    PodMonitor,
    PrometheusRule,
}

impl Kind {
    /// Kinds that we write, in the order in which they are written.
    pub const BUILT: [Self; 12] = [
        Self::ServiceAccount,
        Self::ClusterRoleBinding,
        Self::RoleBinding,
        Self::ConfigMap,
        Self::Service,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::ServiceMonitor,
        Self::PodMonitor,
        Self::PrometheusRule,
    ];

    /// Group, version, kind, plural.
    fn parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ClusterRoleBinding => {
                ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings")
            }
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Self::PersistentVolumeClaim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
            Self::PrometheusRule => ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
        }
    }

    /// How the client addresses it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.parts();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// `StatefulSet`.
    pub fn as_str(self) -> &'static str {
        self.parts().2
    }

    /// The kind of a k8s-openapi type.
    pub fn of<T: Resource>() -> Option<Self> {
        Self::named(T::KIND)
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::BUILT.into_iter().chain([Self::PersistentVolumeClaim]);
        all.into_iter().find(|kind| kind.as_str() == name)
    }

    /// By the plural of its path.
    pub fn of_plural(plural: &str) -> Option<Self> {
        let all = Self::BUILT.into_iter().chain([Self::PersistentVolumeClaim]);
        all.into_iter().find(|kind| kind.parts().3 == plural)
    }

    /// Objects without a namespace.
    pub fn is_cluster_scoped(self) -> bool {
        self == Self::ClusterRoleBinding
    }

    /// Defined by a CRD that a cluster may lack.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::ServiceMonitor | Self::PodMonitor | Self::PrometheusRule)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names an object in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectId {
    /// Of a namespaced object.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() { write!(f, "{kind} {name}") } else { write!(f, "{kind} {namespace}/{name}") }
    }
}

/// An object that we want to be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What it is called.
    pub id: ObjectId,
    /// Its fields; only those that we mean to own.
    pub value: Value,
}

impl Object {
    /// From a typed object, or a whole JSON value of a kind that we have no type for. Empty fields are left out: a
    /// field that is not written is not owned.
    ///
    /// # Panics
    /// If the value is no object of a [`Kind`]: only our own builders make them.
    pub fn new(value: &impl Serialize) -> Self {
        let mut value = serde_json::to_value(value).unwrap_or_default();
        prune(&mut value);
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = Kind::named(&text("/kind"));
        assert!(kind.is_some(), "builders make objects of known kinds: {}", text("/kind"));
        let id = ObjectId {
            kind: kind.unwrap_or(Kind::ConfigMap),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        };
        Self { id, value }
    }
}

/// Removes nulls and empty maps and lists, except where emptiness is the content (`emptyDir: {}`, selectors).
fn prune(value: &mut Value) {
    const MEANT: [&str; 4] = ["emptyDir", "podSelector", "namespaceSelector", "selector"];
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|key, value| match value {
                Value::Null => false,
                Value::Object(map) => !map.is_empty() || MEANT.contains(&key.as_str()),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
