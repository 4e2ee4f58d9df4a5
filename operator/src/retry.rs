//! A request that is refused because the API server has no time is made again, a few times.
//!
//! Only the answer 429: such a request was not begun, so that anything may be made again. After 503 or 504 a write may
//! have been done, and a Lease that is written twice looks like somebody else's. Whatever takes longer than this is for
//! the queue, which is seen in metrics and status.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use tower::BoxError;
use tower::retry::Policy;
use tracing::debug;

/// First wait; each is up to twice the one before, and a random part longer.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// A server that asks for a longer wait is answered by the queue. Longest wait without its random part.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// After so many the refusal counts. Of a server that refuses every third request one in 243 is left.
const RETRIES_MAX: u32 = 4;

type Request = http::Request<Body>;

/// Says which answers are asked for again, and when.
#[derive(Clone)]
pub struct RetryRefused {
    policy: RetryPolicy,
}

impl Default for RetryRefused {
    fn default() -> Self {
        let policy = RetryPolicy::new(WAIT_MIN, WAIT_MAX, RETRIES_MAX, true);
        Self { policy: policy.expect("the shortest wait is shorter than the longest") }
    }
}

impl<R> Policy<Request, http::Response<R>, BoxError> for RetryRefused {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request,
        result: &mut Result<http::Response<R>, BoxError>,
    ) -> Option<tokio::time::Sleep> {
        let answer = result.as_ref().ok()?;
        if answer.status() != StatusCode::TOO_MANY_REQUESTS || asks_for(answer) > WAIT_MAX {
            return None;
        }
        debug!(method = %request.method(), path = request.uri().path(), "refused, made again");
        self.policy.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        // Which answer the policy is for makes no difference here.
        Policy::<Request, http::Response<R>, BoxError>::clone_request(&mut self.policy, request)
    }
}

/// The wait that the server asks for.
fn asks_for<R>(answer: &http::Response<R>) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use tokio::time::Instant;

    use super::*;

    /// A request that is always answered so: how often it is made again, and after which waits in all.
    fn retries(status: u16, retry_after: &str) -> (u32, Duration) {
        let mut policy = RetryRefused::default();
        let mut request = http::Request::new(Body::empty());
        let (mut count, mut waits) = (0, Duration::ZERO);
        loop {
            let answer = http::Response::builder().status(status).header(RETRY_AFTER, retry_after).body(());
            let Some(wait) = policy.retry(&mut request, &mut Ok(answer.expect("an answer"))) else {
                return (count, waits);
            };
            count += 1;
            waits += wait.deadline().saturating_duration_since(Instant::now());
        }
    }

    #[tokio::test]
    async fn what_was_not_begun_is_made_again() {
        #[track_caller]
        fn check(status: u16, retry_after: &str, want: u32, seconds: RangeInclusive<f64>) {
            let (count, waits) = retries(status, retry_after);
            assert_eq!(count, want, "{status} {retry_after}");
            assert!(seconds.contains(&waits.as_secs_f64()), "{status} {retry_after}: {waits:?}");
        }
        check(429, "", RETRIES_MAX, 0.3..=5.0);
        check(429, "2", RETRIES_MAX, 7.9..=9.0);
        check(429, "30", 0, 0.0..=0.0); // the queue can wait so long
        check(503, "1", 0, 0.0..=0.0); // it may have been done
        check(504, "", 0, 0.0..=0.0);
        check(200, "", 0, 0.0..=0.0);
    }
}
