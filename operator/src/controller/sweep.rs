//! Removes what is left outside a namespace by LogStacks that are gone: at the start and every hour.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ListParams, PropagationPolicy};
use logstack_crds::LogStack;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Context;
use super::watch::api;
use crate::names;
use crate::object::ObjectId;
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
    let suspects = left_behind(context, &context.world.stack_uids());
    if suspects.is_empty() {
        return;
    }
    // The watch of LogStacks may be behind that of their children: one that was just made is not gone.
    let alive = match listed_uids(context).await {
        Ok(alive) => alive,
        Err(error) => {
            warn!(%error, "LogStacks not listed: what is left behind stays until the next sweep");
            return;
        }
    };
    // What was made while the list was read is none of them.
    for (id, object) in suspects.into_iter().filter(|(_, object)| !is_owned(object, &alive)) {
        match context.applier.delete(&id, &object, PropagationPolicy::Background).await {
            Ok(()) => info!(object = %id, "removed what a LogStack left behind"),
            Err(error) => warn!(%error, "left behind by a LogStack that is gone"),
        }
    }
}

/// What garbage collection does not see, and whose LogStack is not among `alive`.
fn left_behind(context: &Context, alive: &[String]) -> Vec<(ObjectId, Arc<Value>)> {
    let mut all = context.world.foreign_children();
    all.retain(|(_, object)| {
        let owner = annotation(object, names::OWNER_UID).unwrap_or_default();
        // Of a namespace that another operator looks after.
        let home = label(object, names::STACK).and_then(|label| label.split('.').next()).unwrap_or_default();
        !owner.is_empty() && !is_owned(object, alive) && context.settings.watches(home)
    });
    all
}

fn is_owned(object: &Value, alive: &[String]) -> bool {
    annotation(object, names::OWNER_UID).is_some_and(|owner| alive.iter().any(|uid| uid == owner))
}

/// Uids of the LogStacks that the API server has now.
async fn listed_uids(context: &Context) -> Result<Vec<String>, kube::Error> {
    let mut uids = Vec::new();
    for namespace in &context.settings.scopes() {
        let stacks = api::<LogStack>(context.client.clone(), namespace);
        let list = stacks.list_metadata(&ListParams::default()).await?;
        uids.extend(list.items.into_iter().filter_map(|stack| stack.metadata.uid));
    }
    Ok(uids)
}
