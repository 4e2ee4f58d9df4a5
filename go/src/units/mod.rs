//! Numbers, durations, sizes and timestamps as text, in the dialects that LogQL and its clients mix.
//!
//! | module | text | used by |
//! |---|---|---|
//! | [`go_duration`] | `1h30m`, `1.5s`, `-5us` | label filters, `unwrap duration()`, templates, configuration |
//! | [`prometheus_duration`] | `1d12h`, `5m` | `[5m]`, `offset`, `step`, limits |
//! | [`bytes`] | `5KiB`, `1.5 MB` | label filters, `unwrap bytes()`, templates |
//! | [`number`] | `5`, `0x1p4`, `inf` | label filters, `unwrap`, templates, HTTP parameters |
//! | [`sample`] | `0.25`, `+Inf` | values in answers |
//! | [`rfc3339`] | `2026-01-15T10:00:00.5Z` | HTTP parameters, container logs |
//!
//! The texts of errors are part of the answers (`__error_details__`), so each module has Go's wording.

mod bytes;
pub(crate) mod go_duration;
mod number;
mod prometheus_duration;
mod rfc3339;
mod sample;

pub use bytes::{format_bytes, format_ibytes, parse_bytes, parse_bytes_literal};
pub use go_duration::{GoDuration, parse_go_duration};
pub use number::{format_float, parse_atoi, parse_float, parse_int, parse_int_any_base, parse_uint};
pub use prometheus_duration::{PrometheusDuration, parse_prometheus_duration};
pub use rfc3339::{Rfc3339Nano, parse_rfc3339_nano};
pub use sample::{SampleValue, write_sample};

/// Why a text is not what it should be. Displays Go's message, without any prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A number that is none, or that does not fit: `strconv.ParseFloat: parsing "x": invalid syntax`.
    #[error("strconv.{function}: parsing {}: {reason}", crate::quote::Quoted(.text))]
    Number {
        /// Go's function: `ParseFloat`, `ParseInt`, `ParseUint`, `Atoi`.
        function: &'static str,
        text: String,
        /// What is wrong with it.
        reason: NumberFault,
    },
    /// Not a Go duration: `time: invalid duration "x"`.
    #[error("{}", .fault.in_go(.text))]
    GoDuration {
        text: String,
        /// What is wrong with it.
        fault: DurationFault,
    },
    /// Not a Prometheus duration: `not a valid duration string: "5"`.
    #[error("{0}")]
    PrometheusDuration(String),
    /// A unit that is no size: `unhandled size name: q`.
    #[error("unhandled size name: {0}")]
    SizeName(String),
    /// More than 2^64 bytes: `too large: 99EB`.
    #[error("too large: {0}")]
    SizeTooLarge(String),
    /// Not an RFC 3339 timestamp.
    #[error("parsing time {} as \"2006-01-02T15:04:05.999999999Z07:00\": {reason}", crate::quote::Quoted(.text))]
    Timestamp {
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What is wrong with the text of a Go duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DurationFault {
    /// Not numbers with units.
    Syntax,
    /// More than 292 years.
    Range,
    /// A number without a unit.
    MissingUnit,
    /// A unit of this name does not exist.
    UnknownUnit(String),
}

impl DurationFault {
    /// Package time's message about `text`; too long is "invalid", as in Go.
    fn in_go(&self, text: &str) -> String {
        let text = go_duration::HexQuoted(text);
        match self {
            Self::Syntax | Self::Range => format!("time: invalid duration {text}"),
            Self::MissingUnit => format!("time: missing unit in duration {text}"),
            Self::UnknownUnit(name) => {
                format!("time: unknown unit {} in duration {text}", go_duration::HexQuoted(name))
            }
        }
    }
}

/// What is wrong with the text of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberFault {
    /// It is none.
    #[error("invalid syntax")]
    Syntax,
    /// It does not fit the type.
    #[error("value out of range")]
    Range,
}
