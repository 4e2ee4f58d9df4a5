//! A tenant's [`Limits`], compiled for the hot path.

use logstack_config::Limits;
use logstack_logql::Labels;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::parse_selector;

use super::decode::otlp::OtlpRules;
use super::level::LevelNames;

const NS_PER_HOUR: i64 = 3_600_000_000_000;

/// Why limits cannot be applied. The configuration's own check finds these first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits_config.{key}: {reason}")]
pub struct Error {
    key: &'static str,
    reason: String,
}

/// Limits of one tenant and what was made of them.
#[derive(Debug)]
pub struct PushRules {
    /// The limits themselves.
    pub limits: Limits,
    /// Names that hold a level.
    pub level_names: LevelNames,
    /// What OTLP attributes become.
    pub otlp: OtlpRules,
    /// How long entries are kept, as metrics label it.
    pub retention_hours: u64,
    /// Highest priority first.
    policies: Vec<Policy>,
}

/// Streams that belong to a policy.
#[derive(Debug)]
struct Policy {
    name: String,
    priority: i32,
    matchers: Vec<CompiledMatcher>,
}

impl PushRules {
    /// Compiles `limits`.
    ///
    /// # Errors
    /// The first selector or regular expression that is none.
    pub fn new(limits: &Limits) -> Result<Self, Error> {
        let wrong_regex = |reason: logstack_go::re2::Error| Error { key: "otlp_config", reason: reason.to_string() };
        let mut policies = Vec::new();
        for (name, streams) in &limits.policy_stream_mapping {
            for stream in streams {
                let matchers = compile_selector(&stream.selector)
                    .map_err(|reason| Error { key: "policy_stream_mapping", reason })?;
                policies.push(Policy { name: name.clone(), priority: stream.priority, matchers });
            }
        }
        // Stable: of equal priorities the first name wins.
        policies.sort_by_key(|policy| std::cmp::Reverse(policy.priority));
        Ok(Self {
            level_names: LevelNames::new(&limits.log_level_fields),
            otlp: OtlpRules::new(&limits.otlp_config, &limits.discover_service_name).map_err(wrong_regex)?,
            retention_hours: (limits.retention_period.as_nanos() / NS_PER_HOUR).cast_unsigned(),
            policies,
            limits: limits.clone(),
        })
    }

    /// True when entries get a `detected_level`.
    pub fn detects_levels(&self) -> bool {
        self.limits.discover_log_levels && self.limits.allow_structured_metadata
    }

    /// The policy of a stream, if any.
    pub fn policy_of(&self, labels: &Labels) -> Option<&str> {
        let matches = |policy: &&Policy| {
            policy.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        self.policies.iter().find(matches).map(|policy| policy.name.as_str())
    }
}

fn compile_selector(text: &str) -> Result<Vec<CompiledMatcher>, String> {
    let matchers = parse_selector(text).map_err(|error| error.to_string())?;
    matchers.iter().map(|matcher| CompiledMatcher::new(matcher).map_err(|error| error.to_string())).collect()
}
