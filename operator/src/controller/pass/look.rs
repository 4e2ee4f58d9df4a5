//! What is there after the writes: workloads, pods, the claim, and what an engine answers.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use serde_json::Value;

use super::Pass;
use crate::build::{self, Rendered};
use crate::names;
use crate::object::{Kind, ObjectId};
use crate::observe::{self, Workload};
use crate::status::{CollectorFacts, EngineFacts, GrafanaFacts, StackFacts, StorageFacts};
use crate::storage::Resize;

/// A pod that did not start with an old template is replaced after this.
const STUCK_AFTER: Duration = Duration::from_secs(60);

impl Pass<'_> {
    /// What is there now.
    pub(super) async fn observe(&mut self, rendered: &Rendered, resize: Option<Resize>) -> StackFacts {
        let stack = self.stack.clone();
        let spec = &stack.spec;
        let world = self.context.world.clone();
        let namespace = &self.key.namespace;
        let set = world.object(&ObjectId::new(Kind::StatefulSet, namespace, &self.names.engine));
        let daemons = world.object(&ObjectId::new(Kind::DaemonSet, namespace, &self.names.collector));
        let engine_set = Workload::of_stateful_set(set.as_deref());
        let collector_set = Workload::of_daemon_set(daemons.as_deref());
        let is_external = spec.engine.external.is_some();
        let is_hibernated = !is_external && spec.engine.replicas == 0;
        let engine_lags =
            !is_external && !is_hibernated && (engine_set.ready < engine_set.desired || !engine_set.is_rolled_out());
        let collector_lags =
            spec.collector.enabled && (collector_set.ready < collector_set.desired || !collector_set.is_rolled_out());
        let engine_problem = match engine_lags {
            true => self.pod_problem("engine", engine_set.revision.as_deref()).await,
            false => self.persisting("engine", None),
        };
        let collector_problem = match collector_lags {
            true => self.pod_problem("collector", None).await,
            false => self.persisting("collector", None),
        };
        let signature = format!("{engine_set:?} {collector_set:?}");
        let is_overdue =
            self.context.memories.with(self.key, |memory| memory.is_overdue(engine_lags || collector_lags, signature));
        if engine_lags || collector_lags {
            self.again_soon = true;
        }
        let external = match &spec.engine.external {
            Some(external) => {
                self.again_soon = true;
                Some(self.ask_external(&external.url).await)
            }
            None => None,
        };
        if !is_external && engine_set.ready > 0 && spec.tls.is_none() {
            self.poll_engine();
        }
        let (pressure, version) =
            self.context.memories.with(self.key, |memory| (memory.pressure, memory.version.clone()));
        let claim = world.object(&ObjectId::new(Kind::PersistentVolumeClaim, namespace, &self.names.claim()));
        let text = |path: &str| {
            claim.as_deref().and_then(|claim| claim.pointer(path)).and_then(Value::as_str).map(str::to_owned)
        };
        let is_first = self.stack.status.as_ref().is_none_or(|status| status.conditions.is_empty());
        let selector = [names::NAME, names::INSTANCE, names::COMPONENT];
        let values = ["logstack-engine", self.names.stack.as_str(), "engine"];
        let selector: Vec<String> = selector.iter().zip(values).map(|(key, value)| format!("{key}={value}")).collect();
        StackFacts {
            generation: self.stack.metadata.generation,
            is_first,
            problems: rendered.problems().cloned().collect(),
            has_last_good: (rendered.engine.is_ok() || set.is_some())
                && (rendered.collector.is_ok() || daemons.is_some()),
            has_pod_template: !spec.engine.pod_template.is_empty() || !spec.collector.pod_template.is_empty(),
            engine: EngineFacts { is_hibernated, external, set: engine_set, problem: engine_problem },
            collector: CollectorFacts {
                is_disabled: !spec.collector.enabled,
                max_unavailable: max_unavailable(&spec.collector.max_unavailable, collector_set.desired),
                set: collector_set,
                problem: collector_problem,
                pod_security: self.pod_security(),
            },
            storage: StorageFacts {
                resize,
                not_expandable: self.not_expandable.clone(),
                requested: spec.engine.storage.size.0.clone(),
                capacity: text("/status/capacity/storage"),
                claim: self.names.claim(),
                class: text("/spec/storageClassName"),
                pressure,
            },
            grafana: GrafanaFacts {
                is_enabled: spec.grafana.enabled,
                written: None,
                error: self.grafana_error.clone(),
            },
            is_overdue,
            version,
            url: build::engine_url(spec, &self.names),
            selector: selector.join(","),
            ..StackFacts::default()
        }
    }

    /// Why pods do not serve; a pod that cannot start with an old template is replaced.
    pub(super) async fn pod_problem(&mut self, component: &str, revision: Option<&str>) -> Option<observe::PodProblem> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let selector = format!(
            "{}={},{}={component},{}={}",
            names::INSTANCE,
            self.names.stack,
            names::COMPONENT,
            names::MANAGED_BY,
            names::FIELD_MANAGER
        );
        let Ok(pods) = api.list(&ListParams::default().labels(&selector).limit(100)).await else {
            return self.persisting(component, None);
        };
        if let Some(revision) = revision {
            let is_stuck = |pod: &&Pod| {
                let labels = pod.metadata.labels.as_ref();
                let own = labels.and_then(|labels| labels.get("controller-revision-hash"));
                !observe::is_ready(pod)
                    && own.is_some_and(|own| own != revision)
                    && pod.metadata.deletion_timestamp.is_none()
            };
            let stuck = pods.items.iter().filter(is_stuck).max_by_key(|pod| pod.metadata.name.clone());
            let patience = STUCK_AFTER.min(self.context.patience);
            let is_due =
                self.context.memories.with(self.key, |memory| memory.persists("stuck", stuck.is_some(), patience));
            if let (Some(pod), true, false) = (stuck, is_due, self.is_paused) {
                let (name, uid) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone());
                let preconditions = Preconditions { uid, resource_version: None };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                if api.delete(&name, &params).await.is_ok() {
                    self.context.tell(
                        &self.stack,
                        false,
                        "StuckPodReplaced",
                        &format!("pod {name} could not start with an old template"),
                    );
                }
            }
        }
        self.persisting(component, observe::pod_problem(&pods.items))
    }

    /// Hard reasons are given when they have lasted; before that the pod just starts.
    pub(super) fn persisting(
        &self,
        component: &str,
        problem: Option<observe::PodProblem>,
    ) -> Option<observe::PodProblem> {
        let patience = self.context.patience;
        let is_hard = problem.as_ref().is_some_and(|problem| matches!(problem.reason, "ImagePull" | "CrashLoop"));
        self.context.memories.with(self.key, |memory| {
            let lasts = memory.persists(&format!("{component} problem"), is_hard, patience);
            problem.filter(|_| lasts || !is_hard)
        })
    }

    /// Collectors mount folders of the node; a namespace at `baseline` or `restricted` refuses their pods.
    pub(super) fn pod_security(&self) -> Option<String> {
        if !self.stack.spec.collector.enabled {
            return None;
        }
        const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
        let facts = self.context.world.namespace(&self.key.namespace);
        facts.labels.get(ENFORCE).filter(|level| matches!(level.as_str(), "baseline" | "restricted"))?;
        Some(format!("kubectl label namespace {} {ENFORCE}=privileged --overwrite", self.key.namespace))
    }
}

fn max_unavailable(value: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString, desired: i32) -> i32 {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => match text.trim_end_matches('%').parse::<f64>() {
            // Rounded up, as the DaemonSet controller does.
            Ok(share) => (f64::from(desired) * share / 100.0).ceil() as i32,
            Err(_) => 1,
        },
    }
}
