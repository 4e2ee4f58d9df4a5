//! Stands in for `logstack_logql::line_filter::CompiledLineFilter` until that lands.

/// A substring.
#[derive(Debug)]
pub struct CompiledLineFilter(pub Vec<u8>);

impl CompiledLineFilter {
    /// True when the line is kept.
    pub fn matches(&self, line: &[u8]) -> bool {
        memchr::memmem::find(line, &self.0).is_some()
    }
}
