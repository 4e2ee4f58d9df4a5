//! What operators may do, and that they need no more. A real API server only.

use std::collections::BTreeSet;

use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::ready;
use crate::cluster::{Cluster, HOME, documents};

/// Asks the API server whether a user may do something.
async fn may(client: &Client, user: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    use k8s_openapi::api::authorization::v1::SubjectAccessReview;
    let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": user, "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": { "verb": verb, "group": group, "resource": resource, "namespace": namespace },
        },
    });
    let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.expect("an answer");
    answer.status.is_some_and(|status| status.allowed)
}

/// 39: what the operator's account may not do. All other scenarios show that it needs no more.
pub async fn least_privilege(cluster: &Cluster) {
    if cluster.memory.is_some() {
        return;
    }
    let user = format!("system:serviceaccount:{HOME}:logstack-operator");
    for (verb, resource, want) in [
        ("get", "secrets", true),
        ("list", "secrets", false),
        ("watch", "secrets", false),
        ("create", "secrets", false),
        ("update", "apiextensions.k8s.io/customresourcedefinitions", false),
        ("get", "nodes", false),
        ("create", "rbac.authorization.k8s.io/clusterroles", false),
        ("escalate", "rbac.authorization.k8s.io/clusterroles", false),
        ("bind", "rbac.authorization.k8s.io/clusterroles", false),
        ("create", "pods", false),
        ("create", "pods/exec", false),
        ("create", "persistentvolumeclaims", false),
        ("update", "logstack.dev/logstacks", false),
        ("create", "logstack.dev/logstacks", false),
        ("delete", "logstack.dev/logscrapes", false),
        ("delete", "namespaces", false),
    ] {
        assert_eq!(may(&cluster.client, &user, verb, resource, "default").await, want, "{verb} {resource}");
    }
}

/// 39: an installation for some namespaces works with Roles, and sees nothing of the others. It has an id of its own
/// because the cluster-wide operator of this suite runs beside it.
pub async fn namespaced(cluster: &Cluster) {
    if cluster.memory.is_some() {
        return;
    }
    let home = "e2e-namespaced";
    let user = format!("system:serviceaccount:{home}:logstack-operator");
    let watched = ["logging", "matrix"];
    for namespace in watched.into_iter().chain([home]) {
        cluster.namespace(namespace, json!({})).await;
    }
    // The base without its ClusterRole, and the overlay's Roles.
    let is_cluster_wide = |object: &Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind.starts_with("ClusterRole")
    };
    let base = documents("kustomize/base/rbac.yaml", home);
    for object in base.iter().filter(|object| !is_cluster_wide(object)) {
        cluster.apply_value(object).await;
    }
    let mut kinds = BTreeSet::new();
    for object in documents("kustomize/overlays/namespaced/role.yaml", home) {
        kinds.insert(object["kind"].as_str().unwrap_or_default().to_owned());
        cluster.apply_value(&object).await;
    }
    assert_eq!(kinds, BTreeSet::from(["Role".to_owned(), "RoleBinding".to_owned()]));
    for (verb, resource, namespace, want) in [
        ("patch", "configmaps", "logging", true),
        ("get", "secrets", "matrix", true),
        ("list", "secrets", "logging", false),
        ("get", "secrets", "default", false),
        ("get", "configmaps", "default", false),
        ("patch", "apps/statefulsets", "default", false),
        ("list", "pods", "", false),
        ("list", "namespaces", "", false),
        ("list", "logstack.dev/logstacks", "", false),
        ("create", "rbac.authorization.k8s.io/clusterrolebindings", "", false),
    ] {
        assert_eq!(may(&cluster.client, &user, verb, resource, namespace).await, want, "{verb} {resource} {namespace}");
    }
    let operator = cluster
        .operator_of(home, |options| {
            options.settings.watch_namespaces = watched.map(str::to_owned).to_vec();
            options.settings.controller_id = Some("namespaced".to_owned());
            options.has_leader_election = true;
        })
        .await;
    let labels = "metadata: {labels: {logstack.dev/controller-id: namespaced}}";
    let spec = "spec: {scrapeNamespaceSelector: {}}";
    cluster.apply("logging", "LogStack", "logs", &format!("{labels}\n{spec}")).await;
    cluster.condition("logging", "LogStack", "logs", "Ready", "AllReady").await;
    assert!(cluster.get("logging", "ClusterRoleBinding", "logstack:logging:logs:collector").await.is_none());
    for namespace in watched {
        let binding = cluster.get(namespace, "RoleBinding", "logstack:logging:logs:collector").await;
        let binding = binding.unwrap_or_else(|| panic!("collectors may read pods of {namespace}"));
        assert_eq!(binding["subjects"][0]["namespace"], "logging");
    }
    // A namespace that is not watched may as well not exist.
    let outside = "e2e-not-watched";
    cluster.namespace(outside, json!({})).await;
    cluster.apply(outside, "LogStack", "logs", &format!("{labels}\nspec: {{}}")).await;
    cluster.apply("matrix", "LogScrape", "a", &format!("{labels}\nspec: {{}}")).await;
    cluster.condition("matrix", "LogScrape", "a", "Ready", "Programmed").await;
    let stack = cluster.get(outside, "LogStack", "logs").await.expect("a stack");
    assert!(stack["status"]["conditions"].is_null(), "{stack}");
    cluster.delete("logging", "LogStack", "logs").await;
    cluster.gone("logging", "LogStack", "logs").await;
    assert!(cluster.get("matrix", "RoleBinding", "logstack:logging:logs:collector").await.is_none());
    operator.stop().await.expect("it stops");
}

/// 39 and 27: no operator of this suite was refused for a missing right.
pub async fn nothing_forbidden(cluster: &Cluster) {
    let Some(server) = &cluster.server else { return };
    ready(cluster, "e2e-allowed", "{}").await;
    let refused: BTreeSet<String> = server
        .audit()
        .iter()
        .filter(|line| line["annotations"]["authorization.k8s.io/decision"] == "forbid")
        // A namespaced installation asks for namespaces, and goes on without; bindings elsewhere it may not have.
        .filter(|line| line["objectRef"]["resource"] != "namespaces")
        .map(|line| format!("{} {} {}", line["verb"], line["objectRef"]["apiGroup"], line["objectRef"]["resource"]))
        // Prometheus' kinds are an overlay.
        .filter(|line| !line.contains("monitoring.coreos.com"))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}
