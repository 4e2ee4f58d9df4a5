//! The parser against recorded answers of Loki 3.7.6: which queries it takes, and what it says to the others.
//!
//! `golden/queries.jsonl` holds every query of the recorded requests; `golden/invalid.txt` and `golden/valid.txt` are
//! the tables of the contract (logql.md, 12 and 13).

use logstack_logql::{ParseError, parse, parse_selector};

/// `Ok`, or the error text.
fn verdict<T>(result: Result<T, ParseError>) -> Result<(), String> {
    result.map(|_| ()).map_err(|err| err.to_string())
}

/// Errors of stages come from building the pipeline, so the parser takes these queries.
fn is_stage_error(text: &str) -> bool {
    text.starts_with("parse error : stage '")
}

#[test]
fn answers_invalid_queries_as_recorded() {
    let table = include_str!("golden/invalid.txt");
    let mut lines = table.lines().skip(1);
    let mut wrong = Vec::new();
    let mut count = 0;
    while let (Some(query), Some(want)) = (lines.next(), lines.next()) {
        let want = want.strip_prefix("    ").expect("error texts are indented");
        let got = verdict(parse(query));
        let want = if is_stage_error(want) { Ok(()) } else { Err(want.to_owned()) };
        count += 1;
        if got != want {
            wrong.push(format!("{query}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert_eq!(count, 105);
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn takes_valid_queries() {
    let mut count = 0;
    for query in include_str!("golden/valid.txt").lines().skip(1) {
        assert_eq!(verdict(parse(query)), Ok(()), "{query}");
        count += 1;
    }
    assert_eq!(count, 165);
}

#[test]
fn answers_recorded_queries_as_recorded() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("golden/queries.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("golden files are JSON lines");
        let text = |key: &str| case[key].as_str().map(str::to_owned);
        let query = text("query").expect("each case has a query");
        let want = text("error").map_or(Ok(()), Err);
        let got = match text("kind").as_deref() {
            Some("selector") => verdict(parse_selector(&query)),
            _ => verdict(parse(&query)),
        };
        count += 1;
        // An endpoint that takes nothing for everything, or refuses `{}`, does so itself.
        let is_all = matches!(query.as_str(), "" | "{}") && case["kind"] == "selector";
        if got != want && !is_all {
            wrong.push(format!("{query}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert!(count > 1500, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn formats_queries_as_recorded() {
    let mut count = 0;
    for line in include_str!("golden/queries.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("golden files are JSON lines");
        let Some(query) = case["query"].as_str() else { continue };
        if let Some(want) = case["formatted"].as_str() {
            assert_eq!(parse(query).expect(query).pretty(), want, "{query}");
            count += 1;
        }
    }
    assert!(count > 40, "{count} cases");
}

/// The canonical form is the same query; the pretty one too, save for rounded sizes.
#[test]
fn prints_what_it_has_read() {
    let recorded = include_str!("golden/queries.jsonl").lines().filter_map(|line| {
        let case: serde_json::Value = serde_json::from_str(line).expect("golden files are JSON lines");
        case["query"].as_str().map(str::to_owned)
    });
    let valid = include_str!("golden/valid.txt").lines().skip(1).map(str::to_owned);
    for query in recorded.chain(valid) {
        let Ok(expr) = parse(&query) else { continue };
        let printed = expr.to_string();
        // Literals that are not numbers differ from themselves.
        if format!("{expr:?}").contains("NaN") {
            continue;
        }
        assert_eq!(parse(&printed).as_ref(), Ok(&expr), "{query} was printed as {printed}");
        assert_eq!(parse(&expr.pretty()).map(|expr| expr.pretty()), Ok(expr.pretty()), "{query}");
    }
}
