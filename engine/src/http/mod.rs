//! The HTTP interface: Loki's routes, and nothing that is not HTTP. Only this folder imports axum.
//!
//! | file | what |
//! |---|---|
//! | [`auth`], [`tenancy`] | who may connect; `X-Scope-OrgID` to tenants |
//! | [`app`] | what routes share; what every read starts with |
//! | [`params`], [`json`], [`encode`], [`respond`] | parameters in, answers out |
//! | [`push`], [`otlp`], [`body`], [`deletes`] | what writes, and takes back |
//! | [`query`], [`labels`], [`index`], [`detected`], [`patterns`], [`legacy`], [`tail`] | reads |
//! | [`ops`], [`metrics`] | what people, kubelets and Prometheus ask |
//!
//! [`routes`] is the list of routes.

pub mod app;
pub mod auth;
pub mod body;
pub mod deletes;
pub mod detected;
pub mod encode;
pub mod index;
pub mod json;
pub mod labels;
pub mod legacy;
pub mod metrics;
pub mod ops;
pub mod otlp;
pub mod params;
pub mod patterns;
pub mod push;
pub mod query;
pub mod respond;
pub mod tail;
pub mod tenancy;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};

pub use app::App;

/// The paths of all routes, as they are registered.
pub fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).chain(push::PATHS).chain([METRICS]).collect()
}

/// Paths and what answers there, but for what [`push`] has.
fn table() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    let mut table = vec![
        ("/loki/api/v1/query", get(query::instant).post(query::instant)),
        ("/loki/api/v1/query_range", get(query::range).post(query::range)),
        ("/loki/api/v1/format_query", get(query::format).post(query::format)),
        ("/loki/api/v1/labels", get(labels::names).post(labels::names)),
        ("/loki/api/v1/label", get(labels::names).post(labels::names)),
        ("/loki/api/v1/label/{name}/values", get(labels::values).post(labels::values)),
        ("/loki/api/v1/series", get(labels::series).post(labels::series)),
        ("/loki/api/v1/index/stats", get(index::stats).post(index::stats)),
        ("/loki/api/v1/index/volume", get(index::volume).post(index::volume)),
        ("/loki/api/v1/index/volume_range", get(index::volume_range).post(index::volume_range)),
        ("/loki/api/v1/index/shards", get(index::shards).post(index::shards)),
        ("/loki/api/v1/detected_labels", get(detected::labels).post(detected::labels)),
        ("/loki/api/v1/detected_fields", get(detected::fields).post(detected::fields)),
        ("/loki/api/v1/detected_field/{name}/values", get(detected::values).post(detected::values)),
        ("/loki/api/v1/tail", get(tail::tail)),
        ("/api/prom/tail", get(tail::legacy)),
        ("/loki/api/v1/patterns", get(patterns::list).post(patterns::list)),
        ("/loki/api/v1/delete", post(deletes::create).put(deletes::create).get(deletes::list).delete(deletes::cancel)),
        ("/loki/api/v1/cache/generation_numbers", get(deletes::generation_numbers)),
        ("/loki/api/v1/drilldown-limits", get(ops::drilldown_limits)),
        ("/loki/api/v1/status/buildinfo", get(ops::buildinfo)),
        ("/api/prom/query", get(legacy::query).post(legacy::query)),
        ("/api/prom/label", get(legacy::label_names).post(legacy::label_names)),
        ("/api/prom/label/{name}/values", get(legacy::label_values).post(legacy::label_values)),
        ("/api/prom/series", get(labels::series).post(labels::series)),
        ("/prometheus/api/v1/rules", get(ops::rules)),
        ("/prometheus/api/v1/alerts", get(ops::alerts)),
        ("/config/tenant/v1/limits", get(ops::tenant_limits)),
        ("/ready", get(ops::ready)),
        ("/config", get(ops::config)),
        ("/services", get(ops::services)),
        ("/log_level", get(ops::log_level).post(ops::set_log_level)),
        ("/flush", get(ops::flush).post(ops::flush)),
        ("/ingester/shutdown", get(ops::shutdown).post(ops::shutdown)),
        (
            "/ingester/prepare_shutdown",
            post(ops::prepare_shutdown).delete(ops::unprepare_shutdown).get(ops::is_prepared),
        ),
    ];
    table.extend(RINGS.map(|path| (path, get(ops::ring))));
    table
}

/// All routes over `app`; `push` are those of ingest.
pub fn routes(app: Arc<App>, push: Router) -> Router {
    let router = table().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    let router = match app.config.server.register_instrumentation {
        true => router.route(METRICS, get(metrics::expose)),
        false => router,
    };
    let prefix = app.config.server.http_path_prefix.trim_end_matches('/').to_owned();
    let router = router
        .with_state(app.clone())
        .merge(push)
        .method_not_allowed_fallback(respond::method_not_allowed)
        .fallback(respond::not_found)
        .layer(from_fn_with_state(app.clone(), auth::check))
        .layer(from_fn(respond::compress))
        .layer(from_fn_with_state(app, metrics::measure));
    if prefix.is_empty() { router } else { Router::new().nest(&prefix, router).fallback(respond::not_found) }
}

const METRICS: &str = "/metrics";
const RINGS: [&str; 7] =
    ["/ring", "/distributor/ring", "/compactor/ring", "/ruler/ring", "/scheduler/ring", "/pattern/ring", "/memberlist"];

/// A route that answers another method with 404, as `push` does.
pub fn post_only<S: Clone + Send + Sync + 'static>(route: MethodRouter<S>) -> MethodRouter<S> {
    route.get(respond::not_found)
}
