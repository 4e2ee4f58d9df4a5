//! From memtables to parts: one part for each day that a memtable has rows of.
//!
//! The writer of the log cuts a memtable together with the log: later rows are in a later memtable and in a later
//! segment. So when the parts of a memtable and of all earlier ones are in the manifest, the log before the cut is not
//! needed any more, and both are said in one record.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

use super::codec::Level;
use super::error::{Error, Result};
use super::manifest::Edit;
use super::memtable::{MemStream, Memtable};
use super::part::{Day, NewPart, PartWriter, Written};
use super::scan::{Direction, Piece, ScanUnit};
use super::shared::Shared;
use super::snapshot::ScanRequest;
use super::wal::SegmentNo;
use crate::model::Rows;

/// Waits between attempts when parts cannot be written.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A memtable that takes no more rows.
#[derive(Clone)]
pub struct Sealed {
    /// The rows.
    pub memtable: Arc<Memtable>,
    /// Its number.
    pub generation: u64,
    /// The first segment that holds none of its rows.
    pub wal_first: SegmentNo,
    /// How to encode it.
    pub level: Level,
}

/// Memtables that wait for the flush thread, and who waits for them.
#[derive(Default)]
pub struct Flushes {
    state: Mutex<FlushState>,
    changed: Condvar,
}

#[derive(Default)]
struct FlushState {
    waiting: VecDeque<Sealed>,
    /// Attempts that failed, and why the last one did.
    failures: u64,
    last_error: Option<Error>,
    /// Somebody waits: the next attempt is made at once.
    is_wanted: bool,
    is_closed: bool,
}

impl Flushes {
    /// Queues a memtable.
    pub fn push(&self, sealed: Sealed) {
        self.state.lock().waiting.push_back(sealed);
        self.changed.notify_all();
    }

    /// Ends the flush thread, once nothing waits or the next attempt fails.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Memtables that wait.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Waits until memtable `generation` is in parts, or an attempt to write one fails.
    pub fn wait_for(&self, generation: u64) -> Result<()> {
        let mut state = self.state.lock();
        let failures = state.failures;
        state.is_wanted = true;
        self.changed.notify_all();
        // The flush thread takes them in order, and takes them off when they are done.
        while state.waiting.front().is_some_and(|sealed| sealed.generation <= generation) {
            if state.failures > failures {
                return Err(state.last_error.clone().unwrap_or(Error::Closed));
            }
            self.changed.wait(&mut state);
        }
        Ok(())
    }

    /// Waits until a memtable was written, at most until `deadline`. False if the time is over.
    pub fn wait_for_progress(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        let waiting = state.waiting.len();
        while state.waiting.len() >= waiting && !state.is_closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }
}

/// The flush thread.
pub fn run(shared: &Shared) {
    let mut retry = RETRY_MIN;
    // Parts of a memtable that could not be named in the manifest. They are kept: a record that failed to sync may be
    // durable all the same.
    let mut written = None;
    loop {
        let sealed = {
            let mut state = shared.flushes.state.lock();
            loop {
                if let Some(sealed) = state.waiting.front().cloned() {
                    state.is_wanted = false;
                    break sealed;
                }
                if state.is_closed {
                    return;
                }
                shared.flushes.changed.wait(&mut state);
            }
        };
        let result = flush(shared, &sealed, &mut written);
        let mut state = shared.flushes.state.lock();
        match result {
            Ok(()) => {
                retry = RETRY_MIN;
                state.waiting.pop_front();
                shared.flushes.changed.notify_all();
                drop(state);
                shared.want_merge();
            }
            Err(err) => {
                warn!(error = %err, "a memtable could not be written, it stays in memory and in the log");
                shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                state.failures += 1;
                state.last_error = Some(err);
                shared.flushes.changed.notify_all();
                if state.is_closed {
                    return;
                }
                // A full disk may be our own doing: retention by size runs on the merge thread.
                shared.want_merge();
                let deadline = Instant::now() + retry;
                while !state.is_closed && !state.is_wanted {
                    if shared.flushes.changed.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Writes one memtable to parts and makes them what readers see. Of an attempt that failed late, `done` keeps the parts
/// for the next one.
pub fn flush(shared: &Shared, sealed: &Sealed, done: &mut Option<Vec<Written>>) -> Result<()> {
    let started = Instant::now();
    let written = match done.take() {
        Some(written) => written,
        None => write_parts(shared, sealed)?,
    };
    let written = &*done.insert(written);
    let _pin = shared.registry.pin();
    let parts = shared.open_parts(written)?;
    let edit = Edit {
        added: written.iter().map(|part| (part.id, part.footer.day)).collect(),
        flushed_generation: Some(sealed.generation),
        wal_first: Some(sealed.wal_first),
        ..Edit::default()
    };
    shared.commit(&edit, |view| view.without_memtable(&sealed.memtable).with_parts(&[], parts))?;
    shared.remove_segments(sealed.wal_first);
    shared.counters.flushes.fetch_add(1, Ordering::Relaxed);
    info!(
        rows = sealed.memtable.rows(),
        parts = written.len(),
        level = ?sealed.level,
        bytes = written.iter().map(|part| part.file_bytes).sum::<u64>(),
        elapsed_ms = started.elapsed().as_millis() as u64,
        "memtable flushed"
    );
    *done = None;
    Ok(())
}

fn write_parts(shared: &Shared, sealed: &Sealed) -> Result<Vec<Written>> {
    let mut streams: Vec<Arc<MemStream>> =
        sealed.memtable.tenants().iter().flat_map(|tenant| tenant.streams()).collect();
    streams.sort_by(|a, b| (&a.stream.tenant, &a.stream.labels).cmp(&(&b.stream.tenant, &b.stream.labels)));
    let mut days = BTreeSet::new();
    for source in &streams {
        source.each_timestamp_run(|time| {
            days.extend((Day::of(time.first_ns).0..=Day::of(time.last_ns).0).map(Day));
        });
    }
    let mut written: Vec<Written> = Vec::new();
    for day in days {
        match write_day(shared, sealed, &streams, day) {
            Ok(part) => written.extend(part),
            Err(err) => {
                // Nothing names these yet. A full disk needs the room.
                written.iter().for_each(|part| drop(shared.disk.remove(&part.path)));
                return Err(err);
            }
        }
    }
    Ok(written)
}

fn write_day(shared: &Shared, sealed: &Sealed, streams: &[Arc<MemStream>], day: Day) -> Result<Option<Written>> {
    let new = NewPart {
        id: shared.take_part_id(),
        day,
        level: sealed.level,
        generations: (sealed.generation, sealed.generation),
        created_ns: shared.clock.now_ns(),
        blocks: shared.options.blocks,
    };
    let mut writer = PartWriter::create(&*shared.disk, &shared.layout.days, new)?;
    match write_streams(&mut writer, streams, day) {
        Ok(()) => writer.finish(),
        Err(err) => {
            writer.abandon();
            Err(err)
        }
    }
}

fn write_streams(writer: &mut PartWriter<'_>, streams: &[Arc<MemStream>], day: Day) -> Result<()> {
    let request = ScanRequest { range: day.range(), ..ScanRequest::default() };
    let mut rows = Rows::default();
    let mut pieces = Vec::new();
    for source in streams {
        source.pieces(request.range, &mut pieces);
        if pieces.is_empty() {
            continue;
        }
        writer.start_stream(&source.stream)?;
        let unit = ScanUnit::whole(&source.stream, pieces.drain(..).map(Piece::Mem).collect());
        let mut scan = unit.open(&request, Direction::Forward)?;
        while scan.next(&mut rows)? {
            writer.append(&rows)?;
        }
    }
    Ok(())
}
