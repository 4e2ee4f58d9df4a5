//! The volume grows when the spec grows. Decides only; each step may be repeated, and every crash leaves a state from
//! which the next pass goes on.
//!
//! ```text
//! request < desired              patch the claim up
//! desired < capacity             refused: told, and nothing is changed
//! capacity < desired < request   patch the claim down (undo of a growth that could not be satisfied)
//! template != max(desired, c)    delete the set with its pods left alone; the next pass makes it anew
//! ```
//!
//! Source: operator contract, section 2.7; Kubernetes, "Expanding Persistent Volume Claims".

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use logstack_crds::quantity::bytes;
use serde_json::Value;

/// A claim as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes of the volume; `None`: there is none yet.
    pub capacity: Option<u64>,
    /// It has a volume.
    pub is_bound: bool,
    /// The file system grows when the pod starts again.
    pub needs_restart: bool,
    /// A growth failed for good.
    pub is_infeasible: bool,
}

impl Claim {
    /// Of an object of the API.
    pub fn of(claim: &Value) -> Self {
        let size = |path: &str| claim.pointer(path).and_then(quantity_bytes);
        let conditions = claim.pointer("/status/conditions").and_then(Value::as_array);
        let has =
            |kind: &str| conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"));
        let allocated = claim.pointer("/status/allocatedResourceStatuses/storage").and_then(Value::as_str);
        Self {
            requested: size("/spec/resources/requests/storage").unwrap_or_default(),
            capacity: size("/status/capacity/storage"),
            is_bound: claim.pointer("/status/phase").is_some_and(|phase| phase == "Bound"),
            needs_restart: has("FileSystemResizePending"),
            is_infeasible: allocated.is_some_and(|status| status.ends_with("Infeasible")),
        }
    }
}

/// Bytes of a quantity that may be a number.
pub fn quantity_bytes(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => bytes(&Quantity(text.clone())),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Patch the claim's request to so many bytes.
    Request(u64),
    /// Delete the claim, which never had a volume, so that the set makes it anew.
    DeleteUnbound,
    /// Delete the set, its pods left alone.
    RecreateSet,
}

/// What is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// Every volume has what is asked for.
    AsRequested,
    /// It grows.
    Resizing,
    /// It grows when the pod starts again.
    PodRestartNeeded,
    /// A volume does not shrink.
    ShrinkRefused,
    /// The request cannot be taken back to the size that is there.
    ExpansionStuck,
    /// There is no claim of ours.
    NotManaged,
    /// There is no volume yet.
    Unbound,
}

/// The steps of one pass, and what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// For the condition.
    pub resize: Resize,
}

/// Plans the way to `desired` bytes. `template` is the size in the set's claim template, `None` without a set;
/// `has_pod`: a pod that has a node uses the claim.
pub fn plan(desired: u64, claim: Option<&Claim>, template: Option<u64>, has_pod: bool) -> Plan {
    let Some(claim) = claim else {
        let steps = template.filter(|size| *size != desired).map(|_| Step::RecreateSet).into_iter().collect();
        return Plan { steps, resize: Resize::Unbound };
    };
    let capacity = claim.capacity.unwrap_or_default();
    let mut steps = Vec::new();
    let mut resize = Resize::AsRequested;
    if !claim.is_bound {
        // The spec of an unbound claim cannot be changed at all.
        if claim.requested != desired && !has_pod {
            steps.push(Step::DeleteUnbound);
        }
        resize = Resize::Unbound;
    } else if desired < capacity {
        // The set keeps its size too.
        return Plan { steps, resize: Resize::ShrinkRefused };
    } else if desired > claim.requested {
        steps.push(Step::Request(desired));
        resize = Resize::Resizing;
    } else if desired == capacity && claim.requested > desired {
        // A request may be lowered only to a value above the capacity.
        resize = Resize::ExpansionStuck;
    } else if desired < claim.requested {
        steps.push(Step::Request(desired));
        resize = Resize::Resizing;
    } else if capacity < desired {
        resize = if claim.needs_restart { Resize::PodRestartNeeded } else { Resize::Resizing };
    }
    if template.is_some_and(|size| size != desired.max(capacity)) {
        steps.push(Step::RecreateSet);
    }
    Plan { steps, resize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_the_way() {
        #[track_caller]
        fn check(desired: u64, claim: Option<(u64, u64)>, template: Option<u64>, steps: &[Step], resize: Resize) {
            let claim = claim.map(|(requested, capacity)| Claim {
                requested,
                capacity: (capacity > 0).then_some(capacity),
                is_bound: capacity > 0,
                ..Claim::default()
            });
            let got = plan(desired, claim.as_ref(), template, false);
            assert_eq!(got, Plan { steps: steps.to_vec(), resize }, "{desired} {claim:?} {template:?}");
        }
        use Resize::*;
        use Step::*;
        check(50, None, None, &[], Unbound);
        check(60, None, Some(50), &[RecreateSet], Unbound);
        check(50, Some((50, 50)), Some(50), &[], AsRequested);
        // a driver may give more than asked for
        check(50, Some((50, 64)), Some(50), &[], ShrinkRefused);
        check(60, Some((50, 50)), Some(50), &[Request(60), RecreateSet], Resizing);
        check(60, Some((60, 50)), Some(50), &[RecreateSet], Resizing);
        check(60, Some((60, 50)), Some(60), &[], Resizing);
        check(60, Some((60, 50)), None, &[], Resizing);
        check(60, Some((60, 60)), Some(60), &[], AsRequested);
        check(40, Some((50, 50)), Some(50), &[], ShrinkRefused);
        check(60, Some((600, 50)), Some(600), &[Request(60), RecreateSet], Resizing);
        check(50, Some((600, 50)), Some(50), &[], ExpansionStuck);
        check(60, Some((50, 0)), Some(50), &[DeleteUnbound, RecreateSet], Unbound);
        check(50, Some((50, 0)), Some(50), &[], Unbound);
    }

    /// Whatever the state, repeated passes over an obedient cluster end, and end at what was asked for or with a refusal.
    #[test]
    fn every_state_ends() {
        for desired in 1..6u64 {
            for requested in 1..6u64 {
                for capacity in 0..=requested {
                    for template in 0..6u64 {
                        let mut claim = Claim {
                            requested,
                            capacity: (capacity > 0).then_some(capacity),
                            is_bound: capacity > 0,
                            ..Claim::default()
                        };
                        let mut template = (template > 0).then_some(template);
                        let mut exists = true;
                        let mut last = None;
                        for _ in 0..8 {
                            let plan = plan(desired, exists.then_some(&claim), template, false);
                            for step in &plan.steps {
                                match step {
                                    Step::Request(size) => claim.requested = *size,
                                    Step::DeleteUnbound => exists = false,
                                    Step::RecreateSet => template = None,
                                }
                            }
                            // the cluster: the set is made anew, makes its claim, and the claim grows
                            template = template.or(Some(desired.max(claim.capacity.unwrap_or(0))));
                            if !exists {
                                claim = Claim { requested: desired, capacity: None, ..Claim::default() };
                                exists = true;
                            } else if plan.steps.is_empty() {
                                claim.is_bound = true;
                                claim.capacity = claim.capacity.max(Some(claim.requested.max(1)));
                            }
                            last = Some(plan);
                        }
                        let last = last.unwrap();
                        assert!(last.steps.is_empty(), "{desired} {requested} {capacity}: {last:?}");
                        let is_end = matches!(last.resize, Resize::AsRequested | Resize::ShrinkRefused);
                        assert!(is_end, "{desired} {requested} {capacity} {template:?}: {last:?}");
                    }
                }
            }
        }
    }
}
