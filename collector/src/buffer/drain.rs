//! The reading end of the disk buffer: a thread that gives every queue its turn and ships what it holds.
//!
//! A queue whose tenant has no room is passed over, so one slow tenant does not hold up the others. A record is a chunk
//! of receipts, as a read of a file is: the marker is the end of the last record before which everything is settled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Buffer;
use super::queue::Queue;
use super::record::{self, Found, Header};
use crate::pipeline::Outgoing;
use crate::receipt::Progress;
use crate::ship::{Entry, Shipper};

/// Longest pause: batches wait for their time on this thread.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause while there are entries and no room.
const BLOCKED_PAUSE: Duration = Duration::from_millis(20);
/// How often markers are written and old segments deleted.
const MARKER_PERIOD: Duration = Duration::from_secs(1);

/// A drain at work.
pub struct Drain {
    thread: JoinHandle<Reading>,
    commands: mpsc::Sender<Shipper>,
    stop: CancellationToken,
}

impl Drain {
    /// Ships what is in `buffer`, and what comes.
    pub fn start(buffer: Arc<Buffer>, shipper: Shipper) -> Self {
        let (commands, receiver) = mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let reading = Reading { buffer, sources: BTreeMap::new(), shipper: Some(shipper) };
        let thread = tokio::task::spawn_blocking(move || reading.run(&receiver, &stopped));
        Self { thread, commands, stop }
    }

    /// Goes on with other clients.
    pub fn follow(&self, shipper: Shipper) {
        // It has gone only when the collector stops.
        let _ = self.commands.send(shipper);
    }

    /// Reads no more, waits for what is on its way until the senders give up, and writes the markers.
    pub async fn finish(self) {
        self.stop.cancel();
        let mut reading = match self.thread.await {
            Ok(reading) => reading,
            Err(err) => return warn!(error = %err, "the disk buffer's reader ended early"),
        };
        for sender in reading.shipper.take().map(Shipper::finish).unwrap_or_default() {
            if let Err(err) = sender.await {
                warn!(error = %err, "a sender ended early");
            }
        }
        reading.save_markers();
    }
}

struct Reading {
    buffer: Arc<Buffer>,
    sources: BTreeMap<Option<Box<str>>, Source>,
    /// `None` at the end.
    shipper: Option<Shipper>,
}

/// A queue as it is read.
struct Source {
    queue: Arc<Queue>,
    /// Where reading goes on.
    place: u64,
    /// The segment that is read, by its base.
    file: Option<(u64, File)>,
    progress: Arc<Progress>,
    saved: u64,
}

impl Reading {
    fn run(mut self, commands: &mpsc::Receiver<Shipper>, stop: &CancellationToken) -> Self {
        let mut next_markers = Instant::now() + MARKER_PERIOD;
        while !stop.is_cancelled() {
            while let Ok(mut shipper) = commands.try_recv() {
                if let Some(old) = self.shipper.take() {
                    shipper.follow(old);
                }
                self.shipper = Some(shipper);
            }
            let (busy, blocked) = self.read_turns();
            if let Some(shipper) = &mut self.shipper {
                shipper.flush(false);
            }
            if Instant::now() >= next_markers {
                self.save_markers();
                self.buffer.expire(SystemTime::now());
                next_markers = Instant::now() + MARKER_PERIOD;
            }
            if blocked && !busy {
                std::thread::sleep(BLOCKED_PAUSE);
            } else if !busy {
                self.buffer.wait(PAUSE);
            }
        }
        self
    }

    /// Gives each queue a turn: whether something was read, and whether something could not be.
    fn read_turns(&mut self) -> (bool, bool) {
        let (mut busy, mut blocked) = (false, false);
        let Some(shipper) = &mut self.shipper else { return (false, false) };
        for queue in self.buffer.queues() {
            let source = self.sources.entry(queue.tenant.clone()).or_insert_with(|| {
                let place = self.buffer.opened_at(&queue.tenant);
                Source { progress: Progress::new(place), queue, place, file: None, saved: place }
            });
            if source.queue.locate(source.place).is_none() {
                continue;
            }
            if shipper.is_over_budget() || !shipper.has_room(source.queue.tenant.as_deref()) {
                blocked = true;
                continue;
            }
            busy |= source.turn(&self.buffer, shipper);
        }
        (busy, blocked)
    }

    fn save_markers(&mut self) {
        for source in self.sources.values_mut() {
            // What was dropped is not acknowledged and never will be.
            let first = source.queue.locate(0).map_or(source.place, |(segment, _)| segment.base.min(source.place));
            let marker = source.progress.acknowledged().max(first);
            if marker > source.saved {
                match source.queue.save_marker(marker) {
                    Ok(()) => source.saved = marker,
                    Err(err) => {
                        self.buffer.metrics.write_errors.fetch_add(1, Ordering::Relaxed);
                        warn!(error = %err, "a marker of the disk buffer cannot be written");
                        continue;
                    }
                }
            }
            self.buffer.acknowledge(&source.queue, marker);
        }
    }
}

impl Source {
    /// Ships one record, or steps over damage; false when there is nothing.
    fn turn(&mut self, buffer: &Buffer, shipper: &mut Shipper) -> bool {
        let Some((segment, path)) = self.queue.locate(self.place) else { return false };
        // What lies between was dropped.
        self.place = self.place.max(segment.base);
        let at = self.place - segment.base;
        let open = |known: &mut Option<(u64, File)>| -> io::Result<(Found, Option<Vec<u8>>)> {
            if known.as_ref().is_none_or(|(base, _)| *base != segment.base) {
                *known = Some((segment.base, File::open(&path)?));
            }
            let Some((_, file)) = known else { unreachable!("opened above") };
            let found = record::find(file, at, segment.len)?;
            let Found::Record(header) = found else { return Ok((found, None)) };
            match record::read_payload(file, at, &header)? {
                Some(payload) => Ok((found, Some(payload))),
                None => {
                    let to = record::behind_damage(file, at, segment.len)?;
                    Ok((Found::Damage { to, entries: header.entries }, None))
                }
            }
        };
        match open(&mut self.file) {
            Ok((Found::Record(header), Some(payload))) => self.ship(&header, &payload, buffer, shipper),
            Ok((Found::Damage { to, entries }, _)) => self.skip(segment.base + to, entries, buffer),
            Ok((Found::End | Found::Record(_), _)) => return false,
            // Dropped a moment ago.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return true,
            Err(err) => {
                warn!(error = %err, path = %path.display(), "a segment of the disk buffer cannot be read");
                self.skip(segment.end(), 0, buffer);
            }
        }
        true
    }

    fn skip(&mut self, to: u64, entries: u32, buffer: &Buffer) {
        let bytes = to - self.place;
        buffer.metrics.damaged_bytes.fetch_add(bytes, Ordering::Relaxed);
        buffer.metrics.dropped_for_damage.fetch_add(u64::from(entries), Ordering::Relaxed);
        warn!(bytes, entries, "a part of the disk buffer is damaged and left out");
        self.go_to(to);
        self.progress.chunk(to).settle();
    }

    fn go_to(&mut self, place: u64) {
        self.place = place;
        self.queue.read_to(place);
    }

    fn ship(&mut self, header: &Header, payload: &[u8], buffer: &Buffer, shipper: &mut Shipper) {
        self.go_to(self.place + header.record_len());
        let receipt = self.progress.chunk(self.place);
        let tenant = self.queue.tenant.as_deref();
        let mut shipped = 0;
        let outcome = record::decode_entries(payload, &mut |labels, timestamp_ns, line, metadata| {
            shipped += 1;
            let entry = Entry { tenant, labels, timestamp_ns, line, metadata };
            // A record is small: the rest of it is taken though there may be no more room.
            shipper.add(&mut Outgoing { entry, held: &mut Vec::new(), current: Some(&receipt) });
        });
        receipt.settle();
        buffer.metrics.read_entries.fetch_add(shipped, Ordering::Relaxed);
        if outcome.is_err() {
            let lost = u64::from(header.entries).saturating_sub(shipped);
            buffer.metrics.dropped_for_damage.fetch_add(lost, Ordering::Relaxed);
            warn!(entries = lost, "a record of the disk buffer makes no sense and is left out");
        }
    }
}
