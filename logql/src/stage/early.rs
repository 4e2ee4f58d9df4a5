//! Label filters that parsers apply at once.
//!
//! A full parser (`json`, `logfmt`, `regexp`, `pattern`, `unpack`) that sets label L applies the first single
//! comparison on L found anywhere in the pipeline, and drops the line if it fails. Where nothing changes L between
//! the two places this only saves work. Elsewhere it is a quirk of the reference server (contract 4.4): the contract
//! would rather keep strict stage order, but recorded answers show the quirk (golden `drop_keep`:
//! `| logfmt | drop status="200" | status=""` is empty; `categorize`: `| json | label_format n="{{ add .n 1 }}" |
//! n=2` is empty), and they decide. Not in queries that group (`sum by (…)`): there only filters that may be applied
//! early without changing the answer are.

use super::label_filter::LabelFilter;
use crate::pipeline::names::NameId;
use crate::pipeline::state::{Env, LabelState};

/// See the module's head.
#[derive(Default)]
pub(crate) struct EarlyFilters {
    /// By name number: the index of its filter plus one; 0 for none.
    by_name: Vec<u32>,
    filters: Vec<LabelFilter>,
}

impl EarlyFilters {
    /// Adds a filter that is a single comparison; the first on a label counts.
    pub(crate) fn add(&mut self, filter: LabelFilter) {
        let Some(name) = filter.single_label() else { return };
        if self.by_name.len() <= name.idx() {
            self.by_name.resize(name.idx() + 1, 0);
        }
        if self.by_name[name.idx()] == 0 {
            self.filters.push(filter);
            self.by_name[name.idx()] = self.filters.len() as u32;
        }
    }

    /// Is there a filter on this label?
    pub(crate) fn has(&self, name: NameId) -> bool {
        self.by_name.get(name.idx()).is_some_and(|&filter| filter > 0)
    }

    /// False when the filter on `name` drops the line.
    pub(crate) fn keeps(&self, name: NameId, labels: &mut LabelState, env: &Env<'_>) -> bool {
        match self.by_name.get(name.idx()) {
            Some(&filter) if filter > 0 => self.filters[filter as usize - 1].run(labels, env),
            _ => true,
        }
    }
}
