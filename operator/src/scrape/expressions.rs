//! Regular expressions and selectors in rules and stages, compiled by the code that will run them: a mistake is found
//! here and not on every node.

use logstack_config::collector::Stage;
use logstack_crds::render::{Problem, Reason};
use logstack_crds::scrape::Relabeling;
use logstack_go::re2;
use logstack_logql::parse_log_selector;
use serde_json::Value;

/// Keys of stages that hold a regular expression, each with its stage.
const PATTERNS: [(&str, &str); 4] =
    [("regex", "expression"), ("replace", "expression"), ("drop", "expression"), ("multiline", "firstline")];

/// Everything wrong with the expressions of rules and stages at `prefix`, as in `spec.`.
pub fn problems(relabelings: &[Relabeling], stages: &[Stage], prefix: &str) -> Vec<Problem> {
    let mut out = Vec::new();
    for (idx, rule) in relabelings.iter().enumerate() {
        let Some(pattern) = &rule.regex else { continue };
        // Anchored at both ends, and `.` matches a line's end: as the collector compiles it.
        if let Err(error) = re2::compile_named(&format!("^(?s:{pattern})$")) {
            out.push(problem(format!("{prefix}relabelings[{idx}].regex"), pattern, &error));
        }
    }
    let stages = serde_json::to_value(stages).unwrap_or_default();
    check_stages(&stages, &format!("{prefix}pipelineStages"), &mut out);
    out
}

fn problem(path: String, text: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem { path, text: format!("{text:?}: {error}"), reason: Reason::Invalid }
}

fn check_stages(stages: &Value, path: &str, out: &mut Vec<Problem>) {
    for (idx, stage) in stages.as_array().into_iter().flatten().enumerate() {
        for (name, body) in stage.as_object().into_iter().flatten() {
            let at = format!("{path}[{idx}].{name}");
            for (_, key) in PATTERNS.iter().filter(|(stage, _)| stage == name) {
                let pattern = body.get(key).and_then(Value::as_str).filter(|pattern| !pattern.is_empty());
                if let Some(Err((pattern, error))) = pattern.map(|p| re2::compile(p).map_err(|error| (p, error))) {
                    out.push(problem(format!("{at}.{key}"), pattern, &error));
                }
            }
            if name == "match" {
                let selector = body.get("selector").and_then(Value::as_str).filter(|selector| !selector.is_empty());
                if let Some(Err((selector, error))) =
                    selector.map(|text| parse_log_selector(text).map_err(|error| (text, error)))
                {
                    out.push(problem(format!("{at}.selector"), selector, &error));
                }
                check_stages(body.get("stages").unwrap_or(&Value::Null), &format!("{at}.stages"), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstack_crds::LogScrapeSpec;

    #[test]
    fn finds_what_cannot_be_compiled() {
        #[track_caller]
        fn check(spec: &str, want: &[&str]) {
            let spec: LogScrapeSpec = serde_yaml::from_str(spec).unwrap();
            let found = problems(&spec.relabelings, &spec.pipeline_stages, "spec.");
            let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
            assert_eq!(paths, want, "{found:?}");
        }
        check(
            "{relabelings: [{regex: '(', targetLabel: x}, {regex: '(.+)', targetLabel: y}]}",
            &["spec.relabelings[0].regex"],
        );
        check("{pipelineStages: [{regex: {expression: '(?P<a>.*)'}}, {json: {expressions: {a: b}}}]}", &[]);
        check("{pipelineStages: [{regex: {expression: '['}}]}", &["spec.pipelineStages[0].regex.expression"]);
        check("{pipelineStages: [{multiline: {firstline: '*'}}]}", &["spec.pipelineStages[0].multiline.firstline"]);
        check(
            "{pipelineStages: [{match: {selector: '{a=\"b\"}', stages: [{drop: {expression: '('}}]}}]}",
            &["spec.pipelineStages[0].match.stages[0].drop.expression"],
        );
        check("{pipelineStages: [{match: {selector: '{a=', stages: []}}]}", &["spec.pipelineStages[0].match.selector"]);
    }
}
