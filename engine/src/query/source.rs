//! Where a query reads: the snapshots of its tenants, and the scan units that a selector leaves.
//!
//! A read of several tenants (`X-Scope-OrgID: a|b`) sees them as one, with the tenant as label `__tenant_id__`; a real
//! label of that name becomes `original___tenant_id__` (contract http-api.md, 1.2).

use std::sync::Arc;

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::ast::Matcher;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::pipeline::{Pipeline, StreamContext};
use parking_lot::Mutex;

use super::Error;
use crate::model::{MetadataSet, Stream, StreamId, TenantId, TimeRange};
use crate::storage::{Direction, MetadataFilter, Scan, ScanRequest, ScanUnit, Snapshot, Store};

const TENANT_LABEL: &str = "__tenant_id__";
const ORIGINAL_TENANT_LABEL: &str = "original___tenant_id__";

/// What there is to read at one moment.
pub struct Sources {
    tenants: Vec<(TenantId, Snapshot)>,
}

/// A scan unit with the labels that the query sees on its stream.
pub struct PlannedUnit {
    /// What to open.
    pub unit: ScanUnit,
    /// One per stream, shared by its units.
    pub stream: Arc<StreamContext>,
}

impl PlannedUnit {
    /// Starts reading what `pipeline` may pass. Label filters that stand in front of it look at stream and metadata only
    /// (`| detected_level="error"`), so they are asked before a line is rebuilt; so is a test on one value in it.
    ///
    /// # Errors
    /// As [`ScanUnit::open`].
    pub fn open(&self, pipeline: &Arc<Pipeline>, request: &ScanRequest, direction: Direction) -> Result<Scan, Error> {
        let test = pipeline.field_test().filter(|test| self.stream.labels().get(test.label()).is_none());
        if !pipeline.has_prefix() && test.is_none() {
            return Ok(self.unit.open(request, direction)?);
        }
        let mut request = ScanRequest { field_test: test.cloned(), ..request.clone() };
        if pipeline.has_prefix() {
            let scratch = Mutex::new(pipeline.scratch());
            let (pipeline, stream) = (pipeline.clone(), self.stream.clone());
            let passes = move |set: &MetadataSet| pipeline.passes_prefix(&stream, set, &mut scratch.lock());
            request.metadata_filter = Some(MetadataFilter::new(passes));
        }
        Ok(self.unit.open(&request, direction)?)
    }
}

impl Sources {
    /// The present state of `tenants`, of which there is at least one.
    pub fn new(store: &Store, tenants: &[TenantId]) -> Self {
        Self { tenants: tenants.iter().map(|tenant| (tenant.clone(), store.snapshot(tenant))).collect() }
    }

    /// The units that hold rows for `request`, whose own matchers are ignored: `selector` takes their place.
    ///
    /// # Errors
    /// When a matcher has a bad regular expression, or storage cannot tell.
    pub fn plan(&self, selector: &[Matcher], request: &ScanRequest) -> Result<Vec<PlannedUnit>, Error> {
        let mut planned = Vec::new();
        for (tenant, snapshot) in &self.tenants {
            let Some(matchers) = self.matchers(tenant, selector)? else { continue };
            let units = snapshot.plan(&ScanRequest { matchers, ..request.clone() })?;
            let mut contexts: HashMap<StreamId, Arc<StreamContext>> = HashMap::new();
            planned.reserve(units.len());
            for unit in units {
                let stream = contexts
                    .entry(unit.stream.id)
                    .or_insert_with(|| Arc::new(StreamContext::new(self.labels(tenant, &unit.stream))))
                    .clone();
                planned.push(PlannedUnit { unit, stream });
            }
        }
        Ok(planned)
    }

    /// The label sets of the streams that have an entry in `range`; an empty selector chooses all.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn streams(&self, selector: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, Error> {
        let mut streams = Vec::new();
        for (tenant, snapshot) in &self.tenants {
            let Some(matchers) = self.matchers(tenant, selector)? else { continue };
            streams.extend(snapshot.streams(&matchers, range)?.iter().map(|stream| self.labels(tenant, stream)));
        }
        Ok(streams)
    }

    /// Names of the labels of [`Self::streams`], sorted.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn label_names(&self, selector: &[Matcher], range: TimeRange) -> Result<Vec<String>, Error> {
        let [(_, snapshot)] = &self.tenants[..] else {
            let streams = self.streams(selector, range)?;
            return Ok(sorted(streams.iter().flat_map(|labels| labels.iter().map(|(name, _)| name))));
        };
        Ok(snapshot.label_names(&compile(selector)?, range)?)
    }

    /// Values of the label `name` of [`Self::streams`], sorted.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn label_values(&self, name: &str, selector: &[Matcher], range: TimeRange) -> Result<Vec<String>, Error> {
        let [(_, snapshot)] = &self.tenants[..] else {
            let streams = self.streams(selector, range)?;
            return Ok(sorted(streams.iter().filter_map(|labels| labels.get(name))));
        };
        Ok(snapshot.label_values(name, &compile(selector)?, range)?)
    }

    fn is_multi_tenant(&self) -> bool {
        self.tenants.len() > 1
    }

    /// The matchers for the streams of `tenant`; `None` when they leave none of its streams.
    fn matchers(&self, tenant: &TenantId, selector: &[Matcher]) -> Result<Option<Vec<CompiledMatcher>>, Error> {
        if !self.is_multi_tenant() {
            return compile(selector).map(Some);
        }
        let (on_tenant, mut others): (Vec<Matcher>, Vec<Matcher>) =
            selector.iter().cloned().partition(|matcher| matcher.name == TENANT_LABEL);
        if !compile(&on_tenant)?.iter().all(|matcher| matcher.matches(tenant.as_str())) {
            return Ok(None);
        }
        for matcher in &mut others {
            if matcher.name == ORIGINAL_TENANT_LABEL {
                matcher.name = TENANT_LABEL.to_owned();
            }
        }
        compile(&others).map(Some)
    }

    fn labels(&self, tenant: &TenantId, stream: &Stream) -> Labels {
        if !self.is_multi_tenant() {
            return stream.labels.clone();
        }
        let own = stream.labels.iter().map(|(name, value)| match name {
            TENANT_LABEL => (ORIGINAL_TENANT_LABEL, value),
            _ => (name, value),
        });
        Labels::from_pairs(own.chain([(TENANT_LABEL, tenant.as_str())]))
    }
}

fn compile(selector: &[Matcher]) -> Result<Vec<CompiledMatcher>, Error> {
    selector
        .iter()
        .map(|matcher| CompiledMatcher::new(matcher).map_err(|error| Error::refused(format!("parse error : {error}"))))
        .collect()
}

fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into_iter().map(str::to_owned).collect()
}
