//! `kubernetes_sd_configs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::http::with_http_client;

with_http_client! {
    /// Discovery by the Kubernetes API. Without `api_server` and `kubeconfig_file`: the pod's own service account.
    pub struct KubernetesSd {
        /// What is discovered; needed.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub role: Option<Role> = None,
        /// URL of the API server.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub api_server: String = String::new(),
        /// Credentials as `kubectl` has them.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub kubeconfig_file: Option<PathBuf> = None,
        /// Which namespaces.
        pub namespaces: Namespaces = Namespaces::default(),
        /// Which objects.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub selectors: Vec<Selector> = Vec::new(),
        /// Labels from related objects.
        pub attach_metadata: AttachMetadata = AttachMetadata::default(),
    }
}

/// `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Pods of this node.
    Pod,
    /// Nodes.
    Node,
    /// Services: no local file belongs to them.
    Service,
    /// Endpoints: no local file belongs to them.
    Endpoints,
    /// Endpoint slices: no local file belongs to them.
    EndpointSlice,
    /// Ingresses: no local file belongs to them.
    Ingress,
}

/// `namespaces`; empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// The collector's own.
    pub own_namespace: bool,
    /// By name.
    pub names: Vec<String>,
}

/// One entry of `selectors`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// Which kind of object it is for; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Label selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Field selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `attach_metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttachMetadata {
    /// Labels and annotations of the node.
    pub node: bool,
    /// Labels and annotations of the namespace.
    pub namespace: bool,
    /// The deployment's name.
    pub deployment: bool,
    /// The job's name.
    pub job: bool,
    /// The cron job's name.
    pub cronjob: bool,
}
