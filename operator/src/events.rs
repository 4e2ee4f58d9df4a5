//! Events that `kubectl describe` shows. A failed one is logged and fails nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::debug;

use crate::names::FIELD_MANAGER;

/// Bytes of a note that the API takes.
const NOTE_BYTES_MAX: usize = 1000;
/// An event is not worth more.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes events.
#[derive(Clone)]
#[allow(missing_debug_implementations)] // the recorder has none
pub struct Events {
    recorder: Arc<Recorder>,
}

impl Events {
    /// Events of the process called `instance`.
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Arc::new(Recorder::new(client, reporter)) }
    }

    /// Publishes one, behind the caller's back.
    pub fn publish(&self, about: ObjectReference, is_warning: bool, reason: &str, note: &str) {
        let mut end = note.len().min(NOTE_BYTES_MAX);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        let event = Event {
            type_: if is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note[..end].to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &about)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, reason = event.reason, "event not published"),
                Err(_) => debug!(reason = event.reason, "event not published in time"),
            }
        });
    }
}
