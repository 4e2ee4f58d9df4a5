//! The Service that clients use, and the headless one that governs the StatefulSet.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use logstack_crds::stack::ServiceType;

use super::meta::{self, Component};
use super::{ENGINE_PORT, Inputs};
use crate::object::Object;

pub(super) fn client(inputs: &Inputs<'_>) -> Object {
    let wish = &inputs.stack.spec.engine.service;
    let mut metadata = meta::own(inputs, Component::Engine, &inputs.names.stack);
    let mut labels = wish.labels.clone();
    labels.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(labels);
    metadata.annotations.get_or_insert_default().extend(wish.annotations.clone());
    let mut port = http_port(wish.port);
    port.node_port = wish.node_port;
    Object::new(&Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(
                match wish.kind {
                    ServiceType::ClusterIP => "ClusterIP",
                    ServiceType::NodePort => "NodePort",
                    ServiceType::LoadBalancer => "LoadBalancer",
                }
                .to_owned(),
            ),
            selector: Some(meta::selector_labels(inputs.names, Component::Engine)),
            ports: Some(vec![port]),
            load_balancer_class: wish.load_balancer_class.clone(),
            load_balancer_source_ranges: Some(wish.load_balancer_source_ranges.clone()),
            external_traffic_policy: wish.external_traffic_policy.clone(),
            ip_family_policy: wish.ip_family_policy.clone(),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

pub(super) fn headless(inputs: &Inputs<'_>) -> Object {
    Object::new(&Service {
        metadata: meta::own(inputs, Component::Engine, &inputs.names.engine),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(meta::selector_labels(inputs.names, Component::Engine)),
            ports: Some(vec![http_port(ENGINE_PORT)]),
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

fn http_port(port: i32) -> ServicePort {
    ServicePort {
        name: Some("http".to_owned()),
        port,
        target_port: Some(IntOrString::String("http".to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
