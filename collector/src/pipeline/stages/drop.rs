//! `drop`: drops entries for which all given conditions hold.

use std::time::Duration;

use logstack_config::collector::stage::DropStage;
use logstack_go::re2;

use super::{Flow, dropped};
use crate::pipeline::Context;
use crate::pipeline::compile::Error;
use crate::pipeline::counters::{Counters, DropCounter};
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Drop {
    sources: Option<Vec<String>>,
    separator: String,
    expression: Option<regex::bytes::Regex>,
    value: Option<String>,
    older_than: Option<Duration>,
    longer_than: Option<usize>,
    counter: DropCounter,
}

impl Drop {
    /// Compiles the expression.
    pub fn new(config: &DropStage, counters: &Counters) -> Result<Self, Error> {
        let compile = |text: &String| re2::compile(text).map_err(|err| Error::new("expression", err));
        let reason = match config.drop_counter_reason.as_str() {
            "" => "drop_stage",
            reason => reason,
        };
        Ok(Self {
            sources: config.source.as_ref().map(|list| list.0.clone()),
            separator: config.separator.clone().unwrap_or_else(|| ";".to_owned()),
            expression: config.expression.as_ref().map(compile).transpose()?,
            value: config.value.clone(),
            older_than: config.older_than.map(|age| age.get()),
            longer_than: config.longer_than.map(|size| size.as_usize()),
            counter: counters.dropped(reason),
        })
    }

    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry, cx: &Context<'_>) -> Flow {
        if self.is_met(entry, cx) { dropped(entry, &self.counter) } else { Flow::Next }
    }

    fn is_met(&self, entry: &Entry, cx: &Context<'_>) -> bool {
        if self.longer_than.is_some_and(|limit| entry.line.len() <= limit) {
            return false;
        }
        let oldest_ns = |age: Duration| cx.now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        if self.older_than.is_some_and(|age| entry.timestamp_ns >= oldest_ns(age)) {
            return false;
        }
        let Some(sources) = &self.sources else {
            return self.expression.as_ref().is_none_or(|regex| re2::is_match(regex, &entry.line));
        };
        if self.expression.is_none() && self.value.is_none() {
            // All of them: Promtail's documentation says one is enough, its code does not.
            return sources.iter().all(|name| entry.value(name).is_some());
        }
        // A source that is missing, or null, keeps the entry.
        let Some(values) = sources.iter().map(|name| entry.string(name)).collect::<Option<Vec<&str>>>() else {
            return false;
        };
        let joined = values.join(&self.separator);
        match (&self.expression, &self.value) {
            (Some(regex), _) => regex.is_match(joined.as_bytes()),
            (None, Some(value)) => joined == *value,
            (None, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{NOW_NS, Scene};

    #[track_caller]
    fn check(stage: &str, line: &str, is_dropped: bool) {
        let stages = format!("- json: {{expressions: {{a: , b: , t: }}}}\n- drop: {stage}");
        let mut scene = Scene::new(&stages);
        scene.run(line);
        assert_eq!(scene.out.is_empty(), is_dropped, "{stage} {line}");
        assert!(scene.progress.is_settled(), "a dropped line holds nothing back");
    }

    #[test]
    fn drops_when_all_conditions_hold() {
        let line = r#"{"a":"1","b":"2"}"#;
        check("{expression: 'b'}", line, true);
        check("{expression: 'zzz'}", line, false);
        check("{source: a}", line, true);
        check("{source: [a, b]}", line, true);
        check("{source: [a, missing]}", line, false);
        check("{source: a, value: '1'}", line, true);
        check("{source: a, value: '2'}", line, false);
        check("{source: [a, b], value: '1;2'}", line, true);
        check("{source: [a, b], separator: '#', value: '1#2'}", line, true);
        check("{source: [a, missing, b], expression: '^1;2$'}", line, false);
        check("{source: [missing], expression: '.*'}", line, false);
        check("{source: [a, b], expression: '.*'}", r#"{"a":"1","b":null}"#, false);
        check("{source: [a, b], value: '1;'}", r#"{"a":"1","b":""}"#, true);
        check("{longer_than: 16b}", line, true);
        check("{longer_than: 17b}", line, false);
        check("{longer_than: 16b, expression: zzz}", line, false);
        check("{older_than: 1h}", line, false);
    }

    #[test]
    fn drops_the_old_and_counts_by_reason() {
        let old = NOW_NS - 3_600_000_000_001;
        let stages = "- regex: {expression: '(?P<t>\\d+)'}\n- timestamp: {source: t, format: UnixNs}\n- drop: {older_than: 1h, drop_counter_reason: old}";
        let mut scene = Scene::at(stages, NOW_NS);
        scene.run(&old.to_string());
        scene.run(&(old + 1).to_string());
        assert_eq!(scene.out.len(), 1);
        assert_eq!(scene.counters.dropped("old").get(), 1);
    }
}
