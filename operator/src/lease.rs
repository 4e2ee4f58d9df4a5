//! Leader election by a Lease: one process writes, others stand by.
//!
//! The end of a leader's time is judged by our own clock since the record last changed, never by comparing clocks of two
//! machines. Every write carries the version that was read, so that of two that claim at once one fails.
//!
//! Source: client-go, `tools/leaderelection`; Kubernetes API, `coordination.k8s.io/v1 Lease`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A leader that has not renewed for so long has lost.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops by itself, before others begin.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A claim to lead.
#[allow(missing_debug_implementations)] // the client has none
pub struct Election {
    api: Api<Lease>,
    name: String,
    holder: String,
    /// What was seen last, and when by our clock.
    seen: Option<(Option<String>, Instant)>,
}

impl Election {
    /// For the Lease `name` in `namespace`, as `holder`, which no other process is called.
    pub fn new(client: Client, namespace: &str, name: &str, holder: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), holder: holder.to_owned(), seen: None }
    }

    /// Waits until this process leads.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        info!(lease = self.name, holder = self.holder, "waiting to lead");
        loop {
            match self.try_hold().await {
                Ok(true) => {
                    info!(lease = self.name, "leading");
                    return true;
                }
                Ok(false) => {}
                Err(error) => warn!(%error, "lease not read or written"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Renews until the lease is lost or `stop`. True: it was stopped, and the lease is still held.
    pub async fn keep(&mut self, stop: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = tokio::time::sleep(RETRY) => {}
            }
            match self.try_hold().await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => {
                    warn!(lease = self.name, "somebody else leads");
                    return false;
                }
                Err(error) => warn!(%error, "lease not renewed"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                warn!(lease = self.name, "lease not renewed in time");
                return false;
            }
        }
    }

    /// Gives the lease back, so that another need not wait.
    pub async fn release(&mut self) {
        let Ok(Ok(mut lease)) = tokio::time::timeout(REQUEST_TIMEOUT, self.api.get(&self.name)).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.holder.as_str()) {
            return;
        }
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        let params = PostParams::default();
        let write = self.api.replace(&self.name, &params, &lease);
        let _ = tokio::time::timeout(REQUEST_TIMEOUT, write).await;
    }

    async fn try_hold(&mut self) -> Result<bool, kube::Error> {
        match tokio::time::timeout(REQUEST_TIMEOUT, self.try_hold_untimed()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(kube::Error::Service("the API server did not answer in time: timed out".into())),
        }
    }

    async fn try_hold_untimed(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.record(None)),
            };
            return written(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
        let is_ours = holder.as_deref() == Some(self.holder.as_str());
        let version = lease.metadata.resource_version.clone();
        let seen_at = match &self.seen {
            Some((seen, at)) if *seen == version => *at,
            _ => {
                let now = Instant::now();
                self.seen = Some((version, now));
                now
            }
        };
        let duration =
            spec.lease_duration_seconds.map_or(DURATION, |seconds| Duration::from_secs(seconds.max(1) as u64));
        if !is_ours && holder.is_some() && seen_at.elapsed() < duration {
            return Ok(false);
        }
        lease.spec = Some(self.record(Some((&spec, is_ours))));
        // `lease` carries the version that was read.
        written(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn record(&self, before: Option<(&LeaseSpec, bool)>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let (acquired, transitions) = match before {
            Some((spec, true)) => (spec.acquire_time.clone(), spec.lease_transitions),
            Some((spec, false)) => (None, Some(spec.lease_transitions.unwrap_or_default() + 1)),
            None => (None, Some(0)),
        };
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..LeaseSpec::default()
        }
    }
}

/// Of two that write at once one is told of a conflict: it does not lead.
fn written(outcome: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
