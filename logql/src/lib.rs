//! LogQL: text -> [`ast::Expr`] -> pipeline over one line. No I/O, no storage, no wall clock, no tenants.

pub mod ast;
pub mod labels;
pub mod line_filter;
pub mod matcher;
pub mod parser;
pub mod pipeline;
pub mod print;
pub mod push_labels;
pub mod stage;

pub use labels::Labels;
pub use parser::{ParseError, parse, parse_log_selector, parse_selector};
