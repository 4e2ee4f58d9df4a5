//! What holds for stages beyond their types.

use super::{DropStage, LimitStage, MatchAction, MatchStage, MetricKind, MetricStage, Stage};
use crate::collector::is_label_name;
use crate::units::GoDuration;
use crate::yaml::Report;

/// Deepest nesting of `match` stages. Compiling and running them recurse.
const DEPTH_MAX: usize = 16;

/// Checks the stages of a pipeline that stands at `path`.
pub fn check_stages(stages: &[Stage], path: &str, report: &mut Report<'_>) {
    check_nested(stages, path, 0, report);
}

fn check_nested(stages: &[Stage], path: &str, depth: usize, report: &mut Report<'_>) {
    if depth > DEPTH_MAX {
        return report.error(path, "stages are nested too deeply");
    }
    for (idx, stage) in stages.iter().enumerate() {
        let at = format!("{path}[{idx}].{}", stage.name());
        check_stage(stage, &at, depth, report);
    }
}

fn check_stage(stage: &Stage, at: &str, depth: usize, report: &mut Report<'_>) {
    match stage {
        Stage::Regex(body) => {
            required(&body.expression, at, "expression", report);
            check_source(body.source.as_deref(), at, report);
        }
        Stage::Json(body) => {
            if body.expressions.is_empty() {
                report.error(at, "needs the key expressions");
            }
            check_source(body.source.as_deref(), at, report);
        }
        Stage::Logfmt(body) => {
            if body.mapping.is_empty() {
                report.error(at, "needs the key mapping");
            }
            check_source(body.source.as_deref(), at, report);
        }
        Stage::Replace(body) => {
            required(&body.expression, at, "expression", report);
            check_source(body.source.as_deref(), at, report);
            if !body.expression.contains('(') {
                report.warning(
                    at,
                    "replaces nothing: only capture groups are replaced (hint: put the text to replace in parentheses)",
                );
            }
        }
        Stage::Multiline(body) => required(&body.firstline, at, "firstline", report),
        Stage::Template(body) => {
            required(&body.source, at, "source", report);
            if body.template.is_empty() {
                report.warning(at, "removes the value: the template is empty (hint: write it in the key template)");
            }
        }
        Stage::Labels(body) => body.0.0.keys().for_each(|name| check_name(name, at, report)),
        Stage::StaticLabels(body) => body.0.keys().for_each(|name| check_name(name, at, report)),
        Stage::LabelDrop(body) if body.0.is_empty() => report.error(at, "names no label"),
        Stage::LabelAllow(body) if body.0.is_empty() => report.error(at, "names no label"),
        Stage::Timestamp(body) => {
            required(&body.source, at, "source", report);
            required(&body.format, at, "format", report);
        }
        Stage::Output(body) => required(&body.source, at, "source", report),
        Stage::Tenant(body) => {
            let given = [&body.label, &body.source, &body.value].iter().filter(|text| !text.is_empty()).count();
            if given != 1 {
                report.error(at, "needs exactly one of the keys label, source, value");
            }
        }
        Stage::Match(body) => check_match(body, at, depth, report),
        Stage::Drop(body) => check_drop(body, at, report),
        Stage::Limit(body) => check_limit(body, at, report),
        Stage::Sampling(body) => {
            if !(0.0..=1.0).contains(&body.rate) {
                report.error(format!("{at}.rate"), format!("{} is not between 0 and 1", body.rate));
            } else if body.rate == 0.0 {
                report.warning(at, "drops everything (hint: rate is the fraction that is kept, as in 0.1)");
            }
        }
        Stage::Metrics(body) => {
            body.0.iter().for_each(|(name, metric)| check_metric(metric, &format!("{at}.{name}"), report));
        }
        Stage::GeoIp(body) => {
            required(&body.db, at, "db", report);
            required(&body.source, at, "source", report);
            if !matches!(body.db_type.as_str(), "city" | "asn" | "country") {
                report.error(format!("{at}.db_type"), format!("{:?} is not one of city, asn, country", body.db_type));
            }
        }
        _ => {}
    }
}

fn required(text: &str, at: &str, key: &str, report: &mut Report<'_>) {
    if text.is_empty() {
        report.error(at, format!("needs the key {key}"));
    }
}

fn check_source(source: Option<&str>, at: &str, report: &mut Report<'_>) {
    if source == Some("") {
        report.error(format!("{at}.source"), "is empty (hint: remove it to look at the line)");
    }
}

fn check_name(name: &str, at: &str, report: &mut Report<'_>) {
    if !is_label_name(name) {
        report.error(at, format!("{name:?} is not a label name (hint: letters, digits and _, no digit first)"));
    }
}

fn check_match(body: &MatchStage, at: &str, depth: usize, report: &mut Report<'_>) {
    required(&body.selector, at, "selector", report);
    match body.action {
        MatchAction::Keep if body.stages.is_empty() => {
            report.error(at, "needs the key stages, or action: drop");
        }
        MatchAction::Drop if !body.stages.is_empty() => {
            report.error(format!("{at}.stages"), "must not stand with action: drop");
        }
        _ => {}
    }
    check_nested(&body.stages, &format!("{at}.stages"), depth + 1, report);
}

fn check_drop(body: &DropStage, at: &str, report: &mut Report<'_>) {
    if body.value.is_some() && body.expression.is_some() {
        report.error(at, "has both value and expression (hint: keep one)");
    }
    if body.value.is_some() && body.source.is_none() {
        report.error(at, "has a value without a source");
    }
    let conditions =
        body.source.is_some() || body.expression.is_some() || body.older_than.is_some() || body.longer_than.is_some();
    if !conditions {
        report.error(at, "needs one of the keys source, expression, older_than, longer_than");
    }
    if body.source.as_ref().is_some_and(|source| source.0.iter().all(String::is_empty)) {
        report.error(format!("{at}.source"), "is empty (hint: remove it to look at the line)");
    }
}

fn check_limit(body: &LimitStage, at: &str, report: &mut Report<'_>) {
    if !(body.rate.is_finite() && body.rate > 0.0) {
        report.error(format!("{at}.rate"), format!("{} is not above 0", body.rate));
    }
    if body.burst == 0 {
        report.error(format!("{at}.burst"), "0 is not above 0");
    }
    if !body.by_label_name.is_empty() && !body.drop {
        report.error(format!("{at}.by_label_name"), "needs drop: true");
    }
}

fn check_metric(metric: &MetricStage, at: &str, report: &mut Report<'_>) {
    let config = &metric.config;
    let actions: &[&str] = match metric.kind {
        MetricKind::Counter => &["inc", "add"],
        MetricKind::Gauge => &["set", "inc", "dec", "add", "sub"],
        MetricKind::Histogram => &[],
    };
    let action = config.action.to_ascii_lowercase();
    if !actions.is_empty() && !actions.contains(&action.as_str()) {
        let text = format!("{:?} is not one of {}", config.action, actions.join(", "));
        report.error(format!("{at}.config.action"), text);
    }
    if config.match_all && config.value.is_some() {
        report.error(format!("{at}.config.match_all"), "must not stand with value");
    }
    if config.count_entry_bytes && !(config.match_all && action == "add") {
        report.error(format!("{at}.config.count_entry_bytes"), "needs match_all: true and action: add");
    }
    if metric.max_idle_duration < GoDuration::secs(1) {
        report.error(format!("{at}.max_idle_duration"), format!("{} is shorter than 1s", metric.max_idle_duration));
    }
    if config.buckets.windows(2).any(|pair| pair[0] >= pair[1]) {
        report.error(format!("{at}.config.buckets"), "do not ascend");
    }
}
