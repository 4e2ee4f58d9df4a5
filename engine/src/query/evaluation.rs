//! What all parts of one query share while it runs.

use std::sync::Arc;

use logstack_config::Limits;
use logstack_go::units::format_bytes;
use logstack_logql::ast::Matcher;
use parking_lot::Mutex;

use super::request::Stats;
use super::source::{PlannedUnit, Sources};
use super::{Control, Error, Pool};
use crate::storage::ScanRequest;

/// One query at work.
pub struct Evaluation {
    /// Where it reads.
    pub sources: Sources,
    /// Who scans for it.
    pub pool: Arc<Pool>,
    /// Its leash.
    pub control: Arc<Control>,
    /// What its tenant may do.
    pub limits: Arc<Limits>,
    /// See [`super::RangeQuery::partial_series`].
    pub partial_series: bool,
    stats: Mutex<Stats>,
    warnings: Mutex<Vec<String>>,
}

impl Evaluation {
    /// Nothing has happened yet.
    pub fn new(sources: Sources, pool: Arc<Pool>, control: Arc<Control>, limits: Arc<Limits>) -> Self {
        Self {
            sources,
            pool,
            control,
            limits,
            partial_series: false,
            stats: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// The scan units for `selector`, within what the tenant may read.
    ///
    /// # Errors
    /// As [`Sources::plan`], and the limit on bytes.
    pub fn plan(&self, selector: &[Matcher], request: &ScanRequest) -> Result<Vec<PlannedUnit>, Error> {
        self.control.check()?;
        let units = self.sources.plan(selector, request)?;
        let bytes: u64 = units.iter().map(|planned| planned.unit.bytes).sum();
        let limit = self.limits.max_query_bytes_read.bytes();
        if limit > 0 && bytes > limit {
            return Err(Error::Refused(format!(
                "the query would read too many bytes (query: {}, limit: {}); consider adding more specific stream \
                 selectors or reduce the time range of the query",
                format_bytes(bytes),
                format_bytes(limit),
            )));
        }
        // Units of a stream are planned together.
        let streams = units.chunk_by(|a, b| Arc::ptr_eq(&a.stream, &b.stream)).count();
        let mut stats = self.stats.lock();
        stats.streams += streams as u64;
        stats.units += units.len() as u64;
        Ok(units)
    }

    /// Books what a thread did.
    pub fn add_stats(&self, stats: &Stats) {
        self.stats.lock().add(stats);
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        *self.stats.lock()
    }

    /// Tells the reader something about the answer, once.
    pub fn warn(&self, warning: String) {
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// What the reader is told.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner()
    }
}
