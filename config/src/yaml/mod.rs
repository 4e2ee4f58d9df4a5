//! YAML with positions: text -> [`Node`] tree -> typed values, every mistake located.
//!
//! serde alone stops at the first mistake and forgets where it was. So the text is composed into a tree of our own
//! ([`compose`]) whose nodes know their line, and the tree is decoded ([`decode`]) by a deserializer that knows its
//! path, notes unknown keys while it goes on, and is run again without the offending node after each type error.
//!
//! The dialect is what Go programs read: YAML 1.1 booleans, merge keys, a string field takes any scalar, null is the
//! zero value.

mod compose;
mod decode;
mod deserializer;
mod document;
mod node;
mod path;
mod report;
mod scalar;

pub use decode::{Ignored, Nulls, Rules};
pub use document::Document;
pub use node::{Key, Kind, Mark, Node, Scalar};
pub use report::Report;
