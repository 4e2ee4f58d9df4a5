//! Writes: the finalizer, what was built, and the end of what is not built any more.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::PropagationPolicy;
use logstack_crds::stack::GrafanaStatus;
use tracing::{debug, info};

use super::Pass;
use crate::apply::{Outcome, Owner};
use crate::build::{self, Built};
use crate::controller::{Item, finalize};
use crate::error::{ApplyError, Refusal, classify};
use crate::names;
use crate::object::{Kind, ObjectId};
use crate::world::annotation;

impl Pass<'_> {
    /// What lives outside the namespace needs our finalizer before it is made.
    pub(super) async fn is_finalizer_there(&mut self, built: &Built) -> bool {
        let lives_outside = built.objects.iter().any(|object| object.id.namespace != self.key.namespace);
        let has_one =
            self.stack.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == names::FINALIZER));
        if has_one == lives_outside {
            return true;
        }
        if !lives_outside {
            // Something of an earlier spec may still be there: pruned first, and then the finalizer goes.
            let uid = self.stack.metadata.uid.as_deref().unwrap_or_default();
            let left = self.context.world.foreign_children();
            if left.iter().any(|(_, object)| annotation(object, names::OWNER_UID) == Some(uid)) {
                return true;
            }
        }
        match finalize::set_finalizer(self.context, &self.stack, lives_outside).await {
            Ok(()) => true,
            // Somebody wrote at the same time: the watch brings it, and the next pass tries again.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.context.queue.add(Item::Stack(self.key.clone()), Duration::from_secs(1));
                false
            }
            Err(error) => {
                let id = ObjectId::new(Kind::ConfigMap, &self.key.namespace, &self.key.name);
                let (refusal, message) = classify(&error);
                self.failed.push(ApplyError { id, refusal, message });
                false
            }
        }
    }

    pub(super) fn owner_uid(&self) -> String {
        self.stack.metadata.uid.clone().unwrap_or_default()
    }

    pub(super) async fn apply(&mut self, built: &Built) -> Option<GrafanaStatus> {
        let (owner_uid, owner_label) = (self.owner_uid(), self.names.label());
        let owner = Owner { uid: &owner_uid, label: &owner_label };
        let mut grafana = None;
        let mut created = 0;
        for object in &built.objects {
            let is_grafana = [self.names.datasource(), self.names.dashboards()].contains(&object.id.name);
            match self.context.applier.apply(object, owner).await {
                Ok(outcome) => {
                    created += usize::from(outcome == Outcome::Created);
                    self.note(&object.id, outcome);
                    if object.id.name == self.names.datasource() {
                        grafana = Some(GrafanaStatus {
                            namespace: object.id.namespace.clone(),
                            config_map: object.id.name.clone(),
                            uid: build::datasource_uid(&self.stack, &self.names),
                        });
                    }
                }
                Err(error) if is_grafana => {
                    // Grafana's namespace may come later; nothing else waits for it.
                    self.again_soon = true;
                    self.grafana_error = Some(format!("namespace {}: {}", object.id.namespace, error.message));
                }
                Err(error) if error.refusal == Refusal::KindMissing => {
                    debug!(object = %object.id, "its kind is not installed");
                }
                Err(error) if error.refusal == Refusal::Terminating => {}
                Err(error) => self.failed.push(error),
            }
        }
        if created > 0 {
            self.context.tell(&self.stack, false, "Created", &format!("{created} objects"));
        }
        grafana
    }

    pub(super) fn note(&mut self, id: &ObjectId, outcome: Outcome) {
        match outcome {
            Outcome::Corrected(path) => {
                let may_tell = self.context.memories.with(self.key, |memory| memory.may_tell(format!("{id} {path}")));
                if may_tell {
                    let note = format!("{id}: {path} was changed by somebody else and set back");
                    self.context.tell(&self.stack, false, "DriftCorrected", &note);
                }
                if self.context.applier.is_fought_over(id) {
                    self.fights.push(format!("another controller keeps changing {path} of {id}"));
                }
            }
            Outcome::Fighting(path) => {
                self.fights.push(format!("another controller keeps changing {path} of {id}"));
                self.context.queue.add(Item::Stack(self.key.clone()), Duration::from_secs(10));
            }
            Outcome::Unchanged if self.context.applier.is_fought_over(id) => {
                self.fights.push(format!("another controller keeps changing {id}"));
            }
            _ => {}
        }
    }

    /// Looks once for objects of kinds that are not watched: an operator that ran before may have made them.
    async fn find_extras(&self, wanted: &BTreeSet<&ObjectId>) {
        let has_looked =
            self.context.memories.with(self.key, |memory| std::mem::replace(&mut memory.has_looked_for_extras, true));
        if has_looked {
            return;
        }
        let (engine, collector) = (&self.names.engine, &self.names.collector);
        let extras = [(Kind::ServiceMonitor, engine), (Kind::PodMonitor, collector), (Kind::PrometheusRule, engine)];
        for (kind, name) in extras {
            let id = ObjectId::new(kind, &self.key.namespace, name);
            // Where the kind is not installed, or not ours to see, there is none of ours.
            if !wanted.contains(&id)
                && let Ok(Some(found)) = self.context.applier.observe(&id).await
            {
                self.context.world.set_object(id, Some((*found).clone()));
            }
        }
    }

    /// Deletes what we built once and do not build any more. Only kinds we build, only objects with both marks.
    pub(super) async fn prune(&mut self, built: &Built) {
        let wanted: BTreeSet<&ObjectId> = built.objects.iter().map(|object| &object.id).chain(&built.kept).collect();
        let owner_uid = self.owner_uid();
        let label = self.names.label();
        let owner = Owner { uid: &owner_uid, label: &label };
        self.find_extras(&wanted).await;
        for (id, object) in self.context.world.children(&label) {
            let is_going = object.pointer("/metadata/deletionTimestamp").is_some();
            if wanted.contains(&id) || !Kind::BUILT.contains(&id.kind) || !owner.owns(&object) || is_going {
                continue;
            }
            // The new data source must be there before the old one goes.
            let is_datasource = id.name == self.names.datasource();
            let has_moved = built.objects.iter().any(|object| object.id.name == id.name && object.id.kind == id.kind);
            let is_grafana = is_datasource || id.name == self.names.dashboards();
            if is_grafana && has_moved && self.grafana_error.is_some() {
                continue;
            }
            let buries = is_datasource && !has_moved && self.stack.spec.grafana.datasource.remove_on_delete;
            let outcome = if buries {
                finalize::bury_datasource(self.context, &self.stack, &self.names, &id, &object).await
            } else {
                if id.kind == Kind::StatefulSet {
                    self.protect_claim(&id, &object).await;
                }
                self.context.applier.delete(&id, &object, PropagationPolicy::Background).await.map(|()| true)
            };
            match outcome {
                Ok(true) => info!(stack = %self.key, object = %id, "deleted: not needed any more"),
                Ok(false) => self.again_soon = true,
                Err(error) => self.failed.push(error),
            }
        }
    }
}
