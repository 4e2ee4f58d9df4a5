//! `kubernetes_sd_configs`, role node: a target for host files, with the labels of this collector's own node.
//!
//! Only the own node is listed and watched: of other nodes there is no file here, and a thousand collectors that list
//! all nodes are what API servers die of. (Promtail lists all and leaves it to `__host__` to drop the others.)
//!
//! Source: contract of the collector, section 2.2; Prometheus, "kubernetes_sd_config", role node.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::discover;
use super::kubernetes::{PREFIX, PodJob, client, name_labels};
use super::relabel::LabelMap;
use super::targets::Targets;

/// Pause before another attempt to reach the API server.
const RETRY: Duration = Duration::from_secs(10);

/// Follows this node for a job until cancelled.
pub async fn run(job: PodJob, targets: Arc<Targets>, node: String, cancelled: CancellationToken) {
    let following = async {
        loop {
            match client(&job.sd).await {
                Ok(client) => {
                    let config = watcher::Config::default().any_semantic().fields(&format!("metadata.name={node}"));
                    let mut events = watch(Api::<Node>::all(client), config).default_backoff().boxed();
                    let mut known = None;
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                                publish(&job, &object, &mut known, &targets, &node);
                            }
                            // While we run the node is there, whatever becomes of its object.
                            Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
                            Err(err) => warn!(error = %err, "watching the node failed, trying again"),
                        }
                    }
                }
                Err(err) => warn!(error = format!("{err:#}"), "the Kubernetes API cannot be reached, trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = following => {}
        () = cancelled.cancelled() => {}
    }
}

/// Nodes report themselves every few seconds, mostly with nothing new.
fn publish(job: &PodJob, object: &Node, known: &mut Option<LabelMap>, targets: &Targets, node: &str) {
    let labels = node_labels(object);
    if known.as_ref() == Some(&labels) {
        return;
    }
    info!(job = job.job_idx, "node discovered");
    *known = Some(labels.clone());
    targets.set(job.key(), vec![discover(job.job_idx, &job.rules, labels, node)]);
}

/// What rules may look at.
pub fn node_labels(node: &Node) -> LabelMap {
    let mut labels = LabelMap::new();
    let name = node.metadata.name.clone().unwrap_or_default();
    let mut set = |name: &str, value: &str| {
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        // The first of a kind counts, as in Prometheus.
        labels.entry(format!("{PREFIX}node_{name}")).or_insert_with(|| value.to_owned());
    };
    set("name", &name);
    set("provider_id", node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default());
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let mut own_address = String::new();
    for address in addresses {
        set(&format!("address_{}", address.type_), &address.address);
        if own_address.is_empty() || address.type_ == "InternalIP" {
            own_address.clone_from(&address.address);
        }
    }
    for condition in status.and_then(|status| status.conditions.as_ref()).into_iter().flatten() {
        set(&format!("condition_{}", condition.type_), &condition.status.to_lowercase());
    }
    name_labels(node.metadata.labels.as_ref(), "node_label", &mut labels);
    name_labels(node.metadata.annotations.as_ref(), "node_annotation", &mut labels);
    labels.insert("__address__".to_owned(), own_address);
    labels.insert("instance".to_owned(), name);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_labels() {
        let node: Node = serde_yaml::from_str(
            "metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}, annotations: {x: y}}
spec: {providerID: 'aws:///i'}
status:
  addresses: [{type: Hostname, address: n1.example}, {type: InternalIP, address: 10.0.0.1}]
  conditions: [{type: Ready, status: 'True'}]",
        )
        .expect("a node");
        let labels = node_labels(&node);
        let got: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let want = [
            "__address__=10.0.0.1",
            "__meta_kubernetes_node_address_Hostname=n1.example",
            "__meta_kubernetes_node_address_InternalIP=10.0.0.1",
            "__meta_kubernetes_node_annotation_x=y",
            "__meta_kubernetes_node_annotationpresent_x=true",
            "__meta_kubernetes_node_condition_Ready=true",
            "__meta_kubernetes_node_label_topology_kubernetes_io_zone=a",
            "__meta_kubernetes_node_labelpresent_topology_kubernetes_io_zone=true",
            "__meta_kubernetes_node_name=n1",
            "__meta_kubernetes_node_provider_id=aws:///i",
            "instance=n1",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn what_is_not_new_changes_nothing() {
        let text = "clients: [{url: 'http://x/push'}]\nscrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: node}], relabel_configs: [{source_labels: [__meta_kubernetes_node_name], target_label: __host__}, {replacement: /var/log/syslog, target_label: __path__}]}]";
        let (config, warnings) = logstack_config::load::<logstack_config::CollectorConfig>(text, "test")
            .unwrap_or_else(|err| panic!("{err}"));
        assert!(warnings.0.is_empty());
        let (targets, scrape) = (Targets::default(), &config.scrape_configs[0]);
        let rules = Arc::new(crate::settings::rules(scrape, 0).unwrap());
        let job = PodJob { job_idx: 0, sd_idx: 0, rules, sd: scrape.kubernetes_sd_configs[0].clone() };
        let node: Node = serde_yaml::from_str("metadata: {name: n1}").expect("a node");
        let mut known = None;
        publish(&job, &node, &mut known, &targets, "n1");
        let version = targets.version();
        publish(&job, &node, &mut known, &targets, "n1");
        assert_eq!((targets.version(), targets.active().len()), (version, 1));
        assert_eq!(targets.active()[0].labels.to_string(), r#"{instance="n1"}"#);
    }
}
