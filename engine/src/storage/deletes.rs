//! Entries that somebody asked to be deleted: hidden from queries at once, removed from parts once the request can no
//! longer be taken back.
//!
//! ```text
//! deletes := hex(xxh3 of the rest) "\n" JSON array of requests          replaced as a whole
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use logstack_logql::ast::LogExpr;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::parse_log_selector;
use logstack_logql::pipeline::{Entry, Pipeline, Scratch, StreamContext, Wanted};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{error, info};
use xxhash_rust::xxh3::xxh3_64;

use super::disk::Disk;
use super::error::{Error, Result};
use super::merge::replace_parts;
use super::quarantine::Quarantine;
use super::retention::Retention;
use super::shared::Shared;
use crate::model::{Rows, Stream, TenantId, TimeRange};

/// What somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// Eight hex digits.
    pub id: String,
    /// Whose entries.
    pub tenant: String,
    /// A selector, with or without a pipeline: what it returns is deleted.
    pub query: String,
    /// First instant, ns since the epoch.
    pub first_ns: i64,
    /// Last instant.
    pub last_ns: i64,
    /// When it was asked for.
    pub created_ns: i64,
    /// No part holds such entries any more.
    pub is_processed: bool,
}

/// A request, ready to run.
pub struct Deletion {
    /// As asked for.
    pub request: DeleteRequest,
    tenant: TenantId,
    range: TimeRange,
    matchers: Vec<CompiledMatcher>,
    /// `None`: all entries of the streams.
    pipeline: Option<Pipeline>,
}

impl Deletion {
    /// Compiles a request.
    ///
    /// # Errors
    /// What is wrong with its query.
    pub fn compile(request: DeleteRequest) -> Result<Self, String> {
        let LogExpr { selector, stages } = parse_log_selector(&request.query).map_err(|err| err.to_string())?;
        let matchers: Result<Vec<_>, _> = selector.iter().map(CompiledMatcher::new).collect();
        let pipeline = match &stages[..] {
            [] => None,
            stages => Some(Pipeline::compile(stages, None, &Wanted::None).map_err(|err| err.to_string())?),
        };
        Ok(Self {
            tenant: TenantId::new(request.tenant.as_str()),
            range: TimeRange { first_ns: request.first_ns, last_ns: request.last_ns },
            matchers: matchers.map_err(|err| err.to_string())?,
            pipeline,
            request,
        })
    }

    /// True when entries of `stream` in `range` may be among what is deleted.
    pub fn touches(&self, stream: &Stream, range: TimeRange) -> bool {
        self.range.overlaps(&range)
            && self.tenant == stream.tenant
            && self.matchers.iter().all(|m| m.matches(stream.labels.get(m.name()).unwrap_or("")))
    }

    /// When it may be carried out; `None` if entries are only hidden.
    fn due_ns(&self, retention: &Retention) -> Option<i64> {
        let rules = retention.of(&self.tenant);
        let delay_ns = i64::try_from(retention.delete_after.as_nanos()).unwrap_or(i64::MAX);
        rules.removes_deleted.then(|| self.request.created_ns.saturating_add(delay_ns))
    }
}

/// The deletions that touch one stream, as a scan runs them.
pub struct StreamDeletions {
    deletions: Vec<Arc<Deletion>>,
    stream: StreamContext,
    scratch: Option<Scratch>,
}

impl StreamDeletions {
    /// `None` if there are no deletions.
    pub fn new(stream: &Stream, deletions: &[Arc<Deletion>]) -> Option<Self> {
        let stream = (!deletions.is_empty()).then(|| StreamContext::new(stream.labels.clone()))?;
        Some(Self { deletions: deletions.to_vec(), stream, scratch: None })
    }

    /// Copies to `out` the rows that stay, of rows with lines and metadata; `keep_lines`, `keep_metadata`: these too.
    pub fn copy_rest(&mut self, rows: &Rows, keep_lines: bool, keep_metadata: bool, out: &mut Rows) {
        for row in 0..rows.len() {
            if self.is_deleted(rows, row) {
                continue;
            }
            let id = match keep_metadata {
                true => out.metadata.intern(rows.metadata.get(rows.metadata_ids[row]).clone()),
                false => 0,
            };
            out.push(rows.timestamps[row], if keep_lines { rows.line(row) } else { b"" }, id);
        }
    }

    fn is_deleted(&mut self, rows: &Rows, row: usize) -> bool {
        let (timestamp_ns, line) = (rows.timestamps[row], rows.line(row));
        let entry = Entry { timestamp_ns, line, metadata: rows.metadata.get(rows.metadata_ids[row]) };
        let Self { deletions, stream, scratch } = self;
        deletions.iter().filter(|deletion| deletion.range.contains(timestamp_ns)).any(|deletion| {
            let Some(pipeline) = &deletion.pipeline else { return true };
            pipeline.pushed_down().iter().all(|filter| filter.matches(line)) && {
                let scratch = scratch.get_or_insert_with(|| pipeline.scratch());
                pipeline.run(stream, &entry, scratch).is_some()
            }
        })
    }
}

/// All requests of a store.
pub struct Deletes {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    all: ArcSwap<Vec<Arc<Deletion>>>,
    changes: Mutex<()>,
}

impl Deletes {
    /// Reads the requests. A damaged file is quarantined: what was hidden can be seen again.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, quarantine: &Quarantine) -> Result<Self> {
        let mut all = Vec::new();
        match read(&*disk, path) {
            Ok(requests) => {
                for request in requests {
                    let id = request.id.clone();
                    match Deletion::compile(request) {
                        Ok(deletion) => all.push(Arc::new(deletion)),
                        Err(err) => error!(id, error = err, "a delete request can no longer be read"),
                    }
                }
            }
            Err(err) if err.is_damage() => {
                error!(path = %path.display(), error = %err, "what was hidden on request can be seen again");
                quarantine.take(path);
            }
            Err(err) => return Err(err),
        }
        Ok(Self { disk, path: path.to_owned(), all: ArcSwap::from_pointee(all), changes: Mutex::default() })
    }

    /// Requests whose entries are to be hidden.
    pub fn pending(&self) -> Vec<Arc<Deletion>> {
        self.all.load().iter().filter(|deletion| !deletion.request.is_processed).cloned().collect()
    }

    /// Requests of `tenant`, oldest first.
    pub fn list(&self, tenant: &TenantId) -> Vec<DeleteRequest> {
        self.all.load().iter().filter(|d| d.tenant == *tenant).map(|d| d.request.clone()).collect()
    }

    /// Adds a request, durably.
    pub fn add(&self, deletion: Deletion) -> Result<()> {
        self.change(|all| all.push(Arc::new(deletion)))
    }

    /// Takes a request back. False if there is none.
    pub fn remove(&self, tenant: &TenantId, id: &str) -> Result<bool> {
        let is_it = |deletion: &Arc<Deletion>| deletion.tenant == *tenant && deletion.request.id == id;
        if !self.all.load().iter().any(is_it) {
            return Ok(false);
        }
        self.change(|all| all.retain(|deletion| !is_it(deletion)))?;
        Ok(true)
    }

    /// Notes that a request was carried out.
    fn finish(&self, id: &str) -> Result<()> {
        self.change(|all| {
            for deletion in all.iter_mut().filter(|deletion| deletion.request.id == id) {
                let request = DeleteRequest { is_processed: true, ..deletion.request.clone() };
                if let Ok(done) = Deletion::compile(request) {
                    *deletion = Arc::new(done);
                }
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Deletion>>)) -> Result<()> {
        let _guard = self.changes.lock();
        let mut all = Vec::clone(&self.all.load());
        change(&mut all);
        let requests: Vec<&DeleteRequest> = all.iter().map(|deletion| &deletion.request).collect();
        let json = serde_json::to_vec(&requests).expect("requests are plain data");
        let mut bytes = format!("{:016x}\n", xxh3_64(&json)).into_bytes();
        bytes.extend_from_slice(&json);
        self.disk.replace(&self.path, &bytes).map_err(Error::io("write", &self.path))?;
        self.all.store(Arc::new(all));
        Ok(())
    }
}

/// The requests in the file at `path`; none without a file.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<DeleteRequest>> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    if !entries.iter().any(|entry| path.file_name().is_some_and(|name| name == entry.name.as_str())) {
        return Ok(Vec::new());
    }
    let bytes = disk.read(path).map_err(Error::io("read", path))?;
    parse(&bytes).ok_or_else(|| Error::damaged(path, "the delete requests do not match their checksum"))
}

fn parse(bytes: &[u8]) -> Option<Vec<DeleteRequest>> {
    let (head, json) = bytes.split_at_checked(17)?;
    let want = u64::from_str_radix(std::str::from_utf8(head).ok()?.strip_suffix('\n')?, 16).ok()?;
    (xxh3_64(json) == want).then(|| serde_json::from_slice(json).ok()).flatten()
}

/// The deletions that merges carry out now.
pub fn due(shared: &Shared, retention: &Retention) -> Vec<Arc<Deletion>> {
    let now_ns = shared.clock.now_ns();
    let is_due = |deletion: &Arc<Deletion>| deletion.due_ns(retention).is_some_and(|due_ns| due_ns <= now_ns);
    shared.deletes.pending().into_iter().filter(is_due).collect()
}

/// Carries out the requests that are due: rewrites the parts with such entries, then marks them as processed.
///
/// # Errors
/// When a change cannot be made now.
pub fn apply_deletes(shared: &Shared) -> Result<()> {
    let retention = shared.retention.load_full();
    let due = due(shared, &retention);
    if due.is_empty() {
        return Ok(());
    }
    // What is in memory has to be in parts to be removed.
    let generation = shared.queue.cut()?.blocking_recv().unwrap_or(Err(Error::Closed))?;
    shared.flushes.wait_for(generation)?;
    let view = shared.view.load_full();
    for part in &view.parts {
        shared.check_open()?;
        let is_touched = part.streams().iter().any(|own| {
            let blocks = &part.blocks()[own.blocks.clone()];
            blocks.iter().any(|block| due.iter().any(|deletion| deletion.touches(&own.stream, block.time)))
        });
        if is_touched {
            replace_parts(shared, std::slice::from_ref(part), part.footer.level)?;
        }
    }
    for deletion in due {
        info!(id = deletion.request.id, query = deletion.request.query, "entries deleted");
        shared.deletes.finish(&deletion.request.id)?;
    }
    Ok(())
}

/// How long a request can be taken back, unless told otherwise.
pub const DELETE_AFTER: Duration = Duration::from_secs(24 * 3600);
