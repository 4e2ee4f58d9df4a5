//! LogQL: text -> [`ast::Expr`] -> pipeline over one line. No I/O, no storage, no wall clock, no tenants.
#![warn(unreachable_pub)]

pub mod ast;
mod labels;
pub mod line_filter;
pub mod matcher;
mod parser;
pub mod pipeline;
mod print;
pub mod push_labels;
mod stage;

pub use labels::Labels;
pub use parser::{ParseError, parse, parse_any_log_selector, parse_log_selector, parse_selector};
pub use stage::decolorize::decolorize;
