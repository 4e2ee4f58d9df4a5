//! OTLP logs: resources hold scopes, scopes hold records; each level has attributes.
//!
//! [`proto`] and [`json`] read the two encodings into [`Record`]s one at a time, [`map`] turns them into streams and
//! entries: some attributes become index labels, the others structured metadata.
//!
//! Source: OTLP specification 1.x; opentelemetry-proto, `logs/v1/logs.proto`, `common/v1/common.proto`.

pub mod json;
mod map;
pub mod proto;
mod rules;
mod value;

pub use map::{Builder, attribute_name};
pub use rules::{Action, AttributeRules, OtlpRules};
pub use value::{KeyValue, Value};

use std::borrow::Cow;

/// Largest record. Its attributes become a tree before they become pairs, and that tree is not paid for by the byte.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// Arrays and maps within each other.
const VALUE_DEPTH_MAX: usize = 64;

/// Some bytes of the body, or made of them. Text by the specification, any bytes in practice.
pub type Text<'a> = Cow<'a, [u8]>;

/// Who logs, within a resource.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Scope<'a> {
    /// Name of the library.
    pub name: Text<'a>,
    /// Its version.
    pub version: Text<'a>,
    /// What else is said of it.
    pub attributes: Vec<KeyValue<'a>>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
}

/// A log record.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Record<'a> {
    /// When it happened, ns since the epoch; 0: unknown.
    pub time_ns: u64,
    /// When it was seen; 0: unknown.
    pub observed_time_ns: u64,
    /// 1 to 24; 0: unknown.
    pub severity_number: i32,
    /// As the source calls it.
    pub severity_text: Text<'a>,
    /// The line.
    pub body: Value<'a>,
    /// What else is said of it.
    pub attributes: Vec<KeyValue<'a>>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
    /// W3C trace flags.
    pub flags: u32,
    /// 16 bytes, or none.
    pub trace_id: Text<'a>,
    /// 8 bytes, or none.
    pub span_id: Text<'a>,
}
