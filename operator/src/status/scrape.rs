//! Status of a LogScrape: what each LogStack made of it, and what its pods look like.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use logstack_crds::LogScrapeStatus;
use logstack_crds::scrape::{ScrapeBinding, TargetsStatus};

use super::condition::{Said, Truth, set_conditions};
use crate::scrape::Counts;
use crate::world::{Key, Verdict};

/// Everything that a status is made of.
#[derive(Debug, Clone, Default)]
pub struct ScrapeFacts {
    /// The LogScrape.
    pub key: Option<Key>,
    /// Its generation.
    pub generation: Option<i64>,
    /// What each LogStack that selects it says.
    pub verdicts: BTreeMap<Key, Verdict>,
    /// Pods; `None`: nobody counts, or files of nodes are read.
    pub counts: Option<Counts>,
    /// Files of nodes are read, not pods.
    pub reads_node_paths: bool,
    /// Nodes on which they are: those of the collectors of all LogStacks that accept it.
    pub nodes: i32,
    /// The annotation that pods need.
    pub gate: String,
}

/// The status that `facts` mean. `old` is the one in the object.
pub fn summarize_scrape(old: &LogScrapeStatus, facts: &ScrapeFacts, now: &Time) -> LogScrapeStatus {
    let bindings: Vec<ScrapeBinding> =
        facts.verdicts.iter().map(|(stack, verdict)| binding(old, facts, stack, verdict, now)).collect();
    let accepted = accepted(facts);
    let programmed = programmed(facts, &accepted);
    let ready = if !accepted.holds() {
        Said::new("Ready", accepted.truth, &accepted.reason, accepted.message.clone())
    } else if !programmed.holds() {
        Said::new("Ready", false, &programmed.reason, programmed.message.clone())
    } else {
        Said::new("Ready", true, "Programmed", "its job is in force")
    };
    let found = targets_found(facts, accepted.holds());
    let said = [ready, accepted.clone(), programmed, found];
    LogScrapeStatus {
        observed_generation: facts.generation,
        conditions: set_conditions(&old.conditions, &said, facts.generation, now),
        bindings,
        targets: facts.counts.as_ref().map(|counts| {
            let collected = if accepted.holds() { counts.matched - counts.gated.count } else { 0 };
            TargetsStatus {
                matched: counts.matched as i32,
                collected: collected as i32,
                gated: counts.gated.count as i32,
            }
        }),
        target_nodes: (facts.reads_node_paths && accepted.holds()).then_some(facts.nodes),
    }
}

fn binding(old: &LogScrapeStatus, facts: &ScrapeFacts, stack: &Key, verdict: &Verdict, now: &Time) -> ScrapeBinding {
    let job = facts.key.as_ref().filter(|_| verdict.generation_in_force.is_some()).map(Key::to_string);
    let known = old.bindings.iter().find(|known| known.namespace == stack.namespace && known.name == stack.name);
    let same = known.filter(|known| known.generation_in_force == verdict.generation_in_force);
    let active_since = match verdict.generation_in_force {
        None => None,
        Some(_) => same.and_then(|known| known.active_since.clone()).or_else(|| Some(now.0.to_string())),
    };
    let (reason, message) = match &verdict.accepted {
        Ok(()) => ("Accepted".to_owned(), String::new()),
        Err(rejection) => (rejection.reason.to_owned(), rejection.message.clone()),
    };
    ScrapeBinding {
        namespace: stack.namespace.clone(),
        name: stack.name.clone(),
        accepted: verdict.accepted.is_ok(),
        reason,
        message,
        job,
        generation_in_force: verdict.generation_in_force,
        active_since,
    }
}

fn accepted(facts: &ScrapeFacts) -> Said {
    let kind = "Accepted";
    if facts.verdicts.is_empty() {
        let message =
            "no LogStack selects it (hint: make it in a LogStack's namespace, or see scrapeNamespaceSelector)";
        return Said::new(kind, false, "NotSelected", message);
    }
    let rejection = facts.verdicts.iter().find_map(|(stack, verdict)| Some((stack, verdict.accepted.as_ref().err()?)));
    match rejection {
        None => Said::new(kind, true, "Accepted", format!("by {}", names(facts.verdicts.keys()))),
        Some((stack, rejection)) => {
            Said::new(kind, false, rejection.reason, format!("LogStack {stack}: {}", rejection.message))
        }
    }
}

fn names<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    keys.map(|key| format!("LogStack {key}")).collect::<Vec<_>>().join(", ")
}

fn programmed(facts: &ScrapeFacts, accepted: &Said) -> Said {
    let kind = "Programmed";
    let lags = facts.verdicts.iter().find(|(_, verdict)| verdict.generation_in_force != Some(verdict.generation));
    match lags {
        None if accepted.holds() => Said::new(kind, true, "Programmed", "its job is in the collectors' configuration"),
        None => Said::new(kind, false, &accepted.reason, accepted.message.clone()),
        Some((stack, verdict)) => match verdict.generation_in_force {
            Some(old) => {
                let message = format!("LogStack {stack} still has generation {old}");
                Said::new(kind, false, "OldGenerationInForce", message)
            }
            None => Said::new(kind, false, &accepted.reason, accepted.message.clone()),
        },
    }
}

fn targets_found(facts: &ScrapeFacts, is_accepted: bool) -> Said {
    let kind = "TargetsFound";
    if facts.reads_node_paths {
        return Said::new(kind, is_accepted, "Found", "files of nodes are read");
    }
    let Some(counts) = &facts.counts else {
        return Said::new(kind, Truth::Unknown, "CountingDisabled", "the operator runs with --target-counting=false");
    };
    let gated = counts.gated.count;
    let collected = counts.matched - gated;
    let lack = || format!("{gated} lack {}: for example {}", facts.gate, counts.gated);
    if counts.matched == 0 {
        return Said::new(kind, false, "NoPods", "no pod matches selector and namespaces");
    }
    if collected == 0 {
        let message = format!(
            "{} pods match, {} (hint: annotate them, or set annotationGate.enabled: false)",
            counts.matched,
            lack()
        );
        return Said::new(kind, false, "AllPodsGated", message);
    }
    if gated > 0 {
        return Said::new(kind, true, "SomePodsGated", format!("{} pods match, {}", counts.matched, lack()));
    }
    Said::new(kind, true, "Found", format!("{collected} pods match"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::Examples;
    use crate::status::get;
    use crate::world::Rejection;

    fn now(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn facts(accepted: Result<(), Rejection>, in_force: Option<i64>, counts: Option<Counts>) -> ScrapeFacts {
        let stack = Key { namespace: "obs".to_owned(), name: "logs".to_owned() };
        let verdict = Verdict { generation: 3, accepted, generation_in_force: in_force };
        ScrapeFacts {
            key: Some(Key { namespace: "obs".to_owned(), name: "s".to_owned() }),
            generation: Some(3),
            verdicts: BTreeMap::from([(stack, verdict)]),
            counts,
            reads_node_paths: false,
            nodes: 0,
            gate: "prometheus.io/scrape: \"true\"".to_owned(),
        }
    }

    fn counts(matched: usize, gated: usize) -> Option<Counts> {
        let mut examples = Examples::default();
        (0..gated).for_each(|idx| examples.add(format!("web-{idx}")));
        Some(Counts { matched, gated: examples })
    }

    #[test]
    fn says_what_is_true() {
        #[track_caller]
        fn check(facts: ScrapeFacts, want: [(&str, &str); 4]) {
            let status = summarize_scrape(&LogScrapeStatus::default(), &facts, &now(1));
            let got: Vec<(&str, &str)> =
                status.conditions.iter().map(|c| (c.status.as_str(), c.reason.as_str())).collect();
            assert_eq!(got, want);
        }
        let invalid = || Err(Rejection { reason: "Invalid", message: "x".to_owned() });
        check(
            facts(Ok(()), Some(3), counts(2, 0)),
            [("True", "Programmed"), ("True", "Accepted"), ("True", "Programmed"), ("True", "Found")],
        );
        check(
            facts(Ok(()), Some(3), counts(0, 0)),
            [("True", "Programmed"), ("True", "Accepted"), ("True", "Programmed"), ("False", "NoPods")],
        );
        check(
            facts(Ok(()), Some(3), counts(2, 2)),
            [("True", "Programmed"), ("True", "Accepted"), ("True", "Programmed"), ("False", "AllPodsGated")],
        );
        check(
            facts(Ok(()), Some(3), counts(5, 2)),
            [("True", "Programmed"), ("True", "Accepted"), ("True", "Programmed"), ("True", "SomePodsGated")],
        );
        check(
            facts(invalid(), Some(2), counts(2, 0)),
            [("False", "Invalid"), ("False", "Invalid"), ("False", "OldGenerationInForce"), ("True", "Found")],
        );
        check(
            facts(invalid(), None, None),
            [("False", "Invalid"), ("False", "Invalid"), ("False", "Invalid"), ("Unknown", "CountingDisabled")],
        );
        check(
            ScrapeFacts { verdicts: BTreeMap::new(), ..facts(Ok(()), None, counts(0, 0)) },
            [("False", "NotSelected"), ("False", "NotSelected"), ("False", "NotSelected"), ("False", "NoPods")],
        );
    }

    #[test]
    fn counts_nodes_for_files_of_nodes() {
        #[track_caller]
        fn check(reads_node_paths: bool, accepted: Result<(), Rejection>, want: Option<i32>) {
            let facts = ScrapeFacts { reads_node_paths, nodes: 3, ..facts(accepted, Some(3), None) };
            assert_eq!(summarize_scrape(&LogScrapeStatus::default(), &facts, &now(1)).target_nodes, want);
        }
        check(true, Ok(()), Some(3));
        check(false, Ok(()), None);
        check(true, Err(Rejection { reason: "NotPermitted", message: String::new() }), None);
    }

    #[test]
    fn the_same_facts_are_the_same_bytes() {
        let facts = facts(Ok(()), Some(3), counts(5, 4));
        let first = summarize_scrape(&LogScrapeStatus::default(), &facts, &now(1));
        let second = summarize_scrape(&first, &facts, &now(99));
        assert_eq!(first, second);
        let message = &get(&first.conditions, "TargetsFound").unwrap().message;
        assert_eq!(
            message,
            "5 pods match, 4 lack prometheus.io/scrape: \"true\": for example web-0, web-1, web-2 and 1 more"
        );
    }
}
