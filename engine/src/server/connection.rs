//! A connection as the server counts and times it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

/// Held as long as a connection lives, as a websocket, too.
pub struct Place {
    count: Arc<AtomicI64>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Counts one connection more until this is dropped.
    pub fn new(count: Arc<AtomicI64>, permit: Option<OwnedSemaphorePermit>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that fails when the other end takes nothing for too long.
pub struct Connection<S> {
    stream: S,
    /// Time that a write may wait; zero: for ever.
    stall_max: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl<S> Connection<S> {
    /// Wraps `stream`.
    pub fn new(stream: S, stall_max: Duration, place: Place) -> Self {
        Self { stream, stall_max, stalled: None, _place: place }
    }

    /// Passes on the outcome of a write; starts the clock when it has to wait, stops it when it does not.
    fn timed<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() || self.stall_max.is_zero() {
            self.stalled = None;
            return outcome;
        }
        let stall_max = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.timed(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.timed(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.timed(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let count = Arc::<AtomicI64>::default();
        let (own, mut other) = duplex(16);
        let mut connection = Connection::new(own, Duration::from_millis(400), Place::new(count.clone(), None));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        let reading = tokio::spawn(async move {
            let mut buf = [0; 64];
            sleep(Duration::from_millis(20)).await;
            other.read_exact(&mut buf).await.unwrap();
            other
        });
        connection.write_all(&[1; 64]).await.unwrap();
        let other = reading.await.unwrap();
        let failure = connection.write_all(&[1; 64]).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
        drop((connection, other));
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
