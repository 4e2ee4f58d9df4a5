//! What a tenant may ask: checks on the syntax tree and the time range, before anything is read.
//!
//! Source: contract http-api.md, 1.5 ("Refusals") and 3.1.

use std::collections::BTreeMap;

use logstack_config::{BlockedQuery, Limits, QueryKind};
use logstack_go::units::{GoDuration, PrometheusDuration};
use logstack_logql::ast::{Expr, LogExpr, MatchOp, Matcher, MetricExpr, RangeAggregation, Stage};
use regex::Regex;

use super::Error;

/// A query as far as limits care.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// As sent.
    pub text: &'a str,
    /// As understood.
    pub expr: &'a Expr,
    /// `end - start`; 0 for an instant.
    pub length_ns: i64,
    /// `X-Query-Tags`.
    pub tags: &'a BTreeMap<String, String>,
}

/// Refuses what `limits` do not allow.
///
/// # Errors
/// The text of the first limit that is exceeded.
pub fn admit(asked: &Asked<'_>, limits: &Limits) -> Result<(), Error> {
    if limits.blocked_queries.iter().any(|blocked| is_blocked(blocked, asked)) {
        return Err(Error::refused("query blocked by policy"));
    }
    let ranges = match asked.expr {
        Expr::Log(_) | Expr::Variants(_) => Vec::new(),
        Expr::Metric(expr) => range_aggregations(expr),
    };
    for selector in selectors(asked.expr) {
        check_selector(&selector.selector, limits)?;
    }
    let max_range = limits.max_query_range.as_nanos();
    if max_range > 0
        && let Some(range) = ranges.iter().find(|range| range.range_ns > max_range)
    {
        return Err(Error::Refused(format!(
            "[interval] value exceeds limit: [{}] > [{}]",
            PrometheusDuration(range.range_ns),
            PrometheusDuration(max_range)
        )));
    }
    let window_ns = ranges.iter().map(|range| range.range_ns).max().unwrap_or(0);
    check_length(asked.length_ns.saturating_add(window_ns), limits)
}

/// Refuses a range that is too long; also for labels, series and volumes.
///
/// # Errors
/// The text of the limit.
pub fn check_length(length_ns: i64, limits: &Limits) -> Result<(), Error> {
    let max_length = limits.max_query_length.as_nanos();
    if max_length > 0 && length_ns > max_length {
        return Err(Error::Refused(format!(
            "the query time range exceeds the limit (query length: {}, limit: {})",
            GoDuration(length_ns),
            PrometheusDuration(max_length)
        )));
    }
    Ok(())
}

/// Refuses a log query that asks for too many entries.
///
/// # Errors
/// The text of the limit.
pub fn check_entries(limit: usize, limits: &Limits) -> Result<(), Error> {
    let max = limits.max_entries_limit_per_query;
    if max > 0 && limit as u64 > max {
        return Err(Error::Refused(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})"
        )));
    }
    Ok(())
}

/// The earliest instant that a query may see; `None`: all of them.
pub fn lookback_start_ns(now_ns: i64, limits: &Limits) -> Option<i64> {
    let lookback = limits.max_query_lookback.as_nanos();
    (lookback > 0).then(|| now_ns.saturating_sub(lookback))
}

fn check_selector(selector: &[Matcher], limits: &Limits) -> Result<(), Error> {
    let names = || {
        let mut names: Vec<&str> = selector.iter().map(|matcher| matcher.name.as_str()).collect();
        names.dedup();
        names
    };
    let missing: Vec<&str> = limits
        .required_labels
        .iter()
        .map(String::as_str)
        .filter(|label| !selector.iter().any(|matcher| matcher.name == *label))
        .collect();
    if !missing.is_empty() {
        return Err(Error::Refused(format!(
            "stream selector is missing required matchers [{}], labels present in the query were [{}]",
            missing.join(", "),
            names().join(", ")
        )));
    }
    if names().len() < limits.minimum_labels_number {
        return Err(Error::Refused(format!(
            "stream selector has less label matchers than required: (present: [{}], number_present: {}, \
             required_number_label_matchers: {})",
            names().join(", "),
            names().len(),
            limits.minimum_labels_number
        )));
    }
    let max = limits.max_streams_matchers_per_query;
    if max > 0 && selector.len() > max {
        return Err(Error::Refused(format!(
            "max streams matchers per query exceeded, matchers-count > limit ({} > {max})",
            selector.len()
        )));
    }
    Ok(())
}

fn is_blocked(blocked: &BlockedQuery, asked: &Asked<'_>) -> bool {
    if blocked.hash != 0 && blocked.hash != fnv32(asked.text) {
        return false;
    }
    if !blocked.types.is_empty() && !blocked.types.contains(&kind(asked.expr)) {
        return false;
    }
    let has_tag = |(key, value): (&String, &String)| {
        asked.tags.iter().any(|(k, v)| k.eq_ignore_ascii_case(key) && v.eq_ignore_ascii_case(value))
    };
    if !blocked.tags.iter().all(has_tag) {
        return false;
    }
    let pattern = blocked.pattern.trim();
    match pattern {
        "" | ".*" | ".+" => true,
        _ if blocked.regex => Regex::new(pattern).is_ok_and(|regex| regex.is_match(asked.text)),
        _ => pattern == asked.text.trim(),
    }
}

/// Source: Fowler, Noll, Vo, "FNV hash", 32 bits, multiply then xor, as Go's `hash/fnv.New32`.
fn fnv32(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte))
}

fn kind(expr: &Expr) -> QueryKind {
    match expr {
        Expr::Metric(_) | Expr::Variants(_) => QueryKind::Metric,
        Expr::Log(log) => {
            let is_filter = |stage: &Stage| matches!(stage, Stage::LineFilter(_) | Stage::LabelFilter(_));
            if log.stages.iter().any(is_filter) { QueryKind::Filter } else { QueryKind::Limited }
        }
    }
}

/// All selectors of a query, with their pipelines.
pub fn selectors(expr: &Expr) -> Vec<&LogExpr> {
    match expr {
        Expr::Log(log) => vec![log],
        Expr::Metric(metric) => range_aggregations(metric).into_iter().map(|range| &range.log).collect(),
        Expr::Variants(variants) => vec![&variants.log],
    }
}

/// All range aggregations of a metric query.
pub fn range_aggregations(expr: &MetricExpr) -> Vec<&RangeAggregation> {
    let mut found = Vec::new();
    let mut todo = vec![expr];
    while let Some(expr) = todo.pop() {
        match expr {
            MetricExpr::Range(range) => found.push(range),
            MetricExpr::Vector(vector) => todo.push(&vector.inner),
            MetricExpr::Binary(binary) => todo.extend([&binary.right, &binary.left]),
            MetricExpr::LabelReplace(call) => todo.push(&call.inner),
            MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {}
        }
    }
    found
}

/// `a=b, c=d` of `X-Query-Tags`. Characters outside the allowed ones become `_`.
pub fn parse_tags(header: &str) -> BTreeMap<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-=.@, ".contains(c);
    let clean: String = header.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let pairs = clean.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// The equality matchers of a selector, each name once: what `absent_over_time` can say about what is absent.
pub fn equality_labels(selector: &[Matcher]) -> Vec<(&str, &str)> {
    let is_alone = |name: &str| selector.iter().filter(|matcher| matcher.name == name).count() == 1;
    let equal = selector.iter().filter(|matcher| matcher.op == MatchOp::Equal && is_alone(&matcher.name));
    equal.map(|matcher| (matcher.name.as_str(), matcher.value.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use logstack_config::PromDuration;

    use super::*;

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }

    #[track_caller]
    fn check(limits: &Limits, query: &str, hours: i64, want: Result<(), &str>) {
        let expr = logstack_logql::parse(query).unwrap();
        let tags = parse_tags("Source=grafana,odd=a/b");
        let asked = Asked { text: query, expr: &expr, length_ns: hours * 3_600_000_000_000, tags: &tags };
        assert_eq!(admit(&asked, limits).map_err(|e| e.to_string()), want.map_err(str::to_owned), "{query}");
    }

    #[test]
    fn bounds_times() {
        let hour = limits(|l| {
            l.max_query_length = PromDuration::hours(1);
            l.max_query_range = PromDuration::minutes(5);
        });
        check(&hour, "{a=\"b\"}", 1, Ok(()));
        let too_long = "the query time range exceeds the limit (query length: 2h0m0s, limit: 1h)";
        check(&hour, "{a=\"b\"}", 2, Err(too_long));
        check(&hour, "rate({a=\"b\"}[5m])", 0, Ok(()));
        check(&hour, "sum(rate({a=\"b\"}[10m]))", 0, Err("[interval] value exceeds limit: [10m] > [5m]"));
        let plus_window = "the query time range exceeds the limit (query length: 1h1m0s, limit: 1h)";
        check(&hour, "1 + sum(rate({a=\"b\"}[1m]))", 1, Err(plus_window));
        check(&Limits::default(), "rate({a=\"b\"}[1m])", 960, {
            Err("the query time range exceeds the limit (query length: 960h1m0s, limit: 30d1h)")
        });
    }

    #[test]
    fn wants_labels() {
        let strict = limits(|l| l.required_labels = vec!["app".into()]);
        check(&strict, "{app=\"b\"}", 1, Ok(()));
        check(&strict, "rate({e=\"b\"}[1m])", 1, {
            Err("stream selector is missing required matchers [app], labels present in the query were [e]")
        });
        let two = limits(|l| l.minimum_labels_number = 2);
        check(&two, "{app=\"b\"}", 1, {
            Err("stream selector has less label matchers than required: (present: [app], number_present: 1, \
                 required_number_label_matchers: 2)")
        });
    }

    #[test]
    fn blocks_queries() {
        let blocked = |change: fn(&mut BlockedQuery)| {
            let mut entry = BlockedQuery::default();
            change(&mut entry);
            limits(|l| l.blocked_queries = vec![entry])
        };
        let refused = Err("query blocked by policy");
        check(&blocked(|_| {}), "{a=\"b\"}", 1, refused);
        check(&blocked(|b| b.pattern = "{a=\"b\"}".into()), "{a=\"b\"}", 1, refused);
        check(&blocked(|b| b.pattern = "{a=\"b\"}".into()), "{a=\"c\"}", 1, Ok(()));
        let regex = blocked(|b| {
            b.pattern = ".*rate.*".into();
            b.regex = true;
        });
        check(&regex, "rate({a=\"b\"}[1m])", 1, refused);
        check(&blocked(|b| b.types = vec![QueryKind::Filter]), "{a=\"b\"}", 1, Ok(()));
        check(&blocked(|b| b.types = vec![QueryKind::Filter]), "{a=\"b\"} |= \"x\"", 1, refused);
        check(&blocked(|b| b.tags = [("source".into(), "grafana".into())].into()), "{a=\"b\"}", 1, refused);
        check(&blocked(|b| b.tags = [("odd".into(), "a_b".into())].into()), "{a=\"b\"}", 1, refused);
        check(&blocked(|b| b.tags = [("source".into(), "me".into())].into()), "{a=\"b\"}", 1, Ok(()));
    }
}
