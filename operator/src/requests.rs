//! What every request to the API server passes through: it is counted, and what a watch shows is heard.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::metrics::Metrics;
use crate::watchdog::Watches;

/// Looks at every request of a client.
#[derive(Debug, Clone)]
pub struct LookAtRequests {
    /// Requests are counted here by verb and status.
    pub metrics: Arc<Metrics>,
    /// Events and bookmarks of watches are heard here.
    pub watches: Arc<Watches>,
}

impl<S> tower::Layer<S> for LookAtRequests {
    type Service = LookedAt<S>;

    fn layer(&self, inner: S) -> LookedAt<S> {
        LookedAt { inner, looks: self.clone() }
    }
}

/// See [`LookAtRequests`].
#[derive(Debug, Clone)]
pub struct LookedAt<S> {
    inner: S,
    looks: LookAtRequests,
}

impl<S, B, R> tower::Service<http::Request<B>> for LookedAt<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send,
    R: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = http::Response<UnsyncBoxBody<Bytes, R::Error>>;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let verb = if is_watch { "watch".to_owned() } else { request.method().as_str().to_lowercase() };
        let path = request.uri().path().to_owned();
        let LookAtRequests { metrics, watches } = self.looks.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or("error".to_owned(), |answer| answer.status().as_u16().to_string());
            let resource = if path.contains("/leases") { "leases" } else { "" };
            let labels = [("verb", verb.as_str()), ("code", code.as_str()), ("resource", resource)];
            metrics.count("logstack_operator_api_requests_total", &labels);
            let answer = answer?;
            if !is_watch {
                return Ok(answer.map(BodyExt::boxed_unsync));
            }
            watches.hear(&path);
            let hears = move |body: R| {
                let heard = body.map_frame(move |frame| {
                    watches.hear(&path);
                    frame
                });
                heard.boxed_unsync()
            };
            Ok(answer.map(hears))
        })
    }
}
