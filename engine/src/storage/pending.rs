//! The filter that a scan evaluates.

pub use logstack_logql::line_filter::CompiledLineFilter;
