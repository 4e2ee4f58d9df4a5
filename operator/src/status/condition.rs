//! One condition.
//!
//! Source: Kubernetes API conventions, "Typical status properties".

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// True, False, Unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

impl Truth {
    /// `True`, `False`, `Unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What is said: a condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its type.
    pub kind: &'static str,
    /// Its status.
    pub truth: Truth,
    /// One cause, in CamelCase.
    pub reason: String,
    /// Object, value and remedy in one sentence.
    pub message: String,
}

impl Said {
    /// A condition.
    pub fn new(kind: &'static str, truth: impl Into<Truth>, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, truth: truth.into(), reason: reason.to_owned(), message: message.into() }
    }

    /// True when it holds.
    pub fn holds(&self) -> bool {
        self.truth == Truth::True
    }
}

/// The schema's longest message.
const MESSAGE_CHARS_MAX: usize = 1024;

/// Makes conditions of what is said. The time of a condition changes only with its status.
pub fn set_conditions(old: &[Condition], said: &[Said], generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let condition = |said: &Said| {
        let status = said.truth.as_str();
        let since = old.iter().find(|known| known.type_ == said.kind && known.status == status);
        Condition {
            type_: said.kind.to_owned(),
            status: status.to_owned(),
            reason: said.reason.clone(),
            message: said.message.chars().take(MESSAGE_CHARS_MAX).collect(),
            observed_generation: generation,
            last_transition_time: since.map_or_else(|| now.clone(), |known| known.last_transition_time.clone()),
        }
    };
    said.iter().map(condition).collect()
}

/// A condition by its type.
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
