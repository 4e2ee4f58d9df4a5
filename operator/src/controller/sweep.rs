//! Removes what is left outside a namespace by LogStacks that are gone: at the start and every hour.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::api::PropagationPolicy;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Context;
use crate::names;
use crate::world::{annotation, label};

const EVERY: Duration = Duration::from_secs(3600);

pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    loop {
        sweep(&context).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn sweep(context: &Context) {
    let alive: BTreeSet<String> = context.world.stack_uids().into_iter().collect();
    for (id, object) in context.world.foreign_children() {
        let owner = annotation(&object, names::OWNER_UID).unwrap_or_default();
        // Of a namespace that another operator looks after.
        let home = label(&object, names::STACK).and_then(|label| label.split('.').next()).unwrap_or_default();
        if alive.contains(owner) || !context.settings.watches(home) || owner.is_empty() {
            continue;
        }
        match context.applier.delete(&id, &object, PropagationPolicy::Background).await {
            Ok(()) => info!(object = %id, "removed what a LogStack left behind"),
            Err(error) => warn!(%error, "left behind by a LogStack that is gone"),
        }
    }
}
