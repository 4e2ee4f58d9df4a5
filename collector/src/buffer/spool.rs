//! The writing end of the disk buffer, one a source: collects entries and writes them a record at a time.
//!
//! A receipt is settled when its entry is synced: then the entry is the buffer's to deliver.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use super::record::{Builder, RAW_BYTES_MAX};
use super::{Buffer, is_storable};
use crate::pipeline::Outgoing;
use crate::receipt::Receipt;
use crate::ship::batch::content_bytes;

/// A record is written when so many bytes are collected …
const RECORD_BYTES: usize = 256 << 10;
/// … or its first entry has waited so long: a sender waits for its answer meanwhile.
const RECORD_AGE: Duration = Duration::from_millis(50);
/// Bytes that may wait while the disk cannot be written.
const PENDING_BYTES_MAX: usize = 2 << 20;
/// Pause after a disk failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The way of one source into the buffer.
#[derive(Debug)]
pub struct Spool {
    buffer: Arc<Buffer>,
    /// Its sender cannot wait: the oldest entries make room.
    makes_room: bool,
    tenants: HashMap<Option<Box<str>>, Pending>,
    pending_bytes: usize,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Pending {
    builder: Builder,
    receipts: Vec<Receipt>,
    opened: Instant,
}

impl Default for Pending {
    fn default() -> Self {
        Self { builder: Builder::default(), receipts: Vec::new(), opened: Instant::now() }
    }
}

impl Spool {
    /// `makes_room`: when the buffer is full its oldest entries go, and the source does not wait.
    pub fn new(buffer: Arc<Buffer>, makes_room: bool) -> Self {
        Self { buffer, makes_room, tenants: HashMap::new(), pending_bytes: 0, retry_at: None }
    }

    /// Where it ends.
    pub fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    /// Takes an entry. Its receipts are settled when it is on disk, or cannot ever be.
    pub fn add(&mut self, outgoing: &mut Outgoing<'_>) {
        let entry = &outgoing.entry;
        // Labels are short; the sum leaves room for lengths.
        if content_bytes(entry.line, entry.metadata) > RAW_BYTES_MAX / 2 || !is_storable(entry.tenant) {
            self.buffer.metrics.dropped_unwritten.fetch_add(1, Ordering::Relaxed);
            warn!(bytes = entry.line.len(), "an entry that the disk buffer cannot hold is dropped");
            return outgoing.held.drain(..).for_each(Receipt::settle);
        }
        let key: Option<Box<str>> = entry.tenant.map(Box::from);
        let pending = self.tenants.entry(key).or_default();
        if pending.builder.entries() == 0 {
            pending.opened = Instant::now();
        }
        let before = pending.builder.raw_bytes();
        pending.builder.add(entry.labels, entry.timestamp_ns, entry.line, entry.metadata);
        self.pending_bytes += pending.builder.raw_bytes() - before;
        if let Some(current) = outgoing.current
            && !pending.receipts.last_mut().is_some_and(|last| last.extend(current))
        {
            pending.receipts.push(current.share());
        }
        pending.receipts.append(outgoing.held);
        if pending.builder.raw_bytes() >= RECORD_BYTES {
            self.write(false);
        }
    }

    /// True when the source may go on.
    pub fn has_room(&self) -> bool {
        self.pending_bytes < PENDING_BYTES_MAX && (self.makes_room || self.buffer.has_room())
    }

    /// Writes what has waited long enough, or everything.
    pub fn write(&mut self, all: bool) {
        if self.pending_bytes == 0 || !all && self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let outcome = self.write_due(all);
        self.pending_bytes = self.tenants.values().map(|pending| pending.builder.raw_bytes()).sum();
        match outcome {
            Ok(()) => self.retry_at = None,
            Err(err) => {
                if self.retry_at.replace(Instant::now() + RETRY_PAUSE).is_none() {
                    let folder = self.buffer.settings().folder.display().to_string();
                    warn!(error = %err, folder, "the disk buffer cannot be written, its sources wait");
                }
            }
        }
    }

    fn write_due(&mut self, all: bool) -> io::Result<()> {
        for (tenant, pending) in &mut self.tenants {
            let (entries, bytes) = (pending.builder.entries(), pending.builder.raw_bytes());
            let is_due = all || bytes >= RECORD_BYTES || pending.opened.elapsed() >= RECORD_AGE;
            if entries == 0 || !is_due {
                continue;
            }
            self.buffer.append(tenant.as_deref(), &pending.builder.encode(), entries, self.makes_room)?;
            pending.builder.clear();
            pending.receipts.drain(..).for_each(Receipt::settle);
        }
        Ok(())
    }

    /// Writes the rest. What cannot be written now is counted as lost, if it cannot be read again.
    pub fn finish(mut self) {
        self.write(true);
        let left = self.tenants.values().filter(|pending| pending.builder.entries() > 0);
        let lost: u64 = left.map(|pending| u64::from(pending.builder.entries())).sum();
        if lost > 0 {
            self.buffer.metrics.dropped_unwritten.fetch_add(lost, Ordering::Relaxed);
            warn!(entries = lost, "entries could not be written to the disk buffer");
        }
    }
}
