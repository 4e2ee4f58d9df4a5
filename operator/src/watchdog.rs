//! Notices a watch that has gone deaf: the process looks healthy, and sees nothing any more.
//!
//! A healthy watch is heard about once a minute, be it by a bookmark, and its request is made anew every five minutes.
//! One that is silent for [`SILENCE`] while plain requests are answered will not heal by itself: the process ends, and
//! is started anew. While the API server is away nobody can be heard, and that is nobody's fault.
//!
//! Source: stackabletech/trino-operator#936, kube-rs#774: operators that ran for days without seeing a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// A watch that is not heard for so long is deaf.
pub const SILENCE: Duration = Duration::from_secs(900);
/// One plain request.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// When each watch was heard.
#[derive(Debug)]
pub struct Watches {
    /// By the path of its request.
    heard: Mutex<HashMap<String, Instant>>,
    metrics: Arc<Metrics>,
}

impl Watches {
    /// None yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { heard: Mutex::default(), metrics }
    }

    /// The watch of `path` showed an event or a bookmark, or was answered at all.
    pub fn hear(&self, path: &str) {
        self.metrics.progress(kind(path));
        let mut heard = self.heard.lock();
        match heard.get_mut(path) {
            Some(at) => *at = Instant::now(),
            None => drop(heard.insert(path.to_owned(), Instant::now())),
        }
    }

    /// All begin anew: the API server was away.
    fn forgive(&self) {
        self.heard.lock().values_mut().for_each(|at| *at = Instant::now());
    }

    /// The one that has been silent for longest, if at `now` it has been so for `silence`.
    fn silent_for(&self, silence: Duration, now: Instant) -> Option<String> {
        let heard = self.heard.lock();
        let (path, at) = heard.iter().min_by_key(|(_, at)| **at)?;
        (now.saturating_duration_since(*at) >= silence).then(|| path.clone())
    }
}

/// The kind that a path is about, in the words of the other metrics.
fn kind(path: &str) -> &str {
    match path.rsplit('/').next().unwrap_or_default() {
        "logstacks" => "LogStack",
        "logscrapes" => "LogScrape",
        "pods" => "Pod",
        "namespaces" => "Namespace",
        plural => crate::object::Kind::of_plural(plural).map_or("other", |kind| kind.as_str()),
    }
}

/// Waits until a watch is deaf, and returns its path.
pub async fn deaf_watch(client: &Client, watches: &Watches, silence: Duration) -> String {
    loop {
        tokio::time::sleep(silence / 15).await;
        // Before a third of the time nothing is suspicious, and nothing is asked.
        if watches.silent_for(silence / 3, Instant::now()).is_none() {
            continue;
        }
        let answers = tokio::time::timeout(PING_TIMEOUT.min(silence), client.apiserver_version()).await;
        if !matches!(answers, Ok(Ok(_))) {
            debug!("the API server is away: no watch can be heard");
            watches.forgive();
        } else if let Some(path) = watches.silent_for(silence, Instant::now()) {
            warn!(path, ?silence, "watch is deaf");
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_watch_is_found() {
        let watches = Watches::new(Arc::default());
        let later = |share: f64| Instant::now() + SILENCE.mul_f64(share);
        assert_eq!(watches.silent_for(SILENCE, later(9.0)), None, "there is none");
        watches.hear("/api/v1/pods");
        watches.hear("/apis/apps/v1/statefulsets");
        assert_eq!(watches.silent_for(SILENCE, later(0.9)), None);
        watches.hear("/apis/apps/v1/statefulsets");
        assert_eq!(watches.silent_for(SILENCE, later(1.1)).as_deref(), Some("/api/v1/pods"));
    }

    #[test]
    fn names_kinds() {
        #[track_caller]
        fn check(path: &str, want: &str) {
            assert_eq!(kind(path), want);
        }
        check("/apis/logstack.dev/v1alpha1/logstacks", "LogStack");
        check("/apis/logstack.dev/v1alpha1/namespaces/obs/logscrapes", "LogScrape");
        check("/api/v1/namespaces", "Namespace");
        check("/apis/apps/v1/namespaces/obs/statefulsets", "StatefulSet");
        check("/api/v1/namespaces/obs/events", "other");
    }
}
