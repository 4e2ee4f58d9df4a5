//! Why a query was not answered, and whose fault that was.

use std::time::Duration;

/// A refused or failed query. The display text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The query or a parameter is wrong, or asks for more than a limit allows: the user can fix it.
    #[error("{0}")]
    Refused(String),
    /// Series of a binary operation do not pair up. Loki answers 500 (recorded), and clients see the text either way.
    #[error("{0}")]
    Matching(&'static str),
    /// The series limit of the tenant.
    #[error(
        "maximum number of series ({0}) reached for a single query; consider reducing query cardinality by adding \
         more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), \
         count() or topk()"
    )]
    TooManySeries(usize),
    /// The memory budget of one query, or of all of them.
    #[error(
        "the query needs more than {limit_bytes} bytes of memory (limit `logstack.query.{key}`): add a label matcher, \
         shorten the range, aggregate with sum by (…), or ask for fewer entries"
    )]
    TooMuchMemory {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        limit_bytes: u64,
    },
    /// The time limit of the tenant, `query_timeout`.
    #[error(
        "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over \
         regex match) to reduce the amount of data processed"
    )]
    TimedOut(Duration),
    /// The client has gone.
    #[error("the request was cancelled by the client")]
    Cancelled,
    /// More queries wait than may.
    #[error("too many outstanding requests")]
    TooManyRequests,
    /// Something found in our own house.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A refusal with `text`.
    pub fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }

    /// The HTTP status that says whose fault it is.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused(_) | Self::TooManySeries(_) | Self::TooMuchMemory { .. } => 400,
            Self::TooManyRequests => 429,
            Self::Cancelled => 499,
            Self::Matching(_) | Self::Internal(_) => 500,
            Self::TimedOut(_) => 504,
        }
    }
}

impl From<crate::storage::Error> for Error {
    fn from(error: crate::storage::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Self::Internal(text)
    }
}

/// A pipeline that parses and cannot be built.
impl From<logstack_logql::pipeline::Error> for Error {
    fn from(error: logstack_logql::pipeline::Error) -> Self {
        Self::Refused(format!("parse error : {error}"))
    }
}
