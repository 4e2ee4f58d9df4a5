//! The way of a push: unpack, decode, apply the limits, store, answer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use logstack_config::{EngineConfig, TenantLimits};
use parking_lot::{Mutex, RwLock};
use tracing::warn;

use super::batch::{self, Outcome, Request};
use super::budget::{Budget, Refusal, Share};
use super::decode::encoding::{self, Encoding};
use super::decode::otlp::{self, OtlpRules};
use super::decode::{self, BODY_BYTES_MAX, Decoded, media_type, push_json, push_proto};
use super::metrics::{Format, IngestMetrics, Reason};
use super::tenant::{Profile, Tenant};
use super::texts;
use crate::clock::{Clock, SystemClock};
use crate::model::TenantId;
use crate::storage::{self, Store};

/// Memory that all pushes in flight may hold together, at least.
const IN_FLIGHT_BYTES_MIN: usize = 256 << 20;

/// What the largest body needs: itself, its batch, and what leads from one to the other.
const IN_FLIGHT_PER_BODY: usize = 3;

/// Bodies up to this size are decoded where they are read; larger ones on a thread that may block.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Between two looks for idle streams.
const SWEEP_NS: i64 = 60_000_000_000;

/// What is refused, and how the client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PushError {
    /// HTTP status; decides whether clients try again.
    pub status: u16,
    /// Why, in Loki's words where Loki has some.
    pub text: String,
}

impl PushError {
    /// An answer of `status`.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl From<decode::Error> for PushError {
    fn from(error: decode::Error) -> Self {
        let status = match &error {
            decode::Error::Malformed(_) => 400,
            decode::Error::TooLarge { .. } | decode::Error::Memory(Refusal::TooLarge { .. }) => 413,
            decode::Error::Memory(Refusal::Busy { .. }) => 503,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Refusal> for PushError {
    fn from(refusal: Refusal) -> Self {
        decode::Error::Memory(refusal).into()
    }
}

/// Which interface a push came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/loki/api/v1/push`
    Push,
    /// `/api/prom/push`
    LegacyPush,
    /// `/otlp/v1/logs`
    Otlp,
}

/// A push as it arrived.
#[derive(Debug)]
pub struct Push {
    /// Where.
    pub route: Route,
    /// `Content-Type`, if any.
    pub content_type: Option<String>,
    /// `Content-Encoding`, or nothing.
    pub content_encoding: String,
    /// The body, still packed.
    pub body: Vec<u8>,
    /// Pays for `body` and for what is made of it.
    pub share: Share,
}

/// What ingest is told once.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Largest body as sent.
    pub body_bytes_max: usize,
    /// Largest body once unpacked.
    pub unpacked_bytes_max: usize,
    /// Memory of all pushes in flight.
    pub in_flight_bytes_max: usize,
    /// How long a push waits for that memory.
    pub patience: Duration,
    /// How long a body may take to arrive.
    pub read_timeout: Duration,
    /// How far behind its stream's newest entry an entry may be.
    pub window_ns: i64,
    /// A stream without a push for so long is no longer active.
    pub idle_ns: i64,
}

impl IngestOptions {
    /// What the configuration says.
    pub fn new(config: &EngineConfig) -> Self {
        let read_timeout = config.server.http_server_read_timeout.get();
        let body_bytes_max = config.distributor.max_recv_msg_size.as_usize();
        Self {
            body_bytes_max,
            unpacked_bytes_max: config.distributor.max_decompressed_size.as_usize().min(BODY_BYTES_MAX),
            in_flight_bytes_max: body_bytes_max.saturating_mul(IN_FLIGHT_PER_BODY).max(IN_FLIGHT_BYTES_MIN),
            patience: Duration::from_secs(5),
            read_timeout: if read_timeout.is_zero() { Duration::MAX } else { read_timeout },
            window_ns: config.ingester.max_chunk_age.as_nanos() / 2,
            idle_ns: config.ingester.chunk_idle_period.as_nanos(),
        }
    }
}

/// Takes pushes.
pub struct Ingester {
    store: Arc<Store>,
    limits: Arc<ArcSwap<TenantLimits>>,
    options: IngestOptions,
    budget: Arc<Budget>,
    metrics: IngestMetrics,
    clock: Arc<dyn Clock>,
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    swept_ns: Mutex<i64>,
}

impl Ingester {
    /// An ingester before `store`. `limits` may be replaced at any time; the next push of a tenant sees it.
    pub fn new(store: Arc<Store>, limits: Arc<ArcSwap<TenantLimits>>, options: IngestOptions) -> Arc<Self> {
        Self::with_clock(store, limits, options, Arc::new(SystemClock))
    }

    /// The same on another clock.
    pub fn with_clock(
        store: Arc<Store>,
        limits: Arc<ArcSwap<TenantLimits>>,
        options: IngestOptions,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let budget = Budget::new(options.in_flight_bytes_max);
        let swept_ns = Mutex::new(clock.now_ns());
        Arc::new(Self {
            store,
            limits,
            options,
            budget,
            metrics: IngestMetrics::default(),
            clock,
            tenants: RwLock::default(),
            swept_ns,
        })
    }

    /// What it was told.
    pub fn options(&self) -> &IngestOptions {
        &self.options
    }

    /// Counters.
    pub fn metrics(&self) -> &IngestMetrics {
        &self.metrics
    }

    /// The memory of pushes in flight.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Stores what `push` brings for `tenant`. Returns when it is durable and visible.
    ///
    /// # Errors
    /// [`PushError`]. Entries that are valid on their own may be stored all the same.
    pub async fn push(self: &Arc<Self>, tenant: &TenantId, push: Push) -> Result<(), PushError> {
        let outcome = if push.body.len() <= INLINE_BYTES_MAX && push.content_encoding.is_empty() {
            self.prepare(tenant, push)
        } else {
            let (ingester, tenant) = (Arc::clone(self), tenant.clone());
            let prepared = tokio::task::spawn_blocking(move || ingester.prepare(&tenant, push)).await;
            // The task ends early only with the runtime.
            prepared.unwrap_or_else(|_| Err(PushError::new(503, "the server is shutting down")))
        }?;
        let Outcome { batch, refusal, lengths, share } = outcome;
        if !batch.rows.is_empty() {
            if let Err(failure) = self.store.append(batch).await {
                self.metrics.append_failed();
                return Err(storage_refusal(&failure));
            }
            self.metrics.lines(&lengths);
        }
        drop(share);
        refusal.map_or(Ok(()), Err)
    }

    /// Everything up to storage. May block for as long as it takes to unpack and read the body.
    fn prepare(&self, tenant: &TenantId, push: Push) -> Result<Outcome, PushError> {
        let now_ns = self.clock.now_ns();
        self.sweep(now_ns);
        let (tenant, profile) = self.tenant(tenant, now_ns)?;
        let format = if push.route == Route::Otlp { Format::Otlp } else { Format::Loki };
        let body_bytes = push.body.len();
        let decoded =
            self.decode(push, &profile.rules.otlp, now_ns).map_err(PushError::from).inspect_err(|refusal| {
                if refusal.status == 413 {
                    tenant.metrics.discarded(format, Reason::RequestBodyTooLarge, 0, body_bytes as u64);
                }
            })?;
        if decoded.streams.is_empty() {
            return Err(PushError::new(422, texts::NO_STREAMS));
        }
        let request = Request { tenant: &tenant, profile: &profile, format, now_ns, window_ns: self.options.window_ns };
        batch::build(&request, &self.store, decoded)
    }

    fn decode(&self, push: Push, rules: &OtlpRules, now_ns: i64) -> Result<Decoded, decode::Error> {
        let Push { route, content_type, content_encoding, body, mut share } = push;
        let limit = self.options.unpacked_bytes_max;
        let media_type = media_type::parse(content_type.as_deref().unwrap_or_default())?;
        if route == Route::Otlp {
            let is_json = match media_type.as_str() {
                "application/json" => true,
                "application/x-protobuf" => false,
                _ => return Err(unsupported_content_type(content_type.as_deref().unwrap_or_default())),
            };
            let body = Encoding::of_otlp(&content_encoding)?.unpack(body, limit, &mut share)?;
            let decode = if is_json { otlp::json::decode } else { otlp::proto::decode };
            return decode(&body, rules, now_ns, share);
        }
        let body = Encoding::of_push(&content_encoding)?.unpack(body, limit, &mut share)?;
        match (media_type == "application/json", route) {
            (true, Route::LegacyPush) => push_json::decode_legacy(body, share),
            (true, _) => push_json::decode(body, share),
            (false, _) => {
                let body = encoding::unpack_snappy(&body, limit, &mut share)?;
                push_proto::decode(body, share)
            }
        }
    }

    /// The tenant, under its present limits.
    fn tenant(&self, id: &TenantId, now_ns: i64) -> Result<(Arc<Tenant>, Arc<Profile>), PushError> {
        let limits = self.limits.load().of(id.as_str()).clone();
        let known = self.tenants.read().get(id).cloned();
        if let Some(tenant) = known {
            let mut profile = tenant.profile();
            if !profile.is_of(&limits) {
                match Profile::new(limits) {
                    Ok(new) => {
                        profile = Arc::new(new);
                        tenant.set_profile(profile.clone());
                    }
                    Err(error) => warn!(tenant = %id, %error, "limits not applied, the previous ones stay"),
                }
            }
            return Ok((tenant, profile));
        }
        let profile = Profile::new(limits).map_err(|error| PushError::new(500, error.to_string()))?;
        let profile = Arc::new(profile);
        let new = || Arc::new(Tenant::new(id.clone(), self.metrics.tenant(id), profile.clone(), now_ns));
        let tenant = self.tenants.write().entry(id.clone()).or_insert_with(new).clone();
        let profile = tenant.profile();
        Ok((tenant, profile))
    }

    /// Now and then, forgets what has been idle.
    fn sweep(&self, now_ns: i64) {
        {
            let Some(mut swept_ns) = self.swept_ns.try_lock() else { return };
            if now_ns.saturating_sub(*swept_ns) < SWEEP_NS {
                return;
            }
            *swept_ns = now_ns;
        }
        let since_ns = now_ns.saturating_sub(self.options.idle_ns);
        let tenants: Vec<Arc<Tenant>> = self.tenants.read().values().cloned().collect();
        let idle: Vec<Arc<Tenant>> = tenants.into_iter().filter(|tenant| tenant.forget_idle(since_ns)).collect();
        if !idle.is_empty() {
            let mut tenants = self.tenants.write();
            idle.iter().for_each(|tenant| drop(tenants.remove(&tenant.id)));
        }
    }
}

fn unsupported_content_type(content_type: &str) -> decode::Error {
    decode::Error::malformed(format!(
        "content type: {content_type} is not supported, use application/x-protobuf or application/json"
    ))
}

/// How clients are told that storage took nothing. Where a retry may help they must retry, or entries are lost.
fn storage_refusal(failure: &storage::Error) -> PushError {
    let status = match failure {
        storage::Error::TooLarge { .. } => 413,
        storage::Error::Closed => 503,
        failure if failure.is_retryable() => 503,
        _ => 500,
    };
    warn!(error = %failure, status, "push not stored");
    PushError::new(status, failure.to_string())
}
