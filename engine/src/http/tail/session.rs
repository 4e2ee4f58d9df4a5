//! One tail, from the upgrade to the end of the connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hashbrown::HashSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{Dropped, Form, frame};
use crate::http::app::{App, Read};
use crate::query::{Data, Direction, Error, LineLabels, RangeQuery};
use crate::tail::{Tail, TailEntry, TailQuery};

/// Entries of a frame.
const FRAME_ENTRIES_MAX: usize = 100;
/// Entries that are taken from the outbox at once, and put in order.
const TAKE_ENTRIES_MAX: usize = 2000;
/// How long entries gather before they are sent.
const GATHER: Duration = Duration::from_millis(100);
/// Clients count on hearing something this often.
const PING_PERIOD: Duration = Duration::from_secs(1);
/// A client that takes nothing for so long has gone.
const SEND_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the client's answer to a close frame is waited for.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an entry may come both from the history and live.
const OVERLAP: Duration = Duration::from_secs(30);
/// A control frame has 125 bytes, two of which are the code.
const REASON_BYTES_MAX: usize = 123;
/// "Internal error": what Loki closes with, whatever the reason.
const CLOSE_CODE: u16 = 1011;

/// A tail that is about to run.
pub struct Session {
    pub(super) app: Arc<App>,
    pub(super) read: Read,
    pub(super) text: String,
    /// `None`: not a log query.
    pub(super) query: Option<TailQuery>,
    pub(super) form: Form,
    pub(super) delay: Duration,
    /// Of the history.
    pub(super) limit: usize,
    pub(super) start_ns: i64,
}

/// Why a tail ends.
enum End {
    /// The connection is dropped without a close frame: clients reconnect after that, and only after that.
    Dropped,
    /// The client closes.
    ByClient,
    /// It is told why.
    Told(String),
}

type Sink = SplitSink<WebSocket, Message>;

impl Session {
    /// Runs until somebody ends it.
    pub async fn run(self, socket: WebSocket) {
        let (mut sink, mut stream) = socket.split();
        match self.watch(&mut sink, &mut stream).await {
            End::Dropped => {}
            // The library has queued the answer to the client's close frame.
            End::ByClient => drop(timeout(CLOSE_TIME_MAX, sink.close()).await),
            End::Told(reason) => {
                let close = CloseFrame { code: CLOSE_CODE, reason: short(&reason).into() };
                let farewell = async {
                    if sink.send(Message::Close(Some(close))).await.is_ok() {
                        while let Some(Ok(_)) = stream.next().await {}
                    }
                };
                drop(timeout(CLOSE_TIME_MAX, farewell).await);
            }
        }
    }

    async fn watch(&self, sink: &mut Sink, stream: &mut SplitStream<WebSocket>) -> End {
        match self.try_watch(sink, stream).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_watch(
        &self,
        sink: &mut Sink,
        stream: &mut SplitStream<WebSocket>,
    ) -> Result<std::convert::Infallible, End> {
        let Some(query) = &self.query else { return Err(End::Told("only log selector is supported".to_owned())) };
        let (tenant, limit) = (&self.read.caller.tenants[0], self.read.caller.limits.max_concurrent_tail_requests);
        let tail = self.app.tails.join(tenant, query, self.form.categorize, limit).await.map_err(|count| {
            End::Told(format!("max concurrent tail requests limit exceeded, count > limit ({count} > {limit})"))
        })?;
        let joined = Instant::now();
        let longest = self.app.config.querier.tail_max_duration.get();
        // Far enough for "no limit", near enough for the clock.
        let longest = if longest.is_zero() { Duration::from_secs(10 * 365 * 86_400) } else { longest };
        let deadline = sleep_until((joined + longest).into());
        tokio::pin!(deadline);
        let history = self.history().await.map_err(|error| End::Told(error.to_string()))?;
        for entries in history.chunks(FRAME_ENTRIES_MAX) {
            self.send(sink, entries, Dropped::default()).await?;
        }
        let mut seen: HashSet<u64> = history.iter().map(identity).collect();
        drop(history);

        let mut ping = interval(PING_PERIOD);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut take_at: Option<Instant> = None;
        loop {
            let due = take_at.unwrap_or_else(|| Instant::now() + OVERLAP);
            tokio::select! {
                () = self.app.lifecycle.stopping.cancelled() => return Err(End::Dropped),
                () = &mut deadline => return Err(End::Told("reached tail max duration limit".to_owned())),
                message = stream.next() => match message {
                    Some(Ok(Message::Close(_))) => return Err(End::ByClient),
                    // Pings are answered by the library; anything else means nothing.
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err(End::Dropped),
                },
                _ = ping.tick() => self.send_message(sink, Message::Ping(Default::default())).await?,
                () = tail.outbox.filled.notified() => {
                    let wait = if tail.outbox.is_half_full() { self.delay } else { GATHER.max(self.delay) };
                    let at = Instant::now() + wait;
                    take_at = Some(take_at.map_or(at, |known| known.min(at)));
                }
                () = sleep_until(due.into()), if take_at.is_some() => {
                    if joined.elapsed() > OVERLAP {
                        seen = HashSet::new();
                    }
                    take_at = self.forward(sink, &tail, &mut seen).await?;
                }
            }
        }
    }

    /// Sends what waits. Answers when there is more.
    async fn forward(&self, sink: &mut Sink, tail: &Tail, seen: &mut HashSet<u64>) -> Result<Option<Instant>, End> {
        let mut taken = tail.outbox.take(self.delay, TAKE_ENTRIES_MAX);
        if !seen.is_empty() {
            taken.entries.retain(|entry| !seen.remove(&identity(entry)));
        }
        let mut dropped = Dropped { named: &taken.dropped, count: taken.dropped_count };
        self.app.tails.dropped_lines.fetch_add(taken.dropped_count, Ordering::Relaxed);
        let mut frames = taken.entries.chunks(FRAME_ENTRIES_MAX);
        // What is missing is told even when nothing else is there.
        let first = frames.next().unwrap_or_default();
        if !first.is_empty() || dropped.count > 0 {
            self.send(sink, first, std::mem::take(&mut dropped)).await?;
        }
        for entries in frames {
            self.send(sink, entries, Dropped::default()).await?;
        }
        Ok(taken.next)
    }

    async fn send(&self, sink: &mut Sink, entries: &[TailEntry], dropped: Dropped<'_>) -> Result<(), End> {
        let bytes: usize = entries.iter().map(|entry| entry.line.len()).sum();
        self.send_message(sink, Message::Text(frame(&self.form, entries, dropped).into())).await?;
        self.app.tails.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn send_message(&self, sink: &mut Sink, message: Message) -> Result<(), End> {
        tokio::select! {
            () = self.app.lifecycle.stopping.cancelled() => Err(End::Dropped),
            sent = timeout(SEND_TIME_MAX, sink.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(End::Dropped),
            },
        }
    }

    /// The newest entries before the tail began, oldest first.
    async fn history(&self) -> Result<Vec<TailEntry>, Error> {
        let now_ns = crate::http::app::now_ns();
        if self.start_ns > now_ns {
            return Ok(Vec::new());
        }
        let query = RangeQuery {
            text: self.text.clone(),
            start_ns: self.start_ns,
            end_ns: now_ns.saturating_add(1),
            step_ns: 1,
            interval_ns: 0,
            limit: self.limit,
            direction: Direction::Backward,
            categorize_labels: self.form.categorize,
            partial_series: false,
            explain: false,
        };
        let (answer, _) = self
            .read
            .run(&self.app, move |engine, caller, control| engine.query_range(caller, &query, control))
            .await?;
        let Data::Streams(streams) = answer.data else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for stream in streams {
            let plain = Arc::new(LineLabels { shown: stream.labels.clone(), extra: Arc::default(), hash: 0 });
            // Streams come newest first; two entries of an instant keep the order of arrival.
            for entry in stream.entries.into_iter().rev() {
                let labels = match entry.extra {
                    Some(extra) => Arc::new(LineLabels { shown: stream.labels.clone(), extra, hash: 0 }),
                    None => plain.clone(),
                };
                entries.push(TailEntry { timestamp_ns: entry.timestamp_ns, line: entry.line, labels });
            }
        }
        entries.sort_by_key(|entry| entry.timestamp_ns);
        Ok(entries)
    }
}

/// Equal for entries that a reader could not tell apart.
fn identity(entry: &TailEntry) -> u64 {
    let mut key = entry.timestamp_ns.to_le_bytes().to_vec();
    key.extend_from_slice(entry.labels.shown.to_string().as_bytes());
    for (name, value) in entry.labels.extra.metadata.iter().chain(&entry.labels.extra.parsed) {
        key.extend_from_slice(name.as_bytes());
        key.push(0xff);
        key.extend_from_slice(value.as_bytes());
        key.push(0xff);
    }
    key.push(0xff);
    key.extend_from_slice(&entry.line);
    xxh3_64(&key)
}

/// As much of a reason as fits into a close frame.
fn short(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_into_a_control_frame() {
        assert_eq!(short("short"), "short");
        assert_eq!(short(&"é".repeat(100)).len(), 122);
    }
}
