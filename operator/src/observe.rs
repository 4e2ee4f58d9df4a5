//! Objects as the API server sees them -> facts. Pure, except for who fetches the pods.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;

/// What StatefulSet or DaemonSet say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// It is there.
    pub exists: bool,
    /// Its controller has seen its present spec.
    pub is_current: bool,
    /// Pods that should run.
    pub desired: i32,
    /// Pods there are.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods of the present template.
    pub updated: i32,
    /// Pods that serve.
    pub available: i32,
    /// The revision that pods should have.
    pub revision: Option<String>,
}

impl Workload {
    /// Of a StatefulSet.
    pub fn of_stateful_set(set: Option<&Value>) -> Self {
        let Some(set) = set else { return Self::default() };
        let number = |path: &str| set.pointer(path).and_then(Value::as_i64).unwrap_or_default() as i32;
        let text = |path: &str| set.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let (current, update) = (text("/status/currentRevision"), text("/status/updateRevision"));
        let desired = number("/spec/replicas");
        let updated = number("/status/updatedReplicas");
        Self {
            exists: set.pointer("/metadata/deletionTimestamp").is_none(),
            is_current: number("/status/observedGeneration") >= number("/metadata/generation"),
            desired,
            replicas: number("/status/replicas"),
            ready: number("/status/readyReplicas"),
            // When nothing rolls, the controller reports the same revision twice and may leave out the count.
            updated: if current.is_some() && current == update {
                updated.max(number("/status/currentReplicas"))
            } else {
                updated
            },
            available: number("/status/availableReplicas"),
            revision: update,
        }
    }

    /// Of a DaemonSet.
    pub fn of_daemon_set(set: Option<&Value>) -> Self {
        let Some(set) = set else { return Self::default() };
        let number = |path: &str| set.pointer(path).and_then(Value::as_i64).unwrap_or_default() as i32;
        Self {
            exists: set.pointer("/metadata/deletionTimestamp").is_none(),
            is_current: number("/status/observedGeneration") >= number("/metadata/generation"),
            desired: number("/status/desiredNumberScheduled"),
            replicas: number("/status/currentNumberScheduled"),
            ready: number("/status/numberReady"),
            updated: number("/status/updatedNumberScheduled"),
            available: number("/status/numberAvailable"),
            revision: None,
        }
    }

    /// Every pod has the present template, and its controller knows it.
    pub fn is_rolled_out(&self) -> bool {
        self.exists
            && self.is_current
            && self.updated >= self.desired
            && self.replicas <= self.desired.max(self.updated)
    }
}

/// Why a pod does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodProblem {
    /// A word for a condition.
    pub reason: &'static str,
    /// In the words of scheduler, kubelet or process.
    pub message: String,
}

/// Why none of the pods serves; `None`: they start, or all is well. `what` names the container to look at.
pub fn pod_problem(pods: &[Pod]) -> Option<PodProblem> {
    pods.iter().filter(|pod| !is_ready(pod)).find_map(one_problem)
}

/// True for a pod that is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn one_problem(pod: &Pod) -> Option<PodProblem> {
    let status = pod.status.as_ref()?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let statuses = || {
        let all = [&status.init_container_statuses, &status.container_statuses];
        all.into_iter().flatten().flatten()
    };
    for container in statuses() {
        if let Some(problem) = container_problem(name, container) {
            return Some(problem);
        }
    }
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    unscheduled.map(|condition| {
        let words = condition.message.clone().unwrap_or_default();
        let reason = if words.contains("PersistentVolumeClaim") { "VolumeNotBound" } else { "PodPending" };
        PodProblem { reason, message: format!("pod {name}: {}", first_line(&words)) }
    })
}

fn container_problem(pod: &str, container: &ContainerStatus) -> Option<PodProblem> {
    let state = container.state.as_ref()?;
    let name = &container.name;
    if let Some(waiting) = &state.waiting {
        let words = first_line(waiting.message.as_deref().unwrap_or_default());
        return match waiting.reason.as_deref().unwrap_or_default() {
            "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
                let message = format!("pod {pod}: image {} cannot be pulled: {words}", container.image);
                Some(PodProblem { reason: "ImagePull", message })
            }
            "CrashLoopBackOff" => {
                let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
                let code = last.map(|last| last.exit_code).unwrap_or_default();
                let words = last.and_then(|last| last.message.as_deref()).map(last_line).unwrap_or_default();
                let message = format!("pod {pod}: container {name} ends with exit code {code}: {words}");
                Some(PodProblem { reason: "CrashLoop", message })
            }
            "CreateContainerConfigError" | "CreateContainerError" => {
                Some(PodProblem { reason: "PodPending", message: format!("pod {pod}: {words}") })
            }
            _ => None,
        };
    }
    None
}

fn first_line(text: &str) -> String {
    cut(text.lines().next().unwrap_or_default())
}

fn last_line(text: &str) -> String {
    cut(text.trim_end().lines().last().unwrap_or_default())
}

/// Longest quotation in a message.
const QUOTE_CHARS_MAX: usize = 300;

fn cut(text: &str) -> String {
    text.chars().take(QUOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_wrong_with_a_pod() {
        #[track_caller]
        fn check(status: &str, want: Option<(&str, &str)>) {
            let pod = format!("{{metadata: {{name: p}}, status: {status}}}");
            let pod: Pod = serde_yaml::from_str(&pod).unwrap();
            let got = pod_problem(&[pod]);
            assert_eq!(got.as_ref().map(|problem| (problem.reason, problem.message.as_str())), want);
        }
        let container = |state: &str| {
            format!(
                "{{containerStatuses: [{{name: engine, image: x, imageID: '', ready: false, restartCount: 1, {state}}}]}}"
            )
        };
        check("{conditions: [{type: Ready, status: 'True'}]}", None);
        check("{}", None);
        check(
            &container("state: {waiting: {reason: ImagePullBackOff, message: not found}}"),
            Some(("ImagePull", "pod p: image x cannot be pulled: not found")),
        );
        check(
            &container(
                "state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2, message: \"a\\nerror: b\\n\"}}",
            ),
            Some(("CrashLoop", "pod p: container engine ends with exit code 2: error: b")),
        );
        check(&container("state: {waiting: {reason: ContainerCreating}}"), None);
        check(
            "{conditions: [{type: PodScheduled, status: 'False', message: '0/1 nodes are available: too many pods'}]}",
            Some(("PodPending", "pod p: 0/1 nodes are available: too many pods")),
        );
        check(
            "{conditions: [{type: PodScheduled, status: 'False', message: 'pod has unbound immediate PersistentVolumeClaims'}]}",
            Some(("VolumeNotBound", "pod p: pod has unbound immediate PersistentVolumeClaims")),
        );
    }

    #[test]
    fn reads_rollouts() {
        #[track_caller]
        fn check(set: &str, want: bool) {
            let set: Value = serde_yaml::from_str(set).unwrap();
            assert_eq!(Workload::of_stateful_set(Some(&set)).is_rolled_out(), want, "{set}");
        }
        let set = |status: &str| format!("{{metadata: {{generation: 2}}, spec: {{replicas: 1}}, status: {status}}}");
        check(
            &set("{observedGeneration: 2, replicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: a}"),
            true,
        );
        check(
            &set("{observedGeneration: 1, replicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: a}"),
            false,
        );
        check(
            &set("{observedGeneration: 2, replicas: 1, currentReplicas: 1, currentRevision: a, updateRevision: b}"),
            false,
        );
    }
}
