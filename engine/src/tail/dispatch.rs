//! A batch to the outboxes of the tails that want its lines.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::pipeline::{Entry, Pipeline, Scratch, StreamContext};

use super::outbox::{Outbox, TailEntry};
use crate::model::{Batch, Rows, Stream, StreamId, TenantId};
use crate::query::LabelCache;

/// Streams whose tails are remembered, per tenant.
const ROUTES_MAX: usize = 50_000;
/// Label sets that are remembered for a tail.
const LABEL_BYTES_MAX: u64 = 1 << 20;

/// A tail as the dispatcher sees it.
pub struct Tailer {
    /// Unique in the process.
    pub id: u64,
    /// Which streams.
    pub matchers: Vec<CompiledMatcher>,
    /// Which lines, and how they look.
    pub pipeline: Arc<Pipeline>,
    /// Keep structured metadata and parsed labels apart.
    pub categorize: bool,
    /// Where lines go.
    pub outbox: Arc<Outbox>,
}

/// Lines of a stream that the dispatcher will never see.
#[derive(Debug)]
pub struct MissedStream {
    /// Whose.
    pub stream: Arc<Stream>,
    /// How many.
    pub lines: u64,
    /// Of the first.
    pub timestamp_ns: i64,
}

/// All tails, by tenant.
#[derive(Default)]
pub struct Dispatcher {
    tenants: HashMap<TenantId, TenantTails>,
}

#[derive(Default)]
struct TenantTails {
    tails: HashMap<u64, Running>,
    /// The tails that want a stream, found out when its first line comes.
    routes: HashMap<StreamId, Route>,
}

struct Route {
    stream: Arc<Stream>,
    context: Arc<StreamContext>,
    tails: Vec<u64>,
}

struct Running {
    tailer: Tailer,
    scratch: Scratch,
    labels: LabelCache,
}

impl Dispatcher {
    /// Adds a tail of `tenant`; from the next batch on it gets its lines.
    pub fn join(&mut self, tenant: &TenantId, tailer: Tailer) {
        let own = self.tenants.entry(tenant.clone()).or_default();
        for route in own.routes.values_mut() {
            if tailer.wants(&route.stream) {
                route.tails.push(tailer.id);
            }
        }
        let (scratch, labels) = (tailer.pipeline.scratch(), LabelCache::new(tailer.categorize));
        own.tails.insert(tailer.id, Running { tailer, scratch, labels });
    }

    /// Removes a tail.
    pub fn leave(&mut self, tenant: &TenantId, id: u64) {
        let Some(own) = self.tenants.get_mut(tenant) else { return };
        own.tails.remove(&id);
        if own.tails.is_empty() {
            self.tenants.remove(tenant);
            return;
        }
        own.routes.values_mut().for_each(|route| route.tails.retain(|tail| *tail != id));
    }

    /// Gives the rows of a batch to the tails that want them.
    pub fn batch(&mut self, batch: &Batch) {
        for own in &batch.streams {
            let Some(tenant) = self.tenants.get_mut(&own.stream.tenant) else { continue };
            tenant.rows(&own.stream, &batch.rows, own.rows.clone());
        }
    }

    /// Tells the tails that would have got something that they did not.
    pub fn missed(&mut self, missed: &[MissedStream]) {
        for own in missed {
            let Some(tenant) = self.tenants.get_mut(&own.stream.tenant) else { continue };
            let TenantTails { tails, routes } = tenant;
            let route = route(routes, tails, &own.stream);
            for tail in route.tails.iter().filter_map(|id| tails.get(id)) {
                // With a filter fewer lines may have been meant: nobody looked.
                tail.tailer.outbox.missed(own.timestamp_ns, &own.stream.labels, own.lines);
            }
        }
    }

    /// Streams that some tail watches.
    pub fn watched_streams(&self) -> usize {
        let routes = self.tenants.values().flat_map(|tenant| tenant.routes.values());
        routes.filter(|route| !route.tails.is_empty()).count()
    }
}

fn route<'a>(
    routes: &'a mut HashMap<StreamId, Route>,
    tails: &HashMap<u64, Running>,
    stream: &Arc<Stream>,
) -> &'a Route {
    if routes.len() >= ROUTES_MAX && !routes.contains_key(&stream.id) {
        routes.clear();
    }
    routes.entry(stream.id).or_insert_with(|| Route {
        stream: stream.clone(),
        context: Arc::new(StreamContext::new(stream.labels.clone())),
        tails: tails.values().filter(|tail| tail.tailer.wants(stream)).map(|tail| tail.tailer.id).collect(),
    })
}

impl TenantTails {
    fn rows(&mut self, stream: &Arc<Stream>, rows: &Rows, range: Range<usize>) {
        let Self { tails, routes } = self;
        let route = route(routes, tails, stream);
        for id in &route.tails {
            let Some(Running { tailer, scratch, labels }) = tails.get_mut(id) else { continue };
            if labels.bytes() > LABEL_BYTES_MAX {
                *labels = LabelCache::new(tailer.categorize);
            }
            labels.begin_chunk(rows.metadata.len());
            let pipeline = &*tailer.pipeline;
            let lines = range.clone().filter_map(|row| {
                let (line, metadata_id) = (rows.line(row), rows.metadata_ids[row]);
                if !pipeline.pushed_down().iter().all(|filter| filter.matches(line)) {
                    return None;
                }
                let timestamp_ns = rows.timestamps[row];
                let entry = Entry { timestamp_ns, line, metadata: rows.metadata.get(metadata_id) };
                let output = pipeline.run(&route.context, &entry, scratch)?;
                let labels = labels.of(&output, metadata_id);
                Some(TailEntry { timestamp_ns, line: output.line().into(), labels })
            });
            tailer.outbox.put(lines);
        }
    }
}

impl Tailer {
    fn wants(&self, stream: &Stream) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(stream.labels.get(matcher.name()).unwrap_or("")))
    }
}
