//! Finding the rows whose lines pass a query's line filters, without looking at most of the bytes.

use std::sync::Arc;

use super::dict::TemplateDict;

/// A predicate on lines, as the search uses it.
pub trait LineFilter: Send + Sync {
    /// True when the line passes.
    fn matches(&self, line: &[u8]) -> bool;
}

/// The line filters of a query, prepared once for all parts. A row is found when its line passes every filter.
#[derive(Clone)]
pub struct LineSearch {
    filters: Vec<Arc<dyn LineFilter>>,
}

impl LineSearch {
    /// Prepares `filters`.
    pub fn new(filters: Vec<Arc<dyn LineFilter>>) -> Self {
        Self { filters }
    }
}

/// The filters of a query, prepared for the templates of one part.
#[derive(Clone)]
pub struct PartSearch {
    filters: Vec<Arc<dyn LineFilter>>,
}

impl PartSearch {
    /// Prepares `search` for the part with the templates of `dict`.
    pub fn new(search: &LineSearch, dict: &TemplateDict) -> Self {
        let _ = dict;
        Self { filters: search.filters.clone() }
    }

    /// True when every line passes: there is no filter.
    pub fn matches_all(&self) -> bool {
        self.filters.is_empty()
    }

    pub(crate) fn matches(&self, line: &[u8]) -> bool {
        self.filters.iter().all(|filter| filter.matches(line))
    }
}
