//! What the routes share, and what every read starts with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use logstack_config::{EngineConfig, Limits, TenantLimits};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::auth::Auth;
use super::metrics::RequestMetrics;
use super::params::Params;
use super::tenancy::{self, Tenancy};
use crate::ingest::Ingester;
use crate::patterns::Patterns;
use crate::query::{self, Caller, Control, Engine, admission};
use crate::storage::Store;
use crate::tail::Tails;

/// Bodies of read requests: a query of the largest size, percent-encoded, and room for the rest.
const FORM_BYTES_MAX: usize = 1 << 20;

/// The engine behind the routes.
pub struct App {
    /// As started.
    pub config: Arc<EngineConfig>,
    /// By tenant; replaced when the overrides file changes.
    pub limits: Arc<ArcSwap<TenantLimits>>,
    /// Who may connect.
    pub auth: Auth,
    /// Whose a request is.
    pub tenancy: Tenancy,
    /// Answers queries.
    pub engine: Arc<Engine>,
    /// Takes pushes.
    pub ingester: Arc<Ingester>,
    /// Holds the data.
    pub store: Arc<Store>,
    /// What lines have in common; `None`: `pattern_ingester.enabled` is false.
    pub patterns: Option<Arc<Patterns>>,
    /// Live tails.
    pub tails: Arc<Tails>,
    /// Counts requests.
    pub metrics: RequestMetrics,
    /// Starting, ready, stopping.
    pub lifecycle: Arc<Lifecycle>,
    /// The least severe events that are printed, and how to change that.
    pub log_level: LogLevelSwitch,
    /// When the process started.
    pub started: Instant,
}

/// Where the process is between start and end.
#[derive(Debug, Default)]
pub struct Lifecycle {
    /// Cancelled when the process stops.
    pub stopping: CancellationToken,
    stop_is_prepared: AtomicBool,
    overrides_are_bad: AtomicBool,
    /// Notified once, when somebody asks for the end.
    pub stop_wanted: Notify,
}

impl Lifecycle {
    /// From now on `/ready` answers 503.
    pub fn begin_stop(&self) {
        self.stopping.cancel();
    }

    /// True after [`Self::begin_stop`].
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Notes whether the overrides file could be read when it was last looked at.
    pub fn set_overrides_good(&self, is_good: bool) {
        self.overrides_are_bad.store(!is_good, Ordering::Relaxed);
    }

    /// False while the limits in force are older than the overrides file.
    pub fn overrides_are_good(&self) -> bool {
        !self.overrides_are_bad.load(Ordering::Relaxed)
    }

    /// Sets or unsets the mark of `/ingester/prepare_shutdown`.
    pub fn prepare_stop(&self, prepared: bool) {
        self.stop_is_prepared.store(prepared, Ordering::Release);
    }

    /// The mark of `/ingester/prepare_shutdown`.
    pub fn stop_is_prepared(&self) -> bool {
        self.stop_is_prepared.load(Ordering::Acquire)
    }
}

/// Sets the least severe level that is printed; false: it cannot be changed.
pub type SetLogLevel = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// `/log_level`.
pub struct LogLevelSwitch {
    current: Mutex<String>,
    set: Option<SetLogLevel>,
}

impl LogLevelSwitch {
    /// Starts at `current`; `set` changes what the process prints.
    pub fn new(current: &str, set: Option<SetLogLevel>) -> Self {
        Self { current: Mutex::new(current.to_owned()), set }
    }

    /// The level.
    pub fn get(&self) -> String {
        self.current.lock().clone()
    }

    /// Changes the level; `level` is one of `debug info warn error`.
    pub fn set(&self, level: &str) -> bool {
        let mut current = self.current.lock();
        let is_set = self.set.as_ref().is_none_or(|set| set(level));
        if is_set {
            level.clone_into(&mut current);
        }
        is_set
    }
}

impl App {
    /// The limits of a request: of its tenant, or the strictest of several in what matters to reads.
    pub fn limits_of(&self, tenants: &[crate::model::TenantId]) -> Arc<Limits> {
        let limits = self.limits.load();
        let [first, others @ ..] = tenants else { return limits.default_limits().clone() };
        let first = limits.of(first.as_str());
        if others.is_empty() {
            return first.clone();
        }
        let mut strictest = Limits::clone(first);
        for tenant in others {
            let other = limits.of(tenant.as_str());
            strictest.max_query_series = min_set(strictest.max_query_series, other.max_query_series);
            strictest.max_entries_limit_per_query =
                min_set(strictest.max_entries_limit_per_query, other.max_entries_limit_per_query);
            for (own, other) in [
                (&mut strictest.max_query_length, other.max_query_length),
                (&mut strictest.max_query_range, other.max_query_range),
                (&mut strictest.max_query_lookback, other.max_query_lookback),
                (&mut strictest.query_timeout, other.query_timeout),
            ] {
                if own.is_zero() || !other.is_zero() && other.as_nanos() < own.as_nanos() {
                    *own = other;
                }
            }
            strictest.required_labels.extend(other.required_labels.iter().cloned());
            strictest.minimum_labels_number = strictest.minimum_labels_number.max(other.minimum_labels_number);
            strictest.blocked_queries.extend(other.blocked_queries.iter().cloned());
        }
        Arc::new(strictest)
    }
}

/// The smaller of two limits, 0 meaning none.
fn min_set<T: Ord + Default + Copy>(a: T, b: T) -> T {
    if a == T::default() {
        b
    } else if b == T::default() {
        a
    } else {
        a.min(b)
    }
}

/// Unix time, ns.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A read request: who asks, what, and how.
pub struct Read {
    /// Who.
    pub caller: Caller,
    /// What: URL and form.
    pub params: Params,
    /// How.
    pub headers: HeaderMap,
    /// Where, as routed.
    pub uri: Uri,
}

impl FromRequest<Arc<App>> for Read {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let tenants = app.tenancy.tenants(&parts.headers).map_err(IntoResponse::into_response)?;
        if tenants.len() > 1 && !app.config.querier.multi_tenant_queries_enabled {
            return Err(tenancy::Error::Several.into_response());
        }
        let body = read_form(app, body).await?;
        let tags = parts.headers.get("x-query-tags").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let caller = Caller {
            limits: app.limits_of(&tenants),
            tenants,
            tags: Arc::new(admission::parse_tags(tags)),
            now_ns: now_ns(),
        };
        Ok(Self {
            caller,
            params: Params::read(&parts.uri, &parts.headers, &body),
            headers: parts.headers,
            uri: parts.uri,
        })
    }
}

async fn read_form(app: &App, body: axum::body::Body) -> Result<Bytes, Response> {
    let time_max = app.config.server.http_server_read_timeout.get();
    let time_max = if time_max.is_zero() { Duration::MAX } else { time_max };
    match tokio::time::timeout(time_max, axum::body::to_bytes(body, FORM_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let text = format!("the form is larger than {FORM_BYTES_MAX} bytes");
            Err(super::respond::error(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Err(_) => {
            let text = "the request body took too long to arrive";
            Err(super::respond::error(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

/// A request without tenant: its parameters.
pub struct Form(pub Params);

impl FromRequest<Arc<App>> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let body = read_form(app, body).await?;
        Ok(Self(Params::read(&parts.uri, &parts.headers, &body)))
    }
}

impl Read {
    /// True when the client shows `warnings` to a person: Grafana and its apps say who they are.
    pub fn shows_warnings(&self) -> bool {
        const SIGNS: [&str; 4] = ["x-datasource-uid", "x-grafana-org-id", "x-dashboard-uid", "x-panel-id"];
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
        SIGNS.iter().any(|&sign| self.headers.contains_key(sign))
            || agent.starts_with("Grafana/")
            || agent.starts_with("logstack")
    }

    /// True when Logs Drilldown asks: it prefers some of the series to an error.
    pub fn is_drilldown(&self) -> bool {
        self.caller
            .tags
            .iter()
            .any(|(key, value)| key.eq_ignore_ascii_case("source") && value == "grafana-lokiexplore-app")
    }

    /// Runs `work` on a thread that may block, when it is its turn. The work stops when the client goes. Answers also
    /// how long the turn was waited for.
    ///
    /// # Errors
    /// What `work` says; no turn, no time.
    pub async fn run<T: Send + 'static>(
        &self,
        app: &App,
        work: impl FnOnce(&Engine, &Caller, Arc<Control>) -> Result<T, query::Error> + Send + 'static,
    ) -> Result<(T, Duration), query::Error> {
        let control = app.engine.control(&self.caller.limits);
        let guard = control.cancel_on_drop();
        let (engine, caller, inner) = (app.engine.clone(), self.caller.clone(), control.clone());
        let result = app.engine.enter(&self.caller.tenants[0], control, move || work(&engine, &caller, inner)).await;
        drop(guard);
        result
    }
}
