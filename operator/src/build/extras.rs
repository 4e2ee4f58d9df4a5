//! What is off by default: disruption budget, network policies, Prometheus objects.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::meta::{self, Component};
use super::{COLLECTOR_PORT, ENGINE_PORT, Inputs, Object};

/// Pods with this label may reach the engine, whatever their namespace.
const CLIENT_LABEL: (&str, &str) = ("logstack.dev/client", "true");

/// The label that every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

pub(super) fn build(inputs: &Inputs<'_>, out: &mut Vec<Object>) {
    let spec = &inputs.stack.spec;
    let has_engine = spec.engine.external.is_none();
    if has_engine && spec.engine.pod_disruption_budget.enabled {
        out.push(disruption_budget(inputs));
    }
    if spec.network_policy.enabled {
        if has_engine {
            out.push(engine_policy(inputs));
        }
        if spec.collector.enabled {
            out.push(collector_policy(inputs));
        }
    }
    if spec.monitoring.service_monitor.enabled {
        if has_engine {
            out.push(service_monitor(inputs));
        }
        if spec.collector.enabled {
            out.push(pod_monitor(inputs));
        }
    }
    if spec.monitoring.prometheus_rule.enabled {
        out.push(prometheus_rule(inputs));
    }
}

/// With one replica a budget that allows no disruption blocks every drain of its node: at least one pod may go.
fn disruption_budget(inputs: &Inputs<'_>) -> Object {
    let wish = inputs.stack.spec.engine.pod_disruption_budget.max_unavailable.clone();
    let forbids_all = |value: &IntOrString| match value {
        IntOrString::Int(count) => *count < 1,
        IntOrString::String(text) => text.trim_end_matches('%').trim().parse::<u32>().map_or(true, |share| share == 0),
    };
    let max_unavailable = wish.filter(|wish| !forbids_all(wish)).unwrap_or(IntOrString::Int(1));
    Object::new(&PodDisruptionBudget {
        metadata: meta::own(inputs, Component::Engine, &inputs.names.engine),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(max_unavailable),
            selector: Some(meta::selector(inputs.names, Component::Engine)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}

fn ports(numbers: &[(&str, i32)]) -> Option<Vec<NetworkPolicyPort>> {
    let port = |&(protocol, number): &(&str, i32)| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        ..NetworkPolicyPort::default()
    };
    Some(numbers.iter().map(port).collect())
}

fn dns() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { ports: ports(&[("UDP", 53), ("TCP", 53)]), to: None }
}

fn policy(
    inputs: &Inputs<'_>,
    component: Component,
    name: &str,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> Object {
    Object::new(&NetworkPolicy {
        metadata: meta::own(inputs, component, name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(meta::selector(inputs.names, component)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(egress),
        }),
    })
}

fn engine_policy(inputs: &Inputs<'_>) -> Object {
    let collectors = NetworkPolicyPeer {
        pod_selector: Some(meta::selector(inputs.names, Component::Collector)),
        ..NetworkPolicyPeer::default()
    };
    let labels = |(key, value): (&str, &str)| LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        ..LabelSelector::default()
    };
    let clients = NetworkPolicyPeer {
        pod_selector: Some(labels(CLIENT_LABEL)),
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let grafana = inputs.stack.spec.grafana.namespace.as_ref().unwrap_or(&inputs.names.namespace);
    let grafana = NetworkPolicyPeer {
        namespace_selector: Some(labels((NAMESPACE_NAME, grafana))),
        ..NetworkPolicyPeer::default()
    };
    let ingress = vec![NetworkPolicyIngressRule {
        ports: ports(&[("TCP", ENGINE_PORT)]),
        from: Some(vec![collectors, grafana, clients]),
    }];
    // 443: an object store.
    let store = NetworkPolicyEgressRule { ports: ports(&[("TCP", 443)]), to: None };
    policy(inputs, Component::Engine, &inputs.names.engine, ingress, vec![dns(), store])
}

fn collector_policy(inputs: &Inputs<'_>) -> Object {
    let ingress = vec![NetworkPolicyIngressRule { ports: ports(&[("TCP", COLLECTOR_PORT)]), from: None }];
    let egress = match inputs.stack.spec.collector.clients.is_empty() && inputs.stack.spec.engine.external.is_none() {
        true => vec![
            dns(),
            NetworkPolicyEgressRule { ports: ports(&[("TCP", 443), ("TCP", 6443)]), to: None },
            NetworkPolicyEgressRule {
                ports: ports(&[("TCP", ENGINE_PORT)]),
                to: Some(vec![NetworkPolicyPeer {
                    pod_selector: Some(meta::selector(inputs.names, Component::Engine)),
                    ..NetworkPolicyPeer::default()
                }]),
            },
        ],
        // Further receivers have any port and address.
        false => vec![NetworkPolicyEgressRule::default()],
    };
    policy(inputs, Component::Collector, &inputs.names.collector, ingress, egress)
}

/// There are no types for Prometheus' objects.
fn prometheus(kind: &str, mut metadata: ObjectMeta, labels: &BTreeMap<String, String>, spec: Value) -> Object {
    metadata.labels.get_or_insert_default().extend(labels.clone());
    Object::new(&json!({ "apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": metadata, "spec": spec }))
}

fn service_monitor(inputs: &Inputs<'_>) -> Object {
    let wish = &inputs.stack.spec.monitoring.service_monitor;
    let scheme = if inputs.stack.spec.tls.is_some() { "https" } else { "http" };
    let selector = meta::selector(inputs.names, Component::Engine);
    let mut endpoint = json!({ "port": "http", "scheme": scheme, "interval": wish.interval });
    if scheme == "https" {
        endpoint["tlsConfig"] = json!({ "serverName": inputs.names.host(), "insecureSkipVerify": true });
    }
    let metadata = meta::own(inputs, Component::Engine, &inputs.names.engine);
    prometheus("ServiceMonitor", metadata, &wish.labels, json!({ "selector": selector, "endpoints": [endpoint] }))
}

fn pod_monitor(inputs: &Inputs<'_>) -> Object {
    let wish = &inputs.stack.spec.monitoring.service_monitor;
    let metadata = meta::own(inputs, Component::Collector, &inputs.names.collector);
    let selector = meta::selector(inputs.names, Component::Collector);
    let spec = json!({ "selector": selector, "podMetricsEndpoints": [{ "port": "http", "interval": wish.interval }] });
    prometheus("PodMonitor", metadata, &wish.labels, spec)
}

fn prometheus_rule(inputs: &Inputs<'_>) -> Object {
    let wish = &inputs.stack.spec.monitoring.prometheus_rule;
    let (namespace, stack) = (&inputs.names.namespace, &inputs.names.stack);
    let rule = |alert: &str, expr: String, wait: &str, severity: &str, summary: &str| {
        json!({
            "alert": alert, "expr": expr, "for": wait,
            "labels": { "severity": severity },
            "annotations": { "summary": summary },
        })
    };
    let of = format!("namespace=\"{namespace}\"");
    let rules = [
        rule(
            "LogstackNotReady",
            format!("logstack_ready{{kind=\"LogStack\",{of},name=\"{stack}\"}} == 0"),
            "15m",
            "warning",
            "The LogStack is not ready; its conditions say why",
        ),
        rule(
            "LogstackEngineDown",
            format!("up{{{of},service=\"{stack}-engine\"}} == 0"),
            "5m",
            "critical",
            "Nobody can push or query logs",
        ),
        rule(
            "LogstackLostParts",
            format!("logstack_storage_lost_parts{{{of}}} > 0"),
            "1m",
            "critical",
            "Parts of stored logs were missing or damaged when the engine started",
        ),
        rule(
            "LogstackStorageFailures",
            format!("increase(logstack_storage_failures_total{{{of}}}[15m]) > 0"),
            "15m",
            "warning",
            "The engine cannot write or merge parts; its log says why",
        ),
    ];
    let metadata = meta::own(inputs, Component::Engine, &inputs.names.engine);
    let group = json!({ "name": format!("logstack-{namespace}-{stack}"), "interval": wish.interval, "rules": rules });
    let spec = json!({ "groups": [group] });
    prometheus("PrometheusRule", metadata, &wish.labels, spec)
}
