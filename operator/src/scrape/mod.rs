//! LogScrapes of a stack: which are selected, what each is allowed, its job, and in which ConfigMap the job lies.
//!
//! Each is compiled alone. A bad one has no effect on the others; if an earlier generation of it is in force, that stays.

mod compile;
mod expressions;
mod select;
mod shard;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use logstack_crds::{LogScrape, LogStack};

use crate::names;
use crate::world::{Key, NamespaceFacts, Rejection, Verdict, Verdicts};

pub use compile::{Job, compile, generation_of, job_key, node_dirs};
pub use expressions::problems;
pub use select::{matches, selects};
pub use shard::{SHARD_BYTES_MAX, assign};
pub use targets::{Counts, Examples, count};

/// What becomes of all LogScrapes of a stack.
#[derive(Debug, Clone, Default)]
pub struct ScrapePlan {
    /// Jobs by ConfigMap.
    pub shards: Vec<BTreeMap<String, String>>,
    /// What is said about each that is selected.
    pub verdicts: Verdicts,
    /// Folders of the node that jobs read.
    pub node_dirs: BTreeSet<String>,
}

impl ScrapePlan {
    /// Those that have no job of their present generation, with the reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&Key, &Rejection)> {
        let rejections =
            self.verdicts.iter().filter_map(|(key, verdict)| Some((key, verdict.accepted.as_ref().err()?)));
        rejections.filter(|(_, rejection)| !matches!(rejection.reason, "Suspended" | "NotCollected"))
    }
}

/// Decides about all LogScrapes. `observed` are the ConfigMaps of jobs as they are.
pub fn plan(
    stack: &LogStack,
    scrapes: &[Arc<LogScrape>],
    observed: &[BTreeMap<&str, &str>],
    controller_id: Option<&str>,
    namespace_facts: &dyn Fn(&str) -> NamespaceFacts,
) -> ScrapePlan {
    let own = stack.metadata.namespace.as_deref().unwrap_or_default();
    let in_force: BTreeMap<&str, &str> = observed.iter().flatten().map(|(file, text)| (*file, *text)).collect();
    let mut plan = ScrapePlan::default();
    // Texts may be megabytes: they are moved, not copied.
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    let mut owners: BTreeMap<String, Key> = BTreeMap::new();
    for scrape in scrapes {
        let id = scrape.metadata.labels.as_ref().and_then(|labels| labels.get(names::CONTROLLER_ID));
        let key = Key::of(&scrape.metadata);
        let is_selected = id.map(String::as_str) == controller_id
            && scrape.metadata.deletion_timestamp.is_none()
            && selects(&stack.spec, own, &scrape.metadata, &namespace_facts(&key.namespace).labels);
        if !is_selected {
            continue;
        }
        let generation = scrape.metadata.generation.unwrap_or_default();
        let judged = if scrape.spec.suspend {
            Err(Rejection { reason: "Suspended", message: "spec.suspend is true".to_owned() })
        } else if !stack.spec.collector.enabled {
            let message = format!("LogStack {own}/{} has collector.enabled: false", key.name_of(stack));
            Err(Rejection { reason: "NotCollected", message })
        } else {
            compile(scrape, stack)
        };
        let file = job_key(&key);
        let mut verdict = Verdict { generation, accepted: Ok(()), generation_in_force: None };
        match judged {
            Ok(job) => {
                verdict.generation_in_force = Some(generation);
                owners.insert(file.clone(), key.clone());
                wanted.insert(file, job.text);
            }
            Err(rejection) => {
                // What is not permitted, or not wanted, goes at once; a mistake leaves the last good job.
                let may_stay = matches!(rejection.reason, "Invalid" | "TooLarge");
                if let Some(text) = in_force.get(file.as_str()).filter(|_| may_stay) {
                    verdict.generation_in_force = generation_of(text);
                    owners.insert(file.clone(), key.clone());
                    wanted.insert(file, (*text).to_owned());
                }
                verdict.accepted = Err(rejection);
            }
        }
        plan.verdicts.insert(key, verdict);
    }
    let (shards, left_out) = assign(observed, wanted);
    for file in left_out {
        if let Some(verdict) = owners.get(&file).and_then(|key| plan.verdicts.get_mut(key)) {
            let message = format!(
                "all {} ConfigMaps of jobs are full (hint: merge LogScrapes, or use a second LogStack)",
                names::SHARDS_MAX
            );
            verdict.accepted = Err(Rejection { reason: "TooLarge", message });
            verdict.generation_in_force = None;
        }
    }
    plan.node_dirs = shards.iter().flatten().flat_map(|(_, text)| node_dirs(text)).collect();
    plan.shards = shards;
    plan
}

impl Key {
    fn name_of<'a>(&self, stack: &'a LogStack) -> &'a str {
        stack.metadata.name.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::fields::Fields;
    use logstack_crds::LogScrapeSpec;
    use logstack_crds::stack::LogStackSpec;

    fn stack(spec: LogStackSpec) -> LogStack {
        let mut stack = LogStack::new("logs", spec);
        stack.metadata.namespace = Some("obs".to_owned());
        stack
    }

    fn scrape(namespace: &str, name: &str, spec: LogScrapeSpec) -> Arc<LogScrape> {
        let mut scrape = LogScrape::new(name, spec);
        scrape.metadata.namespace = Some(namespace.to_owned());
        scrape.metadata.generation = Some(2);
        Arc::new(scrape)
    }

    fn bad() -> LogScrapeSpec {
        let relabeling = serde_json::from_str(r#"{"regex": "(", "targetLabel": "x"}"#).unwrap();
        LogScrapeSpec { relabelings: vec![relabeling], ..LogScrapeSpec::default() }
    }

    fn run(spec: LogStackSpec, scrapes: &[Arc<LogScrape>], observed: &[BTreeMap<String, String>]) -> ScrapePlan {
        plan(&stack(spec), scrapes, &shard::borrowed(observed), None, &|_| NamespaceFacts::default())
    }

    #[test]
    fn a_bad_one_leaves_the_others() {
        let good = || LogScrapeSpec::default();
        let scrapes = [scrape("obs", "a", good()), scrape("obs", "b", bad()), scrape("other", "c", good())];
        let plan = run(LogStackSpec::default(), &scrapes, &[]);
        assert_eq!(plan.verdicts.len(), 2, "another namespace is not selected by default");
        let files: Vec<&String> = plan.shards[0].keys().collect();
        assert_eq!(files, ["obs.a.yaml"]);
        let rejected: Vec<_> = plan.rejected().map(|(key, why)| (key.name.as_str(), why.reason)).collect();
        assert_eq!(rejected, [("b", "Invalid")]);
        let message = &plan.rejected().next().unwrap().1.message;
        assert!(message.starts_with("spec.relabelings[0].regex: "), "{message}");
    }

    #[test]
    fn the_last_good_job_stays_in_force() {
        let first = run(LogStackSpec::default(), &[scrape("obs", "a", LogScrapeSpec::default())], &[]);
        let second = run(LogStackSpec::default(), &[scrape("obs", "a", bad())], &first.shards);
        assert_eq!(second.shards, first.shards);
        let verdict = second.verdicts.values().next().unwrap();
        assert_eq!((verdict.accepted.is_err(), verdict.generation_in_force), (true, Some(2)));
        let suspended = LogScrapeSpec { suspend: true, ..bad() };
        let third = run(LogStackSpec::default(), &[scrape("obs", "a", suspended)], &first.shards);
        assert!(third.shards.iter().all(BTreeMap::is_empty));
    }

    #[test]
    fn the_order_of_input_does_not_matter() {
        let mut scrapes: Vec<_> =
            (0..7).map(|idx| scrape("obs", &format!("s{idx}"), LogScrapeSpec::default())).collect();
        let first = run(LogStackSpec::default(), &scrapes, &[]);
        for _ in 0..scrapes.len() {
            scrapes.rotate_left(1);
            let again = run(LogStackSpec::default(), &scrapes, &[]);
            assert_eq!((&again.shards, &again.verdicts), (&first.shards, &first.verdicts));
        }
    }

    /// Each field changes the job of its LogScrape and no other, so one key of one ConfigMap; files of nodes also what
    /// the collectors mount.
    #[test]
    fn every_field_changes_exactly_its_job() {
        thread_local!(static TOUCHED: RefCell<Fields> = RefCell::new(Fields::of("LogScrape")));
        fn planned(spec: &str) -> ScrapePlan {
            let others = ["a", "z"].map(|name| scrape("obs", name, LogScrapeSpec::default()));
            let changed = scrape("obs", "m", serde_yaml::from_str(spec).unwrap());
            let scrapes: Vec<_> = others.into_iter().chain([changed]).collect();
            let plan = run(LogStackSpec::default(), &scrapes, &[]);
            let rejected: Vec<_> = plan.rejected().collect();
            assert!(rejected.is_empty(), "{spec}: {rejected:?}");
            plan
        }
        #[track_caller]
        fn check_from(base: &str, spec: &str) {
            TOUCHED.with_borrow_mut(|fields| fields.touch(spec));
            let (before, after) = (planned(base), planned(spec));
            let differs = |key: &&String| before.shards[0].get(*key) != after.shards[0].get(*key);
            let keys: BTreeSet<&String> = before.shards[0].keys().chain(after.shards[0].keys()).collect();
            let changed: Vec<&String> = keys.into_iter().filter(differs).collect();
            assert_eq!(changed, ["obs.m.yaml"], "{spec}");
            let dirs: &[&str] = if spec.contains("path:") { &["/srv"] } else { &[] };
            assert_eq!(after.node_dirs.iter().collect::<Vec<_>>(), dirs, "{spec}");
        }
        #[track_caller]
        fn check(spec: &str) {
            check_from("{}", spec);
        }
        check("{selector: {matchLabels: {app: web}}}");
        check("{namespaceSelector: {any: true}}");
        check("{namespaceSelector: {matchNames: [a, b]}}");
        check("{namespaceSelector: {matchLabels: {team: a}}}");
        check("{annotationGate: {enabled: false}}");
        check("{annotationGate: {key: a}}");
        check("{annotationGate: {value: a}}");
        check("{containers: {include: [web]}}");
        check("{containers: {exclude: [proxy]}}");
        check("{priority: 200}");
        check("{relabelings: [{targetLabel: a, replacement: b}]}");
        check("{pipelineStages: [{json: {expressions: {a: b}}}]}");
        check("{labels: {a: b}}");
        check("{tenant: a}");
        let limited = "{rateLimit: {linesPerSecond: 10, burst: 20}}";
        check(limited);
        check_from(limited, "{rateLimit: {linesPerSecond: 11, burst: 20}}");
        check_from(limited, "{rateLimit: {linesPerSecond: 10, burst: 21}}");
        check_from(limited, "{rateLimit: {linesPerSecond: 10, burst: 20, drop: false}}");
        check("{maxLineSize: 16Ki}");
        check("{sampling: '0.5'}");
        check("{multilineHint: '^\\S'}");
        let file = "{nodePaths: [{path: /srv/*.log}]}";
        check(file);
        check_from(file, "{nodePaths: [{path: /srv/*.txt}]}");
        check_from(file, "{nodePaths: [{path: /srv/*.log, exclude: /srv/b.log}]}");
        check_from(file, "{nodePaths: [{path: /srv/*.log, encoding: utf-16le}]}");
        check_from(file, "{nodePaths: [{path: /srv/*.log, labels: {a: b}}]}");
        check("{suspend: true}");
        // A new field without a line above fails here.
        TOUCHED.with_borrow(|fields| assert_eq!(fields.untouched(&[]), [""; 0], "fields that nothing changes"));
    }
}
