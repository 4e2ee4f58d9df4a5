//! Keeps conditions from flapping: one that would flip again and again keeps its worse state for a while.
//!
//! Only what happens by itself flaps. A change of the spec begins anew, so that `kubectl wait` after it sees the truth at
//! once.
//!
//! Source: operator contract, section 3.2, "Nothing flaps".

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::Instant;

use super::get;

/// So many flips in [`WINDOW`] are normal.
const FLIPS_MAX: usize = 3;
/// See [`FLIPS_MAX`].
const WINDOW: Duration = Duration::from_secs(300);

/// When the conditions of an object flipped.
#[derive(Debug, Default)]
pub struct Flips {
    generation: Option<i64>,
    at: HashMap<String, Vec<Instant>>,
}

impl Flips {
    /// Puts the worse state back into conditions of `new` that flip too often, until they have been so for `hold`.
    /// True when there is one: another look is worth it.
    pub fn steady(
        &mut self,
        old: &[Condition],
        new: &mut [Condition],
        generation: Option<i64>,
        hold: Duration,
        now: Instant,
    ) -> bool {
        if self.generation != generation {
            *self = Self { generation, at: HashMap::new() };
        }
        let mut holds = false;
        for condition in new {
            let Some(before) = get(old, &condition.type_).filter(|before| before.status != condition.status) else {
                continue;
            };
            let flips = self.at.entry(condition.type_.clone()).or_default();
            flips.retain(|at| now.duration_since(*at) < WINDOW);
            let is_held = flips.len() >= FLIPS_MAX && flips.last().is_some_and(|last| now.duration_since(*last) < hold);
            if is_held && is_better(condition) {
                condition.status.clone_from(&before.status);
                condition.reason.clone_from(&before.reason);
                condition.message.clone_from(&before.message);
                condition.last_transition_time = before.last_transition_time.clone();
                holds = true;
            } else {
                flips.push(now);
            }
        }
        holds
    }
}

/// The state that a user would rather see. What follows an annotation, or is there only while it is true, has none.
fn is_better(condition: &Condition) -> bool {
    let good = match condition.type_.as_str() {
        "Paused" | "Stalled" => return false,
        "Degraded" | "StoragePressure" | "Progressing" => "False",
        _ => "True",
    };
    condition.status == good
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const HOLD: Duration = Duration::from_secs(120);

    fn condition(kind: &str, is_true: bool) -> Condition {
        Condition {
            type_: kind.to_owned(),
            status: if is_true { "True" } else { "False" }.to_owned(),
            reason: format!("{kind}{is_true}"),
            message: String::new(),
            observed_generation: Some(1),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        }
    }

    /// A clock, and the conditions of one object.
    struct Case {
        flips: Flips,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            Self { flips: Flips::default(), now: Instant::now() }
        }

        /// Shows `states` one after the other, ten seconds apart; what is said of each.
        fn said(&mut self, kind: &str, states: &[bool], generation: i64) -> Vec<bool> {
            let mut old = vec![condition(kind, states[0])];
            let mut out = Vec::new();
            for state in states {
                self.now += Duration::from_secs(10);
                let mut new = vec![condition(kind, *state)];
                self.flips.steady(&old, &mut new, Some(generation), HOLD, self.now);
                assert_eq!(new[0].reason, format!("{kind}{}", new[0].status == "True"), "status and reason agree");
                out.push(new[0].status == "True");
                old = new;
            }
            out
        }
    }

    #[test]
    fn keeps_the_worse_state() {
        #[track_caller]
        fn check(kind: &str, states: &[bool], want: &[bool]) {
            assert_eq!(Case::new().said(kind, states, 1), want, "{kind}");
        }
        let (t, f) = (true, false);
        // Three flips are shown; the fourth, to the better, is not.
        check("Available", &[t, f, t, f, t, f, t], &[t, f, t, f, f, f, f]);
        check("Degraded", &[f, t, f, t, f, t, f], &[f, t, f, t, t, t, t]);
        // An annotation is no flapping.
        check("Paused", &[f, t, f, t, f, t, f], &[f, t, f, t, f, t, f]);
    }

    #[test]
    fn ends_by_itself_and_with_a_new_generation() {
        let (t, f) = (true, false);
        let mut case = Case::new();
        assert_eq!(case.said("Ready", &[t, f, t, f, t], 1), [t, f, t, f, f]);
        case.now += HOLD;
        assert_eq!(case.said("Ready", &[f, t], 1), [f, t], "it has been quiet");
        let mut case = Case::new();
        assert_eq!(case.said("Ready", &[t, f, t, f, t], 1), [t, f, t, f, f]);
        assert_eq!(case.said("Ready", &[f, t], 2), [f, t], "the user changed the spec");
    }
}
