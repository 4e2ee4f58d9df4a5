//! `match`: stages for some entries only, or dropping them.

use std::collections::HashMap;

use logstack_config::collector::stage::{MatchAction, MatchStage};
use logstack_logql::ast::Stage as LogStage;
use logstack_logql::line_filter::CompiledLineFilter;
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::parse_any_log_selector;

use super::{Flow, dropped};
use crate::pipeline::compile::{self, Error, Stage};
use crate::pipeline::counters::{Counters, DropCounter};
use crate::pipeline::entry::Entry;

/// Label sets whose answer is remembered.
const SETS_MAX: usize = 10_000;

/// The stage.
pub struct Match {
    matchers: Vec<CompiledMatcher>,
    filters: Vec<CompiledLineFilter>,
    drops: bool,
    counter: DropCounter,
    /// Answers of `matchers` by hash of the label set.
    remembered: HashMap<u64, bool>,
    /// What matching entries go through.
    pub(in crate::pipeline) stages: Vec<Stage>,
    /// The last entry matched.
    pub(in crate::pipeline) matched: bool,
}

impl Match {
    /// Compiles selector and stages.
    pub fn new(config: &MatchStage, counters: &Counters) -> Result<Self, Error> {
        let at = |reason: &dyn std::fmt::Display| Error::new("selector", reason);
        let selector = parse_any_log_selector(&config.selector).map_err(|err| at(&err))?;
        if selector.selector.is_empty() {
            return Err(at(&"needs a label matcher: {} is not one"));
        }
        let matchers =
            selector.selector.iter().map(CompiledMatcher::new).collect::<Result<_, _>>().map_err(|e| at(&e))?;
        let mut filters = Vec::new();
        for stage in &selector.stages {
            let LogStage::LineFilter(filter) = stage else {
                return Err(at(&"takes line filters only (hint: use stages for the rest)"));
            };
            filters.push(CompiledLineFilter::new(filter).map_err(|err| at(&err))?);
        }
        let stages = compile::stages(&config.stages, counters).map_err(|mut err| {
            err.place = format!("stages{}", err.place);
            err
        })?;
        let reason = match config.drop_counter_reason.as_str() {
            "" => "match_stage",
            reason => reason,
        };
        Ok(Self {
            matchers,
            filters,
            drops: config.action == MatchAction::Drop,
            counter: counters.dropped(reason),
            remembered: HashMap::new(),
            stages,
            matched: false,
        })
    }

    /// Drops the entry, or tells in `matched` whether it goes through the stages.
    pub(in crate::pipeline) fn decide(&mut self, entry: &mut Entry) -> Flow {
        self.matched = self.matches(entry);
        if self.matched && self.drops { dropped(entry, &self.counter) } else { Flow::Next }
    }

    fn matches(&mut self, entry: &Entry) -> bool {
        let labels = entry.labels.hash();
        let by_labels = match self.remembered.get(&labels) {
            Some(answer) => *answer,
            None => {
                let answer = self.matchers.iter().all(|matcher| matcher.matches(entry.labels.get(matcher.name())));
                if self.remembered.len() >= SETS_MAX {
                    self.remembered.clear();
                }
                self.remembered.insert(labels, answer);
                answer
            }
        };
        by_labels && self.filters.iter().all(|filter| filter.matches(&entry.line))
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{Scene, check_error};

    #[track_caller]
    fn check(stages: &str, lines: &[&str], want: &[&str]) {
        let mut scene = Scene::with_labels(stages, &[("app", "web")]);
        lines.iter().for_each(|line| scene.run(line));
        assert_eq!(scene.out, want, "{stages}");
    }

    #[test]
    fn runs_stages_for_matching_entries_and_passes_others() {
        let stages = "stages: [{static_labels: {m: y}}]";
        let all = r#"{app="web", m="y"} 0 l"#;
        let none = r#"{app="web"} 0 l"#;
        check(&format!("- match: {{selector: '{{app=\"web\"}}', {stages}}}"), &["l"], &[all]);
        check(&format!("- match: {{selector: '{{app=~\"w.\"}}', {stages}}}"), &["l"], &[none]);
        check(&format!("- match: {{selector: '{{app!=\"db\"}}', {stages}}}"), &["l"], &[all]);
        check(&format!("- match: {{selector: '{{missing=\"\"}}', {stages}}}"), &["l"], &[all]);
        check(&format!("- match: {{selector: '{{app=\"web\"}} |= \"x\"', {stages}}}"), &["l"], &[none]);
        check(&format!("- match: {{selector: '{{app=`web`}} |~ \"l\"', {stages}}}"), &["l"], &[all]);
        // Labels may be called like LogQL's words.
        for word in ["json", "drop", "by", "or", "unwrap", "offset", "Group_Left"] {
            check(&format!("- match: {{selector: '{{app=\"web\", {word}!=\"x\"}}', {stages}}}"), &["l"], &[all]);
            check(&format!("- match: {{selector: '{{{word}=\"x\"}}', {stages}}}"), &["l"], &[none]);
        }
    }

    #[test]
    fn keeps_the_order_and_drops() {
        check(
            "- match: {selector: '{app=\"web\"} |= \"a\"', stages: [{decolorize: }]}\n- static_labels: {e: end}",
            &["1", "a2", "3"],
            &[r#"{app="web", e="end"} 0 1"#, r#"{app="web", e="end"} 0 a2"#, r#"{app="web", e="end"} 0 3"#],
        );
        check("- match: {selector: '{app=\"web\"} |= \"a\"', action: drop}", &["1", "a"], &[r#"{app="web"} 0 1"#]);
    }

    #[test]
    fn nested_stages_may_keep_entries_back() {
        check(
            "- match: {selector: '{app=\"web\"}', stages: [{multiline: {firstline: '^\\['}}]}\n- static_labels: {e: z}",
            &["[1", "a", "[2"],
            &["{app=\"web\", e=\"z\"} 0 [1\na"],
        );
    }

    #[test]
    fn refuses_selectors_that_are_none() {
        check_error("- match: {selector: '{}', stages: [{decolorize: }]}", "[0].match.selector: ");
        check_error("- match: {selector: '{a=\"b\"} | json', stages: [{decolorize: }]}", "line filters only");
        check_error(
            "- match: {selector: '{a=\"b\"}', stages: [{regex: {expression: '('}}]}",
            "[0].match.stages[0].regex",
        );
    }
}
