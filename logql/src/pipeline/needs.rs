//! Which labels anybody looks at: the consumer of the pipeline, its filters, formats and templates. Parsers extract
//! only those.

use super::names::{ERROR, NameId, Names};

/// See the module's head.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Everything is wanted (log queries, series that keep all labels, templates that walk the labels).
    pub all: bool,
    /// `__error__` is named by a filter or a grouping.
    pub error: bool,
    /// By name number; names beyond the end are not needed.
    wanted: Vec<bool>,
    count: u32,
}

impl Needs {
    pub(crate) fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    pub(crate) fn add(&mut self, name: NameId) {
        if self.wanted.len() <= name.idx() {
            self.wanted.resize(name.idx() + 1, false);
        }
        if !self.wanted[name.idx()] {
            self.wanted[name.idx()] = true;
            self.count += 1;
        }
        self.error |= name == ERROR;
    }

    /// True when nobody looks at any label.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.count == 0
    }

    /// Number of labels that are needed by name.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// True when somebody looks at `name`.
    pub(crate) fn contains(&self, name: NameId) -> bool {
        self.all || self.contains_named(name)
    }

    /// True when `name` was added.
    pub(crate) fn contains_named(&self, name: NameId) -> bool {
        self.wanted.get(name.idx()).copied().unwrap_or(false)
    }

    /// True when a needed label is `prefix` or lies below it (`prefix_…`); all lie below the empty one.
    pub(crate) fn contains_below(&self, prefix: &str, names: &Names) -> bool {
        self.all
            || self.wanted.iter().enumerate().any(|(idx, wanted)| {
                let name = names.text(NameId(idx as u32));
                let is_below = |rest: &str| prefix.is_empty() || rest.is_empty() || rest.starts_with('_');
                *wanted && name.strip_prefix(prefix).is_some_and(is_below)
            })
    }
}
