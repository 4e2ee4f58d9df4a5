//! `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::metrics::Metrics;

/// Listens on `address`.
///
/// # Errors
/// The address is in use or not ours.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Serves `/metrics`.
pub async fn metrics(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) {
    let page = move || {
        let metrics = metrics.clone();
        async move { ([("content-type", "text/plain; version=0.0.4")], metrics.page()) }
    };
    run(listener, Router::new().route("/metrics", get(page)), stop).await;
}

/// Serves `/healthz`, always well, and `/readyz`, well once everything was seen; an outage of the API changes neither.
pub async fn health(listener: TcpListener, is_ready: Arc<AtomicBool>, stop: CancellationToken) {
    let ready = move || {
        let is_ready = is_ready.load(Ordering::Acquire);
        async move {
            match is_ready {
                true => (StatusCode::OK, "ok\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first answers of the API server\n"),
            }
        }
    };
    let router = Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready));
    run(listener, router, stop).await;
}

async fn run(listener: TcpListener, router: Router, stop: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::warn!(%error, "server ended");
    }
}
