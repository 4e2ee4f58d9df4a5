//! `POST /loki/api/v1/push` and its predecessor `/api/prom/push`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::tenancy::Tenancy;
use super::{body, otlp, post_only, respond};
use crate::ingest::{Ingester, Push, PushError, Route};

/// Seconds after which a refused client may come back; rates refill within it.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// What the routes that write share.
pub struct PushApp {
    /// Takes the pushes.
    pub ingester: Arc<Ingester>,
    /// Whose they are.
    pub tenancy: Tenancy,
}

/// What [`routes`] has.
pub const PATHS: [&str; 3] = ["/loki/api/v1/push", "/api/prom/push", "/otlp/v1/logs"];

/// All routes that write: push, its predecessor, OTLP.
pub fn routes(ingester: Arc<Ingester>, tenancy: Tenancy) -> Router {
    let [push_path, legacy_path, otlp_path] = PATHS;
    Router::new()
        .route(push_path, post_only(post(push)))
        .route(legacy_path, post(legacy_push))
        .route(otlp_path, post(otlp::logs))
        .with_state(Arc::new(PushApp { ingester, tenancy }))
}

async fn push(State(app): State<Arc<PushApp>>, request: Request) -> Response {
    answer(receive(&app, Route::Push, request).await)
}

async fn legacy_push(State(app): State<Arc<PushApp>>, request: Request) -> Response {
    answer(receive(&app, Route::LegacyPush, request).await)
}

/// Why nothing was stored.
pub(super) enum Refusal {
    /// The tenant; answered alike everywhere.
    Tenancy(super::tenancy::Error),
    /// The push; each protocol has its own form.
    Push(PushError),
}

/// Reads and stores a push.
pub(super) async fn receive(app: &PushApp, route: Route, request: Request) -> Result<(), Refusal> {
    let (parts, mut body) = request.into_parts();
    let arrival = async {
        let tenant = app.tenancy.tenant(&parts.headers).map_err(Refusal::Tenancy)?;
        let body = body::read(&app.ingester, &parts.headers, &mut body).await.map_err(Refusal::Push)?;
        Ok((tenant, body))
    };
    let (tenant, body) = match arrival.await {
        Ok(arrived) => arrived,
        Err(refusal) => {
            body::drain(&mut body).await;
            return Err(refusal);
        }
    };
    let push = Push {
        route,
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        content_encoding: text(&parts.headers, header::CONTENT_ENCODING).unwrap_or_default(),
        body: body.bytes,
        share: body.share,
    };
    app.ingester.push(&tenant, push).await.map_err(Refusal::Push)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// 204, or the text with a newline behind it.
fn answer(outcome: Result<(), Refusal>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Refusal::Tenancy(error)) => error.into_response(),
        Err(Refusal::Push(error)) => with_retry(respond::error(status(error.status), format!("{}\n", error.text))),
    }
}

/// 260 and its like have no name, but are statuses.
pub(super) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Tells clients that honour it when to come back.
pub(super) fn with_retry(mut response: Response) -> Response {
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
    }
    response
}
