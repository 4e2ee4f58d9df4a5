//! The disk buffer: entries of sources that have no file behind them wait here while the server is away.
//!
//! ```text
//! pipeline -> Spool --- record, fsync ---> Queue of the tenant -> Drain -> Shipper -> server
//!               '-- settles receipts                ^                       |
//!                   (a sender gets its 2xx)         '---- marker, by ack ---'
//! ```
//!
//! Entries lie behind the pipeline: labels and time are those of when they came. What the server has acknowledged
//! moves the marker and deletes segments; nothing else moves it. The buffer is bounded in bytes and in age. When it is
//! full, senders that can wait are told so (the push API, syslog over TCP; a file or the journal is not read); for
//! datagrams, which cannot, the oldest segment is dropped and counted. Damage costs the record that it hits
//! ([`record`]).

pub mod drain;
pub mod queue;
pub mod record;
pub mod spool;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::warn;

use queue::{Queue, Roll};

/// Segments are a part of the whole, so that dropping one is not dropping all …
const SEGMENTS: u64 = 16;
/// … and not larger than this.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// How long a start waits for the process that holds the folder, as in a rolling update.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Name of the folder of entries without a tenant of their own.
const NO_TENANT: &str = "-";
/// Longest tenant; Loki's are shorter.
const TENANT_BYTES_MAX: usize = 80;

/// Where the buffer lies and how large it may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its folder.
    pub folder: PathBuf,
    /// Above this the oldest segments go, or senders wait.
    pub bytes_max: u64,
    /// Segments that were not written for so long go.
    pub age_max: Duration,
}

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub struct BufferMetrics {
    /// Entries written and synced.
    pub written_entries: AtomicU64,
    /// Entries handed on to the senders.
    pub read_entries: AtomicU64,
    /// Dropped because there were too many bytes.
    pub dropped_for_bytes: AtomicU64,
    /// Dropped because they were too old.
    pub dropped_for_age: AtomicU64,
    /// Lost with damaged records, as far as their number is known.
    pub dropped_for_damage: AtomicU64,
    /// Too large, or of a tenant that cannot be, or the disk failed at the end.
    pub dropped_unwritten: AtomicU64,
    /// Bytes that could not be read.
    pub damaged_bytes: AtomicU64,
    /// Records that could not be written.
    pub write_errors: AtomicU64,
}

/// The buffer of a process.
#[derive(Debug)]
pub struct Buffer {
    settings: Settings,
    queues: RwLock<BTreeMap<Option<Box<str>>, Arc<Queue>>>,
    /// On disk.
    bytes: AtomicU64,
    /// Counters.
    pub metrics: BufferMetrics,
    /// Something was written.
    written: (Mutex<bool>, Condvar),
    /// Where reading of each queue goes on; taken by the drain.
    opened_at: Mutex<BTreeMap<Option<Box<str>>, u64>>,
    _lock: File,
}

impl Buffer {
    /// Opens or creates the buffer and holds it until it is dropped.
    ///
    /// # Errors
    /// A folder that cannot be used, or that another process holds.
    pub fn open(settings: Settings) -> io::Result<Arc<Self>> {
        fs::create_dir_all(&settings.folder)?;
        let lock = lock(&settings.folder.join("lock"))?;
        let (mut queues, mut opened_at) = (BTreeMap::new(), BTreeMap::new());
        let mut bytes = 0;
        for entry in fs::read_dir(&settings.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(tenant) = name.to_str().and_then(tenant_of) else { continue };
            if !entry.metadata()?.is_dir() {
                continue;
            }
            let (queue, marker) = Queue::open(entry.path(), tenant.clone())?;
            bytes += queue.bytes();
            opened_at.insert(tenant.clone(), marker);
            queues.insert(tenant, Arc::new(queue));
        }
        Ok(Arc::new(Self {
            settings,
            queues: RwLock::new(queues),
            bytes: AtomicU64::new(bytes),
            metrics: BufferMetrics::default(),
            written: (Mutex::new(false), Condvar::new()),
            opened_at: Mutex::new(opened_at),
            _lock: lock,
        }))
    }

    /// As it was opened.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// True when senders that can wait need not.
    pub fn has_room(&self) -> bool {
        self.bytes() < self.settings.bytes_max
    }

    fn roll(&self) -> Roll {
        Roll {
            bytes: (self.settings.bytes_max / SEGMENTS).clamp(1, SEGMENT_BYTES_MAX),
            age: (self.settings.age_max / SEGMENTS as u32).max(Duration::from_secs(1)),
        }
    }

    /// Writes and syncs a record. `makes_room`: the oldest segments go when there is no room for it.
    ///
    /// # Errors
    /// A disk that is full or broken.
    pub fn append(&self, tenant: Option<&str>, record: &[u8], entries: u32, makes_room: bool) -> io::Result<()> {
        let queue = self.queue(tenant)?;
        while makes_room && self.bytes() + record.len() as u64 > self.settings.bytes_max {
            if !self.drop_oldest(&self.metrics.dropped_for_bytes, "the disk buffer is full") {
                break;
            }
        }
        let written = queue.append(record, self.roll(), SystemTime::now());
        if let Err(err) = written {
            self.metrics.write_errors.fetch_add(1, Ordering::Relaxed);
            return Err(err);
        }
        self.bytes.fetch_add(record.len() as u64, Ordering::Relaxed);
        self.metrics.written_entries.fetch_add(u64::from(entries), Ordering::Relaxed);
        *self.written.0.lock() = true;
        self.written.1.notify_all();
        Ok(())
    }

    fn queue(&self, tenant: Option<&str>) -> io::Result<Arc<Queue>> {
        let key = tenant.map(Box::from);
        if let Some(queue) = self.queues.read().get(&key) {
            return Ok(queue.clone());
        }
        let mut queues = self.queues.write();
        if let Some(queue) = queues.get(&key) {
            return Ok(queue.clone());
        }
        let (queue, marker) = Queue::open(self.settings.folder.join(folder_of(tenant)), key.clone())?;
        let queue = Arc::new(queue);
        self.opened_at.lock().insert(key.clone(), marker);
        queues.insert(key, queue.clone());
        Ok(queue)
    }

    /// All queues.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        self.queues.read().values().cloned().collect()
    }

    /// Where reading of a queue goes on that was opened a moment ago.
    fn opened_at(&self, tenant: &Option<Box<str>>) -> u64 {
        self.opened_at.lock().remove(tenant).unwrap_or_default()
    }

    /// Waits until something is written, at most so long.
    pub fn wait(&self, patience: Duration) {
        let mut written = self.written.0.lock();
        if !*written {
            self.written.1.wait_for(&mut written, patience);
        }
        *written = false;
    }

    /// Everything of `queue` before `place` is acknowledged.
    fn acknowledge(&self, queue: &Queue, place: u64) {
        self.bytes.fetch_sub(queue.acknowledge(place), Ordering::Relaxed);
    }

    /// Drops what is too old.
    pub fn expire(&self, now: SystemTime) {
        let is_expired = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > self.settings.age_max);
        while self.oldest().is_some_and(|(at, _)| is_expired(at)) {
            if !self.drop_oldest(&self.metrics.dropped_for_age, "entries waited too long in the disk buffer") {
                return;
            }
        }
    }

    fn oldest(&self) -> Option<(SystemTime, Arc<Queue>)> {
        let queues = self.queues.read();
        let with_time = queues.values().filter_map(|queue| Some((queue.oldest()?, queue)));
        with_time.min_by_key(|(at, _)| *at).map(|(at, queue)| (at, queue.clone()))
    }

    fn drop_oldest(&self, counter: &AtomicU64, why: &'static str) -> bool {
        let Some(dropped) = self.oldest().and_then(|(_, queue)| queue.drop_oldest()) else { return false };
        self.bytes.fetch_sub(dropped.bytes, Ordering::Relaxed);
        if dropped.entries > 0 {
            counter.fetch_add(dropped.entries, Ordering::Relaxed);
            warn!(entries = dropped.entries, bytes = dropped.bytes, why, "entries are dropped from the disk buffer");
        }
        true
    }

    /// Appends the text that Prometheus reads.
    pub fn write_metrics(&self, out: &mut String) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let metrics = &self.metrics;
        let age = self.oldest().and_then(|(at, _)| at.elapsed().ok()).unwrap_or_default();
        let segments: usize = self.queues().iter().map(|queue| queue.segment_count()).sum();
        // Writing to a String cannot fail.
        let mut metric = |name: &str, kind: &str, value: u64| {
            let name = format!("logstack_collector_disk_buffer_{name}");
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        };
        metric("bytes", "gauge", self.bytes());
        metric("bytes_max", "gauge", self.settings.bytes_max);
        metric("segments", "gauge", segments as u64);
        metric("oldest_seconds", "gauge", age.as_secs());
        metric("written_entries_total", "counter", load(&metrics.written_entries));
        metric("read_entries_total", "counter", load(&metrics.read_entries));
        metric("damaged_bytes_total", "counter", load(&metrics.damaged_bytes));
        metric("write_errors_total", "counter", load(&metrics.write_errors));
        let name = "logstack_collector_disk_buffer_dropped_entries_total";
        let _ = writeln!(out, "# TYPE {name} counter");
        let reasons = [
            ("age", &metrics.dropped_for_age),
            ("bytes", &metrics.dropped_for_bytes),
            ("damage", &metrics.dropped_for_damage),
            ("unwritten", &metrics.dropped_unwritten),
        ];
        for (reason, counter) in reasons {
            let _ = writeln!(out, "{name}{{reason={reason:?}}} {}", load(counter));
        }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process uses it (hint: one folder a collector)"));
            }
            Err(fs::TryLockError::Error(err)) => return Err(err),
        }
    }
}

/// True for a tenant that can have a folder.
fn is_storable(tenant: Option<&str>) -> bool {
    tenant.is_none_or(|tenant| tenant.len() <= TENANT_BYTES_MAX)
}

/// Letters, digits and `_` are kept, other bytes become `%XX`: no tenant gets a folder that is not below ours.
fn folder_of(tenant: Option<&str>) -> String {
    let Some(tenant) = tenant else { return NO_TENANT.to_owned() };
    let mut name = String::from("t");
    for byte in tenant.bytes() {
        match byte {
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => name.push(byte as char),
            // Writing to a String cannot fail.
            _ => drop(write!(name, "%{byte:02x}")),
        }
    }
    name
}

/// The opposite of [`folder_of`]; `None`: not one of our folders.
#[allow(clippy::option_option, reason = "a folder may belong to entries without a tenant")]
fn tenant_of(name: &str) -> Option<Option<Box<str>>> {
    if name == NO_TENANT {
        return Some(None);
    }
    let text = name.strip_prefix('t')?;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (hex, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    Some(Some(String::from_utf8(bytes).ok()?.into()))
}

#[cfg(test)]
mod tests {
    use logstack_logql::Labels;

    use super::*;

    fn settings(folder: &Path, bytes_max: u64) -> Settings {
        Settings { folder: folder.to_owned(), bytes_max, age_max: Duration::from_secs(3600) }
    }

    fn record(line: &str) -> Vec<u8> {
        let mut builder = record::Builder::default();
        builder.add(&Labels::from_pairs([("a", "b")]), 1, line.as_bytes(), &[]);
        builder.encode()
    }

    #[test]
    fn tenants_have_folders_of_their_own() {
        #[track_caller]
        fn check(tenant: Option<&str>, want: &str) {
            assert_eq!(folder_of(tenant), want);
            assert_eq!(tenant_of(want), Some(tenant.map(Box::from)));
        }
        check(None, "-");
        check(Some("team_a"), "tteam_a");
        check(Some("-"), "t%2d");
        check(Some("../x"), "t%2e%2e%2fx");
        check(Some("ä"), "t%c3%a4");
        assert_eq!(tenant_of("lock"), None);
        assert_eq!(tenant_of("t%zz"), None);
        assert!(!is_storable(Some(&"x".repeat(81))));
    }

    #[test]
    fn is_bounded_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let record = record("0123456789");
        let buffer = Buffer::open(settings(folder.path(), 10 * record.len() as u64)).unwrap();
        (0..10).for_each(|_| buffer.append(None, &record, 1, false).unwrap());
        assert!(!buffer.has_room(), "senders that can wait have to");
        buffer.append(Some("loud"), &record, 1, true).unwrap();
        assert!(buffer.bytes() <= buffer.settings().bytes_max);
        let dropped = buffer.metrics.dropped_for_bytes.load(Ordering::Relaxed);
        assert!((1..10).contains(&dropped), "{dropped}");
        buffer.expire(SystemTime::now());
        assert_eq!(buffer.metrics.dropped_for_age.load(Ordering::Relaxed), 0);
        buffer.expire(SystemTime::now() + Duration::from_secs(7200));
        assert_eq!(buffer.metrics.dropped_for_age.load(Ordering::Relaxed), 11 - dropped);
        assert_eq!(buffer.bytes(), 0);
        let mut text = String::new();
        buffer.write_metrics(&mut text);
        assert!(text.contains(&format!("dropped_entries_total{{reason=\"bytes\"}} {dropped}\n")), "{text}");
    }

    #[test]
    fn what_was_written_is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = Buffer::open(settings(folder.path(), 1 << 20)).unwrap();
        buffer.append(Some("a"), &record("x"), 1, false).unwrap();
        let bytes = buffer.bytes();
        drop(buffer);
        let buffer = Buffer::open(settings(folder.path(), 1 << 20)).unwrap();
        assert_eq!(buffer.bytes(), bytes);
        assert_eq!(buffer.queues()[0].tenant.as_deref(), Some("a"));
    }
}
