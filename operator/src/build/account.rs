//! ServiceAccounts, and what binds the collectors' account to the shipped ClusterRole. We create no roles.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};

use super::Inputs;
use super::meta::{self, Component};
use crate::object::Object;

pub(super) fn build(inputs: &Inputs<'_>, out: &mut Vec<Object>) {
    let spec = &inputs.stack.spec;
    let names = inputs.names;
    if spec.engine.external.is_none() && spec.engine.service_account_name.is_none() {
        out.push(account(inputs, Component::Engine, &names.engine, false));
    }
    if !spec.collector.enabled {
        return;
    }
    out.push(account(inputs, Component::Collector, &names.collector, true));
    let role_ref = RoleRef {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "ClusterRole".to_owned(),
        name: inputs.settings.collector_cluster_role.clone(),
    };
    let subjects = Some(vec![Subject {
        kind: "ServiceAccount".to_owned(),
        name: names.collector.clone(),
        namespace: Some(names.namespace.clone()),
        ..Subject::default()
    }]);
    let name = names.binding();
    if inputs.settings.watch_namespaces.is_empty() {
        let metadata = meta::foreign(inputs, Component::Collector, None, &name);
        out.push(Object::new(&ClusterRoleBinding { metadata, role_ref, subjects }));
        return;
    }
    for namespace in &inputs.settings.watch_namespaces {
        let metadata = match *namespace == names.namespace {
            true => meta::own(inputs, Component::Collector, &name),
            false => meta::foreign(inputs, Component::Collector, Some(namespace), &name),
        };
        let (role_ref, subjects) = (role_ref.clone(), subjects.clone());
        out.push(Object::new(&RoleBinding { metadata, role_ref, subjects }));
    }
}

fn account(inputs: &Inputs<'_>, component: Component, name: &str, has_token: bool) -> Object {
    Object::new(&ServiceAccount {
        metadata: meta::own(inputs, component, name),
        automount_service_account_token: Some(has_token),
        ..ServiceAccount::default()
    })
}
