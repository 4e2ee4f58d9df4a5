//! Connections: accepted within a limit, secured, served, and ended in good order.
//!
//! A client that sends nothing, or bytes one by one, costs a connection for a bounded time: the first request has to
//! arrive within `http_server_read_header_timeout`, the next within `http_server_idle_timeout`. One that takes no answer
//! is given up after `http_server_write_timeout`, or a minute if that is longer: tails are to outlive a short pause.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use logstack_config::engine::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;
use tracing::{debug, warn};

use super::connection::{Connection, Place};
use super::fold_slashes;
use super::tls::Tls;

/// Bytes of a request's head. Go takes a megabyte; nobody sends a tenth of this.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 200;
/// Streams of an HTTP/2 connection.
const STREAMS_MAX: u32 = 250;
/// How long accepting rests when the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Least time that a client may take nothing.
const STALL_MIN: Duration = Duration::from_secs(60);

/// How connections are treated.
#[derive(Clone)]
pub struct Listening {
    /// Most of them; `None`: as many as come.
    places: Option<Arc<Semaphore>>,
    head_timeout: Duration,
    idle_timeout: Duration,
    stall_max: Duration,
    tls: Option<Arc<Tls>>,
    /// Open connections.
    count: Arc<AtomicI64>,
}

impl Listening {
    /// What the configuration says. `count` counts open connections.
    pub fn new(config: &ServerConfig, tls: Option<Arc<Tls>>, count: Arc<AtomicI64>) -> Self {
        let limit = config.http_listen_conn_limit as usize;
        let [read, head, write, idle] = [
            config.http_server_read_timeout,
            config.http_server_read_header_timeout,
            config.http_server_write_timeout,
            config.http_server_idle_timeout,
        ]
        .map(|timeout| timeout.get());
        // Zero is "no limit" everywhere; a day is as good and needs no second path.
        let or_a_day = |timeout: Duration| if timeout.is_zero() { Duration::from_secs(86_400) } else { timeout };
        let head_timeout = or_a_day(if head.is_zero() { read } else { head });
        Self {
            places: (limit > 0).then(|| Arc::new(Semaphore::new(limit))),
            head_timeout,
            idle_timeout: or_a_day(idle).max(head_timeout),
            stall_max: if write.is_zero() { Duration::ZERO } else { write.max(STALL_MIN) },
            tls,
            count,
        }
    }

    /// Serves `router` until `stopped`; returns when the last request is answered.
    pub async fn serve(self, listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                // The sender lives as long as the server.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (listening, router, stopped) = (self.clone(), router.clone(), stopped.clone());
                    tasks.spawn(async move { listening.secure(stream, place, router, stopped).await });
                }
                Err(failure) => {
                    warn!(error = %failure, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    /// The next connection, when there is a place for it.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, Place)> {
        let permit = match &self.places {
            Some(places) => Some(places.clone().acquire_owned().await.map_err(io::Error::other)?),
            None => None,
        };
        let (stream, _) = listener.accept().await?;
        Ok((stream, Place::new(self.count.clone(), permit)))
    }

    async fn secure(self, stream: TcpStream, place: Place, router: Router, stopped: watch::Receiver<bool>) {
        // Answers are written in one piece: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            let connection = Connection::new(stream, self.stall_max, place);
            return self.talk(connection, router, stopped).await;
        };
        match timeout(self.head_timeout, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let connection = Connection::new(stream, self.stall_max, place);
                self.talk(connection, router, stopped).await;
            }
            Ok(Err(failure)) => debug!(error = %failure, "no TLS with a client"),
            Err(_) => debug!("no TLS with a client in time"),
        }
    }

    /// Answers requests until either side has enough.
    async fn talk<S>(self, connection: Connection<S>, router: Router, mut stopped: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let began = CancellationToken::new();
        let service = tower::service_fn({
            let began = began.clone();
            move |request: http::Request<Incoming>| {
                began.cancel();
                router.clone().call(fold_slashes(request.map(Body::new)))
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.idle_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(self.idle_timeout)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .max_concurrent_streams(STREAMS_MAX);
        let served =
            builder.serve_connection_with_upgrades(TokioIo::new(connection), TowerToHyperService::new(service));
        tokio::pin!(served);
        let mut is_ending = false;
        let in_time = timeout(self.head_timeout, began.cancelled());
        tokio::pin!(in_time);
        let mut has_begun = false;
        loop {
            tokio::select! {
                outcome = served.as_mut() => {
                    if let Err(failure) = outcome {
                        debug!(error = %failure, "a connection ended early");
                    }
                    return;
                }
                in_time = in_time.as_mut(), if !has_begun => match in_time {
                    Ok(()) => has_begun = true,
                    Err(_) => return debug!("a connection without a request is closed"),
                },
                _ = stopped.wait_for(|stopped| *stopped), if !is_ending => {
                    is_ending = true;
                    served.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
